"""/etc/hosts: which address the names of the nodes have, and moving them to another one.

pmxcfs takes the first address of the node's own short name that is not 127.* or ::1, at its start, and
exits if there is none; that address is where replication and migration go (source: pmxcfs.c, observed on
real nodes).
"""

from __future__ import annotations

import re

from pve_corosync import addresses as ip

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\Z")
_BLANK = " \t\r\v\f"


class HostsError(ValueError):
    """Names or addresses that cannot be put into /etc/hosts; the text has all of them."""


class _Line:
    """One line in pieces: lead, address, (gap, name) pairs, tail with the comment, line end."""

    def __init__(self, raw):
        body, hash_sign, comment = raw.rstrip("\r\n").partition("#")
        self.eol = raw[len(raw.rstrip("\r\n")) :]
        words = re.findall(rf"([{_BLANK}]*)([^{_BLANK}]+)", body)
        self.lead, self.address = words[0] if words else ("", "")
        self.names = words[1:]
        used = sum(len(gap) + len(word) for gap, word in words)
        self.tail = body[used:] + hash_sign + comment
        self.valid = ip.parse(self.address.split("%")[0]) is not None

    def __str__(self):
        names = "".join(gap + name for gap, name in self.names)
        return self.lead + self.address + names + self.tail + self.eol

    def keys(self):
        """The names in lower case: the resolver does not look at case."""
        return [name.lower() for _, name in self.names] if self.valid else []

    def loopback(self):
        """Whether pmxcfs would skip the address."""
        address = ip.parse(self.address.split("%")[0])
        return address is not None and address.is_loopback

    def drop(self, keys):
        """Remove names; returns those that were there, as they are written."""
        gone = [name for _, name in self.names if name.lower() in keys]
        first = self.names[0][0] if self.names else ""
        self.names = [(gap, name) for gap, name in self.names if name.lower() not in keys]
        if self.names:
            self.names[0] = (first, self.names[0][1])
        return gone


def _lines(data):
    text = data if isinstance(data, str) else data.decode("latin-1")
    return [_Line(raw) for raw in re.findall(r"[^\n]*\n|[^\n]+\Z", text)]


def parse(data: bytes) -> list:
    """Return the entries of a hosts file, as the resolver sees them.

    :param data: bytes, or str with one character per byte.
    :returns: ``[{"line": number, "address": canonical, "names": [as written]}]``; lines whose first word is
        no address are left out, as the resolver ignores them.
    """
    return [
        {
            "line": number,
            "address": ip.canonical(line.address),
            "names": [name for _, name in line.names],
        }
        for number, line in enumerate(_lines(data), 1)
        if line.valid and line.names
    ]


def names(data: bytes, wanted) -> dict:
    """Return the addresses of names, ``{name: [canonical address in file order]}``; no address, empty list.

    :param wanted: names; only the very name counts, as for the resolver (``pve1`` is not
        ``pve1.example.com``).
    """
    entries = parse(data)
    found = {
        name: [
            entry["address"]
            for entry in entries
            if name.lower() in [other.lower() for other in entry["names"]]
        ]
        for name in wanted
    }
    return {name: list(dict.fromkeys(addresses)) for name, addresses in found.items()}


def move(data: bytes, addresses: dict) -> bytes:
    """Return a hosts file in which each name has exactly the given address.

    Only lines that hold the names change: a name leaves every other address (loopback, IPv6), and its full
    forms (``pve1.example.com``) go with it from the lines where both stand and from loopback lines. Other
    names stay where they are. Comments, order and line ends stay. Moving to where the names are changes
    nothing.

    :param data: bytes, or str with one character per byte.
    :param addresses: ``{short node name: address}``.
    :raises HostsError: a name that is no host name, an address that pmxcfs would not take; all of them at
        once.
    """
    bad = [f"'{name}' is no short host name" for name in addresses if not _NAME.match(str(name))]
    for name, address in addresses.items():
        reason = "no IP address" if ip.parse(address) is None else ip.unusable(address)
        bad += [f"{name}: '{address}' cannot be the node's address ({reason})"] if reason else []
    if bad:
        raise HostsError("/etc/hosts: " + "; ".join(bad))
    lines = _lines(data)
    open_end, eol = bool(lines) and not lines[-1].eol, lines[0].eol if lines and lines[0].eol else "\n"
    for name, address in addresses.items():
        lines = _move(lines, name, ip.canonical(address))
    for line in lines:
        line.eol = line.eol or eol
    if open_end:
        lines[-1].eol = ""
    return "".join(str(line) for line in lines).encode("latin-1")


def _forms(lines, key):
    """Return the name and its full forms that move with it, in lower case."""
    return {key} | {
        other
        for line in lines
        if key in line.keys() or line.loopback()
        for other in line.keys()
        if other.startswith(key + ".")
    }


def _anchor(lines, key, forms, address):
    """Return (line whose place the entry takes, whether it has the right address already).

    The right one, else the first that is not loopback, else the first loopback one, else one with a full
    form.
    """
    holding = [line for line in lines if key in line.keys()]
    right = [line for line in holding if ip.canonical(line.address) == address]
    elsewhere = [line for line in holding if not line.loopback()]
    full = [line for line in lines if forms & set(line.keys())]
    return (right or elsewhere or holding or full or [None])[0], bool(right)


def _add(line, name, moved):
    """Put the short name and full forms into a line, those first, as ``hostname -f`` takes the first name."""
    if name.lower() not in line.keys():
        line.names.append((" ", name))
    place = line.keys().index(name.lower())
    missing = [full for full in dict.fromkeys(moved) if full.lower() not in line.keys()]
    gap = line.names[place][0]
    line.names[place : place + 1] = [
        (" " if at else gap, word) for at, word in enumerate([*missing, line.names[place][1]])
    ]


def _move(lines, name, address):
    forms = _forms(lines, name.lower())
    anchor, right = _anchor(lines, name.lower(), forms, address)
    moved, result = [], []
    for line in lines:
        result.append(line)
        if line is anchor or ip.canonical(line.address) == address or not forms & set(line.keys()):
            continue
        moved += line.drop(forms)
        if not line.names and line.tail.strip():
            line.lead, line.address, line.tail = "", "", line.tail.lstrip(_BLANK)
        elif not line.names:
            result.pop()
    if anchor is None:
        anchor = _Line(f"{address} {name}")
        result.append(anchor)
    elif not right and set(anchor.keys()) - forms:
        gap, own = anchor.names[0][0], anchor.drop(forms)
        result.insert(
            next(at for at, line in enumerate(result) if line is anchor) + 1,
            anchor := _Line(f"{address}{gap}{' '.join(own)}"),
        )
    elif not right:
        anchor.address = address
    _add(anchor, name, moved)
    return result
