"""The tree of files of /etc/pve in memory, with the errors and limits of the real one (memdb.c)."""

import errno
import hashlib
import re
import sqlite3
import threading
import time
from dataclasses import dataclass, field

from . import log
from .store import ROOT_NAME

DIRECTORY, FILE = 4, 8
ROOT_INODE = 0
MAX_FILE_SIZE = 1024 * 1024
MAX_SIZE = 128 * 1024 * 1024
MAX_INODES = 256 * 1024
BLOCK = 4096
LOCK_SECONDS = 120
NODE = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
GUEST = re.compile(rf"nodes/({NODE})/(qemu-server|lxc|openvz)/([1-9][0-9]*)\.conf")
GUEST_TYPES = {"qemu-server": "qemu", "lxc": "lxc", "openvz": "openvz"}


class TreeError(OSError):
    """A refused operation, with the errno that the real pmxcfs gives."""


@dataclass
class Entry:
    """A file or directory; `version` and `inode` come from the root's counter."""

    inode: int
    parent: int
    version: int
    writer: int
    mtime: int
    type: int
    name: str
    data: bytes = b""
    entries: dict = field(default_factory=dict)

    def row(self):
        """Return the row that the store keeps."""
        return (
            self.inode,
            self.parent,
            self.version,
            self.writer,
            self.mtime,
            self.type,
            self.name,
            self.data if self.type == FILE else None,
        )

    def digest(self):
        """Return what tells two states of an entry apart."""
        head = [self.inode, self.parent, self.version, self.writer, self.mtime, self.type, self.name]
        return hashlib.sha256(repr(head).encode() + self.data).hexdigest()


def parts(path):
    """Return a path's names, without empty ones."""
    return [name for name in path.split("/") if name]


def is_private(path):
    """Tell whether a path is kept from www-data: priv/… and nodes/*/priv/…"""
    names = parts(path)
    return names[:1] == ["priv"] or (names[:1] == ["nodes"] and names[2:3] == ["priv"])


def is_lock(path):
    """Tell whether a path is a lock directory."""
    names = parts(path)
    return len(names) == 3 and names[:2] == ["priv", "lock"]


