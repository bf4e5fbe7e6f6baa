"""
Plans are replayed on a model of the daemons, whole and from every point at which they can be interrupted.

An interruption leaves a step half done: some nodes have its file, and some of these have reloaded. Whatever
is left, no pair of nodes that talked may be without a link, and planning again from there must reach the
layout.
"""

import itertools
import random

import pytest
import simulation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pve_corosync.plan import planner
from replay import NETS, NODES, carry, half_done, maps, planned, replay, talks

NOMINAL = {0: "vrack"}
DEGRADED = {0: "public", 1: "vrack"}


def stops_in_time(sim, plan, layout):
    """A dead network that no link was on shows while it is waited for, before anything is taken away."""
    for step in plan["steps"]:
        sim.take(step)
        assert sim.lost == []
        if sim.missing(step):
            break
    else:
        raise AssertionError("nothing was waited for\n" + planner.describe(plan))
    again = planned(layout, sim.observed())
    assert "goal-cannot-carry" in {f["code"] for f in again["findings"]} and again["steps"] == []


@pytest.mark.parametrize("dead", [(), ("vrack",), ("public",)], ids=["healthy", "no-vrack", "no-public"])
@pytest.mark.parametrize("count", [2, 3])
def test_every_pair_of_layouts(count, dead):
    for current in maps((0, 1, 2), NETS, ring0=False):
        for goal in maps((0, 1, 2), NETS, ring0=True):
            sim = simulation.Sim(current, NODES[count], dead)
            layout = simulation.layout(goal, NODES[count])
            plan = planned(layout, sim.observed())
            codes = {f["code"] for f in plan["findings"] if f["severity"] == "error"}
            if current == goal:
                assert plan["steps"] == [] and plan["path"] == "none"
            elif talks(goal, dead):
                assert codes == set(), planner.describe(plan)
                assert plan["path"] == ("planned" if talks(current, dead) else "degraded")
                carry(sim, plan, layout, 0 if set(dead) <= set(current.values()) else 1)
            elif talks(current, dead):
                if set(dead) & set(current.values()):
                    assert codes == {"goal-cannot-carry"}
                else:
                    stops_in_time(sim, plan, layout)
            elif plan["steps"]:
                # nobody sees anybody, and the goal does not help: links may only come
                assert [s["act"] for s in plan["steps"]] == ["local"] and not plan["steps"][0]["remove"]
                assert not plan["complete"]
            else:
                assert codes == {"nothing-to-add"}


@pytest.mark.parametrize("dead", [(), ("vrack",)], ids=["healthy", "no-vrack"])
def test_every_interruption_of_the_failover_whichever_node_it_hits(dead):
    """All pairs of layouts, with nodes that are alike: test_plan_planner_pairs.py."""
    sim, layout = simulation.Sim(NOMINAL, NODES[2], dead), simulation.layout(DEGRADED, NODES[2])
    assert replay(sim, layout) >= 8


@pytest.mark.parametrize("dead", ["", "vrack"])
def test_interruptions_with_three_nodes(dead):
    rng = random.Random(7)
    sim = simulation.Sim(NOMINAL, NODES[3], [dead])
    assert replay(sim, simulation.layout(DEGRADED, NODES[3]), 0.35, rng) >= 8


def test_only_one_pair_is_cut():
    """Asymmetric: two of three nodes lost their path over the vRack, the third still sees both."""
    sim = simulation.Sim(NOMINAL, NODES[3], [("vrack", "pve1", "pve3")])
    layout = simulation.layout(DEGRADED, NODES[3])
    plan = planned(layout, sim.observed())
    assert plan["path"] == "degraded" and plan["steps"][0]["act"] == "local"
    carry(sim, plan, layout)


def test_one_node_off_the_quorate_majority():
    sim = simulation.Sim(NOMINAL, NODES[3], [("vrack", "pve1", "pve3"), ("vrack", "pve2", "pve3")])
    layout = simulation.layout(DEGRADED, NODES[3])
    plan = planned(layout, sim.observed())
    assert plan["partitions"] == [["pve1", "pve2"], ["pve3"]]
    assert [s["act"] for s in plan["steps"]][:2] == ["local", "publish"]
    replay(sim, layout, 0.2, random.Random(3))


