"""
From link maps to steps: complete documents, what to wait for, what each step may cost.

A *map* is ``{link number: signature}`` as in :mod:`.plan.search`. Every step carries the whole corosync.conf
that is to be in force after it.
"""

import math

from pve_corosync import conf
from pve_corosync.conf.links import differing, document, goal_links, signature
from pve_corosync.link_options import CONF_KEYS, FAST_PING

PVE_DELAY_S = 1.0  # pmxcfs dcdb.c: the writer sleeps 1 s between the file and the reload
SHORTEST_DEADLINE_S = 20


def fast_options(fast):
    """
    Corosync keys of the fast ping, ``{}`` for none.

    fast
        None or True: 200 ms interval, 400 ms timeout (link up in 0.5 s instead of 2.2 s); False or ``{}``:
        none; a dict with the pillar's or with corosync's names.
    """
    if fast is None or fast is True:
        fast = FAST_PING
    return {CONF_KEYS.get(key, key): str(value) for key, value in (fast or {}).items()}


def step(act: str, version: int, conf_text: str, text: str, **more) -> dict:
    """Return a step of a plan, with every key that one has; it asks and waits for nothing but the version.

    :param act: ``local``, ``cluster``, ``publish`` or ``restart``. :param version: its ``config_version``.
    :param conf_text: the whole file. :param text: what it does, in words.
    :param more: keys that are other than the default: ``number``, ``links``, ``add``, ``remove``, ``change``,
        ``wait``, ``deadline_s`` (seconds), ``cost``, ``nodes``, ``writers``,
        ``starts_from`` (digests of what it may replace).
    """
    return {
        "number": 1,
        "act": act,
        "version": version,
        "conf": conf_text,
        "text": text,
        "links": {},
        "add": [],
        "remove": [],
        "change": [],
        "wait": {"connected": {}, "quorate": False, "writable": False},
        "deadline_s": 20,
        "cost": "",
    } | more


