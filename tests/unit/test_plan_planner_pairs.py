"""
Every pair of layouts over two and three networks and up to three links, each plan interrupted everywhere.

Two nodes, links 0 to 2. What networks and nodes are called makes no difference to links: of the layouts to
start from, one of each shape over three networks is enough (the other five are the same with the names
exchanged), and of two interruptions that only differ in which node it hit, one. Pairs over two networks are
those of the pairs over three that leave one out.
"""

import pytest
import simulation
from replay import NETS, NODES, maps, replay, talks

THREE = ("vrack", "public", "third")
STARTS = [
    {0: "vrack"},
    {0: "vrack", 1: "public"},
    {0: "vrack", 2: "public"},
    {0: "vrack", 1: "public", 2: "third"},
]


def told(links):
    return " ".join(f"{n}:{net}" for n, net in sorted(links.items()))


def shape(start, goal):
    """A pair with its networks named by where they first stand: the same for pairs that are alike."""
    names = {}
    return tuple(
        tuple((n, names.setdefault(net, len(names))) for n, net in sorted(links.items()))
        for links in (start, goal)
    )


def test_no_pair_is_left_out():
    every = maps((0, 1, 2), THREE, ring0=True)
    assert len(every) == 21 and {1, 2, 3} == {len(links) for links in every}
    replayed = {shape(start, goal) for start in STARTS for goal in every}
    assert {shape(start, goal) for start in every for goal in every} == replayed
    assert {shape(s, g) for s in maps((0, 1, 2), NETS, True) for g in maps((0, 1, 2), NETS, True)} < replayed


@pytest.mark.parametrize("start", STARTS, ids=told)
def test_every_pair_from_every_interruption(start):
    seen = set()
    for goal in maps((0, 1, 2), THREE, ring0=True):
        if goal == start or shape(start, goal) in seen:
            continue
        seen.add(shape(start, goal))
        points = replay(simulation.Sim(start, NODES[2]), simulation.layout(goal, NODES[2]), alike=True)
        assert points >= 6, told(goal)


@pytest.mark.parametrize("start", maps((0, 1, 2), NETS, ring0=True), ids=told)
def test_every_pair_over_two_networks_with_one_dead(start):
    """The vRack; with the other one dead it is the same under exchanged names."""
    for goal in maps((0, 1, 2), NETS, ring0=True):
        if goal != start and talks(goal, ["vrack"]):
            sim = simulation.Sim(start, NODES[2], ["vrack"])
            assert replay(sim, simulation.layout(goal, NODES[2]), alike=True) >= 6, (
                f"{told(start)} -> {told(goal)}"
            )
