"""Rules about the nodes: who answers, who it is, what runs there, keys and names."""

from __future__ import annotations

import functools
import ipaddress
import time

from pve_corosync import addresses
from pve_corosync.findings import finding
from pve_corosync.rules import device


def silent(context):
    """Every node answers, or is skipped on purpose."""
    for node in context.silent:
        if node in context.skip or node not in context.layout["nodes"]:
            continue
        minion, told = context.layout["nodes"][node]["minion"], context.refusals.get(node)
        if told:
            yield finding(
                "node-silent",
                f"{node} tells nothing of itself, its minion {minion!r} answers: {told}; "
                f"{_loss(context, [node])}",
                data={"node": node, "error": told},
                remedy=f"salt {minion} saltutil.sync_all{_without(context, node)}",
            )
            continue
        yield finding(
            "node-silent",
            f"{node} does not answer (minion {minion!r}); {_loss(context, [node])}",
            data={"node": node},
            remedy=f"salt {minion} test.ping{_without(context, node)}",
        )


def _without(context, node):
    """
    How to go on without a node, "" where the others have no quorum and too few votes: it would be refused.
    """
    quorate = any((facts.get("quorum") or {}).get("quorate") for facts in context.answered.values())
    enough = 2 * len(context.answered) > len(context.layout["nodes"])
    return f"; to go on without it: skip={node}" if quorate or enough else ""


def _though_skipped(context, node):
    """
    A skipped node that runs corosync: it keeps its old links, or two others apart.

    It does the latter where one node has it as a member and another one has not: nobody relays, and a
    membership is of nodes that all see each other (totemsrp.c).
    """
    facts = context.answered.get(node) or {}
    ids = {name: row["nodeid"] for name, row in context.layout["nodes"].items()}
    told = {name: (row.get("quorum") or {}).get("members") for name, row in context.nodes.items()}
    members = {name: seen for name, seen in told.items() if seen}
    with_it = [name for name, seen in members.items() if ids[node] in seen]
    without = [name for name in members if not any(ids[name] in members[other] for other in with_it)]
    if with_it and without:
        minion = facts.get("minion") or context.layout["nodes"][node]["minion"]
        yield finding(
            "skip-between",
            f"{node} is skipped, but runs corosync: {', '.join(with_it)} "
            + ("has" if len(with_it) == 1 else "have")
            + f" a membership with it, which {', '.join(without)} cannot join",
            data={"node": node, "with": with_it, "without": without},
            remedy=f"drop {node} from skip, or stop its corosync: salt {minion} service.stop corosync",
        )
    elif facts.get("runtime"):
        yield finding(
            "skip-runs",
            f"{node} is skipped, but answers and runs corosync: it would keep the old links",
            data={"node": node},
            remedy=f"drop {node} from skip",
        )


def skipped(context):
    """What is given up by the nodes that are skipped."""
    known = [node for node in context.skip if node in context.layout["nodes"]]
    for node in context.skip:
        if node not in context.layout["nodes"]:
            yield finding(
                "skip-unknown",
                f"skip names {node!r}, which is no node; allowed: "
                f"{', '.join(sorted(context.layout['nodes']))}",
                data={"value": str(node)},
                remedy=f"drop {node} from skip",
            )
    for node in known:
        yield finding(
            "node-skipped",
            f"{node} is skipped; {_loss(context, [node])}",
            data={"node": node},
            remedy="before it starts corosync again: copy the new /etc/corosync/corosync.conf to it",
        )
        yield from _though_skipped(context, node)
    votes = context.votes()
    if known and votes and not _quorate_without(context, known):
        given = max((n for n in device.cast(context).values() if n), default=0)
        left = sum(v for n, v in votes.items() if n not in known) + given
        whole = sum(votes.values()) + given
        need = whole // 2 + 1
        if left < need:
            yield finding(
                "skip-no-quorum",
                f"without {', '.join(known)} there are {left} of {whole} votes, "
                f"quorum needs {need}: /etc/pve stays read-only",
                data={"votes": left, "quorum": need},
                remedy="bring a skipped node back; `pvecm expected` is undone by the next reload",
            )


def _quorate_without(context, skip) -> bool:
    """Tell whether a node that takes part is quorate now without those: it knows better than a count."""
    ids = {context.layout["nodes"][name]["nodeid"] for name in skip}
    return any(
        (facts.get("quorum") or {}).get("quorate") and not ids & set(facts["quorum"].get("members") or ())
        for facts in context.nodes.values()
    )


