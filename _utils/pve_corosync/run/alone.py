"""What one node decides when it works on the layout by itself: from highstate, or on a day without a master.

Pure: the execution module ``corosync`` gathers, locks, acts and reads back. A node acts on itself and, while
it is quorate, on the cluster file; it never writes to another node. So a plan that needs every node to write
its own local file is refused here with the command for the master, except in :func:`own_part`: there a node
without quorum does its share, and the others do theirs by their own run.
"""

from __future__ import annotations

from pve_corosync import addresses, arguments, conf
from pve_corosync.cluster import topology
from pve_corosync.cluster.cluster import digests
from pve_corosync.cluster.export import member_address
from pve_corosync.conf.links import signatures
from pve_corosync.findings import errors, finding, ordered
from pve_corosync.judge import verdict
from pve_corosync.plan import planner, steps
from pve_corosync.run import request as request_of_master

#: what a node that goes on without its peers gives up is known to who asked for it.
EXPECTED = ("node-skipped", "skip-no-quorum", "quorum-not-expected")


class Request(request_of_master.Request):
    """A layout that is asked for on one node.

    :param pillar: the pillar ``corosync``, plain types.
    :param minion: this minion's id.
    :param host: this node's name in corosync, or its host name.
    :param layout, skip, force: as in ``run.request.Request``.
    :raises pillar.layouts.LayoutError: bad pillar, or unknown layout.
    :raises arguments.RunError: no pillar, or one that does not have this node.
    """

    def __init__(self, pillar, minion, host, layout=None, skip=(), force=()):
        if pillar is None:
            raise arguments.RunError(
                finding(
                    "pillar-none",
                    f"{host}: no pillar `corosync` on minion {minion!r}",
                    remedy="without a master, put it into /srv/pillar (top.sls and corosync/) on this node",
                )
            )
        super().__init__(pillar, layout, skip=skip, force=force)
        mine = [name for name, row in self.layout["nodes"].items() if row["minion"] == minion]
        self.own = host if host in self.layout["nodes"] else (mine or [None])[0]
        if self.own is None:
            raise arguments.RunError(
                finding(
                    "alone-stranger",
                    f"{host} (minion {minion!r}) is no node of the pillar; it has "
                    f"{', '.join(sorted(self.layout['nodes']))}",
                    data={"host": host, "minion": minion},
                    remedy="add it to corosync:nodes, or set its minion:",
                )
            )
        self.skip = [name for name in self.skip if name != self.own]
        self.nodes = [name for name in self.nodes if name != self.own]
        self.nodes.insert(0, self.own)
        #: the last plan as it was made, also where this node cannot carry it out alone.
        self.made = None

    @property
    def peers(self) -> dict:
        """``{node: minion id}`` of the other nodes that take part."""
        return {name: self.minions[name] for name in self.nodes if name != self.own}

    def command_again(self, function: str, **more) -> str:
        """Return the command line of a function on this node."""
        words = ["salt-call --local", f"corosync.{function}", arguments.typed(self.layout["name"])]
        words += [f"skip={','.join(self.skip)}"] if self.skip else []
        words += [f"force={','.join(self.force)}"] if self.force else []
        return " ".join([*words, *(f"{key}={value}" for key, value in more.items())])

    def on_master(self) -> str:
        """Return the command line for the master."""
        return super().whole_job()

    def whole_job(self) -> str:
        """Return the command line that does the links from this node."""
        return self.command_again("apply")

    def plan(self, observed, findings):
        """Return the plan and all findings; this node is the writer of each step."""
        made, found = super().plan(observed, findings)
        self.made = made
        foreign = [step for step in made["steps"] if step["act"] in ("local", "restart")]
        if foreign:
            said = "; ".join(f"step {step['number']} ({step['text']})" for step in foreign)
            made = made | {"steps": [], "complete": False, "to_version": made["from_version"]}
            found = ordered(
                [
                    *found,
                    finding(
                        "alone-needs-all",
                        f"every node must write its own local file: {said}",
                        data={"steps": [step["number"] for step in foreign]},
                        remedy=f"on the master: {self.on_master()}",
                    ),
                ]
            )
        for step in made["steps"]:
            step["writers"] = [self.own]
        return made, found


