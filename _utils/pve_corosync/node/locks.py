"""Hold the cluster-wide lock of :mod:`.node.etc_pve_lock` while a block of work runs.

This file does I/O on purpose: child processes, and a thread that renews. The thread dies with the process, so
that a holder that is killed stops renewing, and pmxcfs frees the lock 120 s later.
"""

import json
import threading
import time

from pve_corosync.node import children, etc_pve, etc_pve_lock, files

REQUEST_TIMEOUT = 10.0
RETRY_S = 1.0


class Held(Exception):
    """Somebody else holds the lock, and the time to wait is over; ``holder`` is what they wrote, or None."""

    def __init__(self, holder, waited):
        self.holder, self.waited = holder, waited
        super().__init__(f"the lock of the cluster is held: {told(holder)}")


class LockError(Exception):
    """The lock can be neither taken nor asked for: ``/etc/pve`` says why."""


def told(holder):
    """
    Return who holds the lock, in words.

    holder : dict
        ``{"node", "run", "what", "since"}``, or None.
    """
    if not holder:
        return "nobody says who"
    since = time.strftime("%H:%M:%S UTC", time.gmtime(holder.get("since") or 0))
    return f"{holder.get('node')}, {holder.get('what')}, since {since}, run {holder.get('run')}"


class Lock:
    """
    The lock, as a context manager.

    holder : dict
        ``{"node", "run", "what", "since"}``.

    wait : float
        Seconds to wait for another holder.

    root : str
        For tests.

    say : callable
        Gets a text when there is something to wait for.

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
            answer = self._ask({"do": "take", "holder": dict(self.holder, since=time.time())})
            if answer["taken"]:
                break
            now = time.monotonic()
            if now - start >= self.wait:
                raise Held(answer["holder"], now - start)
            if now >= due:
                self.say(f"waiting for {told(answer['holder'])}")
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
            self._ask({"do": "drop"})
        except LockError as exc:
            self.say(
                f"the lock of the cluster could not be given back, it ends by itself in 2 minutes: {exc}"
            )

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
        data = json.dumps(dict(request, base=self.base)).encode()
        result = children.run(etc_pve_lock.command(), timeout=REQUEST_TIMEOUT, data=data)
        try:
            answer = json.loads(result["out"])
        except ValueError:
            raise LockError(f"the lock in /etc/pve: {children.complaint(result)}") from None
        if not answer["ok"]:
            raise LockError(answer["error"])
        return answer
