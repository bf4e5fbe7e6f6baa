"""What the tools of corosync 3.1.1 to 3.1.10 print, as plain data; and ``ip -j addr``.

Sources: ``tools/corosync-cfgtool.c``, ``corosync-cmapctl.c``, ``corosync-quorumtool.c`` and ``exec/main.c``.
"""

from __future__ import annotations

import ipaddress
import json
import re


class OutputError(ValueError):
    """A tool printed something that is not understood; the text names the tool and the line."""

    def __init__(self, tool, line, why="does not fit"):
        super().__init__(f"{tool}: {why}: {line.strip()!r}")
        self.tool, self.line = tool, line


def _lines(text):
    """The lines that say something; 3.1.10 warns of SCTP in between."""
    return [line.rstrip("\r") for line in text.split("\n") if line.strip() and not line.startswith("**")]


def reload_result(stdout: str, stderr: str, rc: int) -> dict:
    """Judge ``corosync-cfgtool -R``: accepted only if rc is 0, ``Done`` was printed and stderr is empty.

    The exit code alone says nothing from 3.1.9 on, nor does acceptance show that the runtime has changed:
    read ``totem.config_version`` back.

    :returns: ``{"ok": bool, "error": text}``.
    """
    said = [line.strip() for line in [*stdout.split("\n"), *stderr.split("\n")] if line.strip()]
    errors = [
        line
        for line in said
        if line not in ("Reloading corosync.conf...", "Done") and not line.startswith("**SCTP")
    ]
    if rc == 0 and "Done" in said and not errors:
        return {"ok": True, "error": ""}
    missing = "" if "Done" in said else " and did not print Done"
    return {
        "ok": False,
        "error": "; ".join(errors) or f"corosync-cfgtool -R ended with exit code {rc}{missing}",
    }


_CMAP = re.compile(r"(\S+) \((u8|u16|u32|u64|i8|i16|i32|i64|flt|dbl|str|bin)\)(?: = ?(.*))?\Z")


def cmap(text: str) -> dict:
    """Return a listing of ``corosync-cmapctl`` (either map) as ``{key: int | float | str | None}``.

    Binary values, which are not printed, are None.

    :raises OutputError: a line that is not ``key (type) = value``.
    """
    found = {}
    for line in _lines(text):
        match = _CMAP.match(line)
        if not match:
            raise OutputError("corosync-cmapctl", line)
        key, kind, value = match[1], match[2], match[3]
        try:
            if kind == "bin":
                found[key] = value
            elif kind == "str":
                found[key] = value or ""
            else:
                found[key] = (float if kind in ("flt", "dbl") else int)(value or "")
        except ValueError:
            raise OutputError("corosync-cmapctl", line, f"no value of type {kind}") from None
    return found


def _groups(found, pattern):
    """Collect keys that match ``prefix.<number>.<rest>`` as {number: {rest: value}}."""
    groups = {}
    for key, value in found.items():
        match = re.match(pattern, key)
        if match:
            groups.setdefault(int(match[1]), {})[match[2]] = value
    return groups


