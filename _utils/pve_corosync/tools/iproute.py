"""What ``ip -j route get PEER from OWN`` prints: over which interface the kernel sends there."""

from __future__ import annotations

import json

from pve_corosync.addresses import canonical

#: links are dead by the dozen only in large clusters; a few routes show what is wrong.
MOST = 16


def dead_ways(running: dict, links: dict) -> list[dict]:
    """Return the ways of a node's dead links: ``[{"peer", "link", "from": own address, "to": its address}]``.

    :param running: what ``tools.corosync.runtime`` returned. :param links: what ``link_stats`` returned.
    """
    own = next((row for row in running["nodes"].values() if row["nodeid"] == running["nodeid"]), None)
    ways = []
    for peer, rows in sorted(links.items()) if own else ():
        there = (running["nodes"].get(peer) or {}).get("addresses") or {}
        ways += [
            {"peer": peer, "link": link, "from": own["addresses"][link], "to": there[link]}
            for link, row in sorted(rows.items())
            if not row["connected"] and link in own["addresses"] and link in there
        ]
    return ways[:MOST]


def command(way: dict) -> list[str]:
    """Return the command that tells where a way leads.

    :param way: a row of :func:`dead_ways`.
    """
    return ["ip", "-j", "route", "get", way["to"], "from", way["from"]]


def device(text: str) -> str | None:
    """Return the interface of a route, None where the kernel has none or the output is not understood.

    :param text: what ``ip -j route get`` printed.
    """
    try:
        rows = json.loads(text) if text.strip() else []
        found = rows[0].get("dev") if rows else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def elsewhere(ways: list[dict], interfaces: dict) -> list[dict]:
    """Return the ways whose route leaves over another interface than the one with the own address.

    One that nobody told is no fact; a host address (/32, /128), as routed fabrics have it, is on no card.

    :param ways: rows of :func:`dead_ways` with ``dev`` besides. :param interfaces: ``{address: (interface,
        address/prefix)}`` of the node.
    """
    found = []
    for way in ways:
        card, row = interfaces.get(canonical(way["from"])) or ("", "/32")
        if way.get("dev") and way["dev"] != card and not row.endswith(("/32", "/128")):
            found.append(way | {"card": card})
    return found
