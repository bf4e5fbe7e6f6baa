"""Contract of pmxcfs: start, end, and life without corosync (LAB_PMXCFS=/path checks a real one)."""

import json
import re
import subprocess
import time

import pytest
from contract_nodes import program, pve_major, reload_fails, wait_for

LOCAL = "/etc/corosync/corosync.conf"
CLUSTER = "/etc/pve/corosync.conf"


def addresses(node):
    """Return {name: ip or None} of .members."""
    return {
        name: entry.get("ip")
        for name, entry in json.loads(node.read("/etc/pve/.members")).get("nodelist", {}).items()
    }


@pytest.fixture
def alone(fresh):
    """One node without daemons."""
    return fresh.nodes[0]


@pytest.fixture
def up(fresh):
    """Two running nodes that the test may break."""
    fresh.start()
    return fresh


def refused(node, text):
    """Start pmxcfs, and see it end with an error."""
    node.start_pmxcfs(wait=False)
    wait_for(lambda: node.ended("pmxcfs") is not None, "pmxcfs ends")
    assert node.ended("pmxcfs") != 0
    assert text in node.log("pmxcfs")
    assert not node.mounted()


def test_without_a_configuration_a_node_is_alone_and_writable(alone):
    alone.ok("rm", LOCAL)
    alone.start_pmxcfs()
    text = alone.read("/etc/pve/.members")
    assert re.fullmatch(r'\{\n"nodename": "pve1",\n"version": \d+\n\}\n', text)
    assert alone.quorate()
    alone.ok("sh", "-c", "echo x >/etc/pve/file; mkdir /etc/pve/folder")
    assert alone.read("/etc/pve/file") == "x\n"


def test_before_corosync_answers_there_is_no_nodelist(alone):
    alone.start_pmxcfs()
    assert "nodelist" not in alone.read("/etc/pve/.members")
    assert not alone.quorate()
    assert alone.read(CLUSTER) == alone.read(LOCAL)
    # 8.1.3 logs corosync's number, 9.x its name
    error = "CS_ERR_LIBRARY" if pve_major() > 8 else "2\n"
    assert f"[quorum] crit: quorum_initialize failed: {error}" in alone.log("pmxcfs")
    assert alone.log("pmxcfs").count("[quorum] crit: can't initialize service") == 1
    alone.start_corosync()
    wait_for(lambda: "nodelist" in alone.read("/etc/pve/.members"), "pmxcfs has found corosync by itself", 15)


def test_the_local_file_is_imported_only_when_there_is_no_database(alone, fresh):
    alone.start_pmxcfs()
    assert alone.read(CLUSTER) == fresh.conf(1)
    alone.stop("pmxcfs")
    alone.write(LOCAL, fresh.conf(7))
    alone.start_pmxcfs()
    assert alone.read(CLUSTER) == fresh.conf(1)
    assert alone.read(LOCAL) == fresh.conf(7)
    assert "[dcdb] crit: local corosync.conf is newer" in alone.log("pmxcfs")


def test_a_start_overwrites_a_local_file_of_the_same_version(alone, fresh):
    """Without quorum, from the own database: what makes an edit without a higher version dangerous."""
    alone.start_pmxcfs()
    alone.stop("pmxcfs")
    alone.write(LOCAL, fresh.conf(1, "# by hand\n"))
    alone.start_pmxcfs()
    assert alone.read(LOCAL) == fresh.conf(1)
    assert "wrote new corosync config" in alone.log("pmxcfs")
    assert ("[dcdb] crit: corosync-cfgtool -R failed with exit code" in alone.log("pmxcfs")) is reload_fails(
        alone
    )


def test_local_mode_ignores_quorum_and_leaves_the_local_file(alone, fresh):
    alone.start_pmxcfs()
    alone.stop("pmxcfs")
    alone.start_pmxcfs("-l")
    assert "forcing local mode (although corosync.conf exists)" in alone.log("pmxcfs")
    assert alone.quorate()
    alone.write("/run/conf", fresh.conf(4))
    alone.ok("cp", "/run/conf", CLUSTER)
    time.sleep(1.5)
    assert alone.read(LOCAL) == fresh.conf(1)
    alone.stop("pmxcfs")
    alone.start_pmxcfs()
    assert alone.read(LOCAL) == fresh.conf(4)


def test_everything_is_kept_over_a_restart(up):
    node = up.nodes[0]
    node.ok(
        "sh", "-c", "mkdir -p /etc/pve/a/b; echo kept >/etc/pve/a/b/c; echo gone >/etc/pve/d; rm /etc/pve/d"
    )
    assert node.stop("pmxcfs") == 0
    assert not node.mounted()
    assert node.exists("/run/pve-cluster/cfs-restart-flag")
    node.start_pmxcfs()
    assert not node.exists("/run/pve-cluster/cfs-restart-flag")
    up.wait_healthy()
    assert node.read("/etc/pve/a/b/c") == "kept\n"
    assert not node.exists("/etc/pve/d")


