"""
Files of a node on its own disk: replaced in one step, kept as backups, and small JSON records.

This file does I/O on purpose, and only on local file systems; ``/etc/pve`` is :mod:`.node.etc_pve`. A file is
replaced by writing a temporary file in the same directory, ``fsync``, ``rename`` and ``fsync`` of the
directory, so that a reader, or a power cut, finds the old bytes or the new ones.
"""

import hashlib
import json
import os
import re
import tempfile
import time

STATE_DIR = "/var/lib/pve-corosync"
RUN_DIR = "/run/pve-corosync"
LOCAL_CONF = "/etc/corosync/corosync.conf"

BACKUPS_KEPT = 20


def under(root, path):
    """
    Return ``path`` below ``root`` (``""`` or ``/`` is the node itself; anything else is a test's directory).
    """
    return path if root in ("", "/", None) else os.path.join(root, path.lstrip("/"))


def sha256(data):
    """
    Return the hex digest of bytes.
    """
    return hashlib.sha256(data).hexdigest()


def read(path):
    """
    Return the bytes of a file, or None if it does not exist; other errors are raised as OSError.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def replace(path, data, mode=0o644):
    """
    Replace a file by ``data`` (bytes) in one step, owned by root:root with ``mode``, and read it back.

    Raises OSError with the old file in place, if anything fails before the rename.
    """
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), 0, 0)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(folder)
    if read(path) != data:
        raise OSError(
            f"{path} does not hold the bytes that were written: another program replaced it meanwhile"
        )


def ensure_folder(path, mode=0o700):
    """
    Create a directory and its parents (``mode`` is that of the last one) if it does not exist.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass  # made by an earlier call, or by another job at this moment


def keep_backup(folder, name, data, keep=BACKUPS_KEPT):
    """
    Keep ``data``, the bytes that are about to be replaced, and return the path of the copy.

    name : str What the file is, e.g. ``corosync.conf.local``; the copy is ``<name>.<UTC time>.<8 digits of
        the digest>``.

    keep : int
        How many copies of this name stay; older ones go. Bytes equal to the newest copy are not kept twice.
    """
    ensure_folder(folder)
    digest = sha256(data)[:8]
    copies = list_backups(folder, name)
    if copies and copies[-1].endswith(f".{digest}"):
        return os.path.join(folder, copies[-1])
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{int(now % 1 * 1e6):06d}Z"
    path = os.path.join(folder, f"{name}.{stamp}.{digest}")
    replace(path, data, mode=0o600)
    for old in list_backups(folder, name)[:-keep]:
        _remove(os.path.join(folder, old))
    return path


def list_backups(folder, name):
    """
    Return the file names of the copies of ``name``, oldest first.
    """
    pattern = re.compile(re.escape(name) + r"\.\d{8}T\d{12}Z\.[0-9a-f]{8}$")
    try:
        return sorted(entry for entry in os.listdir(folder) if pattern.match(entry))
    except FileNotFoundError:
        return []


def read_json(path):
    """
    Return the object of a JSON file; None if the file does not exist or is not whole JSON.
    """
    data = read(path)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return None


def write_json(path, record, mode=0o600):
    """
    Replace a JSON file in one step.
    """
    replace(path, (json.dumps(record, sort_keys=True) + "\n").encode(), mode=mode)


def keep_newest(folder, suffix, keep):
    """
    Remove all files of a directory with this suffix but the ``keep`` newest ones, by time of change.
    """
    entries = [entry for entry in os.scandir(folder) if entry.name.endswith(suffix) and entry.is_file()]
    entries.sort(key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[: max(0, len(entries) - keep)]:
        _remove(entry.path)


def _sync_folder(folder):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # somebody else removed it: the wish is fulfilled
