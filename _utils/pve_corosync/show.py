"""Reports as text: the status, a plan, the exit checklist, the lines of progress. Pure; one screen each."""

from __future__ import annotations

import json
import re
import textwrap
import time

from pve_corosync.show_tables import (
    IN_STATE,
    WIDTH,
    checklist_table,
    command_lines,
    done_table,
    matrix_table,
    room,
    seconds,
    state_table,
    steps_table,
    table,
    waits,
    ways_table,
    within,
    word,
    wrapped,
)
from pve_corosync.texts import clean

__all__ = [
    "IN_STATE",
    "WIDTH",
    "checklist_table",
    "done_table",
    "matrix_table",
    "state_table",
    "steps_table",
    "table",
    "waits",
]

#: findings that a verdict says in its own words, with the way out instead of a remark.
TOLD = ("no-quorum", "cluster-split", "redundancy-lost", "quorate-halves")
#: a command at the end of a text: it is copied, so it stays in one piece.
COMMAND = re.compile(r"salt(?:-run|-call)? [^;]*$")
#: an argument as ``salt-run`` takes it.
ARGUMENT = re.compile(r"\b(skip|force)=([a-zA-Z0-9][\w.-]*(?:,[\w.-]+)*)")


def render(report: dict, width: int = WIDTH) -> list[str]:
    """Return the lines of a report of the runner, whatever it is about, fit for a terminal.

    :param report: what a public function of the runner ``corosync`` returns.
    :param width: of a line.
    """
    shown = {
        "status": _status,
        "fleet": _fleet,
        "many": _many,
        "plan": _plan,
        "apply": _apply,
        "verify": _verify,
        "journal": _journal,
        "rebuild": _rebuild,
        "remove": _rebuild,
        "report": _account,
    }
    has = {
        "status": "state",
        "fleet": "clusters",
        "many": "clusters",
        "plan": "steps",
        "apply": "steps",
        "verify": "checklist",
        "journal": "runs",
        "rebuild": "done",
        "remove": "done",
        "report": "text",
    }
    do = "apply" if report.get("do") == "restart" else report.get("do")
    shows = _phase if "phase" in report else shown[do] if has.get(do) in report else _other
    with within(width):
        lines = shows(report)
    return [clean(line) for line in lines]  # the last wall: whatever came past a door


def _account(report):
    """The page itself."""
    return report["text"].splitlines()


def _status(report):
    found = report.get("findings") or [{"text": "nothing is wrong"}]
    lines = verdict_lines(report["verdict"]) if report.get("verdict") else _head(report, found[0]["text"])
    blind = (report.get("verdict") or {}).get("kind") == "pillar"
    none = "not known without a pillar that can be read" if blind else "none of the pillar's layouts"
    lines += ["", "in force: " + (", ".join(report["in_force"]) or none)]
    if (report.get("watch") or {}).get("policy") is not None:
        lines += wrapped(f"watch: {report['watch']['text']}", "    ")
    lines += [""]
    lines += state_table(report["state"]) + [""] + matrix_table(report["matrix"])
    return lines + _findings_block(report) + _end(report)


#: the widest that the table of the fleet shows a name.
NAME_W, LAYOUT_W = 16, 20
#: how many clusters the fleet's report explains.
EXPLAINED = 5


def _fleet(report):
    """One line a cluster, then what to type for the worst ones."""
    rows = [
        (
            _cut(row["cluster"], NAME_W),
            fleet_words(row["kind"]),
            f"{row['answers']}/{row['nodes']}",
            row["votes"],
            ",".join(map(str, row["dead"])) or "-",
            _cut(_layouts(row), LAYOUT_W),
            word(row["drift"], "DRIFT", "-"),
            _since(row["since"]),
        )
        for row in report["clusters"]
    ]
    head = ("cluster", "state", "here", "votes", "dead", "layout", "files", "since")
    lines = [report["summary"], "", *table(head, rows)]
    for row in [row for row in report["clusters"] if not row["ok"]][:EXPLAINED]:
        lines += ["", *verdict_lines(row)]
    if len(report["needed"]) > 1:
        lines += ["", "All that need a failover, side by side:"]
        lines += command_lines('salt-run state.orchestrate orch.failover pillar=\'{"cluster": "needed"}\'')
    return lines