def test_own_name_only_on_loopback_is_refused(alone):
    alone.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 pve1\n")
    refused(
        alone,
        "Unable to resolve node name 'pve1' to a non-loopback IP address - missing entry in '/etc/hosts'"
        " or DNS?",
    )


def test_own_name_unknown_is_refused(alone):
    alone.write("/etc/hosts", "127.0.0.1 localhost\n")
    refused(
        alone,
        "Unable to resolve node name 'pve1' to a non-loopback IP address - missing entry in '/etc/hosts'"
        " or DNS?",
    )


@pytest.mark.parametrize(
    "lines, address",
    [
        ("127.0.1.1 pve1\n10.66.0.1 pve1\n198.51.100.1 pve1\n", "10.66.0.1"),
        ("198.51.100.1 pve1\n10.66.0.1 pve1\n", "198.51.100.1"),
        ("203.0.113.9 pve1\n", "203.0.113.9"),
    ],
    ids=["loopback passed over", "first line", "on no interface"],
)
def test_which_address_the_own_name_gives(alone, lines, address):
    alone.write("/etc/hosts", f"127.0.0.1 localhost\n{lines}")
    alone.start_pmxcfs()
    assert (
        f"[main] notice: resolved node name 'pve1' to '{address}' for default node IP address"
        in alone.log("pmxcfs")
    )


def test_a_mountpoint_with_a_file_in_it_is_refused(alone):
    alone.ok("touch", "/etc/pve/left-behind")
    refused(alone, "fuse_mount error")


def test_addresses_follow_the_own_name_at_the_own_start_only(up):
    pve1, pve2 = up.nodes
    both = {node.name: node.addresses["public"] for node in up.nodes}
    for node in up.nodes:
        node.write("/etc/hosts", "127.0.0.1 localhost\n" + up.hosts("vrack"))
    pve1.stop("pmxcfs")
    pve1.start_pmxcfs()
    up.wait_healthy()
    # Restarted on the observer: only its own address has changed, for everybody.
    assert addresses(pve1) == addresses(pve2) == {**both, "pve1": pve1.addresses["vrack"]}
    pve2.stop("corosync")
    pve2.start_corosync()
    up.wait_healthy()
    assert addresses(pve1) == addresses(pve2) == {**both, "pve1": pve1.addresses["vrack"]}
    pve2.stop("pmxcfs")
    pve2.start_pmxcfs()
    wait_for(
        lambda: addresses(pve1)["pve2"] == pve2.addresses["vrack"], "pve1 sees the new address of pve2", 10
    )


def test_a_node_that_was_not_heard_has_no_address(up):
    pve1, pve2 = up.nodes
    pve2.stop("pmxcfs")
    wait_for(
        lambda: json.loads(pve1.read("/etc/pve/.members"))["nodelist"]["pve2"]["online"] == 0,
        "pve2 is offline",
        10,
    )
    assert addresses(pve1)["pve2"] == pve2.addresses["public"], "an address once heard is kept"
    pve1.stop("pmxcfs")
    pve1.start_pmxcfs()
    wait_for(lambda: addresses(pve1).get("pve1"), "pve1 is there again", 10)
    assert addresses(pve1) == {"pve1": pve1.addresses["public"], "pve2": None}


def test_corosync_may_come_and_go(up):
    pve1 = up.nodes[0]
    pve1.stop("corosync")
    wait_for(lambda: not pve1.quorate(), "no quorum without corosync", 5)
    assert '"quorate": 0' in pve1.read("/etc/pve/.members")
    assert pve1.python("os.mkdir('/etc/pve/folder')") == "EACCES"
    error = "CS_ERR_" if pve_major() > 8 else r"\d+\n"
    assert re.search(rf"\[quorum\] crit: quorum_dispatch failed: {error}", pve1.log("pmxcfs"))
    pve1.start_corosync()
    up.wait_healthy()
    pve1.ok("mkdir", "/etc/pve/folder")


def test_a_write_that_corosync_does_not_live_to_deliver_is_busy(up):
    pve1 = up.nodes[0]
    pve1.signal("corosync", "STOP")
    writer = subprocess.Popen(pve1.inside("mkdir", "/etc/pve/folder"), stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    pve1.signal("corosync", "KILL")
    _, error = writer.communicate(timeout=60)
    assert "Device or resource busy" in error
    pve1.stop("corosync")


def test_it_goes_into_the_background_by_default(alone):
    alone.ok("rm", LOCAL)
    alone.ok(program("pmxcfs"))
    assert alone.mounted()
    pid = alone.read("/run/pve-cluster.pid").strip()
    assert alone.ok("ps", "-o", "tty=", "-p", pid).strip() == "?"
    # A second one does not get the lock, and leaves the first alone.
    second = alone.run(program("pmxcfs"))
    assert second.returncode == 255
    assert "unable to acquire pmxcfs lock" in second.stderr
    assert alone.mounted()
    alone.ok("kill", pid)
    wait_for(lambda: not alone.exists("/run/pve-cluster.pid"), "it ends", 10)
    assert not alone.mounted()