def unreachable(why: dict) -> list[dict]:
    """Return a finding for each node that could not be asked.

    :param why: ``{node: text}``.
    """
    return [
        finding("peer-unreachable", f"{name}: {text}", data={"node": name})
        for name, text in sorted(why.items())
    ]


def quorate(facts: dict) -> bool:
    """Tell whether a node is quorate, by its own daemon."""
    return bool((facts.get("quorum") or {}).get("quorate"))


def no_quorum(request: Request, observed: dict) -> dict:
    """Return the finding on a node without quorum where nothing may be touched.

    :param observed: what this node sees of the cluster.
    """
    votes = observed["nodes"][request.own].get("quorum") or {}
    seen = f"{votes.get('total')} of {votes.get('expected')} votes" if votes else "corosync does not run"
    return finding(
        "alone-no-quorum",
        f"{request.own} is not quorate ({seen})",
        data={"node": request.own},
        remedy=verdict.of_request(request, observed, on_node=True)["command"],
    )


def not_member(request: Request, facts: dict) -> dict | None:
    """
    Return the finding on a node that has neither a configuration nor the cluster's key: it must join first.
    """
    if facts.get("local") or facts.get("authkey"):
        return None
    call = f'salt-run state.orchestrate orch.rebuild pillar=\'{{"node": "{request.own}"}}\''
    return finding(
        "alone-not-member",
        f"{request.own} has neither corosync.conf nor the key of the cluster: it is freshly "
        "installed and must join first",
        data={"node": request.own},
        remedy=call,
    )


def stage_findings(refusals: dict) -> list[dict]:
    """Return a finding for every node whose corosync refuses a file.

    :param refusals: ``{node: text}``, "" for one that takes it.
    """
    return [
        finding("stage-failed", f"{name}: {text}; nothing was written on any node", data={"node": name})
        for name, text in sorted(refusals.items())
        if text
    ]


def own_part(request: Request, observed: dict) -> dict:
    """Return this node's share of the degraded path: one step for it alone, which only adds links.

    Nodes that do not see each other must come to the same bytes by themselves. So the step is planned from
    nothing but this node's own files and daemon, which are the same on all nodes before anything went wrong,
    with the version one above them. If another node can be asked and has a higher file, its share is done,
    and that file is taken as it is, provided that it keeps every link that runs here; else the version goes
    above all that was seen.

    :param request: what is asked for.
    :param observed: facts of this node, and of those that could be asked.
    :returns: ``{"step": step or None, "findings": [finding], "summary": text, "diffs": {node: diff}, "cut":
        [nodes that must do theirs]}``; no step and no error: this node has done its share.
    """
    own = observed["nodes"][request.own]
    others = [name for name in request.layout["nodes"] if name != request.own]
    alone = {"nodes": {request.own: own}, "silent": others}
    made = planner.plan(
        request.layout,
        alone,
        skip=others,
        force=[*request.force, "skip-no-quorum", "pve-not-mounted", "pve-hung"],
        fast=request.loaded.get("fast_ping"),
    )
    highest = made["from_version"]
    nothing = "nothing-to-add"
    findings = [item for item in made["findings"] if item["code"] not in (*EXPECTED, nothing)]
    result = {"step": None, "findings": findings, "summary": "", "diffs": {}, "cut": list(request.peers)}
    if errors(findings, request.force) or not own.get("runtime"):
        return result
    step = made["steps"][0] if made["steps"] else None
    ahead = {
        name: facts["local"]
        for name, facts in observed["nodes"].items()
        if name != request.own
        and (facts.get("local") or {}).get("version")
        and facts["local"]["version"] > highest
    }
    if ahead:
        top = max(row["version"] for row in ahead.values())
        texts = {row["text"]: name for name, row in sorted(ahead.items()) if row["version"] == top}
        text, source = next(iter(texts.items()))
        if len(texts) == 1 and _keeps(text, own, request):
            findings.append(
                finding(
                    "part-adopted",
                    f"{source} has version {top} already; this node takes the same file",
                    data={"node": source, "version": top},
                )
            )
            step = _adopted(text, top, source, request, own)
            step["starts_from"] = digests(observed["nodes"].values())
        elif step:
            doc = conf.parse(step["conf"])
            doc.set_version(top + 1)
            step = step | {"version": top + 1, "conf": doc.text}
    if step:
        step = step | {
            "number": 1,
            "act": "local",
            "wait": {"connected": {}, "quorate": False, "writable": False},
        }
        step.pop("nodes", None)
    own = dict(own, cluster_file=None)
    return result | _told("this node's part", step, {"nodes": {request.own: own}})