def _many(report):
    """One line a cluster, then what the failed ones said last, and in a test run what the others would do."""
    rows = [
        (
            _cut(row["cluster"], NAME_W),
            "done" if row["ok"] else "FAILED",
            row["retcode"],
            f"{row['seconds']} s",
            fleet_words(row["kind"]) if row["kind"] else "?",
        )
        for row in report["clusters"]
    ]
    lines = [report["summary"]]
    lines += ["", *table(("cluster", "run", "exit", "took", "now"), rows)] if rows else []
    for row in [row for row in report["clusters"] if row["said"] or not row["ok"]][:EXPLAINED]:
        lines += ["", f"{_cut(row['cluster'], NAME_W)}: all of it is in {row['log']}"]
        for line in row["said"]:
            again = [f"  {line}"] if len(line) <= room() - 2 else wrapped(f"  {line}", _indent(line) + "    ")
            lines += [_cut(part, room()) for part in again]
    return lines


def fleet_words(kind: str) -> str:
    """Return a kind of verdict as a word of a table."""
    return {
        "no-quorum": "NO QUORUM",
        "cut-off": "CUT OFF",
        "halves": "TWO QUORA",
        "unreachable": "NO ANSWER",
        "no-code": "NO CODE",
        "no-facts": "NO FACTS",
        "lacks-code": "lacks code",
        "no-pillar": "NO PILLAR",
        "stopped": "STOPPED",
        "read-only": "READ-ONLY",
        "ha-released": "HA OFF",
        "dead-link": "dead link",
        "other-code": "other code",
        "last-run": "run failed",
    }.get(kind, kind)


def _layouts(row):
    have, wanted = row["in_force"], row["wanted"]
    if wanted is None or wanted in have:
        return wanted or "?"
    return f"{have[0] if have else 'none'}, not {wanted}"


def _indent(line):
    return " " * (len(line) - len(line.lstrip()))


def _cut(text, width):
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _since(at):
    if not at:
        return "-"
    form = "%H:%M" if abs(time.time() - at) < 20 * 3600 else "%m-%d"
    return time.strftime(form, time.localtime(at))


def verdict_lines(told: dict) -> list[str]:
    """Return the lines of a verdict: the sentence, the command on lines of its own, what there is besides.

    :param told: what ``judge.verdict.verdict`` returned.
    """
    lines = wrapped(told["text"])
    lines += command_lines(told["command"]) if told["command"] else []
    for text in told["also"]:
        lines += command_lines(text.strip()) if text.startswith("  ") else wrapped(text)
    return lines


def _plan(report):
    lines = _told(report) + _head(report, report["summary"])
    lines += [""] + steps_table(report["steps"]) if report["steps"] else []
    lines += _ha_line(report)
    lines += _diff_lines(report.get("diffs") or {})
    if report.get("matrix"):
        lines += [""] + matrix_table(report["matrix"])
    return lines + _findings_block(report) + _end(report)


def alike(diffs: dict) -> dict[str, str]:
    """Return ``{places: diff}``: the same change stands once, with all the files that it is in.

    :param diffs: ``{place: unified diff}``; a place is a node, ``cluster``, or ``FILE of NODE``.
    """
    found: dict[str, list[str]] = {}
    for place, text in sorted(diffs.items()):
        body = "\n".join(row for row in text.splitlines() if not row.startswith(("--- ", "+++ ")))
        found.setdefault(body, []).append(_place(place))
    return {", ".join(places): body for body, places in found.items()}


def _place(place):
    if " of " in place:
        return place
    return "the cluster file" if place == "cluster" else f"the local file of {place}"


def _diff_lines(diffs):
    lines = []
    for places, text in alike(diffs).items():
        lines += ["", *wrapped(f"in {places}:")] + ["  " + row for row in text.splitlines()]
    return lines


def _apply(report):
    if report["result"] in ("refused", "test"):
        return _plan(report)
    lines = _told(report) + _head(report, report["summary"])
    done = report.get("done") or []
    if done:
        lines += [""] + done_table(done)
    if report.get("expected_loss_s"):
        lines += _ha_line(report)
    if report.get("checklist"):
        lines += [""] + checklist_table(report["checklist"], only_bad=True)
    lines += _findings_block(report, ("error", "warning"))
    return lines + _state_now(report) + _end(report)


