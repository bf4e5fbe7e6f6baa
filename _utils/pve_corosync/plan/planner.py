"""
The plan: from what the nodes run to a layout, in steps that the running daemons accept, keeping every pair
connected.

A generator of safe transitions: the link maps come from :mod:`.plan.search`, the documents from
:mod:`.plan.steps`, and :mod:`.plan.invariants` reads every plan again before it leaves, from its documents
alone.

The acts of a plan:

* all nodes that take part see each other, are quorate and have ``/etc/pve``: every step goes through the
  cluster file (``cluster``); pmxcfs brings it to every node and has it reloaded;
* otherwise the first step is written to every local file and each partition reloads (``local``); it only adds
  links. Then the same bytes go into the cluster file (``publish``), and the rest through the cluster file;
* where corosync or ``/etc/pve`` is missing somewhere, all steps are ``local`` and ``publish`` comes last;
* where some nodes cannot be made to see each other, or no quorum can come back, the plan only adds and ends
  there.

``tests/bench growth`` prints what that takes, with rules and invariants; docs/safety.md has the table.
"""

from pve_corosync import conf
from pve_corosync import findings as finding_codes
from pve_corosync.cluster import restart, topology
from pve_corosync.cluster.cluster import MAX_VERSION, Cluster, digests, version_of
from pve_corosync.conf.links import is_goal
from pve_corosync.plan import align, invariants, optional, search, steps
from pve_corosync.plan.words import describe, diffs
from pve_corosync.rules import every

__all__ = ["PlanError", "STRATEGIES", "check_invariants", "describe", "diffs", "plan"]

STRATEGIES = ("live", "restart")

SOURCE = "this project's plan"


class PlanError(Exception):
    """A plan broke its own invariants: a fault of this program, ``problems`` says which."""

    def __init__(self, problems):
        self.problems = list(problems)
        super().__init__(
            "the plan breaks its own invariants, nothing was changed; report this with the output of "
            "`salt '*' corosync.facts`: " + "; ".join(self.problems)
        )


