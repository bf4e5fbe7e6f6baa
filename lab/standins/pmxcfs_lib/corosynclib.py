"""The few calls of corosync's C libraries that pmxcfs needs (corosync/cpg.h, quorum.h, cmap.h)."""

import ctypes
import ctypes.util
import threading
import time
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
)

from pve_lib import release

CS_OK = 1
CS_ERR_LIBRARY = 2
CS_ERR_TRY_AGAIN = 6
CS_ERR_EXIST = 14
DISPATCH_ALL = 2
TRACK_CHANGES = 2
TYPE_AGREED = 2
MAP_PREFIX, MAP_ADD, MAP_MODIFY, MAP_DELETE = 8, 4, 2, 1
MAP_INTEGERS = {
    1: (1, True),
    2: (1, False),
    3: (2, True),
    4: (2, False),
    5: (4, True),
    6: (4, False),
    7: (8, True),
    8: (8, False),
}
MAP_STRING = 11
RETRY_SECONDS = 0.1
SEND_TRIES = 100


class CorosyncError(Exception):
    """A call that did not return CS_OK; `code` is corosync's number, the text what pmxcfs logs of it.

    pmxcfs 8.1.3 logs the number, 9.x the name (cs_strerror), and from 9.0.1 on what a library error means.
    """

    def __init__(self, call, code):
        self.call, self.code = call, code
        text = str(code)
        if release.major() > 8:
            hint = " (failed to connect to corosync)" if code == CS_ERR_LIBRARY else ""
            text = COMMON.cs_strerror(code).decode() + hint
        super().__init__(text)


class CpgName(Structure):
    _fields_ = [("length", c_uint32), ("value", c_char * 128)]


class CpgAddress(Structure):
    _fields_ = [("nodeid", c_uint32), ("pid", c_uint32), ("reason", c_uint32)]


class IoVector(Structure):
    _fields_ = [("base", c_void_p), ("length", c_size_t)]


DELIVER = CFUNCTYPE(None, c_uint64, POINTER(CpgName), c_uint32, c_uint32, c_void_p, c_size_t)
CONFCHG = CFUNCTYPE(
    None,
    c_uint64,
    POINTER(CpgName),
    POINTER(CpgAddress),
    c_size_t,
    POINTER(CpgAddress),
    c_size_t,
    POINTER(CpgAddress),
    c_size_t,
)
NOTIFY_QUORUM = CFUNCTYPE(None, c_uint64, c_uint32, c_uint64, c_uint32, POINTER(c_uint32))
# The two values by value that follow are the caller's to push and to pop; they are not needed here.
NOTIFY_MAP = CFUNCTYPE(None, c_uint64, c_uint64, c_int32, c_char_p)


class CpgCallbacks(Structure):
    _fields_ = [("deliver", DELIVER), ("confchg", CONFCHG)]


class QuorumCallbacks(Structure):
    _fields_ = [("notify", NOTIFY_QUORUM)]


def _library(name, major):
    return ctypes.CDLL(ctypes.util.find_library(name) or f"lib{name}.so.{major}")


COMMON = _library("corosync_common", 4)
COMMON.cs_strerror.restype = c_char_p
CPG = _library("cpg", 4)
QUORUM = _library("quorum", 5)
CMAP = _library("cmap", 4)
for _function in (CPG.cpg_fd_get, QUORUM.quorum_fd_get, CMAP.cmap_fd_get):
    _function.argtypes = [c_uint64, POINTER(c_int)]
for _function in (CPG.cpg_finalize, QUORUM.quorum_finalize, CMAP.cmap_finalize):
    _function.argtypes = [c_uint64]
for _function in (CPG.cpg_dispatch, QUORUM.quorum_dispatch, CMAP.cmap_dispatch):
    _function.argtypes = [c_uint64, c_int]
CPG.cpg_join.argtypes = CPG.cpg_leave.argtypes = [c_uint64, POINTER(CpgName)]
CPG.cpg_local_get.argtypes = [c_uint64, POINTER(c_uint)]
CPG.cpg_mcast_joined.argtypes = [c_uint64, c_int, POINTER(IoVector), c_uint]
QUORUM.quorum_trackstart.argtypes = [c_uint64, c_uint]
CMAP.cmap_get.argtypes = [c_uint64, c_char_p, c_void_p, POINTER(c_size_t), POINTER(c_int)]
CMAP.cmap_iter_init.argtypes = [c_uint64, c_char_p, POINTER(c_uint64)]
CMAP.cmap_iter_next.argtypes = [c_uint64, c_uint64, c_char_p, POINTER(c_size_t), POINTER(c_int)]
CMAP.cmap_iter_finalize.argtypes = [c_uint64, c_uint64]
CMAP.cmap_track_add.argtypes = [c_uint64, c_char_p, c_int32, NOTIFY_MAP, c_void_p, POINTER(c_uint64)]


def _check(call, code):
    if code != CS_OK:
        raise CorosyncError(call, code)


def _retry(call, function, *args, tries=600, told=lambda tries: None):
    """Call a function again while corosync says TRY_AGAIN, for a minute at most.

    told
        is called after every tenth try, with their number
    """
    for number in range(1, tries + 1):
        code = function(*args)
        if code != CS_ERR_TRY_AGAIN:
            break
        time.sleep(RETRY_SECONDS)
        if number % 10 == 0:
            told(number)
    _check(call, code)


class Connection:
    """One connection to corosync; a subclass says with which library."""

    library, prefix = None, ""

    def __init__(self):
        self.handle = c_uint64(0)

    def _function(self, name):
        return getattr(self.library, f"{self.prefix}_{name}")

    def fileno(self):
        """Return the descriptor that is readable when there is something to dispatch."""
        number = c_int(-1)
        _check(f"{self.prefix}_fd_get", self._function("fd_get")(self.handle, byref(number)))
        return number.value

    def dispatch(self):
        """Run the callbacks of everything that has arrived."""
        _retry(f"{self.prefix}_dispatch", self._function("dispatch"), self.handle, DISPATCH_ALL)

    def close(self):
        """Give the connection up; an error is of no use to anybody then."""
        self._function("finalize")(self.handle)