def _told(whose, step, observed):
    if not step:
        return {"step": None, "summary": f"{whose} is done already"}
    return {
        "step": step,
        "summary": f"{whose}: {step['text']}, version {step['version']}",
        "diffs": planner.diffs({"steps": [step], "skip": []}, observed),
    }


def majority_part(request: Request, observed: dict, findings: list[dict]) -> dict | None:
    """Return the share of the degraded path of a quorate partition that other nodes are cut off from.

    The first step of the plan for all nodes only adds links. The quorate ones take it through the cluster
    file, and those that are cut off take the same bytes over in their own part.

    :param findings: those of the last ``request.plan``.
    :returns: what :func:`own_part` returns; None if that plan has no such step.
    """
    made = request.made or {"steps": []}
    if "alone-needs-all" not in [item["code"] for item in findings] or not made["steps"]:
        return None
    step = made["steps"][0]
    group = next((list(names) for names in made["partitions"] if request.own in names), [])
    cut = [name for name in request.nodes if name not in group]
    facts = {name: observed["nodes"][name] for name in group}
    if (
        not cut
        or step["act"] != "local"
        or any(step.get(key) for key in ("nodes", "remove", "change"))
        or not all(quorate(row) and (row.get("pmxcfs") or {}).get("writable") for row in facts.values())
    ):
        return None
    findings = [item for item in findings if item["code"] != "alone-needs-all"]
    result = {"step": None, "findings": findings, "summary": "", "diffs": {}, "cut": cut}
    seen = {"nodes": facts, "silent": []}
    if _has(step, seen, request):
        return result | _told("the quorate nodes' part", None, seen)
    connected = {
        number: [pair for pair in pairs if set(pair) <= set(group)]
        for number, pairs in ((step.get("wait") or {}).get("connected") or {}).items()
    }
    step = step | {
        "number": 1,
        "act": "cluster",
        "nodes": group,
        "writers": [request.own],
        "wait": {"connected": connected, "quorate": True, "writable": True},
    }
    return result | _told("the quorate nodes' part", step, seen)


def _has(step: dict, observed: dict, request: Request) -> bool:
    """
    Tell whether all these nodes run the links of a step already, from one and the same file.
    """
    nodes = observed["nodes"]
    copies = {(f.get(key) or {}).get("text") for f in nodes.values() for key in ("local", "cluster_file")}
    view = topology.of(request.layout, observed)
    try:
        one, want = (signatures(conf.parse(text)) for text in (next(iter(copies)) or "", step["conf"]))
    except conf.ConfError:
        return False
    return len(copies) == 1 and one == want and all(view.current.get(name) == want for name in nodes)


def _keeps(text: str, own: dict, request: Request) -> bool:
    """
    Tell whether a file has every link that runs on this node as it runs, for the same cluster and nodes.
    """
    try:
        doc = conf.parse(text)
    except conf.ConfError:
        return False
    if doc.cluster_name != request.layout["cluster_name"] or set(doc.nodes()) != set(request.layout["nodes"]):
        return False
    view = topology.of(request.layout, {"nodes": {request.own: own}, "silent": []})
    have = signatures(doc)
    return all(have.get(number) == sig for number, sig in view.current[request.own].items())


