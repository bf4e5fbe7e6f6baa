"""What the nodes' answers make of a cluster: who answers, what is in force, whose locks are there. Pure."""

from __future__ import annotations

import json
import time

from pve_corosync.addresses import canonical
from pve_corosync.cluster import answers as answers_of_nodes
from pve_corosync.findings import finding
from pve_corosync.judge import same_code
from pve_corosync.texts import clean


def answer_error(answer) -> str:
    """Return the error that a minion's answer carries, without control characters; "" if it is a good one.

    :param answer: ``{"return", "retcode", "success"}`` of a job's return event.
    """
    value = answer.get("return")
    if isinstance(value, dict) and answer.get("success", True) and not answer.get("retcode"):
        return ""
    if isinstance(value, dict):
        return clean(str(value.get("error") or ""))
    text = clean(str(value)).strip() or "an empty answer"
    if "is not available" in text or "not found" in text.splitlines()[0]:
        text += " (is this project's code synced to the minion?)"
    return text


def observe(minions: dict, answers: dict, accepted=None, code=None, skip=()) -> tuple[dict, list[dict]]:
    """Return what was observed, and findings on the answers themselves.

    :param minions: ``{node: minion id}``, all nodes of the cluster.
    :param answers: ``{minion id: return event}`` of ``corosync.facts``.
    :param accepted: minion ids with an accepted key; None if that is not known.
    :param code: the digest of this project's code here, see ``judge.same_code``; None compares nothing.
    :param skip: nodes that the work goes on without.
    :returns: (``{"nodes": {name: facts}, "silent": [name]}``, findings); with ``"refusals": {name: text}`` of
        those that answered with an error.
    """
    nodes, silent, findings, refusals = {}, [], [], {}
    for name, minion in minions.items():
        answer = answers.get(minion)
        if accepted is not None and minion not in accepted:
            findings.append(
                finding(
                    "key-missing",
                    f"{name}: the master has no accepted key of minion {minion!r}",
                    severity="warning",
                    data={"node": name, "minion": minion},
                    remedy=f"salt-key -a {minion}, or correct corosync:nodes:{name}:minion",
                )
            )
        if answer is None:
            silent.append(name)
            continue
        error = answer_error(answer)
        facts = answer.get("return")
        if not error and isinstance(facts, dict):
            facts, error = answers_of_nodes.facts_or_error(facts)
        if error or not isinstance(facts, dict):
            silent.append(name)
            refusals[name] = last_line(error or repr(facts))
            findings.append(
                finding(
                    "node-error",
                    f"{name}: {last_line(error or repr(facts))}",
                    severity="warning",
                    data={"node": name, "minion": minion, "error": error},
                    remedy=f"salt {minion} saltutil.sync_all, then: salt {minion} corosync.facts",
                )
            )
            continue
        if facts.get("node") not in (name, None):
            findings.append(
                finding(
                    "node-misnamed",
                    f"{name}: minion {minion!r} is node {facts['node']!r}; the pillar says {name!r}",
                    data={"node": name, "minion": minion, "seen": facts["node"]},
                    remedy=f"correct corosync:nodes:{name}:minion in the pillar",
                )
            )
        nodes[name] = facts
    if code:
        findings += same_code.check(minions, nodes, code, skip)
    told = {"refusals": refusals} if refusals else {}
    return {"nodes": nodes, "silent": sorted(silent)} | told, findings


def in_force(layouts: dict, observed: dict) -> list[str]:
    """Return the layouts whose links and addresses all running daemons have now.

    :param layouts: ``{name: layout}``, resolved.
    :param observed: what :func:`observe` returned.
    """
    running = [facts["runtime"]["nodes"] for facts in observed["nodes"].values() if facts.get("runtime")]
    return [
        name
        for name, layout in layouts.items()
        if running and all(_carries(layout, nodes) for nodes in running)
    ]


def held_to(names: list[str], wanted: str) -> str:
    """Return the layout that a cluster is held to: the wanted one where that is in force, else the first one.

    :param names: what :func:`in_force` returned; the wanted one also where none is.
    """
    return names[0] if names and wanted not in names else wanted


