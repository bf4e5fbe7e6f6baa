"""Taking a node that is off out of its cluster for good: ``pvecm delnode`` and what has to be true around it.

Pure but for the ports of ``run.change``. Cut off at any point, the same again goes on from there.

Facts (pvecm(1), Remove a Cluster Node; pve-cluster ClusterConfig.pm): delnode needs quorum and stops the
corosync of a node that runs; the node's folder below ``/etc/pve/nodes`` and its ssh keys stay; a node that
was taken out must never start corosync again with the files that it has.
"""

from __future__ import annotations

from pve_corosync.findings import errors, finding, refusal
from pve_corosync.judge import situation
from pve_corosync.rules.every import yielding
from pve_corosync.rules.nodes import under_way
from pve_corosync.run import calls, join, task
from pve_corosync.run.calls import WAIT

#: seconds until every node has loaded the cluster file that delnode has written.
SPREAD_S = 20


class Remove(calls.Calls):
    """One removal: what is known, and what was done.

    :param request: a ``run.request.Request``; ``force`` counts. :param ports: see ``run.change``.
    :param settings: what ``arguments.settings`` returns. :param node: the node that leaves.
    """

    does = "remove"

    def __init__(self, request, ports, settings, node):
        super().__init__(request, ports, settings, node)
        self.others = [name for name in request.layout["nodes"] if name != self.node]

    def carry_out(self, test=False) -> dict:
        """Take the node out and return the report; the journal is closed whatever happens.

        :param test: only tell what would be done.
        """

        return self.run(lambda: self.until_failed(lambda: self._work(test)), remove=self.node)

    def _work(self, test):
        observed, layout = self.look(test), self.request.layout
        there = {name: row for name, row in observed["nodes"].items() if name in self.others}
        known = self.node in layout["nodes"]
        gone = known and there and not join.listed(observed, self.node) and not self._runs_with_it(observed)
        if gone and not test:
            return self._settle(observed, "already")
        refused, member = [*under_way(observed["nodes"]), *check(layout, self.node, observed)], None
        if not errors(refused, self.request.force):
            member = situation.choose_writer(self.others, situation.latest_of_facts(observed))
            refused += in_use(self.node, self.ask(member, "pvecm.guests"), self._jobs())
        self.found(*(yielding(item, self.request.force) for item in refused))
        if errors(refused, self.request.force):
            self.report["summary"] = refusal(refused, self.request.force)
            return "refused"
        if test:
            self.report["summary"] = (
                f"{self.node} is out of the cluster already"
                if gone
                else f"{self.node} would be taken out by pvecm delnode on {member}"
            )
            return "test"
        text = f"take {self.node} out of the cluster"
        self.do(text, member, "pvecm.delnode", {"name": self.node}, WAIT)
        return self._settle(None, "removed", member)

    def _jobs(self):
        return {name: self.ask(name, "pvesr.status") for name in self.others}

    def _runs_with_it(self, observed):
        return any(
            self.node in ((observed["nodes"].get(name) or {}).get("runtime") or {}).get("nodes", {})
            for name in self.others
        )

    def _settle(self, observed, result, member=None):
        """Look until every other node has the cluster without the node; name what is left of it."""

        def look():
            return observed or self.ports.gather()[0]

        def open_on(seen):
            return [name for name in self.others if not without(self.node, seen["nodes"].get(name))]

        seen = task.until(self.ports, SPREAD_S, look, lambda seen: observed or not open_on(seen), pause=1.0)
        left = open_on(seen)
        self.report |= {"state": situation.state_now(seen), "matrix": situation.matrix(seen)}
        if left:
            raise calls.Failed(
                f"not yet without {self.node}, with quorum and one file everywhere: {', '.join(left)}"
            )
        member = member or self.others[0]
        layout = self.request.layout
        self.found(*self.old_keys(member, lambda: {"keys": [], "host_keys": []}))
        if self.node in layout["nodes"]:
            self.found(
                finding(
                    "remove-in-pillar",
                    f"the pillar still has {self.node}",
                    data={"node": self.node},
                    remedy="take it out of corosync:nodes, then: salt '*' saltutil.refresh_pillar; "
                    "salt-run corosync.verify",
                )
            )
        self.report["summary"] = (
            f"{self.node} is {'no member' if result == 'already' else 'out'}; "
            f"{', '.join(self.others)} {'has' if len(self.others) == 1 else 'have'} quorum"
        )
        return result


def without(node: str, facts) -> bool:
    """Tell whether a node runs one configuration without another one, with quorum.

    :param node: the one that left. :param facts: of a node that stays, None if it gave none.
    """
    facts = facts or {}
    runtime, quorum = facts.get("runtime") or {}, facts.get("quorum") or {}
    local, cluster = facts.get("local") or {}, facts.get("cluster_file") or {}
    return bool(
        quorum.get("quorate")
        and (facts.get("pmxcfs") or {}).get("writable")
        and node not in (runtime.get("nodes") or {})
        and local.get("sha256")
        and local["sha256"] == cluster.get("sha256")
        and runtime.get("version") == local.get("version")
    )


