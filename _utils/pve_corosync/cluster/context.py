"""What the rules look at: the facts sorted, every copy of corosync.conf parsed once."""

from __future__ import annotations

from pve_corosync import addresses, link_options
from pve_corosync.cluster import base, copies, view

MAX_VERSION = 2**64 - 1
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


class Context:
    """The facts that the rules read, computed once.

    :param layout: the desired layout.
    :param observed: ``{"nodes": {name: facts}, "silent": [name]}``.
    :param skip: nodes to go on without.
    :param strategy: ``live`` or ``restart``.
    """

    def __init__(self, layout: dict, observed: dict, *, skip=(), strategy: str = "live"):
        self.layout = layout
        self.links = {int(number): link for number, link in layout["links"].items()}
        self.strategy = strategy
        self.skip = [skip] if isinstance(skip, str) else list(skip)
        self.answered = dict(observed.get("nodes") or {})
        self.nodes = {name: facts for name, facts in self.answered.items() if name not in self.skip}
        silent = list(observed.get("silent") or [])
        silent += [name for name in layout["nodes"] if name not in self.answered and name not in silent]
        self.silent = silent
        self.texts = self._texts()
        self.base = self._base()
        self.highest = self._highest()

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
        """The text that edits start from."""
        chosen = base.choose(self.nodes)
        return next((text for text in self.texts if text.view and text.text == chosen), None)

    def _highest(self) -> int:
        """The highest version of all that answer: a skipped node's copies count too."""
        return view.highest_version(self.answered.values())

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

    def known_addresses(self, node: str) -> set[str]:
        """Return the canonical addresses that a node has in any copy or runtime."""
        found = set()
        for text in self.texts:
            for row in text.view["nodes"] if text.view else ():
                if row["name"] == node:
                    found |= {addresses.canonical(address) for address in row["addresses"].values()}
        for _, runtime in self.runtime():
            found |= {addresses.canonical(a) for a in self.runtime_addresses(node, runtime).values()}
        return found

    def addresses_known(self, node: str) -> bool:
        """Tell whether a node answered and could read its addresses; `facts-incomplete` tells where not."""
        return (self.nodes.get(node) or {}).get("addresses") is not None

    def interfaces(self, node: str) -> dict[str, tuple[str, str]]:
        """Return canonical address to (interface, address/prefix) of a node."""
        facts = self.nodes.get(node) or {}
        found = {}
        for interface, rows in (facts.get("addresses") or {}).items():
            for row in rows:
                found[addresses.canonical(row.split("/")[0])] = (interface, row)
        return found

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
        """Return the token timeout in ms: the longest that runs, else what the base says."""
        running = [runtime["token"] for _, runtime in self.runtime() if runtime.get("token")]
        if running:
            return max(running)
        given = link_options.whole(self.base.view["totem"].get("token")) if self.base else None
        return given or 3000

    def consensus(self) -> int:
        """Return the consensus timeout in ms, 1.2 times the token when nothing else is known."""
        running = [runtime["consensus"] for _, runtime in self.runtime() if runtime.get("consensus")]
        return max(running) if running else self.token() * 6 // 5

    def armed(self) -> list[str]:
        """Return the nodes whose HA watchdog is armed."""
        return [node for node, facts in self.nodes.items() if (facts.get("ha") or {}).get("armed")]

    def aimed(self) -> list[dict]:
        """Return what the readers would say of the base with the layout's links."""
        return copies.aimed(self.base.text, self.layout, min(self.highest + 1, MAX_VERSION))