def strangers(context):
    """No answer of a node that the layout does not have."""
    for node in context.nodes:
        if node not in context.layout["nodes"]:
            yield finding(
                "node-unknown",
                f"{node!r} answers, but is no node of the layout; allowed: "
                f"{', '.join(sorted(context.layout['nodes']))}",
                data={"node": node},
                remedy=f"add corosync:nodes:{node} to the pillar, or do not target its minion",
            )


def identity(context):
    """Each minion is the node that the pillar says."""
    for node, facts in context.nodes.items():
        said = facts.get("node")
        if said and said != node:
            yield finding(
                "node-other-name",
                f"{node}: its minion {facts.get('minion')!r} answers as {said!r}",
                data={"node": node, "value": said},
                remedy=f"correct corosync:nodes:{node}:minion",
            )
        wanted = (context.layout["nodes"].get(node) or {}).get("minion")
        if wanted and facts.get("minion") and facts["minion"] != wanted:
            yield finding(
                "minion-other",
                f"{node}: minion {facts['minion']!r} answers, the pillar says {wanted!r}",
                data={"node": node, "value": facts["minion"], "wanted": wanted},
                remedy=f"set corosync:nodes:{node}:minion to {facts['minion']}",
            )


def daemon(context):
    """Corosync runs."""
    for node, facts in context.nodes.items():
        state = (facts.get("corosync") or {}).get("state") or "unknown"
        if facts.get("runtime") and state in ("active", "unknown"):
            continue
        if state == "active":
            yield finding(
                "runtime-unreadable",
                f"{node}: corosync is active, but its runtime could not be read",
                data={"node": node},
                remedy=f"on {node}: corosync-cmapctl totem.config_version; if it hangs: systemctl restart "
                f"corosync there, or go on without it: skip={node}",
            )
            continue
        local = next((text for text in context.texts if [node, "local"] in text.places), None)
        old = local is None or local.version < context.highest
        careful = (
            f"; its local file has version {local.version if local else 'none'}, the highest is "
            f"{context.highest}: it must not start before it has the new file"
            if old
            else ""
        )
        yield finding(
            "corosync-stopped",
            f"{node}: corosync is {state}; a reload does not reach it{careful}",
            severity="error" if context.strategy == "live" else "warning",
            data={"node": node, "state": state, "outdated": old},
            remedy=(
                "plan with strategy=restart, which puts the file there first"
                if old
                else f"on {node}: systemctl start corosync; or plan with strategy=restart; or skip={node}"
            ),
        )


def pmxcfs(context):
    """/etc/pve is mounted, answers, and is writable where there is quorum."""
    for node, facts in context.nodes.items():
        state = facts.get("pmxcfs") or {}
        quorate = bool((facts.get("quorum") or {}).get("quorate"))
        if state.get("state") == "hung":
            yield finding(
                "pve-hung",
                f"{node}: /etc/pve hangs, the cluster file does not reach it",
                # without quorum the first step needs the local files only
                severity="error" if quorate else "warning",
                data={"node": node, "quorate": quorate},
                remedy=f"on {node}: journalctl -u pve-cluster -n 20; ps -o stat,wchan:20,args -C pmxcfs",
            )
        elif not state.get("mounted"):
            what = f"gives no answer ({state['said']})" if state.get("said") else "is not mounted"
            yield finding(
                "pve-not-mounted",
                f"{node}: /etc/pve {what}, the cluster file does not reach it",
                data={"node": node},
                remedy=(
                    f"on {node}: systemctl status pve-cluster (a start of it starts "
                    "corosync too: only with the current local file)"
                ),
            )
        elif quorate and state.get("writable") is False:
            yield finding(
                "pve-read-only",
                f"{node}: quorate, but /etc/pve is read-only; pmxcfs is still synchronising or hangs",
                data={"node": node},
                remedy=f"on {node}: journalctl -u pve-cluster -n 20",
            )


def busy(context):
    """No other run is under way."""
    yield from under_way(context.nodes)


def under_way(nodes: dict):
    """Yield a finding for each node that a run holds.

    :param nodes: ``{name: facts}``.
    """
    for node, facts in nodes.items():
        lock = facts.get("busy")
        if lock:
            yield finding(
                "run-busy",
                f"{node}: run {lock.get('txn')} by {lock.get('by') or 'unknown'} since "
                f"{_when(lock.get('since'))} is under way",
                data={"node": node} | dict(lock),
                remedy=(
                    f"wait for it; if it is dead: salt {facts.get('minion', node)} corosync.finish "
                    f"{lock.get('txn')}"
                ),
            )


