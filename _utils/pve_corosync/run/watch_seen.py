"""From what the nodes answered to what the watch decides on: layout in force, links, each node."""

from __future__ import annotations

from pve_corosync import addresses as ip
from pve_corosync.run import outcomes


def seen(
    layouts: dict, preferred: list[str], nodes: list[str], answers: dict, locked: bool
) -> tuple[dict, dict]:
    """Return the facts for ``run.watch.decide``, and the observed cluster for a plan.

    :param layouts: all of the pillar, resolved. :param preferred: which of them counts as in force where
        several are. :param nodes: those that the layouts need. :param answers: ``{node: return event of
        corosync.watch_facts}``; a node without one is left out.
    :param locked: whether a run of this master is under way.
    """
    told = {name: _value(answers.get(name)) for name in nodes}
    facts = {name: row["facts"] for name, row in told.items() if row}
    observed = {"nodes": facts, "silent": sorted(set(nodes) - set(facts))}
    names = outcomes.in_force(layouts, observed)
    found = {
        "layout": next((name for name in preferred if name in names), next(iter(names), None)),
        "networks": _networks(next(iter(layouts.values())), facts),
        "locked": bool(locked),
        "nodes": {name: row and _node(row) for name, row in told.items()},
    }
    return found, observed


def _value(answer):
    """Return what a node returned, None where that is no answer of the function."""
    if not answer or outcomes.answer_error(answer):
        return None
    value = answer.get("return")
    if (
        isinstance(value, dict)
        and isinstance(value.get("facts"), dict)
        and isinstance(value.get("look"), dict)
    ):
        return value
    return None


def _networks(layout, facts):
    """Return ``{link: network}`` of the running links; None for addresses that the pillar does not know."""
    known = {
        ip.canonical(address): network
        for network, rows in layout["networks"].items()
        for address in rows.values()
    }
    found: dict[str, str | None] = {}
    for row in facts.values():
        for node in ((row.get("runtime") or {}).get("nodes") or {}).values():
            for number, address in node["addresses"].items():
                network = known.get(ip.canonical(address))
                same = found.setdefault(str(number), network) == network
                found[str(number)] = network if same else None
    return found


def _node(row):
    look, facts = row["look"], row["facts"]
    return {
        "state": look.get("state", "hung"),
        "age": look.get("age"),
        "quorate": bool(look.get("quorate")),
        "links": look.get("links") or {},
        "downs": look.get("downs") or {},
        "dead_for": row.get("dead_for") or {},
        "busy": str((facts.get("busy") or {}).get("txn") or "") if facts.get("busy") else "",
        "armed": bool((facts.get("ha") or {}).get("armed")),
    }