def test_a_node_comes_back_with_the_old_links():
    """It was off while the others went to the degraded layout, and the vRack is still dead."""
    layout = simulation.layout(DEGRADED, NODES[3])
    sim = simulation.Sim(NOMINAL, NODES[3], ["vrack"])
    new = simulation.conf(DEGRADED, NODES[3], 9)
    for name in ("pve1", "pve2"):
        sim.daemons[name] = simulation.Daemon(name, sim.daemons[name].nodeid, new)
    plan = planned(layout, sim.observed())
    assert plan["steps"][0]["nodes"] == ["pve3"]
    carry(sim, plan, layout, 1)


def test_a_skipped_node_is_not_waited_for():
    sim = simulation.Sim(
        NOMINAL, NODES[3], [(n, "pve3", o) for n in NETS for o in ("pve1", "pve2")], silent=["pve3"]
    )
    layout = simulation.layout(DEGRADED, NODES[3])
    plan = planned(layout, sim.observed(), skip=["pve3"])
    assert {s["act"] for s in plan["steps"]} == {"cluster"} and plan["path"] == "planned"
    for step in plan["steps"]:
        assert all("pve3" not in pair for pairs in step["wait"]["connected"].values() for pair in pairs)
        sim.take(step)
        assert sim.missing(step) == [] and sim.lost == []
    # it is back, with the old file, and does not fit: the plan brings it along
    sim.silent, sim.dead = set(), {"vrack"}
    carry(sim, planned(layout, sim.observed()), layout, 1)


def test_two_nodes_each_alone_find_each_other():
    """Each node plans for itself (salt-call --local) and they meet, because both do the same."""
    sim = simulation.Sim(NOMINAL, NODES[2], ["vrack"])
    layout = simulation.layout(DEGRADED, NODES[2])
    for name, other in (NODES[2], NODES[2][::-1]):
        view = {"nodes": {name: sim.observed()["nodes"][name]}, "silent": [other]}
        plan = planned(layout, view, skip=[other], force=["skip-no-quorum"])
        assert [s["act"] for s in plan["steps"]] == ["local"], planner.describe(plan)
        assert not plan["complete"] and not plan["steps"][0]["remove"]
        sim.take({**plan["steps"][0], "nodes": [name]})
    assert sim.partitions() == [["pve1", "pve2"]] and sim.daemons["pve1"].local == sim.daemons["pve2"].local
    carry(sim, planned(layout, sim.observed()), layout)


def test_a_link_that_has_not_come_up_yet_is_no_harm():
    """The facts were taken a moment after a reload: the new link is there and not connected."""
    sim = simulation.Sim({0: "vrack", 2: "public"}, NODES[2])
    layout = simulation.layout(DEGRADED, NODES[2])
    early = sim.observed()
    for facts in early["nodes"].values():
        for rows in facts["links"].values():
            rows[2]["connected"] = False
    carry(sim, planned(layout, early), layout)


options = st.dictionaries(st.just("knet_link_priority"), st.integers(1, 255).map(str), max_size=1)


@st.composite
def scenes(draw):
    """A cluster in some state between steps, and a layout."""
    count = draw(st.sampled_from([2, 2, 3]))
    nets = draw(st.permutations(sorted(simulation.NETS)))
    numbers = draw(st.permutations(range(5)))
    now = {n: draw(st.sampled_from(nets)) for n in numbers[: draw(st.integers(1, 3))]}
    wanted = [0, *[n for n in draw(st.permutations(range(1, 4)))][: draw(st.integers(0, 2))]]
    goal = dict(zip(wanted, nets))
    dead = draw(st.sets(st.sampled_from(nets), max_size=1))
    if count == 3:
        dead |= draw(st.sets(st.sampled_from([(n, "pve1", "pve3") for n in nets]), max_size=1))
    return count, now, goal, dead, {n: draw(options) for n in goal}, {n: draw(options) for n in now}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scene=scenes(), data=st.data())
