"""
Locks in ``/etc/pve``: directories below ``priv/lock``, and notes on local disk that tell whose they are.

Part of the program :mod:`.node.etc_pve`: it does I/O, may hang, and uses the standard library only. pmxcfs
gives a directory in ``priv/lock`` three properties (memdb.c, PVE/Cluster.pm): only one node can make it; it
is renewed by setting a newer time; and setting time 0 removes it if it has not changed for 120 s. Nothing can
be said in the directory. Who holds the lock of the cluster stands beside it, in
``/etc/pve/priv/pve-corosync.json``.

A lock of one file, which PVE's own tools take too, has no such neighbour. So a note is written on local disk
before it is asked for. A mkdir(2) into a pmxcfs that has stopped is carried out when it goes on, even if who
asked is dead by then: without the note nobody would know whose the lock is.
"""

import contextlib
import errno
import fcntl
import glob
import json
import os
import sys
import time

BASE = "/etc/pve"
LOCK = "priv/lock/pve-corosync"
HOLDER = "priv/pve-corosync.json"
#: of the cluster file; PVE's tools take it too (PVE/API2/ClusterConfig.pm).
CONF_LOCK = "file-corosync_conf"
#: where the notes are, on local disk: ``<name of the lock>.<pid>.json``.
NOTES = "/var/lib/pve-corosync/locks"
#: pmxcfs's own time (memdb.c CFS_LOCK_TIMEOUT), and how often a holder renews.
EXPIRES_S = 120
RENEW_S = 20
#: PVE works under a lock for 60 s at most (PVE/Cluster.pm cfs_lock).
PVE_WORKS_S = 60
#: A lock that a dead process asked for, without an answer, is given back at this age: somebody else may have
#: been faster, and an edit by PVE's tools takes 1 to 2 s.
SETTLED_S = 10
#: between two tries to take a lock or to give it back.
GIVE_PAUSE_S = 0.5
#: errno of a mkdir that never reached the cluster: no quorum, not mounted.
NOT_SENT = (errno.EACCES, errno.EROFS, errno.ENOENT)


class Refused(Exception):
    """
    The work was not done; the text says why and what to do.
    """


# ---- the lock of one file ----------------------------------------------------------------------------------


@contextlib.contextmanager
def held(base, name, wait, notes, end=float("inf")):
    """
    Hold PVE's lock of one file for the block.

    :param base: where ``/etc/pve`` is.
    :param name: of the directory below ``priv/lock``, e.g. ``file-corosync_conf``.
    :param wait: seconds to wait for another holder.
    :param notes: the folder of the notes.
    :param end: when the caller stops to wait, on the monotonic clock; a lock that comes later is given back.
    :raises Refused: it is held, or came too late.
    """
    note = Note(notes, name)
    try:
        _take(base, note, wait)
    except Refused:
        note.drop()
        raise
    except OSError as exc:
        if exc.errno in NOT_SENT:
            note.drop()
        raise  # else the note stays: the lock may be made yet
    try:
        if time.monotonic() >= end:
            raise Refused(
                f"{_folder(base, name)} came too late, so nothing was written: pmxcfs was slow; try again"
            )
        yield
    finally:
        give(base, note)


def _take(base, note, wait):
    folder, end = _folder(base, note.name), time.monotonic() + wait
    again = note.read()  # this process has asked before, and got no answer
    if not again:
        note.write(state="asking", asked=time.time())
    make_parents(folder)
    while not mkdir(folder):
        give_back_dead(
            base, note.folder, note.name
        )  # before its end is asked for: its time tells whose it is
        if again and settle(base, note):
            note.write(state="asking", asked=time.time())
            again = False
        if try_once(folder):
            break
        if time.monotonic() >= end:
            raise Refused(_held_by(folder, note))
        time.sleep(GIVE_PAUSE_S)
    note.write(state="held", mtime=_mtime(folder))


def try_once(folder):
    """
    Make the directory of a lock, or ask for its end if it has expired; tell whether it is ours now.

    Asking for expiry (utime 0) frees one left by a dead owner. pmxcfs answers that with EACCES, and without a
    file name, as long as the lock has not expired (memdb.c, measured); only mkdir tells what is so.
    """
    if mkdir(folder):
        return True
    try:
        os.utime(folder, (0, 0))
    except FileNotFoundError:
        return mkdir(folder)
    except PermissionError:
        pass  # it has not expired
    return False


def give(base, note):
    """
    Give the lock of a note back; where that cannot be done now, a process that outlives this one goes on.

    What has just failed, quorum or pmxcfs, is needed to give it back: the keeper tries until the lock would
    have expired by itself.
    """
    note.write(state="giving")
    try:
        settle(base, note)
    except OSError as exc:
        sys.stderr.write(f"{_folder(base, note.name)} is given back later: {exc.strerror or exc}\n")
        keep_trying(lambda: settle(base, note))


