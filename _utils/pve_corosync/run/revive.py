"""Starting a stopped corosync again: whether that is safe, with which file, and what to expect then. Pure.

A daemon that starts with an older file than its peers exits, and can hang ``/etc/pve`` on all nodes. One that
cannot be asked is not a stopped one: it is never started, and nothing here restarts anything.
"""

from __future__ import annotations

import hashlib

from pve_corosync import conf
from pve_corosync.cluster.cluster import digests
from pve_corosync.findings import finding
from pve_corosync.judge import ways
from pve_corosync.plan import planner, steps

#: states of the unit in which no daemon runs, nor is about to.
STOPPED = ("inactive", "failed")


def is_stopped(facts: dict) -> bool:
    """Tell whether a node's corosync is known to be stopped, by its unit."""
    return not facts.get("runtime") and (facts.get("corosync") or {}).get("state") in STOPPED


def unreadable(node: str, facts: dict) -> dict:
    """Return the finding on a daemon that may run and cannot be asked."""
    state = (facts.get("corosync") or {}).get("state") or "unknown"
    return finding(
        "runtime-unreadable",
        f"{node}: corosync is {state}, but its runtime could not be read; it is not started again",
        data={"node": node, "state": state},
        remedy=f"on {node}: corosync-cmapctl totem.config_version; then the same again",
    )


def revival(request, observed: dict) -> tuple[dict | None, list[str]]:
    """Return ``(the step that starts this node's stopped corosync, [])``, or ``(None, why it is not safe)``.

    Safe is: all daemons that run have one file and its version, and this node has that file, or an older one
    that is replaced before the start. Every other node of the nodelist must have answered, unless those that
    run are quorate; where none runs, the newest file of all is the one. No stopped node has a newer file.

    :param request: a ``run.alone.Request``.
    :param observed: facts of this node, and of those that could be asked.
    """
    own = observed["nodes"][request.own]
    others = {name: facts for name, facts in observed["nodes"].items() if name != request.own}
    why = [f"{name} does not answer" for name in request.peers if name not in others]
    why += [
        f"{name}: corosync is {(facts.get('corosync') or {}).get('state')}, but could not be asked"
        for name, facts in others.items()
        if not facts.get("runtime") and not is_stopped(facts)
    ]
    running = {name: facts for name, facts in others.items() if facts.get("runtime")}
    copy, problems = _file(running, others, request.own, own)
    if copy is None:
        return None, why + problems
    doc = conf.parse(copy["text"])
    if request.own not in doc.nodes():
        why.append(f"{request.own} is not in the nodelist that the others have")
    if doc.cluster_name != request.layout["cluster_name"]:
        why.append(f"the others are of the cluster {doc.cluster_name!r}")
    if not (running and all((facts.get("quorum") or {}).get("quorate") for facts in running.values())):
        unseen = set(doc.nodes()) - {request.own, *others} - set(request.peers)
        why += [f"{name} was not asked, and those that run have no quorum" for name in sorted(unseen)]
    mine = own.get("local") or {}
    if mine.get("text") != copy["text"] and (mine.get("version") or 0) >= copy["version"]:
        why.append(f"this node's file has version {mine['version']}, theirs {copy['version']}, other bytes")
    why += [
        f"the file of {name} has version {facts['local']['version']}, above {copy['version']}"
        for name, facts in others.items()
        if not facts.get("runtime") and ((facts.get("local") or {}).get("version") or 0) > copy["version"]
    ]
    if why:
        return None, why
    return _step(copy, doc, running) | {"starts_from": digests(observed["nodes"].values())}, []


def _file(running, others, name, own):
    """Return ``(the copy to start with, [])`` or ``(None, [what is in the way])``."""
    having = running or {**others, name: own}
    copies = {n: facts["local"] for n, facts in having.items() if (facts.get("local") or {}).get("version")}
    lacking = [n for n in running if n not in copies]
    if lacking or not copies:
        return None, [f"no corosync.conf can be read on {', '.join(lacking or sorted(having))}"]
    top = max(copy["version"] for copy in copies.values())
    texts = {copy["text"]: copy for copy in copies.values() if running or copy["version"] == top}
    if len(texts) > 1:
        return None, [f"the files of {', '.join(sorted(copies))} differ"]
    copy = next(iter(texts.values()))
    behind = [n for n, facts in running.items() if facts["runtime"].get("version") != copy["version"]]
    if behind:
        return None, [f"corosync on {', '.join(behind)} runs another version than {copy['version']}"]
    return copy, []


