"""ring_sequence: whole runs against the model of a cluster; time, answers and faults are the test's."""

import contextlib
import json

import pytest
import ring_guard
import ring_layout
import ring_run
import ring_sim
from ring_sequence import Order, Run

NODES = ("pve1", "pve2")
SETTINGS = ring_run.settings(None)
NO_HA = {"armed": False, "configured": False, "lrm": "active", "crm": "active", "disarm_supported": True}
ARMED = NO_HA | {"armed": True, "configured": True}


def pillar(nodes=NODES):
    ids = dict(enumerate(nodes, 1))
    return {
        "cluster_name": "prod",
        "nodes": {
            name: {"nodeid": n, "addresses": {net: ring_sim.address(net, n) for net in ("vrack", "public")}}
            for n, name in ids.items()
        },
        "layouts": {
            "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
            "degraded": {"links": {0: {"network": "public"}, 1: {"network": "vrack"}}, "primary": "public"},
        },
        "layout": "nominal",
    }


class World:
    """The ports of a run: nodes of the model, a journal in a list, a clock that only waiting moves."""

    def __init__(self, order, sim):
        self.order, self.sim, self.clock = order, sim, 0.0
        self.notes, self.said, self.calls = [], [], []
        self.kept, self.locks, self.stage_says = {}, set(), {}
        self.fails, self.lost_calls, self.lost_answers, self.deaf = {}, set(), set(), set()
        self.ha, self.ha_done, self.ha_fails = {}, [], {}
        self.txn, self.dies_in_step = None, None
        self.over, self.busy, self.taken_over = frozenset(), {}, []
        self.in_flight = {}  # node -> what a step of a dead run there still does
        self.breaks = {}  # name of a port, or a function that is asked -> the error that it raises
        self.shut = set()  # (link, from, to) where nothing arrives

    def passed(self):
        return round(self.clock, 2)

    def sleep(self, seconds):
        self.clock += seconds

    def say(self, text):
        self.said.append(text)

    def break_at(self, what):
        if what in self.breaks:
            raise self.breaks[what]

    def note(self, event, tag="run", **data):
        self.break_at("note")
        self.notes.append(json.loads(json.dumps({"event": event, "tag": tag} | data)))

    def gather(self):
        self.clock += 0.2
        self.break_at("gather")
        observed = self.sim.observed()
        for name, txn in self.busy.items():
            observed["nodes"][name]["busy"] = {"txn": txn, "by": "x", "since": 0.0}
        return observed, []

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):
        self.calls.append((function, list(nodes), kwarg))
        begun, answers = self.clock, {}
        self.break_at(function)
        for name in nodes:
            if name in self.sim.silent or name in self.deaf:
                continue
            if function.startswith("ha_manager."):
                value = self._ha_manager(name, function.split(".")[1])
            else:
                value = getattr(self, "_" + function.split(".")[1])(name, **kwarg)
            if value is ...:
                continue
            answers[name] = {"return": value, "retcode": 0, "success": not isinstance(value, str)}
            if heard:
                heard(name, answers[name])
        self.clock = begun + (0.3 if len(answers) == len(nodes) else min(wait, grace or wait))
        return answers

    def _ha_manager(self, name, what):
        if what == "facts":
            return self.ha.get(name, dict(NO_HA))
        self.ha_done.append((what, name))
        return self.ha_fails.get((what, name), {"changed": True})

    def _stage(self, name, txn, steps, by, takes_over=()):
        if takes_over:
            self.taken_over.append((name, list(takes_over)))
            self.in_flight.pop(name, lambda: None)()
            self.busy = {node: held for node, held in self.busy.items() if node != name}
        said = self.stage_says.get(name, "")
        if txn != self.txn:
            self.txn, self.kept = txn, {}
        if not said:
            self.locks.add(name)
        return {"ok": not said, "checks": [{"ok": not said, "text": said}]}

    def _links(self, name, txn, links):
        found = {}
        for key, link in links.items():
            peers = {}
            for peer in link["addresses"]:
                if peer != name:
                    here, there = (key, peer, name) not in self.shut, (key, name, peer) not in self.shut
                    both = here and there
                    peers[peer] = {"in": here, "out": both, "latency_us": 300, "mtu": 1500, "answers": 3}
            found[key] = {"busy": "", "peers": peers, "seconds": 4.0 if self.shut else 0.3}
        return {"links": found}

    def _finish(self, name, txn):
        self.locks.discard(name)
        return True

    def _outcome(self, name, txn, number, phase):
        return self.kept.get((name, number, phase))

    def _step(self, name, txn, step, writer, phase):
        key = (name, step["number"], phase)
        if key in self.lost_calls:
            self.lost_calls.discard(key)
            return ...
        if key not in self.kept:
            self.kept[key] = self._carry_out(name, step, writer, phase)
        if key in self.lost_answers:
            self.lost_answers.discard(key)
            return ...
        return self.kept[key]

    def _carry_out(self, name, step, writer, phase):
        outcome = {
            "node": name,
            "number": step["number"],
            "phase": phase,
            "ok": False,
            "missing": [],
            "error": self.fails.get((name, step["number"]), ""),
            "seen": {},
            "seconds": {},
        }
        if self.dies_in_step:
            self.sim.dead = {self.dies_in_step}
            outcome["error"] = "EBUSY: corosync was restarted during the write"
        if outcome["error"]:
            return outcome
        if phase == "files":
            outcome["seen"] = {"file_version": step["version"]}
        else:
            # the model takes a step as a whole: at the first node that comes to it
            if not any((n, step["number"], phase) in self.kept for n in self.sim.daemons):
                self.sim.take(step)
            group = next(g for g in self.sim.partitions() if name in g)
            links = self.sim.daemons[name].links
            outcome["seen"] = {
                "version": self.sim.daemons[name].version,
                "quorate": self.sim.quorate(group),
                "writable": self.sim.quorate(group),
                "connected": {
                    n: {peer: n in self.sim.up(name, peer) for peer in self.sim.daemons if peer != name}
                    for n in links
                },
            }
            outcome["seconds"] = {"quorate": 0.1}
        outcome["ok"] = True
        return outcome


