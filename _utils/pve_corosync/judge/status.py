"""The status of one cluster: what is seen, what is wrong with it, and the verdict. Pure."""

from __future__ import annotations

from pve_corosync import arguments
from pve_corosync.findings import alarms, errors, ordered
from pve_corosync.judge import evidence, situation, verdict
from pve_corosync.pillar import layouts as layouts_of_pillar
from pve_corosync.rules import every


def load(pillar) -> tuple[dict | None, list[dict]]:
    """Return the cluster that a pillar describes, None where it is wrong, and what is wrong.

    :param pillar: the value of the pillar key ``corosync``.
    """
    try:
        return layouts_of_pillar.load(pillar), []
    except layouts_of_pillar.LayoutError as exc:
        return None, exc.findings


def judge(name: str, pillar, observed: dict, findings, *, skip=(), past=(), cluster=None) -> dict:  # pylint: disable=too-many-arguments
    """Return the status of a cluster, as ``corosync.status`` reports it.

    :param name: of the cluster. :param pillar: the value of its pillar key ``corosync``.
    :param observed: what ``judge.situation.observe`` returned. :param findings: those on the answers.
    :param skip: nodes that do not count. :param past: runs, newest first, as ``judge.past.row`` returns them.
    :param cluster: the name as the operator gave it, for commands to copy.
    """
    loaded, broken = load(pillar)
    findings = [*findings, *broken]
    rows = {
        "cluster": name,
        "state": situation.state_now(observed),
        "matrix": situation.matrix(observed),
        "in_force": [],
        "observed": situation.without_texts(observed),
    }
    if loaded:
        layouts = {key: layouts_of_pillar.resolve(loaded, key) for key in loaded["layouts"]}
        wanted = rows["wanted"] = loaded["layout"]
        rows["in_force"] = situation.in_force(layouts, observed)
        held = situation.held_to(rows["in_force"], wanted)
        findings += every.check(layouts[held], observed, skip=skip)
        findings += evidence.released(layouts[held], observed)
    findings = ordered(findings)
    if loaded:
        told = verdict.verdict(
            observed,
            layouts,
            wanted,
            skip=skip,
            findings=findings,
            in_force=rows["in_force"],
            past=past,
            cluster=cluster,
            fast=loaded.get("fast_ping"),
        )
    else:
        # what is missing in the key is likely to be in the part that could not be compiled
        failed = [item for item in errors(findings) if item["code"] == "pillar-render"]
        told = verdict.of_pillar(name, rows["state"], failed + broken)
    bad = bool(alarms(findings)) or situation.sick(rows["state"], skip) or not told["ok"]
    return rows | {
        "verdict": told,
        "summary": told["text"],
        "findings": findings,
        "result": "errors" if bad else "ok",
        "retcode": arguments.FAILED if bad else arguments.OK,
    }
