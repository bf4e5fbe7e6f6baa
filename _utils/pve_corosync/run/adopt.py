"""
Adopting a living cluster: from the facts of its nodes to a pillar, if they are all of it and nothing else.
"""

from __future__ import annotations

import textwrap

from pve_corosync import arguments
from pve_corosync.cluster import answers as answers_of_nodes
from pve_corosync.cluster import export
from pve_corosync.findings import errors, finding
from pve_corosync.judge import situation
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner


def adopt(answers: dict, target: str) -> tuple[dict, list[str]]:
    """Return the value of the pillar key ``corosync`` for the cluster whose nodes answered, and what is to
    stand above it: lines of comment, the first plan among them.

    :param answers: ``{minion id: what corosync.facts returned there, or an error's text}``.
    :param target: the minions that were asked, for the errors.
    :raises arguments.RunError: what is in the way, all at once.
    :raises pillar.layouts.LayoutError: what is in force breaks the schema.
    """
    told, refused = _told(answers)
    wrong = [
        finding(
            "adopt-error",
            f"{minion}: {situation.last_line(text)}",
            data={"minion": minion},
            remedy=f"name the nodes' minions only, or salt {minion} saltutil.sync_all",
        )
        for minion, text in sorted(refused.items())
    ]
    if not told:
        wrong.append(
            finding(
                "adopt-none",
                f"no minion that matches {target!r} answered with its facts",
                remedy="salt-run corosync.pillar 'pve*'",
            )
        )
    wrong += _doubles(told) + _clusters(told)
    if wrong:
        raise arguments.RunError(wrong, arguments.FAILED)
    observed, notes = {"nodes": {facts["node"]: facts for facts in told.values()}, "silent": []}, []
    exported = export.export(observed, notes)
    have = {facts["node"] for facts in told.values()}
    silent = [name for name in exported["nodes"] if name not in have]
    if silent:
        raise arguments.RunError(
            [
                finding(
                    "adopt-silent",
                    f"{name} is a node of {exported['cluster_name']} and did not "
                    "answer: its minion's id and its other networks are not known",
                    data={"node": name},
                    remedy="salt 'pve*' test.ping; then the same again",
                )
                for name in silent
            ],
            arguments.FAILED,
        )
    return exported, _head(exported, notes, observed)


def _told(answers):
    """Return the facts of the minions that told such, and what is wrong with the others."""
    told, refused = {}, {}
    for minion, answer in answers.items():
        facts, error = (None, answer) if isinstance(answer, str) else answers_of_nodes.facts_or_error(answer)
        if facts is None:
            refused[minion] = error
        elif not facts.get("node"):
            refused[minion] = "it did not tell the name of its node"
        else:
            told[minion] = facts
    return told, refused


def _head(exported, notes, observed):
    texts = [
        f"The cluster {exported['cluster_name']} as it is, from the facts of its nodes. Networks are named"
        " after their interfaces; rename them as you like, everywhere at once.",
        f"`{exported['layout']}` is what is in force.",
        *_first_plan(exported, observed),
        *notes,
    ]
    return [f"# {line}" for text in texts for line in textwrap.wrap(text, 100)]


def _first_plan(exported, observed):
    """What a plan says of the pillar that was made: nothing, if it has all that is in force."""
    made = planner.plan(layouts.resolve(layouts.load(exported)), observed)
    said, refused = [item["text"] for item in made["findings"]], errors(made["findings"])
    if refused:
        return ["Its first plan is refused now:", *said]
    if not made["steps"]:
        return ["Its first plan is empty."]
    return ["Its first plan would: " + "; ".join(step["text"] for step in made["steps"]) + ".", *said]


def _doubles(told):
    by_node: dict[str, list] = {}
    for minion, facts in sorted(told.items()):
        by_node.setdefault(facts["node"], []).append(minion)
    return [
        finding(
            "adopt-twice",
            f"{' and '.join(minions)} both are node {node}",
            data={"node": node},
            remedy="name the minions of one cluster",
        )
        for node, minions in by_node.items()
        if len(minions) > 1
    ]


def _clusters(told):
    names: dict[str, list] = {}
    for facts in told.values():
        names.setdefault((facts.get("runtime") or {}).get("cluster_name") or "", []).append(facts["node"])
    stopped = sorted(names.pop("", []))
    wrong = [
        finding(
            "adopt-stopped",
            f"{node}: corosync does not run, so what is in force there is not known",
            data={"node": node},
            remedy=f"on {node}: systemctl status corosync",
        )
        for node in stopped
    ]
    if len(names) > 1:
        said = "; ".join(f"{name}: {', '.join(sorted(nodes))}" for name, nodes in sorted(names.items()))
        wrong.append(
            finding(
                "adopt-several",
                f"several clusters: {said}",
                data={"clusters": sorted(names)},
                remedy="name the minions of one: salt-run corosync.pillar 'pve1,pve2' tgt_type=list",
            )
        )
    return wrong