def _rebuild(report):
    lines = _head(report, report["summary"])
    if report["result"] == "failed" and report["done"]:
        lines += [""] + done_table(report["done"])
    if report.get("checklist"):
        lines += [""] + checklist_table(report["checklist"], only_bad=True)
    return lines + _findings_block(report) + _state_now(report) + _end(report)


def _state_now(report):
    if report["result"] != "failed" or not report.get("state"):
        return []
    lines = ["", "the cluster is in this state now:"] + state_table(report["state"])
    return lines + ([""] + matrix_table(report["matrix"]) if report.get("matrix") else [])


def _verify(report):
    table_lines = checklist_table(report.get("checklist") or [], only_bad=not report.get("full"))
    lines = _told(report) + _head(report, report["summary"]) + ["", *table_lines]
    return lines + _findings_block(report) + _end(report)


def _phase(report):
    lines = _head(report, f"{report['phase']}: {report['summary']}")
    if report["result"] in ("failed", "interrupted") and report.get("done"):
        lines += [""] + done_table(report["done"])
    if report.get("ways"):
        lines += [""] + ways_table(report["ways"])
    if report["result"] == "test":
        diffs = (report.get("changes") or {}).get("diffs", {})
        lines += _diff_lines({f"/etc/hosts of {name}": diff for name, diff in diffs.items()})
    lines += _ha_line(report) + _findings_block(report, ("error", "warning"))
    if report.get("open"):
        lines += ["", "still open: " + ", ".join(report["open"])]
    return lines + _end(report)


def _journal(report):
    if not report.get("runs"):
        return ["no run is in the journal"]
    if "notes" in report["runs"][0]:
        return _one_run(report["runs"][0])
    rows = [
        (row["jid"], row["cluster"], row["layout"], row["result"], seconds(row.get("seconds")), row["begun"])
        for row in report["runs"]
    ]
    lines = table(("run", "cluster", "layout", "result", "took", "begun"), rows, whole=(0,))
    return [*lines, "", "everything of one: salt-run corosync.journal RUN"] + _findings_block(report)


def _one_run(row):
    """Everything that a run noted, one line a note, and what it says in a text of its own below."""
    lines = wrapped(
        f"run {row['jid']} of {row['cluster']} to {row['layout']}: {row['result']}, {row['begun']}"
    )
    lines.append("")
    for note in row["notes"]:
        clock = time.strftime("%H:%M:%S", time.localtime(note["time"]))
        said = " ".join(
            str(note[key]) for key in ("phase", "layout", "result", "text", "summary") if note.get(key)
        )
        lines += wrapped(f"{clock} {note.get('at', 0):7.2f}s  {note['event']}: {said}".rstrip(": "), " " * 19)
        for name, said_of in sorted(
            (note.get("nodes") or {}).items() if isinstance(note.get("nodes"), dict) else ()
        ):
            lines += wrapped(f"{'':19}{name}: {said_of}", " " * 21) if said_of != "ok" else []
        for step in note.get("steps") or ():
            lines += wrapped(f"{'':19}step {step['number']}: {step['text']}", " " * 21)
        for item in [*(note.get("findings") or ()), *(note.get("items") or ())]:
            what = item.get("code") or item.get("item")
            lines += wrapped(f"{'':19}{what}: {item.get('text') or item.get('seen')}", " " * 21)
        if note.get("error"):
            lines += wrapped(f"{'':19}{str(note['error']).strip().splitlines()[-1]}", " " * 21)
    return lines


def _other(report):
    return _head(report, report.get("summary", "")) + _findings_block(report) + _end(report)


def _told(report):
    return [*verdict_lines(report["verdict"]), ""] if report.get("verdict") else []


def _head(report, text):
    who = report.get("cluster") or f"corosync.{report['do']}"
    if report.get("layout"):
        who += f", layout {report['layout']}"
    if report.get("skip"):
        who += f", WITHOUT {', '.join(report['skip'])}"
    if report.get("force"):
        who += f", forced {', '.join(report['force'])}"
    return wrapped(f"{who}: {text}")


def _ha_line(report):
    said = (report.get("ha") or {}).get("text")
    return [""] + wrapped(f"HA: {said}", "    ") if said else []


def _findings_block(report, severities=("error", "warning", "info")):
    told = TOLD if report.get("verdict") else ()  # the first line has said it
    found = [
        item
        for item in report.get("findings") or []
        if item["severity"] in severities and (item["code"] not in told or item["severity"] == "error")
    ]
    lines = findings_lines(found, orchestrated=bool(report.get("command")))
    return [""] + lines if lines else []


