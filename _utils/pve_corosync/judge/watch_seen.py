"""From what the nodes answered to what the watch decides on: layout in force, links, each node."""

from __future__ import annotations

from pve_corosync import addresses as ip
from pve_corosync.cluster import answers as answers_of_nodes
from pve_corosync.judge import situation


def seen(layouts: dict, preferred: list[str], nodes: list[str], answers: dict, locked: bool, over=()) -> dict:
    """Return the facts for ``judge.watch.decide``.

    :param layouts: all of the pillar, resolved. :param preferred: which of them counts as in force where
        several are. :param nodes: those that the layouts need. :param answers: ``{node: return event of
        corosync.watch_facts}``; a node without one is left out.
    :param locked: whether a run of this master is under way. :param over: names of runs that are no longer
        alive: the next run takes over from them.
    """
    told = {name: _value(answers.get(name)) for name in nodes}
    facts = {name: row["facts"] for name, row in told.items() if row}
    names = situation.in_force(layouts, {"nodes": facts, "silent": sorted(set(nodes) - set(facts))})
    return {
        "layout": next((name for name in preferred if name in names), next(iter(names), None)),
        "networks": _networks(next(iter(layouts.values())), facts),
        "locked": bool(locked),
        "nodes": {name: row and _node(row, over) for name, row in told.items()},
    }


def facts(answers: dict) -> dict:
    """Return the answers of corosync.watch_facts as if they were of corosync.facts.

    :param answers: ``{minion id: return event}``.
    """
    made = {}
    for minion, event in answers.items():
        value, error = _checked(event, answers_of_nodes.WATCHED)
        made[minion] = event | {"return": value["facts"] if value else error or event.get("return")}
    return made


def again(before: dict, looks: dict) -> dict | None:
    """Return new answers, as of corosync.watch_facts, from a look alone; None where what else was told is no
    longer true.

    It is true of a node whose running configuration, local file and links are what they were. A node that is
    silent now, or busy, is told as such. A run that holds a node refuses another one by itself.

    :param before: ``{key: return event}`` of corosync.watch_facts. :param looks: the same of
        corosync_look.look, asked now.
    """
    made = {}
    for key, event in before.items():
        old, event = _value(event), looks.get(key)
        if not old:
            return None
        look = _checked(event, answers_of_nodes.LOOK)[0]
        if not look:
            continue
        if look["state"] != "busy" and not _same(old, look):
            return None
        made[key] = event | {"return": old | {"look": look, "ago": 0}}
    return made


def _same(old, look):
    facts = old["facts"]
    return (
        look["state"] == "running"
        and look.get("version") == (facts.get("runtime") or {}).get("version")
        and look.get("local") == (facts.get("local") or {}).get("version")
        and look.get("links") == (old["look"].get("links") or look.get("links"))
    )


def _value(answer):
    """Return what a node returned, None where that is no answer of the function."""
    return _checked(answer, answers_of_nodes.WATCHED)[0]


def _checked(answer, shape):
    """Return what a node returned and "", or None and what is wrong with its shape."""
    if not answer or situation.answer_error(answer):
        return None, ""
    return answers_of_nodes.checked(answer.get("return"), shape)


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


def _node(row, over):
    look, facts = row["look"], row["facts"]
    txn = str((facts.get("busy") or {}).get("txn") or "")
    return {
        "state": look["state"],
        "age": look.get("age"),
        "quorate": bool(look.get("quorate")),
        "links": look.get("links") or {},
        "downs": look.get("downs") or {},
        "pongs": look.get("pongs") or {},
        "dead_for": look.get("dead_for") or {},
        "interval": look.get("interval") or {},
        "ago": row.get("ago") or 0,
        "busy": "" if txn in over else txn,
        "armed": bool((facts.get("ha") or {}).get("armed")),
    }
