"""The observed cluster beside a layout: the facts sorted, every copy of corosync.conf parsed once."""

from __future__ import annotations

import re
from functools import cached_property

from pve_corosync import addresses
from pve_corosync.cluster import base, copies, timers
from pve_corosync.cluster.node import Node

MAX_VERSION = 2**64 - 1  # corosync 3.1.7 coroparse.c: config_version is an unsigned 64-bit number
#: pmxcfs cfs-utils.c: the first match anywhere in the file
PMXCFS_VERSION = re.compile(r"config_version\s*:\s*(\d+)")
WHICH = {"local": "local file", "cluster_file": "cluster file"}


class Text:
    """One distinct text of corosync.conf and the places where it was seen."""

    def __init__(self, text: str):
        self.text = text
        self.places: list[list[str]] = []  # (node, "local" | "cluster_file")
        self.view, self.problems = copies.read(text)
        self.pmxcfs_version = copies.pmxcfs_version(text)  # also of a text that does not parse

    @property
    def version(self) -> int:
        """The version, 0 when it does not parse or holds none (corosync reads a missing one as 0)."""
        return (self.view["version"] or 0) if self.view else 0

    def where(self) -> str:
        """Return the places as text, e.g. ``local file of pve1, pve2; cluster file of pve1``."""
        told = []
        for key, name in WHICH.items():
            nodes = [node for node, which in self.places if which == key]
            if nodes:
                told.append(f"{name} of {', '.join(nodes)}")
        return "; ".join(told)


