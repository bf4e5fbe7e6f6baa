"""The exit checklist: all of it true on a healthy cluster, and each item found when it is broken."""

import pytest
from phases import PUBLIC, VRACK, failing, guest, run

from lab.cluster import wait_for

HOSTS = "/etc/hosts"
OTHER_KEY = "pve1 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7\n"


@pytest.fixture
def cluster(lab):
    """A healthy cluster with a replication job that has run."""
    lab.wait_minions()
    guest(lab)
    for node in lab.nodes:  # the lab's way back to its first state starts pve-cluster anew
        sh(lab, node, "systemctl", "restart", "pve-firewall")
    return lab


def sh(lab, node, *argv):
    lab.exec(node, list(argv), check=True)


def names(lab):
    text = lab.read("pve1", HOSTS)
    lab.write("pve1", HOSTS, text.replace(VRACK["pve2"], PUBLIC["pve2"]))


def primary(lab):
    lab.write("pve2", HOSTS, lab.read("pve2", HOSTS).replace(VRACK["pve2"], PUBLIC["pve2"]))
    sh(lab, "pve2", "systemctl", "restart", "pve-cluster")


def failed_job(lab):
    lab.write(
        "pve2", "/etc/pve/nodes/pve2/ssh_known_hosts", "pve2 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7\n"
    )
    assert lab.exec("pve1", ["pvesr", "run", "--id", "100-0"]).returncode != 0


def disarmed(lab):
    sh(lab, "pve1", "ha-manager", "add", "vm:100", "--state", "started")
    sh(lab, "pve2", "systemctl", "stop", "pve-ha-lrm")


def datacenter(lab):
    lab.write("pve1", "/etc/pve/datacenter.cfg", "replication: secure,network=192.0.2.0/24\n")


def stopped_file_system(lab):
    sh(lab, "pve2", "systemctl", "stop", "pve-cluster")


def other_bytes(lab):
    lab.write(
        "pve2", "/etc/corosync/corosync.conf", lab.read("pve2", "/etc/corosync/corosync.conf") + "# edited\n"
    )


def other_version(lab):
    text = lab.read("pve2", "/etc/corosync/corosync.conf")
    number = next(line.split()[1] for line in text.splitlines() if "config_version:" in line)
    lab.write(
        "pve2",
        "/etc/corosync/corosync.conf",
        text.replace(f"config_version: {number}", f"config_version: {int(number) + 7}"),
    )


def option(lab):
    text = lab.read("pve2", "/etc/corosync/corosync.conf")
    lab.write(
        "pve2",
        "/etc/corosync/corosync.conf",
        text.replace("    linknumber: 0\n", "    knet_link_priority: 9\n    linknumber: 0\n"),
    )


def cut(lab):
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="both nodes to lose quorum")


#: item: (what breaks it, words in what is seen)
BROKEN = {
    "answers": (lambda lab: sh(lab, "pve2", "systemctl", "stop", "salt-minion"), "pve2: no answer"),
    "links connected": (cut, "link 0 pve1->pve2"),
    "quorum": (cut, "not quorate"),
    "one ring": (cut, "on pve2"),
    "options": (option, "pve2: link 0 has"),
    "versions": (other_version, "local file of pve2"),
    "same bytes": (other_bytes, "local file of pve2"),
    "cluster file system": (stopped_file_system, "pve2: not mounted"),
    "primary": (primary, "pve2 is 198.51.102.10, not 10.66.0.2"),
    "names": (names, "pve1: pve2 is 198.51.102.10, not 10.66.0.2"),
    "PVE's ssh": (lambda lab: sh(lab, "pve2", "systemctl", "stop", "ssh"), "pve1: to pve2"),
    "replication": (failed_job, "pve1: job 100-0 to pve2"),
    "certificates": (lambda lab: sh(lab, "pve2", "rm", "/etc/pve/nodes/pve2/pve-ssl.pem"), "pve2: "),
    "known hosts": (lambda lab: lab.write("pve1", "/etc/pve/nodes/pve1/ssh_known_hosts", OTHER_KEY), "pve1"),
    "HA": (disarmed, "pve2: pve-ha-lrm inactive"),
    "migration network": (datacenter, "192.0.2.0/24"),
    "services": (lambda lab: sh(lab, "pve1", "systemctl", "restart", "pve-cluster"), "pve1: pve-firewall"),
}


def test_a_healthy_cluster_passes_as_data_and_as_a_table(cluster):
    code, report = run(cluster, "corosync.verify")
    assert (code, failing(report)) == (0, []), report
    assert {row["item"] for row in report["checklist"]} == {*BROKEN, "links exact", "addresses"}
    assert all(row["seen"] for row in report["checklist"])
    done = cluster.salt_run("corosync.verify", "full=True")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "19 of 19 items of the exit checklist are true" in lines[0]
    assert sum(line.startswith("ok ") for line in lines) == 19 and "FAIL" not in done.stdout
    # the layout that is not in force
    code, report = run(cluster, "corosync.verify", "degraded")
    assert code == 1 and {"links exact", "addresses", "primary", "names", "PVE's ssh"} <= set(
        failing(report)
    ), report


@pytest.mark.parametrize("item", BROKEN)
def test_each_item_is_found_when_it_is_broken(cluster, item):
    broken, words = BROKEN[item]
    try:
        broken(cluster)
        code, report = run(cluster, "corosync.verify")
    finally:
        for node in cluster.nodes:
            cluster.exec(node, ["systemctl", "start", "salt-minion", "ssh"])
    assert code == 1, report
    row = next(row for row in report["checklist"] if row["item"] == item)
    assert not row["ok"] and words in row["seen"], row


def test_expected_votes_that_are_not_the_nodelists_are_open(cluster):
    sh(cluster, "pve1", "corosync-quorumtool", "-e", "3")
    code, report = run(cluster, "corosync.verify")
    assert (code, failing(report)) == (1, ["quorum"]), report
    row = next(row for row in report["checklist"] if row["item"] == "quorum")
    assert "expected votes 3, nodelist 2" in row["seen"]
