"""The database of /etc/pve on disk: SQLite, table `tree`, a row an inode, row 0 for the root's version."""

import sqlite3

SCHEMA = """CREATE TABLE IF NOT EXISTS tree (
    inode INTEGER PRIMARY KEY NOT NULL, parent INTEGER NOT NULL CHECK(typeof(parent)=='integer'),
    version INTEGER NOT NULL, writer INTEGER NOT NULL, mtime INTEGER NOT NULL,
    type INTEGER NOT NULL, name TEXT NOT NULL, data BLOB)"""
ROOT_NAME = "__version__"
COLUMNS = "inode, parent, version, writer, mtime, type, name, data"
WRITE = f"INSERT OR REPLACE INTO tree ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"


class Store:
    """Keeps the rows; every change is one transaction, written before it is acknowledged."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute(SCHEMA)

    def rows(self):
        """Return all rows, each as in COLUMNS."""
        return self.connection.execute(f"SELECT {COLUMNS} FROM tree ORDER BY inode").fetchall()

    def change(self, written=(), deleted=()):
        """Write and delete rows in one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for inode in deleted:
                self.connection.execute("DELETE FROM tree WHERE inode = ?", (inode,))
            self.connection.executemany(WRITE, written)
            self.connection.execute("COMMIT")
        except sqlite3.Error:
            self.connection.execute("ROLLBACK")
            raise

    def close(self):
        """Close the database."""
        self.connection.close()
