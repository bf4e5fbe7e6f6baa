"""Start and end of the program: options, checks, database, mount, daemon."""

import argparse
import ctypes
import fcntl
import grp
import os
import shutil
import signal
import socket
import sys
import time

import pyfuse3
import trio

from . import localfile, log
from .database import Database
from .filesystem import FileSystem
from .loop import Loop
from .status import Status
from .store import Store
from .tree import Tree

MOUNT = "/etc/pve"
STATE = "/var/lib/pve-cluster"
RUN = "/run/pve-cluster"
DATABASE = f"{STATE}/config.db"
LOCK = f"{STATE}/.pmxcfs.lockfile"
PID_FILE = "/run/pve-cluster.pid"
RESTART_FLAG = f"{RUN}/cfs-restart-flag"
GROUP = "www-data"
LOCK_TRIES = 10
FORCE = 1


class Refused(Exception):
    """The program cannot start; the text says why, and was not logged yet."""


def lookup_address(nodename):
    """Return the first address of a name that is not a loopback one, or None."""
    try:
        found = socket.getaddrinfo(nodename, None, flags=socket.AI_V4MAPPED | socket.AI_ALL)
    except OSError:
        return None
    for family, _, _, _, address in found:
        if family == socket.AF_INET and not address[0].startswith("127."):
            return address[0]
        if family == socket.AF_INET6 and address[0] != "::1":
            return address[0]
    return None


def main(arguments):
    """Run the file system; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pmxcfs")
    parser.add_argument("-d", "--debug", action="store_true", help="Turn on debug messages")
    parser.add_argument("-f", "--foreground", action="store_true", help="Do not daemonize server")
    parser.add_argument(
        "-l", "--local", action="store_true", help="Force local mode (ignore corosync.conf, force quorum)"
    )
    options = parser.parse_args(arguments)
    log.LOG.debug = options.debug
    try:
        nodename, address, gid = _identity()
        lock = _lock(gid)
    except Refused as error:
        log.critical("main", str(error))
        return 255
    report = None if options.foreground else _daemonize()
    try:
        _serve(options, nodename, address, gid, report)
    except Refused as error:
        log.critical("main", str(error))
        return 255
    finally:
        os.close(lock)
    return 0


def _identity():
    nodename = os.uname().nodename.split(".")[0]
    address = lookup_address(nodename)
    if not address:
        raise Refused(
            f"Unable to resolve node name '{nodename}' to a non-loopback IP address - missing entry in "
            "'/etc/hosts' or DNS?"
        )
    log.notice("main", f"resolved node name '{nodename}' to '{address}' for default node IP address")
    try:
        gid = grp.getgrnam(GROUP).gr_gid
    except KeyError as error:
        raise Refused(f"Unable to get {GROUP} group ID") from error
    return nodename, address, gid


def _lock(gid):
    os.umask(0o027)
    os.makedirs(STATE, mode=0o750, exist_ok=True)
    os.makedirs(RUN, mode=0o750, exist_ok=True)
    os.chown(RUN, 0, gid)
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    for left in range(LOCK_TRIES, -1, -1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if not left:
                raise Refused(f"unable to acquire pmxcfs lock: {error.strerror}") from error
            if left == LOCK_TRIES:
                log.notice("main", "unable to acquire pmxcfs lock - trying again")
            time.sleep(1)
    raise AssertionError("not reached")


def _daemonize():
    """Fork; the parent waits for the child to be ready, and ends. Returns the child's pipe to report to."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        os.setsid()
        return writable
    os.close(writable)
    answer = os.read(readable, 1)
    if answer != b"1":
        log.critical("main", "child failed to send '1'")
        os.waitpid(child, 0)
        # Not through the child's clean-up: the lock and the mount are not the parent's.
        os._exit(255)
    _write_pid(child)
    os._exit(0)


def _write_pid(pid):
    with open(PID_FILE, "w", encoding="ascii") as file:
        file.write(f"{pid}\n")


def _open_tree(local, on_change):
    created = not os.path.exists(DATABASE)
    tree = Tree(Store(DATABASE), on_change)
    if created and not local and os.path.exists(localfile.LOCAL):
        with open(localfile.LOCAL, "rb") as file:
            content = file.read()
        now = int(time.time())
        tree.create(localfile.NAME, 0, now)
        tree.write(localfile.NAME, 0, now, content, 0, True)
    return tree


def _mount(filesystem):
    ctypes.CDLL(None).umount2(MOUNT.encode(), FORCE)
    os.makedirs(MOUNT, mode=0o750, exist_ok=True)
    if os.listdir(MOUNT):
        # libfuse 2 refuses this; libfuse 3, that is used here, would not.
        print(
            "fuse: mountpoint is not empty\n"
            "fuse: if you are sure this is safe, use the 'nonempty' mount option",
            file=sys.stderr,
        )
        raise Refused("fuse_mount error: File exists")
    options = set(pyfuse3.default_options) | {"allow_other", "fsname=/dev/fuse"}
    if not shutil.which("fusermount3") and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Refused("fuse_mount error: /dev/fuse is not usable")
    try:
        pyfuse3.init(filesystem, MOUNT, options)
    except RuntimeError as error:
        raise Refused(f"fuse_mount error: {error}") from error


def _serve(options, nodename, address, gid, report):
    status = Status(nodename, address)
    tree = _open_tree(options.local, status.file_changed)
    has_conf = tree.find(localfile.NAME) is not None
    clustered = has_conf and not options.local
    if has_conf and options.local:
        log.notice("main", "forcing local mode (although corosync.conf exists)")
    if not clustered:
        status.set_quorate(True, quiet=True)
    database = Database(tree, status, clustered)
    if clustered:
        localfile.sync(tree, True)
    _mount(FileSystem(database, status, gid))
    loop = Loop(status, database) if clustered else None
    if loop:
        loop.start()
    if os.path.exists(RESTART_FLAG):
        os.unlink(RESTART_FLAG)
    if report is None:
        _write_pid(os.getpid())
    else:
        _detach(report)
    try:
        trio.run(_until_signal)
    finally:
        os.close(os.open(RESTART_FLAG, os.O_CREAT | os.O_WRONLY, 0o440))
        os.chown(RESTART_FLAG, 0, gid)
        log.notice("main", "teardown filesystem")
        pyfuse3.close(unmount=True)
        if loop:
            loop.stop()
        tree.store.close()
        if os.path.exists(PID_FILE):
            os.unlink(PID_FILE)
        log.notice("main", "exit proxmox configuration filesystem (0)")


def _detach(report):
    log.LOG.attached = False
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    os.write(report, b"1")
    os.close(report)


async def _until_signal():
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_terminate_on, signals)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()


async def _terminate_on(signals):
    async for number in signals:
        log.notice("main", f"caught signal {number}")
        pyfuse3.terminate()
        return
