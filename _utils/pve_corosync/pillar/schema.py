"""The pillar `corosync`: its schema, checked as a whole, every problem with its place.

``check`` returns (findings, cluster); ring_layout gives both their public names.
"""

from __future__ import annotations

import difflib
import ipaddress
import re

from pve_corosync import addresses as ip
from pve_corosync import link_options
from pve_corosync.pillar import watch
from pve_corosync.pillar.problems import Problems
from pve_corosync.tools import nft

TOTEM_KEYS = tuple(link_options.TOTEM)
TOP_KEYS = (
    "cluster_name",
    "nodes",
    "layouts",
    "layout",
    "skip",
    "fast_ping",
    "firewall",
    "watch",
    *TOTEM_KEYS,
)
NODE_KEYS = ("nodeid", "addresses", "minion")
LAYOUT_KEYS = ("links", "primary", *TOTEM_KEYS)
FIREWALL_KEYS = ("management", "ssh")
LINK_KEYS = ("network", "optional") + tuple(link_options.CONF_KEYS)

# PVE::JSONSchema, format pve-node; a host name label has at most 63 characters.
NODE_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?")
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
#: it stands in commands to copy, as a target of `salt`: no quote, no glob, no comma.
MINION_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=:\-]*")


def check(pillar) -> tuple[list[dict], dict]:
    """Check the pillar and build the cluster from it.

    :param pillar: the value of the pillar key ``corosync``, plain types only.
    :returns: (findings, cluster); the cluster is only good if no finding is an error.
    """
    out = Problems()
    cluster = {
        "cluster_name": "",
        "nodes": {},
        "layouts": {},
        "layout": "",
        "skip": [],
        "fast_ping": dict(link_options.FAST_PING),
        "firewall": {"management": None, "ssh": "peers"},
        "watch": None,
        "totem": {},
    }
    if not out.mapping(pillar, "corosync", "a mapping with " + ", ".join(TOP_KEYS)):
        return list(out), cluster
    out.keys(pillar, TOP_KEYS, "corosync")
    cluster["cluster_name"] = _cluster_name(out, pillar.get("cluster_name"))
    if out.mapping(pillar.get("nodes"), "corosync:nodes", "a mapping of node names"):
        cluster["nodes"] = _nodes(out, pillar["nodes"])
        _across_nodes(out, cluster["nodes"])
    if out.mapping(pillar.get("layouts"), "corosync:layouts", "a mapping of layout names"):
        for name, layout in pillar["layouts"].items():
            cluster["layouts"][str(name)] = _layout(out, str(name), layout, cluster["nodes"])
    cluster["layout"] = _wanted(out, pillar.get("layout"), cluster["layouts"])
    cluster["skip"] = _skip(out, pillar.get("skip"), cluster["nodes"])
    cluster["fast_ping"] = _fast_ping(out, pillar.get("fast_ping", link_options.FAST_PING))
    cluster["totem"] = _totem(out, "corosync", pillar)
    cluster["firewall"] = _firewall(out, pillar.get("firewall", {}))
    cluster["watch"] = watch.check(out, pillar.get("watch"), cluster["layouts"])
    return list(out), cluster


def _cluster_name(out: Problems, name) -> str:
    place, allowed = "corosync:cluster_name", "the name in totem { cluster_name }, no blanks, #, { or }"
    if name is None or name == "":
        out.add(
            "pillar-missing", place, "is missing or empty", allowed, "copy it from `Name:` of pvecm status"
        )
    elif not isinstance(name, str):
        out.add("pillar-type", place, f"{name!r} is no text", allowed, f"put quotes around it: {str(name)!r}")
    elif not name.strip("*"):
        out.add(
            "pillar-masked",
            place,
            "holds only asterisks, the pillar was masked on its way",
            allowed,
            "read it through pillar.raw or __pillar__, not through pillar.get",
        )
    elif len(name) > 256 or not name.isprintable() or any(c.isspace() or c in "#{}" for c in name):
        out.add(
            "cluster-name-bad", place, f"{name!r} cannot be a value in corosync.conf", allowed, value=name
        )
    else:
        if len(name) > 15 or not NODE_NAME.fullmatch(name):
            out.add(
                "cluster-name-odd",
                place,
                f"{name!r} is not a name that `pvecm create` takes",
                "letters, digits and inner hyphens, at most 15",
                "nothing to do if the cluster has that name",
                value=name,
            )
        return name
    return ""


