"""What the facts of the nodes prove about a step, and about what a run began with. Pure."""

from __future__ import annotations

import re

from pve_corosync.addresses import canonical
from pve_corosync.findings import finding
from pve_corosync.judge import outcomes, ways

_LINK = re.compile(r"link (\d+) to \S+ not connected")


def seen(facts: dict) -> dict:
    """Return what a step's outcome tells of a node as seen, from its facts."""
    connected: dict[int, dict[str, bool]] = {}
    for peer, rows in (facts.get("links") or {}).items():
        for number, row in rows.items():
            connected.setdefault(int(number), {})[peer] = bool(row.get("connected"))
    votes = facts.get("quorum") or {}
    return {
        "version": (facts.get("runtime") or {}).get("version"),
        "connected": connected,
        "quorate": votes.get("quorate"),
        "ring_id": votes.get("ring_id"),
        "writable": (facts.get("pmxcfs") or {}).get("writable"),
    }


def outcome(name: str, step: dict, facts: dict, phase: str = "") -> dict:
    """Return the outcome of a step on a node, from the facts that were read there after it.

    :param name: the node.
    :param step: a step of the plan.
    :param facts: its facts after the step.
    :param phase: of a restart step; its first half has no other evidence than the file.
    """
    told = {
        "node": name,
        "number": step["number"],
        "act": step["act"],
        "phase": phase,
        "ok": True,
        "error": "",
        "seen": seen(facts) | {"file_version": (facts.get("local") or {}).get("version")},
        "missing": [],
        "seconds": {},
    }
    kind = "cluster_file" if step["act"] == "publish" else "local"
    if (facts.get(kind) or {}).get("text") != step["conf"]:
        told["missing"].append(
            f"the {kind.replace('_file', '')} file has version "
            f"{(facts.get(kind) or {}).get('version')}, or other bytes"
        )
    present = {n for n, rows in told["seen"]["connected"].items() if rows}
    left = sorted(present & {int(n) for n in step.get("remove") or ()}) if step["act"] == "cluster" else []
    told["missing"] += [f"link {number} is still configured in the running daemon" for number in left]
    told["missing"] = list(dict.fromkeys([*told["missing"], *outcomes.unmet(name, step, told, phase)]))
    return told | {"ok": not told["missing"]}


def quorate(observed: dict) -> set[str]:
    """Return the nodes that are quorate, by their own daemons."""
    return {name for name, facts in observed["nodes"].items() if (facts.get("quorum") or {}).get("quorate")}


def bearing(observed: dict, partitions: list) -> set[str]:
    """Return the nodes that are quorate and whose living links bear that.

    For some seconds after a network died its nodes still count as quorate: Corosync notices when the token is
    lost. That is no quorum to go back to.

    :param partitions: lists of the nodes that see each other over living links, of the plan.
    """
    count = len(observed["nodes"]) + len(observed.get("silent") or ())
    found = set()
    for name in quorate(observed):
        told = observed["nodes"][name]["quorum"]
        group = next((group for group in partitions if name in group), [])
        one_each = told.get("expected") == count  # no device, and no node with more votes than one
        if not one_each or len(group) >= (told.get("quorum") or 0):
            found.add(name)
    return found


def lost_quorum(before: set[str], observed: dict) -> list[str]:
    """Return the nodes that were quorate and are not; one that does not answer is not known to be either.

    :param before: what :func:`quorate` returned then. :param observed: what is seen now.
    """
    return sorted((before & set(observed["nodes"])) - quorate(observed))


def dead_networks(layout: dict, before: dict, after: dict) -> set[str]:
    """Return the networks that carried a link of two nodes, and carry none of them any more.

    :param before, after: facts of all nodes, at two times.
    """
    return _networks(layout, before, True) & _networks(layout, after, False)


def _networks(layout, observed, connected):
    """Return the networks of the links that are connected for a pair of nodes, or are not."""
    names = {
        (node, canonical(address)): network
        for network, row in layout["networks"].items()
        for node, address in row.items()
    }
    found = set()
    for facts in observed["nodes"].values():
        running = (facts.get("runtime") or {}).get("nodes") or {}
        for peer, rows in (facts.get("links") or {}).items():
            has = {int(n): a for n, a in ((running.get(peer) or {}).get("addresses") or {}).items()}
            for number, row in rows.items():
                address = has.get(int(number))
                if address and bool(row.get("connected")) is connected:
                    found.add(names.get((peer, canonical(address))))
    return found - {None}


def only_late(failed: list[dict], told: dict) -> bool:
    """Tell whether nodes failed in a step only because its time was over before they saw its effect.

    :param failed: what ``judge.outcomes.judge`` returned. :param told: ``{node: outcome}`` of the step.
    """
    errors = [told.get(item["data"].get("node")) for item in failed]
    return bool(failed) and all(
        isinstance(row, dict) and (row.get("error") or "not seen within").startswith("not seen within")
        for row in errors
    )


def only_links(failed: list[dict]) -> set[int]:
    """Return the links that a failed step lacked, where it lacked nothing else.

    :param failed: what ``judge.outcomes.judge`` returned.
    """
    texts = [text for item in failed for text in item["data"].get("missing") or [item["text"]]]
    texts = [text for text in texts if not text.startswith("not seen within")]
    links = [_LINK.fullmatch(text.strip()) for text in texts]
    return {int(match[1]) for match in links} if all(links) else set()


def left_undone(observed: dict) -> tuple[list[dict], dict]:
    """Return what dead runs have left to be undone, and where it is noted: ``([entry], {node: run})``.

    Of two runs the later one counts: it has taken over what the first one left.

    :param observed: facts of all nodes; no run may be under way.
    """
    noted = {name: facts["undo"] for name, facts in observed["nodes"].items() if facts.get("undo")}
    latest = max(noted.values(), key=lambda row: row["since"], default={"undo": []})
    return list(latest["undo"]), {name: row["txn"] for name, row in noted.items()}


def released(layout: dict, observed: dict) -> list[dict]:
    """Return the findings on HA that a dead run has released, or somebody by hand.

    :param layout: for the command that arms again. :param observed: as for :func:`left_undone`.
    """
    if any(facts.get("busy") for facts in observed["nodes"].values()):
        return []  # a run is under way, which undoes it itself
    entries, noted = left_undone(observed)
    if entries:
        said = "; ".join(f"{entry['text']} ({', '.join(entry['nodes'])})" for entry in entries)
        return [
            finding(
                "ha-left-released",
                f"run {', '.join(sorted(set(noted.values())))} ended before it could undo: {said}",
                data={"nodes": sorted(noted)},
                remedy=f"the next run does it: {ways.command('apply', layout['name'])}",
            )
        ]
    off = {
        name: facts["ha"]["disarm"]
        for name, facts in observed["nodes"].items()
        if (facts.get("ha") or {}).get("disarm")
    }
    if not off:
        return []
    name = sorted(off)[0]
    minion = (layout["nodes"].get(name) or {}).get("minion", name)
    return [
        finding(
            "ha-left-released",
            f"HA is disarmed for the whole cluster ({off[name]}): no service is restarted if a node fails",
            data={"nodes": sorted(off)},
            remedy=f"if nobody works on it: salt {minion} ha_manager.arm",
        )
    ]
