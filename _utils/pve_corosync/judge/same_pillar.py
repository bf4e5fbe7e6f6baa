"""Whether the nodes have the pillar that the master makes now. Pure.

A minion keeps its pillar until it is refreshed, and goes by it in all that it does by itself: highstate,
beacon, a change without a master. The master compiles the pillar of one node only, since that costs it up to
a second each; so every node tells the digest of what it has.
"""

from __future__ import annotations

import hashlib

from pve_corosync.findings import finding
from pve_corosync.pillar import layouts

DIGITS = 12


def digest(pillar) -> str:
    """Return a digest of the pillar key `corosync`, "" where there is none.

    :param pillar: its value; the order of keys, and what a transport makes of its types (JSON has no keys but
        texts), do not count.
    """
    if pillar is None:
        return ""
    text = repr(_ordered(layouts.plain(pillar)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def check(minions: dict, nodes: dict, pillar, skip=()) -> list[dict]:
    """Return the finding on nodes that have another pillar; a node that does not tell it is not compared.

    A warning: a run goes by the master's pillar alone.

    :param minions: ``{node: minion id}``. :param nodes: ``{node: facts}`` of those that answered.
    :param pillar: the key `corosync` that the master works with.
    :param skip: nodes that the work goes on without.
    """
    here = digest(pillar)
    theirs = {name: facts.get("pillar") for name, facts in nodes.items() if name not in skip}
    other = [name for name, told in theirs.items() if told is not None and told != here]
    if not other:
        return []
    have = "has" if len(other) == 1 else "have"
    none = "" if any(theirs[name] for name in other) else "no pillar `corosync`, and the master makes one"
    them = ",".join(minions[name] for name in other)
    target = f"-L {them}" if len(other) > 1 else them
    return [
        finding(
            "pillar-differs",
            f"{', '.join(other)} {have} {none or 'another pillar `corosync` than the master makes'} now",
            data={"nodes": other},
            remedy=f"salt {target} saltutil.refresh_pillar; if it stays, the top file gives each its own: "
            f"salt-run pillar.show_pillar {minions[other[0]]}",
        )
    ]


def _ordered(value):
    if isinstance(value, dict):
        return sorted(((str(key), _ordered(item)) for key, item in value.items()), key=lambda row: row[0])
    return [_ordered(item) for item in value] if isinstance(value, list) else value