def give_back_dead(base, notes, name="*"):
    """
    Give back the locks of this node that nobody works under any more; return the notes of those that cannot
    be given back yet.

    :param base: where ``/etc/pve`` is.
    :param notes: the folder of the notes.
    :param name: one lock only.
    """
    left = []
    for note in Note.all(notes, name):
        if note.told.get("state") == "giving" or not alive(note.told.get("by")):
            try:
                done = settle(base, note)
            except OSError:
                done = False
            left += [] if done else [note]
    return left


def give_back_later(base, notes):
    """
    Give back the locks that nobody works under, now or in a process that outlives this one; return the names
    of those for later.
    """
    left = give_back_dead(base, notes)
    if left:
        keep_trying(lambda: all([settle(base, note) for note in left]))  # every one is tried
    return sorted({note.name for note in left})


def settle(base, note):
    """
    Give the lock of a note back if it is this node's, and tell whether there is nothing more to do.

    It is this node's unless its time is newer than the one that was seen when it was taken. One that was
    asked for, without an answer, is taken for this node's if it was made after that and is :data:`SETTLED_S`
    old.

    :raises OSError: it cannot be given back now.
    """
    with contextlib.suppress(FileNotFoundError), open(note.path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # another process is at it
        if not os.path.islink(os.path.join(base, "local")):
            raise OSError(errno.ENOTCONN, "not mounted", base)
        folder = _folder(base, note.name)
        seen, asked = _mtime(folder), note.told.get("asked") or 0
        if note.told.get("state") == "asking":
            if seen is None and time.time() - asked < EXPIRES_S:
                return False  # it may still come, as long as pmxcfs is stopped
            ours = seen is not None and seen >= int(asked)
            if ours and time.time() - seen < SETTLED_S:
                return False
        else:
            ours = seen is not None and seen <= (note.told.get("mtime") or 0)
        if ours:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(folder)
        note.drop()
    return True


def keep_trying(work, pause=GIVE_PAUSE_S):
    """
    Have a process of its own try until ``work`` returns true, for as long as a lock lasts; return at once.
    """
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.closerange(3, 1024)  # the lock of this node may be open here
    end = time.monotonic() + EXPIRES_S + SETTLED_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if work():
                break
        time.sleep(pause)
    os._exit(0)


def _held_by(folder, note):
    """
    Say of a lock that is not given to us who holds it, as far as that is known.
    """
    for other in Note.all(note.folder, note.name):
        if other.path != note.path and alive(other.told.get("by")):
            pid = other.told["by"]["pid"]
            return f"{folder} is held by process {pid} of pve-corosync on this node: wait for its end"
    since = _mtime(folder)  # 0: somebody has asked for its end
    if not since or time.time() - since <= PVE_WORKS_S:
        where = "on another node" if note.name == CONF_LOCK else "by PVE, on this node or another one"
        return f"{folder} is held: the file is being edited {where}; wait for it"
    return (
        f"{folder} was taken {time.time() - since:.0f} s ago by a tool of PVE that is gone without giving it"
        f" back, as none works under it for more than {PVE_WORKS_S} s: wait, it ends by itself"
        f" {EXPIRES_S} s after it was taken"
    )


class Note:
    """
    What this node keeps on local disk about a lock that one process asked for.
    """

    def __init__(self, folder, name, path=None):
        self.folder, self.name, self.told = folder, name, {}
        self.path = path or os.path.join(folder, f"{name}.{os.getpid()}.json")

    @classmethod
    def all(cls, folder, name="*"):
        """
        Return the notes of a lock, or of all.
        """
        notes = []
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), f"{name}.*.json"))):
            note = cls(folder, os.path.basename(path).rsplit(".", 2)[0], path)
            if note.read():
                notes.append(note)
        return notes

    def read(self):
        """
        Read it, and tell whether it is there.
        """
        with contextlib.suppress(OSError, ValueError), open(self.path, encoding="utf-8") as file:
            told = json.load(file)
            if isinstance(told, dict):
                self.told = told
                return True
        return False

    def write(self, **told):
        """
        Put it on disk before anything else is done; it is of use after a crash of this process, not of the
        machine: pmxcfs forgets the request too.
        """
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self.told |= {"by": me()} | told
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            json.dump(self.told, file)
        os.replace(f"{self.path}.new", self.path)

    def drop(self):
        """
        Remove it.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


# ---- the lock of the cluster -------------------------------------------------------------------------------


def take(holder, base=BASE, end=float("inf")):
    """
    Try once to take the lock of the cluster, and ask for its end if it has expired.

    :param holder: dict, who takes it and what for. ``by`` in it, see :func:`me`, tells the next one on this
        node whether it is still alive.
    :param base: where ``/etc/pve`` is.
    :param end: when the caller stops to wait, on the monotonic clock; a lock that comes later is given back.
    :returns: ``{"taken": True, "mtime": seconds}`` or ``{"taken": False, "holder": dict or None}``.
    """
    folder = os.path.join(base, LOCK)
    make_parents(folder)
    if not try_once(folder):
        present = read_holder(base)
        if not present or not gone(present.get("by")):
            return {"taken": False, "holder": present}
        _drop(base)
        if not mkdir(folder):
            return {"taken": False, "holder": read_holder(base)}
    if time.monotonic() >= end:
        _drop(base)
        raise Refused(f"{folder} came too late, and was given back: pmxcfs was slow; try again")
    mtime = _mtime(folder)
    _write(os.path.join(base, HOLDER), json.dumps(holder).encode())
    return {"taken": True, "mtime": mtime}


def renew(mtime, base=BASE):
    """
    Renew a lock of the cluster that this node holds, and tell whether it does.

    :param mtime: what the last call returned.
    :returns: ``{"held": bool, "mtime": seconds}``. A lock that is gone or has a newer time is not this node's
        any more.
    """
    folder = os.path.join(base, LOCK)
    seen = _mtime(folder)
    if seen is None or seen > mtime:
        return {"held": False, "mtime": mtime}
    now = max(int(time.time()), mtime)
    try:
        os.utime(folder, (now, now))
    except FileNotFoundError:
        return {"held": False, "mtime": mtime}
    return {"held": True, "mtime": now}


def drop(base=BASE, mtime=None):
    """
    Give the lock of the cluster back, now or in a process that outlives this one.

    :param base: where ``/etc/pve`` is.
    :param mtime: the time that it must still have, None if that does not matter.
    :returns: ``{"dropped": bool}``; false if it is given back later.
    """
    try:
        return {"dropped": _drop(base, mtime)}
    except OSError:
        keep_trying(lambda: os.path.islink(os.path.join(base, "local")) and _drop(base, mtime))
        return {"dropped": False}


def _drop(base, mtime=None):
    seen = _mtime(os.path.join(base, LOCK))
    if mtime is not None and seen is not None and seen > mtime:
        return True  # somebody else's by now, as in renew()
    for remove, name in ((os.unlink, HOLDER), (os.rmdir, LOCK)):
        with contextlib.suppress(FileNotFoundError):
            remove(os.path.join(base, name))
    return True


def read_holder(base=BASE):
    """
    Return what the holder of the cluster's lock wrote about itself; None if nothing of it can be read.
    """
    try:
        with open(os.path.join(base, HOLDER), "rb") as file:
            told = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


# ---- processes ---------------------------------------------------------------------------------------------


def me(pid=None):
    """
    Return what tells a process from any other one: host, boot, pid, and when it started.

    :param pid: default this process.
    """
    pid = pid or os.getpid()
    return {"host": os.uname().nodename, "boot": _boot(), "pid": pid, "started": _started(pid)}


def alive(by):
    """
    Tell whether the process that :func:`me` described runs on this node.
    """
    return isinstance(by, dict) and by == me(by.get("pid")) and by.get("started") is not None


def gone(by):
    """
    Tell whether the process that :func:`me` described ran on this node, and does so no more.
    """
    return isinstance(by, dict) and by.get("host") == os.uname().nodename and not alive(by)


def _boot():
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _started(pid):
    """
    Return when a process started, in ticks since the boot (proc(5), field 22 of stat); None if it is gone.
    """
    try:
        with open(f"/proc/{int(pid)}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
    except (OSError, ValueError, TypeError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


# ---- files -------------------------------------------------------------------------------------------------


def make_parents(folder):
    """
    Make ``priv`` and ``priv/lock`` where they do not exist.
    """
    for parent in (os.path.dirname(os.path.dirname(folder)), os.path.dirname(folder)):
        if not os.path.isdir(parent):  # a message to the cluster less
            mkdir(parent)


def mkdir(path):
    """
    Make a directory and tell whether it was made; false if it exists.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _folder(base, name):
    return os.path.join(base, "priv/lock", name)


def _mtime(path):
    try:
        return int(os.lstat(path).st_mtime)
    except FileNotFoundError:
        return None


def _write(path, data):
    """
    Replace a small file with one write and one rename: each is one message to the cluster.
    """
    new = f"{path}.new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
    os.rename(new, path)
