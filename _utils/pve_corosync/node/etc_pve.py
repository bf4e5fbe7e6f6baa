"""
Read and replace files in ``/etc/pve`` the way PVE does, in a process of its own.

This file does I/O on purpose. A call into pmxcfs can hang where not even SIGKILL ends it, so the execution
modules never touch ``/etc/pve`` themselves: they start this file as a program (:func:`command`), give it a
JSON request on standard input, read the JSON answer, and leave it behind if it is late. It imports the
standard library only.

Facts: lstat of ``/etc/pve/local`` tells mounted (it is a symbolic link) and writable (owner write bit of the
link, pmxcfs cfs-plug-link.c, PVE/Cluster.pm check_cfs_quorum); ``os.access`` and opening for write succeed
for root without quorum. A rename is the one atomic write that pmxcfs replicates (memdb.c).
"""

import base64
import errno
import fcntl
import json
import os
import stat
import sys
import time

BASE = "/etc/pve"
CONF = "corosync.conf"
#: what PVE's own tools hold while they edit the cluster file (PVE/API2/ClusterConfig.pm).
PVECM_LOCK = "/var/lock/pvecm.lock"
CFS_LOCK = "priv/lock/file-corosync_conf"
#: between two writes while pmxcfs answers with EBUSY.
BUSY_PAUSE_S = 0.25

#: errno of a failed write -> what it means on pmxcfs (dcdb.c, memdb.c, measured).
MEANING = {
    errno.EACCES: "the partition is not quorate",
    errno.EPERM: "quorum was lost during the write",
    errno.EBUSY: "pmxcfs has left its group and joins it again, which takes more than 5 s: try again",
    errno.EIO: "the pmxcfs database is in error mode: see journalctl -u pve-cluster",
    errno.ENOTCONN: "pmxcfs died: see systemctl status pve-cluster",
    errno.EFBIG: "more than 1 MiB",
    errno.ENOENT: "/etc/pve went away: see systemctl status pve-cluster",
}


class Refused(Exception):
    """
    The write was not done; the text says why and what to do.
    """


def command(python=None):
    """
    Return the command that answers one request in a child process.
    """
    return [python or sys.executable or "python3", "-I", "-S", os.path.abspath(__file__)]


def is_link(mode):
    """
    Tell from the mode of ``/etc/pve/local`` whether it is the link that pmxcfs shows, i.e. whether that is
    mounted.
    """
    return stat.S_ISLNK(mode)


def is_writable(mode):
    """
    Tell from the mode of the link ``/etc/pve/local`` whether this partition may write.
    """
    return stat.S_ISLNK(mode) and bool(mode & stat.S_IWUSR)


def state(base=BASE):
    """
    Return ``{"mounted": bool, "writable": bool}``.
    """
    try:
        mode = os.lstat(os.path.join(base, "local")).st_mode
    except OSError:
        return {"mounted": False, "writable": False}
    return {"mounted": is_link(mode), "writable": is_writable(mode)}


def prove(base=BASE):
    """
    Prove that ``/etc/pve`` takes writes: make a folder of our own below ``priv/lock`` and remove it.

    The mode bit of :func:`state` follows quorum alone. A pmxcfs that has left its group after a write was in
    flight when quorum was lost refuses every write with EBUSY for more than 5 s, while the bit says writable.

    Returns ``{"writable": bool, "why": text}``.
    """
    try:
        _require_mounted(base)
        folder = os.path.join(base, "priv/lock", f"pve-corosync-probe-{os.uname().nodename.split('.')[0]}")
        _make_parents(folder)
        proven = _mkdir(folder)
        try:
            os.rmdir(folder)  # one that an earlier proof left behind proves as much by going
            proven = True
        except FileNotFoundError:
            pass  # another proof of this node removed it
    except Refused as exc:
        return {"writable": False, "why": str(exc)}
    except OSError as exc:
        return {"writable": False, "why": f"{base}: {told(exc)}"}
    return {"writable": proven, "why": "" if proven else f"{base}: another proof was at work"}


def told(exc):
    """
    Return what an error of the operating system means under ``/etc/pve``: its name and a text.
    """
    return f"{errno.errorcode.get(exc.errno, 'OSError')}: {MEANING.get(exc.errno, exc.strerror or str(exc))}"


def read_files(names, base=BASE):
    """
    Return :func:`state` with ``files``: ``{name: text|None}``, and ``errors``: ``{name: text}``.

    A file that does not exist is None without an error. Nothing is read while pmxcfs is not mounted: what
    lies in the directory below the mount point is not the cluster's.
    """
    answer = dict(state(base), files={}, errors={})
    for name in names:
        answer["files"][name] = None
        if not answer["mounted"]:
            continue
        try:
            answer["files"][name] = _read(os.path.join(base, name)).decode("latin-1")
        except FileNotFoundError:
            continue
        except OSError as exc:
            answer["errors"][name] = exc.strerror or str(exc)
    return answer


