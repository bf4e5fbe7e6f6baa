"""One orchestration for many clusters, side by side: which ones, with what, and one summary. Pure."""

from __future__ import annotations

import json
import re

from pve_corosync import arguments
from pve_corosync.findings import finding

#: asks for all clusters that the fleet shows to need it.
NEEDED = "needed"
ORCHESTRATIONS = ("failover", "nominal")
#: what an orchestration takes from its pillar besides the cluster.
GIVEN = ("layout", "skip", "force", "strategy", "replication_timeout")
#: lines of a failed one, and of the plan of a test run, that the summary shows.
TAIL, PLAN = 16, 80
#: what Salt puts before each line of a state's comment.
INDENT = " " * 14
#: how the first line of that comment begins, and the line behind its last one.
COMMENT, STARTED = "     Comment: ", "     Started: "
#: how Salt is to print it, whatever the master's own ``state_output`` and ``state_verbose`` are.
PRINTED = ("--no-color", "--state-output=full", "--state-verbose=True")
#: the last words of Salt on an orchestration; in a test run, what would change is counted as unchanged.
SUMMARY = "Summary for "
COUNTED = re.compile(r"^Succeeded: +\d+ \((?:unchanged=(\d+))?(?:, )?(?:changed=(\d+))?\)")


def chosen(clusters, orchestration: str, given: dict, rows) -> dict:
    """Return ``{cluster: pillar of its orchestration}``.

    :param clusters: names, as an operator types them, or :data:`NEEDED`.
    :param orchestration: one of :data:`ORCHESTRATIONS`.
    :param given: of the operator, see :data:`GIVEN`; it counts for every cluster.
    :param rows: ``() -> [{"cluster", "ok", "way"}]``, asked only for :data:`NEEDED`; ``way`` is the pillar of
        the failover that would help the cluster, or None.
    :raises arguments.RunError: no name, or needed of what is no failover.
    """
    if clusters == NEEDED:
        if orchestration != "failover":
            raise arguments.RunError(
                finding(
                    "argument-bad",
                    f"cluster={NEEDED}: orch.{orchestration} is never needed by itself",
                    data={"argument": "cluster", "value": NEEDED},
                    remedy="name the clusters; salt-run corosync.fleet shows where they are",
                )
            )
        return {row["cluster"]: row["way"] | given for row in rows() if row["way"] is not None}
    names = arguments.names(clusters, "cluster")
    if not names:
        raise arguments.RunError(
            finding(
                "argument-bad",
                f"cluster={clusters!r}: no name is in it",
                data={"argument": "cluster", "value": str(clusters)},
                remedy=f"name the clusters, or write cluster={NEEDED}; salt-run corosync.fleet lists them",
            )
        )
    return {name: given | {"cluster": name} for name in names}


def command(begin: list[str], orchestration: str, pillar: dict, test: bool = False) -> list[str]:
    """Return the words of the command line that runs one orchestration.

    :param begin: how ``salt-run`` is started. :param test: only show what would be done.
    """
    words = [*begin, *PRINTED, "state.orchestrate", f"orch.{orchestration}", f"pillar={json.dumps(pillar)}"]
    return [*words, "test=True"] if test else words


def changed(lines: list[str]) -> bool:
    """Tell whether an orchestration changed something, or would in a test run.

    :param lines: what it printed.
    """
    counted = [match for match in map(COUNTED.match, lines) if match]
    return any(int(number or 0) for match in counted for number in match.groups())


def said(lines: list[str], ok: bool) -> list[str]:
    """Return what the summary shows of one: its last words if it failed, else its plan, the first state.

    :param lines: what it printed. :param ok: it ended with 0.
    """
    end = next((place for place, line in enumerate(lines) if line.startswith(SUMMARY)), len(lines))
    if not ok:
        return _failure(lines[:end]) or lines[:end][-TAIL:]
    starts = [place for place, line in enumerate(lines[:end]) if line.strip().startswith("ID: ")]
    plan = lines[starts[0] : (starts + [end])[1]] if starts else []
    plan = [line.removeprefix(INDENT) for line in plan]
    return plan[:PLAN] + ([f"… {len(plan) - PLAN} lines more"] if len(plan) > PLAN else [])


def _failure(lines):
    """Return the comment of the state that failed, without Salt's frame: its first line and its last ones."""
    failed = next((place for place, line in enumerate(lines) if line.strip() == "Result: False"), len(lines))
    rest = lines[failed + 1 :]
    end = next((place for place, line in enumerate(rest) if line.startswith(STARTED)), len(rest))
    text = [line.removeprefix(COMMENT).removeprefix(INDENT) for line in rest[:end]]
    return text if len(text) <= TAIL else [text[0], "…", *text[2 - TAIL :]]


def report(orchestration: str, ended: dict, after: dict, logs: dict, test: bool = False) -> dict:
    """Return the summary of all of them, the failed ones first.

    :param ended: ``{cluster: {"retcode", "seconds", "log"}}``.
    :param after: ``{cluster: row of judge.fleet}``, as they are now.
    :param logs: ``{cluster: [lines that it printed]}``. :param test: nothing was to be written.
    :returns: ``result`` is ``done``, ``failed``, or ``test`` where something would be done.
    """
    rows = []
    for name, row in sorted(ended.items(), key=lambda item: (not item[1]["retcode"], item[0])):
        now = after.get(name) or {}
        told = {"cluster": name, "ok": not row["retcode"], "kind": now.get("kind"), "text": now.get("text")}
        lines = logs.get(name, [])
        told |= row | {"changed": changed(lines)}
        shown = not told["ok"] or test and told["changed"]
        rows.append(told | {"said": said(lines, told["ok"]) if shown else []})
    bad = [row for row in rows if not row["ok"]]
    moved = [row["cluster"] for row in rows if row["ok"] and row["changed"]]
    count = f"{len(rows)} cluster" + ("s" if len(rows) != 1 else "")
    done = f"{len(moved)} would be changed, nothing was written" if test else "all done"
    summary = f"orch.{orchestration} for {count}: " + (
        f"{len(bad)} failed, {len(rows) - len(bad)} {'planned' if test else 'done'}"
        if bad
        else done
        if rows
        else "none needs it"
    )
    return {
        "orchestration": orchestration,
        "clusters": rows,
        "findings": [],
        ("steps" if test else "done"): [
            {"text": f"orch.{orchestration} of {name}", "ok": True} for name in moved
        ],
        "summary": summary,
        "result": "failed" if bad else "test" if test and moved else "done",
        "retcode": arguments.FAILED if bad else arguments.OK,
    }
