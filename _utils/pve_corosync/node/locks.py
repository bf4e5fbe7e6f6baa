"""
Hold the cluster-wide lock of :mod:`.node.etc_pve_lock` while a block of work runs.

This file does I/O on purpose: child processes, and a thread that renews. The thread dies with the process, so
that a holder that is killed stops renewing, and pmxcfs frees the lock 120 s later.
"""

import errno
import threading
import time

from pve_corosync.node import etc_pve, etc_pve_client, etc_pve_lock, files

REQUEST_TIMEOUT = 10.0
RETRY_S = 1.0


class Held(Exception):
    """
    Somebody else holds the lock, and the time to wait is over; ``holder`` is what they wrote, or None.
    """

    def __init__(self, holder, waited):
        self.holder, self.waited = holder, waited
        super().__init__(f"the lock of the cluster is held: {told(holder)}")


class LockError(Exception):
    """
    The lock can be neither taken nor asked for: ``/etc/pve`` says why. ``errno`` is that of the refusal.
    """

    def __init__(self, text, errno=None):
        self.errno = errno
        super().__init__(text)


def told(holder):
    """
    Return who holds the lock, in words.

    :param holder: ``{"node", "run", "what", "since"}``, or None.
    """
    if not holder:
        return "nobody says who"
    since = time.strftime("%H:%M:%S UTC", time.gmtime(holder.get("since") or 0))
    return f"{holder.get('node')}, {holder.get('what')}, since {since}, run {holder.get('run')}"


class Lock:
    """
    The lock, as a context manager.

    :param holder: ``{"node", "run", "what", "since"}``.
    :param wait: seconds to wait for another holder.
    :param root: for tests.
    :param say: gets a text when there is something to wait for.

    ``waited`` says how long it took to get it.
    """

    def __init__(self, holder, wait=300.0, root=None, say=None):
        self.holder, self.wait, self.say = holder, float(wait), say or (lambda text: None)
        self.base = files.under(root, etc_pve.BASE)
        self.waited, self.mtime, self.renewed, self.gone = 0.0, 0, 0.0, False
        self._end = threading.Event()
        self._thread = None

    def __enter__(self):
        start = due = time.monotonic()
        while True:
            answer = self._try(start)
            if answer and answer["taken"]:
                break
            now = time.monotonic()
            if answer and now - start >= self.wait:
                raise Held(answer["holder"], now - start)
            if now >= due:
                self.say(f"waiting for {told(answer['holder']) if answer else '/etc/pve, which is busy'}")
                due = now + 10
            time.sleep(min(RETRY_S, max(0.05, start + self.wait - now)))
        self.waited = time.monotonic() - start
        self.mtime, self.renewed = answer["mtime"], time.monotonic()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(REQUEST_TIMEOUT + 1)
        if self.lost():
            return
        try:
            dropped = self._ask({"do": "drop", "mtime": self.mtime})["dropped"]
            why = "" if dropped else "it is given back once /etc/pve takes that"
        except LockError as exc:
            why = f"it ends by itself in 2 minutes: {exc}"
        if why:
            self.say(f"the lock of the cluster could not be given back now: {why}")

    def _try(self, start):
        """
        Ask once for the lock; return None where ``/etc/pve`` is busy and there is time to ask again.

        Busy is a pmxcfs that has left its group and joins it again, for more than 5 s (facts/pve-real.md).
        """
        holder = dict(self.holder, since=time.time(), by=etc_pve_lock.me())
        try:
            return self._ask({"do": "take", "holder": holder, "timeout": REQUEST_TIMEOUT - 1})
        except LockError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() - start >= self.wait:
                raise
        return None

    def lost(self):
        """
        Tell whether the lock is not this node's any more, or may not be.
        """
        return self.gone or time.monotonic() - self.renewed > etc_pve_lock.EXPIRES_S - etc_pve_lock.RENEW_S

    def _renew(self):
        while not self._end.wait(etc_pve_lock.RENEW_S):
            try:
                answer = self._ask({"do": "renew", "mtime": self.mtime})
            except LockError:
                continue  # /etc/pve restarts, or quorum is gone for a moment; lost() counts the time
            self.mtime = answer["mtime"]
            if not answer["held"]:
                self.gone = True
                return
            self.renewed = time.monotonic()

    def _ask(self, request):
        try:
            return etc_pve_client.ask(request, self.base, REQUEST_TIMEOUT)
        except etc_pve_client.NoAnswer as exc:
            raise LockError(f"the lock in /etc/pve: {exc}", exc.errno) from None
