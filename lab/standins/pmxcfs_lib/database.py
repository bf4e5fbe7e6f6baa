"""What is replicated in the group `pve_dcdb_v1`: the tree of files."""

import errno
import json
import time

from . import localfile, log
from .group import Member, Resync
from .tree import DIRECTORY, TreeError, is_lock

GROUP, DOMAIN = "pve_dcdb_v1", "dcdb"


class Database:
    """Carries out changes: through the group when there is a cluster, else at once."""

    def __init__(self, tree, status, clustered):
        self.tree, self.status = tree, status
        self.member = Member(GROUP, DOMAIN, self) if clustered else None
        self.updates, self.master = [], None

    # For the file system

    def change(self, act, path, *, to="", data=b"", offset=0, truncate=False):
        """Make one change everywhere; returns its result, raises TreeError with the errno of the real one."""
        header = {"act": act, "path": path, "to": to, "offset": offset, "truncate": truncate}
        if self.member is None:
            return self._apply(header, data, 0, int(time.time()))
        if not self.status.quorate:
            raise TreeError(errno.EACCES, path)
        result = self.member.ask(header, data)
        if result < 0:
            raise TreeError(-result, path)
        return result

    def touch(self, path, mtime):
        """Set a file's time; for a lock, time 0 asks the cluster to release it once it has expired."""
        entry = self.tree.find(path)
        unlock = entry is not None and mtime == 0 and entry.type == DIRECTORY and is_lock(path)
        if unlock and self.member is None and self.tree.lock_expired(path, entry.digest()):
            return self.change("delete", path)
        if unlock and self.member is not None and self.status.quorate:
            self.member.ask({"act": "unlock?", "path": path, "digest": entry.digest()})
        return self.change("touch", path, offset=mtime)

    # For the group

    def members_changed(self, _members):
        """Nothing to do: a new round of synchronisation follows."""
        self.updates, self.master = [], None

    def synced(self, _member):
        """Nothing to do."""

    def state(self):
        """Return this node's index."""
        return json.dumps(self.tree.index()).encode()

    def compare(self, member, states):
        """Choose the leader, return those that have what it has; the leader sends what others lack."""
        indexes = {address: json.loads(state) for address, state in states.items()}
        leader = None
        for address in sorted(indexes):
            # The highest version, then the newest; among equals the first.
            if leader is None or self._age(indexes[address]) > self._age(indexes[leader]):
                leader = address
        master = self.master = indexes[leader]
        same = [leader] + [
            address for address in sorted(indexes) if address != leader and indexes[address] == master
        ]
        log.notice(DOMAIN, f"leader is {leader[0]}/{leader[1]}")
        log.notice(DOMAIN, "synced members: " + ", ".join(f"{nodeid}/{pid}" for nodeid, pid in same))
        if leader == member.me:
            self._send_updates(member, master, indexes)
        return same

    @staticmethod
    def _age(index):
        return index["version"], index["mtime"]

    def _send_updates(self, member, master, indexes):
        wanted = sorted(
            {
                int(inode)
                for index in indexes.values()
                for inode, digest in master["entries"].items()
                if index["entries"].get(inode) != digest and inode != "0"
            }
        )
        log.notice(DOMAIN, "start sending inode updates")
        for inode in wanted:
            *head, data = self.tree.row(inode)
            member.send_update(json.dumps([head, data is not None]).encode() + b"\0" + (data or b""))
        log.notice(DOMAIN, f"sent all ({len(wanted)}) updates")
        root = self.tree.row(0)
        member.send_update(json.dumps([list(root[:-1]), False]).encode() + b"\0")
        member.send_update_complete()

    def update(self, payload):
        """Keep one row of the leader's until all are there."""
        head, _, data = payload.partition(b"\0")
        row, has_data = json.loads(head)
        self.updates.append((*row, data if has_data else None))

    def commit(self):
        """Take the leader's state; the local file follows, without a reload."""
        rows = [row for row in self.updates if row[0] != 0]
        root = next(row for row in self.updates if row[0] == 0)
        log.notice(DOMAIN, f"update complete - trying to commit (got {len(rows)} inode updates)")
        try:
            self.tree.take(rows, {int(inode) for inode in self.master["entries"]}, root[2], root[4], root[3])
        except TreeError as error:
            raise Resync(str(error)) from error
        self.updates = []
        localfile.sync(self.tree, False)

    def deliver(self, member, sender, header, payload):
        """Carry out one change that arrived in order; returns its result or a negative errno."""
        if not self.status.quorate:
            log.critical(DOMAIN, "received write while not quorate - trigger resync")
            raise Resync("not quorate")
        if header["act"] in ("unlock?", "unlock!"):
            return self._unlock(member, sender, header)
        try:
            result = self._apply(header, payload, sender[0], header["time"])
        except TreeError as error:
            if self.tree.failed:
                raise Resync(str(error)) from error
            return -error.errno
        changed = header["to"] if header["act"] == "rename" else header["path"]
        if header["act"] in ("write", "create", "rename") and changed.strip("/") == localfile.NAME:
            localfile.sync(self.tree, sender == member.me)
        return result

    def _unlock(self, member, sender, header):
        path = header["path"]
        entry = self.tree.find(path)
        if (
            entry is None
            or entry.type != DIRECTORY
            or not is_lock(path)
            or entry.digest() != header["digest"]
        ):
            return 0
        if header["act"] == "unlock!":
            self.tree.delete(path, sender[0], header["time"])
        elif member.members[0] == member.me and self.tree.lock_expired(path, header["digest"]):
            member.send({"act": "unlock!", "path": path, "digest": header["digest"]})
        return 0

    def _apply(self, header, payload, writer, now):
        tree, path = self.tree, header["path"]
        if header["act"] == "write":
            return tree.write(path, writer, now, payload, header["offset"], header["truncate"])
        if header["act"] == "touch":
            tree.touch(path, writer, header["offset"])
        elif header["act"] == "rename":
            tree.rename(path, header["to"], writer, now)
        elif header["act"] in ("create", "mkdir", "delete"):
            getattr(tree, header["act"])(path, writer, now)
        else:
            log.critical(DOMAIN, f"received unknown message type '{header['act']}'")
            return -errno.EOPNOTSUPP
        return 0
