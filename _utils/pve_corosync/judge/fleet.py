"""All clusters of one master at a glance: one row each, the worst first. Pure."""

from __future__ import annotations

import json
import shlex

from pve_corosync import arguments, show
from pve_corosync.judge import situation, status, ways

#: kinds of ``judge.verdict``, the worst first; one that is not here stands before ``away``.
WORST_FIRST = (
    "halves no-quorum cut-off unreachable no-code no-facts no-pillar stopped read-only pillar ha-released"
    " qdevice dead-link silent lacks-code other-code last-run wrong busy"
).split()
MILDEST = ("away", "healthy")
FAILOVER = ["salt-run", "state.orchestrate", "orch.failover"]


def sort(owners: dict, answers: dict) -> tuple[dict, list]:
    """Return the answers by cluster, and the minions that say they are of another one than the master knows.

    :param owners: ``{minion: cluster}``, as the master's pillars say.
    :param answers: ``{minion: return event}`` of ``corosync.fleet_facts``.
    :returns: ``({cluster: {"minions", "answers", "pillar" or None, "unlike": [minions with another pillar]}},
        [minions])``.
    """
    clusters: dict = {}
    moved = []
    for minion, name in sorted(owners.items()):
        row = clusters.setdefault(name, {"minions": [], "answers": {}, "pillar": None, "unlike": []})
        row["minions"].append(minion)
        event = answers.get(minion)
        if event is None:
            continue
        told = event.get("return")
        if not isinstance(told, dict) or "facts" not in told:
            row["answers"][minion] = event
            continue
        row["answers"][minion] = event | {"return": told["facts"]}
        pillar = told.get("pillar")
        if not isinstance(pillar, dict):
            continue
        if str(pillar.get("cluster_name")) != name:
            moved.append(minion)
        elif row["pillar"] is None:
            row["pillar"] = pillar
        elif row["pillar"] != pillar:
            row["unlike"].append(minion)
    return clusters, moved


def judge(name: str, told: dict, accepted, past=()) -> dict:
    """Return one cluster's row.

    :param told: of :func:`sort`. :param accepted: minions with an accepted key.
    :param past: as in ``judge.status.judge``.
    :returns: ``{"cluster", "kind", "ok", "text", "command", "answers", "nodes", "quorate", "votes", "dead",
        "in_force", "wanted", "drift", "since"}``; ``dead`` has numbers of links, ``drift`` is True where the
        copies of the configuration differ or the daemons run another one.
    """
    blank = _blank(name, told)
    minions = shlex.quote(",".join(told["minions"]))
    if told["pillar"] is None:
        return blank | _mute(name, told, minions)
    loaded, _broken = status.load(told["pillar"])
    skip = list((loaded or {}).get("skip") or ())
    nodes = arguments.members(told["pillar"])
    observed, findings = situation.observe(nodes, told["answers"], accepted)
    report = status.judge(name, told["pillar"], observed, findings, skip=skip, past=past, cluster=name)
    verdict = report["verdict"]
    away = report["in_force"] and report.get("wanted") not in report["in_force"]
    reached = [run for run in past if away and run["layout"] == report["in_force"][0]]
    command = verdict["command"]
    if told["unlike"]:
        text = f"not the pillar that the rest of {name} has: {', '.join(told['unlike'])}"
        verdict = verdict | {"also": [*verdict["also"], f"{text}: salt -L {minions} saltutil.refresh_pillar"]}
    return blank | {
        "kind": verdict["kind"],
        "ok": not report["retcode"],
        "text": verdict["text"],
        "command": command,
        "also": verdict["also"],
        "answers": len(observed["nodes"]),
        "nodes": len(nodes),
        "quorate": sum(bool(row["quorate"]) for row in report["state"]),
        "votes": _votes(report["state"]),
        "dead": sorted(
            {
                number
                for row in report["matrix"].values()
                for links in (row or {}).values()
                for number, word in links.items()
                if word == "down"
            }
        ),
        "in_force": report["in_force"],
        "wanted": report.get("wanted"),
        "drift": _drift(observed),
        "since": reached[0].get("ended_at") if reached else None,
    }


