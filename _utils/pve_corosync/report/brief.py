"""The short form of a report, for the output of an orchestration. Pure."""

from __future__ import annotations

from pve_corosync import show


def brief(report: dict, text: list[str]) -> dict:
    """Return the short form of a report, for the output of an orchestration.

    :param report: the full report.
    :param text: its rendered lines.
    """
    kept = {key: report[key] for key in ("cluster", "layout", "jid", "result", "retcode") if key in report}
    rows = report.get("done") or (report.get("steps") if report.get("result") == "test" else None) or ()
    kept["steps"] = [row["text"] for row in rows if row.get("ok", True)]
    hosts = (report.get("changes") or {}).get("diffs") or {}
    diffs = report.get("diffs") or {f"/etc/hosts of {node}": diff for node, diff in hosts.items()}
    return kept | ({"diffs": show.alike(diffs)} if diffs else {}) | {"report": "\n".join(text)}
