"""Tables and lines of reports, no wider than a terminal. Pure."""

from __future__ import annotations

import contextlib
import contextvars
import re
import textwrap

WIDTH = 80
#: Salt puts a comment of a state behind so many letters.
IN_STATE = WIDTH - 14
_ROOM = contextvars.ContextVar("room", default=WIDTH)
#: one command and nothing more; a line that says in a word or two what its command is for.
COMMANDS = re.compile(r"salt(-run|-call)? [^;:]*")
TITLED = re.compile(r"([\w ]{2,30}: +)(salt(?:-run|-call)? .*)")
#: no column of a table becomes narrower than this.
NARROW = 6
KEY = "  (a letter a link, by their numbers: + connected, - down, x disabled)"
#: what an item of the checklist has seen where all that is wrong is a node's silence.
UNASKED = re.compile(r"[^:;]+: no answer(; [^:;]+: no answer)*")
#: a word of a command line, with what stands in quotes in it.
QUOTED = re.compile(r"(?:'[^']*'|[^\s'])+")
#: what is copied, and stays in one piece: what an orchestration is given, a short command.
COPIED = re.compile(
    r"pillar='[^']*'|systemctl \w+ \S+|salt-run [\w.]+|salt-call --local [\w.]+|salt (?:-L )?\S+ \w+\.\w+"
)
#: one letter a link where the words do not fit.
LETTERS = {"connected": "+", "down": "-", "disabled": "x"}


@contextlib.contextmanager
def within(width: int):
    """Have all lines made in this context be no wider.

    :param width: in letters.
    """
    token = _ROOM.set(width)
    try:
        yield
    finally:
        _ROOM.reset(token)


def room() -> int:
    """Return how wide a line may be now."""
    return _ROOM.get()


def for_state(text: str) -> str:
    """Return the comment of a state in lines that fit a terminal; a command stands on lines of its own.

    :param text: sentences, a line each; a line that begins with two spaces is a command.
    """
    lines = []
    with within(IN_STATE):
        for line in text.splitlines():
            before, arrow, remedy = line.partition(" -> ")
            if line.startswith("  salt"):
                lines += command_lines(line.strip())
            elif arrow and COMMANDS.fullmatch(remedy):
                lines += [*wrapped(before), *command_lines(remedy, "-> ")]
            elif found := TITLED.fullmatch(line):
                lines += command_lines(found[2], found[1])
            else:
                lines += wrapped(line) or [""]
    return "\n".join(lines)


