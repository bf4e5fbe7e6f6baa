"""
A replication job on this node as a session of processes: started, watched, left running or ended as a whole.

This file does I/O on purpose. ``pvesr`` starts others (``pvesm export | ssh … pvesm import``), which would
live on alone if only pvesr were killed; all of them are in the session that the job is started in.
"""

import os
import signal
import tempfile
import time

from pve_corosync.node import children, files
from pve_corosync.tools import ssh

#: between two looks at the processes: one ssh of a job lives for 0.2 s and more.
LOOK_PAUSE = 0.05
#: from SIGTERM to SIGKILL: perl ends its children and writes the job's state.
TERM_WAIT = 5.0
#: programs that hold PVE's lock on replication while they run (PVE/CLI/pvesr.pm, its scheduler).
REPLICATORS = (b"pvesr", b"pvescheduler")


class Job:
    """
    One run of a command in a session of its own; its output goes to a file, so it outlives its starter.

    :param argv: the command.
    :param proc: path of ``/proc``.
    """

    def __init__(self, argv, proc="/proc"):
        self.proc, self.begun = proc, time.monotonic()
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._child, self._missing = None, b""
        try:
            self._child = children.start(argv, self._out, self._err)
        except OSError as exc:
            self._missing = f"{argv[0]}: {exc.strerror or exc}".encode("latin-1", "replace")
        self.pid = self._child.pid if self._child else None

    def ended(self):
        """
        Tell whether the command itself has ended.
        """
        return self._child is None or self._child.poll() is not None

    def watch(self, seconds, look):
        """
        Call ``look()`` again and again until the command has ended or the time is over; return whether it has
        ended.
        """
        end = self.begun + seconds
        while not self.ended():
            look()
            if time.monotonic() >= end:
                return False
            time.sleep(LOOK_PAUSE)
        return True

    def sockets(self, target):
        """
        Return the connections that PVE's ssh processes of this job have towards a node now.
        """
        return ssh_sockets(self.proc, target, self.members())

    def members(self):
        """
        Return the processes of the job that live, itself among them.
        """
        return [pid for pid, row in processes(self.proc).items() if row["session"] == self.pid]

    def end(self):
        """
        End the job and all that it started: SIGTERM to the group, and SIGKILL to what is left after 5 s.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(os.killpg, self.pid, number)
            for pid in self.members() if number == signal.SIGKILL else ():  # left the group
                _signal(os.kill, pid, number)
            limit = time.monotonic() + TERM_WAIT
            while not (self.ended() and not self.members()):
                if time.monotonic() >= limit:
                    break
                time.sleep(LOOK_PAUSE)
            else:
                return

    def result(self):
        """
        Return ``{"rc", "out", "err", "late", "seconds"}`` as ``node.children.run`` does; ``rc`` is None while
        it runs.
        """
        told = {"rc": children.NOT_FOUND if self._child is None else self._child.poll(), "late": False}
        for key, file in (("out", self._out), ("err", self._err)):
            file.seek(0)
            told[key] = file.read()
        told["err"] += self._missing
        return told | {"seconds": time.monotonic() - self.begun}


def processes(proc="/proc"):
    """
    Return ``{pid: {"parent", "session"}}`` of all processes that live.
    """
    found = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with open(f"{proc}/{name}/stat", "rb") as file:
                # the name of the program stands in parentheses and can hold anything
                state, parent, _group, session = file.read().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if state not in (b"Z", b"X"):
            found[int(name)] = {"parent": int(parent), "session": int(session)}
    return found


def ssh_sockets(proc="/proc", target=None, pids=None):
    """
    Return the connections of PVE's ssh processes: ``[{"pid", "node", "local", "local_port", "remote",
    "remote_port", "state"}]``.

    :param target: only those towards this node.
    :param pids: only of these processes; default all.
    """
    found = []
    for pid in processes(proc) if pids is None else pids:
        told = ssh.ssh_target(_cmdline(proc, pid))
        if not told or target not in (None, told["node"]):
            continue
        try:
            rows = _sockets_of(f"{proc}/{pid}")
        except OSError:  # it ended meanwhile
            continue
        found += [{"pid": pid, "node": told["node"], **row} for row in rows]
    return found


def replication_ssh(proc="/proc"):
    """
    Return the connections of ssh that a pvesr or the scheduler started: one of them holds replication's lock.
    """
    table = processes(proc)
    return [row for row in ssh_sockets(proc) if _replicates(proc, table, row["pid"])]


def _replicates(proc, table, pid):
    for _step in range(32):
        pid = (table.get(pid) or {}).get("parent", 0)
        if pid < 2:
            return False
        words = _cmdline(proc, pid).replace(b"\0", b" ").split()
        if any(os.path.basename(word) in REPLICATORS for word in words[:3]):
            return True
    return False


def _cmdline(proc, pid):
    try:
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _sockets_of(base):
    inodes = set()
    for number in os.listdir(f"{base}/fd"):
        link = os.readlink(f"{base}/fd/{number}")
        if link.startswith("socket:["):
            inodes.add(link[len("socket:[") : -1])
    found = []
    for table in ("tcp", "tcp6"):
        data = files.read(f"{base}/net/{table}") or b""
        found += [item for item in ssh.sockets(data.decode("latin-1")) if item["inode"] in inodes]
    return [{key: value for key, value in item.items() if key != "inode"} for item in found]


def _signal(send, pid, number):
    try:
        send(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself
