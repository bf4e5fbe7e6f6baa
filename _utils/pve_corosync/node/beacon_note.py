"""What the beacon ``corosync`` keeps on a node: since when each link is alive.

Since when links are dead is told by ``corosync_look.look``, which needs none of this package.
"""

from __future__ import annotations

from pve_corosync.node import files

NOTE = f"{files.RUN_DIR}/watch.json"
#: the beacon writes every 60 s in any case; one that was told to write less often is not believed in between.
AGE_S = 75


def alive_for(root: str | None, now: float) -> dict:
    """Return for how long at least links have been alive: ``{node: {link: seconds}}``; ``{}`` without beacon.

    A beacon knows of no time before its own begin.

    :param root: stands in front of every path. :param now: seconds since the boot.
    """
    note = files.read_json(files.under(root, NOTE)) or {}
    at = note.get("at")
    if not isinstance(at, (int, float)) or not 0 <= now - at <= AGE_S:
        return {}
    return {
        node: {link: round(now - since, 1) for link, since in links.items()}
        for node, links in note.get("alive", {}).items()
    }
