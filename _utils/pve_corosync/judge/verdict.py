"""The verdict: one sentence of plain English that is the truth about the cluster, and what to type.

Pure. Silence proves nothing: what a node did not tell is named as not told, and nothing is concluded from it.
"""

from __future__ import annotations

import json
import time

from pve_corosync import arguments
from pve_corosync.cluster import halves, topology
from pve_corosync.findings import errors
from pve_corosync.judge import same_code, situation, ways
from pve_corosync.judge.phrases import apart, joined, lasting, verb
from pve_corosync.tools import pve

#: what a minion says that has no ``corosync.facts``.
LACKS_CODE = "is not available"


def verdict(observed: dict, layouts: dict, wanted: str, **more) -> dict:
    """Return what is true of the cluster, and the command that helps.

    :param observed: what ``judge.situation.observe`` returned.
    :param layouts: ``{name: layout}``, all of the pillar, resolved. :param wanted: the pillar's choice.
    :param more: ``skip``, ``findings`` (of the status), ``in_force`` (names), ``past`` (runs, newest first,
        as ``judge.past.row`` returns them), ``cluster`` (the name as it was typed), ``fast`` (as in
        ``plan.planner.plan``), ``now`` (seconds since the epoch), ``on_node`` (it is read on a node that has
        only itself, so that a command must work there).
    :returns: ``{"kind", "ok", "text", "command", "also": [text]}``; ``ok`` is False where the operator must
        act.
    """
    case = _Case(observed, layouts, wanted, more)
    told = next(filter(None, (look() for look in case.looks())))
    also = [text for text in case.also if text] + case.code(told[3])
    return {"kind": told[0], "ok": told[1], "text": told[2], "command": told[3], "also": also}


#: where nothing but the way out matters.
DIRE = ("unreachable", "no-code", "no-facts", "other-code", "stopped", "halves", "no-quorum", "cut-off")


def of_request(request, observed: dict, findings=(), **more) -> dict:
    """Return the verdict on what was observed for a request: see :func:`verdict`.

    :param request: a ``run.request.Request``. :param findings: those on the answers and of the plan.
    """
    known = request.layouts()
    # what the operator has forced does not stand in the way of the work, so it is not the verdict either
    findings = [item for item in findings if item["severity"] != "error" or errors([item], request.force)]
    return verdict(
        observed,
        known,
        request.loaded["layout"],
        skip=request.skip,
        findings=findings,
        in_force=situation.in_force(known, observed),
        cluster=request.cluster_arg,
        fast=request.loaded.get("fast_ping"),
        **more,
    )


def attach(report: dict, request, observed: dict, **more) -> dict:
    """Put the verdict into a report that does not bring the quorum back, where there is none: it fails then.

    :param report: of a plan or of a run, changed in place and returned. :param request: what was asked for.
    :param observed: what was seen last.
    """
    if report.get("steps") and not report.get("retcode"):
        return report
    told = of_request(request, observed, report.get("findings") or (), **more)
    if told["kind"] in DIRE:
        report |= {"verdict": told, "retcode": arguments.FAILED}
        if report.get("result") in ("planned", "already"):
            report |= {"result": "refused", "summary": "this layout does not help, nothing was changed"}
    return report


def lines(told: dict) -> list[str]:
    """Return a verdict as a short text, the sentence first and the command on a line of its own.

    :param told: what :func:`verdict` returned.
    """
    return [told["text"], *([f"  {told['command']}"] if told["command"] else []), *told["also"]]


