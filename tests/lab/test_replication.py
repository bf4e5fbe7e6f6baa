"""Replication follows the primary network, and where it went is proved by the peer's sshd."""

import pytest
from phases import PUBLIC, VRACK, codes, guest, heal, logins, members, orchestrate, run, starts, texts


@pytest.fixture
def cluster(lab):
    """Two nodes, with a guest on pve1 that is replicated to pve2."""
    lab.wait_minions()
    guest(lab)
    return lab


def replicated(lab, wanted, source):
    """Run the jobs; insist that they went to an address of pve2, from one of pve1, and return the report."""
    before = len(logins(lab, "pve2"))
    code, report = run(lab, "corosync.replicate", "degraded" if wanted in PUBLIC.values() else "nominal")
    assert (code, report["result"]) == (0, "done"), report
    (job,) = report["jobs"]
    assert (job["job"], job["source"], job["target"], job["ok"]) == ("100-0", "pve1", "pve2", True)
    assert (job["members"], job["sockets"], job["from"]) == (wanted, [wanted], source)
    assert job["logins"] >= 1  # the job's own; that of the test of the way before it does not count
    assert set(logins(lab, "pve2")[before:]) == {source}
    return report


def test_replication_goes_to_the_vrack_then_to_the_public_network_and_back(cluster):
    replicated(cluster, VRACK["pve2"], VRACK["pve1"])

    cluster.cut("vrack")
    code, said = orchestrate(cluster, "failover")
    assert code == 0, said
    assert "pve1 -> pve2 over 198.51.102.10" in said and "items ok" in said
    assert logins(cluster, "pve2")[-1] == PUBLIC["pve1"]
    assert members(cluster, "pve1") == members(cluster, "pve2") == PUBLIC
    replicated(cluster, PUBLIC["pve2"], PUBLIC["pve1"])

    # while the vRack is cut there is no way back, and the matrix shows why
    code, said = orchestrate(cluster, "nominal")
    assert code == 1, said
    assert "goal-cannot-carry" in said and "1 DOWN" in said
    assert members(cluster, "pve1") == PUBLIC

    heal(cluster)
    code, said = orchestrate(cluster, "nominal")
    assert code == 0, said
    assert members(cluster, "pve1") == members(cluster, "pve2") == VRACK
    assert logins(cluster, "pve2")[-1] == VRACK["pve1"]

    # once more: nothing is restarted
    before = starts(cluster)
    code, said = orchestrate(cluster, "nominal")
    assert code == 0, said
    assert starts(cluster) == before


def test_a_job_that_fails_is_named_with_its_error(cluster):
    cluster.write(
        "pve2", "/etc/pve/nodes/pve2/ssh_known_hosts", "pve2 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQC7\n"
    )
    code, report = run(cluster, "corosync.replicate")
    assert (code, report["result"]) == (1, "failed"), report
    assert codes(report) == ["replication-failed"]
    assert "job 100-0 on pve1" in texts(report) and "Host key verification failed" in texts(report)
    assert "go on:   salt-run corosync.replicate nominal" in report["next"]


def test_a_dead_address_is_told_at_once(cluster):
    cluster.exec("pve2", ["nft", "add", "table", "inet", "t"], check=True)
    cluster.exec(
        "pve2",
        ["nft", "add", "chain", "inet", "t", "in", "{ type filter hook input priority 0; }"],
        check=True,
    )
    cluster.exec("pve2", ["nft", "add", "rule", "inet", "t", "in", "tcp", "dport", "22", "drop"], check=True)
    code, report = run(cluster, "corosync.replicate")
    assert (code, codes(report)) == (1, ["replication-failed"]), report
    assert VRACK["pve2"] in texts(report) and "timed out" in texts(report)
    assert report["seconds"]["total"] < 40


def test_a_job_that_goes_elsewhere_is_no_success(cluster):
    code, report = run(cluster, "corosync.replicate", "degraded")
    assert (code, set(codes(report))) == (1, {"replication-astray"}), report
    assert "not to 198.51.102.10" in texts(report)
