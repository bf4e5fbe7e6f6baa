"""Three nodes of real daemons: two of them have the quorum, whatever becomes of the third."""

import json
import time

import pytest
from highstates import changes, highstate, unmet
from links import PUBLIC, VRACK, addresses, cut_off, files, healthy, reach, version
from phases import codes, flat, heal, run, starts
from reinstalled import GUESTS, reinstall, unlike
from runbook import typed
from watching import acted, brought, forgotten, in_force, policy, said

from lab.cluster import wait_for


@pytest.fixture
def three(booted_three):
    """They are in their first state, their minions answer, and every replication job has run."""
    booted_three.reset()
    booted_three.wait_minions()
    booted_three.exec("pve1", ["pvesr", "run", "--id", "100-0"], check=True)
    return booted_three


def test_of_three_nodes_two_stay_quorate_and_take_the_third_back(three):
    """Its entry is overwritten, so that it has its nodeid again, and the others never lose quorum."""
    three.write("pve1", "/etc/pve/nodes/pve3/qemu-server/1300.conf", "memory: 64\n")
    before = three.exec("pve1", GUESTS, check=True).stdout
    reinstall(three, "pve3")
    wait_for(lambda: three.members("pve1") == [1, 2], 30, what="pve3 to be gone")
    told = json.loads(three.salt_run("--out=json", "corosync.rebuild", "pve3", "test=True").stdout)
    assert "its entry is overwritten" in told["summary"] and three.members("pve1") == [1, 2], told
    losses = ["journalctl", "--no-pager", "-o", "cat", "-u", "pve-cluster", "--grep", "node lost quorum"]
    lost = three.exec("pve1", losses).stdout
    done = three.salt_run("state.orchestrate", "orch.rebuild", 'pillar={"node": "pve3"}', timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(map(three.healthy, three.nodes)) and len(files(three)) == 1
    assert {node: three.members(node) for node in three.nodes} == dict.fromkeys(three.nodes, [1, 2, 3])
    assert three.exec("pve1", losses).stdout == lost
    assert three.exec("pve1", GUESTS, check=True).stdout == before
    assert not unlike(three)
    states = highstate(three, "pve3")["pve3"]
    assert unmet(states) == {}
    assert changes(highstate(three, "pve3")["pve3"]) == {}


def test_a_node_leaves_for_good_and_a_new_one_joins(three):
    """Out by pvecm delnode, and two keep the quorum; one that nobody lists joins, and all know its name."""
    refused = three.salt_run("state.orchestrate", "orch.remove", 'pillar={"node": "pve3"}')
    assert refused.returncode == 1 and "is a member of pve1, pve2" in flat(refused.stdout), refused
    reinstall(three, "pve3")
    wait_for(lambda: three.members("pve1") == [1, 2], 30, what="pve3 to be gone")
    done = three.salt_run("state.orchestrate", "orch.remove", 'pillar={"node": "pve3"}')
    assert done.returncode == 0 and "pve3 is out" in flat(done.stdout), done
    left = ["pve1", "pve2"]
    (text,) = files(three, left)
    assert "pve3" not in text and all(map(three.quorate, left))
    for node in left:
        three.exec(node, ["sed", "-i", "/pve3/d", "/etc/hosts"], check=True)
    done = three.salt_run("state.orchestrate", "orch.add", 'pillar={"node": "pve3"}', timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {node: three.members(node) for node in three.nodes} == dict.fromkeys(three.nodes, [1, 2, 3])
    assert all("pve3" in three.read(node, "/etc/hosts") for node in left)
    assert not unlike(three)


def absences(lab, node, since):
    """Return ``[(begin, end)]``: when a node's pmxcfs had no quorum, as its journal has it."""
    ask = ["journalctl", "--no-pager", "-o", "short-unix", "-u", "pve-cluster", f"--since=@{since}"]
    found = []
    for line in lab.exec(node, ask, check=True).stdout.splitlines():
        if "node lost quorum" in line:
            found.append([float(line.split()[0])])
        elif "node has quorum" in line and found:
            found[-1].append(float(line.split()[0]))
    return [tuple(row) for row in found]


def test_a_restart_goes_from_node_to_node_and_two_of_three_may_always_write(three):
    """An unchanged link carries: one daemon at a time is away, until its node may write to /etc/pve again."""
    before, since = starts(three, "corosync"), int(time.time())
    code, report = run(three, "corosync.restart")
    assert (code, report["result"]) == (0, "reached"), report
    now = starts(three, "corosync")
    assert all(now[node] != before[node] for node in three.nodes)
    away = {node: absences(three, node, since) for node in three.nodes}
    assert all(away.values()), away
    rows = sorted(row for rows in away.values() for row in rows)
    assert all(one[1] < two[0] for one, two in zip(rows, rows[1:])), away


def test_three_nodes_and_a_dead_third(three):
    """Failover and return of three nodes; then the third is dead, and the others go without it."""
    cut_off(three)
    report = reach(three, "degraded")
    assert len(report["done"][0]["nodes"]) == 3
    healthy(three)
    heal(three)
    assert run(three, "corosync.status")[0] == 0
    report = reach(three)
    assert len(report["rings"]) == 1

    three.crash("pve3")
    left = ["pve1", "pve2"]
    wait_for(lambda: three.members("pve1") == [1, 2], 40, what="pve3 to be missed")
    before = files(three, left)
    code, screen = typed(three, "One node dead", 0)
    assert code == 1 and screen.startswith("prod has quorum, but"), screen
    assert "pve3 does not answer" in screen, screen
    code, report = run(three, "corosync.apply", "degraded")
    assert (code, report["result"]) == (1, "refused")
    assert "node-silent" in codes(report, None)
    assert files(three, left) == before
    code, screen = typed(three, "One node dead", 1)
    assert code == 0 and "WITHOUT pve3" in screen, screen
    healthy(three, left)
    assert addresses(three, left)[0] == set(PUBLIC.values())


def test_two_of_three_fail_over_by_themselves_once_the_dead_one_is_skipped(three):
    with brought(three):
        forgotten(three)
        three.crash("pve3")
        left = ["pve1", "pve2"]
        wait_for(lambda: three.members("pve1") == [1, 2], 40, what="pve3 to be missed")
        before = version(three, "pve1")
        three.cut("vrack")
        wait_for(lambda: not any(map(three.quorate, left)), 40, what="the nodes to lose quorum")
        said(three, "watch-silent")
        assert version(three, "pve1") == before, "a node that the layout needs does not answer"
        policy(three, skip=["pve3"])
        in_force(three, {0: set(PUBLIC.values()), 1: set(VRACK.values())}, 180, left)
        assert acted(three, "failover")["failovers"] == 1
        healthy(three, left)
