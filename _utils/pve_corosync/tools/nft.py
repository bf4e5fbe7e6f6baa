"""The nftables table of our own, for nodes where PVE's firewall is off: ``inet pve_corosync``.

It only ever speaks about two things, corosync's UDP ports and ssh; everything else passes it untouched. An
``accept`` here does not overrule a ``drop`` in another table (nft(8), base chains). Loading the text replaces
the table in one transaction.
"""

from __future__ import annotations

import ipaddress
import json

from pve_corosync.tools.cluster_fw import PORTS, FirewallError, more_ports

FAMILY = "inet"
TABLE = "pve_corosync"
SSH = 22
#: before the filter chains of others (0), so that counters of ours see what arrives.
PRIORITY = -10
#: ``peers``: new ssh sessions from peers and the management networks only; ``open``: ssh is left alone.
SSH_MODES = ("peers", "open")
NFT_FILE = "/etc/pve-corosync/firewall.nft"
UNIT = "pve-corosync-firewall.service"


def text(peers, management=(), ssh: str = "peers", ports=()) -> str:
    """Return the file for ``nft -f`` that makes the table, or replaces it.

    :param peers: addresses of all nodes on every network in use.
    :param management: addresses and CIDRs whose ssh stays possible.
    :param ssh: one of :data:`SSH_MODES`.
    :param ports: UDP ports of links besides 5405 to 5412.
    :raises FirewallError: a bad address; no peer.
    """
    sets = wanted(peers, management, ssh, ports)
    lines = [
        "# written by pve-corosync; edit the pillar instead",
        f"table {FAMILY} {TABLE}",
        f"delete table {FAMILY} {TABLE}",
        f"table {FAMILY} {TABLE} {{",
    ]
    for name in ("peers", "management"):
        for version in (4, 6):
            members = [item for item in sets[name] if ipaddress.ip_network(item).version == version]
            lines += _set(f"{name}{version}", version, members)
    udp = ", ".join(f"{low}-{high}" if low != high else str(low) for low, high in sets["ports"])
    lines += [
        "    chain input {",
        f"        type filter hook input priority {PRIORITY}; policy accept;",
        '        iifname "lo" accept',
        f"        udp dport {{ {udp} }} ip saddr @peers4 counter accept",
        f"        udp dport {{ {udp} }} ip6 saddr @peers6 counter accept",
        f'        udp dport {{ {udp} }} counter drop comment "corosync from strangers"',
        f"        tcp dport {SSH} ip saddr @peers4 counter accept",
        f"        tcp dport {SSH} ip6 saddr @peers6 counter accept",
    ]
    if ssh == "peers":
        lines += [
            f"        tcp dport {SSH} ip saddr @management4 counter accept",
            f"        tcp dport {SSH} ip6 saddr @management6 counter accept",
            # only what opens a connection: a session that runs was never seen by connection tracking, if
            # nothing
            # used that before, so "ct state established" would cut it (measured)
            (
                f'        tcp dport {SSH} tcp flags & (fin|syn|rst|ack) == syn counter drop comment "ssh from'
                ' strangers"'
            ),
        ]
    return "\n".join(lines + ["    }", "}", ""])


def removal() -> str:
    """Return the file for ``nft -f`` that removes the table, also when it is not there."""
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def wanted(peers, management=(), ssh: str = "peers", ports=()) -> dict:
    """Return what the table is to hold, in the shape of :func:`listed`, after checking it.

    Arguments and errors as for :func:`text`.
    """
    if ssh not in SSH_MODES:
        raise FirewallError(f"ssh {ssh!r}: allowed: {', '.join(SSH_MODES)}")
    found = {
        "peers": _networks(peers),
        "management": _networks(management) if ssh == "peers" else [],
        "ssh": ssh,
        "ports": _merged([list(PORTS), *[[port, port] for port in more_ports(ports)]]),
    }
    if not found["peers"]:
        raise FirewallError("no address of any node: the nodes would lock each other out")
    return found


