"""What one node can prove of its cluster by itself, so that a highstate with nothing to do asks nobody. Pure.

The daemons and pmxcfs have told this node about the others already: who is a member and with which version
of the file (``runtime.members.*``, exec/cmap.c), which links are connected, who is online in
``/etc/pve/.members``. Two things they have not told: whether the key on the disk is that of the others, and
which version a member runs since the last change of membership. So a look at all nodes that found nothing to
do is noted (``cluster.memory``); it stands for the key as long as that is the same here, and for the versions
as long as that membership and those files last.

What is not looked at then is what lives on the other nodes alone: see docs/highstate.md.
"""

from __future__ import annotations

from pve_corosync import conf
from pve_corosync.addresses import canonical
from pve_corosync.cluster import memory
from pve_corosync.cluster.cluster import Cluster
from pve_corosync.cluster.topology import Topology
from pve_corosync.conf.links import is_goal
from pve_corosync.findings import errors
from pve_corosync.judge import checklist
from pve_corosync.rules import every
from pve_corosync.run import alone

#: ``config.reload_status`` of a daemon that has its file: no reload yet, or a good one.
RELOADED = (None, 1)


def proof(facts: dict, layout: dict, own: str, noted=None) -> list[str]:
    """Return what this node cannot prove of a layout, in words; nothing: there is nothing to do on any node.

    :param facts: of this node, as ``corosync.facts`` returns them.
    :param layout: the wanted layout, as ``pillar.layouts.resolve`` returns it.
    :param own: this node's name in it.
    :param noted: what ``cluster.memory.note`` returned after the last look at all nodes, or None.
    """
    runtime, votes = facts.get("runtime"), facts.get("quorum")
    if own not in layout["nodes"] or facts.get("node") != own:
        return [f"this node is {facts.get('node')}, not {own}"]
    if not runtime or not votes:
        return ["corosync does not run, or cannot be asked"]
    found = list(facts.get("problems") or ())
    found += ["a run is at work"] if facts.get("busy") else []
    found += _files(facts, layout, runtime)
    found += _quorum(layout, votes)
    found += _links(facts, layout, own)
    found += _pmxcfs(facts, layout, runtime)
    found += _members(facts, layout, own, noted)
    found += _key(facts, noted)
    return found or _as_all_are_judged(facts, layout, own)


def _files(facts, layout, runtime):
    local, shared = facts.get("local") or {}, facts.get("cluster_file") or {}
    if local.get("text") is None or local.get("text") != shared.get("text"):
        return ["local file and cluster file are not the same"]
    try:
        doc = conf.parse(local["text"])
        goal = is_goal(doc, layout)
    except conf.ConfError as exc:
        return [f"the file cannot be read: {exc}"]
    found = [] if goal else ["the file has not the links of the layout"]
    names = {name: row["nodeid"] for name, row in layout["nodes"].items()}
    have = {name: row.get("nodeid") for name, row in doc.nodes().items()}
    if doc.cluster_name != layout["cluster_name"] or have != names:
        found.append("the file has another cluster or other nodes")
    if runtime.get("version") != doc.version or runtime.get("reload_status") not in RELOADED:
        found.append(f"the daemon has not version {doc.version}")
    return found


def _quorum(layout, votes):
    ids = sorted(row["nodeid"] for row in layout["nodes"].values())
    found = [] if votes.get("quorate") is True and votes.get("ring_id") else ["not quorate"]
    if sorted(votes.get("members") or ()) != ids:
        found.append(f"members are {sorted(votes.get('members') or ())}, not {ids}")
    return found


def _links(facts, layout, own):
    others = [name for name in layout["nodes"] if name != own]
    view = Topology(Cluster(layout, {"nodes": {own: facts}, "silent": others}, skip=others))
    found = [] if view.current.get(own) == view.goal else ["the daemon runs other links"]
    cards = (text for card in (facts.get("addresses") or {}).values() for text in card or ())
    here = {canonical(text.partition("/")[0]) for text in cards}
    for number, link in layout["links"].items():
        if canonical(link["addresses"][own]) not in here:
            found.append(f"no card has the address of link {number}")
    seen = facts.get("links") or {}
    for peer in others:
        rows = {int(number): row for number, row in (seen.get(peer) or {}).items()}
        down = [
            n for n in sorted({*layout["links"], *rows}) if (rows.get(n) or {}).get("connected") is not True
        ]
        found += [f"link {number} to {peer} is not connected" for number in down]
    return found


def _pmxcfs(facts, layout, runtime):
    state = facts.get("pmxcfs") or {}
    members = state.get("members") or {}
    cluster, nodes = members.get("cluster") or {}, members.get("nodelist") or {}
    if not (state.get("mounted") is True and state.get("writable") is True):
        return ["/etc/pve is not mounted and writable"]
    found = [
        f".members has not {name} online"
        for name, row in layout["nodes"].items()
        if not (nodes.get(name) or {}).get("online") or nodes[name].get("id") != row["nodeid"]
    ]
    if cluster.get("name") != layout["cluster_name"] or not cluster.get("quorate"):
        found.append(".members is of another cluster, or not quorate")
    if cluster.get("version") != runtime.get("version"):
        found.append(f".members has version {cluster.get('version')}")
    return found


def _members(facts, layout, own, noted):
    told = {str(key): row for key, row in (facts["runtime"].get("joined") or {}).items()}
    found = []
    for name, row in layout["nodes"].items():
        member = told.get(str(row["nodeid"])) or {}
        if member.get("status") != "joined":
            found.append(f"the daemon does not say that {name} has joined")
        elif name != own and member.get("version") != facts["runtime"].get("version"):
            found.append(f"{name} joined with version {member.get('version')}")
    return [] if found and noted == memory.note(facts) else found


def _key(facts, noted):
    key = (facts.get("authkey") or {}).get("sha256")
    known = noted.get("authkey") if isinstance(noted, dict) else None
    return [] if key and key == known else ["the key was not compared with that of the others yet"]


def _as_all_are_judged(facts, layout, own):
    """The rules and the items of the exit checklist that a look at all nodes goes by, for this node."""
    others = [name for name in layout["nodes"] if name != own]
    observed = {"nodes": {own: facts}, "silent": []}
    findings = errors(every.check(layout, observed, skip=others))
    items = checklist.checklist(layout, observed, checklist.LINK_ITEMS, skip=others)
    return [item["text"] for item in findings if item["code"] not in alone.EXPECTED] + [
        f"{item['item']}: {item['seen']}" for item in items if not item["ok"]
    ]