class _Case:
    """One cluster that is judged. Each look returns ``(kind, ok, text, command)``, or None."""

    def __init__(self, observed, layouts, wanted, more):
        self.observed, self.layouts, self.wanted = observed, layouts, wanted
        self.skip = list(more.get("skip") or ())
        self.findings = list(more.get("findings") or ())
        self.in_force = list(more.get("in_force") or ())
        self.past = list(more.get("past") or ())
        self.cluster, self.fast = more.get("cluster"), more.get("fast")
        self.on_node = bool(more.get("on_node"))
        self.now = time.time() if more.get("now") is None else more["now"]
        self.facts = observed["nodes"]
        self.layout = layouts[
            ([name for name in (wanted, *self.in_force) if name in self.in_force] or [wanted])[0]
        ]
        self.name = self.layout["cluster_name"]
        self.members = [node for node in self.layout["nodes"] if node not in self.skip]
        self.silent = [node for node in self.members if node in observed["silent"]]
        found = self._lacking()
        self.lacking = [node for node in self.members if node in found and node in self.silent]
        told = {item["data"]["node"] for item in self.findings if item["code"] == "node-error"}
        told |= set(observed.get("refusals") or ())
        self.refusing = [node for node in self.silent if node in told and node not in self.lacking]
        self.mute = [node for node in self.silent if node not in (*self.lacking, *self.refusing)]
        self.view = topology.of(self.layout, observed, self.skip)
        self.dead = self._dead()
        self.also: list[str] = []

    def looks(self):
        """The looks, the worst first."""
        return (
            self.nobody,
            self.other_code,
            self.busy,
            self.stopped,
            self.halves,
            self.no_quorum,
            self.cut_off,
            self.read_only,
            self.ha_released,
            self.qdevice,
            self.failed_run,
            self.dead_link,
            self.silence,
            self.wrong,
            self.away,
            self.healthy,
        )

    def code(self, command):
        """How nodes get the code that they lack, where the command is another one."""
        if not self.lacking or command == self._sync():
            return []
        return [f"{self._lacks()}:", f"  {self._sync()}"]

    # -- who answers ---------------------------------------------------------------------------------------

    def nobody(self):
        """Nothing is known where nobody answers."""
        if self.facts:
            return None
        text = f"{self.name}: {self._unheard()}: nothing is known of the cluster."
        if self.lacking:
            return "no-code", False, text, self._sync()
        if self.refusing:
            return "no-facts", False, text, self._on(self.refusing, "corosync.facts")
        self.also += [
            "Nothing is known of the cluster, so change nothing from here. On a node's console:",
            "  salt-call --local corosync.status",
        ]
        text = (
            f"{self.name}: the master reaches none of {joined(self.members)}; is the master cut off itself?"
        )
        return "unreachable", False, text, self._on(self.members, "test.ping")

    def other_code(self):
        """A node with other code than the master does not take part in a run."""
        found = [item for item in errors(self.findings) if item["code"] == "code-differs"]
        if not found:
            return None
        nodes = sorted(
            {name for item in found for name in item["data"].get("nodes") or [item["data"]["node"]]}
        )
        quorum = "has quorum" if any(self._quorate(node) for node in self.facts) else "has NO QUORUM"
        whole = found[0]["data"].get("nodes")
        who = "the master has" if whole else f"{joined(nodes)} {verb(nodes, 'has', 'have')}"
        than = "the nodes" if whole else "the master"
        text = f"{self.name} {quorum}, but {who} other code of this project than {than}; no run begins so."
        sync = self._on(nodes, "saltutil.sync_all")
        if not whole:
            self.also.append("If it says the same again, the master is behind: salt-run saltutil.sync_all")
        self.also.append(f"{same_code.INSTALLED[0].upper()}{same_code.INSTALLED[1:]}.")
        return "other-code", False, text, f"salt-run saltutil.sync_all && {sync}" if whole else sync

    def silence(self):
        """The quorum is there, and somebody does not answer."""
        if not self.silent:
            return None
        if 2 * len(self.silent) < len(self.layout["nodes"]):
            without = json.dumps({"skip": self.silent})
            self.also.append(f"A run stops before it writes; to go on without: pillar='{without}'")
        text = f"{self.name} has quorum, but {self._unheard()}."
        if self.mute:
            return "silent", False, text, self._on(self.mute, "test.ping")
        if self.lacking:
            return "lacks-code", False, text, self._sync()
        return "silent", False, text, self._on(self.refusing, "corosync.facts")

    # -- quorum --------------------------------------------------------------------------------------------

    def busy(self):
        """A run is at work now."""
        held = [row["busy"] for row in self.facts.values() if row.get("busy")]
        if not held:
            return None
        state = "has quorum" if any(self._quorate(node) for node in self.facts) else "has NO QUORUM now"
        since = f" since {self._clock(held[0]['since'])}" if held[0].get("since") else ""
        text = f"{self.name} {state}, and run {held[0]['txn']} is at work{since}: let it end."
        return "busy", False, text, "salt-run corosync.journal"

    def stopped(self):
        """Corosync is stopped on some nodes, and that is all that is wrong."""
        off = self._stopped()
        if not off or len(off) == len(self.facts) or self.dead or self.silent:
            return None
        lost = "" if any(self._quorate(node) for node in self.facts) else " has NO QUORUM"
        text = f"{self.name}{lost}: corosync does not run on {joined(off)}. Start it with the newest file:"
        return "stopped", False, text, self._on(off, "corosync.apply")

    def halves(self):
        """Parts that are quorate apart: a repair of the network would drop what one of them wrote."""
        found = next((item for item in errors(self.findings) if item["code"] == halves.CODE), None)
        if not found:
            return None
        force = [halves.CODE]
        way = ways.way_out(
            self.observed, self.layouts, self.wanted, skip=self.skip, force=force, fast=self.fast
        )
        before = f"Repair {joined(self.dead)} only after that" if self.dead else "Repair nothing before that"
        self.also.append(f"{before}: when the parts meet, no copy is made by itself.")
        text = f"{self.name} is split, and EACH PART HAS QUORUM: {found['text']}."
        if not way.get("layout"):
            self.also += [f"Not by {name}: {why}" for name, why in way["why"].items()]
            return "halves", False, f"{text} No layout of the pillar joins them now.", ""
        text += f" Stop what runs on both sides. Then {'on the master, ' if self.on_node else ''}join them:"
        how = ways.orchestration(way["layout"], self.wanted, way["skip"], force, self.cluster)
        return "halves", False, text, how

    def no_quorum(self):
        """No node is quorate."""
        if any(self._quorate(node) for node in self.facts):
            return None
        if 2 * len(self.silent) > len(self.layout["nodes"]):
            here = f"{joined(self.facts)} {verb(self.facts, 'has', 'have')} NO QUORUM"
            said = f"{self.name}: {here}, and nobody knows whether {joined(self.silent)} have it"
        else:
            said = f"{self.name} has NO QUORUM"
        return self._way("no-quorum", f"{said}: {self._cause()}.")

    def cut_off(self):
        """Some are quorate, some are not."""
        lost = [node for node in self.members if node in self.facts and not self._quorate(node)]
        if not lost:
            return None
        have = [node for node in self.facts if self._quorate(node)]
        here = f"{joined(lost)} {verb(lost, 'has', 'have')} NO QUORUM"
        said = f"{self.name}: {here}, {joined(have)} {verb(have, 'has', 'have')} it: {self._cause()}."
        return self._way("cut-off", said)

    def _way(self, kind, said):
        way = ways.way_out(self.observed, self.layouts, self.wanted, skip=self.skip, fast=self.fast)
        if not way.get("layout"):
            return self._no_way(kind, said, way["why"])
        how = self._orchestration(way["layout"], skip=way["skip"], start=way["strategy"] == "restart")
        networks = [network for network in way["networks"] if network not in self.dead] or way["networks"]
        by = f"over {joined(networks)}" if way["strategy"] == "live" else "by a start of corosync"
        without = [node for node in way["skip"] if node not in self.skip]
        left = f", without {joined(without)}" if without else ""
        if self.on_node:
            self.also += ["Or on the master, for all of them:", f"  {how}"]
            there = ways.alone(way["layout"])
            return kind, False, f"{said} Way out, {by}{left}, type on every node:", there
        return kind, False, f"{said} Way out, {by}{left}:", how

    def _no_way(self, kind, said, why):
        """The master can do nothing: say what has to come back, and what the nodes can do themselves."""
        part = self._other_layout()
        if self.lacking:
            text = f"{said} Give {joined(self.lacking)} the code first:"
            return kind, False, text, self._sync()
        if self.silent and part:
            up = f"{joined(self.silent)} {verb(self.silent, 'is', 'are')}"
            text = f"{said} If {up} up and only cut off from here, type on every node:"
            self.also.append(f"Else bring {joined(self.silent)} back: alone there are too few votes.")
            return kind, False, text, ways.alone(part)
        repair = f"repair {joined(self.dead)}" if self.dead else "bring the missing nodes back"
        self.also += [f"Not by {name}: {text}" for name, text in why.items()]
        return kind, False, f"{said} No layout of the pillar helps now: {repair}.", ""

    def _other_layout(self):
        """The layout that has a network which was not seen dead and is not in use."""
        return next(
            (
                name
                for name in sorted(self.layouts, key=lambda name: name != ways.FAILOVER)
                if any(link["network"] not in self.dead for link in self.layouts[name]["links"].values())
            ),
            None,
        )

    def _stopped(self):
        return [node for node in self.members if node in self.facts and not self.facts[node].get("runtime")]

    def _cause(self):
        stopped = self._stopped()
        said = [f"corosync does not run on {joined(stopped)}"] if stopped else []
        for network, pairs in self.dead.items():
            said.append(f"{apart(pairs)} over {network}")
        if self.silent:
            said.append(self._unheard())
        return "; ".join(said) or f"{self._votes()}, though all links are connected"

    def _votes(self):
        told = [row.get("quorum") or {} for row in self.facts.values()]
        return ", ".join(sorted({f"{row.get('total')} of {row.get('expected')} votes" for row in told}))

    def read_only(self):
        """Quorum, and no writable /etc/pve."""
        bad = [
            node
            for node in self.members
            if node in self.facts and not (self.facts[node].get("pmxcfs") or {}).get("writable")
        ]
        if not bad:
            return None
        stuck = [node for node in bad if pve.hangs(self.facts[node].get("pmxcfs") or {})]
        said = [f"does not answer on {joined(stuck)} (pmxcfs hangs)"] if stuck else []
        left = [node for node in bad if node not in stuck]
        said += [f"is not writable on {joined(left)} (it may take 7 s after a loss)"] if left else []
        text = f"{self.name} has quorum, but /etc/pve {' and '.join(said)}."
        return "read-only", False, text, self._on((stuck or bad)[:1], "pve_node.units")

    # -- what weakens it -----------------------------------------------------------------------------------

    def dead_link(self):
        """A link is dead and the others carry."""
        if not self.dead:
            return None
        single = [pair for pair, links in self.view.connected.items() if len(links) < 2]
        risk = ": one more failure takes the quorum" if single else ""
        told = "; ".join(f"{apart(pairs)} over {network}" for network, pairs in self.dead.items())
        text = f"{self.name} has quorum{self._place()}, but {told}{risk}."
        repair = f"Repair {joined(self.dead)}; the link comes back by itself."
        primary = self.layout["primary"]["network"]
        if primary in self.dead and (way := self._other_primary()):
            self.also.append(repair)
            text += f" Replication and migration go over {primary}. Move them:"
            return "dead-link", False, text, self._orchestration(way)
        if not self.in_force or self.wanted in self.in_force:
            return "dead-link", False, f"{text} {repair}", ""
        return "dead-link", False, f"{text} {repair} Then home:", self._orchestration(self.wanted)

    def _other_primary(self):
        """The layout whose primary network is alive, and that can be reached."""
        good = {
            name: layout
            for name, layout in self.layouts.items()
            if layout["primary"]["network"] not in self.dead
        }
        if not good:
            return None
        return ways.way_out(self.observed, good, next(iter(good)), skip=self.skip, fast=self.fast).get(
            "layout"
        )

    def qdevice(self):
        """All nodes vote, and votes are missing: the quorum device gives none."""
        if not self._found("qdevice") or self.silent:
            return None
        poor = [
            node
            for node, row in self.facts.items()
            if len((row.get("quorum") or {}).get("members") or ()) == len(self.layout["nodes"])
            and (row["quorum"].get("total") or 0) < (row["quorum"].get("expected") or 0)
        ]
        if not poor:
            return None
        text = f"{self.name} has quorum, but its quorum device gives no vote ({self._votes()})."
        return (
            "qdevice",
            False,
            text,
            self._on(poor[:1], "service.status corosync-qdevice"),
        )

    def ha_released(self):
        """HA was released and nobody put it in service again."""
        busy = any(row.get("busy") for row in self.facts.values())
        off = [node for node, row in self.facts.items() if (row.get("ha") or {}).get("disarm")]
        last = self.past[0] if self.past else {}
        if not busy and off:
            text = f"{self.name} has quorum, but HA is RELEASED: no service is restarted if a node fails."
            return "ha-released", False, text, self._on(off[:1], "ha_manager.arm")
        if not busy and "ha-not-in-service" in (last.get("codes") or ()):
            text = (
                f"{self.name} has quorum, but the last run ({last['jid']}) could not put HA in service again."
            )
            return "ha-released", False, text, self._on(list(self.facts)[:1], "ha_manager.status")
        return None

    # -- what is open --------------------------------------------------------------------------------------

    def failed_run(self):
        """The last run did not end well: what it has left open is open also where the links are right."""
        ended = [row for row in self.past if row["result"] != "under way" and not _only_asked(row)]
        last = ended[0] if ended else None
        if not last or last["result"] not in ("failed", "interrupted", "broken off", "not true"):
            return None
        when = f"the last run (to {last['layout']}, {self._clock(last['begun_at'])}) {_ended(last['result'])}"
        show = f"salt-run corosync.journal {last['jid']}"
        # one whose layout is gone, or that left the cluster where it is wanted, is not gone on with
        back = self.wanted in self.in_force and last["layout"] not in self.in_force
        if back or last["layout"] not in self.layouts:
            self.also.append(f"By the way, {when}: {show}")
            return None
        self.also.append(f"What it did: {show}")
        self.also += [f"Besides, {apart(pairs)} over {network}." for network, pairs in self.dead.items()]
        text = f"{self.name} has quorum, but {when}. Go on with it:"
        return "last-run", False, text, self._orchestration(last["layout"])

    def wrong(self):
        """Anything else that refuses work."""
        bad = errors(self.findings)
        if not bad:
            return None
        rest = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return "wrong", False, f"{self.name} has quorum, but {bad[0]['text']}{rest}.", bad[0]["remedy"]

    def away(self):
        """Not on the wanted layout, and the way home."""
        if self.wanted in self.in_force:
            return None
        home = self._orchestration(self.wanted)
        networks = [link["network"] for _, link in sorted(self.layouts[self.wanted]["links"].items())]
        seen = [network for network in networks if network in self._alive()]
        state = (
            f"{joined(seen)} {verb(seen, 'is', 'are')} healthy on every pair{self._alive_for(seen)}"
            if len(seen) == len(networks)
            else f"{joined([n for n in networks if n not in seen])} was not seen; test it first: "
            f"salt-run corosync.probe {arguments.typed(self.wanted)}"
        )
        place = self._place() or " on none of the pillar's layouts"
        text = f"{self.name} has quorum{place}; {state}. Home to {self.wanted}:"
        return "away", True, text, home

    def healthy(self):
        """All is well."""
        links = joined(list(self._alive())) or "no link at all"
        text = f"{self.name} is healthy on {self.wanted}: {len(self.facts)} nodes, quorum, {links} connected."
        return "healthy", True, text, ""

    # -- parts ---------------------------------------------------------------------------------------------

    def _quorate(self, node):
        return bool((self.facts[node].get("quorum") or {}).get("quorate"))

    def _found(self, code):
        return next((item for item in self.findings if item["code"] == code), None)

    def _lacking(self):
        return [
            item["data"]["node"]
            for item in self.findings
            if item["code"] == "node-error" and LACKS_CODE in str(item["data"].get("error"))
        ]

    def _lacks(self):
        return f"{joined(self.lacking)} {verb(self.lacking, 'answers', 'answer')} without this project's code"

    def _sync(self):
        return self._on(self.lacking, "saltutil.sync_all")

    def _refuses(self):
        return f"{joined(self.refusing)} {verb(self.refusing, 'answers', 'answer')} with an error"

    def _unheard(self):
        """Of nodes without facts, what is true of them: silence, no code, or an error."""
        mute = (
            f"{joined(self.mute)} {verb(self.mute, 'does', 'do')} not answer the master" if self.mute else ""
        )
        lacks = self._lacks() if self.lacking else ""
        refuses = self._refuses() if self.refusing else ""
        return "; ".join(filter(None, (mute, lacks, refuses)))

    def _minions(self, nodes):
        return [
            self.layout["nodes"][node]["minion"] if node in self.layout["nodes"] else node for node in nodes
        ]

    def _dead(self):
        """``{network: pairs that it does not connect}`` of the links that run; silent nodes count."""
        links = {int(number): link for number, link in self.layout["links"].items()}
        spare = {number for number, link in links.items() if link.get("optional")}
        found = self._networks(lambda number, up: number not in up and not (up and number in spare))
        for node in self.view.running:
            for peer in self.silent:
                for number, row in sorted((self.facts[node].get("links") or {}).get(peer, {}).items()):
                    sig = self.view.current[node].get(int(number))
                    if sig and row.get("connected") is False:
                        pair = tuple(sorted((node, peer)))
                        found.setdefault(self.view.network_of(sig[0]), []).append(pair)
        return found

    def _alive(self):
        """The networks that connect every pair that runs them."""
        good = self._networks(lambda number, connected: number in connected)
        return {network: pairs for network, pairs in good.items() if network not in self.dead}

    def _alive_for(self, networks):
        """``" for at least 40 min"``, "" where not every node has a beacon that could tell."""
        told = []
        for one, two in self.view.pairs:
            for number in self.view.shared((one, two)):
                if self.view.network_of(self.view.current[one][number][0]) in networks:
                    told += [self._link_alive(one, two, number), self._link_alive(two, one, number)]
        return f" for at least {lasting(min(told))}" if told and None not in told else ""

    def _link_alive(self, node, peer, number):
        rows = (self.facts[node].get("alive_for") or {}).get(peer) or {}
        return {int(link): seconds for link, seconds in rows.items()}.get(number)

    def _networks(self, test):
        found: dict[str, list] = {}
        for pair in self.view.pairs:
            for number in sorted(self.view.shared(pair)):
                if test(number, self.view.connected[pair]):
                    network = self.view.network_of(self.view.current[pair[0]][number][0])
                    found.setdefault(network, []).append(pair)
        return found

    def _place(self):
        """``" on degraded since 03:12"``, "" on the wanted layout."""
        if not self.in_force or self.wanted in self.in_force:
            return ""
        name = self.in_force[0]
        run = next((row for row in self.past if row["layout"] == name and row["result"] == "reached"), None)
        return f" on {name}" + (f" since {self._clock(run['ended_at'])}" if run and run["ended_at"] else "")

    def _clock(self, at):
        form = "%H:%M" if abs(self.now - at) < 20 * 3600 else "%Y-%m-%d %H:%M"
        return time.strftime(form, time.localtime(at))

    def _orchestration(self, layout, skip=None, start=False):
        if self.on_node and any(self._quorate(node) for node in self.facts):
            return f"salt-call --local corosync.apply {arguments.typed(layout)}"
        given = self.skip if skip is None else skip
        return ways.orchestration(layout, self.wanted, given, (), self.cluster, start=start)

    def _on(self, nodes, call):
        """The command that calls a function on nodes, as it works where it is read."""
        if self.on_node:
            return f"salt-call --local {call}    (on {joined(nodes)})"
        minions = self._minions(nodes)
        return f"salt {'-L ' if len(minions) > 1 else ''}{','.join(minions)} {call}"


