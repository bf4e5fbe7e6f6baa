"""Pages of the account of a run: Markdown, and HTML that needs nothing from outside. Pure.

Everything that comes from a node, a pillar or an operator is escaped.
"""

from __future__ import annotations

import time
from html import escape

from pve_corosync.report.account import LANES

#: width of the timeline, of its left column and of a lane, in pixels of the SVG's own.
WIDTH, LEFT, LANE, GAP = 960, 150, 16, 8
COLOURS = {True: "#2e7d32", False: "#c62828", None: "#9e9e9e"}
WORDS = {True: "yes", False: "no", None: "not known"}

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1b1b }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
p.head { font-size: 1.1rem; font-weight: 600 } .bad { color: #b71c1c } .good { color: #1b5e20 }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0 }
tr { border-bottom: 1px solid #ddd }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums }
pre { background: #f6f6f6; padding: .6rem; overflow-x: auto; font-size: .8rem; white-space: pre-wrap }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif }
@media print { body { margin: 0; max-width: none } h2 { break-after: avoid } tr, svg { break-inside: avoid } }
"""


def markdown(account: dict) -> str:
    """Return the account as Markdown.

    :param account: what ``report.account.account`` returned.
    """
    lines = [f"# {_plain(_title(account))}", "", _plain(_head(account)), ""]
    for title, head, rows in _tables(account):
        lines += [f"## {title}", ""]
        if not rows:
            lines += ["nothing", ""]
            continue
        lines += ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
        lines.append("")
    for node, text in account["diffs"].items():
        fence = "~" * max(
            3, 1 + max((len(line) - len(line.lstrip("~")) for line in text.splitlines()), default=0)
        )
        lines += [f"## File on {_plain(node)}", "", f"{fence}diff", text.rstrip("\n"), fence, ""]
    return "\n".join(lines)


def html(account: dict) -> str:
    """Return the account as one HTML page: no script, no file or address besides it.

    :param account: what ``report.account.account`` returned.
    """
    mood = "good" if account["result"] in ("reached", "already", "done", "rebuilt") else "bad"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(_title(account))}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(_title(account))}</h1>",
        f'<p class="head {mood}">{escape(_head(account))}</p>',
        timeline(account),
    ]
    for title, head, rows in _tables(account):
        parts.append(f"<h2>{escape(title)}</h2>")
        if not rows:
            parts.append("<p>nothing</p>")
            continue
        parts.append("<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>")
        parts += ["<tr>" + "".join(_html_cell(cell) for cell in row) + "</tr>" for row in rows]
        parts.append("</table>")
    for node, text in account["diffs"].items():
        parts.append(f"<h2>File on {escape(str(node))}</h2><pre>{escape(text)}</pre>")
    return "\n".join([*parts, "</body></html>", ""])


def timeline(account: dict) -> str:
    """Return the timeline as inline SVG: one lane a node and subject, the steps above them.

    :param account: what ``report.account.account`` returned.
    """
    scale = (WIDTH - LEFT - 10) / (account["length"] or 1.0)

    def x(seconds):
        return round(LEFT + seconds * scale, 1)

    rows, top = [], 24
    for step in account["steps"] + account["parts"]:
        end = step["ended"] if step["ended"] is not None else account["length"]
        colour = {True: "#1565c0", False: COLOURS[False], None: COLOURS[None]}[step["ok"]]
        rows.append(_bar(x(step["begun"]), x(end), top, LANE, colour, f"{step['text']}: {_span(step)}"))
    rows.append(f'<text x="0" y="{top + 12}">steps</text>')
    top += LANE + 2 * GAP
    for node, lanes in account["lanes"].items():
        for lane in LANES.values():
            rows.append(f'<text x="0" y="{top + 12}">{escape(str(node))} {escape(lane)}</text>')
            for begun, ended, state in lanes.get(lane, ()):
                title = f"{node} {lane}: {WORDS[state]} from {begun:.1f} s to {ended:.1f} s"
                rows.append(_bar(x(begun), x(ended), top, LANE, COLOURS[state], title))
            top += LANE + GAP
    ticks = [account["length"] * part / 4 for part in range(5)]
    rows += [f'<text x="{x(at)}" y="14" text-anchor="middle">{at:.1f} s</text>' for at in ticks]
    label = "Timeline of the run: steps, quorum and /etc/pve of every node"
    return (
        f'<svg viewBox="0 0 {WIDTH + 20} {top}" role="img" aria-label="{label}">' + "".join(rows) + "</svg>"
        "<p>green: yes, red: no, grey: not known, blue: a step</p>"
    )


def _bar(left, right, top, height, colour, title):  # pylint: disable=too-many-arguments
    width = max(1.5, round(right - left - 0.5, 1))
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{colour}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _title(account):
    return f"Cluster {account['cluster']}: run {account['run']} to {account['layout']}"


def _head(account):
    when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(account["begun"]))
    who = f" by {account['by']}" if account["by"] else ""
    said, result = account["summary"], account["result"]
    told = said if said.startswith(result) else f"{result}: {said}"
    return f"{told}. Begun {when}{who}, {account['length']:.1f} s."


def _tables(account):
    """Yield ``(title, column names, rows of cells)``."""
    yield (
        "What was found",
        ("severity", "what", "code"),
        [(item.get("severity", ""), item.get("text", ""), item.get("code", "")) for item in account["found"]],
    )
    done = sorted(account["steps"] + account["parts"], key=lambda row: row["begun"])
    yield (
        "What was done",
        ("from", "to", "what", "where"),
        [(f"{row['begun']:.1f} s", _ended(row), row["text"], _where(row)) for row in done],
    )
    yield (
        "Seconds without",
        ("node", *LANES.values()),
        [_without(account, node) for node in account["without"]],
    )
    yield (
        "Exit checklist",
        ("item", "true", "seen"),
        [
            (item["item"], "yes" if item["ok"] else "NO", "" if item["ok"] else item.get("seen", ""))
            for item in account["checklist"]
        ],
    )
    yield ("Still open", ("what",), [(text,) for text in account["open"]])


def _without(account, node):
    cells = []
    for lane in LANES.values():
        seconds = account["without"][node].get(lane, 0.0)
        before = lane in account["from_before"][node]
        cells.append(f"{seconds:.1f} s" + (" in the run, and before it began" if before else ""))
    return (node, *cells)


def _ended(row):
    return "not seen" if row["ended"] is None else f"{row['ended']:.1f} s"


def _span(row):
    return f"{row['begun']:.1f} s to {_ended(row)}"


def _where(row):
    bad = {node: text for node, text in row["nodes"].items() if text != "ok"}
    good = [node for node, text in row["nodes"].items() if text == "ok"]
    return "; ".join([", ".join(good)] * bool(good) + [f"{node}: {text}" for node, text in bad.items()])


def _plain(text):
    return "".join(
        f"\\{char}" if char in "\\`*_{}[]<>#|" else " " if char in "\r\n" else char for char in str(text)
    )


def _cell(text):
    return _plain(text).strip() or " "


def _html_cell(text):
    kind = ' class="number"' if str(text).removesuffix(" s").replace(".", "", 1).isdigit() else ""
    return f"<td{kind}>{escape(str(text))}</td>"