def wrapped(text: str, indent: str = "") -> list[str]:
    """Return a text in lines as wide as a terminal; words and commands stay whole.

    :param indent: what the lines after the first one begin with.
    """
    kept = COPIED.sub(lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        kept, room(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]


def command_lines(command: str, title: str = "  ") -> list[str]:
    """Return the lines of a command; one that is too long goes on after a backslash.

    :param command: words as a shell reads them; a word in quotes stays whole.
    :param title: what stands before it.
    """
    words, lines = QUOTED.findall(command), [title[:-1]]
    for word in words:
        if len(lines[-1]) + len(word) + 3 > room() and lines[-1] != title[:-1]:
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {word}"
    return lines


def table(head, rows, width: int | None = None, whole=()) -> list[str]:
    """Return the lines of a table with columns as wide as they need, no wider than a terminal.

    Where the columns do not fit, the widest ones become narrower, and their cells go on in the next line.

    :param head: the titles of the columns. :param rows: rows of cells, any type with a text form.
    :param width: of the terminal, None for :func:`room`.
    :param whole: numbers of columns whose cells are copied, and never break.
    """
    width = room() if width is None else width
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width or width >= WIDTH else " "
    foldable = [at for at in range(len(widths)) if at not in whole]
    while sum(widths) + len(gap) * (len(widths) - 1) > width:
        widest = max(foldable, key=lambda at: widths[at])
        if widths[widest] <= NARROW:
            break
        widths[widest] -= 1
    lines = []
    for row in [list(head), *rows]:
        cells = [_folded(cell, size) for cell, size in zip(row, widths)]
        for at in range(max(len(cell) for cell in cells)):
            parts = [cell[at] if at < len(cell) else "" for cell in cells]
            lines.append(gap.join(part.ljust(size) for part, size in zip(parts, widths)).rstrip())
        if row == list(head) and gap.join("-" * size for size in widths) not in lines:
            lines.append(gap.join("-" * size for size in widths))
    return lines


def _folded(cell, size):
    return textwrap.wrap(cell, size, break_on_hyphens=False) if len(cell) > size else [cell]


def word(value, yes="yes", no="NO", unknown="?") -> str:
    """Return yes, no or unknown of a value as a word of a table."""
    return unknown if value is None else yes if value else no


def _number(value):
    return "?" if value is None else str(value)


def state_table(state: list[dict]) -> list[str]:
    """Return the table with one row a node: quorum, the versions of the three copies, /etc/pve, HA.

    :param state: what ``judge.situation.state_now`` returns.
    """
    rows = []
    for row in state:
        if not row["answers"]:
            rows.append((row["node"], "AN ERROR" if row.get("error") else "NO ANSWER", *"???????"))
            continue
        votes = f"{_number(row['total'])}/{_number(row['expected'])}"
        runtime = _number(row["runtime"])
        if row["reload"] not in (None, 1):
            runtime += f" (reload {row['reload']})"
        rows.append(
            (
                row["node"],
                row["corosync"] or "?",
                word(row["quorate"]),
                votes,
                runtime,
                _number(row["local"]),
                _number(row["cluster_file"]),
                word(row["writable"], "writable", "READ-ONLY"),
                word(row["ha"], "armed", "-"),
            )
        )
    return table(("node", "corosync", "quorate", "votes", "runs", "local", "cluster", "/etc/pve", "HA"), rows)


def matrix_table(matrix: dict) -> list[str]:
    """Return the table of all links: a row says what that node sees of each other node.

    Words where they fit, one letter a link where they do not.

    :param matrix: what ``judge.situation.matrix`` returns.
    """
    names = list(matrix)
    peers = sorted(set(names) | {peer for row in matrix.values() for peer in row or ()})
    if not any(matrix.values()):
        return ["no node tells anything of its links"]

    def cells(letters):
        return [[name] + [_cell(name, peer, matrix[name], letters) for peer in peers] for name in names]

    head = ["link from \\ to", *peers]
    for letters, key in ((False, []), (True, [KEY])):
        rows = cells(letters)
        if max(len(line) for line in table(head, rows, 10_000)) <= room():
            return table(head, rows) + key
    return _down_pairs(matrix)


def _down_pairs(matrix):
    """A cluster that is too large for a table: each link in a line, with the pairs that lack it."""
    links, told = {}, [(one, two, links) for one, row in matrix.items() for two, links in (row or {}).items()]
    for one, two, row in told:
        for number, state in row.items():
            links.setdefault(number, []).append((one, two, state))
    lines = []
    for number, rows in sorted(links.items()):
        bad = [f"{one}->{two}" for one, two, state in rows if state != "connected"]
        lines += wrapped(
            f"link {number}: {len(rows) - len(bad)} of {len(rows)} ways connected"
            + (f"; DOWN: {', '.join(bad)}" if bad else ""),
            "    ",
        )
    silent = [name for name, row in matrix.items() if row is None]
    return lines + (wrapped(f"nothing is known of {', '.join(silent)}", "    ") if silent else [])


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
                waits(step.get("wait") or {}),
                f"{step['deadline_s']:g} s",
            )
            for step in steps
        ],
    )


def waits(wait: dict) -> str:
    """Return what a step waits for, short; the version always.

    :param wait: ``wait`` of a step.
    """
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
                seconds(row["seconds"]),
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
                word(row["arrives"], unknown="not tested"),
                "-" if row["latency_us"] is None else f"{row['latency_us'] / 1000:.2f} ms",
                "-" if row["mtu"] is None else row["mtu"],
            )
            for row in ways
        ],
    )


def checklist_table(items: list[dict], only_bad: bool = False) -> list[str]:
    """Return the exit checklist, what is not true first.

    :param items: ``[{"item", "ok", "seen", "expected"}]``.
    :param only_bad: the items that are true are folded into one line.
    """
    bad = [item for item in items if not item["ok"]]
    good = [item for item in items if item["ok"]]
    if not items:
        return ["the exit checklist could not be asked"]
    if only_bad and not bad:
        return [f"exit checklist: all {len(items)} items ok"]
    unasked = [item for item in bad if UNASKED.fullmatch(item["seen"])] if only_bad else []
    shown = [item for item in bad if item not in unasked] if only_bad else bad + good
    size = max((len(item["item"]) for item in shown), default=0)
    lines = []
    for item in shown:
        text = f"{'ok  ' if item['ok'] else 'FAIL'}  {item['item']:<{size}}  {item['seen']}"
        if not item["ok"]:
            text += f"; expected: {item['expected']}"
        lines += wrapped(text, " " * (size + 8))
    for seen in dict.fromkeys(item["seen"] for item in unasked):
        what = ", ".join(item["item"] for item in unasked if item["seen"] == seen)
        who = ", ".join(part.partition(":")[0] for part in seen.split("; "))
        lines += wrapped(f"?     {who} could not be asked: {what}", " " * 6)
    if only_bad and good:
        lines += wrapped(f"ok    {', '.join(item['item'] for item in good)}", " " * 6)
    return lines


def seconds(value) -> str:
    """Return a time of a table; "?" where there is none."""
    return "?" if value is None else f"{value:.1f} s"
