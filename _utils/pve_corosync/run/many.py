"""One orchestration for many clusters, side by side: which ones, with what, and one summary. Pure."""

from __future__ import annotations

import json

from pve_corosync import arguments
from pve_corosync.findings import finding
from pve_corosync.run import outcomes

#: asks for all clusters that the fleet shows to need it.
NEEDED = "needed"
ORCHESTRATIONS = ("failover", "nominal")
#: what an orchestration takes from its pillar besides the cluster.
GIVEN = ("layout", "skip", "force", "strategy", "replication_timeout")


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
            raise outcomes.RunError(
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
        raise outcomes.RunError(
            finding(
                "argument-bad",
                f"cluster={clusters!r}: no name is in it",
                data={"argument": "cluster", "value": str(clusters)},
                remedy=f"name the clusters, or write cluster={NEEDED}; salt-run corosync.fleet lists them",
            )
        )
    return {name: given | {"cluster": name} for name in names}


def command(begin: list[str], orchestration: str, pillar: dict) -> list[str]:
    """Return the words of the command line that runs one orchestration.

    :param begin: how ``salt-run`` is started.
    """
    return [*begin, "state.orchestrate", f"orch.{orchestration}", f"pillar={json.dumps(pillar)}"]


def report(orchestration: str, ended: dict, after: dict, tails: dict) -> dict:
    """Return the summary of all of them, the failed ones first.

    :param ended: ``{cluster: {"retcode", "seconds", "log"}}``.
    :param after: ``{cluster: row of run.fleet}``, as they are now.
    :param tails: ``{cluster: [last lines of its log]}`` of those that failed.
    """
    rows = []
    for name, row in sorted(ended.items(), key=lambda item: (not item[1]["retcode"], item[0])):
        now = after.get(name) or {}
        told = {"cluster": name, "ok": not row["retcode"], "kind": now.get("kind"), "text": now.get("text")}
        rows.append(told | row | {"said": tails.get(name, [])})
    bad = [row for row in rows if not row["ok"]]
    count = f"{len(rows)} cluster" + ("s" if len(rows) != 1 else "")
    summary = f"orch.{orchestration} for {count}: " + (
        f"{len(bad)} failed, {len(rows) - len(bad)} done" if bad else "all done" if rows else "none needs it"
    )
    return {
        "orchestration": orchestration,
        "clusters": rows,
        "findings": [],
        "summary": summary,
        "result": "failed" if bad else "done",
        "retcode": outcomes.FAILED if bad else outcomes.OK,
    }
