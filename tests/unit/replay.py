"""Replaying plans on the model of :mod:`simulation`, whole and from every point of interruption."""

import itertools

import simulation
from pve_corosync.plan import planner

NODES = {2: ("pve1", "pve2"), 3: ("pve1", "pve2", "pve3")}
NETS = ("vrack", "public")


def maps(numbers, nets, ring0):
    """Every link map over these numbers without a network twice."""
    found = []
    for choice in itertools.product((None, *nets), repeat=len(numbers)):
        used = [net for net in choice if net]
        if used and len(set(used)) == len(used) and (choice[0] or not ring0):
            found.append({n: net for n, net in zip(numbers, choice) if net})
    return found


def planned(layout, observed, force=(), **how):
    """A plan; that a primary network is dead refuses a move, which is no matter of connections."""
    return planner.plan(layout, observed, force=["primary-dead", *force], **how)


def carry(sim, plan, layout, again=0):
    """
    Carry a plan out to its end; everything it waits for must come, and nobody may be cut off.

    `again`: how often a link may fail to come, and a new plan be made. A half done step can hide that a
    network is dead: no two nodes have a link on it in common then.
    """
    for step in plan["steps"]:
        sim.take(step)
        assert sim.lost == [], f"cut off in step {step['number']}\n{planner.describe(plan)}"
        if sim.missing(step):
            assert again, f"{sim.missing(step)} in step {step['number']}\n{planner.describe(plan)}"
            carry(sim, planned(layout, sim.observed()), layout, again - 1)
            return
    again = planned(layout, sim.observed())
    assert (again["path"], again["steps"], again["complete"]) == ("none", [], True), planner.describe(again)
    for name, daemon in sim.daemons.items():
        assert daemon.local == daemon.cluster, name
        version, links, options = simulation.read(daemon.local)
        assert (version, links, options) == (daemon.version, daemon.links, daemon.options), name
        assert links == {n: link["addresses"] for n, link in layout["links"].items()}
        assert options == {n: link["options"] for n, link in layout["links"].items()}


def half_done(step, nodes, alike=False):
    """
    Every way to leave a step half done: (nodes with the file, nodes that reloaded).

    `alike`: two ways that differ only in which node it is count once.
    """
    subsets = [c for size in range(len(nodes) + 1) for c in itertools.combinations(nodes, size)]
    for files in subsets:
        if step["act"] == "publish":
            continue
        for reloads in subsets:
            first = tuple(nodes[: len(files)]), tuple(nodes[: len(reloads)])
            if set(reloads) <= set(files) and (not alike or (files, reloads) == first):
                yield files, reloads


def replay(sim, layout, chance=1.0, rng=None, alike=False):
    """Carry a plan out, and from each point on the way a new plan; return the number of points."""
    points, running, steps = 0, sim.copy(), None
    for _ in range(20):
        if not steps:
            plan = planned(layout, running.observed())
            assert not any(f["severity"] == "error" for f in plan["findings"]), planner.describe(plan)
            assert plan["complete"] and plan["expected_loss_s"] == 0.0
            steps = list(plan["steps"])
            if not steps:
                return points
        step = steps.pop(0)
        for files, reloads in half_done(step, list(sim.daemons), alike):
            if rng and rng.random() > chance:
                continue
            broken = running.copy()
            broken.take(step, files, reloads)
            assert broken.lost == [], f"{files} {reloads} of step {step['number']}\n{planner.describe(plan)}"
            again = planned(layout, broken.observed())
            assert not any(f["severity"] == "error" for f in again["findings"]), planner.describe(again)
            carry(broken, again, layout, 1 if sim.dead else 0)
            points += 1
        running.take(step)
        assert running.lost == []
        if running.missing(step):
            assert sim.dead
            steps = []  # the runner stops here, and plans again
    raise AssertionError("no end in 20 steps")


def talks(links, dead):
    return any(net not in dead for net in links.values())
