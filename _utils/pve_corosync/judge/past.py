"""Past runs of a cluster, from the lines of their journals. Pure."""

from __future__ import annotations

import time

#: how a phase ends that did not do its work.
BAD = ("failed", "refused", "interrupted", "not true")
#: how the links end that the watch staged for nothing, as they were alive again: before others it counts not.
WITHDRAWN = "withdrawn"


def row(lines: list[dict], idle: bool) -> dict:
    """Return one run in short.

    :param lines: the journal of the run, in its order; not empty.
    :param idle: whether no run holds the cluster's lock: one without an end was broken off then.
    :returns: ``{"jid", "cluster", "layout", "result", "seconds", "begun", "begun_at", "ended_at", "codes",
        "summary"}``; times in seconds, ``begun`` as text.
    """
    first, phases = lines[0], _phases(lines)
    phases = [phase for phase in phases if phase["result"] != WITHDRAWN] or phases[-1:]
    bad = [phase for phase in phases if phase["result"] in BAD]
    last = (bad or phases)[-1]
    result = last["result"] or ("broken off" if idle else "under way")
    if not bad and last["result"]:  # of several phases the first one tells whether the links were moved
        result = phases[0]["result"]
    elif bad and last is not phases[0] and result == "refused":
        result = "failed"  # the phases before it were carried out, so the run is half done
    return {
        "jid": str(first["jid"]),
        "cluster": first["cluster"],
        "layout": first.get("layout", "?"),
        "result": result,
        "seconds": round(sum(seconds), 2)
        if (seconds := [p["seconds"] for p in phases if p["seconds"]])
        else None,
        "begun": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first["time"])),
        "begun_at": first["time"],
        "ended_at": phases[-1]["ended_at"],
        "codes": list(dict.fromkeys(code for phase in phases for code in phase["codes"])),
        "summary": last["summary"],
        "phases": phases,
    }


def _phases(lines):
    """Return the phases of a run: each from its line "begun" to its line "ended"."""
    found = []
    for line in lines:
        if line["event"] == "begun" or not found:
            found.append({"phase": line.get("phase") or ("rebuild" if "rebuild" in line else "links")})
            found[-1] |= {"result": "", "seconds": None, "ended_at": None, "codes": [], "summary": ""}
        if line["event"] == "ended":
            found[-1] |= {
                "result": line.get("result") or "",
                "seconds": (line.get("seconds") or {}).get("total"),
                "ended_at": line.get("time"),
                "codes": line.get("codes") or [],
                "summary": line.get("summary") or "",
            }
    return found
