"""The pillar of a living cluster, from the facts of its nodes: what is in force now, as layout `nominal`."""

from __future__ import annotations

from pve_corosync import addresses as ip
from pve_corosync import link_options
from pve_corosync.cluster.cluster import Cluster
from pve_corosync.cluster.literal import literal
from pve_corosync.findings import errors, finding
from pve_corosync.pillar import layouts
from pve_corosync.pillar.schema import NETWORK_NAME

LAYOUT = "nominal"


def export(observed: dict, notes: list[str] | None = None) -> dict:
    """Return the value of the pillar key ``corosync`` that describes the cluster as it is.

    A network is named after the interface that carries it, if that is the same on all nodes that answer, else
    ``netN`` after its link. Further interfaces with an address on every node become networks that no layout
    uses; of several addresses of a card the first counts that is no host address (/32), and a note tells it.

    :param observed: ``{"nodes": {name: facts}, "silent": [name]}``.
    :param notes: takes a text for each thing that the pillar does not express: options in force, addresses.
    :returns: the pillar, plain types, valid: nominal has the links and options now in force, and the primary
        network is the one of the names' addresses, so that a plan on it is empty, or does what is left.
    :raises pillar.layouts.LayoutError: no copy of corosync.conf parses, or what is in force breaks the
        schema; with every problem.
    """
    world = Cluster({"name": LAYOUT, "nodes": {}, "links": {}}, observed)
    if world.base is None:
        raise layouts.LayoutError(
            [
                finding(
                    "conf-none",
                    "no node has a copy of corosync.conf that parses",
                    remedy="salt '*' corosync.facts; then correct /etc/corosync/corosync.conf on one node",
                )
            ]
        )
    rows = {row["name"] or f"node{row['nodeid']}": row for row in world.base.view["nodes"]}
    networks: dict[str, dict[str, str]] = {}
    links = {}
    for number, addresses in sorted(_links(world, rows).items()):
        name = _name(world, addresses, networks, f"net{number}")
        networks[name] = addresses
        links[number] = {"network": name} | _options(
            number, world.base.view["interfaces"].get(number, {}), [] if notes is None else notes
        )
    primary = _primary(world, rows, networks)
    for name, addresses in _further(world, rows, [] if notes is None else notes).items():
        if name not in networks and not _taken(addresses, networks):
            networks[name] = addresses
    pillar = {
        "cluster_name": world.base.view["cluster_name"],
        "nodes": {name: _node(world, name, row, networks) for name, row in rows.items()},
        "layouts": {LAYOUT: {"links": links, "primary": primary}},
        "layout": LAYOUT,
    }
    layouts.load(pillar)
    return pillar


def _options(number: int, conf: dict, notes: list[str]) -> dict:
    """The options of a link as far as the pillar has them; the two of a ping go together."""
    options = link_options.from_conf(conf)
    pings = {"ping_interval", "ping_timeout"}
    wrong = {name for name, value in options.items() if not link_options.in_range(name, value)}
    left = {name: value for name, value in options.items() if name not in wrong}
    if errors(link_options.check({name: left[name] for name in pings & set(left)}, "")):
        wrong |= pings & set(options)
    for name in sorted(wrong):
        conf_key = link_options.CONF_KEYS[name]
        notes.append(
            f"link {number}: {conf_key} {options[name]} is in force and is left out; allowed for {name}:"
            f" {link_options.allowed(name)}" + (", with the other of the pair" if name in pings else "")
        )
    return {name: value for name, value in options.items() if name not in wrong}


def _node(world, name: str, row: dict, networks: dict) -> dict:
    node = {
        "nodeid": row["nodeid"],
        "addresses": {
            network: addresses[name] for network, addresses in networks.items() if name in addresses
        },
    }
    minion = (world.nodes.get(name) or {}).get("minion")
    return node | ({"minion": minion} if minion and minion != name else {})