class Tree:
    """All entries, by inode; `on_change(path)` is called for every path that changed. Thread safe."""

    def __init__(self, store, on_change=lambda path: None):
        self.store, self.on_change = store, on_change
        self.mutex = threading.RLock()
        self.failed = False
        self.locks = {}
        self.guests = {}
        self.guests_version = 1
        self._load(store.rows())

    # Reading

    def find(self, path):
        """Return the entry at a path, or None."""
        with self.mutex:
            entry = self.root
            for name in parts(path):
                if entry.type != DIRECTORY:
                    return None
                entry = entry.entries.get(name)
                if entry is None:
                    return None
            return entry

    def children(self, path):
        """Return the names in a directory."""
        with self.mutex:
            entry = self.find(path)
            return sorted(entry.entries) if entry is not None and entry.type == DIRECTORY else []

    def index(self):
        """Return what tells this tree from another's: {"version", "mtime", "entries": {inode: digest}}."""
        with self.mutex:
            return {
                "version": self.root.version,
                "mtime": self.root.mtime,
                "entries": {str(number): entry.digest() for number, entry in sorted(self.inodes.items())},
            }

    def usage(self):
        """Return (bytes, files) in use."""
        with self.mutex:
            return sum(len(entry.data) for entry in self.inodes.values()), len(self.inodes)

    # Changing: writer is a node's number, mtime a time in seconds

    def mkdir(self, path, writer, mtime):
        """Make a directory; EEXIST is what makes it a lock."""
        with self._changing():
            parent, name = self._place(path)
            if name in parent.entries:
                raise TreeError(errno.EEXIST, path)
            version = self._next(writer, mtime)
            self._insert(parent, Entry(version, parent.inode, version, writer, mtime, DIRECTORY, name))
            self._save([parent.entries[name]])
            if is_lock(path):
                self._watch(path, parent.entries[name])
            self.on_change(path)

    def create(self, path, writer, mtime):
        """Make an empty file."""
        with self._changing():
            parent, name = self._place(path)
            self._refuse_double_guest(path)
            if name in parent.entries:
                raise TreeError(errno.EEXIST, path)
            version = self._next(writer, mtime)
            self._insert(parent, Entry(version, parent.inode, version, writer, mtime, FILE, name))
            self._save([parent.entries[name]])
            self._list_guests()
            self.on_change(path)

    def write(self, path, writer, mtime, data, offset, truncate=False):
        """Write bytes at an offset, or cut the file there; returns the number of bytes."""
        with self._changing():
            if offset + len(data) > MAX_FILE_SIZE:
                raise TreeError(errno.EFBIG, path)
            parent, name = self._place(path)
            self._refuse_double_guest(path)
            entry = parent.entries.get(name)
            if entry is None:
                raise TreeError(errno.ENOENT, path)
            if entry.type != FILE:
                raise TreeError(errno.ENOTDIR, path)
            end = offset + len(data)
            old = entry.data.ljust(end, b"\0")
            new = old[:offset] + data + (b"" if truncate else old[end:])
            entry.data, entry.writer, entry.mtime = new, writer, mtime
            entry.version = self._next(writer, mtime)
            self._save([entry])
            self.on_change(path)
            return len(data)

    def rename(self, old, new, writer, mtime):
        """Give an entry another name; what was there is replaced in the same transaction."""
        with self._changing():
            entry = self.find(old)
            if entry is None:
                raise TreeError(errno.ENOENT, old)
            if entry is self.root or (entry.type == DIRECTORY and is_lock(old)):
                raise TreeError(errno.EACCES, old)
            if entry.type == FILE:
                self._refuse_double_guest(new, moved=old)
            parent, name = self._place(new)
            target = parent.entries.get(name)
            for gone in (target, entry):
                if gone is not None and gone.entries:
                    raise TreeError(errno.ENOTEMPTY, new)
            if target is not None and target is not entry:
                self._remove(target)
            self._remove(entry)
            entry.parent, entry.name, entry.writer, entry.mtime = parent.inode, name, writer, mtime
            entry.version = self._next(writer, mtime)
            self._insert(parent, entry)
            self._save([entry], [target.inode] if target is not None and target is not entry else [])
            self._list_guests()
            self.on_change(old)
            self.on_change(new)

    def delete(self, path, writer, mtime):
        """Remove a file or an empty directory."""
        with self._changing():
            entry = self.find(path)
            if entry is None:
                raise TreeError(errno.ENOENT, path)
            if entry is self.root:
                raise TreeError(errno.EACCES, path)
            if entry.entries:
                raise TreeError(errno.ENOTEMPTY, path)
            self.locks.pop("/".join(parts(path)), None)
            self._remove(entry)
            self._next(writer, mtime)
            self._save([], [entry.inode])
            self._list_guests()
            self.on_change(path)

    def touch(self, path, writer, mtime):
        """Set a time; a lock can only be renewed, and by the node that holds it."""
        with self._changing():
            parent, name = self._place(path)
            entry = parent.entries.get(name)
            if entry is None:
                raise TreeError(errno.ENOENT, path)
            lock = entry.type == DIRECTORY and is_lock(path)
            if lock and (mtime < entry.mtime or entry.writer != writer):
                raise TreeError(errno.EACCES, path)
            entry.version = self._next(writer, mtime)
            entry.writer, entry.mtime = writer, mtime
            self._save([entry])
            if lock:
                self._watch(path, entry)
            self.on_change(path)

    def lock_expired(self, path, digest):
        """Tell whether a lock has stood unchanged for 120 s since this node first saw it so."""
        key = "/".join(parts(path))
        with self.mutex:
            seen = self.locks.get(key)
            if seen is None or seen[0] != digest:
                self.locks[key] = (digest, time.monotonic())
                return False
            return time.monotonic() - seen[1] > LOCK_SECONDS

    # Taking another tree's place

    def take(self, rows, keep, version, mtime, writer):
        """Become the leader's tree: its changed rows, and of the own ones those that it has (`keep`)."""
        with self.mutex:
            gone = [number for number in self.inodes if number not in keep and number != ROOT_INODE]
            root = (ROOT_INODE, 0, version, writer, mtime, FILE, ROOT_NAME, None)
            try:
                self.store.change([*rows, root], gone)
            except sqlite3.Error as error:
                self._fail(error)
            before = {path: entry.digest() for path, entry in self._paths()}
            self._load(self.store.rows())
            after = {path: entry.digest() for path, entry in self._paths()}
            for path in before.keys() | after.keys():
                if before.get(path) != after.get(path):
                    self.on_change(path)

    def row(self, inode):
        """Return the row of an inode, for another node."""
        with self.mutex:
            return self.inodes[inode].row()

    # Inside

    def _load(self, rows):
        self.root = Entry(ROOT_INODE, 0, 1, 0, int(time.time()), DIRECTORY, "")
        self.inodes = {}
        for inode, parent, version, writer, mtime, kind, name, data in rows:
            if inode == ROOT_INODE:
                self.root.version, self.root.writer, self.root.mtime = version, writer, mtime
                continue
            self.inodes[inode] = Entry(inode, parent, version, writer, mtime, kind, name, bytes(data or b""))
        self.inodes[ROOT_INODE] = self.root
        for entry in self.inodes.values():
            if entry is not self.root:
                self.inodes[entry.parent].entries[entry.name] = entry
        self._list_guests()
        for name in self.children("priv/lock"):
            self.lock_expired(f"priv/lock/{name}", self.find(f"priv/lock/{name}").digest())

    def _paths(self, entry=None, path=""):
        for name, child in (entry or self.root).entries.items():
            yield path + name, child
            if child.type == DIRECTORY and child.entries:
                yield from self._paths(child, f"{path}{name}/")

    def _changing(self):
        if self.failed:
            raise TreeError(errno.EIO, "the database has failed")
        return self.mutex

    def _place(self, path):
        names = parts(path)
        if not names or names[-1] in (".", ".."):
            raise TreeError(errno.EACCES, path)
        parent = self.find("/".join(names[:-1]))
        if parent is None:
            raise TreeError(errno.ENOENT, path)
        if parent.type != DIRECTORY:
            raise TreeError(errno.ENOTDIR, path)
        return parent, names[-1]

    def _next(self, writer, mtime):
        self.root.version += 1
        self.root.mtime, self.root.writer = mtime, writer
        return self.root.version

    def _insert(self, parent, entry):
        parent.entries[entry.name] = entry
        self.inodes[entry.inode] = entry

    def _remove(self, entry):
        del self.inodes[entry.parent].entries[entry.name]
        del self.inodes[entry.inode]

    def _save(self, written, deleted=()):
        root = (ROOT_INODE, 0, self.root.version, self.root.writer, self.root.mtime, FILE, ROOT_NAME, None)
        try:
            self.store.change([entry.row() for entry in written] + [root], deleted)
        except sqlite3.Error as error:
            self._fail(error)

    def _fail(self, error):
        self.failed = True
        log.critical("database", f"can't write to the database: {error}")
        raise TreeError(errno.EIO, str(error)) from error

    def _watch(self, path, entry):
        self.locks["/".join(parts(path))] = (entry.digest(), time.monotonic())

    def _list_guests(self):
        guests = {}
        for folder in self.children("nodes"):
            for kind, name in GUEST_TYPES.items():
                for config in self.children(f"nodes/{folder}/{kind}"):
                    match = GUEST.fullmatch(f"nodes/{folder}/{kind}/{config}")
                    if match:
                        guests[int(match[3])] = (folder, name)
        if guests != self.guests:
            self.guests = guests
            self.guests_version += 1

    def _refuse_double_guest(self, path, moved=None):
        match = GUEST.fullmatch("/".join(parts(path)))
        if not match:
            return
        there = self.guests.get(int(match[3]))
        source = GUEST.fullmatch("/".join(parts(moved))) if moved else None
        if there and there != (match[1], GUEST_TYPES[match[2]]) and not (source and source[3] == match[3]):
            raise TreeError(errno.EEXIST, path)