def test_random_clusters(scene, data):
    count, now, goal, dead, wanted, has = scene
    sim = simulation.Sim(now, NODES[count], dead, options=has)
    layout = simulation.layout(goal, NODES[count], options=wanted)
    pairs = list(itertools.combinations(NODES[count], 2))
    plan = planned(layout, sim.observed())
    codes = {f["code"] for f in plan["findings"] if f["severity"] == "error"}
    # what the planner cannot know, a network that is dead and on no link now, is found by waiting
    known = all(net in now.values() for net in dead if isinstance(net, str)) and all(
        net[0] in now.values() for net in dead if not isinstance(net, str)
    )
    if not all(any(sim.alive(net, *p) for net in goal.values()) for p in pairs):
        assert not plan["complete"] or not known or now == goal
        return
    assert codes == set(), planner.describe(plan)
    running = sim.copy()
    for step in plan["steps"]:
        points = list(half_done(step, list(NODES[count])))
        if points:
            files, reloads = data.draw(st.sampled_from(points))
            broken = running.copy()
            broken.take(step, files, reloads)
            assert broken.lost == []
            again = planned(layout, broken.observed())
            assert not {f["code"] for f in again["findings"] if f["severity"] == "error"}, planner.describe(
                again
            )
            if known:
                carry(broken, again, layout, 2 if dead else 0)
        running.take(step)
        if running.missing(step):
            assert not known
            break
    assert running.lost == []


@pytest.mark.parametrize(
    "old, new", [(NOMINAL, DEGRADED), (NOMINAL, {0: "public"}), ({0: "public", 1: "vrack"}, {0: "vrack"})]
)
@pytest.mark.parametrize("dead", ["vrack", "public"])
def test_partitions_with_links_that_contradict_each_other(old, new, dead):
    """Two nodes went on, one came back as it was: whatever it runs, it is brought along."""
    if not talks(new, [dead]):
        dead = "third"
    layout = simulation.layout(new, NODES[3])
    sim = simulation.Sim(old, NODES[3], [dead])
    for name in ("pve1", "pve2"):
        sim.daemons[name] = simulation.Daemon(
            name, sim.daemons[name].nodeid, simulation.conf(new, NODES[3], 9)
        )
    carry(sim, planned(layout, sim.observed()), layout, 1)


@st.composite
def wild(draw):
    """Daemons that each run something else, with files that fit or do not."""
    nodes = NODES[draw(st.sampled_from([2, 3]))]
    goal = dict(zip([0, 1], draw(st.permutations(NETS))[: draw(st.integers(1, 2))]))
    links = st.dictionaries(st.integers(0, 3), st.sampled_from(NETS), min_size=1, max_size=3)
    rows = [(draw(links), draw(st.integers(1, 9)), draw(st.booleans())) for _ in nodes]
    return nodes, goal, rows, draw(st.sampled_from([(), (), ("vrack",), ("public",)]))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scene=wild())
def test_daemons_that_all_run_something_else(scene):
    nodes, goal, rows, dead = scene
    sim = simulation.Sim(NOMINAL, nodes, dead)
    for name, (links, version, reloaded) in zip(nodes, rows):
        text = simulation.conf(links, nodes, version)
        sim.daemons[name] = simulation.Daemon(name, sim.daemons[name].nodeid, text)
        if not reloaded:
            sim.daemons[name].local = simulation.conf(goal, nodes, version + 1)
    layout = simulation.layout(goal, nodes)
    for _ in range(4):
        plan = planned(layout, sim.observed())
        errors = {f["code"] for f in plan["findings"] if f["severity"] == "error"}
        if errors:
            assert (
                errors <= {"goal-cannot-carry", "nothing-to-add"}
                and not talks(goal, dead)
                or (errors == {"no-live-path"})
            ), planner.describe(plan)
            return
        for step in plan["steps"]:
            sim.take(step)
            assert sim.lost == [], planner.describe(plan)
            if sim.missing(step):
                assert dead, planner.describe(plan)
                break
        if not plan["steps"] or not plan["complete"]:
            break
    assert plan["path"] == "none" or not talks(goal, dead), planner.describe(plan)


