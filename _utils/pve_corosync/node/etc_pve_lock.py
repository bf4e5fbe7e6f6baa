"""One lock for the whole cluster: a directory in ``/etc/pve/priv/lock``, held by the node that works on the
links.

This file does I/O on purpose, and like :mod:`.node.etc_pve` it is started as a program, because a call into
pmxcfs can hang. pmxcfs gives a directory in ``priv/lock`` three properties (memdb.c, PVE/Cluster.pm): only
one node can make it; it is renewed by setting a newer time; and setting time 0 removes it if it has not
changed for 120 s. So a holder that died keeps the others out for two minutes at most. Nothing can be said in
the directory; who holds it stands beside it, in ``/etc/pve/priv/pve-corosync.json``.
"""

import json
import os
import sys
import time

BASE = "/etc/pve"
LOCK = "priv/lock/pve-corosync"
HOLDER = "priv/pve-corosync.json"
#: pmxcfs's own time (memdb.c CFS_LOCK_TIMEOUT), and how often a holder renews.
EXPIRES_S = 120
RENEW_S = 20


def command(python=None):
    """
    Return the command that answers one request in a child process.
    """
    return [python or sys.executable or "python3", "-I", "-S", os.path.abspath(__file__)]


def take(holder, base=BASE):
    """
    Try once to take the lock, and ask for its end if it has expired.

    holder : dict
        Who takes it and what for; plain data.

    Returns ``{"taken": True, "mtime": seconds}`` or ``{"taken": False, "holder": dict or None}``.
    """
    folder = os.path.join(base, LOCK)
    for parent in (os.path.dirname(os.path.dirname(folder)), os.path.dirname(folder)):
        try:
            os.mkdir(parent)
        except FileExistsError:
            continue
    try:
        os.mkdir(folder)
    except FileExistsError:
        try:
            os.utime(folder, (0, 0))
        except OSError:
            pass  # given back, or pmxcfs says no: the next try tells
        return {"taken": False, "holder": read_holder(base)}
    mtime = int(os.lstat(folder).st_mtime)
    _write(os.path.join(base, HOLDER), json.dumps(holder).encode())
    return {"taken": True, "mtime": mtime}


def renew(mtime, base=BASE):
    """
    Renew a lock that this node holds, and tell whether it does.

    mtime : int
        What the last call returned.

    Returns ``{"held": bool, "mtime": seconds}``. A lock that is gone or has a newer time is not this node's
    any more.
    """
    folder = os.path.join(base, LOCK)
    try:
        if int(os.lstat(folder).st_mtime) > mtime:
            return {"held": False, "mtime": mtime}
        now = max(int(time.time()), mtime)
        os.utime(folder, (now, now))
    except FileNotFoundError:
        return {"held": False, "mtime": mtime}
    return {"held": True, "mtime": now}


def drop(base=BASE):
    """
    Give the lock back.
    """
    for remove, name in ((os.unlink, HOLDER), (os.rmdir, LOCK)):
        try:
            remove(os.path.join(base, name))
        except FileNotFoundError:
            continue
    return {"dropped": True}


def read_holder(base=BASE):
    """
    Return what the holder wrote about itself; None if it wrote nothing that can be read.
    """
    try:
        with open(os.path.join(base, HOLDER), "rb") as file:
            told = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _write(path, data):
    """
    Replace a small file with one write and one rename: each is one message to the cluster.
    """
    new = f"{path}.new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
    os.rename(new, path)


def main():
    """
    Answer the one request on standard input: ``{"ok": true, …}`` or ``{"ok": false, "error": text}``.
    """
    request = json.load(sys.stdin)
    base = request.get("base") or BASE
    try:
        if not os.path.islink(os.path.join(base, "local")):
            raise OSError(f"{base} is not mounted: systemctl status pve-cluster")
        work = {
            "take": lambda: take(request["holder"], base),
            "renew": lambda: renew(request["mtime"], base),
            "drop": lambda: drop(base),
        }[request["do"]]
        answer = dict(work(), ok=True)
    except OSError as exc:
        answer = {"ok": False, "error": f"{exc.filename or base}: {exc.strerror or exc}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
