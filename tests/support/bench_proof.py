"""How long a node thinks until it knows that nothing is to do: tests/bench highstate

The proof of a node alone (``run.proof``), which asks nobody, beside the look at all nodes that it replaces:
plan and checklist of the answers of all, without the ssh to each of them. CPU time, medians of one process;
ratios to the smallest cluster. The node's own tools come on top of both, the same for any number of nodes.
"""

import statistics
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "_utils"), str(REPO / "tests/unit")]

import simulation  # noqa: E402
from _sequence_world import pillar  # noqa: E402
from pve_corosync.cluster import memory  # noqa: E402
from pve_corosync.judge import checklist  # noqa: E402
from pve_corosync.pillar import layouts  # noqa: E402
from pve_corosync.run import alone, proof  # noqa: E402


def world(size):
    """Return the request of a node, what all nodes report, and a note of the key."""
    nodes = tuple(f"pve{number}" for number in range(1, size + 1))
    observed = simulation.Sim({0: "vrack"}, nodes).observed()
    for name, facts in observed["nodes"].items():
        rows = facts["runtime"]["nodes"]
        facts["pmxcfs"]["members"] = {
            "nodename": name,
            "cluster": {"name": "prod", "version": facts["runtime"]["version"], "nodes": size, "quorate": 1},
            "nodelist": {
                peer: {"id": row["nodeid"], "online": 1, "ip": row["addresses"][0]}
                for peer, row in rows.items()
            },
        }
    request = alone.Request(pillar(nodes), "pve1", "pve1")
    return request, observed, memory.note(observed["nodes"]["pve1"])


def middle(work, runs):
    """Return the median of the CPU seconds of some work."""
    taken = []
    for _run in range(runs):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def main(runs=5, sizes=(2, 3, 8, 32)):
    """Print the table."""
    print(f"{runs} runs, medians, CPU; ratio to {sizes[0]} nodes\n")
    print(f"{'nodes':>5} {'proof':>12} {'ratio':>6} {'look at all':>12} {'ratio':>6}")
    first = None
    for size in sizes:
        request, observed, noted = world(size)
        own = observed["nodes"]["pve1"]

        def prove():
            layout = layouts.resolve(request.loaded)
            found = proof.proof(own, layout, "pve1", noted)
            if found:
                raise SystemExit(f"not proved: {found}")

        def look():
            made, _findings = request.plan(observed, [])
            if made["steps"] or not checklist.passed(request.checklist(observed)[0]):
                raise SystemExit("there is something to do")

        row = (middle(prove, runs), middle(look, runs))
        first = first or row
        print(
            f"{size:>5} {1000 * row[0]:>9.1f} ms {row[0] / first[0]:>6.2f} {1000 * row[1]:>9.1f} ms"
            f" {row[1] / first[1]:>6.2f}"
        )
