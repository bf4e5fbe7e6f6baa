"""Half of four nodes is no quorum: two scenes that once ended in an error of the plan itself."""

import pytest
import simulation
from pve_corosync.findings import errors
from pve_corosync.plan import planner

NODES = ["pve1", "pve2", "pve3", "pve4"]
ACROSS = [(net, one, two) for net in ("vrack", "public") for one in NODES[:2] for two in NODES[2:]]
SKIPPED = {"skip": NODES[2:], "force": ["skip-no-quorum"]}
GOAL = {0: "public", 1: "vrack"}


def plan(sim, **arguments):
    made = planner.plan(simulation.layout(GOAL, NODES), sim.observed(), **arguments)
    told = {item["code"]: item["text"] for item in made["findings"]}
    assert [item["code"] for item in errors(made["findings"], arguments.get("force", ()))] == [
        code for code in ("nothing-to-add",) if code in told
    ]
    return made, told


def carried(sim, made):
    """Take the steps up to the first that waits in vain; tell whether one did."""
    for step in made["steps"]:
        sim.take(step)
        assert sim.lost == []
        if sim.missing(step):
            return step["number"]
    return None


@pytest.mark.parametrize("start", [{0: "vrack"}, {0: "public"}, {1: "vrack"}])
def test_two_halves_with_both_networks_dead_between_them_try_the_one_that_no_link_shows(start):
    """The other network may be alive; it is waited for before anything is taken away, and then no more."""
    sim = simulation.Sim(start, NODES, ACROSS)
    made, told = plan(sim)
    first = made["steps"][0]
    assert made["path"] == "degraded" and made["complete"] and "cluster-split" in told
    assert (first["act"], first["remove"]) == ("local", []) and carried(sim, made) == 1
    made, told = plan(sim)
    assert made["steps"] == [] and not made["complete"]
    assert told["nothing-to-add"] == "pve1, pve2 / pve3, pve4: no link that could be added connects them"
    assert sim.partitions() == [NODES[:2], NODES[2:]]


def test_two_halves_that_know_both_networks_dead_only_add():
    sim = simulation.Sim({0: "vrack", 1: "public"}, NODES, ACROSS)
    made, told = plan(sim)
    assert [step["act"] for step in made["steps"]] == ["local"] and not made["complete"]
    assert not made["steps"][0]["remove"] and carried(sim, made) is None
    assert "quorum-not-expected" not in told, "nobody is away"
    assert told["partition-remains"].startswith("pve1, pve2 / pve3, pve4 still will not see each other")
    made, told = plan(sim)
    assert made["steps"] == [] and "take no part" not in told["nothing-to-add"]
    sim.dead.clear()
    made, told = plan(sim)
    assert made["complete"] and carried(sim, made) is None and sim.partitions() == [NODES]


@pytest.mark.parametrize("dead", [(), ("vrack",), ("public",)], ids=["alive", "no-vrack", "no-public"])
@pytest.mark.parametrize("start", [{0: "vrack"}, {0: "public"}, {0: "vrack", 1: "public"}])
def test_two_of_four_that_are_down_and_skipped(start, dead):
    """Nothing gives the others quorum, so links are only added, each waited for between the two alone."""
    sim = simulation.Sim(start, NODES, dead)
    for name in SKIPPED["skip"]:
        sim.silent.add(name)
        sim.skipped.add(name)
        sim.daemons[name].runs = sim.daemons[name].mounted = False
    for _ in range(3):
        made, told = plan(sim, **SKIPPED)
        assert not made["complete"] and len(made["steps"]) <= 1
        if not made["steps"]:
            break
        (step,) = made["steps"]
        assert step["act"] == "local" and step["remove"] == [] and not step["wait"]["quorate"]
        pairs = [pair for rows in step["wait"]["connected"].values() for pair in rows]
        assert pairs and all(pair == NODES[:2] for pair in pairs)
        assert "pve1, pve2: have no quorum without pve3, pve4" in told["quorum-not-expected"]
        carried(sim, made)
    assert told["nothing-to-add"].endswith("connects them to the nodes that take no part")
    assert sim.partitions() == [NODES[:2]]
