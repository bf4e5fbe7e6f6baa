"""Rules about the links of the goal: numbers, addresses, families, interfaces."""

from __future__ import annotations

from itertools import combinations

from pve_corosync import addresses, link_options
from pve_corosync.findings import finding
from pve_corosync.tools import iproute


def numbers(context):
    """Link numbers 0 to 7, at least one link, ring0 among them."""
    links = context.links
    place = f"layout {context.layout['name']}"
    for number in links:
        if link_options.link_number(number) is None:
            yield finding(
                "link-number-bad",
                f"{place}: link {number} does not exist; allowed: 0 to 7",
                data={"link": number},
                remedy="renumber it in the pillar",
            )
    if not links:
        yield finding(
            "link-count",
            f"{place}: has no link; allowed: 1 to 8 links",
            remedy=f"add link 0 to corosync:layouts:{context.layout['name']}:links",
        )
    elif 0 not in links:
        yield finding(
            "ring0-missing",
            f"{place}: link 0 is missing, there is {_join(sorted(links))}",
            data={"links": sorted(links)},
            remedy="give one of its links the number 0",
        )


def complete(context):
    """Exactly one address for every node on every link, none for a stranger."""
    nodes = context.layout["nodes"]
    for number, link in context.links.items():
        for node in nodes:
            if not link["addresses"].get(node):
                yield finding(
                    "address-missing",
                    f"link {number} ({link['network']}): {node} has no address",
                    data={"link": number, "node": node},
                    remedy=f"add corosync:nodes:{node}:addresses:{link['network']} to the pillar",
                )
        for node in link["addresses"]:
            if node not in nodes:
                yield finding(
                    "node-unknown",
                    f"link {number} ({link['network']}): address for {node!r}, which is no "
                    f"node; allowed: {_join(sorted(nodes))}",
                    data={"link": number, "node": node},
                    remedy=f"add {node} to corosync:nodes, or drop the address",
                )


def literal(context):
    """Only IP addresses that can reach another node."""
    for number, node, address in _addresses(context):
        place = f"link {number}: address {address!r} of {node}"
        data = {"link": number, "node": node, "value": address}
        remedy = f"correct corosync:nodes:{node}:addresses in the pillar"
        if addresses.parse(address) is None:
            code = "address-host-name" if addresses.looks_like_name(address) else "address-bad"
            yield finding(code, f"{place} is no IP address", data=data, remedy=remedy)
        elif addresses.unusable(address):
            yield finding(
                "address-unusable",
                f"{place} is a {addresses.unusable(address)} address",
                data=data,
                remedy=remedy,
            )


def unique(context):
    """No address twice, over all nodes and links, in whatever spelling.

    A node with one address for two links is served by corosync: they have ports of their own, and fail
    together. Where all nodes are like that, the second link is none.
    """
    seen, shared = {}, {}
    for number, node, address in _addresses(context):
        key = addresses.canonical(address)
        first, owner = seen.setdefault(key, (number, node))
        if owner == node and first != number:
            shared.setdefault((first, number), []).append((node, key))
        elif owner != node:
            yield finding(
                "address-duplicate",
                f"link {number} of {node}: {address} already is the address of link {first} of {owner}",
                data={"link": number, "node": node, "value": key, "first": f"link {first} of {owner}"},
                remedy="give each node its own address on each network in the pillar",
            )
    for (first, number), rows in shared.items():
        every = len(rows) == len(context.layout["nodes"])
        told = _join(f"{node} ({key})" for node, key in rows)
        yield finding(
            "address-duplicate" if every else "address-shared",
            f"links {first} and {number} have one address on {told}",
            data={"links": [first, number], "nodes": [node for node, _ in rows]},
            remedy=f"drop link {number} in the pillar, it is link {first} again"
            if every
            else "nothing, if the node has no other; these links fail together there",
        )


