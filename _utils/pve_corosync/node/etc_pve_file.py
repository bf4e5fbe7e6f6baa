"""
Replace any one file of ``/etc/pve`` the way PVE does, in a process of its own.

The cluster file is :mod:`.node.etc_pve`'s. This file does I/O on purpose, as a program, for the reason given
there; it uses that file's lock and texts. The cluster-wide lock of a file is a directory below
``priv/lock`` (PVE/Cluster.pm); it expires after 120 s.
"""

import base64
import json
import os
import sys

if __name__ == "__main__":
    # isolated (-I): nothing but the standard library is on the path, until this puts the package's root there
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from pve_corosync.node import etc_pve


def command(python=None):
    """
    Return the command that carries out one request in a child process.
    """
    return [python or sys.executable or "python3", "-I", "-S", os.path.abspath(__file__)]


def replace(name, data, expected, lock, base=etc_pve.BASE, lock_wait=10.0):
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

    Raises node.etc_pve.Refused or OSError.
    """
    now = etc_pve.state(base)
    if not now["writable"]:
        why = (
            "read-only: this partition is not quorate" if now["mounted"] else "not mounted: start pve-cluster"
        )
        raise etc_pve.Refused(f"{base} is {why}")
    path, folder = os.path.join(base, name), os.path.join(base, "priv/lock", lock)
    etc_pve.take_lock(folder, lock_wait)
    try:
        return _swap(path, data, expected)
    finally:
        etc_pve.give_lock(folder)


def _swap(path, data, expected):
    present = _read(path)
    if present == data:
        return False
    if present != expected:
        raise etc_pve.Refused(f"{path} was changed by somebody else since it was read: try again")
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
            raise etc_pve.Refused(
                f"{new} does not read back as it was written: see journalctl -u pve-cluster"
            )
        os.rename(new, path)
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise
    if _read(path) != data:
        raise etc_pve.Refused(f"{path} does not read back as it was written: somebody else wrote it just now")
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
    except etc_pve.Refused as exc:
        answer = {"ok": False, "error": str(exc)}
    except OSError as exc:
        meaning = etc_pve.MEANING.get(exc.errno, exc.strerror or str(exc))
        answer = {"ok": False, "error": f"{exc.filename or request['name']}: {meaning}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
