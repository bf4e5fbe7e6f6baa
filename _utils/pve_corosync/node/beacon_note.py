"""What the beacon ``corosync`` keeps on a node: since when each link is dead, or alive."""

from __future__ import annotations

from pve_corosync.node import files

NOTE = f"{files.RUN_DIR}/watch.json"
#: the beacon writes at least every 10 s while something is wrong, and every 60 s in any case; one that was
#: told to write less often is not believed in between.
DEAD_AGE_S, ALIVE_AGE_S = 15, 75


def dead_for(root: str | None, now: float) -> dict:
    """Return how long links have been dead: ``{node: {link: seconds}}``; empty without a beacon.

    :param root: stands in front of every path. :param now: seconds since the boot.
    """
    return _since(root, now, "dead", DEAD_AGE_S)


def alive_for(root: str | None, now: float) -> dict:
    """Return for how long at least links have been alive, as :func:`dead_for`; a beacon knows of no time
    before its own begin.

    :param root, now: as there.
    """
    return _since(root, now, "alive", ALIVE_AGE_S)


def _since(root, now, kind, most):
    note = files.read_json(files.under(root, NOTE)) or {}
    at = note.get("at")
    if not isinstance(at, (int, float)) or not 0 <= now - at <= most:
        return {}
    return {
        node: {link: round(now - since, 1) for link, since in links.items()}
        for node, links in note.get(kind, {}).items()
    }
