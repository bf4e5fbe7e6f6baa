"""The lock of one cluster on this master: one run at a time, and work that nobody typed gives way.

The kernel holds it (``flock``), so it goes with its process. Who holds it signs the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time

from pve_corosync.node import files

FILE = "lock"
#: is there, and young, while an operator's command waits for work that gives way.
WANTED = "lock.wanted"
TRIES, PAUSE_S = 4, 0.1
#: how long that work may take to its end, in seconds: a step may be under way, which has 20 s.
GIVE_WAY_S = 40
YOUNG_S = 5


def idle(folder) -> bool:
    """Tell whether no run of this master holds the lock of a cluster.

    :param folder: of the cluster, see ``ports.master.Site.folder``.
    """
    return not files.is_locked(os.path.join(folder, FILE))


def taken(file):
    """Take the lock and tell whether that went; more than once, as :func:`idle` holds it for a moment."""
    for left in range(TRIES, 0, -1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left > 1:
                time.sleep(PAUSE_S)
    return False


@contextlib.contextmanager
def deaf_to_hangup():
    """Ignore SIGHUP for the block.

    The operator's ssh may die in the middle of a run, perhaps because of what the run does. The signal would
    end the process at once, without a ``finally``: locks kept on the nodes, HA released. So the run goes on
    to its end; its report is in the journal. Salt itself handles INT and TERM only.
    """
    try:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread, where no handler can be set: as Salt has it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL if before is None else before)


def sign(file, jid, gives_way=False):
    """Write into the lock's file who holds it.

    :param file: open for writing, its lock taken. :param jid: the name of the run.
    """
    file.seek(0)
    file.truncate()
    held = {"jid": jid, "pid": os.getpid(), "start": time.time()}
    json.dump(held | ({"gives_way": True} if gives_way else {}), file)
    file.flush()


def taken_from_who_gives_way(file, folder) -> bool:
    """Take a lock whose holder gives way, after it was told so; tell whether that went.

    :param file: the lock's, open; :param folder: of the cluster.
    """
    file.seek(0)
    try:
        held = json.loads(file.read())
    except ValueError:
        held = {}
    if not isinstance(held, dict) or not held.get("gives_way"):
        return False
    wanted, end = os.path.join(folder, WANTED), time.monotonic() + GIVE_WAY_S
    try:
        while time.monotonic() < end:
            with open(wanted, "w", encoding="ascii"):
                os.utime(wanted)
            if taken(file):
                return True
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(wanted)


def wanted_by_others(folder):
    """Return a function that tells whether an operator's command waits for the lock just now.

    :param folder: of the cluster.
    """

    def wanted():
        try:
            return abs(time.time() - os.stat(os.path.join(folder, WANTED)).st_mtime) < YOUNG_S
        except FileNotFoundError:
            return False

    return wanted