def _nodes(out: Problems, nodes: dict) -> dict:
    good = {}
    for name, node in nodes.items():
        place = f"corosync:nodes:{name}"
        if not isinstance(name, str) or not NODE_NAME.fullmatch(name):
            out.add(
                "node-name-bad",
                place,
                f"{name!r} is no node name",
                "letters, digits and inner hyphens, at most 63, as text",
                "use the short host name that `pvecm nodes` prints",
                value=str(name),
            )
        if not out.mapping(node, place, "a mapping with " + ", ".join(NODE_KEYS)):
            continue
        out.keys(node, NODE_KEYS, place)
        good[str(name)] = {
            "nodeid": _nodeid(out, place, node.get("nodeid")),
            "minion": _minion(out, place, node.get("minion", str(name))),
            "addresses": _addresses(out, place, node.get("addresses")),
        }
    return good


def _nodeid(out: Problems, place: str, value) -> int:
    allowed = "a whole number from 1 to 65535"
    if value is None:
        out.add(
            "pillar-missing",
            f"{place}:nodeid",
            "is missing",
            allowed,
            "copy it from the nodelist of /etc/corosync/corosync.conf",
        )
        return 0
    number = link_options.whole(value)
    if number is None or not 1 <= number <= 65535:
        out.add(
            "nodeid-bad",
            f"{place}:nodeid",
            f"{value!r} is no nodeid",
            allowed,
            "copy it from the nodelist of /etc/corosync/corosync.conf",
            value=value,
        )
        return 0
    return number


def _minion(out: Problems, place: str, value) -> str:
    if isinstance(value, str) and MINION_ID.fullmatch(value):
        return value
    out.add(
        "pillar-type",
        f"{place}:minion",
        f"{value!r} is no minion id",
        "the id that `salt-key -L` prints: letters, digits, - _ . @ + = : as text",
        "drop it if the id is the node's name",
    )
    return ""


def _addresses(out: Problems, place: str, addresses) -> dict:
    place = f"{place}:addresses"
    if not out.mapping(addresses, place, "a mapping network: IP address"):
        return {}
    good = {}
    for network, address in addresses.items():
        here = f"{place}:{network}"
        if not isinstance(network, str) or not NETWORK_NAME.fullmatch(network):
            out.add("pillar-type", here, f"{network!r} is no network name", "letters, digits, - _ . as text")
            continue
        if _address(out, here, address):
            good[network] = ip.canonical(address)
    return good


def _address(out: Problems, place: str, address) -> bool:
    allowed = "an IPv4 or IPv6 address without prefix length or zone"
    if address is None or address == "":
        out.add("address-missing", place, "is empty", allowed, f"set {place}, or drop it")
    elif ip.parse(address) is None:
        if ip.looks_like_name(address):
            out.add(
                "address-host-name",
                place,
                f"{address!r} is a host name; corosync resolves it in its main loop, slow DNS stalls it",
                allowed,
                f"put the output of `getent ahosts {address}` there",
                value=address,
            )
        else:
            out.add("address-bad", place, f"{address!r} is no IP address", allowed, value=str(address))
    elif ip.unusable(address):
        out.add(
            "address-unusable",
            place,
            f"{address!r} is a {ip.unusable(address)} address, it reaches no other node",
            allowed,
            value=address,
        )
    else:
        return True
    return False


def _across_nodes(out: Problems, nodes: dict) -> None:
    seen = {"nodeid": {}, "minion": {}, "address": {}}
    for name, node in nodes.items():
        place = f"corosync:nodes:{name}"
        rows = [
            ("nodeid", "nodeid-duplicate", f"{place}:nodeid", node["nodeid"]),
            ("minion", "minion-duplicate", f"{place}:minion", node["minion"]),
        ]
        rows += [
            ("address", "address-duplicate", f"{place}:addresses:{network}", address)
            for network, address in node["addresses"].items()
        ]
        for kind, code, here, value in rows:
            first = seen[kind].setdefault(value, here)
            if value and first.startswith(f"{place}:addresses:") and first != here:
                out.add(
                    "address-shared",
                    here,
                    f"{value!r} already stands at {first}",
                    "an address of its own for each network, where the node has one",
                    "nothing, if it has no other; the links fail together there",
                    value=value,
                    first=first,
                )
            elif value and first != here:
                out.add(
                    code,
                    here,
                    f"{value!r} already stands at {first}",
                    f"each {kind} once",
                    f"correct {here} or {first}",
                    value=value,
                    first=first,
                )


