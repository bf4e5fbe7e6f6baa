"""Whose a lock in ``/etc/pve`` is, who gives it back, and what is in its way."""

import errno
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
from _corosync_world import Node, conf, step
from pve_corosync.node import children, etc_pve, etc_pve_client, etc_pve_lock, locks, pvecm_lock
from salt.exceptions import CommandExecutionError

NOBODY = 65534


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def the_lock(node):
    return node.pve / "priv/lock/file-corosync_conf"


def note(node, pid=None, **told):
    """Leave a note as a process left it; by default one that is dead."""
    if pid is None:
        dead = subprocess.Popen(["true"])
        pid, by = dead.pid, etc_pve_lock.me(dead.pid)
        dead.wait()
    else:
        by = etc_pve_lock.me(pid)
    path = node.file(f"var/lib/pve-corosync/locks/file-corosync_conf.{pid}.json", "")
    path.write_text(json.dumps({"by": by} | told))
    return path


def made(node, age=0.0):
    """Make the lock as if it had been made some seconds ago, and return its time."""
    the_lock(node).mkdir(parents=True)
    when = int(time.time() - age)
    os.utime(the_lock(node), (when, when))
    return when


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_a_note_says_whose_the_lock_is_before_it_is_asked_for(node, monkeypatch):
    seen = []
    real = etc_pve_lock.mkdir
    notes = node.root / "var/lib/pve-corosync/locks"

    def spied(folder):
        if str(folder).endswith("file-corosync_conf"):
            seen.append([json.loads(path.read_text())["state"] for path in notes.glob("*.json")])
        return real(folder)

    monkeypatch.setattr(etc_pve_lock, "mkdir", spied)
    with etc_pve_lock.held(str(node.pve), "file-corosync_conf", 1, str(notes)):
        (path,) = notes.glob("*.json")
        assert json.loads(path.read_text())["state"] == "held" and the_lock(node).exists()
    assert seen == [["asking"]] and not list(notes.iterdir()) and not the_lock(node).exists()


@pytest.mark.parametrize("state", ["held", "asking"])
def test_a_lock_that_a_killed_writer_left_is_given_back_by_the_next(node, state):
    """pmxcfs stood still, the writer in mkdir was killed, and the mkdir was carried out later."""
    asked = made(node, age=etc_pve_lock.SETTLED_S + 1)
    told = {"state": state, "asked": asked - 0.5} | ({"mtime": asked} if state == "held" else {})
    path = note(node, **told)
    assert node.salt["pmxcfs.write_conf"](conf(6), timeout=20)["changed"]
    assert not path.exists() and not the_lock(node).exists()


def test_a_lock_whose_time_became_0_is_given_back_by_its_holder(node):
    """pmxcfs gives a time of 0 in a resync: it is not newer than ours, so nobody else has made it."""
    path = note(node, state="held", asked=1.0, mtime=made(node, age=5))
    os.utime(the_lock(node), (0, 0))
    assert not etc_pve_lock.give_back_dead(str(node.pve), str(path.parent))
    assert not path.exists() and not the_lock(node).exists()
    cluster = node.pve / etc_pve_lock.LOCK
    cluster.mkdir()
    os.utime(cluster, (0, 0))
    assert etc_pve_lock.drop(str(node.pve), mtime=int(time.time())) == {"dropped": True}
    assert not cluster.exists()


def test_a_run_that_begins_gives_back_what_a_dead_one_left_on_its_node(node):
    path = note(node, state="held", asked=1.0, mtime=made(node, age=5))
    assert node.salt["corosync.stage"]("run1", [step(1, "local", conf(6), 6)])["ok"]
    assert not path.exists() and not the_lock(node).exists()


