"""
What the plan needs to know of the cluster, derived from the facts of the nodes.

Which links each daemon runs, which pairs of nodes they connect, which networks are dead between whom, who
sees whom, and how high the versions are. Pure: the facts go in as ``corosync.facts`` returned them, nothing
is asked again.
"""

import itertools
import re

from pve_corosync.addresses import canonical, parse
from pve_corosync.conf.links import port_of, signature, signature_of

MAX_VERSION = 2**64 - 1  # corosync 3.1.7 coroparse.c: config_version is an unsigned 64-bit number
DEFAULT_TOKEN = 3000  # ms, corosync >= 3.1.0
DEFAULT_COEFFICIENT = 650  # ms for each node above two
#: pmxcfs cfs-utils.c: the first match anywhere in the file
PMXCFS_VERSION = re.compile(r"config_version\s*:\s*(\d+)")


class View:
    """
    The observed cluster, seen from one layout.

    layout
        The layout wanted, as ``pillar.layouts.resolve`` returns it.
    observed
        ``{"nodes": {name: facts}, "silent": [name, …]}``.
    skip
        Names of nodes to go on without.

    Public attributes, nodes always by name and in sorted order:

    ``facts``      ``{node: facts}`` of the nodes that take part: in the layout, answering, not skipped
    ``running``    those of them whose corosync runs; ``stopped`` the others
    ``answers``    facts of all that answer, skipped ones too
    ``absent``     nodes of the layout that take no part
    ``current``    ``{node: {link: signature}}`` of the running nodes, and of absent ones still connected
    ``goal``       ``{link: signature}``
    ``connected``  ``{pair: set of links}`` seen connected on both ends
    ``carries``    ``{pair: set of address sets}`` expected to connect the pair: not seen dead, address there
    ``pairs``      pairs of running nodes that take part; ``carries`` has those with absent members besides
    ``partitions`` lists of running nodes that see each other
    """

    def __init__(self, layout, observed, skip=()):
        self.layout = layout
        every = sorted(layout["nodes"])
        answers = self.answers = observed.get("nodes") or {}
        self.facts = {n: answers[n] for n in every if n in answers and n not in set(skip)}
        self.absent = [n for n in every if n not in self.facts]
        self.running = [n for n in self.facts if self.facts[n].get("runtime")]
        self.stopped = [n for n in self.facts if n not in self.running]
        self.names = {row["nodeid"]: name for name, row in layout["nodes"].items()}
        self.goal = {int(n): self._goal_signature(int(n), link) for n, link in layout["links"].items()}
        self.current = {node: self.runtime_links(node) for node in self.running}
        self.pairs = list(itertools.combinations(self.running, 2))
        self.connected, self.carries = {}, {}
        self._members()
        self._evidence()
        self.partitions = self._components(self.running, self._sees)
        self.votes = {n: 1 for n in every}
        #: what the file says of token, token_coefficient and consensus, for where nothing runs
        self.timers = {}

    # -- links
    # ----------------------------------------------------------------------------------------------------

    def _goal_signature(self, number, link):
        return signature(number, link["addresses"], link.get("options") or {})

    def runtime_links(self, node):
        """``{link: signature}`` as the daemon of one node runs it."""
        facts = self.facts[node]
        interfaces = _int_keys(facts["runtime"].get("interfaces"))
        addresses = {}
        for key, row in (facts["runtime"].get("nodes") or {}).items():
            name = self.names.get(row.get("nodeid"), key)
            for number, address in _int_keys(row.get("addresses")).items():
                addresses.setdefault(number, []).append((name, self.address(facts, address)))
        return {
            n: signature_of(n, tuple(sorted(rows)), interfaces.get(n) or {}) for n, rows in addresses.items()
        }

    @staticmethod
    def address(facts, text):
        """Canonical address; a host name becomes the one address that the node itself resolves it to."""
        if parse(text) is None:
            found = (facts.get("names") or {}).get(text) or []
            if len(found) == 1:
                return canonical(found[0])
        return canonical(text)

    def shared(self, pair):
        """Numbers of the links that both nodes of a pair run in the same way, as far as these two go."""
        one, two = (self.current[node] for node in pair)
        return [n for n in one if n in two and self._path(pair, n, one[n]) == self._path(pair, n, two[n])]

    @staticmethod
    def _path(pair, number, sig):
        addresses = dict(sig[0])
        return (addresses.get(pair[0]), addresses.get(pair[1]), port_of(number, sig), sig[2])

    # -- who is connected with whom
    # -------------------------------------------------------------------------------

    def _link_seen(self, node, peer, number):
        """True, False, or None where the node's daemon says nothing about that link to that peer."""
        row = _int_keys((self.facts[node].get("links") or {}).get(peer)).get(number)
        return None if row is None else bool(row.get("connected"))

    def _members(self):
        """
        Absent nodes that a running daemon still has a connected link with.

        They do not answer through Salt, but corosync runs there and has what its peer has, or no link would
        match.
        """
        for node in self.absent:
            for witness in self.running:
                if any(self._link_seen(witness, node, number) for number in self.current[witness]):
                    self.current[node] = dict(self.current[witness])
                    break

    @property
    def unseen_members(self):
        """Absent nodes that corosync is still connected with."""
        return [node for node in self.absent if node in self.current]

    def _evidence(self):
        address_sets = {sig[0] for links in self.current.values() for sig in links.values()}
        address_sets |= {sig[0] for sig in self.goal.values()}
        witnessed = self.pairs + [
            tuple(sorted((node, peer))) for node in self.running for peer in self.unseen_members
        ]
        for pair in witnessed:
            alive, dead, connected = set(), set(), set()
            for number in self.shared(pair):
                path = self._path(pair, number, self.current[pair[0]][number])[:2]
                if self._seen_connected(pair, number):
                    alive.add(path)
                    connected.add(number)
                else:
                    dead.add(path)
            self.connected[pair] = connected
            self.carries[pair] = {s for s in address_sets if self._expected(pair, dict(s), alive, dead)}

    def _seen_connected(self, pair, number):
        one, two = pair
        seen = []
        for node, peer in ((one, two), (two, one)):
            if node in self.facts:
                known = self._link_seen(node, peer, number)
                seen.append(self._is_member(node, peer) if known is None else known)
        return all(seen)

    def _is_member(self, node, peer):
        quorum = self.facts[node].get("quorum") or {}
        return self.layout["nodes"][peer]["nodeid"] in (quorum.get("members") or [])

    def _expected(self, pair, addresses, alive, dead):
        path = tuple(addresses.get(node) for node in pair)
        if None in path or (path in dead and path not in alive):
            return False
        return path in alive or not any(self._missing(node, addresses[node]) for node in pair)

    def hoped(self, node, absent):
        """Address sets over which a running node may meet an absent one: all that it has not seen dead."""
        dead = {
            self.current[node][n][0] for n in self.current[node] if self._link_seen(node, absent, n) is False
        }
        address_sets = {sig[0] for sig in [*self.current[node].values(), *self.goal.values()]}
        return {
            s for s in address_sets - dead if absent in dict(s) and not self._missing(node, dict(s).get(node))
        }

    def _missing(self, node, address):
        """Whether a node answered and does not have the address on any interface."""
        rows = (self.facts.get(node) or {}).get("addresses")
        if not rows:
            return False
        have = {canonical(entry.partition("/")[0]) for entries in rows.values() for entry in entries}
        return address not in have

    def start_stopped(self):
        """Count the stopped daemons as running without a link: what a restart brings up with the others."""
        started, self.stopped = self.stopped, []
        self.running = list(self.facts)
        self.current.update({node: {} for node in started})
        self.pairs = list(itertools.combinations(self.running, 2))
        address_sets = {sig[0] for sig in self.goal.values()}
        for pair in self.pairs:
            if pair not in self.carries:
                self.connected[pair] = set()
                self.carries[pair] = {s for s in address_sets if self._expected(pair, dict(s), (), ())}

    # -- partitions and quorum
    # ------------------------------------------------------------------------------------

    def _sees(self, one, two):
        """Whether two running nodes are connected, and members of each other's quorum where that is known."""
        if not self.connected[(one, two)]:
            return False
        known = [(a, b) for a, b in ((one, two), (two, one)) if self.facts[a].get("quorum")]
        return all(self._is_member(a, b) for a, b in known)

    @staticmethod
    def _components(nodes, related):
        groups = []
        for node in nodes:
            joined = [g for g in groups if any(related(*sorted((node, other))) for other in g)]
            groups = [g for g in groups if g not in joined]
            groups.append(sorted([node, *itertools.chain.from_iterable(joined)]))
        return sorted(groups)

    def linked(self):
        """Groups of running nodes that have a connected link with another of the group, members or not."""
        return self._components(self.running, lambda one, two: bool(self.connected[(one, two)]))

    def together(self, links):
        """Groups of running nodes that are expected to see each other with a link map."""
        sets = {sig[0] for sig in links.values()}
        return self._components(self.running, lambda one, two: bool(self.carries[(one, two)] & sets))

    def apart(self, links):
        """
        Pairs of running nodes that are not expected to see each other with these links.

        Totem relays nothing: with one such pair the nodes do not form one membership, even if others see
        both.
        """
        sets = {sig[0] for sig in links.values()}
        return [pair for pair in self.pairs if not self.carries[pair] & sets]

    def quorate(self, node):
        """Whether a node says that it is quorate."""
        return bool((self.facts[node].get("quorum") or {}).get("quorate"))

    def will_be_quorate(self, group):
        """
        Whether a group of nodes that see each other is expected to be quorate.

        It is if one of them is now (a group only grows in a step), or if its votes are more than half of all.
        """
        if any(self.quorate(node) for node in group):
            return True
        members = set(group) | {
            n for n in self.unseen_members if any(self.carries.get(_pair(n, g)) for g in group)
        }
        return 2 * sum(self.votes[n] for n in members) > sum(self.votes.values())

    @property
    def whole(self):
        """Whether all nodes that take part run, see each other directly, and are quorate."""
        return (
            not self.stopped
            and len(self.partitions) == 1
            and all(self.connected[pair] for pair in self.pairs)
            and all(self.quorate(node) for node in self.running)
        )

    @property
    def mounted(self):
        """Nodes that take part and have /etc/pve mounted."""
        return [n for n, facts in self.facts.items() if (facts.get("pmxcfs") or {}).get("mounted")]

    @property
    def writable(self):
        """Nodes that take part and can write to /etc/pve now."""
        return [n for n in self.mounted if self.facts[n]["pmxcfs"].get("writable")]

    # -- versions and timers
    # --------------------------------------------------------------------------------------

    def copies(self):
        """All copies as ``(node, "cluster_file" or "local", {"version", "text"})``, cluster files first."""
        for kind in ("cluster_file", "local"):
            for node, facts in self.facts.items():
                if facts.get(kind):
                    yield node, kind, facts[kind]

    def highest_version(self):
        """The highest version of any file or daemon that answers, of skipped nodes too."""
        return highest_version(self.answers.values())

    def token_ms(self):
        """``(token, consensus)`` in ms: the highest that runs, else of the file, else corosync's defaults."""
        count = len(self.layout["nodes"])
        coefficient = self.timers.get("token_coefficient", DEFAULT_COEFFICIENT)
        default = self.timers.get("token", DEFAULT_TOKEN) + coefficient * max(0, count - 2)
        runtimes = [facts.get("runtime") or {} for facts in self.facts.values()]
        token = max([int(row.get("token") or 0) for row in runtimes], default=0) or default
        consensus = max([int(row.get("consensus") or 0) for row in runtimes], default=0)
        return token, consensus or self.timers.get("consensus") or token * 6 // 5

    def network_of(self, address_set):
        """Name of the network that an address set is, or its addresses where the pillar names none."""
        wanted = dict(address_set)
        for name, addresses in sorted(self.layout.get("networks", {}).items()):
            if {n: canonical(a) for n, a in addresses.items() if n in wanted} == wanted:
                return name
        return "/".join(address for _, address in address_set)


def version_of(copy):
    """
    The version of a copy: what corosync reads, or what pmxcfs reads where that is higher.

    pmxcfs takes the first ``config_version: N`` anywhere in the text, a comment included
    (pve-cluster ``cfs-utils.c``), so that one counts too.

    copy
        ``{"version", "text"}``.
    """
    found = PMXCFS_VERSION.search(copy.get("text") or "")
    return max(int(copy.get("version") or 0), min(int(found.group(1)), MAX_VERSION) if found else 0)


def highest_version(answers):
    """
    The highest version of any file or daemon.

    answers
        Facts of nodes.
    """
    versions = [0]
    for facts in answers:
        versions += [version_of(facts[kind]) for kind in ("cluster_file", "local") if facts.get(kind)]
        versions.append(int((facts.get("runtime") or {}).get("version") or 0))
    return max(versions)


def _int_keys(mapping):
    return {int(key): value for key, value in (mapping or {}).items()}


def _pair(one, two):
    return (one, two) if one < two else (two, one)