def runtime(found: dict) -> dict:
    """Return what the running daemon has, from :func:`cmap` of the main map.

    :returns: ``{"version", "cluster_name", "reload_status", "nodeid", "token", "consensus",
        "nodes": {name: {"nodeid", "addresses": {link: address}}}, "interfaces": {link: {key: text}},
        "members": {nodeid: [address]}, "joined": {nodeid: {"status": "joined" or "left", "version"}}}``, the
        addresses in order of the links with which a node joined, and its version at the last change of
        membership (exec/cmap.c); the numbers in milliseconds; None where the daemon has no such key
        (``reload_status`` before the first reload; ``1`` is success). ``nodeid`` is the local node's.
    """
    nodes, by_place = {}, _groups(found, r"nodelist\.node\.(\d+)\.(.+)\Z")
    for place in sorted(by_place):
        keys = by_place[place]
        name = keys.get("name") or keys.get("ring0_addr") or f"#{place}"
        addresses = {int(key[4:-5]): keys[key] for key in sorted(keys) if re.match(r"ring\d+_addr\Z", key)}
        nodes[str(name)] = {"nodeid": keys.get("nodeid"), "addresses": addresses}
    interfaces = _groups(found, r"totem\.interface\.(\d+)\.(.+)\Z")
    for link, keys in _groups(found, r"runtime\.config\.totem\.interface\.(\d+)\.(.+)\Z").items():
        interfaces.setdefault(link, {}).update(keys)
    local = by_place.get(found.get("nodelist.local_node_pos"), {}).get("nodeid")
    joined = _groups(found, r"runtime\.members\.(\d+)\.(.+)\Z")
    version = found.get("totem.config_version")
    return {
        "version": version if isinstance(version, int) else 0,
        "cluster_name": found.get("totem.cluster_name"),
        "reload_status": found.get("config.reload_status"),
        "nodeid": found.get("runtime.votequorum.this_node_id", local),
        "token": found.get("runtime.config.totem.token"),
        "consensus": found.get("runtime.config.totem.consensus"),
        "members": {
            nodeid: re.findall(r"ip\(([^()\s]+)\)", str(keys.get("ip") or ""))
            for nodeid, keys in sorted(_groups(found, r"runtime\.members\.(\d+)\.(ip)\Z").items())
        },
        "nodes": nodes,
        "joined": {
            nodeid: {"status": keys.get("status"), "version": keys.get("config_version")}
            for nodeid, keys in sorted(joined.items())
        },
        "interfaces": {
            link: {key: str(value) for key, value in sorted(keys.items())}
            for link, keys in sorted(interfaces.items())
        },
    }


def link_stats(stats: dict, running: dict) -> dict:
    """Return the state of every link to every other node, from :func:`cmap` of the stats map.

    :param running: what :func:`runtime` returned, for the names; a node it does not know is ``#<nodeid>``.
    :returns: ``{node: {link: {"connected": bool, "enabled": bool, "mtu": bytes, "latency_us": average,
        "down_count": int}}}``; None for a key that is not there (latency before the first sample).
    """
    names = {entry["nodeid"]: name for name, entry in running["nodes"].items()}
    found = {}
    for key, value in stats.items():
        match = re.match(r"stats\.knet\.node(\d+)\.link(\d+)\.(\w+)\Z", key)
        if match and int(match[1]) != running["nodeid"]:
            name = names.get(int(match[1]), f"#{match[1]}")
            found.setdefault(name, {}).setdefault(int(match[2]), {})[match[3]] = value
    return {
        name: {
            link: {
                "connected": bool(keys.get("connected")),
                "enabled": bool(keys.get("enabled")),
                "mtu": keys.get("mtu"),
                "latency_us": keys.get("latency_ave"),
                "down_count": keys.get("down_count"),
            }
            for link, keys in sorted(links.items())
        }
        for name, links in sorted(found.items())
    }


_MEMBER = re.compile(
    r"\s*(0x[0-9a-fA-F]+|\d+)\s+(\d+)\s+(?:((?:A|NA),(?:V|NV),(?:MW|NMW)|NR)(?:\s+|\Z))?"
    r"(.*?)(?: \((local|votes \d+)\))?\s*\Z"
)
_FIELD = re.compile(r"([A-Z][\w /]*?):\s*(.*?)\s*\Z")


def _members(lines, tool):
    """Return the rows of a membership table as ``[{"nodeid", "votes", "name", "local", "qdevice"}]``."""
    rows = []
    for line in lines:
        if line.split()[:1] == ["Nodeid"] or line.startswith(("Membership information", "------")):
            continue
        match = _MEMBER.match(line)
        if not match:
            raise OutputError(tool, line)
        rows.append(
            {
                "nodeid": int(match[1], 0 if match[1].startswith("0x") else 10),
                "votes": int(match[2]),
                "name": match[4],
                "local": match[5] == "local",
                "qdevice": match[3],
            }
        )
    return rows


