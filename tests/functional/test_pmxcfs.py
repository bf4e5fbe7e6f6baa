import fcntl
import os
import threading
import time

import pytest
from _corosync_world import Node, conf
from salt.exceptions import CommandExecutionError, SaltInvocationError


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def untouched(node):
    """Tell whether the cluster file is as before, and no trace of a write is left."""
    names = {path.name for path in node.pve.iterdir()}
    return node.cluster.read_text() == conf(5) and not names & {"corosync.conf.new", "corosync.conf.bak"}


def test_state(node):
    plain = {"mounted": True, "writable": True, "said": "", "hung": False}
    assert node.salt["pmxcfs.state"]() == plain
    node.mount(writable=False)
    assert node.salt["pmxcfs.state"]() == plain | {"writable": False}
    node.tool("stat", "exec sleep 60")
    assert node.salt["pmxcfs.state"]() == plain | {"writable": False, "hung": True}
    node.tool("stat", "echo \"stat: cannot statx 'local': Transport endpoint is not connected\" >&2; exit 1")
    told = node.salt["pmxcfs.state"]()
    assert told["mounted"] is False and told["said"].endswith("Transport endpoint is not connected")
    assert "endpoint is not connected" in node.salt["pmxcfs.why_not"]()


def test_state_where_nothing_is_mounted(node):
    node.tool("stat", "echo 'stat: No such file or directory' >&2; exit 1")
    assert node.salt["pmxcfs.state"]() == {"mounted": False, "writable": False, "said": "", "hung": False}


def test_the_cluster_file_and_the_members(node):
    told = node.salt["pmxcfs.conf"]()
    assert told["version"] == 5 and told["text"] == conf(5) and len(told["sha256"]) == 64
    assert node.salt["pmxcfs.members"]()["cluster"]["name"] == "prod"
    node.cluster.unlink()
    assert node.salt["pmxcfs.conf"]() is None
    node.file("etc/pve/.members", "[]")
    with pytest.raises(CommandExecutionError, match=".members"):
        node.salt["pmxcfs.members"]()


@pytest.mark.parametrize(
    "name", ["priv/authkey.key", "../shadow", "/etc/shadow", "a/../b", "nodes/x/pve-ssl.key", ""]
)
def test_files_with_keys_or_outside_are_not_read(node, name):
    with pytest.raises(SaltInvocationError, match="relative to /etc/pve|names="):
        node.salt["pmxcfs.files"](name)


def test_what_lies_below_the_mount_point_is_not_read(node):
    (node.pve / "local").unlink()
    with pytest.raises(CommandExecutionError, match="not mounted: systemctl status pve-cluster"):
        node.salt["pmxcfs.conf"]()


def test_write_replaces_the_file_under_the_locks(node):
    told = node.salt["pmxcfs.write_conf"](conf(6))
    assert told["changed"] is True and told["version"] == 6
    assert node.cluster.read_text() == conf(6)
    assert (node.pve / "corosync.conf.bak").read_text() == conf(5)
    with open(told["backup"], encoding="latin-1") as file:
        assert file.read() == conf(5)
    assert not (node.pve / "priv/lock/file-corosync_conf").exists()
    assert not (node.pve / "corosync.conf.new").exists()


def test_write_takes_bytes_that_are_no_utf8(node):
    text = conf(6) + "# caf\xe9\n"
    node.salt["pmxcfs.write_conf"](text)
    assert node.cluster.read_bytes() == text.encode("latin-1")


def test_equal_bytes_are_not_written_again_and_need_no_quorum(node):
    node.mount(writable=False)
    told = node.salt["pmxcfs.write_conf"](conf(5))
    assert told["changed"] is False and untouched(node) and node.backups == []


@pytest.mark.parametrize("text", [conf(4), conf(5) + "# other\n"])
def test_a_version_that_is_not_higher_is_refused(node, text):
    with pytest.raises(CommandExecutionError, match="has version 5 already.*plan again"):
        node.salt["pmxcfs.write_conf"](text)
    assert untouched(node)


