"""run.change where the world changes in the middle of a run: late nodes, dead networks, the way back."""

from _sequence_world import SETTINGS, World, pillar, run, step_calls, world
from pve_corosync.run import outcomes
from pve_corosync.run.change import Change, Request


def homeward(cuts=(), back=True):
    """A return from degraded to nominal; ``cuts`` are steps in which the vRack dies."""
    ports = world("nominal", dead=(), links={0: "public", 1: "vrack"})
    ports.cuts = dict.fromkeys(cuts, "vrack")
    return ports, Change(ports.request, ports, SETTINGS, "20261123", back=back).carry_out()


def in_force(ports):
    return outcomes.in_force(ports.request.layouts(), ports.sim.observed())


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

    def finish(name, txn):
        ports.stage_says = {"pve1": "disk full"}
        return give_back(name, txn)

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