def members(text: str) -> dict:
    """Return what ``corosync-quorumtool -l`` (also ``pvecm nodes``) prints: the nodes of this partition.

    :returns: ``{nodeid: {"name", "votes", "local": bool, "qdevice": "A,V,NMW" | "NR" | None}}``; the row of
        the quorum device itself, nodeid 0, is left out.
    :raises OutputError: a line that does not fit, or no table.
    """
    lines = _lines(text)
    if not any(line.startswith("Membership information") for line in lines):
        raise OutputError("corosync-quorumtool -l", text, "no membership table")
    return {row.pop("nodeid"): row for row in _members(lines, "corosync-quorumtool -l") if row["nodeid"]}


def quorum(text: str) -> dict:
    """Return what ``corosync-quorumtool -s`` prints, with any of ``-i``, ``-H``, ``-p`` too.

    :returns: ``{"quorate": bool, "ring_id": "1.1e", "expected", "highest_expected", "total", "quorum",
        "flags": [...], "members": [nodeid], "nodeid", "votes": {nodeid: votes}, "qdevice_votes"}``; None
        for the numbers if votequorum is not in use, and for ``qdevice_votes`` without a quorum device.
    :raises OutputError: a line that does not fit, or no quorum information.
    """
    tool, lines = "corosync-quorumtool -s", _lines(text)
    table = next(
        (at for at, line in enumerate(lines) if line.startswith("Membership information")), len(lines)
    )
    fields = {}
    for line in lines[:table]:
        match = _FIELD.match(line)
        if match:
            fields[match[1]] = match[2]
        elif not line.endswith(" information") and not line.startswith("----"):
            raise OutputError(tool, line)
    if fields.get("Quorate") not in ("Yes", "No"):
        raise OutputError(tool, text, "no line 'Quorate:'")
    rows = _members(lines[table:], tool)

    def number(name):
        value = fields.get(name, "").split(" ")[0]
        if not re.fullmatch(r"(0x[0-9a-fA-F]+|[0-9]*)", value):
            raise OutputError(tool, f"{name}: {fields[name]}")
        return int(value, 16 if value.startswith("0x") else 10) if value else None

    return {
        "quorate": fields["Quorate"] == "Yes",
        "ring_id": fields.get("Ring ID"),
        "expected": number("Expected votes"),
        "highest_expected": number("Highest expected"),
        "total": number("Total votes"),
        "quorum": number("Quorum"),
        "flags": fields.get("Flags", "").split(),
        "members": sorted(row["nodeid"] for row in rows if row["nodeid"]),
        "nodeid": number("Node ID") or 0,
        "votes": {row["nodeid"]: row["votes"] for row in rows if row["nodeid"]},
        "qdevice_votes": next((row["votes"] for row in rows if not row["nodeid"]), None),
    }


def corosync_version(text: str) -> str:
    """Return the version that ``corosync -v`` prints, such as ``3.1.7``.

    :raises OutputError: no version in it.
    """
    match = re.search(r"version '([^']+)'", text)
    if not match:
        raise OutputError("corosync -v", text, "no version")
    return match[1]


_LOG = re.compile(r"\w{3}\s+\d+ [\d:.]+ (\w+)\s+\[(\w+)\s*\] (.*)\Z")


