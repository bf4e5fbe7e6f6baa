"""What is known of one lab: its folder, and the record that outlives every command."""

import fcntl
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

from lab import host
from lab.shell import LabError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")
MASTER = "master"


class Record:
    """The folder of a lab and its state.json.

    The record holds: ``suite``, ``base`` (root folder of all nodes), ``nodes`` (names, without the master),
    ``procs`` ({machine: {"pid", "start"}}), ``cut`` and ``lost`` (lists of [network, machine]).
    """

    def __init__(self, name):
        if not NAME.fullmatch(name):
            raise LabError(f"{name!r} is no name for a lab: use up to 20 of a-z, 0-9 and -, and no - first")
        self.name = name
        self.prefix = f"pcl-{name}"
        self.folder = host.HOME / name
        self.file = self.folder / "state.json"

    def exists(self):
        """Tell whether there is a lab of this name, whole or not."""
        return self.folder.is_dir()

    def read(self):
        """Return the record, {} where none was written yet."""
        try:
            return json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    @contextmanager
    def change(self):
        """Give the record to a with block and write what the block made of it; one command at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.read()
            yield record
            fresh = self.file.with_suffix(".new")
            fresh.write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.replace(fresh, self.file)

    def machines(self):
        """Return the names of all machines: the nodes, then the master."""
        return [*self.read().get("nodes", []), MASTER]

    def disk(self, machine):
        """Return the folder of what this machine changed of the base root (the overlay's upper layer)."""
        return self.folder / machine / "upper"


def all_names():
    """Return the names of all labs that left a folder on this machine."""
    return (
        sorted(path.name for path in host.HOME.iterdir() if path.is_dir() and NAME.fullmatch(path.name))
        if host.HOME.is_dir()
        else []
    )


def node_names(count):
    """Return pve1, pve2 … for a number of nodes from 2 to 9."""
    if not 2 <= count <= 9:
        raise LabError(f"a lab has 2 to 9 nodes, not {count}")
    return [f"pve{number}" for number in range(1, count + 1)]


def remove_file(path):
    """Delete a file that may not be there."""
    Path(path).unlink(missing_ok=True)
