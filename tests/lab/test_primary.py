"""The primary network: names, .members, pve-cluster node by node, datacenter.cfg."""

import pytest
from phases import PUBLIC, VRACK, codes, members, run, starts, texts

from lab.cluster import wait_for


@pytest.fixture
def cluster(lab):
    """Two nodes in `degraded`, as far as the links go."""
    lab.wait_minions()
    return lab


def reach(lab, layout):
    code, report = run(lab, "corosync.apply", layout)
    assert code == 0, report


def test_the_names_move_behind_the_links_and_nothing_is_restarted_twice(cluster):
    # before the links are there, nothing moves
    code, report = run(cluster, "corosync.move_primary", "degraded")
    assert (code, codes(report)) == (1, ["links-not-ready"]), report
    assert "corosync.apply degraded" in report["findings"][0]["remedy"]

    reach(cluster, "degraded")
    hosts = cluster.read("pve1", "/etc/hosts")
    before = starts(cluster)
    code, report = run(cluster, "corosync.move_primary", "degraded", "test=True")
    assert (code, report["result"], report["changes"]["restart"]) == (0, "test", ["pve1", "pve2"]), report
    assert (cluster.read("pve1", "/etc/hosts"), starts(cluster)) == (hosts, before)

    code, report = run(cluster, "corosync.move_primary", "degraded")
    assert (code, report["result"]) == (0, "done"), report
    assert members(cluster, "pve1") == members(cluster, "pve2") == PUBLIC
    restarted = [list(row["nodes"]) for row in report["done"] if row["text"] == "restart pve-cluster"]
    assert restarted == [["pve1"], ["pve2"]]  # one after the other
    changed = cluster.read("pve1", "/etc/hosts").splitlines()
    assert [line for line in changed if line not in hosts.splitlines()] == [
        f"{PUBLIC[name]} {name}.lab.internal {name}" for name in PUBLIC
    ]
    after = starts(cluster)
    assert all(after[node] != before[node] for node in cluster.nodes)

    code, report = run(cluster, "corosync.move_primary", "degraded")
    assert (code, report["result"]) == (0, "already"), report
    assert starts(cluster) == after


def test_only_the_node_whose_own_address_is_another_one_is_restarted(cluster):
    text = cluster.read("pve2", "/etc/hosts").replace(VRACK["pve2"], PUBLIC["pve2"])
    cluster.write("pve2", "/etc/hosts", text)
    cluster.exec("pve2", ["systemctl", "restart", "pve-cluster"], check=True)
    before = starts(cluster, "pve-cluster")
    code, report = run(cluster, "corosync.move_primary")
    assert (code, report["result"]) == (0, "done"), report
    assert members(cluster, "pve1") == VRACK
    now = starts(cluster, "pve-cluster")
    assert now["pve1"] == before["pve1"] and now["pve2"] != before["pve2"]


def test_an_address_that_a_node_lacks_is_refused_before_anything_changes(cluster):
    cluster.lose_card("pve2", "vrack")
    wait_for(lambda: not any(map(cluster.quorate, cluster.nodes)), 30, what="both nodes to lose quorum")
    reach(cluster, "degraded")
    hosts, before = [cluster.read(node, "/etc/hosts") for node in cluster.nodes], starts(cluster)
    code, report = run(cluster, "corosync.move_primary", "nominal", "force=links-not-ready")
    assert (code, report["result"]) == (1, "refused") and "phase-failed" in codes(report), report
    assert "pve2: 10.66.0.2 is on no interface" in texts(report)
    assert [cluster.read(node, "/etc/hosts") for node in cluster.nodes] == hosts
    assert starts(cluster) == before


def test_a_network_in_datacenter_cfg_is_told(cluster):
    cluster.write("pve1", "/etc/pve/datacenter.cfg", "migration: secure,network=192.0.2.0/24\n")
    code, report = run(cluster, "corosync.move_primary")
    assert (code, codes(report, "warning")) == (0, ["datacenter-network-none"] * 2), report
    cluster.write("pve1", "/etc/pve/datacenter.cfg", "migration: secure,network=198.51.0.0/16\n")
    code, report = run(cluster, "corosync.move_primary")
    assert (code, codes(report, "warning")) == (0, ["datacenter-network-elsewhere"]), report
    assert PUBLIC["pve1"] in texts(report)
