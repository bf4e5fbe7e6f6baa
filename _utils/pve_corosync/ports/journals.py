"""The journals of past runs on the master's disk."""

from __future__ import annotations

import json
import os


def paths(folder: str) -> list[str]:
    """Return the journals in the folder of a cluster, the newest first.

    :param folder: see ``ports.master.Site.folder``; it need not exist.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = sorted((name for name in names if name.endswith(".jsonl")), reverse=True)
    return [os.path.join(folder, name) for name in found]


def read(path: str) -> list[dict]:
    """Return the lines of a journal; a last one that was not written to its end is left out.

    :param path: one of :func:`paths`.
    """
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