def _step(copy, doc, running):
    whose = "that the other nodes run" if running else "that is the newest of all nodes"
    text, links = f"start corosync with the file {whose}", dict.fromkeys(doc.links(), "")
    how = {"deadline_s": 40, "links": links, "cost": "none"}
    return steps.step("restart", copy["version"], copy["text"], text, **how)


def expected(request, observed: dict, step: dict) -> dict | None:
    """Return what will be seen once this node's daemon runs, None if no quorum is to be expected then.

    :param step: what :func:`revival` returned.
    """
    own = observed["nodes"][request.own]
    doc = conf.parse(step["conf"])
    nodes = doc.nodes()
    running = [n for n, facts in observed["nodes"].items() if facts.get("runtime")]
    there = [n for n in nodes if n in {request.own, *running}]
    votes = {name: row["votes"] for name, row in nodes.items()}
    if not running or 2 * sum(votes[n] for n in there) <= sum(votes.values()):
        return None
    peer = observed["nodes"][running[0]]
    quorum = dict(
        peer.get("quorum") or {},
        quorate=True,
        expected=sum(votes.values()),
        total=sum(votes[n] for n in there),
        members=sorted(nodes[n]["nodeid"] for n in there),
    )
    linked = {number: {"connected": True} for number in doc.links()}
    digest = hashlib.sha256(step["conf"].encode("latin-1")).hexdigest()
    seen = {name: dict(facts) for name, facts in observed["nodes"].items()}
    seen[request.own] |= {
        "corosync": dict(own["corosync"], state="active"),
        "local": {"version": step["version"], "sha256": digest, "text": step["conf"]},
        "runtime": dict(peer["runtime"], nodeid=nodes[request.own]["nodeid"]),
        "links": {name: linked for name in running},
    }
    for name in there:
        facts = seen[name]
        facts["quorum"] = quorum
        facts["pmxcfs"] = dict(facts["pmxcfs"], writable=facts["pmxcfs"]["mounted"])
        if name != request.own:
            facts["links"] = {**(facts.get("links") or {}), request.own: linked}
    return {"nodes": seen, "silent": list(observed["silent"])}


def diffs(request, observed: dict, step: dict, then: list[dict]) -> dict:
    """Return ``{node or "cluster": unified diff}`` of a start and the steps planned after it.

    :param observed: facts before the start.
    """
    if then:
        return planner.diffs({"steps": [step, *then], "skip": request.skip}, observed)
    alone = {"nodes": {request.own: dict(observed["nodes"][request.own], cluster_file=None)}}
    return planner.diffs({"steps": [step], "skip": []}, alone)


def advice(request, observed: dict, why: list[str]) -> tuple[dict, list[str]]:
    """Return the finding on a start that is not safe, and the commands that get out of it.

    :param why: what :func:`revival` returned.
    """
    nodes = observed["nodes"]
    highest = max(
        (nodes[n].get(key) or {}).get("version") or 0
        for n in nodes
        for key in ("local", "cluster_file", "runtime")
    )
    running = any(facts.get("runtime") for facts in nodes.values())
    silent = [name for name in request.peers if name not in nodes]
    master = ways.command("apply", request.layout["name"], request.skip, request.force, strategy="restart")
    commands = (
        [f"once {', '.join(silent)} answers by ssh: {request.command_again('apply')}"] if silent else []
    )
    commands += [f"on the master: {master}"] if running else []
    commands.append(
        f"by hand: put one and the same /etc/corosync/corosync.conf, with config_version {highest + 1}, on "
        "every node; then on every node: systemctl start corosync"
    )
    item = finding(
        "alone-not-started",
        f"{request.own}: corosync is stopped and is not started, since {'; '.join(why)}",
        data={"node": request.own, "why": why},
        remedy=commands[0].partition(":")[2].strip(),
    )
    return item, commands
