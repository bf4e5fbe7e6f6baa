"""
The one program that touches ``/etc/pve``: read and replace files the way PVE does, and hold its locks.

This file does I/O on purpose. A call into pmxcfs can hang where not even SIGKILL ends it, so the execution
modules never touch ``/etc/pve`` themselves: they start this file as a program (:func:`command`), give it a
JSON request on standard input, read the JSON answer, and leave it behind if it is late
(:mod:`.node.etc_pve_client`). It uses the standard library only.

Facts: lstat of ``/etc/pve/local`` tells mounted (it is a symbolic link) and writable (owner write bit of the
link, pmxcfs cfs-plug-link.c, PVE/Cluster.pm check_cfs_quorum); ``os.access`` and opening for write succeed
for root without quorum. A rename is the one atomic write that pmxcfs replicates (memdb.c).
"""

import base64
import contextlib
import errno
import json
import os
import stat
import sys
import time

if __name__ == "__main__":
    # isolated (-I): nothing but the standard library is on the path, until this puts the package's root there
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from pve_corosync.node import etc_pve_lock, pvecm_lock
from pve_corosync.node.etc_pve_lock import BASE, Refused

CONF = "corosync.conf"
#: between two writes while pmxcfs answers with EBUSY.
BUSY_PAUSE_S = 0.25
#: While another process of this node renames a file, an open waits for it, and then finds nothing, once (1 s
#: for the cluster file; the next one, 20 ms later, succeeds). Its name is in the folder all the while
#: (memdb.c replaces the entry under one lock), so what is missing is looked for again only where its name is
#: there: without HA there is nothing of it, which must delay no look. The cluster file is looked for always.
RENAME_PAUSES_S = (0.03, 0.2)

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
    Return ``{"mounted": bool, "writable": bool, "said": text}``.

    ``said`` is what came instead of an answer. A pmxcfs that died leaves its mount, which says ENOTCONN; only
    where there is no such file is it plainly not mounted, and ``said`` is empty.
    """
    try:
        mode = os.lstat(os.path.join(base, "local")).st_mode
    except FileNotFoundError:
        return {"mounted": False, "writable": False, "said": ""}
    except OSError as exc:
        return {"mounted": False, "writable": False, "said": told(exc, base)}
    return {"mounted": is_link(mode), "writable": is_writable(mode), "said": ""}


def told(exc, base=BASE):
    """
    Return what an error of the operating system means: its name and a text, of pmxcfs where it is its file.
    """
    plain = exc.strerror or str(exc)
    inside = exc.filename is None or str(exc.filename).startswith(str(base))
    return (
        f"{errno.errorcode.get(exc.errno, 'OSError')}: {MEANING.get(exc.errno, plain) if inside else plain}"
    )


# ---- reading -----------------------------------------------------------------------------------------------


def read_files(names, base=BASE):
    """
    Return :func:`state` with ``files``: ``{name: text|None}``, and ``errors``: ``{name: text}``.

    A file that does not exist is None without an error. Nothing is read while pmxcfs is not mounted: what
    lies in the directory below the mount point is not the cluster's.
    """
    answer = dict(state(base), files=dict.fromkeys(names), errors={})
    missing = list(names) if answer["mounted"] else []
    for pause in (None, *RENAME_PAUSES_S):
        if pause is not None:
            missing = [name for name in missing if name == CONF or _in_its_folder(base, name)]
            time.sleep(pause if missing else 0.0)
        for name in list(missing):
            try:
                answer["files"][name] = _read(os.path.join(base, name)).decode("latin-1")
            except FileNotFoundError:
                continue
            except OSError as exc:
                answer["errors"][name] = exc.strerror or str(exc)
            missing.remove(name)
    return answer


# ---- writing -----------------------------------------------------------------------------------------------


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
        etc_pve_lock.make_parents(folder)
        proven = etc_pve_lock.mkdir(folder)
        try:
            os.rmdir(folder)  # one that an earlier proof left behind proves as much by going
            proven = True
        except FileNotFoundError:
            pass  # another proof of this node removed it
    except Refused as exc:
        return {"writable": False, "why": str(exc)}
    except OSError as exc:
        return {"writable": False, "why": f"{base}: {told(exc, base)}"}
    return {"writable": proven, "why": "" if proven else f"{base}: another proof was at work"}


def replace_conf(data, expected, base=BASE, **how):
    """
    Replace the cluster file by ``data`` (bytes) under both of PVE's locks; see :func:`replace`.

    :param how: as of :func:`replace`, and ``lock_file``: the file of PVE's lock on this node.
    """
    how.setdefault("lock_file", pvecm_lock.PATH)
    return replace(CONF, data, expected, etc_pve_lock.CONF_LOCK, base, **how)


def replace(  # pylint: disable=too-many-arguments
    name,
    data,
    expected,
    lock,
    base=BASE,
    lock_file=None,
    lock_wait=10.0,
    timeout=0.0,
    notes=etc_pve_lock.NOTES,
):
    """
    Replace one file of ``/etc/pve`` under its lock, and return what was done.

    :param name: path relative to ``/etc/pve``; its directory is made if it does not exist.
    :param data: bytes; None removes the file.
    :param expected: the bytes that it must hold now, None if it must not exist. Anything else means that
        somebody edited it since it was read, and it stays.
    :param lock: name of the lock's directory below ``priv/lock``, e.g. ``firewall-cluster``.
    :param lock_file: of a lock on this node that is held too, None for none.
    :param lock_wait: seconds to wait for each lock.
    :param timeout: seconds in which EBUSY is waited out: pmxcfs has left its group, and joins it again. A
        lock that comes later is given back. 0: nothing is waited out, and a lock cannot come too late.
    :param notes: the folder of the notes on locks.
    :returns: ``{"changed": bool, "seconds": {"locked", "renamed"}, "notes": [text]}``.
    :raises Refused: with the old file in place. OSError likewise.
    """
    start = time.monotonic()
    end = start + (timeout or float("inf"))
    said, sent = [], False
    while True:
        try:
            _require_writable(base)
            with contextlib.ExitStack() as locks:
                if lock_file:
                    said = locks.enter_context(pvecm_lock.held(lock_file, lock_wait))
                locks.enter_context(etc_pve_lock.held(base, lock, lock_wait, notes, end))
                locked = time.monotonic() - start
                changed = _swap(name, data, expected, base) or sent
            break
        except OSError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() - start >= timeout:
                raise
            # a rename that was answered with EBUSY may have been carried out all the same
            sent = sent or exc.filename2 is not None
            time.sleep(BUSY_PAUSE_S)
    seconds = {"locked": locked, "renamed": time.monotonic() - start}
    return {"changed": changed, "seconds": seconds, "notes": said}


def _swap(name, data, expected, base):
    """
    Put the bytes in place with one rename and tell whether that changed anything.
    """
    path = os.path.join(base, name)
    new = f"{path}.new" if name == CONF else f"{path}.pve-corosync.{os.getpid()}"
    now = _read_or_none(path)
    if now == data:
        return False
    if now != expected:
        raise Refused(
            f"{path} was changed by somebody else since it was read: gather the facts and plan again"
        )
    if data is None:
        os.unlink(path)
        return True
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        _create(new, data)
        if _read(new) != data:
            raise Refused(f"{new} does not read back as it was written: see journalctl -u pve-cluster")
        if now is not None and name == CONF:
            _create(f"{path}.bak", now)
        os.rename(new, path)  # the cluster file: about 1 s, then pmxcfs reloads the whole partition
    except BaseException:
        with contextlib.suppress(OSError):  # what has just failed is what it needs, and the next run does it
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
    if now["said"]:
        raise Refused(f"{base}: {now['said']}")
    if not now["mounted"]:
        raise Refused(f"{base} is not mounted: start pve-cluster, and only then write to it")
    return now


def _require_writable(base):
    if not _require_mounted(base)["writable"]:
        raise Refused(
            f"{base} is read-only: this partition is not quorate; restore quorum with local files first"
        )


def _unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _in_its_folder(base, name):
    folder, own = os.path.split(os.path.join(base, name))
    try:
        return own in os.listdir(folder)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # nothing is known; the file is asked for again


def _read_or_none(path):
    for pause in (*RENAME_PAUSES_S, None):
        try:
            return _read(path)
        except FileNotFoundError:
            if pause is not None:
                time.sleep(pause)
    return None


# ---- the program -------------------------------------------------------------------------------------------


def _bytes(text):
    return None if text is None else base64.b64decode(text)


def _replace(request, base):
    how = {key: request[key] for key in ("lock_file", "lock_wait", "timeout", "notes") if request.get(key)}
    data, expected = _bytes(request["data"]), _bytes(request.get("expected"))
    return replace(request["name"], data, expected, request["lock"], base, **how)


def _end(request):
    return time.monotonic() + (request.get("timeout") or float("inf"))


def _lock(work):
    def answer(request, base):
        _require_mounted(base)
        return work(request, base)

    return answer


#: what can be asked: ``do`` of the request -> the answer.
REQUESTS = {
    "read": lambda request, base: read_files(request["names"], base),
    "prove": lambda request, base: prove(base),
    "replace": _replace,
    "take": _lock(lambda request, base: etc_pve_lock.take(request["holder"], base, _end(request))),
    "renew": _lock(lambda request, base: etc_pve_lock.renew(request["mtime"], base)),
    "drop": _lock(lambda request, base: etc_pve_lock.drop(base, request.get("mtime"))),
    "give_back": lambda request, base: {
        "later": etc_pve_lock.give_back_later(base, request.get("notes") or etc_pve_lock.NOTES)
    },
}


def main():
    """
    Answer the one request on standard input: ``{"ok": true, …}`` or ``{"ok": false, "error": text}``.
    """
    request = json.load(sys.stdin)
    base = request.get("base") or BASE
    try:
        answer = dict(REQUESTS[request["do"]](request, base), ok=True)
    except Refused as exc:
        answer = {"ok": False, "error": str(exc)}
    except OSError as exc:
        answer = {"ok": False, "error": f"{exc.filename or base}: {told(exc, base)}", "errno": exc.errno}
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        json.dump(answer, sys.stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
