"""Which minion is a node of which cluster, as the last looks at pillars found it; and where on the master a
cluster has its folder.

The index is a hint and is never believed: whoever finds a cluster by it compiles the pillar of one minion of
it, and corrects the index where that says otherwise. It is written whole and put in place at once, so that
two processes that write never leave half a file; a file that cannot be read is an empty index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import urllib.parse

log = logging.getLogger(__name__)

FILE, FLEET, FORMAT = "index.json", "fleet.json", 1
#: file: the key of what is kept in it.
KEYS = {FILE: "minions", FLEET: "clusters"}
#: a folder's name may have 255 bytes; a longer one ends in a digest.
NAME_MAX = 200


def read(state_dir) -> dict:
    """Return ``{minion: cluster's name, or None for a minion of no cluster}``; empty where nothing usable is
    there.

    :param state_dir: the directory of locks and journals on the master.
    """
    minions = get(state_dir, FILE)
    if not all(name is None or isinstance(name, str) for name in minions.values()):
        log.warning("%s: not an index, it is made anew", os.path.join(state_dir, FILE))
        return {}
    return minions


def write(state_dir, minions: dict) -> None:
    """Put the index in place of the old one; where that fails the next look is slower, and nothing else.

    :param state_dir: as for :func:`read`.
    :param minions: ``{minion: cluster's name or None}``.
    """
    put(state_dir, FILE, minions)


def get(state_dir, name: str) -> dict:
    """Return what :func:`put` kept under a name; empty where nothing usable is there."""
    path = os.path.join(state_dir, name)
    try:
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        log.warning("%s: not readable, it is made anew: %s", path, exc)
        return {}
    kept = stored.get(KEYS[name]) if isinstance(stored, dict) and stored.get("format") == FORMAT else None
    if not isinstance(kept, dict):
        log.warning("%s: not what is kept there, it is made anew", path)
        return {}
    return kept


def put(state_dir, name: str, kept: dict) -> None:
    """Keep something that can be found out anew, whole or not at all; a failure is only logged."""
    temporary = None
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=state_dir)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, KEYS[name]: kept}, file, indent=0, sort_keys=True)
        os.replace(temporary, os.path.join(state_dir, name))
    except OSError as exc:
        log.warning("%s: %s was not kept: %s", state_dir, name, exc)
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def folder_name(cluster: str) -> str:
    """Return the name of a cluster's folder, another one for every name of a cluster.

    :param cluster: any text.
    """
    # the dot is kept but at the start, so that no folder is hidden, "." or ".."
    name = urllib.parse.quote(cluster, safe="", errors="surrogatepass").replace("~", "%7E")
    name = "%2E" + name[1:] if name.startswith(".") else name
    if not name or len(name) > NAME_MAX or name in KEYS:
        digest = hashlib.sha256(cluster.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[:NAME_MAX]}~{digest[:32]}"
    return name


def old_folder_name(cluster: str) -> str:
    """Return the name that a cluster's folder had before: two clusters could have the same.

    :param cluster: any text.
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", cluster)


def move_journals(state_dir, cluster: str) -> None:
    """Move a cluster's journals from its folder of before to the one of now; those of others stay.

    For who knows that no run holds the lock of the old folder.

    :param state_dir: as for :func:`read`.
    """
    old, new = (os.path.join(state_dir, name(cluster)) for name in (old_folder_name, folder_name))
    for path in journals(old).values() if old != new else ():
        if cluster_of(path) == cluster:
            os.makedirs(new, mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.rename(path, os.path.join(new, os.path.basename(path)))


def journals(folder) -> dict:
    """Return ``{jid: path}`` of the journals of runs in a folder; empty where there is no such folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name[: -len(".jsonl")]: os.path.join(folder, name) for name in names if name.endswith(".jsonl")}


def cluster_of(path):
    """Return the name of the cluster that a journal is of, None if that does not stand in its first line.

    :param path: of the journal.
    """
    try:
        with open(path, encoding="utf-8") as file:
            row = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    return row.get("cluster") if isinstance(row, dict) else None
