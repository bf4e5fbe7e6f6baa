"""Contract of pmxcfs: corosync.conf from /etc/pve to the daemons (LAB_PMXCFS=/path checks a real one)."""

import re
import time

import pytest
from contract_nodes import reload_fails, wait_for

LOCAL = "/etc/corosync/corosync.conf"
CLUSTER = "/etc/pve/corosync.conf"


@pytest.fixture
def ring(fresh):
    """Each test starts with versions of its own: the cluster is not shared."""
    fresh.start()
    return fresh


def replace(node, text):
    """Write the cluster file as PVE does, .new and rename; returns the seconds that the rename took."""
    node.write("/run/conf", text)
    return float(
        node.python(f"""
        data = open('/run/conf', 'rb').read()
        handle = os.open('{CLUSTER}.new', os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(handle, data)
        os.close(handle)
        start = time.monotonic()
        os.rename('{CLUSTER}.new', '{CLUSTER}')
        print(time.monotonic() - start)""")
    )


def runtime(node):
    """Return the version that the running corosync has."""
    return int(node.ok("corosync-cmapctl", "-g", "totem.config_version").split("=")[1])


def lines(node, part):
    """Return how many lines of the log have a text in them."""
    return sum(part in line for line in node.log("pmxcfs").splitlines())


def test_a_rename_writes_every_local_file_and_reloads(cluster, pve1, pve2):
    text = cluster.conf(2)
    seconds = replace(pve1, text)
    assert 1 <= seconds < 5, "the writer's rename waits 1 s and reloads before it returns"
    for node in (pve1, pve2):
        assert node.read(LOCAL) == text
        assert node.ok("stat", "-c", "%a %U %G", LOCAL).strip() == "644 root root"
        wait_for(lambda node=node: runtime(node) == 2, f"{node.name} runs version 2", 5)
        wait_for(
            lambda node=node: '"version": 2, "nodes"' in node.read("/etc/pve/.members"), ".members says so", 5
        )
        assert lines(node, f"[dcdb] notice: wrote new corosync config '{LOCAL}' (version = 2)") == 1
        assert lines(node, "[status] notice: update cluster info (cluster name  prod, version = 2)") == 1


def test_same_bytes_do_nothing(cluster, pve1, pve2):
    before = pve1.ok("stat", "-c", "%i %Y", LOCAL)
    assert replace(pve1, cluster.conf(1)) < 0.9
    assert pve1.ok("stat", "-c", "%i %Y", LOCAL) == before
    assert lines(pve1, "wrote new corosync config") == lines(pve2, "wrote new corosync config") == 0


def test_a_newer_local_file_stays_on_its_node_only(cluster, pve1, pve2):
    newer = cluster.conf(9)
    pve2.write(LOCAL, newer)
    replace(pve1, cluster.conf(2))
    assert pve1.read(LOCAL) == cluster.conf(2)
    wait_for(
        lambda: lines(pve2, "[dcdb] crit: local corosync.conf is newer"),
        "pve2 says that its file is newer",
        5,
    )
    assert pve2.read(LOCAL) == newer


def test_an_equal_version_overwrites(cluster, pve1, pve2):
    pve2.write(LOCAL, cluster.conf(2, "# edited here\n"))
    replace(pve1, cluster.conf(2))
    wait_for(lambda: pve2.read(LOCAL) == cluster.conf(2), "the other bytes of the same version are gone", 5)


def test_a_local_edit_never_flows_back(cluster, pve1):
    pve1.write(LOCAL, cluster.conf(5))
    pve1.ok("corosync-cfgtool", "-R")
    time.sleep(2)
    assert pve1.read(CLUSTER) == cluster.conf(1)


def test_the_first_config_version_counts_even_in_a_comment(cluster, pve1, pve2):
    replace(pve1, "# config_version: 9\n" + cluster.conf(2))
    assert lines(pve1, "(version = 9)") == 1
    replace(pve1, cluster.conf(3))
    assert lines(pve1, "[dcdb] crit: local corosync.conf is newer") == 1
    assert pve1.read(LOCAL).startswith("# config_version: 9\n")
    wait_for(lambda: lines(pve2, "[dcdb] crit: local corosync.conf is newer"), "pve2 does the same", 5)


def test_a_file_without_version_or_content_is_not_passed_on(cluster, pve1):
    replace(pve1, "totem {\n}\n")
    assert lines(pve1, "[dcdb] crit: unable to parse cluster config_version") == 1
    pve1.ok("truncate", "-s", "0", CLUSTER)
    pve1.ok("rm", CLUSTER)
    assert pve1.read(LOCAL) == cluster.conf(1)


def test_each_write_in_place_is_passed_on(cluster, pve1, pve2):
    """What makes writing in place dangerous: half a file reaches the daemons' file on all nodes."""
    pve1.python(f"""
        handle = os.open('{CLUSTER}', os.O_WRONLY | os.O_TRUNC)
        os.write(handle, b'totem {{ config_version: 7')
        os.close(handle)""")
    wait_for(lambda: pve2.read(LOCAL) == "totem { config_version: 7", "half a file is there", 5)
    failed = "[dcdb] crit: corosync-cfgtool -R failed with exit code"
    if reload_fails(pve1):
        wait_for(lambda: lines(pve1, failed) == 1, "the reload fails", 5)
    assert lines(pve2, "corosync-cfgtool -R failed") == 0, "only the writer reloads"


def test_a_node_that_comes_back_gets_the_file_and_no_reload(cluster, pve1, pve2):
    pve1.link("vrack", False)
    for node in (pve1, pve2):
        wait_for(lambda node=node: not node.quorate(), f"{node.name} has lost quorum")
    pve1.ok("corosync-quorumtool", "-e", "1")
    wait_for(pve1.quorate, "pve1 is quorate alone", 10)
    wait_for(lambda: pve1.run("touch", "/etc/pve/probe").returncode == 0, "pve1 may write", 10)
    replace(pve1, cluster.conf(2))
    assert runtime(pve1) == 2
    # The reload has brought the expected votes back.
    wait_for(lambda: not pve1.quorate(), "pve1 is not quorate any more", 10)
    pve1.link("vrack", True)
    wait_for(lambda: pve2.read(LOCAL) == cluster.conf(2), "pve2 has taken the file over")
    cluster.wait_healthy()
    assert re.search(
        r"trying to commit \(got \d+ inode updates\)\n(\[.*\n)*?\[dcdb\] notice: wrote new corosync config",
        pve2.log("pmxcfs"),
    )
    assert runtime(pve2) == 1
    assert pve2.read(CLUSTER) == cluster.conf(2)
