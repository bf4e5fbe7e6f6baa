"""The way out: which layout of the pillar brings the quorum back from what is seen, and the command for it.

Pure. Every layout is planned, live first, and where a Corosync is stopped as a restart too. So a way that is
told is one that a run would go now.
"""

from __future__ import annotations

import json
import re
import shlex

from pve_corosync import arguments
from pve_corosync.cluster import topology
from pve_corosync.findings import errors
from pve_corosync.plan import planner

#: the layout that ``orch.failover`` goes to where its pillar names none.
FAILOVER = "degraded"
#: the functions of the runner that are of one cluster, and take its name.
OF_ONE = (
    "apply confirm move_primary plan probe rebuild reload_services remove replicate restart status "
    "update_certs verify watch watch_look"
).split()
_UNNAMED = re.compile(rf"salt-run corosync\.(?:{'|'.join(OF_ONE)})\b(?![^;\n]*\bcluster=)")


def orchestration(  # pylint: disable=too-many-arguments
    layout: str, wanted: str, skip=(), force=(), cluster=None, strategy: str = "live", start: bool = False
) -> str:
    """Return the command line of the orchestration that takes a cluster to a layout.

    :param layout: the layout to go to. :param wanted: the one that the pillar wants.
    :param skip: nodes to go on without. :param force: codes to go on in spite of.
    :param cluster: the cluster's name, if the master has several.
    :param strategy: ``live`` or ``restart``.
    :param start: ``orch.restart``, which starts corosync where it is stopped.
    """
    given: dict = {}
    if start:
        name, given = "restart", {"layout": layout}
    elif layout == FAILOVER:
        name = "failover"
    elif layout == wanted:
        name = "nominal"
    else:
        name, given = "failover", {"layout": layout}
    if strategy != "live":
        given |= {"strategy": strategy}
    for key, value in (("skip", list(skip)), ("force", list(force)), ("cluster", cluster)):
        given |= {key: value} if value else {}
    words = f"salt-run state.orchestrate orch.{name}"
    return words + (f" pillar={shlex.quote(json.dumps(given))}" if given else "")


def command(function: str, layout: str, skip=(), force=(), strategy: str = "live", cluster=None) -> str:
    """Return the command line that does the same again."""
    words = ["salt-run", f"corosync.{function}", *([arguments.typed(layout)] if layout else [])]
    words += [f"skip={','.join(skip)}"] if skip else []
    words += [f"force={','.join(force)}"] if force else []
    words += [f"strategy={strategy}"] if strategy != "live" else []
    words += [f"cluster={arguments.typed(cluster)}"] if cluster else []
    return " ".join(words)


def name_cluster(report: dict, cluster: str) -> None:
    """Have every command that a report tells name the cluster: the master may have several.

    :param report: its findings, ``next``, ``verdict`` and ``confirm`` are changed.
    :param cluster: the name that the operator has given.
    """

    def named(text):
        return _UNNAMED.sub(lambda found: f"{found[0]} cluster={arguments.typed(cluster)}", text)

    if report.get("findings"):
        report["findings"] = [item | {"remedy": named(item["remedy"])} for item in report["findings"]]
    for key in ("verdict", "confirm"):
        if report.get(key):
            report[key] = {k: named(v) if isinstance(v, str) else v for k, v in report[key].items()}
    if report.get("next"):
        report["next"] = [named(line) for line in report["next"]]


def next_commands(layout: str, in_force_before, **how) -> list[str]:
    """Return how to go on, to look, and to go back, after a run that stopped half way.

    :param layout: the layout that was the goal.
    :param in_force_before: layouts that were in force when the run started.
    :param how: ``skip``, ``force``, ``strategy``, ``cluster`` as :func:`command` takes them.
    """
    look = command("status", "", cluster=how.get("cluster"))
    lines = [f"go on:   {command('apply', layout, **how)}", f"look:    {look}"]
    back = [name for name in in_force_before if name != layout]
    return lines + ([f"go back: {command('apply', back[0], **how)}"] if back else [])


def alone(layout: str) -> str:
    """Return the command line that does one node's part of a way, without a master.

    :param layout: the layout to go to.
    """
    return f"salt-call --local corosync.apply {arguments.typed(layout)} degraded=True"


def way_out(  # pylint: disable=too-many-arguments
    observed: dict, layouts: dict, wanted: str, *, skip=(), force=(), fast=None
) -> dict:
    """Return how the quorum comes back, and why not by each layout that does not bring it back.

    :param observed: what ``judge.situation.observe`` returned.
    :param layouts: ``{name: layout}``, all of the pillar, resolved. :param wanted: the pillar's choice.
    :param skip: nodes that are gone without already. :param force: codes that do not refuse a way.
    :param fast: as in ``plan.planner.plan``.
    :returns: ``{"layout", "strategy", "skip", "networks", "complete"}`` of the best way, or ``{}``; with
        ``"why"``: ``{layout: text}`` of those that lead nowhere.
    """
    silent = [name for name in observed["silent"] if name not in skip]
    why: dict[str, str] = {}
    order = [wanted, *(name for name in layouts if name != wanted)]
    stopped = any(not row.get("runtime") for row in observed["nodes"].values())
    for strategy in ("live", "restart") if stopped else ("live",):
        for left_out in [list(skip)] + ([[*skip, *silent]] if silent else []):
            found = []
            for name in order:
                way, text = _try(layouts[name], observed, strategy, left_out, force, fast)
                found += [way] if way else []
                if text and strategy == "live":
                    why.setdefault(name, text)
            if found:
                best = max(found, key=lambda way: way["complete"])  # the first of equals
                return best | {"why": why}
    return {"why": why}


def _try(layout, observed, strategy, skip, force, fast):  # pylint: disable=too-many-arguments
    """Return ``(way or None, why not)``."""
    try:
        made = planner.plan(layout, observed, strategy, skip=skip, force=force, fast=fast)
    except planner.PlanError as exc:
        return None, str(exc)
    bad = errors(made["findings"], force)
    if bad:
        return None, bad[0]["text"]
    if not made["steps"]:
        return None, "in force already, and it does not carry"
    groups = _groups(layout, observed, skip, strategy)
    if not groups:
        return None, "its networks do not bring enough votes together"
    return {
        "layout": layout["name"],
        "strategy": strategy,
        "skip": list(skip),
        "networks": [link["network"] for _, link in sorted(layout["links"].items())],
        "complete": made["complete"],
    }, ""


def _groups(layout, observed, skip, strategy):
    """Return the groups of nodes that see each other with the layout, and will be quorate."""
    view = topology.of(layout, observed, skip)
    if strategy == "restart":
        view = view.started()
    return view.quorate_groups(view.goal)
