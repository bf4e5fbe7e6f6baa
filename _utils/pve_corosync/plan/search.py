"""
Shortest sequence of link maps from what the daemons run to what the layout wants.

Pure and small: no corosync.conf, no Salt, no versions. A *link map* is ``{link number: signature}``; a
*signature* is ``(address set, port, transport)``, where the address set is a sorted tuple of ``(node,
address)``, the port ``""`` for corosync's default (5405 + link number) and the transport ``"udp"`` or
``"sctp"``. Two links of one number and one signature are the same link to corosync; with one number and two
signatures the reload is refused as a whole (corosync 3.1.7 ``exec/totemconfig.c:1288-1342``).

What a sequence has to keep (design: invariants of a plan):

* one number never goes from one signature to another in one step, it is free for a step in between;
* every two nodes that can talk before a step share a connected link that the step leaves alone;
* a link is only taken away while every network of the goal that can carry between two talking nodes is there
  on both, before the step and after it;
* a link whose number the goal does not use goes last: once every link of the goal that can carry is there.

Among the shortest sequences the one with the fewest temporary links wins, then the one with the fewest steps
without link 0, then the one with the most networks in use along the way, then the one with the fewest links.

Measured on one 2 GHz core: two nodes and two networks 0.2 ms; three links that all change their number 2 to 4
ms; four 12 ms; where more than :data:`BUDGET` candidates come up, the search settles for a plain sequence.
"""

import itertools

from pve_corosync.conf.links import BASE_PORT, port_of

MAX_LINKS = 8  # knet: links 0 to 7
BUDGET = 20000  # candidate steps looked at before the search settles for the plain four-step sequence