def one_family(context):
    """One IP family a link, and one that totem.ip_version takes."""
    wanted = context.base.view["totem"].get("ip_version", "") if context.base else ""
    for number, link in context.links.items():
        families = {addresses.family(a) for a in link["addresses"].values()} - {""}
        if len(families) > 1:
            yield finding(
                "family-mixed",
                f"link {number} ({link['network']}) mixes IPv4 and IPv6",
                data={"link": number, "network": link["network"]},
                remedy=f"give every node an address of one family on {link['network']}",
            )
        for family in sorted(families):
            if wanted in ("ipv4", "ipv6") and family != wanted:
                yield finding(
                    "ip-version",
                    f"link {number} ({link['network']}) is {family}, but totem.ip_version is "
                    f"{wanted}, which only a stop of all nodes can change",
                    data={"link": number, "family": family, "ip_version": wanted},
                    remedy=f"use {wanted} addresses on {link['network']}; or set totem.ip_version to "
                    "ipv4-6 and restart corosync on all nodes: salt-run corosync.restart",
                )


def options(context):
    """Option names, ranges and pairs of every link."""
    for number, link in context.links.items():
        place = f"link {number}"
        for key in link["options"]:
            if key not in link_options.PILLAR_NAMES:
                yield finding(
                    "option-unknown",
                    f"{place}: unknown option {key!r}; allowed: {_join(sorted(link_options.PILLAR_NAMES))}",
                    data={"link": number, "value": key},
                    remedy=f"drop {key}",
                )
        named = {
            link_options.PILLAR_NAMES[key]: value
            for key, value in link["options"].items()
            if key in link_options.PILLAR_NAMES
        }
        yield from link_options.check(named, place)


def ports(context):
    """No two links of a node on one address have one UDP port: a socket is bound to address and port."""
    for first, number, port, node, address in link_options.shared_sockets(context.links):
        yield finding(
            "option-port-shared",
            f"link {number}: UDP port {port} is already the port of link {first} on {address} of {node}; "
            "the default is 5405 + link number",
            data={"link": number, "first": first, "port": port},
            remedy=f"change port of link {number} or {first} in the pillar",
        )


def fixed_options(context):
    """Port and transport of a link that stays are not changed by a reload."""
    if not context.base:
        return
    for number, link in context.links.items():
        now = {row["name"]: row["addresses"].get(number) for row in context.base.view["nodes"]}
        if any(
            addresses.canonical(now.get(node)) != addresses.canonical(address)
            for node, address in link["addresses"].items()
        ):
            continue  # another link, removed and added anyway
        block = context.base.view["interfaces"].get(number, {})
        for name, old, new in (
            ("port", link_options.port(number, block), link_options.port(number, link["options"])),
            ("transport", block.get("knet_transport", "udp"), link["options"].get("knet_transport", "udp")),
        ):
            if old != new:
                yield finding(
                    "link-fixed-option",
                    f"link {number}: {name} is to go from {old} to {new}; a reload does "
                    "not change it on a link that stays, the plan removes the link and adds it again",
                    data={"link": number, "option": name, "from": old, "to": new},
                    remedy="nothing; or leave it as it is, that spares steps",
                )


def present(context):
    """Each address is on an interface of its node."""
    found: dict[str, list[str]] = {}
    for node in context.nodes:
        for address in context.interfaces(node):
            found.setdefault(address, []).append(node)
    for number, link in context.links.items():
        for node, address in link["addresses"].items():
            if not context.addresses_known(node) or addresses.parse(address) is None:
                continue
            address = addresses.canonical(address)
            elsewhere = [other for other in found.get(address, ()) if other != node]
            data = {"link": number, "node": node, "value": address, "network": link["network"]}
            if address in context.interfaces(node):
                for other in () if addresses.unusable(address) else elsewhere:
                    yield finding(
                        "address-on-other",
                        f"link {number} ({link['network']}): {address} of {node} is on {other} as well",
                        severity="warning",
                        data=data | {"found": elsewhere},
                        remedy=f"on {other}: ip -br address; take {address} away there",
                    )
                continue
            if elsewhere:
                yield finding(
                    "address-on-other",
                    f"link {number} ({link['network']}): {address} of {node} is on {_join(elsewhere)}",
                    data=data | {"found": elsewhere},
                    remedy=(
                        f"correct corosync:nodes:{node}:addresses:{link['network']} in the pillar, or "
                        f"the address on {elsewhere[0]}"
                    ),
                )
            elif address in context.known_addresses(node):
                # A lost card: the layout keeps the link, which comes back with the address.
                yield finding(
                    "address-gone",
                    f"link {number} ({link['network']}): {node} has lost {address}; the link "
                    "stays down until it is back",
                    data=data,
                    remedy=f"on {node}: ip -br address",
                )
            else:
                have = _join(sorted(context.interfaces(node))) or "none"
                yield finding(
                    "address-absent",
                    f"link {number} ({link['network']}): {node} has no address {address}; "
                    f"it has: {have}. corosync would accept it and never connect",
                    data=data,
                    remedy=(
                        f"on {node}: ip -br address; set the address there, or correct "
                        f"corosync:nodes:{node}:addresses:{link['network']} in the pillar"
                    ),
                )


