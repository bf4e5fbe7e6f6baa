"""Reports as text: the status, a plan, the exit checklist, the lines of progress. Pure; one screen each."""

from __future__ import annotations

import re
import textwrap
import time

WIDTH = 80
#: a word of a command line, with what stands in quotes in it.
QUOTED = re.compile(r"(?:'[^']*'|[^\s'])+")
#: one letter a link where the words do not fit.
LETTERS = {"connected": "+", "down": "-", "disabled": "x"}


def render(report: dict) -> list[str]:
    """Return the lines of a report of the runner, whatever it is about.

    :param report: what a public function of the runner ``corosync`` returns.
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
    }
    do = "apply" if report.get("do") == "restart" else report.get("do")
    if "phase" in report:
        return _phase(report)
    return (shown[do] if has.get(do) in report else _other)(report)


def _status(report):
    lines = verdict_lines(report["verdict"]) if report.get("verdict") else []
    lines += ["", "in force: " + (", ".join(report["in_force"]) or "none of the pillar's layouts")]
    if (report.get("watch") or {}).get("policy") is not None:
        lines += [f"watch: {report['watch']['text']}"]
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
            _word(row["drift"], "DRIFT", "-"),
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
    """One line a cluster, then what the failed ones said last."""
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
    for row in [row for row in report["clusters"] if not row["ok"]][:EXPLAINED]:
        lines += ["", f"{_cut(row['cluster'], NAME_W)}: all of it is in {row['log']}"]
        lines += [f"  {_cut(line, WIDTH - 2)}" for line in row["said"]]
    return lines


def fleet_words(kind: str) -> str:
    """Return a kind of verdict as a word of a table."""
    return {
        "no-quorum": "NO QUORUM",
        "cut-off": "CUT OFF",
        "unreachable": "NO ANSWER",
        "no-code": "NO CODE",
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

    :param told: what ``run.verdict.verdict`` returned.
    """
    lines = _wrapped(told["text"])
    lines += command_lines(told["command"]) if told["command"] else []
    for text in told["also"]:
        lines += command_lines(text.strip()) if text.startswith("  ") else _wrapped(text)
    return lines


def command_lines(command: str) -> list[str]:
    """Return the lines of a command, indented; one that is too long goes on after a backslash.

    :param command: words as a shell reads them; a word in quotes stays whole.
    """
    words, lines = QUOTED.findall(command), [" "]
    for word in words:
        if len(lines[-1]) + len(word) + 3 > WIDTH and lines[-1].strip():
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {word}"
    return lines


def _plan(report):
    lines = _told(report) + _head(report, report["summary"])
    lines += [""] + steps_table(report["steps"]) if report["steps"] else []
    lines += _ha_line(report)
    for text, places in _alike(report.get("diffs") or {}).items():
        lines += ["", f"in {', '.join(places)}:"] + ["  " + row for row in text.rstrip("\n").splitlines()]
    if report.get("matrix"):
        lines += [""] + matrix_table(report["matrix"])
    return lines + _findings_block(report) + _end(report)


def _alike(diffs):
    """Return ``{diff: [places]}``: the same change is shown once, with all the files that it is in."""
    found: dict[str, list[str]] = {}
    for place, text in sorted(diffs.items()):
        body = "\n".join(row for row in text.splitlines() if not row.startswith(("--- ", "+++ ")))
        found.setdefault(body, []).append(
            place
            if " of " in place
            else "the cluster file"
            if place == "cluster"
            else f"the local file of {place}"
        )
    return found


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
    table_lines = checklist_table(report.get("checklist") or [], only_bad=bool(report.get("brief")))
    return _head(report, report["summary"]) + [""] + table_lines + _findings_block(report) + _end(report)


def _phase(report):
    lines = _head(report, f"{report['phase']}: {report['summary']}")
    if report["result"] in ("failed", "interrupted") and report.get("done"):
        lines += [""] + done_table(report["done"])
    if report.get("ways"):
        lines += [""] + ways_table(report["ways"])
    if report["result"] == "test":
        for text, places in _alike(
            {
                f"/etc/hosts of {name}": diff
                for name, diff in report.get("changes", {}).get("diffs", {}).items()
            }
        ).items():
            lines += ["", f"in {', '.join(places)}:"] + ["  " + row for row in text.rstrip("\n").splitlines()]
    lines += _ha_line(report) + _findings_block(report, ("error", "warning"))
    if report.get("open"):
        lines += ["", "still open: " + ", ".join(report["open"])]
    return lines + _end(report)