def _only_asked(run):
    """Tell whether a run changed nothing: a probe, or the checklist alone."""
    return {row["phase"] for row in run.get("phases") or ()} in ({"probe"}, {"exit checklist"})


def _ended(result):
    words = {"failed": "failed", "not true": "ended with an open checklist", "interrupted": "was interrupted"}
    return words.get(result, "was broken off")


def of_pillar(name: str, state: list[dict], broken: list[dict]) -> dict:
    """Return the verdict where the pillar cannot be read, so that nothing can be planned.

    :param name: the cluster, or the node that sees itself only.
    :param state: as ``judge.situation.state_now`` returns it.
    :param broken: what is wrong in the pillar, findings.
    :returns: as :func:`verdict`.
    """
    told = [row["quorate"] for row in state if row["answers"]]
    quorum = "has quorum" if any(told) else "has NO QUORUM" if told else "does not answer"
    item = broken[0]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    wrong = "it has no pillar `corosync`" if item["code"] == "pillar-none" else "its pillar is wrong"
    why = "" if item["code"] == "pillar-none" else f": {item['text']}{more}"
    text = f"{name} {quorum}, and {wrong}, so nothing can be planned{why}."
    return {"kind": "pillar", "ok": False, "text": text, "command": item["remedy"], "also": []}