def reachable(context):
    """Each pair of nodes has a link of the goal whose two addresses are there."""
    bad = [
        pair
        for pair in combinations([n for n in context.layout["nodes"] if context.addresses_known(n)], 2)
        if not any(_usable(context, link, pair) for link in context.links.values())
    ]
    if bad and context.links:
        told = _join(f"{one}-{two}" for one, two in bad)
        yield finding(
            "no-network-alive",
            f"layout {context.layout['name']}: no link has both its addresses for {told}",
            data={"pairs": [list(pair) for pair in bad]},
            remedy=(
                "take a layout on a network that is there (salt-run corosync.status), or set the addresses"
            ),
        )


def subnets(context):
    """The subnets of two links of a node do not overlap, and they are not on one card."""
    for node in context.layout["nodes"]:
        have = context.interfaces(node)
        rows = [
            (number, have[addresses.canonical(link["addresses"].get(node))])
            for number, link in sorted(context.links.items())
            if addresses.canonical(link["addresses"].get(node)) in have
        ]
        for (one, (card1, net1)), (two, (card2, net2)) in combinations(rows, 2):
            if net1 == net2:
                continue  # one address: `unique` tells it
            data = {"node": node, "links": [one, two], "interfaces": [card1, card2], "subnets": [net1, net2]}
            if addresses.overlap(net1, net2):
                yield finding(
                    "subnet-overlap",
                    f"{node}: links {one} ({net1}) and {two} ({net2}) are in overlapping "
                    "subnets; the kernel may send both through one card",
                    data=data,
                    remedy="put the networks in subnets of their own",
                )
            shared = sorted(context.cards(node, card1) & context.cards(node, card2))
            if shared:
                yield finding(
                    "same-card",
                    f"{node}: links {one} ({card1}) and {two} ({card2}) are both on {', '.join(shared)} "
                    "and fail together",
                    data=data | {"cards": shared},
                    remedy="put one of the networks on another card",
                )


def prefixes(context):
    """Two nodes in one subnet agree on its prefix length."""
    for number, link in sorted(context.links.items()):
        rows = {}
        for node, address in link["addresses"].items():
            found = context.interfaces(node).get(addresses.canonical(address))
            if found:
                rows[node] = found[1]
        if len({addresses.network(row) for row in rows.values()}) < 2:
            continue  # all in one subnet, as nearly always
        for (one, net1), (two, net2) in combinations(sorted(rows.items()), 2):
            if addresses.overlap(net1, net2) and net1.split("/")[1] != net2.split("/")[1]:
                yield finding(
                    "prefix-differs",
                    f"link {number} ({link['network']}): {one} has {net1}, {two} has {net2}",
                    data={"link": number, "nodes": [one, two], "subnets": [net1, net2]},
                    remedy="use the same prefix length on both",
                )


