"""Which code of this project is here: a digest that a master compares with that of its nodes.

Files are read as they lie on the disk, so that a synced tree and an installed wheel of one version agree.
They are read each time (some 5 ms), since a process that lives on would tell of code from before a sync.
"""

from __future__ import annotations

import hashlib
import os

#: what every execution module of this project that matters names somewhere.
MARK = b"pve_corosync"
DIGITS = 12


def digest(modules: str = "") -> dict:
    """Return ``{"core": digest of this package, "modules": that of the execution modules, or None}``.

    :param modules: the folder of the execution modules; one that is not there gives None.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    core = [
        os.path.join(folder, name) for folder, _, names in os.walk(package) for name in names if _code(name)
    ]
    there = sorted(filter(_code, os.listdir(modules))) if os.path.isdir(modules) else []
    ours = [path for path in (os.path.join(modules, name) for name in there) if MARK in _read(path)]
    return {"core": _digest(package, core), "modules": _digest(modules, ours) if ours else None}


def beside(runner: str) -> str:
    """Return the folder of the execution modules beside that of a runner, synced or installed.

    :param runner: the path of a runner's file.
    """
    base = os.path.dirname(os.path.dirname(os.path.abspath(runner)))
    found = [os.path.join(base, name) for name in ("modules", "_modules")]
    return next((folder for folder in found if os.path.isdir(folder)), "")


def _code(name):
    return name.endswith(".py")


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _digest(base, paths):
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(os.path.relpath(path, base).encode() + b"\0" + hashlib.sha256(_read(path)).digest())
    return total.hexdigest()[:DIGITS]