def _when(since):
    """Return a time of the epoch as a local time; anything else as it is."""
    if isinstance(since, (int, float)) and not isinstance(since, bool):
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(since))
    return since


def names(context):
    """Each node's name resolves everywhere to the same address, and to none of the loopback."""
    seen = {}
    for viewer, facts in context.nodes.items():
        view = facts.get("names")
        if view is None:
            continue
        for node in context.layout["nodes"]:
            if node not in view:
                continue  # a node without corosync.conf knows no names, and was not asked for them
            found = [addresses.canonical(a) for a in view[node] or []]
            if not found:
                yield finding(
                    "name-unknown",
                    f"{viewer}: {node} is not in /etc/hosts; without an address of its own name pmxcfs does "
                    "not start",
                    severity="warning" if viewer == node else "info",
                    data={"node": node, "viewer": viewer},
                    remedy=f"on {viewer}: add {_primary(context, node)} {node} to /etc/hosts",
                )
                continue
            loop = [a for a in found if _loopback(a)]
            if loop:
                yield finding(
                    "name-loopback",
                    f"{viewer}: {node} resolves to {', '.join(loop)}; pmxcfs passes over it and does not "
                    "start if there is nothing else",
                    data={"node": node, "viewer": viewer, "value": loop},
                    remedy=f"on {viewer}: replace it by {_primary(context, node)} in /etc/hosts",
                )
            useful = [a for a in found if a not in loop]
            if useful:
                seen.setdefault(node, {}).setdefault(useful[0], []).append(viewer)
    for node, answers in seen.items():
        if len(answers) > 1:
            told = "; ".join(f"{address} on {', '.join(viewers)}" for address, viewers in answers.items())
            yield finding(
                "names-differ",
                f"{node} resolves differently: {told}",
                data={"node": node, "answers": answers},
                remedy=f"make it {_primary(context, node)} in /etc/hosts everywhere",
            )
        elif next(iter(answers)) != addresses.canonical(_primary(context, node)):
            address = next(iter(answers))
            yield finding(
                "name-not-primary",
                f"{node} resolves to {address}, layout {context.layout['name']} wants "
                f"{_primary(context, node)}",
                data={"node": node, "value": address},
                remedy="the phase that moves the primary network changes it",
            )


def versions(context):
    """All nodes run the same corosync."""
    by_version = {}
    for node, facts in context.nodes.items():
        version = (facts.get("corosync") or {}).get("version")
        if version:
            by_version.setdefault(version, []).append(node)
    if len(by_version) > 1:
        told = "; ".join(f"{version} on {', '.join(nodes)}" for version, nodes in sorted(by_version.items()))
        yield finding(
            "versions-mixed",
            f"different corosync versions: {told}; corosync-cfgtool(8) does not support -R "
            "over them, the steps are read back on every node",
            data={"versions": by_version},
            remedy="finish the upgrade first if nothing presses",
        )


def readable(context):
    """Everything that was asked could be read."""
    for node, facts in context.nodes.items():
        for problem in facts.get("problems") or []:
            yield finding(
                "facts-incomplete",
                f"{node}: {problem}",
                data={"node": node},
                remedy=f"salt {facts.get('minion', node)} corosync.facts",
            )


def _loss(context, nodes: list) -> str:
    votes = context.votes()
    lost, total = (
        sum(votes.get(node, 1) for node in nodes),
        sum(votes.values()) or len(context.layout["nodes"]),
    )
    return (
        f"without it {lost} of {total} votes {'is' if lost == 1 else 'are'} missing, and its file stays"
        " older: it must not start corosync before it gets the new one (it exits, and before 3.1.10-pve3 can"
        " hang /etc/pve on all nodes)"
    )


def _primary(context, node: str) -> str:
    return context.layout["primary"]["addresses"].get(node) or "its address"


@functools.lru_cache(maxsize=4096)  # in a cluster of N nodes each address is named N times
def _loopback(address: str) -> bool:
    parsed = addresses.parse(address)
    return isinstance(parsed, (ipaddress.IPv4Address, ipaddress.IPv6Address)) and parsed.is_loopback


RULES = (silent, skipped, strangers, identity, daemon, pmxcfs, busy, names, versions, readable)
