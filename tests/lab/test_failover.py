"""Failover and return on real daemons: the runner, end to end."""

import json
import re
import threading
import time

import pytest
from links import PUBLIC, VRACK, addresses, cut_off, files, healthy, reach, version
from phases import codes, flat, heal, run, starts
from runbook import typed

from lab.cluster import wait_for


@pytest.fixture
def cluster(lab):
    """The two nodes in their first state, and their minions answer."""
    lab.wait_minions()
    return lab


def world(lab):
    """Return what a second run must leave as it is: files, names, certificates, when services began."""
    paths = [
        "/etc/corosync/corosync.conf",
        "/etc/pve/corosync.conf",
        "/etc/hosts",
        "/etc/pve/local/pve-ssl.pem",
    ]
    return starts(lab), [lab.exec(node, ["sha256sum", *paths], check=True).stdout for node in lab.nodes]


def test_failover_with_the_link_cut_and_return(cluster):
    """The way of the guide, orchestrated; every second run changes nothing; nominal waits for the vRack."""
    cut_off(cluster)
    done = cluster.salt_run("state.orchestrate", "orch.failover")
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(
        r"reached and verified, quorate after ([0-9.]+) s, writable after ([0-9.]+) s", flat(done.stdout)
    )
    assert told, done.stdout
    assert float(told[1]) <= float(told[2]) < 20
    healthy(cluster)
    assert addresses(cluster) == {0: {PUBLIC["pve1"], PUBLIC["pve2"]}, 1: {VRACK["pve1"], VRACK["pve2"]}}

    before = world(cluster)
    done = cluster.salt_run("state.orchestrate", "orch.failover")
    assert done.returncode == 0 and "reached already" in flat(done.stdout), done
    assert world(cluster) == before
    done = cluster.salt_run("state.orchestrate", "orch.nominal")
    assert done.returncode == 1 and "goal-cannot-carry" in done.stdout, done
    assert world(cluster) == before

    heal(cluster)
    rings = {
        cluster.exec(node, ["corosync-quorumtool", "-s"]).stdout.split("Ring ID:")[1].split()[0]
        for node in cluster.nodes
    }
    done = cluster.salt_run("state.orchestrate", "orch.nominal")
    assert done.returncode == 0 and "membership kept" in flat(done.stdout), done
    assert rings == {
        cluster.exec(node, ["corosync-quorumtool", "-s"]).stdout.split("Ring ID:")[1].split()[0]
        for node in cluster.nodes
    }
    healthy(cluster)
    assert addresses(cluster) == {0: {VRACK["pve1"], VRACK["pve2"]}}
    before = world(cluster)
    done = cluster.salt_run("state.orchestrate", "orch.nominal")
    assert done.returncode == 0 and "reached already" in flat(done.stdout), done
    assert world(cluster) == before
    assert run(cluster, "corosync.verify")[0] == 0


def test_failover_with_the_card_gone(cluster):
    """One node has lost its vRack card altogether, with the address."""
    cluster.lose_card("pve2", "vrack")
    wait_for(lambda: not any(map(cluster.quorate, cluster.nodes)), 40, what="the nodes to lose quorum")
    report = reach(cluster, "degraded")
    assert "link-dead" in codes(report, None)
    assert report["seconds"]["quorate"] < 15
    healthy(cluster)


def test_failover_before_the_quorum_is_lost(cluster):
    """The link is whole: the layout is reached through the cluster file, without a change of membership."""
    report = reach(cluster, "degraded")
    assert {step["act"] for step in report["steps"]} == {"cluster"}
    assert len(report["rings"]) == 1
    healthy(cluster)