def world(layout="degraded", dead=("vrack",), nodes=NODES, silent=(), links=None, **how):
    order = Order(pillar(nodes), layout, **how)
    return World(order, ring_sim.Sim(links or {0: "vrack"}, nodes, dead=dead, silent=silent))


def run(ports):
    sequence = Run(ports.order, ports, SETTINGS, "20261123")
    return sequence.carry_out(by="root")


def step_calls(ports):
    return [call for call in ports.calls if call[0] == "corosync.step"]


def test_failover_reaches_and_returns():
    ports = world()
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("reached", 0), report
    assert [item["code"] for item in report["findings"]] == ["link-dead"]
    assert ring_run.in_force(ports.order.layouts(), ports.sim.observed()) == ["degraded"]
    assert not ports.locks
    assert report["seconds"]["quorate"] < report["seconds"]["total"]
    versions = {daemon.version for daemon in ports.sim.daemons.values()}
    assert versions == {report["to_version"]}

    back = World(Order(pillar(), None), ports.sim)
    ports.sim.dead.clear()
    assert run(back)["result"] == "reached"
    assert ring_run.in_force(back.order.layouts(), ports.sim.observed()) == ["nominal"]
    assert not ports.sim.lost


def test_a_layout_in_force_is_left_alone():
    ports = world("nominal", dead=())
    before = [daemon.local for daemon in ports.sim.daemons.values()]
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("already", 0)
    assert [call[0] for call in ports.calls] == []
    assert [daemon.local for daemon in ports.sim.daemons.values()] == before


def test_a_refused_plan_calls_no_node():
    ports = world(silent=["pve2"])
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("refused", 1)
    assert "node-silent" in [item["code"] for item in report["findings"]]
    assert report["matrix"]["pve2"] is None
    assert ports.calls == []