def _journal(report):
    rows = [
        (row["jid"], row["cluster"], row["layout"], row["result"], _seconds(row.get("seconds")), row["begun"])
        for row in report["runs"]
    ]
    if not rows:
        return ["no run is in the journal"]
    return table(("job", "cluster", "layout", "result", "took", "begun"), rows) + _findings_block(report)


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
    return _wrapped(f"{who}: {text}")


def _wrapped(text, indent=""):
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _ha_line(report):
    said = (report.get("ha") or {}).get("text")
    return [""] + textwrap.wrap(f"HA: {said}", WIDTH, subsequent_indent="    ") if said else []


def _findings_block(report, severities=("error", "warning", "info")):
    lines = findings_lines([item for item in report.get("findings") or [] if item["severity"] in severities])
    return [""] + lines if lines else []


def _end(report):
    return [""] + list(report["next"]) if report.get("next") else []


def findings_lines(findings: list[dict]) -> list[str]:
    """Return the lines of findings: what is wrong, and below it what to do.

    :param findings: as ``findings.finding`` builds them.
    """
    lines = []
    for item in findings:
        word = item["severity"].upper() + (" (forced)" if item["data"].get("forced") else "")
        lines += textwrap.wrap(
            f"{word} {item['code']}: {item['text']}",
            WIDTH,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        remedy = item["remedy"]
        if item["severity"] == "error" and item["forceable"] and not item["data"].get("forced"):
            remedy = (remedy + "; " if remedy else "") + f"or go on in spite of it: force={item['code']}"
        if remedy:
            lines += textwrap.wrap(
                f"-> {remedy}",
                WIDTH,
                initial_indent="    ",
                subsequent_indent="       ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def table(head, rows) -> list[str]:
    """Return the lines of a table with columns as wide as they need.

    :param head: the titles of the columns.
    :param rows: rows of cells, any type with a text form.
    """
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]
    ]
    return lines[:1] + ["  ".join("-" * width for width in widths)] + lines[1:]


def _word(value, yes="yes", no="NO", unknown="?"):
    return unknown if value is None else yes if value else no


def _number(value):
    return "?" if value is None else str(value)


def state_table(state: list[dict]) -> list[str]:
    """Return the table with one row a node: quorum, the versions of the three copies, /etc/pve, HA.

    :param state: what ``run.outcomes.state_now`` returns.
    """
    rows = []
    for row in state:
        if not row["answers"]:
            rows.append((row["node"], "NO ANSWER", "?", "?", "?", "?", "?", "?", "?"))
            continue
        votes = f"{_number(row['total'])}/{_number(row['expected'])}"
        runtime = _number(row["runtime"])
        if row["reload"] not in (None, 1):
            runtime += f" (reload {row['reload']})"
        rows.append(
            (
                row["node"],
                row["corosync"] or "?",
                _word(row["quorate"]),
                votes,
                runtime,
                _number(row["local"]),
                _number(row["cluster_file"]),
                _word(row["writable"]),
                _word(row["ha"], "armed", "-"),
            )
        )
    return table(
        (
            "node",
            "corosync",
            "quorate",
            "votes",
            "runtime",
            "local",
            "cluster file",
            "/etc/pve writable",
            "HA watchdog",
        ),
        rows,
    )


def matrix_table(matrix: dict) -> list[str]:
    """Return the table of all links: a row says what that node sees of each other node.

    Words where they fit, one letter a link where they do not.

    :param matrix: what ``run.outcomes.matrix`` returns.
    """
    names = list(matrix)
    peers = sorted(set(names) | {peer for row in matrix.values() for peer in row or ()})
    if not any(matrix.values()):
        return ["no node tells anything of its links"]

    def cells(letters):
        return [[name] + [_cell(name, peer, matrix[name], letters) for peer in peers] for name in names]

    rows, key = cells(False), ""
    if max(len(line) for line in table(["link from \\ to", *peers], rows)) > WIDTH:
        rows, key = (
            cells(True),
            "  (a letter a link, in the order of their numbers: + connected, - down, x disabled)",
        )
    return table(["link from \\ to", *peers], rows) + ([key] if key else [])


def _cell(name, peer, row, letters):
    if name == peer:
        return "."
    if row is None:
        return "?"
    links = row.get(peer)
    if not links:
        return "none"
    if letters:
        return "".join(LETTERS[word] for word in links.values())
    return ", ".join(
        f"{number} {'ok' if word == 'connected' else word.upper()}" for number, word in links.items()
    )