def listed(output: str) -> dict | None:
    """Return what the loaded table holds: ``{"peers": [ip], "management": [cidr], "ssh", "ports":
    [[low, high]]}``.

    :param output: of ``nft -j list table inet pve_corosync``; None is returned if it holds no table with our
    chain.
    """
    rows = json.loads(output or "{}").get("nftables", [])
    sets = {row["set"]["name"]: row["set"].get("elem", []) for row in rows if "set" in row}
    chains = [row["chain"] for row in rows if "chain" in row]
    if not any(chain.get("hook") == "input" for chain in chains):
        return None
    dropped = [port for row in rows if "rule" in row and _drops(row["rule"]) for port in [_port(row["rule"])]]
    udp = next((_ranges(port) for port in dropped if port != SSH), None)
    return {
        "peers": _elements(sets.get("peers4", []) + sets.get("peers6", [])),
        "management": _elements(sets.get("management4", []) + sets.get("management6", [])),
        "ssh": "peers" if SSH in dropped else "open",
        "ports": udp,
    }


def counters(output: str) -> dict[str, int]:
    """Return the packets dropped so far: ``{"corosync from strangers": 3, "ssh from strangers": 0}``.

    :param output: as for :func:`listed`.
    """
    found = {}
    for row in json.loads(output or "{}").get("nftables", []):
        rule = row.get("rule", {})
        for part in rule.get("expr", []):
            if "counter" in part and rule.get("comment"):
                found[rule["comment"]] = part["counter"]["packets"]
    return found


def unit(nft: str = "/usr/sbin/nft", path: str = NFT_FILE) -> str:
    """Return the systemd unit that loads the file at boot, and again whenever nftables.service flushed
    everything.

    :param nft: path of the program; :param path: path of the file.
    """
    return "\n".join(
        [
            "# written by pve-corosync",
            "[Unit]",
            "Description=Firewall table of pve-corosync (corosync and ssh between the nodes)",
            "DefaultDependencies=no",
            "Wants=network-pre.target",
            "After=nftables.service local-fs.target",
            "Before=network-pre.target",
            "PartOf=nftables.service",
            "ReloadPropagatedFrom=nftables.service",
            f"ConditionPathExists={path}",
            "",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            f"ExecStart={nft} -f {path}",
            f"ExecReload={nft} -f {path}",
            f"ExecStop=-{nft} delete table {FAMILY} {TABLE}",
            "",
            "[Install]",
            "WantedBy=multi-user.target nftables.service",
            "",
        ]
    )


def _set(name, version, members):
    lines = [
        f"    set {name} {{",
        f"        type ipv{version}_addr",
        "        flags interval",
        "        auto-merge",
    ]
    if members:
        lines.append(f"        elements = {{ {', '.join(members)} }}")
    return lines + ["    }"]


def _networks(items):
    found = []
    for item in items:
        try:
            found.append(ipaddress.ip_network(str(item), strict=False))
        except ValueError as exc:
            raise FirewallError(f"{item!r} is no address and no CIDR: {exc}") from None
    merged = [
        n
        for version in (4, 6)
        for n in ipaddress.collapse_addresses(n for n in found if n.version == version)
    ]
    return [_plain(network) for network in merged]


def _plain(network):
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _elements(elements):
    found = []
    for element in elements:
        if isinstance(element, str):
            found.append(element)
        elif "prefix" in element:
            found.append(f"{element['prefix']['addr']}/{element['prefix']['len']}")
        else:
            low, high = (ipaddress.ip_address(part) for part in element["range"])
            found += ipaddress.summarize_address_range(low, high)
    return _networks(found)


def _ranges(port):
    """
    Return the port ranges that a rule is about, lowest first.
    """
    parts = port.get("set", [port]) if isinstance(port, dict) else [port]
    return _merged(
        list(part["range"]) if isinstance(part, dict) and "range" in part else [part, part] for part in parts
    )


def _merged(ranges):
    """
    Return ranges in order, those that touch as one, as nft lists them.
    """
    found = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], high)
        else:
            found.append([low, high])
    return found


def _drops(rule):
    return any("drop" in part for part in rule.get("expr", []))


def _port(rule):
    for part in rule.get("expr", []):
        left = part.get("match", {}).get("left", {})
        if left.get("payload", {}).get("field") == "dport":
            return part["match"]["right"]
    return None