def _carries(layout: dict, nodes: dict) -> bool:
    wanted = {
        node: {int(number): canonical(link["addresses"][node]) for number, link in layout["links"].items()}
        for node in layout["nodes"]
    }
    seen = {
        node: {int(number): canonical(address) for number, address in row["addresses"].items()}
        for node, row in nodes.items()
    }
    return wanted == seen


def tolerate(layout: dict, observed: dict, items: list[dict], skip=()) -> tuple[list[dict], list[dict]]:
    """Return the checklist and warnings, with backup links that are dead taken as a warning.

    A layout is for its primary network: a link on it must be connected on every pair. Any other link, or one
    that is optional, may be dead, as the vRack is when `degraded` is wanted, where every pair has another
    link of the layout connected. A link that was expected to live has been waited for in its step.

    :param layout: what ``pillar.layouts.resolve`` returns.
    :param observed: what :func:`observe` returned.
    :param items: what ``judge.checklist.checklist`` returned.
    :param skip: nodes that the work goes on without.
    """
    links = {int(number): link["network"] for number, link in layout["links"].items()}
    nodes = [name for name in layout["nodes"] if name not in skip]
    up, down = {}, []
    for one in nodes:
        for two in (name for name in nodes if name != one):
            rows = ((observed["nodes"].get(one) or {}).get("links") or {}).get(two) or {}
            seen = {int(number) for number, row in rows.items() if row.get("connected") is True}
            up[one, two] = seen & set(links)
            down += [(number, one, two) for number in sorted(set(links) - seen)]
    optional = {int(number) for number, link in layout["links"].items() if link.get("optional")}
    needed = {n for n in set(links) - optional if links[n] == layout["primary"]["network"]}
    bearable = down and all(n not in needed and up[one, two] & up[two, one] for n, one, two in down)
    if not bearable:
        return items, []
    findings = []
    for number in sorted({row[0] for row in down}):
        pairs = sorted({"-".join(sorted(row[1:])) for row in down if row[0] == number})
        findings.append(
            finding(
                "link-dead",
                f"link {number} ({links[number]}) is not connected on {', '.join(pairs)}; "
                "the other links of the layout carry",
                severity="info" if number in optional else "warning",
                data={"link": number, "network": links[number], "pairs": pairs},
                remedy=f"repair {links[number]}; the link comes back by itself",
            )
        )
    said = ", ".join(f"link {number} {one}->{two}" for number, one, two in down)
    return [
        item
        if item["ok"] or item["item"] != "links connected"
        else item | {"ok": True, "seen": f"not connected, but no pair depends on it: {said}"}
        for item in items
    ], findings


def sick(state: list[dict], skip=()) -> bool:
    """Tell whether a node does not answer, has no quorum, or no writable /etc/pve.

    :param state: what :func:`state_now` returned. :param skip: nodes that do not count.
    """
    rows = [row for row in state if row["node"] not in skip]
    return not all(row["answers"] and row["quorate"] and row["writable"] for row in rows)


def choose_writer(candidates, latest: dict) -> str:
    """Return the node that writes the cluster file: the first that was last seen with a writable /etc/pve.

    :param candidates: node names in the order of preference.
    :param latest: ``{name: {"writable": bool, "quorate": bool}}``, the newest that is known of each.
    """
    candidates = list(candidates)
    for wish in ("writable", "quorate"):
        for name in candidates:
            if latest.get(name, {}).get(wish):
                return name
    return candidates[0]


def latest_of_facts(observed: dict) -> dict:
    """Return ``{name: {"writable", "quorate", "version"}}`` of the gathered facts."""
    return {
        name: {
            "writable": bool((facts.get("pmxcfs") or {}).get("writable")),
            "quorate": bool((facts.get("quorum") or {}).get("quorate")),
            "version": (facts.get("runtime") or {}).get("version"),
        }
        for name, facts in observed["nodes"].items()
    }


