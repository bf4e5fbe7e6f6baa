"""What the outcomes of a step mean: when it is done, who has not done it, and why.

Pure: a run publishes the step and gathers what the nodes return.
"""

from __future__ import annotations

from pve_corosync import conf
from pve_corosync.cluster import answers as answers_of_nodes
from pve_corosync.findings import finding
from pve_corosync.judge import situation, ways
from pve_corosync.texts import clean


def latest_of_outcomes(outcomes: dict) -> dict:
    """Return ``{name: {"writable", "quorate", "version"}}`` of the outcomes of a step."""
    return {
        name: {key: (outcome.get("seen") or {}).get(key) for key in ("writable", "quorate", "version")}
        for name, outcome in outcomes.items()
    }


def outcome(value, number: int, phase: str = "") -> dict | None:
    """Return a node's answer as it may be used if it is the finished outcome of a step, and of that phase of
    it; else None."""
    told = answers_of_nodes.outcome(value)
    mine = told and told["number"] == number and (told.get("phase") or "") == phase
    return told if mine else None


def told(value, number: int, phase: str = "") -> dict | str:
    """Return what :func:`outcome` does, or what else the node said, as the text of an error."""
    return outcome(value, number, phase) or clean(str(value))


def rounds(step: dict, nodes: list[str]) -> list[tuple[str, list[str]]]:
    """Return the rounds in which a step is carried out: ``[(phase, nodes)]``.

    Before any daemon restarts, every node must have its file; a rolling restart then goes node by node.

    :param step: the step of the plan; ``nodes`` in it limits who takes part.
    :param nodes: all nodes that take part in the run.
    """
    taking = [name for name in nodes if name in (step.get("nodes") or nodes)]
    if step["act"] != "restart":
        return [("", taking)]
    if step.get("mode") == "rolling":
        return [("files", taking)] + [("restart", [name]) for name in taking]
    return [("files", taking), ("restart", taking)]


def round_text(step: dict, phase: str) -> str:
    """Return what one round of a step does, in words.

    :param phase: what :func:`rounds` gives with the nodes.
    """
    return {
        "files": f"version {step['version']} into every local file, no daemon yet",
        "restart": "restart corosync and wait until it is back",
    }.get(phase, step["text"])


def step_wait(step: dict, times: dict) -> float:
    """Return how many seconds the answers to a step are waited for."""
    return float(step.get("deadline_s") or 20) + times["step_margin"]


def reached(seconds: dict, rings: list[str]) -> str:
    """Return the summary of a run that reached its layout.

    :param seconds: when what was seen, since the start of the run.
    :param rings: what :func:`rings` returned.
    """
    words = [f"{key} after {seconds[key]:.1f} s" for key in ("quorate", "writable") if key in seconds]
    if len(rings) == 1:
        words.append("quorum and membership kept all the time")
    return ", ".join(["reached and verified", *words, f"all in {seconds['verified']:.1f} s"])


def rings(before: dict, steps: list[dict], after: dict) -> list[str]:
    """Return the ids of all memberships seen in a run, in that order; one means that it never changed.

    :param before: what :func:`observe` returned before the first step.
    :param steps: ``[{"number", "outcomes": {node: outcome}}]`` as they were carried out.
    :param after: what :func:`observe` returned after the last step.
    """

    def told(observed):
        return [(facts.get("quorum") or {}).get("ring_id") for facts in observed["nodes"].values()]

    seen = told(before)
    for row in steps:
        seen += [
            (outcome.get("seen") or {}).get("ring_id")
            for outcome in row["outcomes"].values()
            if isinstance(outcome, dict)
        ]
    return list(dict.fromkeys(ring for ring in seen + told(after) if ring))


def unmet(name: str, step: dict, outcome: dict, phase: str = "") -> list[str]:
    """Return what a step demands of a node and its outcome does not show, in words.

    The evidence counts, not ``ok`` alone.

    :param name: the node.
    :param step: the step of the plan.
    :param outcome: what ``corosync.step`` returned on that node.
    :param phase: ``files`` of a restart step writes only: the file's version is all there is to see.
    """
    seen, wait = outcome.get("seen") or {}, step.get("wait") or {}
    lacking = [str(text) for text in outcome.get("missing") or ()]
    if outcome.get("error"):
        lacking.insert(0, str(outcome["error"]))
    if not outcome["ok"]:
        return lacking or ["the node reports failure without a reason"]
    if phase == "files":
        if seen.get("file_version") != step["version"]:
            lacking.append(f"the local file has version {seen.get('file_version')}, not {step['version']}")
        return lacking
    if seen.get("version") != step["version"]:
        lacking.append(f"runs version {seen.get('version')}, not {step['version']}")
    linked = {int(number): peers for number, peers in (seen.get("connected") or {}).items()}
    for number, pairs in (wait.get("connected") or {}).items():
        for pair in pairs:
            if name in pair:
                peer = pair[1] if pair[0] == name else pair[0]
                if not linked.get(int(number), {}).get(peer):
                    lacking.append(f"link {number} to {peer} not connected")
    lacking += [f"not {key}" for key in ("quorate", "writable") if wait.get(key) and not seen.get(key)]
    return list(dict.fromkeys(lacking))


