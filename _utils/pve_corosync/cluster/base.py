"""The text that edits start from: what the daemons run, not merely the highest version.

Only what is no link matters here: links are taken from the runtimes and from the layout.
"""

from __future__ import annotations

from pve_corosync import conf
from pve_corosync.addresses import canonical
from pve_corosync.conf.document import RING

KINDS = ("cluster_file", "local")
#: keys whose value is a secret (totem.key is the key itself, corosync.conf(5))
SECRET = ("totem.key",)


def choose(facts: dict) -> str | None:
    """Return the text that edits start from, None if no copy parses.

    Where daemons run, a copy with a version that one of them runs: a quorate one's first, then what most
    run, then what has the links that they run, the cluster file before a local one. A copy that no daemon
    runs is one node's word: it counts only where no copy of what runs is left, the most held one first.
    Without a running daemon the highest version counts.

    :param facts: ``{node: facts}`` of the nodes that take part.
    """
    copies = _copies(facts)
    running = {node: row["runtime"] for node, row in facts.items() if row.get("runtime")}
    quorate = {node for node in running if (facts[node].get("quorum") or {}).get("quorate")}
    by_version: dict[int, set[str]] = {}
    for node, runtime in running.items():
        by_version.setdefault(runtime.get("version"), set()).add(node)
    holders: dict[str, set[str]] = {}
    for node, _, doc in copies:
        holders.setdefault(doc.text, set()).add(node)
    fitting = _Fitting(running)
    best, text = None, None
    for node, kind, doc in copies:
        runs = by_version.get(doc.version, set())
        if kind == "local" and node not in runs:
            runs = set()
        held = len(holders[doc.text]) if running and not runs else 0
        rank = (
            bool(runs & quorate),
            len(runs),
            held,
            doc.version,
            fitting.count(doc, runs),
            kind == KINDS[0],
        )
        if best is None or rank > best:
            best, text = rank, doc.text
    return text


class _Fitting:
    """How many daemons have the links of a document; what is alike is looked at once."""

    def __init__(self, running):
        self.kinds: list[tuple[dict, set[str]]] = []  # nodes as daemons have them, and which daemons
        for node, runtime in running.items():
            kind = next((names for rows, names in self.kinds if rows == runtime.get("nodes")), None)
            if kind is None:
                self.kinds.append((runtime.get("nodes"), {node}))
            else:
                kind.add(node)
        self.known: dict[str, set[str]] = {}

    def count(self, doc, nodes) -> int:
        if doc.text not in self.known:
            links = _links(doc.nodes())
            self.known[doc.text] = set().union(*(n for rows, n in self.kinds if _links(rows) == links))
        return len(self.known[doc.text] & nodes)


def rest(doc) -> dict[str, tuple]:
    """Return ``{path: values}`` of everything in a document that is no link and not the version.

    :param doc: ``conf.Document``.
    """
    found: dict[str, tuple] = {}
    for item in doc.tree.items:
        link = item.path.startswith("totem.interface.") or RING.match(item.key)
        if not link and item.path != "totem.config_version":
            found[item.path] = (*found.get(item.path, ()), item.value)
    return found


def difference(text: str, base: str) -> list[str]:
    """Return what a text says otherwise than the base outside the links, in words, without secrets.

    :param text, base: two texts that parse.
    """
    ours, theirs = rest(conf.parse(base)), rest(conf.parse(text))
    return [
        f"{path} differs"
        if path in SECRET
        else f"{path} is {_told(theirs.get(path))} instead of {_told(ours.get(path))}"
        for path in dict.fromkeys([*ours, *theirs])
        if ours.get(path) != theirs.get(path)
    ]


def _copies(facts):
    parsed: dict[str, object] = {}
    found = []
    for kind in KINDS:
        for node, row in facts.items():
            text = (row.get(kind) or {}).get("text")
            if text is None:
                continue
            if text not in parsed:
                try:
                    parsed[text] = conf.parse(text)
                except conf.ConfError:
                    parsed[text] = None  # the rules name it; it still counts for the version
            if parsed[text] is not None:
                found.append((node, kind, parsed[text]))
    return found


def _links(nodes):
    return {
        name: {int(number): canonical(address) for number, address in (row.get("addresses") or {}).items()}
        for name, row in (nodes or {}).items()
    }


def _told(values):
    return "not set" if values is None else ", ".join(repr(value) for value in values)
