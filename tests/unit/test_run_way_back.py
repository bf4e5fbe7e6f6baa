"""run.change where the world changes in the middle of a run: late nodes, dead networks, the way back."""

import pytest
from _sequence_world import SETTINGS, World, pillar, run, step_calls, world
from pve_corosync.findings import errors
from pve_corosync.judge import situation
from pve_corosync.run import alone, way_back
from pve_corosync.run.change import Change
from pve_corosync.run.request import Request


def homeward(cuts=(), back=True):
    """A return from degraded to nominal; ``cuts`` are steps in which the vRack dies."""
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.cuts = dict.fromkeys(cuts, "vrack")
    return ports, Change(ports.request, ports, SETTINGS, "20261123", back=back).carry_out()


def in_force(ports):
    return situation.in_force(ports.request.layouts(), ports.sim.observed())


def quorate(ports):
    return all(ports.sim.quorate(group) for group in ports.sim.partitions())


def test_a_return_whose_network_dies_goes_back_by_itself_and_fails():
    """At every step: it ends with quorum, at the layout that it came from, and says so."""
    steps = len(homeward()[1]["steps"])
    went_back = 0
    for number in range(1, steps + 1):
        ports, report = homeward([number])
        assert (report["result"], report["retcode"]) == ("failed", 1), (number, report["summary"])
        assert quorate(ports), (number, report)
        assert not ports.locks
        if "back" in report:
            went_back += 1
            assert in_force(ports) == ["degraded"] and "it went back to degraded" in report["summary"]
            assert "went-back" in [item["code"] for item in report["findings"]]
            assert "going back" in [row["event"] for row in ports.notes]
            assert all(row["quorate"] for row in report["state"])
    assert went_back, "there is a step in which the quorum is lost"


def test_a_run_leaves_the_cluster_where_it_is_if_it_is_told_so():
    lost = [n for n in range(1, 6) if "back" in homeward([n])[1]]
    ports, report = homeward(lost[:1], back=False)
    assert "back" not in report and not quorate(ports)
    assert "go back: salt-run corosync.apply degraded" in report["next"]


def test_a_way_back_that_is_refused_says_so():
    lost = [n for n in range(1, 6) if "back" in homeward([n])[1]]
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.cuts = {lost[0]: "vrack"}
    give_back = ports._finish

    def finish(name, txn, **more):
        ports.stage_says = {"pve1": "disk full"}
        return give_back(name, txn, **more)

    ports._finish = finish
    report = run(ports)
    assert report["result"] == "failed" and report["back"]["result"] == "failed"
    (item,) = [item for item in report["findings"] if item["code"] == "back-failed"]
    assert item["remedy"] == "the same: salt-run corosync.apply degraded"


def test_a_planned_failover_goes_on_without_a_network_that_nothing_depends_on():
    """The vRack dies when the public link carries already: the run plans again, without it."""
    for number in (1, 2, 3):
        ports = world("degraded", dead=())
        ports.cuts = {number: "vrack"}
        report = run(ports)
        assert report["result"] == "reached", (number, report["summary"], report["findings"])
        assert in_force(ports) == ["degraded"] and quorate(ports)


THREE = ("pve1", "pve2", "pve3")
#: a network that one node of three loses, and one that one pair loses.
MIXED = {
    "node": {("vrack", "pve1", "pve3"), ("vrack", "pve2", "pve3")},
    "pair": {("vrack", "pve1", "pve3")},
}


@pytest.mark.parametrize("kind", MIXED)
def test_a_planned_failover_goes_on_where_a_part_loses_a_network_that_nothing_depends_on(kind):
    for number in (1, 2, 3, 4):
        ports = world("degraded", dead=(), nodes=THREE)
        ports.cuts = {number: MIXED[kind]}
        report = run(ports)
        assert report["result"] == "reached", (number, report["summary"], report["findings"])
        assert in_force(ports) == ["degraded"] and quorate(ports)


@pytest.mark.parametrize("kind", MIXED)
def test_a_return_whose_network_a_part_loses_ends_with_quorum_and_names_where_it_came_from(kind):
    for number in (1, 2, 3):
        ports = world("nominal", dead=(), nodes=THREE, links={0: "public", 1: "vrack"})
        ports.cuts = {number: MIXED[kind]}
        report = run(ports)
        assert report["result"] == "failed" and quorate(ports), (number, report["summary"])
        assert all(row["quorate"] for row in report["state"]), (number, report["summary"])
        home = in_force(ports) == ["degraded"] and "back" in report
        named = "go back: salt-run corosync.apply degraded" in report["next"]
        assert home or named, (number, report)


def test_where_a_run_came_from_is_not_lost_in_a_second_attempt():
    ports = world("degraded", dead=())
    ports.dies_in_step = "vrack"  # every step fails, the first attempt and the second
    report = run(ports)
    assert report["result"] == "failed" and "first" in report
    assert "go back: salt-run corosync.apply nominal" in report["next"]


