"""What a node remembers from highstate to highstate: what a look at all nodes found, and what was proved.

Pure, and light: a highstate with nothing to do gets by with this and the facts.
"""

from __future__ import annotations

import hashlib

#: what changes from look to look and is no part of any proof.
VOLATILE = ("time", "alive_for")


def note(facts: dict) -> dict:
    """Return what is to be remembered of a look at all nodes that found nothing to do.

    :param facts: of this node, from that look.
    """
    runtime = facts.get("runtime") or {}
    return {
        "authkey": (facts.get("authkey") or {}).get("sha256"),
        "sha256": (facts.get("local") or {}).get("sha256"),
        "version": runtime.get("version"),
        "ring_id": (facts.get("quorum") or {}).get("ring_id"),
        "joined": {str(key): row for key, row in (runtime.get("joined") or {}).items()},
    }


def mark(facts: dict, *rest) -> str:
    """Return a digest of everything that a proof goes by: as long as it is the same, so is what was proved.

    :param facts: of this node; the digest of the code is in them.
    :param rest: plain data: pillar, minion id, layout, what is remembered.
    """
    links = {
        peer: {number: row | {"latency_us": None} for number, row in rows.items()}
        for peer, rows in (facts.get("links") or {}).items()
    }
    stable = {key: value for key, value in facts.items() if key not in VOLATILE} | {"links": links}
    return hashlib.sha256(repr((stable, rest)).encode("utf-8", "surrogatepass")).hexdigest()
