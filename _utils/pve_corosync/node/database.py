"""The database of pmxcfs, /var/lib/pve-cluster/config.db: what is in it, and copies of it.

One table ``tree``, a row for each file and directory of ``/etc/pve``; the row of inode 0 has the version and
the time of the last change of all (pve-cluster ``src/pmxcfs/database.c``). It is read by SQLite's own means
beside the running pmxcfs, which writes every change to it before it answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from pve_corosync.node import files

try:
    import sqlite3
except ImportError:  # a Python built without it
    sqlite3 = None

CONFIG_DB = "/var/lib/pve-cluster/config.db"
HALVES = f"{files.STATE_DIR}/halves"
#: seconds to wait for pmxcfs's own lock.
BUSY_S = 5.0
DIRECTORY, FILE = 4, 8  # DT_DIR, DT_REG


class DatabaseError(OSError):
    """The database cannot be read or copied; the text says why and what to do."""


def index(root: str | None = "") -> dict | None:
    """Return ``{"version", "mtime", "files": {path: sha256}}`` of the database, None where there is none.

    :param root: a test's directory, "" for the node itself.
    :raises DatabaseError: it cannot be read.
    """
    path = files.under(root, CONFIG_DB)
    if not os.path.exists(path):
        return None
    with _open(path) as database:
        return _index(_rows(database))


def save(root: str | None, name: str) -> dict:
    """Copy the database, and every file of it as it is in /etc/pve, below /var/lib/pve-corosync/halves/NAME.

    What is there already under that name is kept: it was saved before the halves met.

    :param root: a test's directory, "" for the node itself.
    :param name: the name of the run.
    :returns: ``{"folder", "version", "mtime", "files"}`` as :func:`index`, of the copy.
    :raises DatabaseError: there is no database, or no complete copy of it.
    """
    folder = f"{HALVES}/{name}"
    target = files.under(root, folder)
    copy = os.path.join(target, "config.db")
    if not os.path.exists(copy):
        os.makedirs(target, mode=0o700, exist_ok=True)
        os.chmod(target, 0o700)
        _copy(files.under(root, CONFIG_DB), copy)
    with _open(copy) as database:
        rows = _rows(database)
    for place, data in _contents(rows).items():
        _put(os.path.join(target, "pve", place), data)
    return {"folder": folder} | _index(rows)


def _copy(source: str, target: str) -> None:
    if not os.path.exists(source):
        raise DatabaseError(f"{source} does not exist: is pve-cluster installed here?")
    temporary = f"{target}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with _open(source) as database:
        try:
            with contextlib.closing(sqlite3.connect(temporary)) as copy:
                database.backup(copy)
        except sqlite3.Error as exc:
            raise DatabaseError(f"{source} cannot be copied to {temporary}: {exc}") from exc
    os.replace(temporary, target)


def _put(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    files.replace(path, data, 0o600)


@contextlib.contextmanager
def _open(path: str):
    """Open a database for reading; its errors become DatabaseError."""
    if sqlite3 is None:
        raise DatabaseError(f"{path} cannot be read: this Python has no sqlite3")
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)
        ) as database:
            yield database
    except sqlite3.Error as exc:
        raise DatabaseError(f"{path} cannot be read: {exc}") from exc


def _rows(database) -> list[tuple]:
    return database.execute("SELECT inode, parent, version, mtime, type, name, data FROM tree").fetchall()


def _index(rows) -> dict:
    version, mtime = next(((row[2], row[3]) for row in rows if row[0] == 0), (0, 0))
    told = {path: hashlib.sha256(data).hexdigest() for path, data in _contents(rows).items()}
    return {"version": version, "mtime": mtime, "files": told}


def _contents(rows) -> dict[str, bytes]:
    """Return {path below /etc/pve: bytes} of the files; what has no way to the root is left out."""
    names = {row[0]: (row[1], str(row[5])) for row in rows if row[4] == DIRECTORY and row[0]}
    found = {}
    for inode, parent, _version, _mtime, kind, name, data in rows:
        if kind != FILE or not inode:
            continue
        parts, at = [str(name)], parent
        while at in names and len(parts) < 32:
            parts.append(names[at][1])
            at = names[at][0]
        if at == 0 and all(part and part not in (".", "..") and "/" not in part for part in parts):
            found["/".join(reversed(parts))] = bytes(data or b"")
    return found
