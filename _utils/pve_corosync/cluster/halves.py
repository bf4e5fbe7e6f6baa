"""Two parts of a cluster that were quorate apart: which keeps its /etc/pve when they meet, and what is lost.

Source: pve-cluster ``src/pmxcfs/dcdb.c`` (dcdb_select_leader, dcdb_create_and_send_updates, dcdb_commit).
When nodes meet, one is the leader: the highest version of the tree, then the latest change, then the lowest
nodeid. All others take its whole tree; what they alone have is deleted without a word.
"""

from __future__ import annotations

#: of the finding that refuses to join them.
CODE = "quorate-halves"
#: what pmxcfs and HA write by themselves all the time; it is no loss.
_CHATTER = ("priv/lock/", "ha/manager_status")
_CHATTER_ENDS = ("/lrm_status",)


def quorate_parts(cluster) -> list[list[str]]:
    """Return the parts that each believe to be quorate, by the members that their nodes see.

    :param cluster: a ``cluster.cluster.Cluster``.
    """
    ids = {name: row["nodeid"] for name, row in cluster.layout["nodes"].items()}
    parts: list[list[str]] = []
    for node, facts in cluster.nodes.items():
        quorum = facts.get("quorum") or {}
        if node not in ids or not quorum.get("quorate"):
            continue
        members = set(quorum.get("members") or ())
        part = next((part for part in parts if ids[part[0]] in members), None)
        if part is None:
            parts.append([node])
        else:
            part.append(node)
    return parts


def leader(indexes: dict, ids: dict) -> str | None:
    """Return the node whose /etc/pve survives, None where no index is known.

    :param indexes: ``{node: what node.database.index returned, or None}``. :param ids: ``{node: nodeid}``.
    """
    known = sorted((node for node in indexes if indexes[node]), key=lambda node: ids.get(node, 0))
    if not known:
        return None
    return max(known, key=lambda node: (indexes[node]["version"], indexes[node]["mtime"], -ids.get(node, 0)))


def lost(indexes: dict, survivor: str) -> dict[str, list[str]]:
    """Return what the others have and the survivor has not, or otherwise: ``{node: [path]}``.

    :param indexes: as for :func:`leader`. :param survivor: what that returned.
    """
    kept = indexes[survivor]["files"]
    found = {}
    for node, told in indexes.items():
        paths = [
            path
            for path, digest in sorted((told or {}).get("files", {}).items())
            if kept.get(path) != digest and not _is_chatter(path)
        ]
        if paths:
            found[node] = paths
    return found


def _is_chatter(path: str) -> bool:
    return path.startswith(_CHATTER) or path.endswith(_CHATTER_ENDS)


def told(paths: list[str], most: int = 10) -> str:
    """Return a list of paths as text, the first ones by name."""
    more = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {more} more" if more > 0 else "")
