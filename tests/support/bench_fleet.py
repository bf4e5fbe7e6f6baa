"""How long a command takes on a master with 1, 20 and 200 clusters of two nodes: tests/bench fleet

A real master configuration, keys and pillars (one line of top.sls a minion) in a temporary folder; the
answers of the nodes are simulated and cost nothing. Every number is of a process that does what salt-run
does: it imports Salt, reads the configuration, loads the runner and calls it. Medians; ratios to one cluster.
"""

import copy
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "_utils"), str(REPO / "tests/unit")]
NODES = ("pve1", "pve2")


def write_master(folder, clusters):
    """Write configuration, keys and pillars of a master; return the path of its configuration."""
    from _sequence_world import pillar  # the unit tests' cluster

    folder, top = Path(folder), {}
    for path in ("pillar/clusters", "pki/minions"):
        (folder / path).mkdir(parents=True)
    for name in names(clusters):
        given = pillar(NODES) | {"cluster_name": name}
        for node in NODES:
            given["nodes"][node]["minion"] = f"{name}-{node}"
            top[f"{name}-{node}"] = [f"clusters.{name}"]
            (folder / f"pki/minions/{name}-{node}").write_text("a key\n")
        (folder / f"pillar/clusters/{name}.sls").write_text(json.dumps({"corosync": given}))
    (folder / "pillar/top.sls").write_text(json.dumps({"base": top}))
    own = {key: str(folder / key) for key in ("cachedir", "sock_dir")}
    own |= {
        "root_dir": str(folder),
        "pki_dir": str(folder / "pki"),
        "pillar_roots": {"base": [str(folder / "pillar")]},
        "file_roots": {"base": []},
        "runner_dirs": [str(REPO / "_runners")],
        "utils_dirs": [str(REPO / "_utils")],
        "log_file": str(folder / "log"),
        "user": "root",
    }
    (folder / "master").write_text(json.dumps(own))
    return str(folder / "master")


def names(clusters):
    """Return the names of so many clusters."""
    return [f"c{number:03}" for number in range(clusters)]


def answers(ids, fun):
    """Return what healthy nodes answer, as return events."""
    import simulation
    from _sequence_world import pillar
    from pve_corosync.node import code

    same = code.digest(code.beside(str(REPO / "_runners/corosync.py")))  # as the master reads its own
    observed = json.dumps(simulation.Sim({0: "vrack"}, NODES).observed()["nodes"])
    found = {}
    for minion in ids:
        cluster, node = minion.split("-")
        facts = json.loads(observed.replace(": prod", f": {cluster}").replace('"prod"', f'"{cluster}"'))[node]
        given = copy.deepcopy(pillar(NODES)) | {"cluster_name": cluster}
        for name in NODES:
            given["nodes"][name]["minion"] = f"{cluster}-{name}"
        facts |= {"minion": minion, "code": same}
        told = facts if fun == "corosync.facts" else {"facts": facts, "pillar": given}
        found[minion] = {"id": minion, "return": told, "retcode": 0, "success": True}
    return found


def child(config, function, *words):
    """Call a function of the runner, and print the seconds of its own and how it ended."""
    import salt.config
    import salt.runner
    from pve_corosync.ports import master

    spent = []

    def publish(_self, ids, fun, *_rest, **_more):
        begun = time.process_time()
        found = answers(list(ids), fun)
        spent.append(time.process_time() - begun)  # nodes make their answers themselves
        return "1", found, []

    master.Master.publish = publish
    opts = salt.config.master_config(config)
    function = salt.runner.RunnerClient(opts).functions[function]
    report = function(**dict(word.split("=") for word in words))
    print(
        json.dumps(
            {
                "retcode": report["retcode"],
                "summary": report.get("summary"),
                "findings": report.get("findings"),
                "simulated": sum(spent),
            }
        )
    )


def measure(config, *words):
    """Return the CPU seconds of a process, without the making of simulated answers: a wait is no work, and
    what else the machine does is not measured."""
    begun = _cpu()
    command = [sys.executable, "-W", "ignore", __file__, config, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["retcode"]:
        raise SystemExit(f"{words}: {told}")
    return _cpu() - begun - told["simulated"]


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs=5, sizes=(1, 20, 200)):
    """Print the table."""
    import salt.version

    rows = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            config, last = write_master(folder, size), f"cluster={names(size)[-1]}"
            row = {"first look, no index": measure(config, "corosync.status", last)}
            row["status of one cluster"] = statistics.median(
                measure(config, "corosync.status", last) for _run in range(runs)
            )
            row["fleet"] = statistics.median(measure(config, "corosync.fleet") for _run in range(runs))
            rows[size] = row
    print(
        f"Salt {salt.version.__version__}, {runs} runs, medians, CPU of a process from start to end;"
        f" ratio to {sizes[0]}\n"
    )
    print(f"{'':<24}" + "".join(f"{f'{size} cluster' + 's' * (size > 1):>20}" for size in sizes))
    for name, base in rows[sizes[0]].items():
        cells = [f"{rows[size][name]:.2f} s {rows[size][name] / base:>6.2f}" for size in sizes]
        print(f"{name:<24}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    child(*sys.argv[1:])
