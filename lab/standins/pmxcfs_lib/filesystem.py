"""The FUSE file system: names, modes and errors of /etc/pve (pve-cluster: pmxcfs.c, cfs-plug-*.c)."""

import errno
import os
import secrets
import stat
from contextlib import asynccontextmanager

import pyfuse3
import trio

from . import log
from .tree import BLOCK, DIRECTORY, MAX_INODES, MAX_SIZE, TreeError, is_private

CACHE_SECONDS = 1.0
LINKS = {
    "local": "nodes/{}",
    "qemu-server": "nodes/{}/qemu-server",
    "openvz": "nodes/{}/openvz",
    "lxc": "nodes/{}/lxc",
}
VIRTUAL_MODES = {
    ".version": 0o440,
    ".members": 0o440,
    ".vmlist": 0o440,
    ".rrd": 0o440,
    ".clusterlog": 0o440,
    ".debug": 0o640,
}


class Names:
    """The kernel's numbers for paths, as libfuse 2 keeps them: a number names a path, not a file."""

    def __init__(self):
        self.paths = {pyfuse3.ROOT_INODE: ""}
        self.numbers = {"": pyfuse3.ROOT_INODE}
        self.lookups = {}
        self.opened = {}
        self.hidden = set()
        self.last = pyfuse3.ROOT_INODE

    def path(self, number):
        """Return a number's path; FUSEError ENOENT when the file is gone."""
        path = self.paths.get(number)
        if path is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return path

    def child(self, number, name):
        """Return the path of a name in a directory."""
        return f"{self.path(number)}/{os.fsdecode(name)}".lstrip("/")

    def remember(self, path):
        """Return the path's number, and count that the kernel knows it now."""
        number = self.number(path)
        self.lookups[number] = self.lookups.get(number, 0) + 1
        return number

    def number(self, path):
        """Return the path's number."""
        if path not in self.numbers:
            self.last += 1
            self.numbers[path], self.paths[self.last] = self.last, path
        return self.numbers[path]

    def forget(self, number, count):
        """Drop a number when the kernel knows it no more."""
        self.lookups[number] = self.lookups.get(number, 0) - count
        if self.lookups[number] <= 0 and not self.opened.get(number) and number != pyfuse3.ROOT_INODE:
            del self.lookups[number]
            path = self.paths.pop(number, None)
            if path is not None and self.numbers.get(path) == number:
                del self.numbers[path]

    def move(self, old, new):
        """Follow a rename that was made on this node."""
        self.gone(new)
        number = self.numbers.pop(old, None)
        if number is not None:
            self.numbers[new], self.paths[number] = number, new

    def gone(self, path):
        """Follow a removal that was made on this node."""
        number = self.numbers.pop(path, None)
        if number is not None:
            self.paths[number] = None

    def is_open(self, path):
        """Tell whether a process of this node has the file open."""
        return bool(self.opened.get(self.numbers.get(path)))


