"""The thread that talks to corosync: it connects, dispatches, and connects again when corosync was gone."""

import select
import threading
import time

from . import log
from .corosynclib import CorosyncError, Map, Quorum
from .group import Resync

RETRY_SECONDS = 5
TICK_SECONDS = 1


class Service:
    """One connection that is opened again after it failed, once in more than 5 s."""

    def __init__(self, domain, opened, closed=lambda: None):
        self.domain, self.opened, self.closed = domain, opened, closed
        self.connection = None
        self.last_try = 0.0
        self.failures = 0

    def start(self):
        """Try to connect, and say so once an outage when that fails."""
        if self.connection is not None or time.monotonic() - self.last_try <= RETRY_SECONDS:
            return
        self.last_try = time.monotonic()
        try:
            self.connection = self.opened()
            self.failures = 0
        except CorosyncError as error:
            log.critical(self.domain, f"{error.call} failed: {error}")
            if not self.failures:
                log.critical(self.domain, "can't initialize service")
            self.failures += 1

    def dispatch(self):
        """Handle what has arrived; a failure closes the connection."""
        try:
            self.connection.dispatch()
        except CorosyncError as error:
            log.critical(self.domain, f"{error.call} failed: {error}")
            self.stop()
        except Resync as error:
            log.debug(self.domain, f"resynchronise: {error}")
            log.critical(self.domain, "leaving CPG group")
            connection, self.connection = self.connection, None
            connection.leave()

    def stop(self):
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
            self.closed()


class Loop:
    """All connections, in one thread, quorum before anything else."""

    def __init__(self, status, database):
        self.status = status
        self.stopping = threading.Event()
        kvstore = status.join()
        self.services = [
            Service("quorum", lambda: Quorum(status.set_quorate), lambda: status.set_quorate(False)),
            Service("confdb", self._open_map),
            Service("dcdb", lambda: self._open_member(database.member)),
            Service("status", lambda: self._open_member(kvstore)),
        ]
        self.thread = threading.Thread(target=self._run, name="corosync", daemon=True)

    def start(self):
        """Start the thread."""
        self.thread.start()

    def stop(self):
        """End the thread and leave the groups, within a few seconds."""
        self.stopping.set()
        self.thread.join(timeout=8)

    def _open_map(self):
        runtime = Map(lambda: self.status.read_map(runtime))
        self.status.read_map(runtime)
        return runtime

    @staticmethod
    def _open_member(member):
        member.open()
        return member

    def _run(self):
        while not self.stopping.is_set():
            for service in self.services:
                service.start()
            self._wait()
        for service in self.services:
            service.stop()

    def _wait(self):
        """Dispatch until the next second's look at what is not connected."""
        until = time.monotonic() + TICK_SECONDS
        while not self.stopping.is_set() and time.monotonic() < until:
            poller = select.poll()
            by_number = {}
            for service in self.services:
                if service.connection is not None:
                    by_number[service.connection.fileno()] = service
            for number in by_number:
                poller.register(number, select.POLLIN)
            ready = {number for number, _ in poller.poll(max(1, (until - time.monotonic()) * 1000))}
            for number, service in by_number.items():
                # The quorum's view must not lag behind the messages that are judged by it.
                if number in ready or (ready and service.domain == "quorum"):
                    if service.connection is not None:
                        service.dispatch()
