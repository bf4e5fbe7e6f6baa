"""What one node says, with nothing missing: whatever it did not tell is empty here, not None."""

from __future__ import annotations

from functools import cached_property

from pve_corosync.addresses import canonical
from pve_corosync.cluster.literal import literal


class Node:
    """The facts of one node that takes part.

    :param name: its name. :param facts: as ``corosync.facts`` returns them.
    """

    def __init__(self, name: str, facts: dict):
        self.name, self.facts = name, facts
        self.runtime = facts.get("runtime") or {}
        self.runs = bool(self.runtime)
        quorum = facts.get("quorum") or {}
        self.tells_quorum = bool(quorum)
        self.quorate = bool(quorum.get("quorate"))
        self.members = frozenset(quorum.get("members") or ())  # nodeids
        pmxcfs = facts.get("pmxcfs") or {}
        self.mounted, self.writable = bool(pmxcfs.get("mounted")), bool(pmxcfs.get("writable"))
        self.version = int(self.runtime.get("version") or 0)

    def text(self, kind: str) -> str | None:
        """Return the text of its ``local`` or ``cluster_file``, None where there is none."""
        return (self.facts.get(kind) or {}).get("text")

    @cached_property
    def links(self) -> dict[str, dict[int, bool]]:
        """``{peer: {link: connected}}`` as its daemon says."""
        return {
            peer: {int(number): bool(row.get("connected")) for number, row in (rows or {}).items()}
            for peer, rows in (self.facts.get("links") or {}).items()
        }

    def seen(self, peer: str, number: int) -> bool | None:
        """Tell whether a link to a peer is connected; None where the daemon says nothing about it."""
        return self.links.get(peer, {}).get(number)

    @cached_property
    def own(self) -> dict[str, tuple[str, str]]:
        """``{canonical address: (interface, address/prefix)}``; empty where it could not be read."""
        return {
            canonical(row.partition("/")[0]): (interface, row)
            for interface, rows in (self.facts.get("addresses") or {}).items()
            for row in rows
        }

    def lacks(self, address: str) -> bool:
        """Tell whether the node read its addresses, and this one is on none of its interfaces."""
        return bool(self.own) and address not in self.own

    def address(self, row: dict, number: int) -> str:
        """Return the canonical address of a node on a link, as this one knows it where it is a host name.

        :param row: ``{"nodeid", "addresses": {link: text}}`` of the node that is meant.
        :param number: the link.
        """
        return literal(self.facts, row, number)
