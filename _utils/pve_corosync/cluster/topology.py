"""
Which links each daemon runs, which pairs of nodes they connect, which networks are dead between whom, and who
sees whom.

Pure: derived from a :class:`.cluster.cluster.Cluster`, nothing is asked again.
"""

import itertools
from functools import cached_property

from pve_corosync.addresses import canonical
from pve_corosync.cluster.cluster import Cluster
from pve_corosync.cluster.node import Node
from pve_corosync.conf.links import port_of, signature, signature_of


class Addresses(tuple):
    """An address set, ``((node, address), …)`` sorted by node; hashed once, and a dict besides."""

    def __new__(cls, rows):
        self = super().__new__(cls, rows)
        self.of = dict(rows)
        self._hash = tuple.__hash__(self)
        return self

    def __hash__(self):
        return self._hash

    def __eq__(self, other):
        return self is other or tuple.__eq__(self, other)

    def __ne__(self, other):
        return not self == other


def of(layout, observed, skip=()):
    """The topology of an observed cluster, seen from one layout; arguments as of ``Cluster``."""
    return Topology(Cluster(layout, observed, skip=skip))


class Topology:
    """
    The observed cluster, seen from one layout.

    cluster
        ``cluster.cluster.Cluster``.

    Public attributes, nodes always by name and in sorted order:

    ``members``    ``{name: Node}`` of the nodes that take part: in the layout, answering, not skipped
    ``running``    those of them whose corosync runs; ``stopped`` the others
    ``absent``     nodes of the layout that take no part
    ``current``    ``{node: {link: signature}}`` of the running nodes, and of absent ones still connected
    ``goal``       ``{link: signature}``
    ``connected``  ``{pair: set of links}`` seen connected on both ends
    ``carries``    ``{pair: set of address sets}`` expected to connect the pair: not seen dead, address there
    ``pairs``      pairs of running nodes that take part; ``carries`` has those with absent members besides
    ``partitions`` lists of running nodes that see each other
    ``votes``      of every node of the layout, 1 where no copy says
    """

    def __init__(self, cluster):
        self.cluster, self.layout, self.members = cluster, cluster.layout, cluster.members
        every = sorted(self.layout["nodes"])
        self.absent = [n for n in every if n not in self.members]
        self.running = [n for n, node in self.members.items() if node.runs]
        self.stopped = [n for n, node in self.members.items() if not node.runs]
        self.names = {row["nodeid"]: name for name, row in self.layout["nodes"].items()}
        self._sets = {}
        self._paths = {}
        self.goal = {
            n: self._own(signature(n, link["addresses"], link.get("options") or {}))
            for n, link in cluster.links.items()
        }
        self._runtimes = []  # (nodes, interfaces, links), nearly always the same on all nodes
        self.current = {node: self._runtime_links(self.members[node]) for node in self.running}
        self.pairs = list(itertools.combinations(self.running, 2))
        self.connected, self.carries = {}, {}
        self._unseen()
        self._evidence()
        self.partitions = self._components(self.running, self._sees)
        told = cluster.votes()
        self.votes = {n: told.get(n, 1) for n in every}

    # -- links
    # ----------------------------------------------------------------------------------------------------

    def _own(self, sig):
        """A signature whose address set is the one of its kind: equal ones are the same object."""
        rows = self._sets.get(sig[0])
        if rows is None:
            rows = self._sets.setdefault(sig[0], Addresses(sig[0]))
        return (rows, sig[1], sig[2])

    def _runtime_links(self, node):
        """``{link: signature}`` as the daemon of one node runs it."""
        rows, interfaces = node.runtime.get("nodes") or {}, node.runtime.get("interfaces") or {}
        for nodes, blocks, links in self._runtimes:
            if nodes == rows and blocks == interfaces:
                return links
        options = {int(number): block or {} for number, block in interfaces.items()}
        addresses, literal = {}, True
        for key, row in rows.items():
            name = self.names.get(row.get("nodeid"), key)
            for number, text in (row.get("addresses") or {}).items():
                address = node.address(row, int(number))
                literal = literal and address == canonical(text)
                addresses.setdefault(int(number), []).append((name, address))
        links = {
            n: self._own(signature_of(n, tuple(sorted(found)), options.get(n) or {}))
            for n, found in addresses.items()
        }
        if literal:  # a name may be another address on another node
            self._runtimes.append((rows, interfaces, links))
        return links

    def shared(self, pair):
        """Numbers of the links that both nodes of a pair run in the same way, as far as these two go."""
        one, two = (self.current[node] for node in pair)
        mute = [n for n in pair if n in self._mute]
        if mute:  # what its peer has; what it does not have shows as not connected
            return list(two if mute[0] == pair[0] else one)
        if one is two:
            return list(one)
        return [n for n in one if n in two and self._path(pair, n, one[n]) == self._path(pair, n, two[n])]

    @staticmethod
    def _path(pair, number, sig):
        return (sig[0].of.get(pair[0]), sig[0].of.get(pair[1]), port_of(number, sig), sig[2])

    # -- who is connected with whom
    # -------------------------------------------------------------------------------

    def _unseen(self):
        """
        Absent nodes that a running daemon still has a connected link with.

        They do not answer through Salt, but corosync runs there and has the links that a peer sees connected.
        """
        self.unreached = []  # those of them that get nothing through the cluster file, as far as is known
        self._mute = set()  # those of them that say nothing at all
        for name in self.absent:
            links = self._connected_with(name)
            if not links:
                continue
            node = Node(name, self.cluster.answered.get(name) or {})
            self.current[name] = self._runtime_links(node) if node.runs else links
            if not node.runs:
                self._mute.add(name)
            if node.facts and not (node.mounted and node.quorate):
                self.unreached.append(name)

    def _connected_with(self, name):
        """The links of an absent node that some running one sees connected."""
        return {
            number: sig
            for peer in self.running
            for number, sig in self.current[peer].items()
            if self.members[peer].seen(name, number)
        }

    def cuts(self, name, before, after):
        """Whether a step takes the last link between an unseen member and a running node that it sees.

        name
            The member. before, after
            ``{node: {link: signature}}`` around the step.
        """
        for peer in self.running:
            pair = _pair(name, peer)
            if self.connected.get(pair):
                links = {n: s for n, s in before[peer].items() if before[name].get(n) == s}
                alive = {n for n, s in links.items() if s[0] in self.carries[pair]}
                if alive and not any(after[peer].get(n) == after[name].get(n) == links[n] for n in alive):
                    return True
        return False

    @cached_property
    def watched(self):
        """``{pair: unseen member}`` of a running node and an unseen member that are connected."""
        return {
            pair: name
            for pair, links in self.connected.items()
            for name in pair
            if links and name in self.unseen_members
        }

    @cached_property
    def elsewhere(self):
        """Link numbers that nodes run which take no part and are connected with nobody who does."""
        nodes = (Node(n, self.cluster.answered.get(n) or {}) for n in self.absent if n not in self.current)
        return {number for node in nodes if node.runs for number in self._runtime_links(node)}

    @cached_property
    def unseen_members(self):
        """Absent nodes that corosync is still connected with."""
        return [node for node in self.absent if node in self.current]

    def _evidence(self):
        address_sets = {sig[0] for links in self.current.values() for sig in links.values()}
        address_sets |= {sig[0] for sig in self.goal.values()}
        there = {
            s: {n: a for n, a in s.of.items() if n not in self.members or not self.members[n].lacks(a)}
            for s in address_sets
        }
        every = frozenset(address_sets)
        full = set.intersection(*map(set, there.values())) if there else set()
        kinds = {}
        witnessed = self.pairs + [
            tuple(sorted((node, peer))) for node in self.running for peer in self.unseen_members
        ]
        for pair in witnessed:
            alive, dead, connected = set(), set(), set()
            told = self._told(pair)
            for number in self.shared(pair):
                teller = pair[1] if pair[0] in self._mute else pair[0]
                addresses = self.current[teller][number][0].of
                path = (addresses.get(pair[0]), addresses.get(pair[1]))
                if all(links.get(number, member) for links, member in told):
                    alive.add(path)
                    connected.add(number)
                else:
                    dead.add(path)
            self.connected[pair] = connected
            if alive & dead:  # the network carries, but not on that link: a step has not reached the mute one
                self.unreached += [n for n in pair if n in self._mute and n not in self.unreached]
            carries = every
            if dead or pair[0] not in full or pair[1] not in full:
                carries = frozenset(s for s in every if _expected(pair, s.of, there[s], alive, dead))
            self.carries[pair] = kinds.setdefault(carries, carries)  # few kinds, told apart by identity

    def _told(self, pair):
        """What each end says of its links to the other, and what counts where it says nothing of one."""
        one, two = pair
        return [
            (self.members[node].links.get(peer, {}), self._is_member(node, peer))
            for node, peer in ((one, two), (two, one))
            if node in self.members
        ]

    def _is_member(self, node, peer):
        return self.layout["nodes"][peer]["nodeid"] in self.members[node].members

    def hoped(self, name, absent):
        """Address sets over which a running node may meet an absent one: all that it has not seen dead."""
        current, node = self.current[name], self.members[name]
        dead = {sig[0] for n, sig in current.items() if node.seen(absent, n) is False}
        address_sets = {sig[0] for sig in [*current.values(), *self.goal.values()]}
        return frozenset(s for s in address_sets - dead if absent in s.of and not node.lacks(s.of.get(name)))

    def started(self):
        """A copy with the stopped daemons running without a link: what a restart brings up too."""
        other = object.__new__(Topology)
        other.__dict__.update(self.__dict__, connected=dict(self.connected), carries=dict(self.carries))
        other.current = self.current | {node: {} for node in self.stopped}
        other.running, other.stopped = list(self.members), []
        other._expect_started()
        return other

    def _expect_started(self):
        self.pairs = list(itertools.combinations(self.running, 2))
        there = {
            sig[0]: {n: a for n, a in sig[0].of.items() if n in self.members and not self.members[n].lacks(a)}
            for sig in self.goal.values()
        }
        for pair in self.pairs:
            if pair not in self.carries:
                self.connected[pair] = set()
                self.carries[pair] = frozenset(s for s in there if _expected(pair, s.of, there[s], (), ()))

    # -- partitions and quorum
    # ------------------------------------------------------------------------------------

    def _sees(self, one, two):
        """Whether two running nodes are connected, and members of each other's quorum where that is known."""
        if not self.connected[(one, two)]:
            return False
        known = [(a, b) for a, b in ((one, two), (two, one)) if self.members[a].tells_quorum]
        return all(self._is_member(a, b) for a, b in known)

    @staticmethod
    def _components(nodes, related):
        groups = []
        for node in nodes:
            joined = [g for g in groups if any(related(*_pair(node, other)) for other in g)]
            groups = [g for g in groups if g not in joined]
            groups.append(sorted([node, *itertools.chain.from_iterable(joined)]))
        return sorted(groups)

    def linked(self):
        """Groups of running nodes that have a connected link with another of the group, members or not."""
        return self._components(self.running, lambda one, two: bool(self.connected[(one, two)]))

    def together(self, links):
        """Groups of running nodes that are expected to see each other with a link map."""
        sets = {sig[0] for sig in links.values()}
        able = {carries for carries in set(self.carries.values()) if carries & sets}
        return self._components(self.running, lambda one, two: self.carries[(one, two)] in able)

    def apart(self, links):
        """
        Pairs of running nodes that are not expected to see each other with these links.

        Totem relays nothing: with one such pair the nodes do not form one membership, even if others see
        both.
        """
        sets = {sig[0] for sig in links.values()}
        none = {carries for carries in set(self.carries.values()) if not carries & sets}
        return [pair for pair in self.pairs if self.carries[pair] in none] if none else []

    def quorate_groups(self, links):
        """
        Groups of running nodes that are expected to see each other with a link map, and to be quorate.

        Where two of a group do not see each other, only those count that all see each other (see `apart`).
        """
        apart = self.apart(links)
        return [
            group
            for group in self.together(links)
            if any(map(self.quorate, group)) or self.will_be_quorate(_without_gaps(group, apart))
        ]

    def quorate(self, node):
        """Whether a node says that it is quorate."""
        return self.members[node].quorate

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
        return not self.stopped and self.joined

    @property
    def joined(self):
        """Whether all nodes that run see each other directly, and are quorate."""
        return (
            len(self.partitions) == 1
            and all(self.connected[pair] for pair in self.pairs)
            and all(self.quorate(node) for node in self.running)
        )

    @property
    def mounted(self):
        """Nodes that take part and have /etc/pve mounted."""
        return [n for n, node in self.members.items() if node.mounted]

    @property
    def writable(self):
        """Nodes that take part and can write to /etc/pve now."""
        return [n for n in self.mounted if self.members[n].writable]

    def network_of(self, address_set):
        """Name of the network that an address set is, or its addresses where the pillar names none."""
        for name, addresses in self._networks:
            if all(addresses.get(node) == address for node, address in address_set):
                return name
        return "/".join(address for _, address in address_set)

    @cached_property
    def _networks(self):
        return [
            (name, {n: canonical(a) for n, a in addresses.items()})
            for name, addresses in sorted(self.layout.get("networks", {}).items())
        ]


def _expected(pair, addresses, there, alive, dead):
    path = (addresses.get(pair[0]), addresses.get(pair[1]))
    if None in path or (path in dead and path not in alive):
        return False
    return path in alive or (pair[0] in there and pair[1] in there)


def _without_gaps(group, apart):
    """The nodes of a group that are left when no two of them are apart: those with the most gaps go first."""
    left = list(group)
    while gaps := [pair for pair in apart if set(pair) <= set(left)]:
        left.remove(max(left, key=lambda node: sum(node in pair for pair in gaps)))
    return left


def _pair(one, two):
    return (one, two) if one < two else (two, one)
