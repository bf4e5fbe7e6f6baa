"""The account of a run, out of its journal: what was found and done, and what each node went through.

Pure: lines of a journal in, plain data out; :mod:`.run.account_page` makes pages of it. Times of a node are
what that node saw: its answer to a step says after how many seconds it was quorate, and could write again.
"""

from __future__ import annotations

import re

#: what the lanes of a node show: key in the state and in the outcomes -> its name on the page.
LANES = {"quorate": "quorum", "writable": "/etc/pve"}
_STEP = re.compile(r"step (\d+) (begun|ended)")


def account(notes: list[dict]) -> dict:
    """Return the account of a run.

    :param notes: the lines of its journal, in order; ``at`` is in seconds since the start of the run.
    :returns: ``{"run", "cluster", "layout", "by", "begun": seconds since 1970, "length": seconds, "result",
        "summary", "found": [finding], "steps": [{"number", "text", "begun", "ended", "ok", "nodes"}],
        "parts": [{"text", "begun", "ended", "ok", "nodes"}], "lanes": {node: {lane: [span]}}, "without":
        {node: {lane: seconds}}, "from_before": {node: [lane]}, "diffs": {node: text}, "checklist": [item],
        "open": [text]}``; a span is (from, to, state), the state
        True, False, or None where nobody saw it.
    """
    first, last = notes[0], notes[-1]
    begun = first["time"] - first.get("at", 0.0)
    length = max(float(row.get("at") or 0.0) for row in notes)
    ended = next((row for row in reversed(notes) if row["event"] == "ended"), {})
    planned = [row for row in notes if row["event"] == "planned"]
    verified = next((row for row in reversed(notes) if row["event"] == "verified"), {})
    items = list(verified.get("items") or ())
    lanes = {
        node: {lane: spans(samples, length) for lane, samples in of.items()}
        for node, of in _samples(notes).items()
    }
    return {
        "run": str(first.get("jid", "")),
        "cluster": str(first.get("cluster", "")),
        "layout": str(first.get("layout", "")),
        "by": str(first.get("user") or first.get("by") or ""),
        "begun": begun,
        "length": length,
        "result": str(ended.get("result") or "not ended: the run was killed, or is still at work"),
        "summary": str(ended.get("summary") or last["event"]),
        "found": [item for row in planned for item in row.get("findings") or ()],
        "steps": _steps(notes),
        "parts": _parts(notes),
        "lanes": lanes,
        "without": {
            node: {
                lane: round(sum(b - a for a, b, state in of if state is False), 2)
                for lane, of in rows.items()
            }
            for node, rows in lanes.items()
        },
        "from_before": {
            node: [lane for lane, of in rows.items() if of and of[0][2] is False]
            for node, rows in lanes.items()
        },
        "diffs": {node: text for row in planned for node, text in (row.get("diffs") or {}).items()},
        "checklist": items,
        "open": _open(ended, items),
    }


def spans(samples: list[tuple], end: float) -> list[tuple]:
    """Return ``[(from, to, state)]`` out of what was seen when; a state lasts until another one is seen.

    :param samples: ``[(seconds, True, False or None)]``, in order. :param end: the last second.
    """
    rows: list[tuple] = []
    for number, (at, state) in enumerate(samples):
        until = samples[number + 1][0] if number + 1 < len(samples) else max(end, at)
        start = 0.0 if not rows else at
        if rows and rows[-1][2] == state:
            rows[-1] = (rows[-1][0], until, state)
        elif until > start or not rows:
            rows.append((start, until, state))
    return rows


def _samples(notes):
    """``{node: {lane: [(at, state)]}}``: the state before, what was seen in each step, the state after."""
    found: dict[str, dict[str, list]] = {}

    def add(node, key, at, state):
        lane = found.setdefault(node, {name: [] for name in LANES.values()})[LANES[key]]
        if lane and at < lane[-1][0]:
            at = lane[-1][0]
        lane.append((at, state))

    starts = {}
    for row in notes:
        at = float(row.get("at") or 0.0)
        for state in row.get("state") or ():
            for key in LANES:
                add(state["node"], key, at, state.get(key))
        step = _STEP.fullmatch(row["event"])
        if not step:
            continue
        if step[2] == "begun":
            starts[step[1]] = at
            continue
        for node, outcome in (row.get("outcomes") or {}).items():
            if not isinstance(outcome, dict):
                continue
            for key in LANES:
                state = (outcome.get("seen") or {}).get(key)
                after = (outcome.get("seconds") or {}).get(key)
                known = isinstance(after, (int, float)) and state is True
                add(node, key, min(at, starts.get(step[1], at) + after) if known else at, state)
    return found


def _steps(notes):
    rows, begun = [], {}
    for row in notes:
        step = _STEP.fullmatch(row["event"])
        if step and step[2] == "begun":
            begun[step[1]] = row
            rows.append(
                {
                    "number": int(step[1]),
                    "text": str(row.get("text", "")),
                    "begun": float(row.get("at") or 0.0),
                    "ended": None,
                    "ok": None,
                    "nodes": {},
                }
            )
        elif step and rows:
            rows[-1] |= {
                "ended": float(row.get("at") or 0.0),
                "ok": bool(row.get("ok")),
                "nodes": {str(node): str(text) for node, text in (row.get("nodes") or {}).items()},
            }
    return rows


def _parts(notes):
    """What was done besides the steps of the links: the rows of the phases, and HA."""
    return [
        {
            "text": str(row.get("text") or row["event"]),
            "begun": round(float(row.get("at") or 0.0) - float(row.get("seconds") or 0.0), 2),
            "ended": float(row.get("at") or 0.0),
            "ok": bool(row.get("ok")),
            "nodes": {str(node): str(text) for node, text in row["nodes"].items()},
        }
        for row in notes
        if isinstance(row.get("nodes"), dict) and "ok" in row and not _STEP.fullmatch(row["event"])
    ]


def _open(ended, items):
    left = [
        f"{item['item']}: seen {item.get('seen')}, expected {item.get('expected')}"
        for item in items
        if not item["ok"]
    ]
    known = ended.get("result") in ("reached", "already", "done", "rebuilt")
    return left if known or not ended else [*left, *(f"finding {code}" for code in ended.get("codes") or ())]
