"""What this project knows of a node as OpenMetrics text: only what no other exporter has.

prometheus-hacluster-exporter has the ring errors and the votes. Here are layouts, links, what the quorum
bears, drift, and the last run. Every metric is a gauge, so that the textfile collector of
prometheus-node-exporter reads the same text.
"""

from __future__ import annotations

from pve_corosync import conf as corosync_conf
from pve_corosync.judge import situation

PREFIX = "pve_corosync_"
#: metric -> what it says; the names that docs/alerts.yml may use.
HELP = {
    "running": "1 if the corosync daemon of this node answers.",
    "quorate": "1 if this node has quorum.",
    "layout_wanted": "1 for the layout that the pillar wants.",
    "layout_in_force": "1 for each layout of the pillar that the running daemon has, 0 for the others.",
    "links": "Links from this node to others, as configured.",
    "links_dead": "Links from this node that are not connected.",
    "failures_borne": "Further nodes that may fail, the ones with most votes first, before quorum is lost.",
    "version": "config_version of the local file, the cluster file and the running daemon.",
    "drift": "1 if the copies of the configuration on this node are not all the same.",
    "device_votes": "Votes of the quorum device; absent without one.",
    "last_run_time_seconds": "When the last run of this project ended on this node, in seconds of the epoch.",
    "last_run_ok": "1 if it reached what it wanted on this node.",
    "written_time_seconds": "When these metrics were made, in seconds of the epoch.",
}


def text(facts: dict, layouts: dict, wanted: str | None, last: dict | None, now: float) -> str:
    """Return the metrics of one node.

    :param facts: what ``corosync.facts`` returned. :param layouts: of the pillar, resolved; ``{}`` without.
    :param wanted: the layout that the pillar wants. :param last: ``{"time", "ok"}`` of the last run here.
    :param now: seconds of the epoch.
    """
    quorum = facts.get("quorum") or {}
    found: list[tuple[str, dict, float]] = [
        ("running", {}, int(facts.get("runtime") is not None)),
        ("quorate", {}, int(bool(quorum.get("quorate")))),
    ]
    if wanted:
        found.append(("layout_wanted", {"layout": wanted}, 1))
    in_force = situation.in_force(layouts, {"nodes": {facts["node"]: facts}, "silent": []})
    found += [("layout_in_force", {"layout": name}, int(name in in_force)) for name in sorted(layouts)]
    rows = [row["connected"] for links in (facts.get("links") or {}).values() for row in links.values()]
    if facts.get("runtime") is not None:
        found += [("links", {}, len(rows)), ("links_dead", {}, rows.count(False))]
    if quorum.get("quorum") is not None:
        found.append(("failures_borne", {}, borne(quorum, facts)))
    found += _copies(facts)
    if quorum.get("qdevice_votes") is not None:
        found.append(("device_votes", {}, quorum["qdevice_votes"]))
    if last:
        found += [("last_run_time_seconds", {}, last["time"]), ("last_run_ok", {}, int(last["ok"]))]
    found.append(("written_time_seconds", {}, now))
    return _rendered(found)


def borne(quorum: dict, facts: dict) -> int:
    """Return how many more nodes may fail, the heaviest ones first, before there is no quorum; 0 without any.

    :param quorum: of ``corosync.facts``. :param facts: of this node, which does not fail itself.
    """
    if not quorum.get("quorate"):
        return 0
    own = (facts.get("runtime") or {}).get("nodeid")
    votes = quorum.get("votes") or dict.fromkeys(quorum.get("members") or (), 1)
    left, count = quorum["total"], 0
    for weight in sorted((weight for node, weight in votes.items() if node != own), reverse=True):
        left -= weight
        if left < quorum["quorum"]:
            break
        count += 1
    return count


def _copies(facts):
    local, cluster, runtime = (facts.get(key) or {} for key in ("local", "cluster_file", "runtime"))
    rows = [("local", local), ("cluster", cluster), ("runtime", runtime)]
    known = [(name, row["version"]) for name, row in rows if row.get("version") is not None]
    found: list[tuple[str, dict, float]] = [("version", {"copy": name}, number) for name, number in known]
    digests = {row.get("sha256") for row in (local, cluster) if row}
    same = len({number for _, number in known}) <= 1 and len(digests) <= 1 and not _addresses_differ(facts)
    return [*found, ("drift", {}, int(not same))]


def _addresses_differ(facts):
    """Tell whether the running daemon has other addresses than the local file."""
    running, local = facts.get("runtime"), facts.get("local")
    if not running or not local:
        return False
    try:
        nodes = corosync_conf.parse(local["text"]).nodes()
    except corosync_conf.ConfError:
        return True
    return _plain(nodes) != _plain(running["nodes"])


def _plain(nodes):
    return {
        name: {str(number): address for number, address in node["addresses"].items()}
        for name, node in nodes.items()
    }


def _rendered(found):
    lines, names = [], []
    for name, labels, value in found:
        if name not in names:
            names.append(name)
            lines += [f"# TYPE {PREFIX}{name} gauge", f"# HELP {PREFIX}{name} {HELP[name]}"]
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{PREFIX}{name}{'{' + inner + '}' if inner else ''} {value:.10g}")
    return "\n".join([*lines, "# EOF", ""])


def _escaped(value):
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