def test_a_refused_file_writes_nothing_and_gives_the_locks_back():
    ports = world()
    ports.stage_says["pve2"] = "parse error"
    report = run(ports)
    assert report["result"] == "failed" and report["findings"][0]["code"] == "stage-failed"
    assert step_calls(ports) == []
    assert [call[0] for call in ports.calls] == ["corosync.stage", "corosync.finish"]
    assert not ports.locks
    assert ring_run.in_force(ports.order.layouts(), ports.sim.observed()) == ["nominal"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_failing_step_stops_and_tells(number):
    ports = world()
    ports.fails["pve2", number] = "disk full"
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("failed", 1)
    assert report["summary"].startswith(f"stopped in step {number} of")
    assert report["findings"][0]["code"] == "step-failed"
    assert "pve2: disk full" in report["findings"][0]["text"]
    assert {call[2]["step"]["number"] for call in step_calls(ports)} == set(range(1, number + 1))
    assert report["next"][0] == "go on:   salt-run corosync.apply degraded"
    assert report["state"] and report["matrix"]
    assert not ports.locks

    again = World(Order(pillar(), "degraded"), ports.sim)
    assert run(again)["result"] == "reached"


def test_a_lost_answer_is_fetched_without_doing_the_step_twice():
    ports = world()
    ports.lost_answers.add(("pve1", 1, ""))
    report = run(ports)
    assert report["result"] == "reached", report
    asked = [call for call in ports.calls if call[0] == "corosync.outcome"]
    assert [(call[1], call[2]["number"]) for call in asked] == [(["pve1"], 1)]
    assert len([call for call in step_calls(ports) if call[2]["step"]["number"] == 1]) == 1


def test_a_lost_call_is_made_again():
    ports = world()
    ports.lost_calls.add(("pve2", 1, ""))
    report = run(ports)
    assert report["result"] == "reached", report
    assert [call[1] for call in step_calls(ports)][:2] == [["pve1", "pve2"], ["pve2"]]


def test_a_node_that_stays_away_ends_the_run_in_bounded_time():
    ports = world()
    take = ports._carry_out
    ports._carry_out = lambda name, step, writer, phase: (
        ports.deaf.add("pve2"),
        take(name, step, writer, phase),
    )[1]
    report = run(ports)
    assert report["result"] == "failed"
    assert [item["code"] for item in report["findings"][:1]] == ["step-unanswered"]
    longest = 20 + SETTINGS["step_margin"] + SETTINGS["outcome_patience"]
    assert report["seconds"]["total"] <= longest + 2 * SETTINGS["gather_timeout"] + 2


def test_finish_and_the_journal_survive_an_interruption():
    ports = world()

    def interrupted(*_):
        raise KeyboardInterrupt

    ports._carry_out = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(ports)
    assert ports.calls[-1][0] == "corosync.finish" and not ports.locks
    assert (ports.notes[-1]["event"], ports.notes[-1]["result"]) == ("ended", "interrupted")


def test_a_false_checklist_is_a_failure_though_all_steps_are_done():
    ports = world("degraded", dead=())
    real = ports.gather

    def gather():
        observed, findings = real()
        if step_calls(ports):
            observed["nodes"]["pve2"]["pmxcfs"]["writable"] = False
        return observed, findings

    ports.gather = gather
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("failed", 1)
    assert report["findings"][0]["code"] == "layout-not-reached"
    assert report["findings"][0]["data"]["items"] == ["cluster file system"]
    assert SETTINGS["verify_timeout"] <= report["seconds"]["total"] < SETTINGS["verify_timeout"] + 10


def test_a_skipped_node_is_neither_staged_nor_asked():
    nodes = ("pve1", "pve2", "pve3")
    ports = world(
        nodes=nodes,
        dead=(
            ("vrack", "pve1", "pve3"),
            ("vrack", "pve2", "pve3"),
            ("public", "pve1", "pve3"),
            ("public", "pve2", "pve3"),
        ),
        silent=["pve3"],
        skip=["pve3"],
    )
    report = run(ports)
    assert report["result"] == "reached", report
    assert all("pve3" not in call[1] for call in ports.calls)
    assert report["done"][0]["nodes"].keys() == {"pve1", "pve2"}


def test_a_restart_writes_all_files_before_any_daemon_restarts():
    ports = world("degraded", dead=(), strategy="restart")
    report = run(ports)
    assert report["path"] == "restart"
    phases = [
        (call[2]["phase"], call[1]) for call in step_calls(ports) if call[2]["step"]["act"] == "restart"
    ]
    assert phases[0] == ("files", ["pve1", "pve2"])
    assert {phase for phase, _ in phases[1:]} == {"restart"}


def armed(**more):
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = {name: ARMED | more for name in NODES}
    return ports


def first_steps(ports):
    """Return what was called before and after the first daemon restarted."""
    names = [
        call[0].split(".")[1] + ("" if call[0] != "corosync.step" else " " + call[2]["phase"])
        for call in ports.calls
    ]
    cut = names.index("step restart")
    return names[:cut], names[cut:]


def test_a_restart_with_an_armed_watchdog_disarms_first_and_arms_again():
    ports = armed()
    report = run(ports)
    assert report["result"] == "reached", report
    before, after = first_steps(ports)
    assert before.index("stage") < before.index("disarm") < before.index("wait_released")
    assert "arm" in after
    assert ports.ha_done == [
        ("disarm", "pve1"),
        *(("wait_released", name) for name in NODES),
        ("arm", "pve1"),
    ]


def test_a_restart_where_ha_cannot_disarm_stops_the_lrms_before_the_crms():
    ports = armed(disarm_supported=False)
    run(ports)
    assert [what for what, _ in ports.ha_done] == [
        "stop_lrm",
        "stop_lrm",
        "stop_crm",
        "stop_crm",
        "start_crm",
        "start_crm",
        "start_lrm",
        "start_lrm",
    ]


def test_ha_is_in_service_again_after_a_failed_restart():
    ports = armed()
    ports.fails["pve2", 1] = "corosync is inactive after the restart"
    report = run(ports)
    assert report["result"] == "failed"
    assert "pve2" in report["findings"][0]["text"] and "inactive" in report["findings"][0]["text"]
    assert ports.ha_done[-1] == ("arm", "pve1")


def test_a_watchdog_that_does_not_close_stops_the_run_before_any_step():
    ports = armed()
    ports.ha_fails["wait_released", "pve2"] = "the watchdog is still open after 120 s"
    report = run(ports)
    assert (report["result"], report["summary"]) == (
        "failed",
        "HA could not be released, nothing was changed",
    )
    assert report["findings"][0]["code"] == "ha-guard"
    assert not step_calls(ports)
    assert ports.ha_done[-1] == ("arm", "pve1")


def test_ha_that_does_not_arm_again_fails_the_run_and_names_the_command():
    ports = armed()
    ports.ha_fails["arm", "pve1"] = "HA is not armed again after 120 s"
    report = run(ports)
    assert report["result"] == "failed"
    (row,) = [item for item in report["findings"] if item["code"] == "ha-not-in-service"]
    assert row["remedy"] == "salt -L pve1 ha_manager.arm"
    assert report["summary"].endswith("HA is not in service again")


NOT_SYNCED = "'ha_manager.facts' is not available."
NOT_INSTALLED = (
    "'ha_manager' __virtual__ returned False: ha-manager is not installed (package pve-ha-manager)"
)


def test_a_node_without_ha_manager_has_no_ha():
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = dict.fromkeys(NODES, NOT_INSTALLED)
    report = run(ports)
    assert (report["result"], report["ha"]["action"]) == ("reached", "none"), report
    assert "not in use" in report["ha"]["text"]


@pytest.mark.parametrize("text", [NOT_SYNCED, "'ha_manager' __virtual__ returned False: No module named 'x'"])
def test_a_node_whose_modules_are_not_synced_may_have_ha(text):
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = dict.fromkeys(NODES, text)
    report = run(ports)
    assert (report["result"], report["ha"]["action"]) == ("failed", "refuse")
    assert report["findings"][0]["code"] == "ha-guard" and not step_calls(ports)


def test_a_watchdog_that_corosync_facts_show_counts_too():
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = {"pve1": dict(NO_HA), "pve2": NOT_SYNCED}
    real = ports.gather

    def gather():
        observed, findings = real()
        observed["nodes"]["pve2"]["ha"]["armed"] = True
        return observed, findings

    ports.gather = gather
    report = run(ports)
    assert report["ha"]["action"] == "disarm" and "armed: pve2" in report["ha"]["text"]


def test_one_crm_that_does_not_start_leaves_no_lrm_stopped():
    ports = armed(disarm_supported=False)
    ports.ha_fails["start_crm", "pve1"] = "pve-ha-crm is failed after its start"
    report = run(ports)
    assert report["result"] == "failed"
    assert {("start_lrm", name) for name in NODES} <= set(ports.ha_done)
    (row,) = [item for item in report["findings"] if item["code"] == "ha-not-in-service"]
    assert row["remedy"] == "salt -L pve1 ha_manager.start_crm" and "is failed" in row["text"]


@pytest.mark.parametrize(
    "what, done",
    [("note", True), ("gather", False), ("ha_manager.arm", False), ("corosync.finish", True)],
)
def test_an_error_of_the_master_after_the_steps_leaves_ha_armed_or_names_the_command(what, done):
    ports = armed()
    step = ports._carry_out

    def last_step(name, entry, writer, phase):
        if phase == "restart":
            ports.breaks = {what: OSError(28, "No space left on device")}
        return step(name, entry, writer, phase)

    ports._carry_out = last_step
    if what == "corosync.finish":
        assert run(ports)["result"] == "reached"
    else:
        with (
            pytest.raises(ring_run.RunError)
            if what != "ha_manager.arm"
            else contextlib.nullcontext() as caught
        ):
            report = run(ports)
        report = caught.value.report if caught else report
        assert (report["result"], report["retcode"]) == ("failed", 1)
        codes = [item["code"] for item in report["findings"]]
        assert ("ha-not-in-service" in codes) is not done
        assert done or "salt -L pve1 ha_manager.arm" in report["findings"][0]["remedy"]
        assert done or any("salt -L pve1 ha_manager.arm" in text for text in ports.said)
        assert caught is None or "No space left" in json.dumps(report["findings"])
    assert (("arm", "pve1") in ports.ha_done) is done
    assert ports.calls[-1][0] == "corosync.finish" or what in ("ha_manager.arm", "corosync.finish")


def test_an_error_before_anything_was_touched_stays_as_it_is():
    ports = world()
    ports.breaks["gather"] = OSError("no Salt")
    with pytest.raises(OSError, match="no Salt"):
        run(ports)


def test_what_the_plan_says_of_ha_is_what_the_run_does():
    ports = armed()
    observed = ports.sim.observed()
    for name in NODES:
        observed["nodes"][name]["ha"]["armed"] = True
    assert "released first and put in service again" in ring_guard.words(7, observed, NODES)
    observed["nodes"]["pve2"]["quorum"]["quorate"] = False
    text = ring_guard.words(7, observed, NODES)
    assert text.startswith("pve2 has no quorum") and "cannot be released" in text
    observed["nodes"]["pve1"]["quorum"]["quorate"] = False
    assert ring_guard.words(7, observed, NODES).startswith("there is no quorum")
    assert "put in service again" not in ring_guard.words(7, observed, NODES)
    assert "stays armed" not in ring_guard.words(0, observed, NODES)


# ---- dead runs
# -----------------------------------------------------------------------------------------------------


def test_the_lock_of_a_dead_run_is_taken_over():
    ports = world()
    ports.busy, ports.over = {"pve2": "20261122-again"}, frozenset(["20261122", "20261122-again"])
    report = run(ports)
    assert report["result"] == "reached", report
    assert ports.taken_over == [("pve2", ["20261122-again"])] and not ports.locks
    (row,) = [item for item in report["before"] if item["code"] == "run-dead"]
    assert row["severity"] == "info" and "20261122-again" in row["text"] and "pve2" in row["text"]


def test_the_plan_starts_from_what_a_dead_run_still_did():
    """Its last step ends after the first look; without a second one, the same version had two contents."""
    ports = world()
    ports.busy, ports.over = {"pve2": "20261122"}, frozenset(["20261122"])

    def late():
        text = ring_sim.conf({0: "vrack"}, NODES, 6).replace("secauth: on", "secauth: on\n  token: 5000")
        for daemon in ports.sim.daemons.values():
            daemon.local = text

    ports.in_flight["pve2"] = late
    first = ports.sim.observed()["nodes"]["pve2"]["runtime"]["version"]
    report = run(ports)
    assert report["result"] == "reached", report
    assert (first, report["from_version"]) == (5, 6)


def test_a_dead_run_whose_step_does_not_end_is_in_the_way():
    ports = world()
    ports.busy, ports.over = {"pve2": "20261122"}, frozenset(["20261122"])
    ports.stage_says["pve2"] = "this node is carrying out a step"
    report = run(ports)
    assert report["result"] == "refused"
    assert [i["code"] for i in report["findings"] if i["severity"] == "error"] == ["stage-failed"], report
    assert not [call for call in ports.calls if call[0] == "corosync.step"] and not ports.locks


def test_the_lock_of_a_run_that_is_not_known_here_is_respected():
    ports = world()
    ports.busy, ports.over = {"pve2": "salt-call-7"}, frozenset(["20261122"])
    report = run(ports)
    assert report["result"] == "refused"
    assert "run-busy" in [item["code"] for item in report["findings"]] and ports.calls == []


def test_without_a_dead_run_nothing_is_taken_over():
    ports = world()
    run(ports)
    assert "takes_over" not in ports.calls[0][2]


def test_a_live_run_asks_nothing_of_ha_and_says_so():
    ports = world()
    ports.ha = {name: dict(ARMED) for name in NODES}
    report = run(ports)
    assert not [call for call in ports.calls if call[0].startswith("ha_manager.")]
    assert report["ha"]["action"] == "none" and report["ha"]["text"]


def test_a_restart_again_restarts_also_where_all_is_as_wanted():
    ports = world("nominal", dead=(), strategy="restart")
    assert run(ports)["result"] == "already"
    ports = world("nominal", dead=(), strategy="restart")
    ports.order.again_all = True
    report = run(ports)
    assert report["result"] == "reached" and report["to_version"] == report["from_version"] + 1, report


def test_the_journal_tells_the_run_in_order():
    ports = world()
    run(ports)
    events = [row["event"] for row in ports.notes]
    assert events[:4] == ["begun", "planned", "staged", "step 1 begun"]
    assert events[-2:] == ["verified", "ended"]
    assert "conf" not in json.dumps([row.get("steps") for row in ports.notes])


def test_the_pillars_skip_is_added_and_shown_in_the_command():
    order = Order(pillar(("pve1", "pve2", "pve3")) | {"skip": ["pve3"]}, "degraded")
    assert order.nodes == ["pve1", "pve2"]
    assert order.again("apply") == "salt-run corosync.apply degraded skip=pve3"


def test_an_unknown_layout_or_strategy_is_refused_before_anything():
    with pytest.raises(ring_layout.LayoutError, match="nosuch"):
        Order(pillar(), "nosuch")
    with pytest.raises(ring_run.RunError, match="strategy"):
        Order(pillar(), "degraded", "fast")


def test_a_network_that_dies_unnoticed_is_planned_for_again():
    ports = world(dead=())
    ports.dies_in_step = "vrack"

    class Noticed(World):
        """Once the first attempt is over, the nodes know that the network is dead."""

        def _finish(self, name, txn):
            self.dies_in_step = None
            return super()._finish(name, txn)

    ports.__class__ = Noticed
    report = run(ports)
    assert report["result"] == "reached", report["summary"]
    assert report["path"] == "degraded"
    assert "step-failed" in {item["code"] for item in report["first"]["findings"]}
    txns = [kwarg["txn"] for function, _nodes, kwarg in ports.calls if function == "corosync.stage"]
    assert len(txns) == 2 and txns[0] != txns[1]
    assert not ports.locks
    assert "planning again" in [note["event"] for note in ports.notes]


def test_a_step_that_fails_on_a_cluster_in_one_piece_is_not_tried_again():
    ports = world(dead=())
    ports.fails[("pve2", 1)] = "no space left on device"
    report = run(ports)
    assert report["result"] == "failed" and "first" not in report
    assert len([call for call in ports.calls if call[0] == "corosync.stage"]) == 1


def test_a_restart_keeps_the_layout_that_is_in_force():
    order = Order(pillar(), strategy="restart")
    order.take(["degraded"])
    assert order.layout["name"] == "degraded"
    order.take(["nominal", "degraded"])
    assert order.layout["name"] == "degraded"


def test_a_restart_where_no_layout_is_in_force_has_to_be_told_which():
    with pytest.raises(ring_run.RunError, match="there are: degraded, nominal") as caught:
        Order(pillar(), strategy="restart").take([])
    assert caught.value.findings[0]["code"] == "layout-not-in-force"
    assert "salt-run corosync.restart nominal" in caught.value.findings[0]["remedy"]
    live = Order(pillar())
    live.take([])  # who only looks goes by the pillar's
    assert live.layout["name"] == "nominal"