def dead_runs(observed: dict, over) -> tuple[dict, list[dict]]:
    """Take the locks of dead runs out of what was observed; return ``{node: run}`` and a finding on each run.

    :param observed: gathered facts, changed in place. :param over: names of runs that are no longer alive.
    """
    held = {
        name: facts["busy"]["txn"]
        for name, facts in observed["nodes"].items()
        if (facts.get("busy") or {}).get("txn") in over
    }
    for name in held:
        observed["nodes"][name]["busy"] = None
    findings = []
    for txn in sorted(set(held.values())):
        where = ", ".join(sorted(name for name in held if held[name] == txn))
        text = f"run {txn} is dead and did not give its lock back on {where}: a run to a layout takes it over"
        findings.append(finding("run-dead", text, data={"txn": txn}))
    return held, findings


def under_way(text: str) -> dict:
    """Return the finding on a lock that another run holds.

    :param text: what that run wrote into the lock file: ``{"jid", "pid", "start"}`` as JSON.
    """
    try:
        held = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held["start"]))
        who = f"job {held['jid']} (process {held['pid']}) since {since}"
        data = {"jid": str(held["jid"]), "pid": held["pid"], "start": held["start"]}
    except (ValueError, KeyError, TypeError):
        who, data = "a job that has only just begun", {}
    return finding(
        "run-under-way",
        f"another run is under way: {who}",
        data=data,
        remedy="wait for its end; salt-run corosync.journal shows it",
    )


def last_line(text) -> str:
    """Return the last line of an error that says something, without control characters; of a traceback that
    is its message."""
    lines = [line.strip() for line in clean(str(text)).splitlines() if line.strip()]
    return lines[-1] if lines else "no text"


def state_now(observed: dict) -> list[dict]:
    """Return one row a node that says what the cluster is in now.

    :param observed: what :func:`observe` returned.
    :returns: ``[{"node", "answers", "corosync", "quorate", "total", "expected", "runtime", "local",
        "cluster_file", "reload", "writable", "ha"}]``; None where it could not be read. With ``error`` of one
        that answered with that alone.
    """
    rows = []
    for name in sorted(list(observed["nodes"]) + list(observed["silent"])):
        facts = observed["nodes"].get(name)
        row = {"node": name, "answers": facts is not None}
        if name in (observed.get("refusals") or {}):
            row["error"] = observed["refusals"][name]
        facts = facts or {}
        quorum, runtime = facts.get("quorum") or {}, facts.get("runtime") or {}
        row |= {
            "corosync": (facts.get("corosync") or {}).get("state"),
            "quorate": quorum.get("quorate"),
            "total": quorum.get("total"),
            "expected": quorum.get("expected"),
            "runtime": runtime.get("version"),
            "reload": runtime.get("reload_status"),
            "writable": (facts.get("pmxcfs") or {}).get("writable"),
            "ha": (facts.get("ha") or {}).get("armed"),
        }
        for key in ("local", "cluster_file"):
            row[key] = (facts.get(key) or {}).get("version")
        rows.append(row)
    return rows


def matrix(observed: dict) -> dict:
    """Return the links between every two nodes, as each end sees them.

    :returns: ``{from: {to: {link: "connected" | "down" | "disabled"}}}``; a silent node has None.
    """
    every = sorted(set(observed["nodes"]) | set(observed["silent"]))
    seen = {}
    for name in every:
        facts = observed["nodes"].get(name)
        links = (facts or {}).get("links")
        seen[name] = (
            None
            if facts is None or links is None
            else {
                peer: {
                    int(number): _link_word(row)
                    for number, row in sorted(of.items(), key=lambda kv: int(kv[0]))
                }
                for peer, of in links.items()
            }
        )
    return seen


def _link_word(row: dict) -> str:
    if row.get("connected"):
        return "connected"
    return "disabled" if row.get("enabled") is False else "down"


def without_texts(observed: dict) -> dict:
    """Return the observed facts without the text of the files: what a report holds."""
    nodes = {}
    for name, facts in observed["nodes"].items():
        facts = dict(facts)
        for key in ("local", "cluster_file"):
            if isinstance(facts.get(key), dict):
                facts[key] = {k: v for k, v in facts[key].items() if k != "text"}
        nodes[name] = facts
    return {"nodes": nodes, "silent": list(observed["silent"])}