def _end(report):
    """How to go on; under an orchestration with the command that does the rest of it."""
    lines = []
    for text in report.get("next") or ():
        word, colon, rest = text.partition(":")
        command = rest.strip()
        if report.get("command") and word in ("go on", "do it"):
            command = report["command"]
        title = f"{word}:{' ' * (len(rest) - len(rest.lstrip()))}"
        lines += command_lines(command, title) if colon else wrapped(text)
    return [""] + lines if lines else []


#: what is worth a colour in a line: the first pattern that is in it counts.
COLOURS = (
    (
        re.compile(r"NO QUORUM|\bERROR\b|\bFAIL(ED)?\b|NO ANSWER|\bDOWN\b|READ-ONLY|RELEASED|reaches none"),
        "LIGHT_RED",
    ),
    (re.compile(r"\bWARNING\b|one more failure|does not answer|DRIFT|WITHOUT"), "YELLOW"),
    (re.compile(r"is healthy on|reached and verified|reached already|items ok"), "GREEN"),
    (re.compile(r"^ +(salt-run|salt-call|salt) |^(go on|do it): "), "CYAN"),
)


def coloured(lines: list[str], colours: dict) -> list[str]:
    """Return the lines with colours, for a terminal.

    :param colours: ``{name: escape sequence}`` as Salt's ``get_colors`` returns them; empty ones in a pipe.
    """
    found = []
    for line in lines:
        name = next((colour for pattern, colour in COLOURS if pattern.search(line)), "")
        found.append(f"{colours[name]}{line}{colours['ENDC']}" if name and line else line)
    return found


def findings_lines(findings: list[dict], orchestrated: bool = False) -> list[str]:
    """Return the lines of findings: what is wrong, and below it what to do.

    :param findings: as ``findings.finding`` builds them.
    :param orchestrated: they are read under an orchestration, whose arguments stand in its pillar.
    """
    lines = []
    for item in findings:
        kind = item["severity"].upper() + (" (forced)" if item["data"].get("forced") else "")
        lines += wrapped(f"{kind} {item['code']}: {item['text']}", "    ")
        remedy = item["remedy"]
        if item["severity"] == "error" and item["forceable"] and not item["data"].get("forced"):
            remedy = (remedy + "; " if remedy else "") + f"or go on in spite of it: force={item['code']}"
        if orchestrated:
            remedy = ARGUMENT.sub(_in_pillar, remedy)
        if remedy.startswith(("salt ", "salt-")) and not re.search("[;:] ", remedy):
            lines += command_lines(remedy, "    -> ")
        elif remedy:
            lines += wrapped(f"    -> {remedy}", " " * 7)
    return lines


def _in_pillar(match):
    given = json.dumps({match[1]: match[2].split(",")})
    return f"pillar='{given}'"


def progress(text: str, seconds: float, now: float | None = None) -> str:
    """Return progress: the time of day, the seconds since the start, what happens; no line is too wide.

    :param text: what happens.
    :param seconds: since the start of the run.
    :param now: seconds since the epoch; default now.
    """
    text = clean(text)
    head = f"{time.strftime('%H:%M:%S', time.localtime(now))} {seconds:7.2f}s  "
    inside = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        COMMAND.sub(lambda found: found[0].replace(" ", "\0"), text.strip()),
        WIDTH,
        initial_indent=head + inside,
        subsequent_indent=" " * (len(head + inside) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ") or head


def answer(name: str, outcome, missing: list[str]) -> str:
    """Return the line of progress on a node's answer to a step.

    :param name: the node.
    :param outcome: what it returned: an outcome, or an error's text.
    :param missing: what the outcome lacks, in words; [] if it is good.
    """
    if not isinstance(outcome, dict):
        lines = clean(str(outcome)).strip().splitlines() or ["an empty answer"]
        return f"  {name}: {lines[-1]}"
    took = {
        key: value
        for key, value in (outcome.get("seconds") or {}).items()
        if isinstance(value, (int, float)) and key in ("connected", "quorate", "writable", "version")
    }
    words = ", ".join(f"{key} {value:.2f} s" for key, value in sorted(took.items(), key=lambda item: item[1]))
    return (
        f"  {name}: "
        + ("ok" if not missing else "FAILED: " + clean("; ".join(missing)))
        + (f" ({words})" if words else "")
    )