class Cluster:
    """The facts that the rules and the plan read, computed once.

    :param layout: the desired layout, as ``pillar.layouts.resolve`` returns it.
    :param observed: ``{"nodes": {name: facts}, "silent": [name]}``, facts as ``corosync.facts`` returns them;
        with ``"refusals": {name: text}`` of those that answered with an error.
    :param skip: nodes to go on without.
    :param strategy: ``live`` or ``restart``.

    ``answered`` has the facts of all that answer, ``nodes`` those of them that are not skipped (strangers
    too), ``members`` a :class:`.cluster.node.Node` for each node of the layout that takes part, by name.
    """

    def __init__(self, layout: dict, observed: dict, *, skip=(), strategy: str = "live"):
        self.layout = layout
        self.links = {int(number): link for number, link in layout["links"].items()}
        self.strategy = strategy
        self.skip = [skip] if isinstance(skip, str) else list(skip)
        self.answered = dict(observed.get("nodes") or {})
        #: what nodes answered that told no facts, e.g. since they lack this project's code.
        self.refusals = dict(observed.get("refusals") or {})
        self.nodes = {name: facts for name, facts in self.answered.items() if name not in self.skip}
        self.members = {
            name: Node(name, self.nodes[name]) for name in sorted(layout["nodes"]) if name in self.nodes
        }
        silent = list(observed.get("silent") or [])
        silent += [name for name in layout["nodes"] if name not in self.answered and name not in silent]
        self.silent = silent
        self.texts = self._texts()
        self.base = self._base()
        self.highest = highest_version(self.answered.values())

    def _texts(self) -> list[Text]:
        texts: dict[str, Text] = {}
        for node, facts in sorted(self.nodes.items()):
            for which in WHICH:
                copy = facts.get(which)
                if copy:
                    if copy["text"] not in texts:
                        texts[copy["text"]] = Text(copy["text"])
                    text = texts[copy["text"]]
                    text.places.append([node, which])
        return list(texts.values())

    def _base(self) -> Text | None:
        """The text that edits start from; an answer that is no node of the layout has no say in it."""
        facts = {name: self.nodes[name] for name in self.members} or self.nodes
        chosen = base.choose(facts)
        return next((text for text in self.texts if text.view and text.text == chosen), None)

    def severity(self, text: Text) -> str:
        """Error for the text that edits start from, since they keep its bytes; warning for any other copy."""
        return "error" if text is self.base else "warning"

    def runtime(self):
        """Yield (node, runtime) of the nodes whose corosync runs."""
        for node, facts in self.nodes.items():
            if facts.get("runtime"):
                yield node, facts["runtime"]

    def runtime_addresses(self, node: str, runtime: dict) -> dict[int, str]:
        """Return link number to address of a node as one runtime has it."""
        row = (runtime.get("nodes") or {}).get(node) or {}
        return {int(number): address for number, address in (row.get("addresses") or {}).items()}

    @cached_property
    def _known(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for text in self.texts:
            for row in text.view["nodes"] if text.view else ():
                found.setdefault(row["name"], set()).update(
                    map(addresses.canonical, row["addresses"].values())
                )
        seen: list[dict] = []
        for _, runtime in self.runtime():
            rows = runtime.get("nodes") or {}
            if rows not in seen:  # nearly always all daemons have the same
                seen.append(rows)
                for name in rows:
                    have = self.runtime_addresses(name, runtime).values()
                    found.setdefault(name, set()).update(map(addresses.canonical, have))
        return found

    def known_addresses(self, node: str) -> set[str]:
        """Return the canonical addresses that a node has in any copy or runtime."""
        return self._known.get(node, set())

    @cached_property
    def owners(self) -> dict[str, list[str]]:
        """Canonical address to the nodes of the layout that have it in any copy or runtime."""
        found: dict[str, list[str]] = {}
        for node in self.layout["nodes"]:
            for address in self.known_addresses(node):
                found.setdefault(address, []).append(node)
        return found

    def addresses_known(self, node: str) -> bool:
        """Tell whether a node answered and could read its addresses; `facts-incomplete` tells where not."""
        return (self.nodes.get(node) or {}).get("addresses") is not None

    @cached_property
    def _interfaces(self) -> dict[str, dict]:
        return {name: (self.members.get(name) or Node(name, facts)).own for name, facts in self.nodes.items()}

    def interfaces(self, node: str) -> dict[str, tuple[str, str]]:
        """Return canonical address to (interface, address/prefix) of a node."""
        return self._interfaces.get(node, {})

    def cards(self, node: str, interface: str) -> set[str]:
        """Return the cards that an interface of a node ends on; by its name where the node does not tell."""
        told = (self.nodes.get(node) or {}).get("cards") or {}
        return set(told.get(interface) or [interface.split(".")[0]])

    def votes(self) -> dict[str, int]:
        """Return the votes of each node of the base's nodelist."""
        if not self.base:
            return {}
        return {row["name"]: row["votes"] for row in self.base.view["nodes"]}

    def token(self) -> int:
        """Return the longest token timeout in ms: of what runs, else of the base, and of the layout."""
        running = timers.running((runtime for _, runtime in self.runtime()), "token")
        return max(running or timers.token(self._totem(), self._count()), self._goal_token())

    def _goal_token(self) -> int:
        """Return the token timeout in ms of the layout, 0 where it sets none."""
        return timers.token(self._goal_totem(), self._count()) if self.layout.get("totem") else 0

    def _count(self) -> int:
        return len(self.layout["nodes"]) or len(self.votes())

    def consensus(self) -> int:
        """Return the consensus timeout in ms, 1.2 times the token when nothing else is known."""
        running = timers.running((runtime for _, runtime in self.runtime()), "consensus")
        goal = timers.consensus(self._goal_totem(), self._goal_token()) if self.layout.get("totem") else 0
        return max(running or timers.consensus(self._totem(), self.token()), goal)

    def _totem(self) -> dict:
        return self.base.view["totem"] if self.base else {}

    def _goal_totem(self) -> dict:
        """Return the section totem of the base as the layout leaves it."""
        wanted = self._totem() | (self.layout.get("totem") or {})
        return {key: value for key, value in wanted.items() if value is not None}

    def armed(self) -> list[str]:
        """Return the nodes whose HA watchdog is armed."""
        return [node for node, facts in self.nodes.items() if (facts.get("ha") or {}).get("armed")]

    def aimed(self) -> list[dict]:
        """Return what the readers would say of the base with the layout's links."""
        return copies.aimed(self.base.text, self.layout, min(self.highest + 1, MAX_VERSION))


def version_of(copy: dict) -> int:
    """Return the version of a copy: what corosync reads, or what pmxcfs reads where that is higher.

    pmxcfs takes the first ``config_version: N`` anywhere in the text, a comment included
    (pve-cluster ``cfs-utils.c``), so that one counts too.

    :param copy: ``{"version", "text"}``.
    """
    found = PMXCFS_VERSION.search(copy.get("text") or "")
    return max(int(copy.get("version") or 0), min(int(found.group(1)), MAX_VERSION) if found else 0)


def digests(answers) -> list[str]:
    """Return the digests of all copies that facts show: what is made from them replaces no other bytes.

    :param answers: facts of nodes.
    """
    copies = (facts.get(kind) or {} for facts in answers for kind in ("local", "cluster_file"))
    return sorted({copy["sha256"] for copy in copies if copy.get("sha256")})


def highest_version(answers) -> int:
    """Return the highest version of any file or daemon, of skipped nodes too.

    :param answers: facts of nodes.
    """
    versions = [0]
    for facts in answers:
        versions += [version_of(facts[kind]) for kind in ("cluster_file", "local") if facts.get(kind)]
        versions.append(int((facts.get("runtime") or {}).get("version") or 0))
    return max(versions)
