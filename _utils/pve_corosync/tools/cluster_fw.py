"""``/etc/pve/firewall/cluster.fw``: let the nodes in and everyone else not, without touching other people's
entries.

Facts (PVE/Firewall.pm): a second ``[IPSET x]`` header empties the set, so an existing one is used; a comment
at the end of a rule, an entry or an IPSET header survives PVE's own rewriting, one on a line of its own does
not; the automatic corosync rules open 5404:5405 between the addresses of one link only; ssh is let in from
the set ``management``. Established connections are accepted before any rule.
"""

from __future__ import annotations

import ipaddress
import re

from pve_corosync.findings import finding

#: one port a link (corosync totemconfig.c), lowest and highest.
PORTS = (5405, 5412)
SSH = 22
SET = "pve-corosync"
#: who may use ssh besides the nodes. The set ``management`` would not do: PVE puts the whole network in which
#: the node's name lies into it (PVE/Firewall.pm local_network).
SSH_SET = "pve-corosync-ssh"
MARK = "# pve-corosync"


_MARKED = re.compile(r"#\s*pve-corosync(:.*)?\s*$")
_HEADER = re.compile(r"^\s*\[(\w+)(?:\s+(\S+))?\]\s*(?:#.*)?$")
_OPTION = re.compile(r"^\s*(\w+):\s*(\S+)\s*$")
_ALIAS = re.compile(r"^\s*local_network\s+(\S+)", re.IGNORECASE)
_ACCEPTS_SSH = re.compile(r"^\s*IN\s+(SSH\(ACCEPT\)|ACCEPT\s.*-dport\s+(22|ssh)\b)", re.IGNORECASE)
_SECTION_NOTE = f"{MARK}: made the next section\n"


class FirewallError(ValueError):
    """A text that cannot be edited safely, or an argument that cannot be written into it."""


