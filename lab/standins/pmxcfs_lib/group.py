"""One replicated group: messages in one order for all, and a resynchronisation when members change.

The life of a member: `start` → `sync` (members changed; all send their state) → `synced`, or `update`
(the leader sends what differs) → `synced`. Messages that arrive in between wait. (pve-cluster: dfsm.c)
"""

import errno
import json
import os
import struct
import threading
import time

from . import log
from .corosynclib import CS_ERR_EXIST, CorosyncError, Group

NORMAL, SYNC_START, STATE, UPDATE, UPDATE_COMPLETE = range(5)
HEAD = struct.Struct("!4sBI")
MAGIC = b"pmx1"


def pack(kind, header, payload=b""):
    """Return a message: kind, a JSON header, bytes."""
    text = json.dumps(header).encode()
    return HEAD.pack(MAGIC, kind, len(text)) + text + payload


def unpack(data):
    """Return (kind, header, payload); ValueError when it is no message of this program."""
    if len(data) < HEAD.size:
        raise ValueError("short message")
    magic, kind, length = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("message of another program")
    start = HEAD.size + length
    return kind, json.loads(data[HEAD.size : start]), data[start:]


class Resync(Exception):
    """Something went wrong that only leaving and joining again can mend."""


class Member:
    """This node's part in a group. `backend` decides what is replicated; see Database and Status."""

    def __init__(self, name, domain, backend):
        self.name, self.domain, self.backend = name, domain, backend
        self.connection = None
        self.nodeid, self.pid = 0, os.getpid()
        self.mode = "start"
        self.members, self.states, self.unsynced = [], {}, set()
        self.epoch, self.epochs = None, 0
        self.queue, self.sync_queue = [], []
        self.leader = None
        self.condition = threading.Condition()
        self.sent, self.results = 0, {}
        self.leaving = False

    # The connection; called by the corosync thread

    def open(self):
        """Connect and join; raises CorosyncError.

        Right after this member has left, corosync has not carried that out, and refuses: so the next try,
        more than 5 s later, is the first that can succeed. Measured with pmxcfs 8.1.3 and 9.1.6.
        """
        if self.leaving:
            self.leaving = False
            self._mode("start")
            raise CorosyncError("cpg_join", CS_ERR_EXIST)
        connection = Group(self.name, self._deliver, self._changed)
        self.nodeid = connection.nodeid
        self._inbox = []
        self._mode("start")
        try:
            connection.join()
        except CorosyncError:
            connection.close()
            raise
        # Not before: corosync drops what a connection sends that has not joined, and says nothing of it
        # (exec/cpg.c, message_handler_req_lib_cpg_mcast has no reply), so whoever asked would wait for ever.
        self.connection = connection

    def fileno(self):
        """Return the descriptor to wait for."""
        return self.connection.fileno()

    def dispatch(self):
        """Handle what has arrived; raises Resync or CorosyncError when this member must join anew."""
        self.connection.dispatch()
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            if event[0] == "members":
                self._begin(event[1])
            else:
                self._receive(*event[1:])

    def leave(self):
        """Leave the group because its state is not to be trusted any more."""
        self.leaving = True
        self.close()

    def close(self):
        """Leave, and fail everything that still waits for an answer."""
        connection, self.connection = self.connection, None
        if connection is not None:
            try:
                connection.leave()
            except CorosyncError as error:
                log.debug(self.domain, f"cpg_leave failed: {error}")
            connection.close()
        self.mode = "start"
        self.queue, self.sync_queue, self.members = [], [], []
        with self.condition:
            for number, result in list(self.results.items()):
                if result is None:
                    self.results[number] = -errno.EBUSY
            self.condition.notify_all()

    # Sending; called by any thread

    def send(self, header, payload=b""):
        """Send without waiting for the answer."""
        self._send(NORMAL, {"count": self._next(), "time": int(time.time()), **header}, payload)

    def ask(self, header, payload=b""):
        """Send, wait until this node has carried it out; returns the result (a negative errno on failure).

        Nothing is locked while it is sent: corosync may say TRY_AGAIN for long, and the thread that
        dispatches must get on meanwhile (pmxcfs: dfsm.c, dfsm_send_message_sync).
        """
        number = self._next(waits=True)
        try:
            self._send(NORMAL, {"count": number, "time": int(time.time()), **header}, payload)
            with self.condition:
                while self.results[number] is None:
                    self.condition.wait()
                return self.results[number]
        except CorosyncError as error:
            log.critical(self.domain, f"cpg_send_message failed: {error}")
            return -errno.EBUSY
        finally:
            with self.condition:
                del self.results[number]

    def _next(self, waits=False):
        """Return the number of the next message; somebody may wait for its result."""
        with self.condition:
            self.sent += 1
            if waits:
                self.results[self.sent] = None
            return self.sent

    def _send(self, kind, header, payload=b""):
        connection = self.connection
        if connection is None:
            raise CorosyncError("cpg_mcast_joined", 9)
        connection.send(
            pack(kind, header, payload),
            lambda tries: log.notice(self.domain, f"cpg_send_message retry {tries}"),
        )

    # What corosync calls

    def _deliver(self, nodeid, pid, data):
        self._inbox.append(("message", (nodeid, pid), data))

    def _changed(self, members):
        self._inbox.append(("members", sorted(members)))

    # The protocol; in the corosync thread

    @property
    def me(self):
        """This member's address."""
        return (self.nodeid, self.pid)

    def _mode(self, mode):
        texts = {
            "sync": "starting data syncronisation",
            "synced": "all data is up to date",
            "update": "waiting for updates from leader",
            "start": "start cluster connection",
        }
        if mode != self.mode or mode == "start":
            self.mode = mode
            log.notice(self.domain, texts[mode])

    def _begin(self, members):
        self.members = members
        log.notice(self.domain, "members: " + ", ".join(f"{nodeid}/{pid}" for nodeid, pid in members))
        self.backend.members_changed(members)
        self.states, self.unsynced, self.leader, self.epoch = {}, set(), None, None
        waiting, self.queue, self.sync_queue = self.queue, [], []
        if self.me not in members:
            raise Resync("not a member of the group")
        if len(members) == 1:
            self._mode("synced")
            self._resend(waiting)
            self.backend.synced(self)
            return
        self._mode("sync")
        self._resend(waiting)
        if members[0] == self.me:
            self.epochs += 1
            self._send(SYNC_START, {"epoch": [*self.me, self.epochs]})

    def _resend(self, waiting):
        for sender, header, payload in waiting:
            if sender == self.me:
                log.notice(self.domain, f"queue not emtpy - resening {len(waiting)} messages")
                self._send(NORMAL, header, payload)

    def _receive(self, sender, data):
        try:
            kind, header, payload = unpack(data)
        except ValueError as error:
            log.critical(self.domain, f"unable to read a message from {sender[0]}/{sender[1]}: {error}")
            return
        if kind == NORMAL:
            self._normal(sender, header, payload)
        elif kind == SYNC_START and self.mode == "sync":
            self._sync_request(sender, header)
        elif header.get("epoch") != self.epoch:
            log.debug(self.domain, f"ignore message {kind} of another epoch")
        elif kind == STATE and self.mode == "sync":
            self._state(sender, header, payload)
        elif kind == UPDATE and self.mode == "update":
            self.backend.update(payload)
        elif kind == UPDATE_COMPLETE:
            self._complete()

    def _normal(self, sender, header, payload):
        message = (sender, header, payload)
        if self.mode == "synced" and sender not in self.unsynced:
            self._carry_out(*message)
        elif self.mode == "update" and sender not in self.unsynced:
            self.sync_queue.append(message)
        else:
            self.queue.append(message)

    def _sync_request(self, sender, header):
        if sender != self.members[0]:
            log.critical(self.domain, f"ignore sync request from wrong member {sender[0]}/{sender[1]}")
            return
        self.epoch = header["epoch"]
        log.notice(self.domain, "received sync request (epoch {}/{}/{:08X})".format(*self.epoch))
        self.states = {}
        self._send(STATE, {"epoch": self.epoch}, self.backend.state())

    def _state(self, sender, header, payload):
        if sender not in self.members:
            raise Resync(f"received state for non-member {sender[0]}/{sender[1]}")
        self.states[sender] = payload
        if set(self.states) != set(self.members):
            return
        log.notice(self.domain, "received all states")
        self.unsynced = set(self.members) - set(self.backend.compare(self, self.states))
        self._mode("update" if self.me in self.unsynced else "synced")
        waiting, self.queue = self.queue, []
        for message in waiting:
            self._normal(*message)
        if self.mode == "synced":
            self.backend.synced(self)

    def _complete(self):
        if self.mode not in ("synced", "update"):
            return
        late = self.mode == "update"
        if late:
            self.backend.commit()
        self.unsynced = set()
        self._mode("synced")
        waiting = self.sync_queue + self.queue
        self.sync_queue, self.queue = [], []
        for message in waiting:
            self._carry_out(*message)
        if late:
            self.backend.synced(self)

    def send_update(self, payload):
        """Send one piece of what the others lack (the leader does)."""
        self._send(UPDATE, {"epoch": self.epoch}, payload)

    def send_update_complete(self):
        """Say that all pieces were sent."""
        self._send(UPDATE_COMPLETE, {"epoch": self.epoch})

    def _carry_out(self, sender, header, payload):
        result = -errno.EPERM
        try:
            result = self.backend.deliver(self, sender, header, payload)
        finally:
            if sender == self.me:
                with self.condition:
                    if header["count"] in self.results:
                        self.results[header["count"]] = result
                    self.condition.notify_all()
