"""
What every plan must keep, read from its documents alone: nothing of the search is trusted.

The six invariants (design): each step is a complete configuration; pairs that talk share a connected link
that the step leaves alone; a link goes only after its replacements were read back; versions rise; ring0
stays; planning again from any point reaches the goal. The last one is a matter of tests
(``tests/unit/test_plan_planner_interrupted.py``), the others are checked here.
"""

from pve_corosync import conf
from pve_corosync.cluster.cluster import MAX_VERSION
from pve_corosync.codes.words import ACTS
from pve_corosync.conf.links import signatures


def check(plan, view):
    """
    Return what a plan breaks, as texts.

    plan
        As ``plan.planner.plan`` returns it.
    view
        What it was made from: ``cluster.topology.Topology``.
    """
    walk = _Walk(view)
    for step in plan["steps"]:
        walk.take(step)
    if plan["complete"] and plan["strategy"] == "live" and plan["steps"]:
        walk.arrived()
    return walk.broken


class _Walk:
    """Follows the link maps of all daemons through the steps."""

    def __init__(self, view):
        self.view, self.broken = view, []
        self.maps = {n: view.current[n] for n in view.running}
        reached = set(view.unseen_members) - set(view.unreached)
        self.unseen = {n: view.current[n] for n in reached}  # no part, but the cluster file reaches them
        self.version = view.cluster.highest
        self.text = None
        self.known = {p: set(view.connected[p]) for p in view.pairs}  # numbers of links
        self.started = False
        self.old = {item["text"] for copy in view.cluster.texts for item in conf.lint(_bytes(copy.text))}

    def say(self, step, text):
        self.broken.append(f"step {step['number']} ({step['act']}): {text}")

    def take(self, step):
        """One step: its document, its version, its links."""
        if step["act"] not in ACTS:
            self.say(step, f"unknown act; allowed: {', '.join(ACTS)}")
            return
        try:
            doc = conf.parse(step["conf"])
        except conf.ConfError as err:
            self.say(step, f"corosync would refuse the file: {err}")
            return
        if doc.version != step["version"] or conf.pmxcfs_version(_bytes(step["conf"])) < 1:
            self.say(step, f"the file says version {doc.version}, the step {step['version']}")
        if step["act"] == "publish":
            self._published(step)
            return
        self._complete(step, doc)
        if step["version"] <= self.version or step["version"] > MAX_VERSION:
            self.say(step, f"version {step['version']} is not above {self.version} and within 64 bits")
        links = signatures(doc)
        if step["act"] != "restart":
            self._reload(step, links)
        for node in step.get("nodes") or self.maps:
            self.maps[node] = links
        if step["act"] == "cluster":
            self.unseen = dict.fromkeys(self.unseen, links)
        self.version, self.text, self.started = step["version"], step["conf"], True
        waited = {int(n): {tuple(pair) for pair in pairs} for n, pairs in step["wait"]["connected"].items()}
        for pair in self.view.pairs:
            if any(node in (step.get("nodes") or self.maps) for node in pair):
                self._read_back(step, pair, links, waited)

    def _complete(self, step, doc):
        """Invariant 1: all readers take it, every node is on every link, each link has its block."""
        for item in conf.lint(_bytes(step["conf"])):
            if item["text"] not in self.old:  # what stood there before is kept, and a matter of the rules
                self.say(step, f"{item['reader']}: {item['text']}")
        nodes = doc.nodes()
        if set(nodes) != set(self.view.layout["nodes"]):
            self.say(step, f"nodes {', '.join(nodes)} are not those of the layout")
        if not doc.links():
            self.say(step, "no link")
        for number, entry in doc.links().items():
            if set(entry["addresses"]) != set(nodes):
                self.say(step, f"link {number} does not have an address for every node")
            if not entry["interface"]:
                self.say(step, f"link {number} has no interface block")

    def _published(self, step):
        texts = {node.text("local") for node in self.view.members.values()}
        before = {self.text} if self.started else texts
        if before != {step["conf"]}:
            self.say(step, "the bytes are not those of every local file")

    def _reload(self, step, links):
        """Invariants 2, 3 and 5."""
        nodes = step.get("nodes") or list(self.maps)
        for node in nodes:
            for number, sig in self.maps[node].items():
                if number in links and links[number] != sig:
                    self.say(step, f"link {number} changes on {node}; the whole reload would be refused")
        alike = {}
        for pair in self.view.pairs:
            if pair[0] in nodes and pair[1] in nodes:
                # Pairs of which all is alike are judged once; a link map is known by its identity.
                kind = (
                    *(id(self.maps[node]) for node in pair),
                    self.view.carries[pair],
                    frozenset(self.known[pair]),
                    self.started or frozenset(self.view.connected[pair]),
                )
                if kind not in alike:
                    alike[kind] = self._pair(step, pair, links)
                for text in alike[kind]:
                    self.say(step, text.format(*pair))
            elif (pair[0] in nodes or pair[1] in nodes) and self._talking(pair):
                self.say(step, f"only one of {pair[0]} and {pair[1]} takes part, and they talk")
        self._ring0(step, links)

    def _talking(self, pair):
        """Links of both ends that carry between them now."""
        one, two = (self.maps[node] for node in pair)
        if not self.started:
            return {n: one[n] for n in self.view.connected[pair]}
        return {n: s for n, s in one.items() if two.get(n) == s and s[0] in self.view.carries[pair]}

    def _pair(self, step, pair, links):
        """What is broken for a pair of which both take the step, with places for the two names."""
        one, two = (self.maps[node] for node in pair)
        talking = self._talking(pair)
        if not talking:
            return []
        broken = []
        kept = {n for n, sig in talking.items() if links.get(n) == sig}
        # A pair that was cut off may have met by a step that only one of them took: nothing was read back
        # yet.
        if not (kept & self.known[pair] if self.known[pair] else kept):
            broken.append("{} and {} keep no link that was read back as connected")
        # A number about which nodes disagree has to be cleared first, whatever else is there.
        every = {id(m): m for m in (*self.maps.values(), *self.unseen.values())}.values()
        if all(n in links or len({m[n] for m in every if n in m}) > 1 for n in (*one, *two)):
            return broken
        there = [{sig[0] for sig in links_of.values()} for links_of in (one, two)]
        for sig in self.view.goal.values():
            if sig[0] in self.view.carries[pair] and not all(sig[0] in sets for sets in there):
                name = self.view.network_of(sig[0]).replace("{", "{{").replace("}", "}}")
                broken.append(f"a link goes before {name} connects {{}} and {{}}")
        return broken

    def _read_back(self, step, pair, links, waited):
        """After a step, only what it waited for counts as connected."""
        self.known[pair] = {n for n in links if pair in waited.get(n, ())}
        if not self.known[pair] and self._talking(pair) and step["act"] != "restart":
            self.say(step, f"nothing is read back between {pair[0]} and {pair[1]}")

    def _ring0(self, step, links):
        goal = self.view.goal.get(0)
        if goal is None or 0 in links or step.get("nodes"):
            return
        if self.view.running and all(links_of.get(0) == goal for links_of in self.view.current.values()):
            self.say(step, "link 0 goes although the goal leaves it as it is")

    def arrived(self):
        """The last step leaves every daemon with the goal's links."""
        for node, links in self.maps.items():
            if links != self.view.goal:
                self.broken.append(f"at the end {node} does not have the links of the layout")


def _bytes(text):
    return text.encode("latin-1")
