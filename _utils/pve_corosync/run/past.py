"""Past runs of a cluster, from the lines of their journals. Pure."""

from __future__ import annotations

import time


def row(lines: list[dict], idle: bool) -> dict:
    """Return one run in short.

    :param lines: the journal of the run, in its order; not empty.
    :param idle: whether no run holds the cluster's lock: one without an end was broken off then.
    :returns: ``{"jid", "cluster", "layout", "result", "seconds", "begun", "begun_at", "ended_at", "codes",
        "summary"}``; times in seconds, ``begun`` as text.
    """
    first, end = lines[0], next((line for line in reversed(lines) if line["event"] == "ended"), {})
    return {
        "jid": str(first["jid"]),
        "cluster": first["cluster"],
        "layout": first.get("layout", "?"),
        "result": end.get("result") or ("broken off" if idle else "under way"),
        "seconds": (end.get("seconds") or {}).get("total"),
        "begun": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first["time"])),
        "begun_at": first["time"],
        "ended_at": end.get("time"),
        "codes": end.get("codes") or [],
        "summary": end.get("summary") or "",
    }