def _adopted(text, version, source, request, own):
    links = conf.parse(text).links()
    running = own["runtime"]["nodes"][request.own]["addresses"]
    networks = {
        number: next(
            (
                name
                for name, row in request.layout["networks"].items()
                if row.get(request.own) == link["addresses"].get(request.own)
            ),
            "?",
        )
        for number, link in links.items()
    }
    added = sorted(set(links) - {int(number) for number in running})
    said = f"take the file of {source}" + (f": add link {', '.join(map(str, added))}" if added else "")
    return steps.step("local", version, text, said, links=networks, add=added, cost="nothing more is lost")


def changed(before: dict, after: dict) -> dict:
    """Return ``{node or "cluster": unified diff}`` of the files between two looks; equal ones are left out.

    :param before, after: facts of the nodes that could be asked; one that is in only one of them is left out.
    """
    found = {}
    for name in sorted(set(before["nodes"]) & set(after["nodes"])):
        one, two = before["nodes"][name], after["nodes"][name]
        texts = [(facts.get("local") or {}).get("text") or "" for facts in (one, two)]
        found[name] = conf.diff(*texts)
        if one.get("cluster_file") and two.get("cluster_file"):
            texts = [facts["cluster_file"]["text"] for facts in (one, two)]
            shown = conf.diff(*texts, "/etc/pve/corosync.conf")
            found["cluster"] = found.get("cluster") or shown
    return {name: text for name, text in found.items() if text}


def own_rows(request: Request, facts: dict, trust: list[str]) -> tuple[list[dict], list[dict]]:
    """Return what one node can see of the exit checklist beyond the links, and a finding on what is not so.

    :param facts: this node's facts.
    :param trust: what is wrong with its certificate and host keys.
    """
    wanted = {n: addresses.canonical(a) for n, a in request.layout["primary"]["addresses"].items()}
    members = (facts.get("pmxcfs") or {}).get("members")
    seen = {
        "names": {n: ((facts.get("names") or {}).get(n) or [None])[0] for n in wanted},
        "primary": {n: member_address(members, n) for n in wanted},
    }
    network = request.layout["primary"]["network"]
    rows = []
    for item, where in (("names", "/etc/hosts"), ("primary", ".members")):
        wrong = [f"{n} is {seen[item][n] or 'missing'}, not {a}" for n, a in sorted(wanted.items())]
        wrong = [text for text, n in zip(wrong, sorted(wanted)) if seen[item][n] != wanted[n]]
        rows.append((f"{item} on {request.own}", wrong, f"primary network {network} in {where}"))
    rows.append((f"certificate on {request.own}", trust, "covers name and address, host keys are known"))
    rows = [
        {"item": item, "ok": not wrong, "seen": "; ".join(wrong) or "so", "expected": expected}
        for item, wrong, expected in rows
    ]
    bad = [row["item"] for row in rows if not row["ok"]]
    if not bad:
        return rows, []
    item = finding(
        "alone-to-follow",
        f"not as layout {request.layout['name']} wants it: {', '.join(bad)}",
        data={"items": bad},
        remedy="with quorum: highstate on this node (salt-call state.apply, without a master --local)",
    )
    return rows, [item]


def judged(report: dict, checklist: list[dict], findings: list[dict]) -> dict:
    """Return a report with the exit checklist in it.

    :param report: the report so far.
    :param checklist: the items, as far as one node can see.
    :param findings: what the checklist bears.
    """
    bad = [item["item"] for item in checklist if not item["ok"]]
    report = report | {"checklist": checklist, "findings": ordered([*report["findings"], *findings])}
    if not bad:
        return report
    return report | {
        "findings": ordered(
            [
                *report["findings"],
                finding(
                    "layout-not-reached",
                    f"not true: {', '.join(bad)}",
                    data={"items": bad},
                    remedy="see the checklist for what is seen and expected",
                ),
            ]
        )
    }
