"""
Replace any one file of ``/etc/pve`` the way PVE does, in a process of its own; the cluster file is
ring_pmxcfs's.

This file does I/O on purpose, as a program, for the reason given in :mod:`ring_pmxcfs`, whose lock and texts
it uses. The cluster-wide lock of a file is a directory below ``priv/lock`` (PVE/Cluster.pm); it expires after
120 s.
"""

import base64
import json
import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

try:
    import ring_pmxcfs
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_pmxcfs


def command(python=None):
    """
    Return the command that carries out one request in a child process.
    """
    return [python or sys.executable or "python3", "-I", "-S", os.path.abspath(__file__)]


def replace(name, data, expected, lock, base=ring_pmxcfs.BASE, lock_wait=10.0):
    """
    Replace one file by ``data`` (bytes; None removes it) under its lock, and return whether that changed
    anything.

    name : str
        Path relative to ``/etc/pve``; its directory is made if it does not exist.

    expected : bytes
        What it must hold now, None if it must not exist; otherwise somebody edited it meanwhile, and it
        stays.

    lock : str
        Name of the lock directory below ``priv/lock``, e.g. ``firewall-cluster``.

    Raises ring_pmxcfs.Refused or OSError.
    """
    now = ring_pmxcfs.state(base)
    if not now["writable"]:
        why = (
            "read-only: this partition is not quorate" if now["mounted"] else "not mounted: start pve-cluster"
        )
        raise ring_pmxcfs.Refused(f"{base} is {why}")
    path, folder = os.path.join(base, name), os.path.join(base, "priv/lock", lock)
    ring_pmxcfs.take_lock(folder, lock_wait)
    try:
        return _swap(path, data, expected)
    finally:
        ring_pmxcfs.give_lock(folder)


def _swap(path, data, expected):
    present = _read(path)
    if present == data:
        return False
    if present != expected:
        raise ring_pmxcfs.Refused(f"{path} was changed by somebody else since it was read: try again")
    if data is None:
        os.unlink(path)
        return True
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.pve-corosync.{os.getpid()}"
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            written = os.write(handle, data)  # one write() is one message to the cluster
        finally:
            os.close(handle)
        if written != len(data) or _read(new) != data:
            raise ring_pmxcfs.Refused(
                f"{new} does not read back as it was written: see journalctl -u pve-cluster"
            )
        os.rename(new, path)
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise
    if _read(path) != data:
        raise ring_pmxcfs.Refused(
            f"{path} does not read back as it was written: somebody else wrote it just now"
        )
    return True


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _bytes(text):
    return None if text is None else base64.b64decode(text)


def main():
    """
    Carry out the request on standard input: ``{"ok": true, "changed": bool}`` or ``{"ok": false, "error":
    text}``.
    """
    request = json.load(sys.stdin)
    try:
        changed = replace(
            request["name"],
            _bytes(request["data"]),
            _bytes(request["expected"]),
            request["lock"],
            request["base"],
            request.get("lock_wait") or 10.0,
        )
        answer = {"ok": True, "changed": changed}
    except ring_pmxcfs.Refused as exc:
        answer = {"ok": False, "error": str(exc)}
    except OSError as exc:
        meaning = ring_pmxcfs.MEANING.get(exc.errno, exc.strerror or str(exc))
        answer = {"ok": False, "error": f"{exc.filename or request['name']}: {meaning}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
