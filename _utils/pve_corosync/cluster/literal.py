"""The IP address behind a ring address that is a host name.

Source: corosync 3.1.7 ``exec/main.c`` (``runtime.members.N.ip``, written when a node joins, in the order of
its links); a node's own /etc/hosts otherwise.
"""

from __future__ import annotations

from pve_corosync.addresses import canonical, parse


def literal(facts: dict, row: dict, number: int) -> str:
    """Return the canonical address of a node on a link; the name as it is where nobody tells its address.

    :param facts: facts of the node that is asked. :param row: ``{"nodeid", "addresses": {link: text}}`` of
        the node that is meant, of a runtime or of a file. :param number: the link.
    """
    addresses = {int(link): text for link, text in (row.get("addresses") or {}).items()}
    text = addresses[number]
    if parse(text) is not None:
        return canonical(text)
    joined = _joined(facts, row.get("nodeid"), addresses)
    if number in joined:
        return joined[number]
    found = (facts.get("names") or {}).get(text) or []
    return canonical(found[0]) if len(found) == 1 else text


def _joined(facts: dict, nodeid, addresses: dict) -> dict[int, str]:
    """Return {link: address} with which a node joined, if that fits all of its addresses that are literal."""
    members = (facts.get("runtime") or {}).get("members") or {}
    told = [canonical(address) for address in members.get(nodeid) or members.get(str(nodeid)) or ()]
    if len(told) != len(addresses):
        return {}  # links came or went since: the list keeps what was
    found = dict(zip(sorted(addresses), told))
    fits = all(found[link] == canonical(text) for link, text in addresses.items() if parse(text) is not None)
    return found if fits else {}
