"""
PVE's lock on one node: ``flock`` on ``/var/lock/pvecm.lock``, held by its tools while they edit the cluster.

Part of the program :mod:`.node.etc_pve`: it does I/O, and uses the standard library only. The file has mode
0644, so every local user can open it and hold the lock. PVE's tools run as root; a holder that does not is
none of them, and protects nothing.

Who took a lock may have ended: after ``exec 9<FILE; flock 9`` in a shell it is the shell that has it. So
whoever has the file open with the lock on it counts (proc(5), ``/proc/PID/fdinfo``), by his real user: a
program like su(1) that inherited it runs as root in the name of a user.
"""

import contextlib
import fcntl
import glob
import os
import time

from pve_corosync.node.etc_pve_lock import Refused

PATH = "/var/lock/pvecm.lock"
PAUSE_S = 0.1


@contextlib.contextmanager
def held(path=PATH, wait=10.0, locks="/proc/locks"):
    """
    Hold the lock for the block, and give it a list of texts on what was remarkable.

    :param path: of the lock's file.
    :param wait: seconds to wait for another holder.
    :param locks: where the kernel lists them.
    :raises Refused: a process of root holds it, or one that cannot be seen. OSError if the file can be
        neither opened nor made.
    """
    handle = _open(path)
    try:
        yield _take(handle, path, wait, locks)
    finally:
        os.close(handle)


def _open(path):
    """
    Open the file, and make it if it is missing.

    In a directory like ``/run/lock`` (sticky, writable for all) the kernel refuses O_CREAT on a file that
    somebody else made, for root too (fs.protected_regular).
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _take(handle, path, wait, locks):
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return []
        except BlockingIOError:
            pass
        if time.monotonic() >= end:
            break
        time.sleep(PAUSE_S)
    found = holders(handle, locks)
    who = ", ".join(f"process {row['pid']} ({row['name']}) of user {row['uid']}" for row in found)
    if found and all(row["uid"] not in (0, None) for row in found):
        return [f"{path} is held by {who}, which is no tool of PVE: went on without it"]
    raise Refused(
        f"{path} is held by {who or 'a process that /proc/locks does not show'}: the cluster is edited on"
        " this node; wait for its end"
    )


def holders(handle, locks="/proc/locks"):
    """
    Return the processes that hold a ``flock`` on an open file: ``[{"pid", "name", "uid"}]``, the real uid.

    :param handle: file descriptor.
    :param locks: where the kernel lists them.
    """
    info = os.fstat(handle)
    inode = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    listed = {row[4] for row in _rows(locks) if _is_lock(row, inode) and row[4].isdigit()}
    if not listed:
        return []
    having = {pid for pid in filter(str.isdigit, os.listdir("/proc")) if _has(pid, inode)}
    return [{"pid": int(pid), **_process(pid)} for pid in sorted(having or listed, key=int)]


def _is_lock(row, inode):
    return len(row) >= 6 and row[1] == "FLOCK" and row[5] == inode


def _rows(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.split() for line in file]
    except OSError:
        return []


def _has(pid, inode):
    """
    Whether a process has a file open with the lock on it: its lines are ``lock: `` and one of /proc/locks.
    """
    files = glob.iglob(f"/proc/{pid}/fdinfo/*")
    return any(row[:1] == ["lock:"] and _is_lock(row[1:], inode) for path in files for row in _rows(path))


def _process(pid):
    told = {"name": "?", "uid": None}
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            rows = dict(line.rstrip("\n").split(":", 1) for line in file if ":" in line)
        told = {"name": rows["Name"].strip(), "uid": int(rows["Uid"].split()[0])}
    return told