class Problem:
    """
    One search problem, as bit masks.

    current
        ``{node: {link number: signature}}`` as each daemon runs it.
    goal
        ``{link number: signature}``.
    connected
        ``{(node, node): set of link numbers}`` that were seen connected; a pair that is missing cannot talk.
    carries
        ``{(node, node): set of address sets}`` that are expected to connect the two nodes.
    keep
        Address sets that every step should have a link on, dead or not, where that can be.
    heal
        The nodes do not all see each other: the first step should only add links, and connect every pair that
        can be.
    avoid
        Numbers that nodes without a part run: a temporary link takes another one where it can, as it would
        meet them on the way and leave them again.
    """

    def __init__(self, current, goal, connected, carries, heal=False, keep=(), avoid=()):
        self.current, self.goal, self.heal = current, goal, heal
        self.pairs = sorted(carries)
        self.connected = {pair: frozenset(connected.get(pair, ())) for pair in self.pairs}
        self.atoms = []
        self._bit = {}
        goal_sets = sorted({sig[0] for sig in goal.values()})
        self.numbers = sorted({n for links in current.values() for n in links} | set(goal))
        free = [n for n in range(MAX_LINKS) if n not in self.numbers]
        self.free = sorted(free, key=lambda number: number in avoid)
        self.seen = {n: sorted({links[n] for links in current.values() if n in links}) for n in self.numbers}
        self.everywhere = {
            n: bool(self.seen[n]) and all(n in links for links in current.values()) for n in self.numbers
        }
        for number in self.numbers:
            for sig in self.seen[number]:
                self.atom(number, sig)
            if number in goal:
                self.atom(number, goal[number])
        settled = {sig[0] for number, sig in goal.items() if self._at_once(number, sig)}
        # A temporary link over a network that the goal's own link can carry at once helps nobody.
        self.temporary = [addresses for addresses in goal_sets if addresses not in settled]
        self.slots = {}
        for index, addresses in enumerate(self.temporary):
            self.slots[index] = self.atom(-1 - index, (addresses, "", "udp"))
        self.goal_mask = self.mask(goal)
        masks = {id(links): self.mask(links) for links in current.values()}
        self.node_mask = {node: masks[id(links)] for node, links in current.items()}
        self.union = 0
        for mask in self.node_mask.values():
            self.union |= mask
        # Where nodes disagree about a number, it has to be cleared on all of them, whatever else is there.
        self.contended = sum(
            self.atom(n, sig) for n, sigs in self.seen.items() if len(sigs) > 1 for sig in sigs
        )
        kinds = {kind: self._kind(kind, goal_sets) for kind in set(map(frozenset, carries.values()))}
        self.alive, self.proof, self.due = (
            {pair: kinds[frozenset(carries[pair])][place] for pair in self.pairs} for place in range(3)
        )
        self.extra = sum(bit for (number, _), bit in self._bit.items() if number not in goal)
        self.kinds = sorted(set(kinds.values()))
        self.talk = {pair: self._talk(pair) for pair in self.pairs if self.connected[pair]}
        self.kept = [self._carrying([addresses]) for addresses in sorted(keep)]
        self.holds = False
        self.clashes = self._clashes()
        self.ring0 = [self._bit[a] for a in self.atoms if a[0] == 0] if 0 in goal else []
        self._cost = {}

    def atom(self, number, sig):
        """Bit of one link, numbered on first use."""
        key = (number, sig)
        if key not in self._bit:
            self._bit[key] = 1 << len(self.atoms)
            self.atoms.append(key)
        return self._bit[key]

    def mask(self, links):
        """Bits of a link map."""
        result = 0
        for number, sig in links.items():
            result |= self.atom(number, sig)
        return result

    def links(self, mask):
        """Link map of some bits, temporary links under negative numbers."""
        return {number: sig for number, sig in self.atoms if mask & self._bit[(number, sig)]}

    def _carrying(self, address_sets):
        wanted = set(address_sets)
        return sum(bit for (_, sig), bit in self._bit.items() if sig[0] in wanted)

    def _kind(self, carried, goal_sets):
        """``(alive, proof, due)`` of the pairs that are connected by these address sets."""
        proof = tuple(self._carrying([s]) for s in goal_sets if s in carried)
        due = sum(self._bit[(n, s)] for n, s in self.goal.items() if s[0] in carried)
        return self._carrying(carried), proof, due

    def _talk(self, pair):
        """Bits of the links that both nodes run and that were seen connected between them."""
        one, two = (self.node_mask.get(node, 0) for node in pair)
        numbers = self.connected[pair]
        return one & two & sum(bit for (number, _), bit in self._bit.items() if number in numbers)

    def _at_once(self, number, sig):
        """Whether the goal's link is there already, or can come with the first step."""
        if self.seen[number]:
            return self.seen[number] == [sig] and self.everywhere[number]
        seen = [(n, other) for n, sigs in self.seen.items() for other in sigs]
        return not any(shares_port((number, sig), other) for other in seen)

    def _clashes(self):
        """Pairs of links that would bind one port of one address, where a port is set by hand."""
        result = []
        for one, two in itertools.combinations(self.atoms, 2):
            if one[0] != two[0] and shares_port(one, two, self.free):
                result.append(self._bit[one] | self._bit[two])
        return result

    def possible(self, mask):
        """Whether corosync could run these links at once, and what is to be kept is among them."""
        if self.holds and not all(mask & kept for kept in self.kept):
            return False
        return not any(mask & clash == clash for clash in self.clashes)

    def cost(self, mask):
        """What speaks against a state: temporary links, no link 0, few networks, many links (in order)."""
        if mask not in self._cost:
            links = self.links(mask)
            temporary = sum(1 for n in links if n < 0)
            no_ring0 = int(bool(self.ring0) and not any(mask & bit for bit in self.ring0))
            networks = len({sig[0] for sig in links.values()})
            self._cost[mask] = (temporary, no_ring0, -networks, len(links))
        return self._cost[mask]

    # -- steps
    # ----------------------------------------------------------------------------------------------------

    def first_ok(self, new, only_adds=False, heals=False, extra_last=True):
        """Whether the daemons, each with the links it runs now, can all go to `new`."""
        if not new or not self.possible(new):
            return False
        removes = self.union & ~new
        if only_adds and removes:
            return False
        removes &= ~self.contended
        if heals and any(proof and not new & alive for alive, proof, _ in self.kinds):
            return False
        for pair, talk in self.talk.items():
            if not talk & new:
                return False
            if removes:
                one, two = (self.node_mask.get(node, 0) for node in pair)
                if not all(one & proof and two & proof and new & proof for proof in self.proof[pair]):
                    return False
                if extra_last and removes & self.extra and self.due[pair] & ~(one & two):
                    return False
        return True

    def step_ok(self, old, new, extra_last=True):
        """Whether every node can go from `old`, the same on all of them, to `new`."""
        removes = old & ~new
        kept = old & new
        for alive, proofs, due in self.kinds:
            if not old & alive:
                continue
            if not kept & alive:
                return False
            if removes:
                for proof in proofs:
                    if not (old & proof and new & proof):
                        return False
                if extra_last and removes & self.extra and due & ~old:
                    return False
        return bool(new) and self.possible(new)

    def first_moves(self, temporary):
        """All link maps that no daemon refuses to take from where it is."""
        choices = []
        for number in self.numbers:
            goal = self._goal_bit(number)
            seen = self.seen[number]
            if len(seen) > 1:
                choices.append((0,))
            elif seen and goal == self.atom(number, seen[0]):
                choices.append((goal,))
            elif seen:
                choices.append((self.atom(number, seen[0]), 0))
            else:
                choices.append((0, goal))
        for index in temporary:
            choices.append((0, self.slots[index]))
        return [sum(choice) for choice in itertools.product(*choices)]

    def moves(self, old, temporary):
        """All link maps that one reload can reach from `old`."""
        choices = []
        for number in self.numbers:
            goal = self._goal_bit(number)
            here = next((self.atom(number, s) for s in self._sigs(number) if old & self.atom(number, s)), 0)
            if here and here == goal:
                choices.append((goal,))
            elif here:
                choices.append((here, 0))
            else:
                choices.append((0, goal) if goal else (0,))
        for index in temporary:
            choices.append((0, self.slots[index]))
        return [sum(choice) for choice in itertools.product(*choices)]

    def _sigs(self, number):
        return self.seen[number] + ([self.goal[number]] if number in self.goal else [])

    def _goal_bit(self, number):
        return self.atom(number, self.goal[number]) if number in self.goal else 0