def steps_table(steps: list[dict]) -> list[str]:
    """Return the table of the steps of a plan.

    :param steps: the steps; ``conf`` is not read.
    """
    return table(
        ("step", "act", "version", "what", "waits for", "at most"),
        [
            (
                step["number"],
                step["act"],
                step["version"],
                step["text"],
                _wait(step.get("wait") or {}),
                f"{step['deadline_s']:g} s",
            )
            for step in steps
        ],
    )


def _wait(wait):
    """What a step waits for, short; the version always."""
    linked = [
        str(number)
        for number, pairs in sorted((wait.get("connected") or {}).items(), key=lambda row: int(row[0]))
        if pairs
    ]
    words = [f"link {', '.join(linked)} up"] if linked else []
    words += [
        {"quorate": "quorum", "writable": "/etc/pve"}[key] for key in ("quorate", "writable") if wait.get(key)
    ]
    return "; ".join(words) or "version"


def done_table(done: list[dict]) -> list[str]:
    """Return the table of the steps that were carried out.

    :param done: ``[{"number", "text", "ok", "seconds", "nodes": {name: "ok" | text}}]``.
    """
    rows = []
    for row in done:
        bad = [name for name, word in sorted(row["nodes"].items()) if word != "ok"]
        rows.append(
            (
                row["number"],
                row["text"],
                "ok" if row["ok"] else "FAILED on " + ", ".join(bad),
                _seconds(row["seconds"]),
            )
        )
    return table(("step", "what", "result", "took"), rows)


def ways_table(ways: list[dict]) -> list[str]:
    """Return the table of what a test of links saw, one row a direction.

    :param ways: as ``run.probe_links.judge`` returns them.
    """
    return table(
        ("link", "UDP", "from", "to", "arrives", "latency", "MTU"),
        [
            (
                row["link"],
                row["port"],
                row["from"],
                row["to"],
                _word(row["arrives"], unknown="not tested"),
                "-" if row["latency_us"] is None else f"{row['latency_us'] / 1000:.2f} ms",
                "-" if row["mtu"] is None else row["mtu"],
            )
            for row in ways
        ],
    )


def checklist_table(items: list[dict], only_bad: bool = False) -> list[str]:
    """Return the exit checklist.

    :param items: ``[{"item", "ok", "seen", "expected"}]``.
    :param only_bad: one line if all is well, else the items that are not.
    """
    bad = [item for item in items if not item["ok"]]
    if not items:
        return ["the exit checklist could not be asked"]
    if only_bad and not bad:
        return [f"exit checklist: all {len(items)} items ok"]
    shown = bad if only_bad else items
    width = max(len(item["item"]) for item in shown)
    lines = []
    for item in shown:
        text = f"{'ok  ' if item['ok'] else 'FAIL'}  {item['item']:<{width}}  {item['seen']}"
        if not item["ok"]:
            text += f"; expected: {item['expected']}"
        lines += textwrap.wrap(
            text, WIDTH, subsequent_indent=" " * (width + 8), break_long_words=False, break_on_hyphens=False
        )
    return lines


def _seconds(value):
    return "?" if value is None else f"{value:.1f} s"


def progress(text: str, seconds: float, now: float | None = None) -> str:
    """Return one line of progress: the time of day, the seconds since the start, what happens.

    :param text: what happens.
    :param seconds: since the start of the run.
    :param now: seconds since the epoch; default now.
    """
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    return f"{clock} {seconds:7.2f}s  {text}"


def answer(name: str, outcome, missing: list[str]) -> str:
    """Return the line of progress on a node's answer to a step.

    :param name: the node.
    :param outcome: what it returned: an outcome, or an error's text.
    :param missing: what the outcome lacks, in words; [] if it is good.
    """
    if not isinstance(outcome, dict):
        lines = str(outcome).strip().splitlines() or ["an empty answer"]
        return f"  {name}: {lines[-1]}"
    took = {
        key: value
        for key, value in (outcome.get("seconds") or {}).items()
        if isinstance(value, (int, float)) and key in ("connected", "quorate", "writable", "version")
    }
    words = ", ".join(f"{key} {value:.2f} s" for key, value in sorted(took.items(), key=lambda item: item[1]))
    return (
        f"  {name}: "
        + ("ok" if not missing else "FAILED: " + "; ".join(missing))
        + (f" ({words})" if words else "")
    )