def plan(layout, observed, strategy="live", skip=(), force=(), fast=None, again=False):
    """
    Return the plan that takes the observed cluster to a layout.

    layout
        As ``pillar.layouts.resolve`` returns it.
    observed
        ``{"nodes": {name: facts}, "silent": [name, …]}``, facts as ``corosync.facts`` returns them.
    strategy
        ``live`` or ``restart``.
    skip
        Nodes to go on without.
    force
        Codes of findings to go on in spite of.
    fast
        Timers of links added while nodes do not see each other: None 200/400 ms, False or ``{}`` none, or a
        dict with ``ping_interval`` and ``ping_timeout`` (ms).
    again
        With ``restart``: restart also where everything is as the layout wants it.

    Returns ``{"cluster", "layout", "strategy", "path", "from_version", "to_version", "partitions", "steps",
    "expected_loss_s", "findings", "skip", "complete"}``; with an error among the findings, ``steps`` is
    empty. ``expected_loss_s`` is what a node may be without quorum; ``complete`` says whether the layout is
    reached at the end. A step that not all nodes take part in has ``nodes``.

    Raises ValueError for an unknown strategy, PlanError if the plan breaks an invariant.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r}; allowed: {', '.join(STRATEGIES)}")
    skip = [skip] if isinstance(skip, str) else sorted(skip)
    cluster = Cluster(layout, observed, skip=skip, strategy=strategy)
    findings = every.judge(cluster, force)
    result = {
        "cluster": layout["cluster_name"],
        "layout": layout["name"],
        "strategy": strategy,
        "path": "none",
        "from_version": 0,
        "to_version": 0,
        "partitions": [],
        "steps": [],
        "expected_loss_s": 0.0,
        "findings": findings,
        "skip": skip,
        "complete": False,
    }
    if finding_codes.errors(findings, force):
        return result
    maker = _Maker(cluster, fast, force)
    maker.again = again and strategy == "restart"
    result.update(maker.make())
    result["findings"] = finding_codes.ordered(
        findings + [every.yielding(item, force) for item in maker.findings]
    )
    if finding_codes.errors(result["findings"], force):
        result.update(steps=[], complete=False, expected_loss_s=0.0, to_version=result["from_version"])
    optional.relax(result, layout, maker.first)
    broken = invariants.check(result, maker.first)
    if broken:
        raise PlanError(broken)
    seen = digests(cluster.answered.values())
    for step in result["steps"]:
        step["starts_from"] = seen
    return result


def check_invariants(plan, layout, observed):
    """
    Return what a plan breaks of the invariants, as texts; none for a plan that :func:`plan` returned.

    plan, layout, observed
        As in :func:`plan`.
    """
    return invariants.check(plan, topology.of(layout, observed, plan.get("skip") or ()))


class _Maker:
    """Makes one plan; what it has to say besides is in ``findings``."""

    def __init__(self, cluster, fast, force):
        self.force = [force] if isinstance(force, str) else list(force)
        self.layout, self.strategy, self.findings = cluster.layout, cluster.strategy, []
        self.cluster, self.view = cluster, topology.Topology(cluster)
        self.first = self.view
        self.base = None if cluster.base is None else conf.parse(cluster.base.text)
        self.builder = None
        if self.base is not None:
            self.builder = steps.Builder(self.view, self.base, steps.fast_options(fast))
        self.groups = []
        self.again = False

    def make(self):
        """The parts of the plan that follow from the facts."""
        highest = self.cluster.highest
        result = {"partitions": self.view.partitions, "from_version": highest, "to_version": highest}
        starts = self.strategy == "restart" and self.view.stopped
        if not (self.view.running or starts) or self.base is None:
            self._say(
                "no-node",
                "no node that takes part answers with a running corosync and a readable file",
                remedy="strategy=restart puts one file everywhere and starts corosync"
                if self.view.stopped and self.base is not None
                else "look with: salt '*' corosync.facts",
            )
            return result
        if self.again or starts or not self._in_order(result):
            try:
                self._move(result)
            except conf.ConfError as err:
                self._say(
                    "plan-document",
                    f"version {self.builder.version}: {err}",
                    remedy="correct what is named there in the corosync.conf with the highest version",
                )
        self._room(highest)
        result["steps"] = self.builder.steps
        if self.builder.steps:
            result["to_version"] = self.builder.version
        return result

    def _say(self, code, text, data=None, remedy="", severity=None):
        self.findings.append(finding_codes.finding(code, text, data=data, remedy=remedy, severity=severity))

    def _room(self, highest):
        needed = len(self.builder.steps)
        if highest + needed > MAX_VERSION:
            self._say(
                "version-no-room",
                f"config_version {highest} cannot be raised by {needed}; allowed: up to {MAX_VERSION}",
                data={"value": highest},
                remedy="stop corosync on all nodes, set a small config_version in all files, start it",
            )

    # -- nothing to do, or only the cluster file
    # ---------------------------------------------------------------------

    def _in_order(self, result):
        """Deal with a layout that all nodes run from one and the same file; False if they do not."""
        members = self.view.members
        texts = {node.text("local") for node in members.values()}
        text = texts.pop()
        if texts or text is None:
            return False
        doc = _parsed(text)
        if doc is None or not is_goal(doc, self.layout):
            return False
        for node in self.view.running:
            runtime = members[node].runtime
            if runtime.get("version") != doc.version or runtime.get("reload_status") not in (None, 1):
                return False
            if self.view.current[node] != self.view.goal:
                return False
        if doc.version < self.cluster.highest:
            return False
        behind = [n for n in self.view.mounted if members[n].text("cluster_file") != text]
        quorate = {n for g in self.view.partitions if self.view.will_be_quorate(g) for n in g}
        reached = [n for n in behind if n in quorate]
        taken = [members[n].facts.get("cluster_file") or {} for n in reached]
        if any(version_of(copy) >= doc.version for copy in taken):
            return False  # pmxcfs takes no other bytes with a version that it has
        result["complete"] = not self.view.stopped
        if reached:
            result["path"] = "planned" if self.view.whole else "degraded"
            self.builder.publish(text)
        self._tell_behind(result, [n for n in behind if n not in quorate])
        return True

    def _tell_behind(self, result, nodes):
        """The cluster file of nodes that no writing reaches now; pmxcfs brings it when they are back."""
        if not nodes:
            return
        result["complete"] = False
        stopped = [n for n in nodes if n in self.view.stopped]
        self._say(
            "cluster-file-behind",
            f"the cluster file of {', '.join(nodes)} is not the local file, and no quorum there to write it",
            data={"nodes": nodes},
            remedy=f"on {', '.join(stopped)}: systemctl start corosync; pmxcfs then takes it from the others"
            if stopped
            else "plan again when the nodes see each other",
        )

    # -- the way
    # ----------------------------------------------------------------------------------------------------

    def _move(self, result):
        view = self.view
        self._tell_absent()
        self._tell_dead()
        if self._cut_by_goal():
            return
        blocked = self._to_dead_primary()
        if self.strategy == "restart":
            self._restart(result)
            return
        result["path"] = "planned" if view.whole else "degraded"
        alone = not view.whole and not self._quorum_possible()
        path, prelude = self._search(alone)
        if path is None:
            if prelude is not None:
                self._refuse_live()
            return
        if view.whole and len(view.mounted) == len(view.members) and view.writable:
            self._reload(result, [("cluster", links) for links in path])
            return
        self._degraded(result, path, prelude, alone, blocked)

    def _degraded(self, result, path, prelude, alone, blocked):
        """First step into every local file, then the cluster file, then the rest."""
        view, builder = self.view, self.builder
        groups = view.together(path[0])
        publishable = any(set(group) & set(view.mounted) for group in view.quorate_groups(path[0]))
        if alone or view.apart(path[0]):
            for nodes, links in prelude:
                builder.reload("local", links, nodes=nodes)
            self._only_add(path[0], groups, alone, publishable and not alone)
            return
        through_pve = publishable and not view.stopped and len(view.mounted) == len(view.members)
        act = "cluster" if through_pve else "local"
        moves = [("local", links, nodes) for nodes, links in prelude] + [("local", path[0])]
        if through_pve:
            moves.append(("publish", path[0]))
        if blocked and not all(self._begun([links]) for _, links in [*prelude, *enumerate(path[:-1])]):
            self._say_dead_primary(*blocked, severity="warning")
        else:
            moves += [(act, links) for links in path[1:]]
        self._reload(result, moves, len(prelude), publishable and not through_pve)
        if not through_pve and not publishable:
            self._unmounted()

    def _reload(self, result, moves, first=None, publish=False):
        """
        Append the steps ``(act, links[, nodes])``, as far as they cut off nobody who takes no part.

        first
            Place of the first step for all nodes on the degraded path: it leaves options as they are.
        publish
            The cluster file comes last, and by itself.
        """
        builder, view = self.builder, self.view
        count = self._absent_kept(moves)
        for place, (act, links, *nodes) in enumerate(moves[:count]):
            if act == "publish":
                builder.publish()
                continue
            # The last step has the goal's options; before it a link may come up sooner.
            quick = not view.whole if place == first else not nodes and links != moves[-1][1]
            builder.reload(act, links, lasting=place != first, fast=quick, nodes=nodes[0] if nodes else None)
        arrives = count == len(moves) and moves[-1][1] == view.goal
        if arrives and not is_goal(builder.doc, self.layout):
            builder.reload("local" if moves[-1][0] == "local" else "cluster", view.goal)
        if publish and count:
            builder.publish()
        result["complete"] = arrives and not view.stopped

    def _absent_kept(self, moves):
        """How many of these steps leave every node that takes no part connected; says so if not all do."""
        view = self.view
        maps = dict(view.current)
        for place, (act, links, *nodes) in enumerate(moves):
            takes = [] if act == "local" else [n for n in view.unseen_members if n not in view.unreached]
            who = [*(nodes[0] if nodes else view.running), *takes]
            after = maps | {n: links for n in who}
            cut = [n for n in view.unseen_members if view.cuts(n, maps, after)]
            if cut and act != "publish" and "absent-cut" not in self.force:
                added = any(maps[n].keys() - view.current[n].keys() for n in view.running)
                place = place if added or not self._level() else 0
                self._say_cut(cut, place)
                return place
            maps = after if act != "publish" else maps
        return len(moves)

    def _say_cut(self, nodes, place):
        told = ", ".join(nodes)
        self._say(
            "absent-cut",
            f"{told} takes no part and is connected; "
            + ("what is left to do" if place else "every way to the layout")
            + " would cut it off, because it gets no step of its own and none through the cluster file",
            data={"nodes": nodes},
            severity="warning" if place else None,
            remedy=f"make {told} answer, or mount /etc/pve where it is missing, then plan again; to cut it "
            "off: force=absent-cut",
        )

    def _only_add(self, links, groups, alone, publishable):
        """The nodes cannot be brought together now: add what may help later, and end there."""
        view, builder = self.view, self.builder
        told = " / ".join(", ".join(g) for g in groups)
        if len(groups) == 1 and not alone:
            told = "pairs " + ", ".join("-".join(pair) for pair in view.apart(links))
        union = {(n, sig) for node in view.running for n, sig in view.current[node].items()}
        if union - set(links.items()):
            links = None  # the first step of the way would remove something
        elif (
            all(set(view.current[node].items()) == set(links.items()) for node in view.running)
            and self._level()
        ):
            links = None
        if links is None:
            self._say(
                "nothing-to-add",
                f"{told}: no link that could be added connects them"
                + (" to the nodes that take no part" if alone and view.absent else ""),
                data={"groups": groups},
                remedy="if a link was added a moment ago, plan again in 3 s; else look at cables, addresses "
                "and firewall (UDP 5405-5412); to go on without nodes that are cut off: skip=[…]",
            )
            return
        builder.reload("local", links, lasting=False, fast=True, alone=alone)
        if publishable:
            builder.publish()
        if alone and view.absent:
            self._say(
                "quorum-not-expected",
                f"{told}: {'has' if len(view.running) == 1 else 'have'} no quorum without "
                f"{', '.join(view.absent)}; the plan only adds links, so that they find each other when it "
                "does the same",
                data={"absent": view.absent},
                remedy="plan again when they see each other",
            )
        else:
            self._say(
                "partition-remains",
                f"{told} still will not see each other; the plan only adds links",
                data={"groups": groups},
                remedy="plan again when the network is back, or with skip=[nodes that are cut off]",
            )

    def _level(self):
        """Whether all local files of the nodes that take part are one text, and every daemon runs it."""
        members = self.view.members
        texts = {node.text("local") for node in members.values()}
        versions = {members[n].version for n in self.view.running}
        return len(texts) == 1 and versions == {self.cluster.highest}

    # -- search
    # -----------------------------------------------------------------------------------------------------

    def _search(self, alone):
        """
        ``(path, prelude)``: link maps for all nodes, and steps that only cut-off nodes take first.

        The path is None where there is none, the prelude besides where that has been told.
        """
        view = self.view
        # Who gets no step at all takes none; that it is not cut off is seen to in _absent_kept.
        current, connected, carries = self._without(view.unreached)
        if alone:
            self._hope(current, connected, carries)
        heal = not view.whole
        # What is in no copy any more would be taken for an address that was never there (`address-absent`).
        runs = {sig[0] for links in current.values() for sig in links.values()}
        lost = {
            s for s in runs & {sig[0] for sig in view.goal.values()} if any(self._lacks(*row) for row in s)
        }
        path = search.search(current, view.goal, connected, carries, heal, lost, view.elsewhere)
        if path is None and set(view.unseen_members) - set(view.unreached):
            current, connected, carries = self._without(view.unseen_members)
            path = search.search(current, view.goal, connected, carries, heal, avoid=view.elsewhere)
            if path is not None and "absent-cut" not in self.force:
                self._say_cut(view.unseen_members, 0)
                return None, None
        groups = view.linked()
        if path is not None or len(groups) < 2:
            return path, []
        return align.align(view, groups, connected, carries)

    def _lacks(self, node, address):
        return node in self.view.members and self.view.members[node].lacks(address)

    def _hope(self, current, connected, carries):
        """Nodes that have no quorum alone should meet the absent ones, as if these had the same links."""
        first = self.view.running[0]
        for node in self.view.absent:
            current.setdefault(node, current[first])
            for peer in self.view.running:
                pair = tuple(sorted((node, peer)))
                connected.setdefault(pair, set())
                carries.setdefault(pair, self.view.hoped(peer, node))

    def _without(self, nodes):
        """Links of the nodes, what connects and what carries, without some nodes."""
        view, gone = self.view, set(nodes)
        return (
            {n: links for n, links in view.current.items() if n not in gone},
            {p: v for p, v in view.connected.items() if not gone & set(p)},
            {p: v for p, v in view.carries.items() if not gone & set(p)},
        )

    def _quorum_possible(self):
        """Whether some group of running nodes can be quorate with the goal's or the present links."""
        view = self.view
        links = dict(enumerate({s for m in [*view.current.values(), view.goal] for s in m.values()}))
        return bool(view.quorate_groups(links))

    # -- refusals and notes
    # -----------------------------------------------------------------------------------------

    def _cut_by_goal(self):
        """Pairs that talk now and would not with the goal."""
        view = self.view
        wanted = {sig[0] for sig in view.goal.values()}
        cut = [p for p in view.pairs if view.connected[p] and not view.carries[p] & wanted]
        if cut:
            told = ", ".join(f"{one}-{two}" for one, two in cut)
            names = ", ".join(sorted({link["network"] for link in self.layout["links"].values()}))
            self._say(
                "goal-cannot-carry",
                f"layout {self.layout['name']} has only {names}, seen dead between {told}: "
                "going there would cut them off",
                data={"pairs": [list(p) for p in cut]},
                remedy="repair the network, or take a layout that keeps a living one",
            )
        return cut

    def _to_dead_primary(self):
        """
        A working cluster does not go to a layout whose primary network is dead, whatever else carries.

        Where the nodes do not all see each other any link is better than none, and a layout that all run
        already is no way to anywhere.
        """
        view = self.view
        primary = self.layout["primary"]["network"]
        wanted = {
            view.goal[int(n)][0] for n, link in self.layout["links"].items() if link["network"] == primary
        }
        moves = any(view.current[node] != view.goal for node in view.running)
        dead = [p for p in view.pairs if wanted and not view.carries[p] & wanted]
        if not moves or not dead:
            return None
        begun = self._begun(view.current.values()) or self._written()
        if begun and view.joined and self.strategy == "live":
            return None
        if view.joined:
            self._say_dead_primary(primary, dead)
        return None if "primary-dead" in self.force else (primary, dead)

    def _begun(self, maps):
        """Whether link maps are on the way to the layout: its networks on numbers that it does not use."""
        goal = self.view.goal
        networks = {sig[0] for sig in goal.values()}
        return any(n not in goal and sig[0] in networks for links in maps for n, sig in links.items())

    def _written(self):
        """Whether a newest file is the layout already: a run was cut off in its last step."""
        texts = {
            node.text(kind)
            for node in self.view.members.values()
            for kind in ("local", "cluster_file")
            if version_of(node.facts.get(kind) or {}) == self.cluster.highest
        }
        docs = [_parsed(text) for text in texts if text is not None]
        return any(doc is not None and is_goal(doc, self.layout) for doc in docs)

    def _say_dead_primary(self, primary, dead, severity=None):
        told = ", ".join(f"{one}-{two}" for one, two in dead)
        self._say(
            "primary-dead",
            f"{primary}, the primary network of layout {self.layout['name']}, was seen dead between {told}"
            + ("; the plan ends when the nodes see each other" if severity else ", and the nodes talk now"),
            data={"network": primary, "pairs": [list(p) for p in dead]},
            severity=severity,
            remedy=f"repair {primary} and look with: salt-run corosync.status; to go there on its other "
            "links, which ends with `layout-not-reached`: force=primary-dead",
        )

    def _refuse_live(self):
        view = self.view
        used = sorted({n for m in view.current.values() for n in m} | set(view.goal))
        full = len(used) >= search.MAX_LINKS
        mode, outage = restart.outage(view)
        self._say(
            "no-live-path",
            "no sequence of reloads keeps every pair of nodes connected"
            + (f"; all link numbers are in use ({', '.join(map(str, used))})" if full else ""),
            data={"used": used, "restart": {"mode": mode, **outage}},
            remedy=f"plan with strategy=restart: {restart.words(mode, outage)}",
        )

    def _restart(self, result):
        view, builder = self.view, self.builder
        mode, outage = restart.outage(view)
        result.update(path="restart", complete=True, expected_loss_s=outage["loss_s"])
        builder.view = view = self.view = view.started()
        builder.maps.update({node: {} for node in view.running if node not in builder.maps})
        builder.restart(mode, restart.words(mode, outage))
        self._say(
            "restart-outage",
            restart.words(mode, outage),
            data={"mode": mode, **outage},
            remedy="the live strategy reaches the layout without a loss where it is possible",
        )
        if not view.quorate_groups(view.goal):
            return
        if view.mounted:
            builder.publish()
            return
        self._unmounted()

    def _unmounted(self):
        self._say(
            "cluster-file-behind",
            "no node has /etc/pve mounted, the cluster file stays behind",
            remedy="systemctl start pve-cluster on one node, then plan again",
        )

    def _tell_absent(self):
        for node in self.view.unseen_members:
            self._say(
                "absent-member",
                f"{node} takes no part, but corosync is connected with it: steps through the "
                "cluster file reach it, and only its links are read back, from their other ends",
                data={"node": node},
                remedy=f"make its minion answer: salt {self.layout['nodes'][node]['minion']} test.ping",
            )

    def _tell_dead(self):
        view = self.view
        for number, sig in sorted(view.goal.items()):
            dead = [p for p in view.pairs if sig[0] not in view.carries[p]]
            if dead:
                told = ", ".join(f"{one}-{two}" for one, two in dead)
                self._say(
                    "network-dead",
                    f"link {number} ({view.network_of(sig[0])}) is not expected to connect "
                    f"{told}: seen dead, or the address is not there; it is not waited for",
                    data={"link": number, "pairs": [list(p) for p in dead]},
                )


def _parsed(text):
    try:
        return conf.parse(text)
    except conf.ConfError:
        return None