def _layout(out: Problems, name: str, layout, nodes: dict) -> dict:
    place = f"corosync:layouts:{name}"
    good = {"name": name, "links": {}, "primary": "", "totem": {}}
    if not out.mapping(layout, place, "a mapping with " + ", ".join(LAYOUT_KEYS)):
        return good
    out.keys(layout, LAYOUT_KEYS, place)
    if layout.get("links") == {}:
        out.add("link-count", f"{place}:links", "has no link", "1 to 8 links", f"add link 0 to {place}:links")
    elif out.mapping(layout.get("links"), f"{place}:links", "a mapping link number: {network: NAME}"):
        good["links"] = _links(out, f"{place}:links", layout["links"], nodes)
    good["primary"] = _primary(out, f"{place}:primary", layout.get("primary"), nodes)
    good["totem"] = _totem(out, place, layout)
    return good


def _totem(out: Problems, place: str, given: dict) -> dict:
    """Return the keys of totem that the cluster or a layout sets, as text."""
    bad = link_options.check_totem(given, place)
    out.extend(bad)
    wrong = {item["data"]["place"] for item in bad}
    return {
        key: str(link_options.whole(given[key]))
        for key in TOTEM_KEYS
        if key in given and f"{place}:{key}" not in wrong
    }


def _links(out: Problems, place: str, links: dict, nodes: dict) -> dict:
    good: dict[int, dict] = {}
    for key, link in links.items():
        here = f"{place}:{key}"
        number = link_options.link_number(key)
        if number is None:
            out.add("link-number-bad", here, f"{key!r} is no link number", "0 to 7", value=str(key))
            continue
        if number in good:
            out.add(
                "link-number-duplicate",
                here,
                f"link {number} already stands in {place}",
                "each link once",
                f"renumber or drop {here}",
                value=number,
            )
            _link(out, here, link, nodes)
            continue
        good[number] = _link(out, here, link, nodes)
    if good and 0 not in good:
        out.add(
            "ring0-missing",
            place,
            f"link 0 is missing, there is {', '.join(map(str, sorted(good)))}",
            "link 0 and up to seven more",
            f"give one of the links of {place} the number 0",
        )
    _across_links(out, place, good, nodes)
    return {number: good[number] for number in sorted(good)}


def _link(out: Problems, place: str, link, nodes: dict) -> dict:
    good = {"network": "", "options": {}}
    if not out.mapping(link, place, "a mapping with network and options"):
        return good
    optional = link.get("optional", False)
    if optional is True:
        good["optional"] = True
    elif optional is not False:
        out.add("pillar-type", f"{place}:optional", f"{optional!r} is no yes or no", "true or false")
    options = {key: value for key, value in link.items() if key in link_options.CONF_KEYS}
    out.keys(link, LINK_KEYS, place, "option-unknown")
    bad = link_options.check(options, place)
    out.extend(bad)
    good["network"] = _network(out, f"{place}:network", link.get("network"), nodes, "a link")
    if not any(item["severity"] == "error" for item in bad):
        good["options"] = link_options.to_conf(options)
    return good


def _network(out: Problems, place: str, network, nodes: dict, use: str) -> str:
    known = sorted({name for node in nodes.values() for name in node["addresses"]})
    allowed = ", ".join(known) or "none, no node has an address"
    if network is None or network == "":
        out.add("pillar-missing", place, "is missing", allowed, f"add {place} to the pillar")
        return ""
    if network not in known:
        near = difflib.get_close_matches(str(network), known, n=1)
        out.add(
            "network-unknown",
            place,
            f"{network!r} is a network that no node has an address on",
            allowed,
            f"write {near[0]!r}" if near else "add it to corosync:nodes:*:addresses",
            value=str(network),
        )
        return ""
    for name, node in nodes.items():
        if network not in node["addresses"]:
            here = f"corosync:nodes:{name}:addresses:{network}"
            if not any(item["data"]["place"] == here for item in out):  # told once, for the first use
                out.add(
                    "address-missing",
                    here,
                    f"is missing, {place} needs it for {use}",
                    "an IP address on every node",
                    f"add {here} to the pillar",
                    node=name,
                    network=network,
                )
    families = {
        name: ip.family(node["addresses"][network])
        for name, node in nodes.items()
        if network in node["addresses"]
    }
    if len(set(families.values())) > 1:
        told = ", ".join(f"{name} {family}" for name, family in families.items())
        out.add(
            "family-mixed",
            place,
            f"network {network!r} mixes IPv4 and IPv6 ({told})",
            "one family in a network",
            f"give every node an address of one family on {network!r}",
            network=network,
        )
    return network