def test_a_lock_of_somebody_else_stays(node):
    """It is older than our question, or has another time than ours had, or was made just now."""
    for told in (
        {"state": "asking", "asked": time.time() - 20},
        {"state": "held", "asked": 1.0, "mtime": 17},
        {"state": "giving", "asked": 1.0, "mtime": 17},
    ):
        made(node, age=30 if told["state"] == "asking" else 1)
        path = note(node, **told)
        with pytest.raises(CommandExecutionError, match="being edited on another node"):
            node.salt["pmxcfs.write_conf"](conf(6), timeout=3)
        assert the_lock(node).exists() and not path.exists()
        the_lock(node).rmdir()


def test_a_lock_that_may_be_ours_or_somebody_elses_is_given_the_time_that_pve_needs(node):
    when = made(node)
    path = note(node, state="asking", asked=when - 1)
    assert etc_pve_lock.give_back_dead(str(node.pve), str(path.parent)) and the_lock(node).exists()
    os.utime(the_lock(node), (when - etc_pve_lock.SETTLED_S,) * 2)
    path.write_text(json.dumps({"by": {}, "state": "asking", "asked": when - 60}))
    assert not etc_pve_lock.give_back_dead(str(node.pve), str(path.parent)) and not the_lock(node).exists()


def test_a_writer_of_this_node_that_is_alive_is_named(node):
    note(node, pid=os.getpid(), state="held", asked=1.0, mtime=made(node))
    with pytest.raises(CommandExecutionError, match=f"held by process {os.getpid()} of pve-corosync on this"):
        node.salt["pmxcfs.write_conf"](conf(6), timeout=3)
    assert the_lock(node).exists()


def test_a_lock_that_nobody_works_under_any_more_is_called_so(node, monkeypatch):
    made(node, age=90)
    monkeypatch.setattr(os, "utime", lambda path, times: None)
    with pytest.raises(etc_pve.Refused, match="by a tool of PVE that is gone.*ends by itself"):
        with etc_pve_lock.held(str(node.pve), "file-corosync_conf", 0, str(node.root / "notes")):
            pytest.fail("it is held")


def test_a_writer_that_is_late_is_left_alone_and_gives_its_lock_back(node, monkeypatch):
    """Its caller has gone. It is not killed in mkdir(2), and writes nothing once it comes out of it."""
    gate = node.bin.parent / "gate"
    wrapper = node.bin.parent / "slow.py"
    wrapper.write_text(
        "import os, runpy, time\n"
        "real = os.mkdir\n"
        "def slow(path, *more):\n"
        "    while 'file-corosync_conf' in str(path) and not os.path.exists(%r):\n"
        "        time.sleep(0.05)\n"
        "    return real(path, *more)\n"
        "os.mkdir = slow\n"
        "runpy.run_path(%r, run_name='__main__')\n" % (str(gate), etc_pve.command()[-1])
    )
    command = [*etc_pve.command()[:-1], str(wrapper)]
    monkeypatch.setattr(etc_pve, "command", lambda python=None: command)
    with pytest.raises(CommandExecutionError, match="pmxcfs hangs.*may still happen"):
        node.salt["pmxcfs.write_conf"](conf(6), timeout=2.5)
    (path,) = (node.root / "var/lib/pve-corosync/locks").glob("*.json")
    assert etc_pve_lock.alive(json.loads(path.read_text())["by"]), "it goes on"
    gate.write_text("")
    assert until(lambda: not path.exists()) and not the_lock(node).exists()
    assert node.cluster.read_text() == conf(5)