def test_a_version_in_a_comment_counts_as_it_does_for_pmxcfs(node):
    node.cluster.write_text("# config_version: 9\n" + conf(5))
    with pytest.raises(CommandExecutionError, match="has version 9 already"):
        node.salt["pmxcfs.write_conf"](conf(6))


@pytest.mark.parametrize("text", ["totem {\n}\n", "totem {"])
def test_a_file_without_a_version_is_refused(node, text):
    with pytest.raises(CommandExecutionError, match="no totem.config_version"):
        node.salt["pmxcfs.write_conf"](text)
    assert untouched(node)


def test_write_waits_for_quorum_as_long_as_it_may(node):
    node.mount(writable=False)
    start = time.monotonic()
    with pytest.raises(CommandExecutionError, match="read-only: this partition is not quorate"):
        node.salt["pmxcfs.write_conf"](conf(6), wait=0.5)
    assert time.monotonic() - start < 6 and untouched(node)


def test_a_lock_of_pve_on_another_node_is_respected(node):
    held = node.pve / "priv/lock/file-corosync_conf"
    held.mkdir(parents=True)
    before = held.stat().st_mtime
    with pytest.raises(CommandExecutionError, match="being edited on another node"):
        node.salt["pmxcfs.write_conf"](conf(6))
    assert untouched(node) and held.exists()
    assert held.stat().st_mtime < before, "its expiry was asked for, as PVE does"


def test_a_pvecm_on_this_node_is_respected(node):
    with open(node.root / "var/lock/pvecm.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CommandExecutionError, match=f"held by process {os.getpid()} .*wait for its end"):
            node.salt["pmxcfs.write_conf"](conf(6))
    assert untouched(node)


def test_a_hanging_etc_pve_is_left_behind(node):
    node.cluster.unlink()
    os.mkfifo(node.cluster)  # a reader of it blocks as one of a hung pmxcfs does
    start = time.monotonic()
    with pytest.raises(CommandExecutionError, match="/etc/pve did not answer within 8 s"):
        node.salt["pmxcfs.write_conf"](conf(6))
    assert time.monotonic() - start < 20


def test_a_pmxcfs_that_joins_its_group_again_is_waited_for(node, monkeypatch):
    """The mode bits say writable all the time; every write gets EBUSY (facts/pve-real.md)."""
    flag = node.refuse_writes(monkeypatch)
    timer = threading.Timer(1.0, flag.unlink)
    timer.start()
    told = node.salt["pmxcfs.write_conf"](conf(6), timeout=20)
    assert told["changed"] and node.cluster.read_text() == conf(6) and not flag.exists()


def test_busy_to_the_end_leaves_the_old_file_and_says_what_it_is(node, monkeypatch):
    node.refuse_writes(monkeypatch)
    with pytest.raises(CommandExecutionError, match="EBUSY: pmxcfs has left its group and joins it again"):
        node.salt["pmxcfs.write_conf"](conf(6), timeout=3)
    assert untouched(node)


def test_writable_means_that_a_write_went_through(node, monkeypatch):
    flag = node.refuse_writes(monkeypatch)
    assert node.salt["pmxcfs.state"]()["writable"] is True, "the mode bit"
    with pytest.raises(CommandExecutionError, match="EBUSY"):
        node.salt["pmxcfs.wait_writable"](0)
    timer = threading.Timer(0.5, flag.unlink)
    timer.start()
    assert node.salt["pmxcfs.wait_writable"](20) < 20 and not flag.exists()
    assert not list((node.pve / "priv/lock").iterdir()), "nothing of the proof stays"


def test_wait_writable(node):
    assert node.salt["pmxcfs.wait_writable"](1) < 20
    node.tool("stat", "echo 'stat: No such file or directory' >&2; exit 1")
    with pytest.raises(CommandExecutionError, match="not mounted"):
        node.salt["pmxcfs.wait_writable"](0)
