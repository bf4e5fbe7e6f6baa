"""How much time rules and plan take as clusters grow: a line for each size, on simulated clusters, no lab."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "unit"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "_utils"))

import simulation  # noqa: E402
from pve_corosync.plan import planner  # noqa: E402

NODES = (2, 4, 8, 16, 32)
LINKS = (1, 2, 4, 8)


def milliseconds(count, links, runs=3):
    """
    Return the CPU time of one plan, rules and invariants included, in ms: the least of some runs.

    count
        Nodes.
    links
        Links; the goal moves the last one to another network on the planned path. With all eight numbers in
        use it is taken away instead.
    """
    names = [*simulation.NETS, *(f"net{number}" for number in range(6))]
    for number, name in enumerate(names[3:]):
        simulation.NETS.setdefault(name, f"10.{number}.0.{{}}")
    nodes = [f"pve{number}" for number in range(1, count + 1)]
    now = {number: names[number] for number in range(links)}
    wanted = now | {links - 1: names[links]}
    if links == LINKS[-1]:
        wanted.pop(links - 1)
    goal = simulation.layout(wanted, nodes)
    times = []
    for number in range(runs):
        observed = simulation.Sim(now, nodes, version=5 + number).observed()  # no text that was read before
        start = time.process_time()
        made = planner.plan(goal, observed)
        times.append(1000 * (time.process_time() - start))
        assert made["complete"] and made["path"] == "planned", planner.describe(made)
    return min(times)


def table():
    """Print a line for each number of links and nodes."""
    for links in LINKS:
        for count in NODES:
            print(f"{count} nodes, {links} links: {milliseconds(count, links):.0f} ms", flush=True)
