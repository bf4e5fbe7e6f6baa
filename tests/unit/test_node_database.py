"""config.db: read as pmxcfs writes it, and copied with every file."""

import os
import sqlite3

import pytest
from pve_corosync.node import database

KINDS = "parent INTEGER, version INTEGER, writer INTEGER, mtime INTEGER, type INTEGER, name TEXT, data BLOB"
TABLE = f"CREATE TABLE tree (inode INTEGER PRIMARY KEY NOT NULL, {KINDS})"
ROWS = [
    (0, 0, 812, 0, 1763900000, 8, "__version__", None),
    (2, 0, 2, 0, 1763800000, 4, "nodes", None),
    (3, 2, 3, 0, 1763800000, 4, "pve1", None),
    (4, 3, 700, 1, 1763800000, 8, "100.conf", b"memory: 1024\n"),
    (5, 0, 5, 0, 1763800000, 8, "storage.cfg", b""),
    (6, 99, 5, 0, 1763800000, 8, "lost", b"no way to the root"),
    (7, 0, 5, 0, 1763800000, 8, "../../escape", b"x"),
]


@pytest.fixture
def root(tmp_path):
    path = tmp_path / database.CONFIG_DB.lstrip("/")
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute(TABLE)
        base.executemany("INSERT INTO tree VALUES (?,?,?,?,?,?,?,?)", ROWS)
    base.close()
    return tmp_path


def test_the_index_has_the_version_of_the_tree_and_all_files(root):
    told = database.index(str(root))
    assert (told["version"], told["mtime"]) == (812, 1763900000)
    assert set(told["files"]) == {"nodes/pve1/100.conf", "storage.cfg"}
    assert database.index(str(root / "elsewhere")) is None


def test_a_copy_has_the_database_and_the_files_and_is_made_once(root):
    told = database.save(str(root), "run1")
    folder = root / told["folder"].lstrip("/")
    assert (folder / "pve/nodes/pve1/100.conf").read_bytes() == b"memory: 1024\n"
    assert told["files"] == database.index(str(root))["files"]
    assert not os.stat(folder).st_mode & 0o077 and not os.stat(folder / "config.db").st_mode & 0o077
    with sqlite3.connect(root / database.CONFIG_DB.lstrip("/")) as base:
        base.execute("UPDATE tree SET data = 'other' WHERE inode = 4")
    base.close()
    assert database.save(str(root), "run1") == told  # saved before the halves met


def test_what_cannot_be_read_is_told(root):
    path = root / database.CONFIG_DB.lstrip("/")
    path.write_bytes(b"no database at all, and long enough for a header" * 40)
    with pytest.raises(database.DatabaseError, match="cannot be read"):
        database.index(str(root))
    with pytest.raises(database.DatabaseError):
        database.save(str(root), "run1")
    assert not list(root.glob("**/halves/run1/config.db"))
    path.unlink()
    with pytest.raises(database.DatabaseError, match="does not exist"):
        database.save(str(root), "run2")