def test_what_cannot_be_given_back_now_is_given_back_by_a_process_that_outlives_the_writer(node, monkeypatch):
    """Quorum is lost under the lock: to give it back needs what has just failed."""
    flag = node.refuse_writes(monkeypatch, errno.EACCES)
    flag.unlink()
    wrapper = pathlib.Path(etc_pve.command()[-1])
    wrapper.write_text(  # the first rename takes quorum with it
        wrapper.read_text().replace(
            "import os, runpy, sys\n",
            "import os, runpy, sys\n"
            "def lost(old, new, real=os.rename):\n"
            f"    open({str(flag)!r}, 'w').close()\n"
            "    raise OSError(1, 'Operation not permitted', old, None, new)\n"
            "os.rename = lost\n",
        )
    )
    with pytest.raises(CommandExecutionError, match="EPERM: quorum was lost during the write"):
        node.salt["pmxcfs.write_conf"](conf(6), timeout=20)
    (path,) = (node.root / "var/lib/pve-corosync/locks").glob("*.json")
    assert the_lock(node).exists() and json.loads(path.read_text())["state"] == "giving"
    flag.unlink()
    assert until(lambda: not the_lock(node).exists() and not path.exists())
    assert node.cluster.read_text() == conf(5)


def test_the_lock_of_the_cluster_that_a_dead_process_of_this_node_holds_is_taken_over(tmp_path):
    (tmp_path / "local").symlink_to("nodes/pve1")
    dead = subprocess.Popen(["sleep", "60"])
    by = etc_pve_lock.me(dead.pid)
    assert etc_pve_lock.take({"node": "pve1", "by": by}, str(tmp_path))["taken"]
    assert etc_pve_lock.take({"node": "pve1"}, str(tmp_path))["taken"] is False
    dead.kill()
    dead.wait()
    assert etc_pve_lock.take({"node": "pve1"}, str(tmp_path))["taken"]
    other = {"node": "pve2", "by": by | {"host": "pve2"}}
    etc_pve_lock.drop(str(tmp_path))
    assert etc_pve_lock.take(other, str(tmp_path))["taken"]
    assert etc_pve_lock.take({"node": "pve1"}, str(tmp_path)) == {"taken": False, "holder": other}


# ---- the lock of this node ---------------------------------------------------------------------------------


def hold(path, user=None):
    """Hold PVE's lock on this node in a process of its own, as that user."""
    path.touch()
    path.chmod(0o644)
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    child = subprocess.Popen(
        [
            "/usr/bin/python3",
            "-c",
            "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX)\n"
            "print('held', flush=True); time.sleep(600)",
            str(path),
        ],
        stdout=subprocess.PIPE,
        user=user,
    )
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_user_who_holds_pves_lock_stops_nothing(node):
    """The file has mode 0644, and PVE's tools run as root: who does not is none of them."""
    child = hold(node.root / "var/lock/pvecm.lock", NOBODY)
    try:
        told = node.salt["pmxcfs.write_conf"](conf(6), timeout=9)
        assert told["changed"] and node.cluster.read_text() == conf(6)
        assert f"process {child.pid}" in told["notes"][0] and f"of user {NOBODY}" in told["notes"][0]
    finally:
        child.kill()
        child.wait()


