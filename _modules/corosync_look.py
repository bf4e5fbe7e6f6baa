"""
One cheap look at the corosync daemon of this node, for the beacon ``corosync`` and for whoever decides.

It asks the daemon over its own libraries (libcmap and libquorum by ctypes) and keeps the handles, so that a
look each second costs less than a millisecond. It has a virtual name of its own and imports nothing of
``pve_corosync`` on purpose: the beacon calls it in the minion's own process, which would hand what is
imported there to every later job, also after newer code was synced.

:depends: libcmap.so.4, libquorum.so.5 (package corosync)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.2.0
"""

import ctypes
import json
import os
import re
import threading
import time

from salt.exceptions import SaltInvocationError

__virtualname__ = "corosync_look"

CS_OK, TRY_AGAIN, NOT_EXIST = 1, 6, 12  # corosync/corotypes.h
ICMAP, STATS = 0, 1  # corosync/cmap.h
TYPE_STRING = 11
TEXT_MAX = 256

#: seconds that the caller is held up at most; a daemon that answers does so within 1 ms.
PATIENCE_S = 0.3
#: seconds without an answer after which the daemon counts as hung: a reload looks the same for about one.
HUNG_S = 3.0
THREAD = "pve-corosync-look"

LOCAL_CONF = "/etc/corosync/corosync.conf"
PID_FILES = ("/run/corosync.pid", "/var/run/corosync.pid")
#: the beacon writes it at least every 10 s while something is wrong; older, it says nothing of now.
NOTE, NOTE_AGE_S = "/run/pve-corosync/watch.json", 15
VERSION = re.compile(rb"^\s*config_version\s*:\s*(\d+)\s*$", re.MULTILINE)
NODE_KEY = re.compile(r"nodelist\.node\.(\d+)\.(nodeid|name|ring(\d)_addr)$")

_STATE = {"holder": None, "last": None}


def __virtual__():
    return __virtualname__


def look(patience=PATIENCE_S, counts=False):
    """
    Return what the corosync daemon of this node says of links, quorum, members and versions.

    patience
        Seconds to wait for the daemon.

    counts
        Also return how often each link went down since it was made, how many pings were answered on it, and
        for how long the dead ones have been dead.

    Returns a dict. ``state`` is ``running``, ``stopped`` (nobody listens), ``busy`` (no answer yet, as during
    a reload) or ``hung`` (none for 3 s; ``for`` has the seconds). With ``running``: ``age`` (seconds since
    the daemon started, None if not known), ``node`` and ``nodeid`` (this node's), ``quorate``, ``members``
    (names), ``nodes`` (names), ``version`` (of the running configuration), ``local`` (of the local file) and
    ``links`` (``{node: {number: connected}}``), with counts ``downs`` and ``pongs`` likewise. A link
    that is not known is left out. ``silent`` has ``{number: seconds}`` of numbers
    with a dead link: so long pings had gone unanswered at least when the daemon called it dead, which is
    knet's timeout less its interval; ``interval`` likewise that interval, in which at least one ping is sent.
    With counts ``dead_for`` has ``{node: {number: seconds}}`` as the beacon noted it, empty without a
    beacon.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync_look.look
    """
    try:
        seconds = None if isinstance(patience, bool) else float(patience)
    except (TypeError, ValueError):
        seconds = None
    if seconds is None or not 0 < seconds <= 60:
        raise SaltInvocationError(f"patience={patience!r}; allowed: seconds above 0, up to 60")
    if not isinstance(counts, bool):
        raise SaltInvocationError(f"counts={counts!r}; allowed: True, False")
    waiting = next((t for t in threading.enumerate() if t.name == THREAD), None)
    if waiting is None:
        waiting = _Ask(_holder(), counts)
        waiting.start()
    waiting.join(seconds)
    if waiting.is_alive():
        passed = time.monotonic() - waiting.begun
        return {"state": "hung" if passed >= HUNG_S else "busy", "for": round(passed, 1)}
    if waiting.counts != counts or waiting.seen is None:
        return {"state": "busy", "for": 0.0}
    return waiting.seen


def _holder():
    """
    Return the handles of this process; what another one made, before a fork, is not touched.
    """
    held = _STATE["holder"]
    if held is None or held.pid != os.getpid():
        held = _STATE["holder"] = Holder((__opts__.get("pve_corosync") or {}).get("root"))
    return held


class _Ask(threading.Thread):
    """
    One look in a thread, as a call of the libraries waits for ever for a daemon that is stopped by a signal.

    It holds the handles, so that no reload of this file takes them from under it.
    """

    def __init__(self, holder, counts):
        super().__init__(name=THREAD, daemon=True)
        self.holder, self.counts, self.seen, self.begun = holder, counts, None, time.monotonic()

    def run(self):
        self.seen = self.holder.look(self.counts)


class Gone(Exception):
    """The daemon is not there, or left while it was asked."""