class FileSystem(pyfuse3.Operations):
    """/etc/pve; changes go to the database in threads, so that reading goes on meanwhile."""

    enable_lookup_cache = True

    def __init__(self, database, status, gid):
        super().__init__()
        self.database, self.tree, self.status, self.gid = database, database.tree, status, gid
        self.names = Names()
        self.virtual = {}
        self.renaming = {}

    # Looking

    def _virtual_content(self, name):
        if name == ".members":
            return self.status.members_file()
        if name == ".version":
            return self.status.version_file(self.tree.guests_version)
        if name == ".vmlist":
            return self.status.guests_file(self.tree.guests_version, self.tree.guests)
        if name == ".clusterlog":
            return self.status.log_file()
        if name == ".debug":
            return f"{int(log.LOG.debug)}\n"
        return ""

    def _attributes(self, path):
        quorate = self.status.quorate
        when = size = 0
        if path in LINKS:
            mode = stat.S_IFLNK | (0o777 if quorate else 0o555)
            size = len(LINKS[path].format(self.status.nodename))
        elif path in VIRTUAL_MODES:
            self.virtual[path] = self._virtual_content(path).encode()
            mode, size = stat.S_IFREG | VIRTUAL_MODES[path], len(self.virtual[path])
        else:
            entry = self.tree.find(path)
            if entry is None:
                raise pyfuse3.FUSEError(errno.ENOENT)
            size, when = len(entry.data), entry.mtime
            if entry.type == DIRECTORY:
                mode = stat.S_IFDIR | (0o777 if quorate else 0o555)
            else:
                mode = stat.S_IFREG | (0o666 if quorate else 0o444)
        if is_private(path):
            mode &= 0o777700
        else:
            mode &= 0o777750 if stat.S_ISREG(mode) else 0o777755
        return self._entry(path, mode, size, when)

    def _entry(self, path, mode, size, when):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_size = self.names.number(path), mode, size
        entry.st_nlink = 2 if stat.S_ISDIR(mode) else 1
        entry.st_uid, entry.st_gid = 0, self.gid
        entry.st_blksize, entry.st_blocks = BLOCK, (size + BLOCK - 1) // BLOCK
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = when * 10**9
        entry.entry_timeout = entry.attr_timeout = CACHE_SECONDS
        return entry

    async def lookup(self, parent_inode, name, ctx=None):
        path = self.names.child(parent_inode, name)
        if name in (b".", b".."):
            path = (
                self.names.path(parent_inode)
                if name == b"."
                else os.path.dirname(self.names.path(parent_inode))
            )
        attributes = self._attributes(path)
        self.names.remember(path)
        return attributes

    async def forget(self, inode_list):
        for number, count in inode_list:
            self.names.forget(number, count)

    async def _settled(self, inode):
        """Return a number's path as soon as no rename on this node has to do with it.

        libfuse 2 keeps both names locked until the rename is answered, and then the replaced file's number
        has no path any more: who asked meanwhile gets ENOENT, once (seen with pmxcfs 8.1.3 and 9.1.6). For
        corosync.conf that takes the second that the writer waits before it reloads.
        """
        while (event := self.renaming.get(self.names.path(inode))) is not None:
            await event.wait()
        return self.names.path(inode)

    async def getattr(self, inode, ctx=None):
        return self._attributes(await self._settled(inode))

    async def readlink(self, inode, ctx):
        path = self.names.path(inode)
        if path not in LINKS:
            raise pyfuse3.FUSEError(errno.EINVAL)
        return LINKS[path].format(self.status.nodename).encode()

    async def opendir(self, inode, ctx):
        self.names.path(inode)
        return inode

    async def readdir(self, fh, start_id, token):
        path = self.names.path(fh)
        special = [*LINKS, *VIRTUAL_MODES] if path == "" else []
        for position, name in enumerate([*special, *self.tree.children(path)]):
            if position < start_id:
                continue
            child = f"{path}/{name}".lstrip("/")
            try:
                attributes = self._attributes(child)
            except pyfuse3.FUSEError:
                continue
            if not pyfuse3.readdir_reply(token, os.fsencode(name), attributes, position + 1):
                break
            self.names.remember(child)

    async def statfs(self, ctx):
        used, files = self.tree.usage()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK
        data.f_blocks = MAX_SIZE // BLOCK
        data.f_bfree = data.f_bavail = data.f_blocks - (used + BLOCK - 1) // BLOCK
        data.f_files = MAX_INODES
        data.f_ffree = data.f_favail = MAX_INODES - files
        data.f_namemax = 256
        return data

    # Files

    def _opened(self, path):
        number = self.names.number(path)
        self.names.opened[number] = self.names.opened.get(number, 0) + 1
        return pyfuse3.FileInfo(fh=number, direct_io=True, keep_cache=False)

    async def open(self, inode, flags, ctx):
        path = await self._settled(inode)
        self._attributes(path)
        if flags & os.O_TRUNC and path not in VIRTUAL_MODES:
            await self._change("write", path, truncate=True)
        return self._opened(path)

    async def create(self, parent_inode, name, mode, flags, ctx):
        path = self.names.child(parent_inode, name)
        self._refuse_special(path)
        await self._change("create", path)
        attributes = self._attributes(path)
        self.names.remember(path)
        return self._opened(path), attributes

    async def read(self, fh, off, size):
        path = await self._settled(fh)
        if path in VIRTUAL_MODES:
            return self.virtual.get(path, b"")[off : off + size]
        entry = self.tree.find(path)
        if entry is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return entry.data[off : off + size]

    async def write(self, fh, off, buf):
        path = await self._settled(fh)
        if path == ".debug":
            return self._set_debug(bytes(buf))
        if path in VIRTUAL_MODES:
            raise pyfuse3.FUSEError(errno.EIO)  # pmxcfs 8.1.3 and 9.1.6
        return await self._change("write", path, data=bytes(buf), offset=off)

    @staticmethod
    def _set_debug(data):
        if data[:2] not in (b"0\n", b"1\n"):
            raise pyfuse3.FUSEError(errno.EIO)
        log.LOG.debug = data[:1] == b"1"
        log.notice("main", "enable debug mode" if log.LOG.debug else "disable debug mode")
        return 2

    async def release(self, fh):
        self.names.opened[fh] -= 1
        if self.names.opened[fh]:
            return
        del self.names.opened[fh]
        path = self.names.paths.get(fh)
        if path in self.names.hidden:
            self.names.hidden.discard(path)
            await self._change("delete", path)
            self.names.gone(path)

    # Changes

    async def _change(self, act, path, **arguments):
        try:
            return await trio.to_thread.run_sync(lambda: self.database.change(act, path, **arguments))
        except TreeError as error:
            raise pyfuse3.FUSEError(error.errno) from error

    @staticmethod
    def _refuse_special(*paths):
        if any(path in LINKS or path in VIRTUAL_MODES for path in paths):
            raise pyfuse3.FUSEError(errno.EACCES)

    async def _hide(self, path):
        """Keep a file that a process of this node has open under another name, as libfuse 2 does."""
        hidden = f".fuse_hidden{secrets.token_hex(8)}"
        hidden = f"{os.path.dirname(path)}/{hidden}".lstrip("/")
        await self._change("rename", path, to=hidden)
        self.names.move(path, hidden)
        self.names.hidden.add(hidden)

    async def mkdir(self, parent_inode, name, mode, ctx):
        path = self.names.child(parent_inode, name)
        self._refuse_special(path)
        await self._change("mkdir", path)
        attributes = self._attributes(path)
        self.names.remember(path)
        return attributes

    async def unlink(self, parent_inode, name, ctx):
        path = self.names.child(parent_inode, name)
        self._refuse_special(path)
        if self.names.is_open(path):
            await self._hide(path)
            return
        await self._change("delete", path)
        self.names.gone(path)

    async def rmdir(self, parent_inode, name, ctx):
        path = self.names.child(parent_inode, name)
        self._refuse_special(path)
        await self._change("delete", path)
        self.names.gone(path)

    async def rename(self, parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx):
        if flags:
            raise pyfuse3.FUSEError(errno.EINVAL)
        old = self.names.child(parent_inode_old, name_old)
        new = self.names.child(parent_inode_new, name_new)
        self._refuse_special(old, new)
        async with self._locked(old, new):
            if old != new and self.names.is_open(new):
                await self._hide(new)
            await self._change("rename", old, to=new)
            self.names.move(old, new)

    @asynccontextmanager
    async def _locked(self, *paths):
        """Let everybody else who means one of the names wait."""
        while busy := [self.renaming[path] for path in paths if path in self.renaming]:
            await busy[0].wait()
        event = trio.Event()
        self.renaming.update(dict.fromkeys(paths, event))
        try:
            yield
        finally:
            for path in paths:
                del self.renaming[path]
            event.set()

    async def setattr(self, inode, attr, fields, fh, ctx):
        path = await self._settled(inode)
        if fields.update_mode and stat.S_IMODE(attr.st_mode) != (0o600 if is_private(path) else 0o640):
            raise pyfuse3.FUSEError(errno.EPERM)
        if (fields.update_uid and attr.st_uid != 0) or (fields.update_gid and attr.st_gid != self.gid):
            raise pyfuse3.FUSEError(errno.EPERM)
        if fields.update_size and path not in VIRTUAL_MODES:
            self._refuse_special(path)
            await self._change("write", path, offset=attr.st_size, truncate=True)
        if fields.update_mtime and fields.update_atime:
            self._refuse_special(path)
            await self._touch(path, attr.st_mtime_ns // 10**9)
        return self._attributes(path)

    async def _touch(self, path, mtime):
        try:
            await trio.to_thread.run_sync(lambda: self.database.touch(path, mtime))
        except TreeError as error:
            raise pyfuse3.FUSEError(error.errno) from error