def replace_conf(data, expected, base=BASE, lock_file=PVECM_LOCK, lock_wait=10.0, timeout=0.0):  # pylint: disable=too-many-arguments
    """
    Replace the cluster file by ``data`` (bytes) under both of PVE's locks and return what was done.

    expected : bytes
        What the file must hold now; None if it must not exist. Anything else means that somebody edited it
        since it was read, and the write is refused.

    lock_wait : float
        Seconds to wait for each lock.

    timeout : float
        Seconds in which EBUSY is waited out: pmxcfs has left its group, and joins it again by itself.

    Returns ``{"changed": bool, "seconds": {"locked", "renamed"}}``; raises :class:`Refused` or OSError.
    """
    start = time.monotonic()
    changed = False
    while True:
        try:
            _require_writable(base)
            with open(lock_file, "ab") as lock:
                _flock(lock, lock_file, lock_wait)
                folder = os.path.join(base, CFS_LOCK)
                take_lock(folder, lock_wait)
                try:
                    locked = time.monotonic() - start
                    changed = _swap(data, expected, base) or changed
                finally:
                    give_lock(folder)
            break
        except OSError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() - start >= timeout:
                raise
            # a rename that was answered with EBUSY may have been carried out all the same
            changed = changed or _renaming(exc)
            time.sleep(BUSY_PAUSE_S)
    return {"changed": changed, "seconds": {"locked": locked, "renamed": time.monotonic() - start}}


def _renaming(exc):
    return exc.filename2 is not None


def _swap(data, expected, base):
    path, new, bak = (os.path.join(base, CONF + suffix) for suffix in ("", ".new", ".bak"))
    now = _read_or_none(path)
    if now == data:
        return False
    if now != expected:
        raise Refused(
            f"{path} was changed by somebody else since it was read: gather the facts and plan again"
        )
    try:
        _create(new, data)
        if _read(new) != data:
            raise Refused(f"{new} does not read back as it was written: see journalctl -u pve-cluster")
        if now is not None:
            _create(bak, now)
        os.rename(new, path)  # about 1 s: pmxcfs waits, then reloads the whole partition, before it answers
    except BaseException:
        _unlink(new)
        raise
    if _read_or_none(path) != data:
        raise Refused(
            f"{path} does not read back as it was written: somebody else wrote it at the same moment"
        )
    return True


def _create(path, data):
    """
    Make a new file with one write: each write() to pmxcfs is one message to the cluster.
    """
    _unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        if os.write(handle, data) != len(data):
            raise Refused(f"{path}: pmxcfs took only a part of the bytes: is its database full?")
    finally:
        os.close(handle)


def _require_mounted(base):
    now = state(base)
    if not now["mounted"]:
        raise Refused(f"{base} is not mounted: start pve-cluster, and only then write the cluster file")
    return now


def _require_writable(base):
    if not _require_mounted(base)["writable"]:
        raise Refused(
            f"{base} is read-only: this partition is not quorate; restore quorum with local files first"
        )


def _flock(lock, name, wait):
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Refused(f"{name} is held: another pvecm runs on this node; wait for it") from None
            time.sleep(0.1)


def take_lock(folder, wait):
    """
    Make the directory that is PVE's cluster-wide lock of one file, or raise :class:`Refused` after ``wait``
    seconds.

    Asking for expiry (utime 0) frees one left by a dead owner. pmxcfs answers that with EACCES, and without a
    file name, as long as the lock has not expired (memdb.c, measured); only mkdir tells what is so.
    """
    _make_parents(folder)
    end = time.monotonic() + wait
    while not _mkdir(folder):
        if time.monotonic() >= end:
            raise Refused(f"{folder} is held: the file is being edited on another node; wait for it")
        try:
            os.utime(folder, (0, 0))
        except FileNotFoundError:
            continue
        except PermissionError:
            pass
        time.sleep(0.5)


def give_lock(folder):
    """
    Give a lock back; one that cannot be removed expires by itself after 120 s (memdb.c).
    """
    try:
        os.rmdir(folder)
    except OSError as exc:
        sys.stderr.write(f"{folder} could not be removed: {exc.strerror}\n")


def _make_parents(folder):
    for parent in (os.path.dirname(os.path.dirname(folder)), os.path.dirname(folder)):
        if not os.path.isdir(parent):  # a message to the cluster less
            _mkdir(parent)


def _mkdir(path):
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _read_or_none(path):
    try:
        return _read(path)
    except FileNotFoundError:
        return None


def _answer(request):
    base = request.get("base") or BASE
    if request["do"] == "read":
        return read_files(request["names"], base)
    if request["do"] == "prove":
        return prove(base)
    expected = request.get("expected")
    return replace_conf(
        base64.b64decode(request["data"]),
        None if expected is None else base64.b64decode(expected),
        base,
        request.get("lock_file") or PVECM_LOCK,
        request.get("lock_wait") or 10.0,
        request.get("timeout") or 0.0,
    )


def main():
    """
    Answer the one request on standard input: ``{"ok": true, …}`` or ``{"ok": false, "error": text}``.
    """
    request = json.load(sys.stdin)
    try:
        answer = dict(_answer(request), ok=True)
    except Refused as exc:
        answer = {"ok": False, "error": str(exc)}
    except OSError as exc:
        answer = {"ok": False, "error": f"{exc.filename or request.get('base') or BASE}: {told(exc)}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