class Later(Exception):
    """The daemon answers no question now, as while a membership forms."""


class Libraries:
    """
    The few calls of corosync's C libraries that a look needs; each raises :class:`Gone` on an error, or
    :class:`Later`.
    """

    def __init__(self):
        self.cmap = ctypes.CDLL("libcmap.so.4")
        self.quorum = ctypes.CDLL("libquorum.so.5")
        handle, number, size = ctypes.c_uint64, ctypes.c_int, ctypes.c_size_t
        refer = ctypes.POINTER
        self.cmap.cmap_initialize_map.argtypes = [refer(handle), number]
        self.cmap.cmap_finalize.argtypes = self.quorum.quorum_finalize.argtypes = [handle]
        self.cmap.cmap_get.argtypes = [handle, ctypes.c_char_p, ctypes.c_void_p, refer(size), refer(number)]
        self.cmap.cmap_iter_init.argtypes = [handle, ctypes.c_char_p, refer(handle)]
        self.cmap.cmap_iter_next.argtypes = [handle, handle, ctypes.c_char_p, refer(size), refer(number)]
        self.cmap.cmap_iter_finalize.argtypes = [handle, handle]
        self.quorum.quorum_initialize.argtypes = [refer(handle), ctypes.c_void_p, refer(ctypes.c_uint32)]
        self.quorum.quorum_getquorate.argtypes = [handle, refer(number)]

    def open(self):
        """
        Return handles of both maps and of the quorum.
        """
        made = []
        try:
            for which in (ICMAP, STATS):
                handle = ctypes.c_uint64()
                self._ok(self.cmap.cmap_initialize_map(ctypes.byref(handle), which))
                made.append(handle.value)
            handle, kind = ctypes.c_uint64(), ctypes.c_uint32()
            callbacks = (ctypes.c_void_p * 2)()
            self._ok(self.quorum.quorum_initialize(ctypes.byref(handle), callbacks, ctypes.byref(kind)))
            return (*made, handle.value)
        except (Gone, Later):
            for number in made:
                self.cmap.cmap_finalize(number)
            raise

    def close(self, handles):
        """
        Give the handles back: file descriptors and shared memory.
        """
        for number in handles[:2]:
            self.cmap.cmap_finalize(number)
        self.quorum.quorum_finalize(handles[2])

    def get(self, handle, key):
        """
        Return a value of a map as an int or text, None if there is no such key.
        """
        buffer, size, kind = (
            ctypes.create_string_buffer(TEXT_MAX),
            ctypes.c_size_t(TEXT_MAX),
            ctypes.c_int(),
        )
        code = self.cmap.cmap_get(handle, key.encode(), buffer, ctypes.byref(size), ctypes.byref(kind))
        if code == NOT_EXIST:
            return None
        self._ok(code)
        data = buffer.raw[: size.value]
        if kind.value == TYPE_STRING:
            return data.rstrip(b"\0").decode("utf-8", "replace")
        return int.from_bytes(data, "little", signed=kind.value % 2 == 1)

    def keys(self, handle, prefix):
        """
        Return the keys of a map that begin with a text.
        """
        walk, found = ctypes.c_uint64(), []
        self._ok(self.cmap.cmap_iter_init(handle, prefix.encode(), ctypes.byref(walk)))
        name, size, kind = ctypes.create_string_buffer(TEXT_MAX), ctypes.c_size_t(), ctypes.c_int()
        while self.cmap.cmap_iter_next(handle, walk, name, ctypes.byref(size), ctypes.byref(kind)) == CS_OK:
            found.append(name.value.decode("utf-8", "replace"))
        self.cmap.cmap_iter_finalize(handle, walk)
        return found

    def quorate(self, handle):
        """
        Tell whether the node is quorate.
        """
        told = ctypes.c_int()
        self._ok(self.quorum.quorum_getquorate(handle, ctypes.byref(told)))
        return bool(told.value)

    @staticmethod
    def _ok(code):
        if code == TRY_AGAIN:
            raise Later(code)
        if code != CS_OK:
            raise Gone(code)


