"""The rules: what stands between the observed cluster and a layout, everything at once.

One small function a rule, by subject in ``rules.links``, ``rules.copies``, ``rules.keys``,
``rules.nodes``, ``rules.totem``, ``rules.votes``, ``rules.halves`` and ``rules.device``; each takes a
``cluster.cluster.Cluster`` and yields findings.
"""

from __future__ import annotations

import re

from pve_corosync.cluster.cluster import Cluster
from pve_corosync.findings import check_force, errors, finding, ordered
from pve_corosync.rules import copies, device, halves, keys, links, nodes, totem, votes

RULES = nodes.RULES + links.RULES + copies.RULES + totem.RULES + keys.RULES + votes.RULES + device.RULES
RULES += halves.RULES
STRATEGIES = ("live", "restart")
_STARTS = re.compile(r"\b(re)?start")


def check(layout: dict, observed: dict, *, force=(), skip=(), strategy: str = "live") -> list[dict]:
    """Return every finding about taking the observed cluster to a layout.

    :param layout: what ``pillar.layouts.resolve`` returns.
    :param observed: ``{"nodes": {name: facts}, "silent": [name]}``, facts as ``corosync.facts`` returns them.
    :param force: codes to go on in spite of; a forced error comes back as a warning with ``data["forced"]``.
    :param skip: nodes to go on without.
    :param strategy: ``live`` or ``restart``; some findings refuse only one of them.
    :returns: findings, errors first.
    :raises ValueError: unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r}; allowed: {', '.join(STRATEGIES)}")
    return judge(Cluster(layout, observed, skip=skip, strategy=strategy), force)


def judge(cluster: Cluster, force=()) -> list[dict]:
    """Return what :func:`check` does of a cluster that is there already.

    :param cluster: what the rules read. :param force: codes to go on in spite of.
    """
    force = [force] if isinstance(force, str) else list(force)
    found = list(check_force(force))
    for rule in RULES:
        found.extend(rule(cluster))
    return ordered([yielding(_patient(item, cluster), force) for item in found])


def _patient(item, cluster):
    """
    Return a finding without the advice to start or restart anything while a run is under way: what it does at
    this moment is half done, and may be all that was seen.
    """
    busy = next((facts["busy"] for facts in cluster.nodes.values() if facts.get("busy")), None)
    if not busy or not _STARTS.search(item["remedy"]):
        return item
    remedy = f"run {busy.get('txn')} is under way, and may be why: wait for its end, then look again"
    return item | {"remedy": remedy}


def yielding(item: dict, force) -> dict:
    """Return a finding, as a warning with ``data["forced"]`` if it is an error that is forced.

    :param item: a finding. :param force: codes to go on in spite of.
    """
    if item["severity"] != "error" or errors([item], force):
        return item
    return finding(
        item["code"],
        item["text"],
        severity="warning",
        data=item["data"] | {"forced": True},
        remedy=item["remedy"],
        forceable=item["forceable"],
    )
