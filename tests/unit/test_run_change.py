"""run.change: whole runs against the model of a cluster; time, answers and faults are the test's."""

import json

import pytest
import simulation
from _sequence_world import NODES, SETTINGS, World, pillar, run, step_calls, world
from pve_corosync import arguments
from pve_corosync.judge import situation
from pve_corosync.pillar import layouts
from pve_corosync.run.request import Request


def test_failover_reaches_and_returns():
    ports = world()
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("reached", 0), report
    assert [item["code"] for item in report["findings"]] == ["link-dead"]
    assert situation.in_force(ports.request.layouts(), ports.sim.observed()) == ["degraded"]
    assert not ports.locks
    assert report["seconds"]["quorate"] < report["seconds"]["total"]
    versions = {daemon.version for daemon in ports.sim.daemons.values()}
    assert versions == {report["to_version"]}

    back = World(Request(pillar(), None), ports.sim)
    ports.sim.dead.clear()
    assert run(back)["result"] == "reached"
    assert situation.in_force(back.request.layouts(), ports.sim.observed()) == ["nominal"]
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
    assert situation.in_force(ports.request.layouts(), ports.sim.observed()) == ["nominal"]


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

    again = World(Request(pillar(), "degraded"), ports.sim)
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
        text = simulation.conf({0: "vrack"}, NODES, 6).replace("secauth: on", "secauth: on\n  token: 5000")
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


def test_a_restart_again_restarts_also_where_all_is_as_wanted():
    ports = world("nominal", dead=(), strategy="restart")
    assert run(ports)["result"] == "already"
    ports = world("nominal", dead=(), strategy="restart")
    ports.request.again_all = True
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
    request = Request(pillar(("pve1", "pve2", "pve3")) | {"skip": ["pve3"]}, "degraded")
    assert request.nodes == ["pve1", "pve2"]
    assert request.command_again("apply") == "salt-run corosync.apply degraded skip=pve3"


def test_an_unknown_layout_or_strategy_is_refused_before_anything():
    with pytest.raises(layouts.LayoutError, match="nosuch"):
        Request(pillar(), "nosuch")
    with pytest.raises(arguments.RunError, match="strategy"):
        Request(pillar(), "degraded", "fast")


def test_a_network_that_dies_unnoticed_is_planned_for_again():
    ports = world(dead=())
    ports.dies_in_step = "vrack"

    class Noticed(World):
        """Once the first attempt is over, the nodes know that the network is dead."""

        def _finish(self, name, txn, **more):
            self.dies_in_step = None
            return super()._finish(name, txn, **more)

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
    request = Request(pillar(), strategy="restart")
    request.take(["degraded"])
    assert request.layout["name"] == "degraded"
    request.take(["nominal", "degraded"])
    assert request.layout["name"] == "degraded"


def test_a_restart_where_no_layout_is_in_force_has_to_be_told_which():
    with pytest.raises(arguments.RunError, match="there are: degraded, nominal") as caught:
        Request(pillar(), strategy="restart").take([])
    assert caught.value.findings[0]["code"] == "layout-not-in-force"
    assert "salt-run corosync.restart nominal" in caught.value.findings[0]["remedy"]
    live = Request(pillar())
    live.take([])  # who only looks goes by the pillar's
    assert live.layout["name"] == "nominal"
