"""
Files of a node on its own disk: replaced in one step, kept as backups, and small JSON records.

This file does I/O on purpose, and only on local file systems; ``/etc/pve`` is :mod:`.node.etc_pve`. A file is
replaced by writing a temporary file in the same directory, ``fsync``, ``rename`` and ``fsync`` of the
directory, so that a reader, or a power cut, finds the old bytes or the new ones.
"""

import contextlib
import fcntl
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


def is_locked(path):
    """
    Tell whether a process holds a ``flock`` on a file now; a file that is not there is held by none.
    """
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def replace(path, data, mode=0o644):
    """
    Replace a file by ``data`` (bytes) in one step, owned by root:root with ``mode``, and read it back.

    Raises OSError, with the path in it and the old file in place, if anything fails before the rename.
    """
    folder, name = os.path.split(path)
    _remove_left(folder, name)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.{os.getpid()}-", dir=folder)
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
    except OSError as exc:
        if exc.errno is None:
            raise
        raise OSError(exc.errno, exc.strerror, path) from exc
    if read(path) != data:
        raise OSError(
            f"{path} does not hold the bytes that were written: another program replaced it meanwhile"
        )


def try_disk(folder, size):
    """
    Write as many bytes into a directory as a change will, and take them away again.

    Raises OSError, with the directory in it, if it is read-only, full, or missing and cannot be made.
    """
    try:
        ensure_folder(folder, 0o755)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * size)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, folder) from exc


def _remove_left(folder, name):
    """
    Remove temporary files of a file that a killed process left beside it.
    """
    pattern = re.compile(rf"\.{re.escape(name)}\.(?:(\d+)-)?\w{{8}}\Z")
    try:
        entries = os.listdir(folder)
    except OSError:
        return  # what comes next says why
    for entry in entries:
        match = pattern.match(entry)
        path = os.path.join(folder, entry)
        if match and (_is_gone(int(match[1])) if match[1] else _is_old(path)):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def _is_old(path):
    """
    Tell whether a temporary file without a pid in its name, as older versions made them, is 10 minutes old.
    """
    try:
        return time.time() - os.lstat(path).st_mtime > 600
    except OSError:
        return False


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

    :param name: what the file is, e.g. ``corosync.conf.local``; the copy is ``<name>.<UTC time>.<number>.<8
        digits of the digest>``. The number counts up: copies are ordered by it, as a clock can go back.
    :param keep: how many copies of this name stay; older ones go. Bytes equal to the newest copy are not kept
        twice.
    """
    ensure_folder(folder)
    digest = sha256(data)[:8]
    copies = list_backups(folder, name)
    if copies and copies[-1].endswith(f".{digest}"):
        return os.path.join(folder, copies[-1])
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{int(now % 1 * 1e6):06d}Z"
    number = max((_counted(entry)[0] for entry in copies), default=0) + 1
    path = os.path.join(folder, f"{name}.{stamp}.{number:06d}.{digest}")
    replace(path, data, mode=0o600)
    for old in list_backups(folder, name)[:-keep]:
        _remove(os.path.join(folder, old))
    return path


def list_backups(folder, name):
    """
    Return the file names of the copies of ``name``, oldest first; those of older versions have no number.
    """
    pattern = re.compile(re.escape(name) + r"\.\d{8}T\d{12}Z(\.\d{6,})?\.[0-9a-f]{8}\Z")
    try:
        return sorted((entry for entry in os.listdir(folder) if pattern.match(entry)), key=_counted)
    except FileNotFoundError:
        return []


def _counted(entry):
    """
    Return what copies are ordered by: their number, 0 where they have none, then their time.
    """
    match = re.search(r"\.(\d{8}T\d{12}Z)(?:\.(\d{6,}))?\.[0-9a-f]{8}\Z", entry)
    return int(match[2] or 0), match[1]


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


def keep_newest(folder, suffix, keep, written=None):
    """
    Remove all files of a directory with this suffix but the ``keep`` newest ones, by time of change.

    :param written: path of the one that was written just now. It is the newest, whatever the clock says:
        where others are later, its time is set above theirs.
    """
    entries = [entry for entry in os.scandir(folder) if entry.name.endswith(suffix) and entry.is_file()]
    times = {entry.path: entry.stat().st_mtime_ns for entry in entries}
    if written in times:
        others = max((when for path, when in times.items() if path != written), default=0)
        if others >= times[written]:
            times[written] = others + 1_000_000  # file systems keep at least milliseconds here
            os.utime(written, ns=(times[written], times[written]))
    for path in sorted(times, key=times.get)[: max(0, len(times) - keep)]:
        if path != written:
            _remove(path)


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