class Group(Connection):
    """A closed process group: `on_deliver(nodeid, pid, data)`, `on_change([(nodeid, pid)])`.

    A connection's requests go through one ring buffer, which takes one writer at a time (libqb): each call
    has the lock, as in pmxcfs (dfsm.c, cpg_mutex).
    """

    library, prefix = CPG, "cpg"

    def __init__(self, name, on_deliver, on_change):
        super().__init__()
        self._lock = threading.Lock()

        def deliver(_handle, _name, nodeid, pid, data, length):
            on_deliver(nodeid, pid, ctypes.string_at(data, length))

        def change(_handle, _name, members, count, _left, _left_count, _joined, _joined_count):
            on_change([(members[i].nodeid, members[i].pid) for i in range(count)])

        self._callbacks = CpgCallbacks(DELIVER(deliver), CONFCHG(change))
        encoded = name.encode() + b"\0"
        self.name = CpgName(len(encoded), encoded)
        _check("cpg_initialize", CPG.cpg_initialize(byref(self.handle), byref(self._callbacks)))
        local = c_uint(0)
        try:
            _retry("cpg_local_get", CPG.cpg_local_get, self.handle, byref(local))
        except CorosyncError:
            self.close()
            raise
        self.nodeid = local.value

    def join(self):
        """Become a member; the change arrives by dispatch."""
        _retry("cpg_join", self._one_at_a_time(CPG.cpg_join), self.handle, byref(self.name))

    def leave(self):
        """Stop being a member."""
        _retry("cpg_leave", self._one_at_a_time(CPG.cpg_leave), self.handle, byref(self.name), tries=10)

    def send(self, data, told):
        """Send bytes to all members, in one order for all; pmxcfs gives up after 100 tries (dfsm.c)."""
        buffer = ctypes.create_string_buffer(data, len(data))
        vector = IoVector(ctypes.cast(buffer, c_void_p), len(data))
        mcast = self._one_at_a_time(CPG.cpg_mcast_joined)
        what = (self.handle, TYPE_AGREED, byref(vector), 1)
        _retry("cpg_mcast_joined", mcast, *what, tries=SEND_TRIES, told=told)

    def _one_at_a_time(self, function):
        def called(*args):
            with self._lock:
                return function(*args)

        return called


class Quorum(Connection):
    """The quorum of this node's partition: `on_change(quorate)`."""

    library, prefix = QUORUM, "quorum"

    def __init__(self, on_change):
        super().__init__()

        def notify(_handle, quorate, _sequence, _count, _members):
            on_change(bool(quorate))

        self._callbacks = QuorumCallbacks(NOTIFY_QUORUM(notify))
        kind = c_uint32(0)
        _check(
            "quorum_initialize",
            QUORUM.quorum_initialize(byref(self.handle), byref(self._callbacks), byref(kind)),
        )
        try:
            _retry("quorum_trackstart", QUORUM.quorum_trackstart, self.handle, TRACK_CHANGES | 1)
        except CorosyncError:
            self.close()
            raise


class Map(Connection):
    """The runtime configuration of the daemon: `on_change()` when the nodelist or the version changed."""

    library, prefix = CMAP, "cmap"

    def __init__(self, on_change):
        super().__init__()
        self.changed = False

        def notify(_handle, _track, _event, _key):
            self.changed = True

        self._notify = NOTIFY_MAP(notify)
        self._on_change = on_change
        _check("cmap_initialize", CMAP.cmap_initialize(byref(self.handle)))
        try:
            self._track(b"nodelist.node.", MAP_PREFIX | MAP_ADD | MAP_DELETE | MAP_MODIFY)
            self._track(b"totem.config_version", MAP_ADD | MAP_DELETE | MAP_MODIFY)
        except CorosyncError:
            self.close()
            raise

    def _track(self, key, kind):
        handle = c_uint64(0)
        _retry(
            "cmap_track_changes",
            CMAP.cmap_track_add,
            self.handle,
            key,
            kind,
            self._notify,
            None,
            byref(handle),
        )

    def dispatch(self):
        """Collect the changes that have arrived and report them as one."""
        self.changed = False
        super().dispatch()
        if self.changed:
            self._on_change()

    def get(self, key):
        """Return a key's value as int or str."""
        size, kind = c_size_t(0), c_int(0)
        _retry("cmap_get", CMAP.cmap_get, self.handle, key.encode(), None, byref(size), byref(kind))
        buffer = ctypes.create_string_buffer(size.value)
        _retry("cmap_get", CMAP.cmap_get, self.handle, key.encode(), buffer, byref(size), byref(kind))
        if kind.value == MAP_STRING:
            return buffer.raw[: size.value].split(b"\0")[0].decode()
        width, signed = MAP_INTEGERS[kind.value]
        return int.from_bytes(buffer.raw[:width], "little", signed=signed)

    def keys(self, prefix):
        """Return the names of all keys that begin with a prefix."""
        iterator, names = c_uint64(0), []
        _retry("cmap_iter_init", CMAP.cmap_iter_init, self.handle, prefix.encode(), byref(iterator))
        name = ctypes.create_string_buffer(256)
        size, kind = c_size_t(0), c_int(0)
        while CMAP.cmap_iter_next(self.handle, iterator, name, byref(size), byref(kind)) == CS_OK:
            names.append(name.value.decode())
        CMAP.cmap_iter_finalize(self.handle, iterator)
        return names