def _links(world, rows: dict) -> dict[int, dict[str, str]]:
    """The addresses of each link, of the runtimes where there are any, else of the file."""
    links: dict[int, dict[str, str]] = {}
    running = [runtime for _, runtime in world.runtime()]
    newest = max(running, key=lambda runtime: runtime.get("version") or 0, default=None)
    for name, row in rows.items():
        addresses = row["addresses"] if newest is None else world.runtime_addresses(name, newest)
        for number in addresses:
            told = {"nodeid": row["nodeid"], "addresses": addresses}
            links.setdefault(number, {})[name] = _literal(world, name, told, number)
    return links


def _literal(world, node: str, row: dict, number: int) -> str:
    """The IP address behind a host name, as the node itself knows it, else as another does."""
    for viewer in [node, *(name for name in world.nodes if name != node)]:
        address = literal(world.nodes.get(viewer) or {}, row, number)
        if ip.parse(address) is not None:
            return address
    return row["addresses"][number]


def _name(world, addresses: dict, networks: dict, fallback: str) -> str:
    cards = {
        world.interfaces(node).get(address, ("", ""))[0]
        for node, address in addresses.items()
        if node in world.nodes
    }
    card = cards.pop() if len(cards) == 1 else ""
    return card if NETWORK_NAME.fullmatch(card) and card not in networks else fallback


def _primary(world, rows: dict, networks: dict) -> str:
    """The network of the names' addresses; a new one if they are on no link."""
    found = {node: address for node in rows if (address := _name_address(world, node))}
    for name, addresses in networks.items():
        if found and all(addresses.get(node) == address for node, address in found.items()):
            return name
    if set(found) == set(rows):
        name = _name(world, found, networks, "primary")
        networks[name] = found
        return name
    return next(iter(networks), "")


def _name_address(world, node: str) -> str:
    """What PVE uses for a node: its own entry of .members, else what the nodes resolve its name to."""
    order = [node] + [name for name in world.nodes if name != node]
    for viewer in (name for name in order if name in world.nodes):
        address = member_address((world.nodes[viewer].get("pmxcfs") or {}).get("members"), node)
        if address:
            return address
    for viewer in (name for name in order if name in world.nodes):
        for address in (world.nodes[viewer].get("names") or {}).get(node) or []:
            if ip.parse(address) is not None and not ip.parse(address).is_loopback:
                return ip.canonical(address)
    return ""


def member_address(members, node: str) -> str:
    """Return the address of a node in parsed ``.members``, or "".

    :param members: ``{"nodelist": {name: {"ip"}}}`` or None; no nodelist before pmxcfs reached corosync.
    """
    address = (((members or {}).get("nodelist") or {}).get(node) or {}).get("ip")
    return ip.canonical(address) if address else ""


def _further(world, rows: dict, notes: list[str]) -> dict[str, dict[str, str]]:
    """Interfaces with a usable IPv4 address on every node of the cluster."""
    found: dict[str, dict[str, list]] = {}
    for node, facts in world.nodes.items():
        for card, addresses in (facts.get("addresses") or {}).items():
            usable = [row for row in addresses if _usable(row)]
            usable.sort(key=lambda row: row.endswith("/32"))  # a failover address has a prefix of its own
            if usable and node in rows and NETWORK_NAME.fullmatch(card):
                found.setdefault(card, {})[node] = [ip.canonical(row.split("/")[0]) for row in usable]
    networks = {}
    for card, told in sorted(found.items()):
        addresses = {node: usable[0] for node, usable in told.items()}
        if set(addresses) != set(rows) or len(set(addresses.values())) != len(rows):
            continue
        networks[card] = addresses
        notes += [
            f"network {card}: {node} is at {usable[0]}; left out: {', '.join(usable[1:])} on the same card"
            for node, usable in told.items()
            if usable[1:]
        ]
    return networks


def _usable(row: str) -> bool:
    address = row.split("/")[0]
    return ip.family(address) == "ipv4" and not ip.unusable(address)


def _taken(addresses: dict, networks: dict) -> bool:
    used = {address for row in networks.values() for address in row.values()}
    return bool(used & set(addresses.values()))