def test_a_public_side_that_is_slow_to_come(cluster):
    """Corosync's packets pass on one node's public side only some seconds after the failover has begun."""
    cut_off(cluster)
    rules = "table inet slow { chain in { type filter hook input priority 0; udp dport 5405-5412 drop; }; }"
    cluster.exec("pve2", ["nft", "-f", "-"], stdin=rules, check=True)
    begin = version(cluster, "pve2")

    def open_later():
        wait_for(lambda: version(cluster, "pve2") > begin, 60, every=0.1, what="the first reload on pve2")
        time.sleep(5)
        cluster.exec("pve2", ["nft", "delete", "table", "inet", "slow"], check=True)

    opened = threading.Thread(target=open_later)
    opened.start()
    try:
        report = reach(cluster, "degraded")
    finally:
        opened.join()
    first = report["done"][0]
    assert first["number"] == 1 and 5 <= first["seconds"] < 20, report["done"]
    healthy(cluster)


def test_a_node_that_loses_the_master_in_a_step(cluster):
    """Its answer cannot come back for some seconds: the outcome is asked for, and the run goes on."""
    cut_off(cluster)
    result = {}
    thread = threading.Thread(
        target=lambda: result.update(
            done=cluster.salt_run("--out=json", "corosync.apply", "degraded", timeout=240)
        )
    )
    begin = version(cluster, "pve2")
    thread.start()
    rules = (
        "table inet lost { chain out { type filter hook output priority 0; tcp dport { 4505, 4506 } drop; };"
        " chain in { type filter hook input priority 0; tcp sport { 4505, 4506 } drop; }; }"
    )
    wait_for(lambda: version(cluster, "pve2") == begin + 3, 60, every=0.05, what="the third reload on pve2")
    cluster.exec("pve2", ["nft", "-f", "-"], stdin=rules, check=True)
    time.sleep(9)
    cluster.exec("pve2", ["nft", "delete", "table", "inet", "lost"], check=True)
    thread.join(240)
    done = result["done"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "asking for the outcome" in flat(done.stderr), done
    assert json.loads(done.stdout)["result"] == "reached"
    healthy(cluster)


def test_a_silent_node_is_refused_at_once(cluster):
    """A minion that is down is named within the gathering's deadline, and nothing is written."""
    before = files(cluster)
    cluster.exec("pve2", ["systemctl", "stop", "salt-minion"], check=True)
    try:
        begun = time.monotonic()
        code, report = run(cluster, "corosync.apply", "degraded")
        assert (code, report["result"]) == (1, "refused")
        assert codes(report, None)[0] == "node-silent"
        assert time.monotonic() - begun < 20
    finally:
        cluster.exec("pve2", ["systemctl", "start", "salt-minion"], check=True)
    assert files(cluster) == before


def test_a_run_whose_master_process_was_killed_is_gone_on_with(cluster):
    """Its step still ends on the nodes; the next run takes over, and plans from what that step left."""
    cut_off(cluster)
    first = version(cluster, "pve1")
    results = []
    words = ["salt-run", "corosync.apply", "degraded"]
    running = threading.Thread(target=lambda: results.append(cluster.exec("master", words, timeout=60)))
    running.start()
    wait_for(
        lambda: f"config_version: {first + 1}\n" in cluster.read("pve1", "/etc/corosync/corosync.conf"),
        30,
        every=0.05,
        what="step 1 on pve1",
    )
    cluster.exec("master", ["pkill", "-9", "-f", " ".join(words)], check=True)
    running.join()
    assert results[0].returncode in (-9, 137), results
    _, report = run(cluster, "corosync.status")
    assert "run-dead" in codes(report, "info") and "run-busy" not in codes(report)
    code, said = typed(cluster, "Half-done run", 0)
    assert code == 1 and "state.orchestrate orch.failover" in said.split(" pve1 ")[0], said
    assert typed(cluster, "Half-done run", 1)[0] == 0
    name = run(cluster, "corosync.journal", "last=1")[1]["runs"][0]["jid"]
    code, said = typed(cluster, "Half-done run", 2, instead=[("20261126031200000000", name)])
    assert code == 0 and "degraded" in said, said
    report = reach(cluster, "degraded")
    assert report["from_version"] == first + 1 and [row["ok"] for row in report["done"]].count(False) == 0
    healthy(cluster)
    assert addresses(cluster) == {0: {PUBLIC["pve1"], PUBLIC["pve2"]}, 1: {VRACK["pve1"], VRACK["pve2"]}}