def test_a_run_that_goes_on_half_way_knows_from_the_journal_where_the_cluster_came_from():
    ports = world("nominal", dead=(), links={1: "vrack", 2: "public"})
    assert in_force(ports) == []
    ports.began_with, ports.fails = ["degraded"], {("pve1", 1): "disk full"}
    report = run(ports)
    assert "go back: salt-run corosync.apply degraded" in report["next"]


def test_a_lost_call_is_noticed_at_once():
    ports = world()
    ports.lost_calls.add(("pve2", 1, ""))
    report = run(ports)
    assert report["result"] == "reached" and report["done"][0]["seconds"] < 4, report["done"]


def test_a_node_that_works_on_a_step_is_not_called_again():
    ports = world()
    outcome, asked = ports._outcome, []

    def slow(name, txn, number, phase, wait=0):
        asked.append(name)
        return {"under_way": True} if len(asked) < 4 else outcome(name, txn, number, phase)

    ports._outcome = slow
    ports.lost_answers.add(("pve1", 1, ""))
    report = run(ports)
    assert report["result"] == "reached" and asked == ["pve1"] * 4
    assert len([call for call in step_calls(ports) if call[2]["step"]["number"] == 1]) == 1


def test_a_step_whose_time_was_over_for_a_node_counts_if_it_is_true_at_the_end():
    ports = world()
    take = ports._carry_out

    def late(name, step, writer, phase):
        outcome = take(name, step, writer, phase)
        if (name, step["number"]) == ("pve1", 1):
            missing = ["link 2 to pve2 not connected", "not quorate"]
            outcome |= {
                "ok": False,
                "missing": missing,
                "error": f"not seen within 20 s: {'; '.join(missing)}",
            }
        return outcome

    ports._carry_out = late
    report = run(ports)
    assert report["result"] == "reached", report
    assert report["done"][0]["ok"] and "not quorate" in report["done"][0]["late"]["pve1"]


def test_a_step_that_failed_for_a_reason_is_not_called_done():
    ports = world()
    ports.fails["pve1", 1] = "no space left on device"
    assert World(Request(pillar(), "degraded"), ports.sim) and run(ports)["result"] == "failed"


# ---- a master that is lost, and a run that is to be confirmed


def test_the_nodes_keep_a_way_back_ready_while_a_run_can_lose_quorum():
    ports, report = homeward()
    staged = [kwarg for function, _nodes, kwarg in ports.calls if function == "corosync.stage"]
    (way,) = [kwarg["back"] for kwarg in staged]
    assert (way["layout"], way["confirm"], way["pillar"]) == ("degraded", False, pillar())
    longest = max(step["deadline_s"] for step in report["steps"]) + SETTINGS["step_margin"]
    assert way["quiet"] > longest + SETTINGS["outcome_patience"], "the runner is not overtaken"
    assert report["result"] == "reached" and ports.ready == {"pve1": None, "pve2": None}


def test_a_failover_without_quorum_has_nothing_to_go_back_to():
    ports = world()
    run(ports)
    assert all("back" not in kwarg for function, _nodes, kwarg in ports.calls if function == "corosync.stage")


def test_a_quorum_whose_network_is_dead_already_is_nothing_to_go_back_to():
    """Within 6 s of a cut the daemons still say quorate; a failover then must not lead back to it."""
    ports = world()
    gather, before = ports.gather, world(dead=()).sim.observed()["nodes"]

    def early():
        observed, findings = gather()
        for name, facts in observed["nodes"].items() if not ports.calls else ():
            facts["quorum"], facts["pmxcfs"] = before[name]["quorum"], before[name]["pmxcfs"]
        return observed, findings

    ports.gather = early
    ports.fails = dict.fromkeys([(name, 1) for name in ("pve1", "pve2")], "disk full")
    report = run(ports)
    assert report["result"] == "failed" and "back" not in report, report["findings"]
    assert all("back" not in kwarg for function, _nodes, kwarg in ports.calls if function == "corosync.stage")


def test_a_run_that_is_to_be_confirmed_leaves_the_way_back_ready_and_says_how_to_keep_it():
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    report = Change(ports.request, ports, SETTINGS, "20261123", confirm=120).carry_out()
    assert report["result"] == "reached"
    assert {row["due"] for row in ports.ready.values()} == {120}
    assert report["confirm"] == {"seconds": 120, "layout": "degraded", "command": "salt-run corosync.confirm"}


def test_a_run_that_is_to_be_confirmed_needs_a_way_back_on_every_node():
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.back_says["pve2"] = "systemd-run: no such file"
    report = Change(ports.request, ports, SETTINGS, "20261123", confirm=120).carry_out()
    assert report["result"] == "failed" and step_calls(ports) == []
    assert [item["code"] for item in report["findings"] if item["severity"] == "error"] == ["back-not-ready"]
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.back_says["pve2"] = "systemd-run: no such file"
    assert run(ports)["result"] == "reached", "without confirm it is a warning"