class Holder:
    """
    The handles, kept from look to look, and given back when nobody holds this object any more.

    root
        A directory that stands in front of every path.
    libraries
        A :class:`Libraries`, or what stands in for it; default made at the first look.
    """

    def __init__(self, root=None, libraries=None):
        self.pid, self.root, self.libraries = os.getpid(), root, libraries
        self.handles, self.names, self.links = None, {}, {}
        self.names_of, self.started, self.local, self.busy = None, None, (None, None), None

    def __del__(self):
        self.drop()

    def drop(self):
        """
        Give the handles back, unless another process made them: they are that one's.
        """
        handles, self.handles = self.handles, None
        if handles and self.pid == os.getpid():
            self.libraries.close(handles)

    def look(self, counts=False):
        """
        Return what :func:`look` returns, however long the daemon takes.
        """
        for _ in range(2):  # a handle of the daemon before this one fails once
            kept = self.handles is not None
            try:
                if not kept:
                    self._open()
                found = self._look(counts)
                self.busy = None
                return found
            except Gone:
                self.drop()
                if not kept:
                    break
            except Later:
                self.busy = self.busy or time.monotonic()
                passed = round(time.monotonic() - self.busy, 1)
                return {"state": "hung" if passed >= HUNG_S else "busy", "for": passed}
            except OSError as exc:
                return {"state": "stopped", "why": f"corosync's libraries cannot be used: {exc}"}
        return {"state": "stopped", "local": self._local()}

    def _open(self):
        self.libraries = self.libraries or Libraries()
        self.handles = self.libraries.open()
        self.names_of, self.started = None, _started(self.root)

    def _look(self, counts):
        icmap, stats, quorum = self.handles
        get = self.libraries.get
        version = get(icmap, "totem.config_version")
        if self.names_of is None or self.names_of != version:
            self._read_nodes(icmap)
            self.names_of = version
        own = get(icmap, "runtime.votequorum.this_node_id")
        members = [
            name for n, name in self.names.items() if get(icmap, f"runtime.members.{n}.status") == "joined"
        ]
        found = {
            "state": "running",
            "age": None
            if self.started is None
            else round(time.clock_gettime(time.CLOCK_BOOTTIME) - self.started, 1),
            "node": self.names.get(own),
            "nodeid": own,
            "quorate": self.libraries.quorate(quorum),
            "members": sorted(members),
            "nodes": sorted(self.names.values()),
            "version": version,
            "local": self._local(),
            "links": self._per_link(stats, own, "connected", bool),
        }
        found["silent"], found["interval"] = self._timers(icmap, found["links"])
        if counts:
            found["dead_for"] = _noted(self.root)
            found["downs"] = self._per_link(stats, own, "down_count", int)
            found["pongs"] = self._per_link(stats, own, "rx_pong_packets", int)
        return found

    def _age(self):
        if self.started is None:
            return None
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - self.started, 1)

    def _per_link(self, stats, own, what, kind):
        found = {}
        for nodeid, name in self.names.items():
            if nodeid == own:
                continue
            found[name] = {}
            for link in self.links[nodeid]:
                value = self.libraries.get(stats, f"stats.knet.node{nodeid}.link{link}.{what}")
                if value is not None:
                    found[name][link] = kind(value)
        return found

    def _timers(self, icmap, links):
        """
        Return ``({link number: seconds of silence}, {link number: interval})`` of the numbers with a dead
        link.
        """
        silent, intervals = {}, {}
        for number in sorted(
            {n for rows in links.values() for n, connected in rows.items() if not connected}
        ):
            key = f"runtime.config.totem.interface.{number}.knet_ping_"
            timeout, interval = (self.libraries.get(icmap, key + name) for name in ("timeout", "interval"))
            if isinstance(timeout, int) and isinstance(interval, int):
                silent[number], intervals[number] = max(0, timeout - interval) / 1000, interval / 1000
        return silent, intervals

    def _read_nodes(self, icmap):
        rows = {}
        for key in self.libraries.keys(icmap, "nodelist.node."):
            match = NODE_KEY.match(key)
            if match:
                row = rows.setdefault(match[1], {"links": []})
                if match[3] is None:
                    row[match[2]] = self.libraries.get(icmap, key)
                else:
                    row["links"].append(match[3])
        rows = [row for row in rows.values() if row.get("nodeid") is not None]
        self.names = {row["nodeid"]: row.get("name") or f"node {row['nodeid']}" for row in rows}
        self.links = {row["nodeid"]: sorted(row["links"]) for row in rows}

    def _local(self):
        """
        Return the version of the local file, read again only when the file is another one; None without.
        """
        path = _under(self.root, LOCAL_CONF)
        try:
            stat = os.stat(path)
            mark = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if mark != self.local[0]:
                with open(path, "rb") as file:
                    match = VERSION.search(file.read())
                self.local = (mark, int(match[1]) if match else None)
        except OSError:
            self.local = (None, None)
        return self.local[1]


def _noted(root):
    """
    Return for how long links have been dead by the beacon's note; nothing by one that is not kept up.
    """
    try:
        with open(_under(root, NOTE), encoding="ascii") as file:
            note = json.load(file)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if not 0 <= now - note["at"] <= NOTE_AGE_S:
            return {}
        return {
            node: {link: round(now - since, 2) for link, since in links.items()}
            for node, links in note["dead"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _under(root, path):
    return os.path.join(root, path.lstrip("/")) if root else path


def _started(root):
    """
    Return when the daemon started, in seconds since the boot; None if it cannot be told (proc_pid_stat(5)).
    """
    for path in PID_FILES:
        try:
            with open(_under(root, path), encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                words = file.read().rsplit(")", 1)[1].split()
            return int(words[19]) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            continue
    return None
