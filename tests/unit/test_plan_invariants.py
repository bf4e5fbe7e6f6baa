"""The invariants catch what they are for: a plan that is spoiled in one place is told so."""

import re

import pytest
import simulation
from pve_corosync.plan import planner

TWO = ("pve1", "pve2")
NOMINAL = {0: "vrack"}
OPTIONS = {0: {"knet_link_priority": "20"}, 1: {"knet_link_priority": "10"}}


@pytest.fixture
def degraded():
    return simulation.layout({0: "public", 1: "vrack"}, TWO, "degraded", OPTIONS)


def _without_block(text, number):
    """A corosync.conf without the interface block of a link."""
    return re.sub(r"  interface \{\n(    knet_\S+: \d+\n)*    linknumber: %d\n  \}\n" % number, "", text)


def spoiled(degraded, change):
    observed = simulation.Sim(NOMINAL, TWO).observed()
    plan = planner.plan(degraded, observed)
    assert planner.check_invariants(plan, degraded, observed) == []
    change(plan["steps"])
    return " | ".join(planner.check_invariants(plan, degraded, observed))


def swap_conf(steps, index, links, version=None):
    steps[index]["conf"] = simulation.conf(links, TWO, version or steps[index]["version"])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: s.pop(1), "the whole reload would be refused"),
        (lambda s: swap_conf(s, 0, {2: "public"}), "keep no link that was read back"),
        (lambda s: swap_conf(s, 0, {1: "vrack"}), "keep no link that was read back"),
        (lambda s: s[0]["wait"].update(connected={0: [["pve1", "pve2"]]}), "keep no link that was read back"),
        (lambda s: swap_conf(s, 0, NOMINAL, 5), "the step 6"),
        (
            lambda s: s[1].update(version=6, conf=s[1]["conf"].replace("version: 7", "version: 6")),
            "is not above 6",
        ),
        (lambda s: s[0].update(conf="totem {"), "corosync would refuse the file"),
        (lambda s: s.pop(), "does not have the links of the layout"),
        (lambda s: s[0].update(act="wish"), "unknown act"),
        (lambda s: s[0].update(act="publish"), "are not those of every local file"),
        (lambda s: s[0].update(nodes=["pve1"]), "only one of pve1 and pve2 takes part"),
        (
            lambda s: s[0].update(conf=s[0]["conf"].replace("    ring2_addr: 198.51.100.2\n", "")),
            "every node",
        ),
        (
            lambda s: s[0].update(conf=_without_block(s[0]["conf"], 2)),
            "interface block",
        ),
    ],
)
def test_invariants(degraded, change, said):
    assert said in spoiled(degraded, change)


def test_link_0_stays_where_the_goal_has_it():
    layout = simulation.layout({0: "vrack"}, TWO)
    observed = simulation.Sim({0: "vrack", 1: "public"}, TWO).observed()
    plan = planner.plan(layout, observed)
    plan["steps"][0]["conf"] = simulation.conf({1: "public"}, TWO, 6)
    assert "link 0 goes although" in " ".join(planner.check_invariants(plan, layout, observed))


def test_a_link_goes_only_after_its_replacement():
    layout = simulation.layout({0: "public"}, TWO)
    observed = simulation.Sim({0: "vrack", 1: "third"}, TWO).observed()
    plan = planner.plan(layout, observed)
    swap_conf(plan["steps"], 0, {1: "third"})
    assert "a link goes before public" in " ".join(planner.check_invariants(plan, layout, observed))