def check(layout: dict, node: str, observed: dict) -> list[dict]:
    """Return what stands in the way of taking a node out, all at once.

    :param layout: any layout of the cluster, as ``pillar.layouts.resolve`` returns it.
    :param node: the node that leaves. :param observed: facts of all nodes.
    """
    others = [name for name in layout["nodes"] if name != node]
    there = {
        name: observed["nodes"][name] for name in others if (observed["nodes"].get(name) or {}).get("runtime")
    }
    if node not in layout["nodes"] and not join.listed(observed, node):
        return [
            finding(
                "remove-unknown",
                f"{node!r} is neither in the pillar nor in the cluster; "
                f"allowed: {', '.join(sorted(layout['nodes']))}",
                data={"value": node},
                remedy="correct node=",
            )
        ]
    if not others:
        return [
            finding(
                "remove-not-level",
                f"{node} is the only node of the pillar: nobody would stay",
                data={"nodes": []},
                remedy="correct node=",
            )
        ]
    found = _alive(node, observed, there)
    dead = [name for name in others if name not in there]
    if dead:
        found.append(
            finding(
                "remove-not-level",
                f"{', '.join(dead)}: no facts, or corosync does not run; every node that stays must see it",
                data={"nodes": dead},
                remedy=f"salt-run corosync.status skip={node}",
            )
        )
    poor = [name for name, facts in there.items() if not _quorate(facts)]
    if poor:
        first = layout["nodes"][poor[0]]["minion"]
        found.append(
            finding(
                "remove-no-quorum",
                f"no quorum on {', '.join(poor)}, and pvecm delnode needs it",
                data={"nodes": poor},
                remedy="first: salt-run corosync.status. If only votes of nodes that are off are missing: "
                f"salt {first} cmd.run 'pvecm expected 1', then the same again",
            )
        )
    if len(join.shapes(there, node)) > 1:
        found.append(
            finding(
                "remove-not-level",
                f"local files, cluster files and runtimes of {', '.join(sorted(there))} are not one",
                data={"nodes": sorted(there)},
                remedy=f"salt-run corosync.apply skip={node}",
            )
        )
    return found + _device(there)


def _quorate(facts):
    return bool((facts.get("quorum") or {}).get("quorate") and facts["pmxcfs"]["writable"])


def _alive(node, observed, there):
    """The node itself must be off: delnode would stop its corosync, and what it has would stay there."""
    own = observed["nodes"].get(node) or {}
    ids = {
        row["nodeid"]
        for facts in there.values()
        for name, row in facts["runtime"]["nodes"].items()
        if name == node
    }
    seen = [
        name for name, facts in there.items() if ids & set((facts.get("quorum") or {}).get("members") or ())
    ]
    if not own.get("runtime") and not seen:
        if not own:
            return []
        return [
            finding(
                "remove-answers",
                f"{node} answers: it must not start corosync again with the files that it has",
                data={"node": node},
                remedy="power it off, or disable it there: "
                f"salt {own.get('minion', node)} service.disable corosync",
            )
        ]
    who = f"is a member of {', '.join(seen)}" if seen else "runs corosync"
    return [
        finding(
            "remove-alive",
            f"{node} {who}: only a node that is off is taken out",
            data={"node": node},
            remedy=f"move its guests, then power {node} off: salt {own.get('minion', node)} system.poweroff",
        )
    ]


def _device(there):
    have = join.with_device(there)
    if not have:
        return []
    return [
        finding(
            "remove-qdevice",
            f"{', '.join(have)}: a quorum device is set up, and PVE wants it out before nodes come or go",
            data={"nodes": have},
            remedy="on one node: pvecm qdevice remove; afterwards: pvecm qdevice setup <its address>",
        )
    ]


def in_use(node: str, guests: dict, jobs: dict) -> list[dict]:
    """Return a finding if the cluster still has guests on the node, or replicates to it.

    :param node: the node that leaves. :param guests: ``{path below /etc/pve/nodes: sha256}``.
    :param jobs: ``{node: what pvesr.status returned}``.
    """
    own = sorted(path for path in guests if path.startswith(f"{node}/"))
    to_it = sorted(name for rows in jobs.values() for name, row in rows.items() if row["target"] == node)
    found = []
    if own:
        found.append(
            finding(
                "remove-guests",
                f"/etc/pve/nodes has guests of {node}: {', '.join(own)}",
                data={"paths": own},
                remedy=f"if a copy of their disks is elsewhere, there: mv /etc/pve/nodes/{own[0]} "
                f"/etc/pve/nodes/$(hostname)/{own[0].split('/', 1)[1]}; to leave them: force=remove-guests",
            )
        )
    if to_it:
        found.append(
            finding(
                "remove-replication",
                f"replication jobs go to {node}: {', '.join(to_it)}",
                data={"jobs": to_it},
                remedy="; ".join(f"pvesr delete {name}" for name in to_it)
                + "; to leave them, which fail from then on: force=remove-replication",
            )
        )
    return found