def _across_links(out: Problems, place: str, links: dict, nodes: dict) -> None:
    networks: dict[str, str] = {}
    for number, link in links.items():
        here = f"{place}:{number}"
        first = networks.setdefault(link["network"], here)
        if link["network"] and first != here:
            out.add(
                "network-twice",
                f"{here}:network",
                f"{link['network']!r} already carries {first}",
                "each network once",
                f"drop {here} or {first}",
                value=link["network"],
            )
    rows = {
        number: {"options": link["options"], "addresses": _on(nodes, link["network"])}
        for number, link in links.items()
    }
    for first, number, port, node, address in link_options.shared_sockets(rows):
        out.add(
            "option-port-shared",
            f"{place}:{number}:port",
            f"UDP port {port} is already the port of {place}:{first} on {address} of {node}",
            "each port once on an address; the default is 5405 + link number",
            f"change port of {place}:{number} or {place}:{first}",
            value=port,
        )


def _on(nodes: dict, network: str) -> dict:
    """Return the addresses of a network: {node: address}."""
    return {name: node["addresses"][network] for name, node in nodes.items() if network in node["addresses"]}


def _primary(out: Problems, place: str, network, nodes: dict) -> str:
    return _network(out, place, network, nodes, "the names of the nodes")


def _wanted(out: Problems, name, layouts: dict) -> str:
    place, allowed = "corosync:layout", ", ".join(sorted(layouts)) or "none, corosync:layouts is empty"
    if name is None or name == "":
        out.add("pillar-missing", place, "is missing", allowed, "name the layout that highstate is to hold")
    elif str(name) not in layouts:
        near = difflib.get_close_matches(str(name), list(layouts), n=1)
        out.add(
            "layout-unknown",
            place,
            f"{name!r} is no layout",
            allowed,
            f"write {near[0]!r}" if near else f"name one of: {allowed}",
            value=str(name),
        )
    else:
        return str(name)
    return ""


def _skip(out: Problems, skip, nodes: dict) -> list[str]:
    place, allowed = "corosync:skip", "a list of node names out of " + (", ".join(sorted(nodes)) or "none")
    if skip is None:
        return []
    if not isinstance(skip, list):
        out.add("pillar-type", place, f"{skip!r} is no list", allowed, f"write [{skip}]")
        return []
    good = [name for name in skip if isinstance(name, str) and name in nodes]
    for name in skip:
        if name not in good:
            near = difflib.get_close_matches(str(name), list(nodes), n=1)
            out.add(
                "skip-unknown",
                place,
                f"{name!r} is no node",
                allowed,
                f"write {near[0]!r}" if near else f"drop {name!r}",
                value=str(name),
            )
    return good


def _fast_ping(out: Problems, given) -> dict:
    place, known = "corosync:fast_ping", ("ping_interval", "ping_timeout")
    if given is False or given == {}:  # a way to say: the default timers, also in an emergency
        return {}
    if not out.mapping(given, place, "a mapping with ping_interval and ping_timeout in ms, or false"):
        return {}
    out.keys(given, known, place)
    options = {key: value for key, value in given.items() if key in known}
    bad = link_options.check(options, place)
    out.extend(bad)
    if any(item["severity"] == "error" for item in bad):
        return {}
    return {key: link_options.whole(value) for key, value in options.items()}


def _firewall(out: Problems, given) -> dict:
    place, good = "corosync:firewall", {"management": None, "ssh": "peers"}
    if given == {} or not out.mapping(given, place, "a mapping with " + ", ".join(FIREWALL_KEYS)):
        return good
    out.keys(given, FIREWALL_KEYS, place)
    ssh = given.get("ssh", "peers")
    if ssh in nft.SSH_MODES:
        good["ssh"] = ssh
    else:
        out.add(
            "firewall-value",
            f"{place}:ssh",
            f"{ssh!r} is no way to treat ssh from others",
            ", ".join(nft.SSH_MODES),
            value=str(ssh),
        )
    if "management" in given:
        good["management"] = _management(out, f"{place}:management", given["management"])
    return good


def _management(out: Problems, place: str, given) -> list[str]:
    allowed = "a list of addresses and CIDRs from which ssh stays possible; [] for the nodes only"
    if not isinstance(given, list):
        out.add("pillar-type", place, f"{given!r} is no list", allowed, f"write [{given}]")
        return []
    good = []
    for number, item in enumerate(given):
        try:
            network = ipaddress.ip_network(item if isinstance(item, str) else repr(item), strict=False)
        except ValueError:
            network = None
        if network is None or not network.prefixlen:
            said = f"{item!r} is no address and no CIDR" if network is None else f"{item!r} is everything"
            remedy = "" if network is None else "write ssh: open if ssh is to be left alone"
            out.add("firewall-value", f"{place}:{number}", said, allowed, remedy, value=str(item))
        else:
            good.append(str(network.network_address) if network.num_addresses == 1 else str(network))
    return good