def check_result(rc: int, stdout: str, stderr: str) -> dict:
    """Judge ``corosync -t -c FILE``.

    :returns: ``{"ok": bool, "line": number | None, "errors": [text], "warnings": [text],
        "not_local": bool}``.
        ``not_local``: the only complaint is that no node's ring0_addr is an address of this machine. A start
        would fail so (3.1.7); a reload of a running daemon does not look, so a step without link 0 may pass.
    """
    errors, warnings, place = [], [], None
    for line in [*_lines(stderr), *_lines(stdout)]:
        log = _LOG.match(line)
        text = log[3] if log else line.strip()
        if log and (log[1] in ("notice", "info", "debug") or " Engine exiting " in text):
            continue
        if log and log[1] == "warning":
            warnings.append(text)
            continue
        match = re.match(r"parser error: .*?:(\d+): ", text)
        place = int(match[1]) if match and place is None else place
        errors.append(text)
    if rc == 0:
        return {"ok": True, "line": None, "errors": [], "warnings": warnings + errors, "not_local": False}
    if rc in (134, -6):
        errors.append("corosync aborted; before 3.1.10 it does so on a config_version that is no number")
    not_local = bool(errors) and all("No valid name found for local host" in text for text in errors)
    return {
        "ok": False,
        "line": place,
        "errors": errors or [f"corosync -t ended with exit code {rc}"],
        "warnings": warnings,
        "not_local": not_local,
    }


def ip_addresses(text: str) -> dict:
    """Return what ``ip -j addr`` prints as ``{interface: ["10.66.0.1/24"]}``, in canonical form, IPv6 too.

    :raises OutputError: not the JSON that iproute2 prints.
    """
    try:
        rows = json.loads(text) if text.strip() else []
        return {
            row["ifname"]: [
                str(ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}"))
                for entry in row.get("addr_info", [])
                if entry.get("local")
            ]
            for row in rows
            if row
        }
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise OutputError("ip -j addr", text[:80], f"not understood ({err})") from None


def ip_cards(text: str) -> dict:
    """Return on which cards each interface ends: ``{"vmbr0.66": ["eno1"]}``, from ``ip -d -j addr``.

    A port of a bridge or a bond names that as ``master``; a VLAN names what it is on as ``link``, as a veth
    and its peer name each other, which leads nowhere. What is on nothing is a card, but for a guest's tap or
    veth. With Open vSwitch every port of every bridge has ``ovs-system`` as master, whatever its bridge: the
    internal ports end on the card that is there, and on themselves where there are several. Measured for a
    bridge, a veth pair, a tap and a VLAN (iproute2 6.1); Open vSwitch from its kernel module's source.

    :raises OutputError: not the JSON that iproute2 prints.
    """
    try:
        rows = [row for row in (json.loads(text) if text.strip() else []) if row]
        below = {row["ifname"]: {row["link"]} if row.get("link") else set() for row in rows}
        guests = {row["ifname"] for row in rows if _is_guests(row)}
        switched = [row["ifname"] for row in rows if row.get("master") == OVS and row["ifname"] not in guests]
        for row in rows:
            if row["ifname"] != OVS and (row.get("linkinfo") or {}).get("info_kind") == "openvswitch":
                below[row["ifname"]] |= set(switched) if len(switched) == 1 else set()
            elif row.get("master") in below and row["ifname"] not in guests:
                below[row["master"]].add(row["ifname"])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise OutputError("ip -j addr", text[:80], f"not understood ({err})") from None
    return {name: sorted(_cards(name, below) - guests) or [name] for name in below}


#: the datapath of Open vSwitch, which is the master of all its ports (kernel net/openvswitch/vport-netdev.c).
OVS = "ovs-system"
#: interfaces of guests: PVE names them so (PVE/Network.pm, PVE/QemuServer.pm, PVE/LXC.pm).
_GUESTS = re.compile(r"(tap|veth|fwpr|fwln|fwbr)[0-9]+[iop][0-9]+\Z")


def _is_guests(row) -> bool:
    return bool(_GUESTS.match(row["ifname"]))


def _cards(name, below):
    found, seen, ahead = set(), set(), [name]
    while ahead:
        here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        ahead += below.get(here, ())
        if not below.get(here):
            found.add(here)
    return found