def cluster_fw(data: bytes, networks: dict, management=(), ports=(), close_ssh: bool = False) -> bytes:
    """Return the file with the nodes let in: corosync's UDP ports and ssh; that UDP dropped for all others.

    Everything that was there stays, byte for byte; entries of ours that are out of date go. Doing it twice
    changes nothing.

    :param data: the present file, ``b""`` if there is none.
    :param networks: ``{network: {node: IP}}``, every network in use.
    :param management: further addresses or CIDRs for the set ``management``.
    :param ports: UDP ports of links besides 5405 to 5412.
    :param close_ssh: drop ssh from everyone but the nodes and ``management``, ahead of the file's own rules;
        else it is left to those and to the policy.
    :raises FirewallError: text before the first section; a bad address.
    """
    lines = _lines(remove(data))
    stray = next(
        (i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None
    )
    if stray is not None and not _HEADER.match(lines[stray]):
        raise FirewallError(
            f"cluster.fw line {stray + 1}: {lines[stray].strip()!r} stands before the first [section]"
        )
    entries = _entries(networks)
    extra = {_network(item): "management" for item in management}
    lines = _into_rules(lines, rules(ports, close_ssh, bool(extra)))
    have = _present(lines, "management")
    wanted = [
        f"{item} {MARK}: {why}\n" for item, why in {**entries, **extra}.items() if not _covered(item, have)
    ]
    if wanted:
        lines = _into_set(lines, "management", wanted)
    lines = _into_set(lines, SET, [f"{item} {MARK}: {why}\n" for item, why in entries.items()])
    if close_ssh and extra:
        lines = _into_set(lines, SSH_SET, [f"{item} {MARK}: {why}\n" for item, why in extra.items()])
    return "".join(lines).encode("latin-1")


def remove(data: bytes) -> bytes:
    """Return the file without anything of ours; a file that we made from others' text is theirs again, to the
    byte.

    (A newline that was missing at the end of the file stays added.)
    """
    lines, kept, index = _lines(data), [], 0
    while index < len(lines):
        header, end = _HEADER.match(lines[index]), index + 1
        if lines[index] == _SECTION_NOTE and end < len(lines):
            header, index, end = _HEADER.match(lines[end]), end, end + 1
            made = True
        else:
            made = bool(header) and bool(_MARKED.search(lines[index]))
        if not header:
            kept += [] if _MARKED.search(lines[index]) else [lines[index]]
            index += 1
            continue
        while end < len(lines) and not _HEADER.match(lines[end]) and lines[end] != _SECTION_NOTE:
            end += 1
        kept += _without_ours(lines[index], lines[index + 1 : end], made)
        index = end
    return "".join(kept).encode("latin-1")


def same(one: bytes, other: bytes) -> bool:
    """Tell whether two files mean the same to PVE, which writes one anew in an order of its own: sections,
    options, aliases and entries of sets sorted, empty lines left out (PVE/Firewall.pm save_clusterfw_conf).

    :param one: a file, ``b""`` if there is none. :param other: the other one.
    """
    return _meaning(one) == _meaning(other)


def _meaning(data):
    """Return ``{section: its lines}``: in order where order counts, which is in rules."""
    section, found = None, {}
    for line in _lines(data):
        header, words = _HEADER.match(line), line.split()
        if header:
            kind, name = header[1].lower(), (header[2] or "").lower()
            section = found.setdefault((kind, name), [bool(_MARKED.search(line))])
        elif words and not words[0].startswith("#") and section is not None:
            section.append(_rule(words) if kind in ("rules", "group") else " ".join(words))
    return {
        key: (rows[0], rows[1:] if key[0] in ("rules", "group") else sorted(rows[1:]))
        for key, rows in found.items()
    }


def _rule(words):
    """Return the words of a rule: type and action, its options in a fixed order, its comment."""
    rule, mark, comment = " ".join(words).partition("#")
    words = rule.split()
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    options = sorted(zip(words[first::2], words[first + 1 :: 2]))
    return (*words[:first], *(part for pair in options for part in pair), mark + comment.strip())


def options(data: bytes) -> dict:
    """Return ``{"enabled": bool, "policy_in": text, "ours": bool, "local_network": text | None, "ssh":
    [rule]}`` of the file.

    ``ours`` is whether anything of ours is in it, ``local_network`` the alias that bounds what PVE counts as
    management, ``ssh`` others' rules that accept ssh. PVE's defaults are disabled and DROP.
    """
    section, found, ours, alias, accepts = "", {}, False, None, []
    for line in _lines(data):
        header = _HEADER.match(line)
        section = header[1].lower() if header else section
        named = _ALIAS.match(line)
        if named and section == "aliases":
            alias = named[1]
        if section == "rules" and _ACCEPTS_SSH.match(line) and not _MARKED.search(line):
            accepts.append(line.strip())
        option = _OPTION.match(line)
        if option and section == "options":
            found[option[1].lower()] = option[2]
        ours = ours or bool(_MARKED.search(line))
    return {
        "enabled": found.get("enable", "0") not in ("0", ""),
        "policy_in": found.get("policy_in", "DROP").upper(),
        "ours": ours,
        "local_network": alias,
        "ssh": accepts,
    }


def rules(ports=(), close_ssh: bool = False, admins: bool = False) -> list[str]:
    """Return the rules as they stand in ``[RULES]``, without the mark; what is let in stands first.

    :param ports: UDP ports of links besides 5405 to 5412.
    :param close_ssh: with a rule that drops ssh from others.
    :param admins: whether the set of those who may use ssh besides the nodes is there.
    """
    low, high = PORTS
    udp = ",".join([f"{low}:{high}", *map(str, more_ports(ports))])
    return [
        f"IN ACCEPT -source +{SET} -p udp -dport {udp} -log nolog",
        f"IN ACCEPT -source +{SET} -p tcp -dport {SSH} -log nolog",
        *[f"IN ACCEPT -source +{SSH_SET} -p tcp -dport {SSH} -log nolog"] * (close_ssh and admins),
        f"IN DROP -p udp -dport {udp} -log nolog",
        *[f"IN DROP -p tcp -dport {SSH} -log nolog"] * close_ssh,
    ]


def more_ports(ports) -> list[int]:
    """Return those of the ports that the range of PVE does not have, in order, once each."""
    return sorted({int(port) for port in ports if not PORTS[0] <= int(port) <= PORTS[1]})


def notes(told: dict, running: bool, nftables: bool) -> list[dict]:
    """Return findings on what PVE's firewall does by itself.

    :param told: what :func:`options` returned. :param running: whether pve-firewall runs.
    :param nftables: whether the node's host.fw has ``nftables: 1``.
    """
    if not told["enabled"]:
        return []
    found = []
    bound = "in [ALIASES] of /etc/pve/firewall/cluster.fw: local_network CIDR of the machines that may"
    if not running:
        found.append(
            finding(
                "firewall-idle",
                "cluster.fw says enable: 1, but pve-firewall does not run, so it protects nothing",
                remedy="systemctl start pve-firewall, or enable: 0",
            )
        )
    if nftables:
        found.append(
            finding(
                "firewall-accepts-everyone",
                "proxmox-firewall (nftables: 1 in host.fw) accepts UDP 5405-5412 from everywhere, and ssh"
                " from its management set, ahead of every rule",
                remedy="nftables: 0 in host.fw; or have the provider's firewall drop them",
            )
        )
    if not told["local_network"]:
        found.append(
            finding(
                "firewall-local-network",
                "cluster.fw has no alias local_network, so PVE counts the network of each node's name as"
                " management (8006, 3128, 5900-5999, 60000-60050): of a public one, all neighbours",
                remedy=bound,
            )
        )
    return found


def _lines(data):
    text = data.decode("latin-1")
    if text and not text.endswith("\n"):
        text += "\n"
    # not splitlines: it cuts at bytes that are a part of UTF-8 letters
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def _network(text):
    try:
        network = ipaddress.ip_network(str(text), strict=False)
    except ValueError as exc:
        raise FirewallError(f"{text!r} is no address and no CIDR: {exc}") from None
    if not network.prefixlen:
        raise FirewallError(f"{text!r} is everything: the firewall takes no zero prefix")
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _entries(networks):
    found = {}
    for network, addresses in sorted(networks.items()):
        for node, address in sorted(addresses.items()):
            found.setdefault(_network(address), f"{node} on {network}")
    if not found:
        raise FirewallError(
            "no address of any node: every network in use is needed, or the nodes lock each other out"
        )
    return found


def _section(lines, kind, name=None):
    """
    Return (index of the header, index after the last line) of a section, None if it is not there.
    """
    start = None
    for index, line in enumerate(lines):
        header = _HEADER.match(line)
        if not header:
            continue
        if start is not None:
            return start, index
        if header[1].lower() == kind and (name is None or (header[2] or "").lower() == name):
            start = index
    return None if start is None else (start, len(lines))


def _present(lines, name):
    """
    Return the networks that a set lists already; aliases and exclusions do not count.
    """
    section, found = _section(lines, "ipset", name), []
    for line in lines[section[0] + 1 : section[1]] if section else []:
        try:
            found.append(ipaddress.ip_network(line.split("#")[0].strip(), strict=False))
        except ValueError:
            continue
    return found


def _covered(item, have):
    network = ipaddress.ip_network(item)
    return any(network.version == other.version and network.subnet_of(other) for other in have)


def _first_header(lines):
    at = next((index for index, line in enumerate(lines) if _HEADER.match(line)), 0)
    return at - 1 if at and lines[at - 1] == _SECTION_NOTE else at


def _into_set(lines, name, entries):
    section = _section(lines, "ipset", name)
    if section:
        return lines[: section[0] + 1] + entries + lines[section[0] + 1 :]
    at = _first_header(lines)
    return lines[:at] + [f"[IPSET {name}] {MARK}\n", *entries, "\n"] + lines[at:]


def _into_rules(lines, wanted):
    ours = [f"{rule} {MARK}\n" for rule in wanted]
    section = _section(lines, "rules")
    if section:
        return lines[: section[0] + 1] + ours + lines[section[0] + 1 :]
    at = _first_header(lines)
    return lines[:at] + [_SECTION_NOTE, "[RULES]\n", *ours, "\n"] + lines[at:]


def _without_ours(header, body, made):
    """
    Return a section without marked lines; one that we made goes as a whole when nothing of others' is in it.
    """
    rest = [line for line in body if not _MARKED.search(line)]
    if not made or any(line.strip() and not line.startswith("#") for line in rest):
        return [header, *rest]
    last = max((index for index, line in enumerate(body) if _MARKED.search(line)), default=-1)
    tail = body[last + 1 :]
    head = [line for line in body[: last + 1] if not _MARKED.search(line) and line.strip()]
    return head + (tail[1:] if tail and not tail[0].strip() else tail)
