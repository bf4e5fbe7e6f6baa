"""The rule about parts of a cluster that are quorate apart: joining them drops what one of them wrote."""

from __future__ import annotations

from pve_corosync.cluster import halves
from pve_corosync.findings import finding


def apart(context):
    """No two parts of the cluster are quorate at the same time."""
    parts = halves.quorate_parts(context)
    if len(parts) < 2:
        return
    ids = {name: row["nodeid"] for name, row in context.layout["nodes"].items()}
    indexes = {
        node: context.nodes[node]["database"]
        for part in parts
        for node in part
        if context.nodes[node].get("database")
    }
    survivor = halves.leader(indexes, ids)
    lost = halves.lost(indexes, survivor) if survivor else {}
    unknown = [node for part in parts for node in part if node not in indexes]
    if unknown:
        said = f"what differs under /etc/pve is not known ({', '.join(unknown)} did not tell)"
    elif lost:
        drops = "; ".join(f"of {node}: {halves.told(paths)}" for node, paths in lost.items())
        said = f"when they meet, the /etc/pve of {survivor} survives, and this is dropped: {drops}"
    else:
        said = f"when they meet, the /etc/pve of {survivor} survives; nothing of the others differs"
    yield finding(
        halves.CODE,
        f"{' / '.join(', '.join(part) for part in parts)} are quorate apart, and each could write: {said}",
        data={"groups": parts, "survivor": None if unknown else survivor, "lost": lost},
        remedy="stop what runs on both sides; then force=quorate-halves, which first copies config.db and "
        "all of /etc/pve of every node to /var/lib/pve-corosync/halves there",
    )


RULES = (apart,)