def taken(context):
    """No address of the goal belongs to another node now.

    Where the pillar is right and the configuration is not (`pvecm add` without a link can write one address
    into two entries), the goal is the cure: what counts is who has the address on an interface.
    """
    for number, node, address in _addresses(context):
        here = addresses.canonical(address)
        for other in context.owners.get(here, ()):
            if other == node:
                continue
            data = {"link": number, "node": node, "other": other, "value": address}
            text = f"link {number}: {address} is to be {node}'s, but {other} has it in its configuration now"
            if here in context.interfaces(other):
                if not context.addresses_known(node) or here in context.interfaces(node):
                    yield finding(
                        "address-in-use",
                        f"{text}, and on an interface",
                        data=data,
                        forceable=False,
                        remedy=f"on {other}: ip -br address; take it away there, or correct "
                        f"corosync:nodes:{node}:addresses in the pillar",
                    )
            elif context.addresses_known(other) or here in context.interfaces(node):
                yield finding(
                    "address-in-use",
                    f"{text}, and not on an interface: the configuration is wrong",
                    severity="warning",
                    data=data,
                    remedy=f"nothing, the layout gives {other} its own address",
                )
            else:
                yield finding(
                    "address-in-use",
                    f"{text}; who has it on an interface is not known",
                    data=data,
                    forceable=True,
                    remedy=f"on {node} and {other}: ip -br address; if it is {node}'s: force=address-in-use; "
                    f"else correct corosync:nodes:{node}:addresses in the pillar",
                )


def redundancy(context):
    """Every link of the layout that runs is connected on every pair, so that one more failure costs nothing.

    A pair with no link left is no matter of redundancy: `cluster-split` tells that.
    """
    running = {node: facts for node, facts in context.nodes.items() if facts.get("runtime")}
    dead: dict[int, dict[str, int]] = {}
    for pair in combinations(sorted(set(running) & set(context.layout["nodes"])), 2):
        seen = _seen(running, pair)
        left = sum(seen.values())
        for number in sorted(context.links) if 0 < left < len(seen) else ():
            if seen.get(number) is False and _runs(context, running, number, pair):
                dead.setdefault(number, {})["-".join(pair)] = left
    for number, pairs in sorted(dead.items()):
        network, left = context.links[number]["network"], min(pairs.values())
        cost = "one more failure takes the quorum" if left == 1 else f"{left} links carry"
        yield finding(
            "redundancy-lost",
            f"link {number} ({network}) is dead between {_join(pairs)}: {cost}",
            severity="info" if context.links[number].get("optional") else None,
            data={"link": number, "network": network, "pairs": list(pairs), "left": left},
            remedy=f"repair {network}: on each node `ip -br address`, then ping the peers' addresses; the "
            "link comes back by itself",
        )


def routes(context):
    """What goes over a dead link leaves a node by the card of the link."""
    for node in context.layout["nodes"]:
        ways = (context.nodes.get(node) or {}).get("routes") or []
        for way in iproute.elsewhere(ways, context.interfaces(node)):
            yield finding(
                "route-elsewhere",
                f"{node}: link {way['link']} to {way['peer']} is dead, and what goes from {way['from']} to "
                f"{way['to']} leads over {way['dev']}, not over {way['card']}",
                data={"node": node} | way,
                remedy=f"on {node}: ip route get {way['to']} from {way['from']}; then ip rule: a rule or a "
                "route of another network (VPN, overlay) takes it",
            )


def _seen(running: dict, pair) -> dict[int, bool]:
    """Return ``{link: connected}`` of two nodes; False where one end says so."""
    found: dict[int, bool] = {}
    for node, peer in (pair, pair[::-1]):
        for number, row in ((running[node].get("links") or {}).get(peer) or {}).items():
            found[int(number)] = found.get(int(number), True) and bool(row.get("connected"))
    return found


def _runs(context, running: dict, number: int, pair) -> bool:
    """Tell whether both daemons run a link with the layout's addresses between them."""
    link = context.links[number]
    return all(
        addresses.canonical(context.runtime_addresses(node, running[viewer]["runtime"]).get(number))
        == addresses.canonical(link["addresses"].get(node))
        for viewer in pair
        for node in pair
    )


def _usable(context, link: dict, pair) -> bool:
    return all(addresses.canonical(link["addresses"].get(node)) in context.interfaces(node) for node in pair)


def _addresses(context):
    for number, link in sorted(context.links.items()):
        for node, address in link["addresses"].items():
            if address:
                yield number, node, address


def _join(items) -> str:
    return ", ".join(str(item) for item in items)


RULES = (
    numbers,
    complete,
    literal,
    unique,
    one_family,
    options,
    ports,
    fixed_options,
    present,
    reachable,
    subnets,
    prefixes,
    taken,
    redundancy,
    routes,
)