def goes_on(sim, layout):
    """Plan after every single step; nothing that was begun is refused, and the layout is reached."""
    for _ in range(9):
        plan = planner.plan(layout, sim.observed())
        assert not [f for f in plan["findings"] if f["severity"] == "error"], planner.describe(plan)
        if not plan["steps"]:
            assert plan["complete"]
            return
        sim.take(plan["steps"][0])
    raise AssertionError("no end in 9 steps")


def test_what_was_begun_over_a_dead_primary_network_goes_on():
    sim = simulation.Sim(NOMINAL, NODES[2], ["vrack"])
    goes_on(sim, simulation.layout(DEGRADED, NODES[2], primary="vrack"))


@pytest.mark.parametrize(
    "now", [{0: "vrack", 1: "public"}, {0: "public", 1: "vrack"}, {1: "public", 2: "vrack"}]
)
@pytest.mark.parametrize("goal", [{0: "vrack", 1: "public"}, {0: "public", 1: "vrack"}])
def test_what_was_begun_with_a_lost_address_goes_on(now, goal):
    """The address stays in every copy on the way, or it would be taken for one that was never there."""
    sim = simulation.Sim(now, NODES[2])
    sim.gone = {("public", "pve2")}
    goes_on(sim, simulation.layout(goal, NODES[2], primary="vrack"))


def codes(plan):
    return {item["code"]: item["severity"] for item in plan["findings"]}


def test_nobody_publishes_for_ever_to_a_stopped_node():
    """Its /etc/pve is behind, and no writing reaches it: the plan says so, and is not complete."""
    sim = simulation.Sim({0: "vrack"}, NODES[3], version=5)
    stopped = sim.daemons["pve3"]
    stopped.runs, stopped.cluster = False, simulation.conf({0: "vrack"}, NODES[3], 4)
    goal = simulation.layout({0: "public"}, NODES[3])
    plan = planner.plan(goal, sim.observed(), force=["corosync-stopped"])
    assert [step["act"] for step in plan["steps"]] == ["local"] * 4 + ["publish"] and not plan["complete"]
    for step in plan["steps"]:
        sim.take(step)
    again = planner.plan(goal, sim.observed(), force=["corosync-stopped"])
    assert again["steps"] == [] and not again["complete"]
    (item,) = [item for item in again["findings"] if item["code"] == "cluster-file-behind"]
    assert item["remedy"].startswith("on pve3: systemctl start corosync")


def test_who_takes_no_part_is_cut_off_by_force_only():
    """Without /etc/pve on pve1 every step is local, and none reaches pve3, which does not answer."""
    sim = simulation.Sim({0: "vrack"}, NODES[3], silent=["pve3"])
    sim.daemons["pve1"].mounted = False
    goal = simulation.layout({0: "public"}, NODES[3])
    force = ["pve-not-mounted"]
    plan = planner.plan(goal, sim.observed(), skip=["pve3"], force=force)
    assert codes(plan)["absent-cut"] == "warning" and not plan["complete"]
    assert [(step["act"], step["remove"]) for step in plan["steps"]] == [("local", []), ("publish", [])]
    for step in plan["steps"]:
        sim.take(step)
    plan = planner.plan(goal, sim.observed(), skip=["pve3"], force=force)
    assert codes(plan)["absent-cut"] == "error" and plan["steps"] == []
    plan = planner.plan(goal, sim.observed(), skip=["pve3"], force=[*force, "absent-cut"])
    assert "absent-cut" not in codes(plan) and plan["complete"]
    assert plan["steps"][-1]["act"] == "publish" and list(plan["steps"][-1]["links"]) == [0]