class Builder:
    """
    Builds the steps of one plan, one after the other, each from the document of the one before.

    view
        ``cluster.topology.Topology``.
    base
        The document that edits start from.
    fast
        Corosync keys of the fast ping, ``{}`` for none.
    """

    def __init__(self, view, base, fast):
        self.view, self.layout, self.fast = view, view.layout, fast
        self.goal = goal_links(view.layout)
        self.doc = base
        self.version = view.cluster.highest
        self.steps = []
        self.maps = {node: view.current[node] for node in view.running}

    # -- link settings
    # --------------------------------------------------------------------------------------------

    def _wanted(self, links, lasting, fast_on):
        """``{link: (addresses, options)}`` of a map; the goal's options where `lasting`, else as they are."""
        have = self.doc.links()
        result = {}
        for number, sig in links.items():
            entry = have.get(number)
            known = entry is not None and sig == signature(number, entry["addresses"], entry["options"])
            if self.view.goal.get(number) == sig and (lasting or not known):
                addresses, options = self.goal[number]
            elif known:
                addresses, options = entry["addresses"], entry["options"]
            else:
                addresses, options = dict(sig[0]), _transport(sig)
            if number in fast_on:
                options = {**options, **self.fast}
            result[number] = (dict(addresses), dict(options))
        return result

    # -- steps
    # ----------------------------------------------------------------------------------------------------

    def reload(self, act, links, lasting=True, fast=False, nodes=None, alone=False):
        """
        Append a step that the daemons take by a reload.

        act
            ``local`` or ``cluster``.
        links
            The map after the step.
        lasting
            Give links that are where the goal wants them the goal's options.
        fast
            Give links that no node has yet the fast ping.
        nodes
            Nodes that take part, where not all do.
        alone
            No quorum is waited for: it cannot come without nodes that take no part.
        """
        before = [self.maps[node] for node in nodes or self.maps]
        added = sorted(n for n in links if any(n not in m for m in before))
        removed = sorted({n for m in before for n in m} - set(links))
        quick = [n for n in added if self.fast and fast and not any(n in m for m in before)]
        wanted = self._wanted(links, lasting, quick)
        changed = self._changed(wanted, added)
        self.version += 1
        totem = differing(self.doc, self.layout) if lasting and not nodes else {}
        made = document(self.doc, wanted, self.version, totem)
        step = self._step(act, links, added, removed, changed, made)
        step["text"] = self._text(links, before, added, removed, changed, quick, totem)
        step["wait"] = {
            "connected": self._expected(links, nodes, act),
            "quorate": not alone and not nodes and self._quorate(links),
            "writable": act == "cluster",
        }
        step["cost"] = self._cost(act, added, removed, quick, alone or nodes)
        if nodes:
            step["nodes"] = sorted(
                nodes
            )  # the others keep theirs, so the next step starts from the same document
        else:
            self.doc = made
        self.maps.update({node: dict(links) for node in nodes or self.maps})
        self.steps.append(step)
        return step

    def publish(self, text=None):
        """Append the step that puts the bytes of the local files into the cluster file."""
        if text is not None:
            self.doc = conf.parse(text)
            self.version = self.doc.version
        links = self.maps[self.view.running[0]]  # all have the same by now
        step = self._step("publish", links, [], [], [], self.doc)
        step["text"] = "put the bytes of the local files into the cluster file"
        step["wait"] = {"connected": {}, "quorate": True, "writable": True}
        step["cost"] = "no loss expected: equal bytes, pmxcfs reloads nothing"
        if len(step["writers"]) < len(self.view.members):
            step["nodes"] = sorted(step["writers"])  # it arrives where /etc/pve is mounted and quorate
        self.steps.append(step)
        return step

    def restart(self, mode, cost):
        """Append the step that puts the goal's file everywhere and restarts the daemons."""
        links = self.view.goal
        before = list(self.maps.values())
        added = sorted(n for n in links if any(m.get(n) != links[n] for m in before))
        removed = sorted({n for m in before for n in m} - set(links))  # one with another address stays
        changed = self._changed(self.goal, added)
        self.version += 1
        self.doc = document(self.doc, self.goal, self.version, self.layout.get("totem"))
        step = self._step("restart", links, added, removed, changed, self.doc)
        step["mode"] = mode
        how = "on all nodes at the same moment" if mode == "together" else "one node after the other"
        step["text"] = f"put layout {self.layout['name']} into every local file, restart corosync {how}"
        quorate = bool(self.view.quorate_groups(links))
        # pmxcfs looks for corosync every 5 s only; going on before it is back takes /etc/pve from two nodes.
        mounted = set(self.view.running) <= set(self.view.mounted)
        writable = quorate and mounted and mode == "rolling"
        step["wait"] = {"connected": self._expected(links), "quorate": quorate, "writable": writable}
        step["cost"] = cost
        self.maps = {node: dict(links) for node in self.view.running}
        self.steps.append(step)
        return step

    def _step(self, act, links, added, removed, changed, doc):
        made = step(
            act,
            self.version,
            doc.text,
            "",
            number=len(self.steps) + 1,
            links={n: self.view.network_of(sig[0]) for n, sig in sorted(links.items())},
            add=added,
            remove=removed,
            change=changed,
            deadline_s=self._deadline(),
        )
        if act in ("publish", "cluster"):
            made["writers"] = self._writers(links)
        return made

    # -- what is expected
    # -----------------------------------------------------------------------------------------

    def _changed(self, wanted, added):
        """Links that stay and get other options or another spelling of an address."""
        have = self.doc.links()
        return sorted(
            n
            for n, (addresses, options) in wanted.items()
            if n not in added
            and n in have
            and have[n] != {"addresses": addresses, "options": options, "interface": True}
        )

    def _expected(self, links, nodes=None, act="local"):
        """
        ``{link: [[node, node], …]}`` of the pairs that can be expected to connect.

        Where a node does not take the step, those that do wait for it on links that it has already. What
        comes through the cluster file reaches members that do not answer, too: their peers wait for them.
        """
        view, takes = self.view, set(nodes or self.maps)
        pairs = [*view.pairs, *view.watched]
        if act == "cluster":
            takes |= set(view.unseen_members) - set(view.unreached)
        maps = view.current | self.maps
        alone = len(takes) == len(view.running) and not view.watched
        return {
            n: [
                list(pair)
                for pair in pairs
                if sig[0] in view.carries[pair]
                and (alone or any(m in takes and m in self.maps for m in pair))
                and (alone or all(m in takes or maps[m].get(n) == sig for m in pair))
            ]
            for n, sig in sorted(links.items())
        }

    def _quorate(self, links):
        """Whether all running nodes are expected to be in one quorate group."""
        return not self.view.apart(links) and self.view.will_be_quorate(self.view.running)

    def _writers(self, links):
        """Nodes in a quorate group with /etc/pve mounted; those that can write to it now come first."""
        groups = self.view.quorate_groups(links)
        able = [n for g in groups for n in g if n in self.view.mounted]
        return sorted(able, key=lambda n: (n not in self.view.writable, n))

    def _deadline(self):
        token, consensus = self.view.cluster.token(), self.view.cluster.consensus()
        return max(SHORTEST_DEADLINE_S, math.ceil(3 * (token + consensus) / 1000))

    # -- words
    # ----------------------------------------------------------------------------------------------------

    def _text(self, links, before, added, removed, changed, quick, totem):
        names = {n: self.view.network_of(sig[0]) for n, sig in links.items()}
        gone = {n: self.view.network_of(sig[0]) for m in before for n, sig in m.items()}
        parts = [f"remove link {n} ({gone[n]})" for n in removed]
        parts += [f"add link {n} on {names[n]}" + (" (fast ping)" if n in quick else "") for n in added]
        if changed:
            parts.append(f"set the options of link {', '.join(map(str, changed))}")
        parts += [
            f"drop totem.{key}" if value is None else f"set totem.{key} to {value}"
            for key, value in totem.items()
        ]
        return "; ".join(parts) or "level all copies and reload"

    def _cost(self, act, added, removed, quick, alone):
        if alone:
            return "no loss: these nodes see nobody, the step connects them to nothing yet"
        token = self.view.cluster.token()
        # Three pongs make a link: pong_count 2, interval token/4 unless the fast ping is on.
        interval = int(self.fast.get("knet_ping_interval", 0)) if added == quick else 0
        seconds = 3 * (interval or token / 4) / 1000 + (PVE_DELAY_S if act == "cluster" else 0)
        told = []
        if added:
            told.append(f"a new link needs about {seconds:.1f} s to connect")
        if removed:
            told.append("every pair keeps a connected link that the step leaves alone")
        start = "no loss expected" if self.view.whole or self.steps else "nothing more is lost"
        return "; ".join([start] + told)


def _transport(sig):
    """Options that belong to the identity of a link."""
    options = {}
    if sig[1]:
        options["mcastport"] = sig[1]
    if sig[2] != "udp":
        options["knet_transport"] = sig[2]
    return options