@pytest.mark.parametrize("said", [[1], {"x": "y"}, 5])
def test_what_is_no_text_about_the_way_back_stops_the_run_before_anything_is_done(said):
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.back_says["pve2"] = said
    report = run(ports)
    assert report["result"] == "failed" and step_calls(ports) == []
    (item,) = [item for item in report["findings"] if item["severity"] == "error"]
    assert item["code"] == "stage-failed" and item["text"].startswith("pve2: its answer cannot be used: back")


RECORD = {"txn": "r1", "layout": "degraded", "quorate": True, "quiet": 60.0, "confirm": False, "due": None}
RUN = {"txn": "r1", "until": 1900.0, "ttl": 900.0}  # renewed at 1000


@pytest.mark.parametrize(
    "record, now, holder, quorate, verdict",
    [
        (None, 1100, RUN, False, "done"),
        (RECORD, 1059, RUN, False, "wait"),
        (RECORD, 1061, RUN, False, "go"),
        (RECORD, 1061, RUN, True, "wait"),
        (RECORD, 1061, None, False, "done"),
        (RECORD, 1061, RUN | {"txn": "r2"}, False, "done"),
        (RECORD | {"quorate": False}, 1061, RUN, False, "wait"),
        (RECORD | {"confirm": True}, 1061, RUN, True, "go"),
        (RECORD | {"due": 1200.0, "confirm": True}, 1199, None, True, "wait"),
        (RECORD | {"due": 1200.0, "confirm": True}, 1200, None, True, "go"),
    ],
)
def test_a_node_goes_back_for_a_reason_only(record, now, holder, quorate, verdict):
    assert way_back.decide(record, now, holder, quorate) == verdict


# ---- the master is killed and the network cut, in each step


class Killed(BaseException):
    """SIGKILL: nothing of the run goes on, no ``finally`` of it reaches a node."""


def killed(number, after):
    """What a return to nominal leaves whose master and vRack die in a step, before or after the call."""
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ask, dead = ports.ask, []

    def asked(nodes, function, kwarg, *rest, **more):
        ours = function == "corosync.step" and kwarg["step"]["number"] == number
        if ours and after:
            ask(nodes, function, kwarg, *rest, **more)
        if ours or dead:
            dead.append(function)
            raise Killed
        return ask(nodes, function, kwarg, *rest, **more)

    ports.ask = asked
    with pytest.raises(Killed):
        Change(ports.request, ports, SETTINGS, "r1").carry_out()
    ports.sim.dead.add("vrack")
    return ports


def node_goes_back(ports, name):
    """What ``corosync.go_back`` has a node do: its own share, then what the cluster can do together."""
    seen = ports.sim.observed()
    request = alone.Request(pillar(), name, name, ports.ready[name]["layout"])
    if ports.sim.quorate(next(group for group in ports.sim.partitions() if name in group)):
        made, found = request.plan(seen, [])
        assert not errors(found), found
        for step in made["steps"]:
            ports.sim.take(step)
    else:
        part = alone.own_part(request, seen)
        assert not errors(part["findings"]), part
        if part["step"]:
            ports.sim.take(part["step"] | {"nodes": [name]})


@pytest.mark.parametrize("after", [False, True])
def test_master_and_network_die_in_each_step_and_the_nodes_have_quorum_again(after):
    went_back = 0
    for number in range(1, len(homeward()[1]["steps"]) + 1):
        ports = killed(number, after)
        assert set(ports.locks) == set(ports.sim.daemons), "nobody gave the locks back"
        verdicts = set()
        for name in ports.sim.daemons:
            way = ports.ready[name]
            record = RECORD | {"layout": way["layout"], "quiet": way["quiet"]}
            own = ports.sim.quorate(next(group for group in ports.sim.partitions() if name in group))
            before = way_back.decide(record, 1000 + way["quiet"] - 1, RUN, own)
            assert before == "wait", "no node goes while the run may be alive"
            verdicts.add(way_back.decide(record, 1000 + way["quiet"] + 1, RUN, own))
        assert verdicts == ({"wait"} if quorate(ports) else {"go"}), "all of them, or none"
        if verdicts == {"go"}:
            went_back += 1
            for _turn in range(2):
                for name in ports.sim.daemons:
                    node_goes_back(ports, name)
        assert quorate(ports), (number, after, in_force(ports))
        if verdicts == {"go"}:
            assert in_force(ports) == ["degraded"], number
        # and the master that is back can go on from there, to the layout that carries
        ports.ask, ports.over = type(ports).ask.__get__(ports), frozenset({"r1"})
        ports.request = ports.request.toward("degraded")
        assert Change(ports.request, ports, SETTINGS, "r2").carry_out()["result"] in ("reached", "already")
    assert went_back, "there is a step in which the quorum is lost"
