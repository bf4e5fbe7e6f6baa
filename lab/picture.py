"""A recorded terminal session (asciicast 2) as one SVG picture. Standard library only.

Lines of one command beyond a number are left out in the middle, which the picture says. What Salt 3008 logs
of objects that it did not close is left out.
"""

import json
import re
from html import escape

#: what a terminal makes of the colours of SGR.
BRIGHT = "#f9fafb"
COLOURS = {
    30: "#6b7280",
    31: "#f87171",
    32: "#4ade80",
    33: "#fbbf24",
    34: "#60a5fa",
    35: "#e879f9",
    36: "#22d3ee",
    37: "#d1d5db",
}
SGR = re.compile(r"\x1b\[([\d;]*)m")
#: any other order to a terminal; it is left out.
OTHER = re.compile(r"\x1b\[[\d;?]*[A-Za-ln-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1a\x1c-\x1f]")
#: salt/utils/… of Salt 3008, after each runner.
NOISE = re.compile(r"(\[WARNING \] )?unclosed \w+ <salt\.")
PROMPT = re.compile(r"^\w+# ")
ROW, COLUMN, MARGIN = 17, 7.83, 16


def text(cast):
    """Return ``(columns, what was printed)`` of a recording."""
    head, *events = [json.loads(line) for line in cast.splitlines() if line.strip()]
    if head.get("version") != 2:
        raise ValueError(f"version {head.get('version')!r} of a recording is not known; asciicast 2 is")
    return head["width"], "".join(data for _, kind, data in events if kind == "o")


def screens(printed, most):
    """Return the lines; of a command at most ``most``, and how many are left out."""
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in printed.replace("\r\n", "\n").split("\n")]
    lines = [line for line in lines if not NOISE.match(line)]
    starts = [number for number, line in enumerate(lines) if PROMPT.match(line)] or [0]
    kept = []
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        block = lines[start:end]
        while block and not SGR.sub("", block[-1]).strip():
            block.pop()
        if len(block) > most:
            tail = most // 4
            left_out = len(block) - most
            block = [*block[: most - tail], f"… {left_out} lines are left out here …", *block[-tail:]]
        kept += [*block, ""]
    return kept[:-1]


def spans(line, state):
    """Return ``[(text, colour or None, bold)]`` of a line; ``state`` is kept from line to line."""
    found = []
    for number, part in enumerate(SGR.split(OTHER.sub("", line))):
        if number % 2 == 0:
            found += [(part, state.get("colour"), state.get("bold", False))] if part else []
            continue
        for code in [int(word or 0) for word in part.split(";")]:
            if code == 0:
                state.clear()
            elif code == 1:
                state["bold"] = True
            elif code in COLOURS or code - 60 in COLOURS:
                state["colour"] = COLOURS.get(code) or COLOURS[code - 60]
    return found


def wrapped(parts, columns):
    """Return the rows that a terminal makes of the spans of one line."""
    rows, room = [[]], columns
    for words, colour, bold in parts:
        while words:
            if not room:
                rows.append([])
                room = columns
            rows[-1].append((words[:room], colour, bold))
            words, room = words[room:], max(0, room - len(words))
    return rows


def svg(cast, title, most=32):
    """Return the picture of a recording.

    cast
        the text of the recording
    title
        what a reader of the page hears who does not see it
    most
        lines of one command; what is longer is cut in the middle
    """
    columns, printed = text(cast)
    state, lines, rows = {}, [], []
    for line in screens(printed, most):
        lines += wrapped([(line, BRIGHT, True)] if PROMPT.match(line) else spans(line, state), columns)
    for number, parts in enumerate(lines):
        if not parts:
            continue
        words = "".join(
            "<tspan"
            + (f' fill="{colour}"' if colour else "")
            + (' font-weight="bold"' if bold else "")
            + f">{escape(part)}</tspan>"
            for part, colour, bold in parts
        )
        rows.append(
            f'<text x="{MARGIN}" y="{MARGIN + ROW * (number + 1)}" xml:space="preserve">{words}</text>'
        )
    width, height = round(columns * COLUMN + 2 * MARGIN), len(lines) * ROW + 3 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="Menlo, Consolas, monospace" font-size="13">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#111827"/>\n<g fill="#d1d5db">\n'
        + "\n".join(rows)
        + "\n</g>\n</svg>\n"
    )