def judge(step: dict, outcomes: dict, expected, phase: str = "", layout: str = "") -> list[dict]:
    """Return the findings on a step that was carried out; none if every node shows what it demands.

    :param step: the step of the plan.
    :param outcomes: ``{node: outcome or an error's text}``.
    :param expected: the nodes that take part.
    :param phase: of a restart step, ``files`` or ``restart``.
    :param layout: the name of the layout, for the command that finds a filtered port.
    """
    findings = []
    title = f"step {step['number']} ({step['text']})"
    for name in expected:
        said = outcomes.get(name)
        if said is None:
            findings.append(
                finding(
                    "step-unanswered",
                    f"{title}: {name} gave no outcome",
                    data={"node": name, "number": step["number"]},
                    remedy=f"look whether {name} runs and reaches the master",
                )
            )
            continue
        said = told(said, step["number"], phase)
        if isinstance(said, str):
            findings.append(
                finding(
                    "step-failed",
                    f"{title}: {name}: {situation.last_line(said)}",
                    data={"node": name, "number": step["number"], "error": said},
                )
            )
        else:
            lacking = unmet(name, step, said, phase)
            if lacking:
                findings.append(
                    finding(
                        answers_of_nodes.code(said, "step-failed"),
                        f"{title}: {name}: {'; '.join(lacking)}",
                        data={"node": name, "number": step["number"], "missing": lacking},
                        remedy=_probe_remedy(step, lacking, layout),
                    )
                )
    return findings


def _probe_remedy(step, lacking, layout):
    """Return what to ask when a link that the step adds does not connect: its port may be filtered."""
    added = [number for number in step.get("add", ()) if any(f"link {number} " in text for text in lacking)]
    if not added:
        return ""
    ports = ", ".join(f"UDP {_port(step, number)}" for number in added)
    return f"look whether {ports} is filtered: {ways.command('probe', layout)} names the rule to add"


def _port(step, number):
    """Return the port of a link: what the file of the step says, else what knet takes."""
    try:
        links = conf.parse(step.get("conf") or "").links()
    except conf.ConfError:
        links = {}
    own = ((links.get(int(number)) or {}).get("options") or {}).get("mcastport")
    return own or 5405 + int(number)


def staged(answer) -> tuple[dict | None, str]:
    """Return what ``corosync.stage`` returned on a node and "", or None and the error.

    :param answer: the node's return event.
    """
    if error := situation.answer_error(answer):
        return None, error
    return answers_of_nodes.checked(answer.get("return"), answers_of_nodes.STAGED)


def stage_problems(answers: dict, minions: dict) -> list[dict]:
    """Return the findings on the answers of ``corosync.stage``.

    :param answers: ``{minion id: return event}``.
    :param minions: ``{node: minion id}`` of the nodes that take part.
    """
    findings = []
    for name, minion in minions.items():
        answer, code = answers.get(minion), "stage-failed"
        if answer is None:
            findings.append(
                finding(
                    "stage-failed",
                    f"{name}: no answer; nothing was written on any node",
                    data={"node": name},
                    remedy=f"look whether {name} reaches the master, or go on without it: skip={name}",
                )
            )
            continue
        value, error = staged(answer)
        if value and not value["ok"]:
            refused = [row for row in value.get("checks") or () if not row["ok"]]
            code = next((answers_of_nodes.code(row, code) for row in refused), code)
            error = "; ".join(dict.fromkeys(str(row.get("text")) for row in refused))
            error = error or "refused without a reason"
        if error:
            why = situation.last_line(error)
            findings.append(
                finding(
                    code,
                    f"{name}: {why}; nothing was written on any node",
                    data={"node": name, "error": error},
                    remedy="correct it, run the same again",
                )
            )
    return findings


def quorum_seconds(step_starts: dict, steps: list[dict]) -> dict:
    """Return when, in seconds after the start of the run, every node was first seen quorate and writable.

    :param step_starts: ``{number: seconds after the start of the run}``.
    :param steps: ``[{"number", "outcomes": {node: outcome}}]`` as they were carried out.
    :returns: ``{"quorate": s, "writable": s}``, only what every node of one step reported.
    """
    found: dict[str, float] = {}
    for row in steps:
        for key in ("quorate", "writable"):
            times = [
                (outcome.get("seconds") or {}).get(key)
                for outcome in row["outcomes"].values()
                if isinstance(outcome, dict)
            ]
            if key not in found and times and all(isinstance(t, (int, float)) for t in times):
                found[key] = round(step_starts[row["number"]] + max(times), 2)
    return found
