"""The journals of past runs on the master's disk."""

from __future__ import annotations

import json
import os
import time

from pve_corosync.judge import past


def paths(folder: str) -> list[str]:
    """Return the journals in the folder of a cluster, the newest first.

    :param folder: see ``ports.master.Site.folder``; it need not exist.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = sorted((name for name in names if name.endswith(".jsonl")), reverse=True)
    return [os.path.join(folder, name) for name in found]


def everywhere(base: str) -> list[str]:
    """Return the journals of all clusters of a master, the newest first.

    :param base: the folder of locks and journals on the master; it need not exist.
    """
    folders = [os.path.join(base, name) for name in (os.listdir(base) if os.path.isdir(base) else ())]
    found = [path for folder in folders for path in paths(folder)]
    return sorted(found, key=os.path.basename, reverse=True)


def read(path: str) -> list[dict]:
    """Return the lines of a journal; a last one that was not written to its end is left out.

    :param path: one of :func:`paths`.
    """
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def forget_withdrawn(folder: str, age: float) -> None:
    """Remove the journals of runs that were withdrawn and did nothing else: a network that flaps makes many.

    :param folder: of the cluster.
    :param age: seconds; a younger one stays, as its name may be in a lock that a node did not give back yet.
    """
    for path in paths(folder):
        if os.stat(path).st_mtime < time.time() - age:
            lines = read(path)
            if lines and past.row(lines, True)["result"] == past.WITHDRAWN:
                os.unlink(path)
