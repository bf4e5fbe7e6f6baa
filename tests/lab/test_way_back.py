"""The way back on real daemons: the network of a return dies in its middle, with a master and without."""

import contextlib
import json
import threading

import pytest
from links import PUBLIC, VRACK, addresses, healthy, reach, version
from phases import codes, heal, run

from lab.cluster import wait_for

DEGRADED = {0: {PUBLIC["pve1"], PUBLIC["pve2"]}, 1: {VRACK["pve1"], VRACK["pve2"]}}
NOMINAL = {0: {VRACK["pve1"], VRACK["pve2"]}}
NO_MASTER = (
    "table inet lost { chain out { type filter hook output priority 0; tcp dport { 4505, 4506 } drop; };"
    " chain in { type filter hook input priority 0; tcp sport { 4505, 4506 } drop; }; }"
)


@pytest.fixture
def degraded(lab):
    """Two nodes with the layout degraded in force, and every network whole."""
    lab.wait_minions()
    reach(lab, "degraded")
    return lab


@contextlib.contextmanager
def returning(lab, *more):
    """A return to nominal that runs for the block, which begins when no public link is left."""
    steps = run(lab, "corosync.plan", "nominal")[1]["steps"]
    bare = next(step for step in steps if "public" not in step["links"].values())
    assert bare is not steps[-1], "there is a step to fail in"
    results = []
    words = ["salt-run", "--out=json", "corosync.apply", "nominal", *more]
    thread = threading.Thread(target=lambda: results.append(lab.exec("master", words, timeout=240)))
    thread.start()
    try:
        wait_for(
            lambda: all(version(lab, node) >= bare["version"] for node in lab.nodes),
            60,
            every=0.05,
            what="the step that leaves only the vRack",
        )
        yield results
    finally:
        thread.join(240)


def timers(lab):
    words = ["systemctl", "list-units", "--all", "--no-legend", "pve-corosync-back*"]
    return [lab.exec(node, words).stdout.strip() for node in lab.nodes]


def gone_back(lab):
    """Wait until the nodes have gone back and are done with it: the files are replaced meanwhile."""
    wait_for(lambda: timers(lab) == ["", ""], 120, every=1, what="the nodes to go back")
    healthy(lab)
    assert addresses(lab) == DEGRADED


def test_a_return_whose_network_dies_goes_back_by_itself(degraded):
    with returning(degraded) as results:
        degraded.cut("vrack")
    report = json.loads(results[0].stdout)
    assert (results[0].returncode, report["result"]) == (1, "failed"), results[0]
    assert "went-back" in codes(report, "warning") and report["back"]["result"] == "reached", report
    healthy(degraded)
    assert addresses(degraded) == DEGRADED
    assert timers(degraded) == ["", ""]
    heal(degraded)
    reach(degraded, "nominal")
    assert addresses(degraded) == NOMINAL


def test_a_return_whose_network_and_master_die_is_gone_back_from_by_the_nodes(degraded):
    degraded.exec("master", ["mkdir", "-p", "/etc/salt/master.d"], check=True)
    degraded.write("master", "/etc/salt/master.d/patience.conf", "pve_corosync:\n  outcome_patience: 2\n")
    try:
        with returning(degraded):
            degraded.cut("vrack")
            degraded.exec("master", ["pkill", "-9", "-f", "corosync.apply nominal"], check=True)
            for node in degraded.nodes:
                degraded.exec(node, ["nft", "-f", "-"], stdin=NO_MASTER, check=True)
        assert all(timers(degraded))
        gone_back(degraded)
    finally:
        degraded.exec("master", ["rm", "/etc/salt/master.d/patience.conf"])
        for node in degraded.nodes:
            degraded.exec(node, ["nft", "delete", "table", "inet", "lost"])
            degraded.exec(node, ["lab-reset", "minion"])  # its connection would try again a minute later
    degraded.wait_minions()
    heal(degraded)
    reach(degraded, "nominal")


def test_a_run_that_nobody_confirms_is_gone_back_from(degraded):
    report = reach(degraded, "nominal", "confirm=10")
    assert report["confirm"]["command"] == "salt-run corosync.confirm" and addresses(degraded) == NOMINAL
    gone_back(degraded)
    reach(degraded, "nominal", "confirm=60")
    code, report = run(degraded, "corosync.confirm")
    assert (code, report["summary"]) == (0, "no node goes back to degraded any more"), report
    assert timers(degraded) == ["", ""] and addresses(degraded) == NOMINAL