def broken(name: str, told: dict, error: str) -> dict:
    """Return the row of a cluster that could not be judged, so that the others are.

    :param told: of :func:`sort`. :param error: why, a line.
    """
    text = f"{name}: what its nodes answer cannot be judged: {error}."
    verdict = {"kind": "wrong", "ok": False, "text": text, "also": []}
    return _blank(name, told) | verdict | {"command": ways.command("status", "", cluster=name)}


def _blank(name, told):
    return {
        "cluster": name,
        "answers": len(told["answers"]),
        "nodes": len(told["minions"]),
        "quorate": 0,
        "votes": "?",
        "dead": [],
        "in_force": [],
        "wanted": None,
        "drift": None,
        "since": None,
        "also": [],
    }


def _mute(name, told, minions):
    """Return what is told of a cluster whose pillar nobody said."""
    if not told["answers"]:
        text = f"{name}: none of {', '.join(told['minions'])} answers the master."
        command = f"salt -L {minions} test.ping"
        return {"kind": "unreachable", "ok": False, "text": text, "command": command, "also": []}
    errors = [situation.answer_error(event) for event in told["answers"].values()]
    if any("is not available" in error for error in errors):
        text = f"{name}: its nodes answer, but without this project's code."
        command = f"salt -L {minions} saltutil.sync_all"
        return {"kind": "no-code", "ok": False, "text": text, "command": command, "also": []}
    why = next(
        (situation.last_line(error) for error in errors if error), "they have no pillar `corosync` yet"
    )
    text = f"{name}: nothing is known by its nodes: {why}."
    command = f"salt -L {minions} saltutil.refresh_pillar"
    return {"kind": "no-pillar", "ok": False, "text": text, "command": command, "also": []}


def _votes(state):
    seen = {(row["total"], row["expected"]) for row in state if row["total"] is not None}
    return "/".join(map(str, min(seen, key=str))) if seen else "?"


def _drift(observed):
    """Tell whether the copies of the configuration differ, or a daemon runs another version."""
    facts = list(observed["nodes"].values())
    if not facts:
        return None
    copies = [row.get(key) or {} for row in facts for key in ("local", "cluster_file")]
    versions = {(row.get("runtime") or {}).get("version") for row in facts}
    return len({row.get("sha256") for row in copies}) > 1 or versions != {copies[0].get("version")}


def report(rows: list[dict], before: dict, now: float) -> dict:
    """Return the report of the fleet.

    :param rows: of :func:`judge`.
    :param before: ``{cluster: {"kind", "since"}}`` of the last time, for when it became as it is.
    :param now: seconds since the epoch.
    """
    for row in rows:
        last = before.get(row["cluster"])
        last = last if isinstance(last, dict) and last.get("kind") == row["kind"] else {}
        row["since"] = row["since"] or (last.get("since") or now if row["kind"] != "healthy" else None)
    rows = sorted(rows, key=lambda row: (_rank(row["kind"]), row["ok"], row["cluster"]))
    bad = [row for row in rows if not row["ok"]]
    kinds: dict = {}
    for row in rows:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
    said = ", ".join(f"{count} {show.fleet_words(kind)}" for kind, count in kinds.items())
    return {
        "clusters": rows,
        "findings": [],
        "needed": [row["cluster"] for row in rows if way(row) is not None],
        "unanswered": [row["cluster"] for row in rows if not row["answers"]],
        "summary": f"{len(rows)} {'cluster' if len(rows) == 1 else 'clusters'}: {said}",
        "result": "errors" if bad else "ok",
        "retcode": arguments.FAILED if bad else arguments.OK,
    }


def _rank(kind):
    order = [*WORST_FIRST, "", *MILDEST]
    return order.index(kind if kind in order else "")


def memory(rows: list[dict]) -> dict:
    """Return what is to be kept for ``before`` of the next :func:`report`."""
    return {row["cluster"]: {"kind": row["kind"], "since": row["since"]} for row in rows}


def way(row: dict):
    """Return the pillar of ``orch.failover`` where that is what helps a cluster, else None.

    :param row: of :func:`judge`; its command is what an operator would type.
    """
    command = row["command"]
    if row["ok"] or command.split()[:3] != FAILOVER:
        return None
    words = shlex.split(command)
    given = next((word.partition("=")[2] for word in words[3:] if word.startswith("pillar=")), "{}")
    pillar = json.loads(given)
    # what has to be forced is for somebody who has looked, not for a list of clusters
    return None if pillar.get("force") else pillar | {"cluster": row["cluster"]}