def test_a_user_whose_flock_has_ended_stops_nothing_either(node):
    """`exec 9<FILE; flock 9`: the process that took the lock is gone, and /proc/locks names it still."""
    path = node.root / "var/lock/pvecm.lock"
    before = hold(path, NOBODY)  # the file is there, with its mode
    before.kill()
    before.wait()
    words = 'exec 9<"$0"; flock 9; echo held; read -r _'
    child = subprocess.Popen(
        ["/bin/sh", "-c", words, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY
    )
    try:
        assert child.stdout.readline() == b"held\n"
        told = node.salt["pmxcfs.write_conf"](conf(6), timeout=9)
        assert told["changed"] and f"process {child.pid} (sh) of user {NOBODY}" in told["notes"][0], told
    finally:
        child.kill()
        child.wait()


def test_a_process_of_root_that_holds_pves_lock_is_respected_and_named(node):
    child = hold(node.root / "var/lock/pvecm.lock")
    try:
        with pytest.raises(CommandExecutionError, match=f"held by process {child.pid} .*wait for its end"):
            node.salt["pmxcfs.write_conf"](conf(6), timeout=4)
        assert node.cluster.read_text() == conf(5)
    finally:
        child.kill()
        child.wait()


def test_a_lock_file_that_cannot_be_opened_is_no_lost_quorum(node):
    """EACCES means no quorum below /etc/pve, and there only."""
    (node.root / "var/lock/pvecm.lock").mkdir()
    with pytest.raises(CommandExecutionError, match="pvecm.lock: EISDIR: Is a directory"):
        node.salt["pmxcfs.write_conf"](conf(6), timeout=4)
    said = etc_pve.told(PermissionError(errno.EACCES, "Permission denied", "/var/lock/pvecm.lock"))
    assert said == "EACCES: Permission denied"
    assert "not quorate" in etc_pve.told(PermissionError(errno.EACCES, "no", "/etc/pve/corosync.conf"))


def test_a_holder_that_the_kernel_does_not_show_is_respected(tmp_path):
    (tmp_path / "locks").write_text("")
    with open(tmp_path / "lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(etc_pve.Refused, match="a process that /proc/locks does not show"):
            with pvecm_lock.held(str(tmp_path / "lock"), 0, str(tmp_path / "locks")):
                pytest.fail("it is held")


# ---- reading while a file is replaced ----------------------------------------------------------------------


def test_a_file_that_is_missing_for_a_moment_is_not_missing(node, monkeypatch):
    """A reader on the writer's node finds nothing, once, while the cluster file is renamed (pve-real.md)."""
    real, asked = etc_pve._read, []

    def renamed(path):
        asked.append(path)
        if path.endswith("corosync.conf") and asked.count(path) == 1:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return real(path)

    monkeypatch.setattr(etc_pve, "_read", renamed)
    told = etc_pve.read_files(["corosync.conf", "none"], str(node.pve))
    assert told["files"] == {"corosync.conf": conf(5), "none": None} and told["errors"] == {}


def test_a_file_of_ha_that_is_renamed_is_looked_for_again(node, monkeypatch):
    real, asked = etc_pve._read, []

    def renamed(path):
        asked.append(path)
        if asked.count(path) == 1:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return real(path)

    node.file("etc/pve/ha/resources.cfg", "vm: 100")
    monkeypatch.setattr(etc_pve, "_read", renamed)
    assert etc_pve.read_files(["ha/resources.cfg"], str(node.pve))["files"] == {"ha/resources.cfg": "vm: 100"}


@pytest.mark.parametrize(
    ("names", "pauses"),
    [
        (["corosync.conf"], []),
        (["corosync.conf", "ha/resources.cfg"], []),  # without HA: every look at the node would wait for this
        (["none.conf", "corosync.conf.none"], []),
    ],
)
def test_what_is_not_in_its_folder_is_waited_for_by_nobody(node, monkeypatch, names, pauses):
    slept = []
    monkeypatch.setattr(etc_pve.time, "sleep", slept.append)
    etc_pve.read_files(names, str(node.pve))
    assert [pause for pause in slept if pause] == pauses
    slept.clear()
    (node.pve / "corosync.conf").unlink()
    etc_pve.read_files(["corosync.conf"], str(node.pve))
    assert [pause for pause in slept if pause] == [0.03, 0.2], "the cluster file takes longer to be replaced"


def test_the_program_takes_nothing_but_the_standard_library(node):
    command = etc_pve.command(sys.executable)
    assert command[1:3] == ["-I", "-S"]
    result = children.run(
        command, data=b'{"do": "read", "names": ["corosync.conf"], "base": "%s"}' % bytes(node.pve)
    )
    assert etc_pve_client.answered(result, 5)["files"]["corosync.conf"] == conf(5)


def test_the_lock_of_the_cluster_is_waited_for_while_etc_pve_is_busy(pair, monkeypatch):
    flag = pair.one.refuse_writes(monkeypatch)
    timer = threading.Timer(0.5, flag.unlink)
    timer.start()
    with locks.Lock({"node": "pve1", "run": "r", "what": "x"}, 30, str(pair.one.root)) as lock:
        assert not flag.exists() and not lock.lost()