def shares_port(one, two, free=()):
    """
    Whether two links ``(number, signature)`` would bind the same port of the same address.

    A negative number stands for a temporary link, which may end up on any number of `free`.
    """
    if not (one[1][1] or two[1][1]) or not set(one[1][0]) & set(two[1][0]):
        return False
    ports = [
        {BASE_PORT + n for n in free} if n < 0 and not sig[1] else {port_of(n, sig)} for n, sig in (one, two)
    ]
    return bool(ports[0] & ports[1])


def search(current, goal, connected, carries, heal=False, keep=(), avoid=()):
    """
    Link maps of the steps from `current` to `goal`, without the start, or None where no sequence keeps every
    pair.

    current, goal, connected, carries, heal, keep, avoid
        See :class:`Problem`.

    Returns a list of link maps, the last one equal to `goal`; at least one (a step that levels the copies).
    """
    problem = Problem(current, goal, connected, carries, heal, keep, avoid)
    for holds, wish in itertools.product((True, False) if keep else (False,), _wishes(heal)):
        problem.holds = holds
        best = None
        for temporary in _temporary_choices(problem):
            path = _shortest(problem, temporary, *wish)
            if path is not None:
                rank = (len(path), [sum(c) for c in zip(*(problem.cost(m) for m in path))], path)
                if best is None or rank < best:
                    best = rank
        if best is not None:
            return [_numbered(problem, best[2], mask) for mask in best[2]]
    return None


def _wishes(heal):
    """``(only_adds, heals, extra_last)`` from the best to the least that keeps every pair together."""
    ways = [(True, True), (False, True), (False, False)] if heal else [(False, False)]
    # With no number free, an old link may have to go before the goal's are all there.
    return [(*way, extra_last) for extra_last in (True, False) for way in ways]


def _temporary_choices(problem):
    """Sets of temporary links that fit into the free numbers: all of them if they fit, else every choice."""
    every = range(len(problem.slots))
    return itertools.combinations(every, min(len(problem.slots), len(problem.free)))


def _shortest(problem, temporary, only_adds, heals, extra_last):
    """Breadth first, one level a step; within a level the cheapest way to each state is kept."""
    goal = problem.goal_mask
    level, seen, looked = {}, set(), 0
    for mask in problem.first_moves(temporary):
        if problem.first_ok(mask, only_adds, heals, extra_last):
            level[mask] = (problem.cost(mask), (mask,))
    while level:
        if goal in level:
            return list(level[goal][1])
        seen.update(level)
        following = {}
        for mask, (cost, path) in sorted(level.items()):
            moves = problem.moves(mask, temporary)
            looked += len(moves)
            if looked > BUDGET:
                return _plain(problem, temporary, only_adds, heals)
            for new in moves:
                if new in seen or not problem.step_ok(mask, new, extra_last):
                    continue
                rank = (tuple(a + b for a, b in zip(cost, problem.cost(new))), path + (new,))
                if new not in following or rank < following[new]:
                    following[new] = rank
        level = following
    return None


def _plain(problem, temporary, only_adds, heals):
    """The sequence that works wherever numbers are free: add temporary links, clear, set, drop them."""
    slots = sum(problem.slots[index] for index in temporary)
    kept = sum(problem.atom(n, s[0]) for n, s in problem.seen.items() if len(s) == 1)
    leaving = kept & problem.extra
    stay = (kept & problem.goal_mask) | leaving
    path = [kept | slots, stay | slots, problem.goal_mask | leaving | slots, problem.goal_mask]
    if not problem.first_ok(path[0], only_adds, heals):
        return None
    if not all(problem.step_ok(old, new) for old, new in zip(path, path[1:])):
        return None
    return path


def _numbered(problem, path, mask):
    """Link map with real numbers for the temporary links: in the order of `free`, as they appear."""
    order = []
    for state in path:
        for number in sorted((n for n in problem.links(state) if n < 0), reverse=True):
            if number not in order:
                order.append(number)
    real = dict(zip(order, problem.free))
    return {
        real.get(number, number): sig for number, sig in sorted(problem.links(mask).items(), reverse=True)
    }
