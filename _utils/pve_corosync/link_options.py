"""Options of a link: pillar name, corosync.conf key, type and range (pcs O1 to O10, coroparse.c, libknet)."""

from __future__ import annotations

from pve_corosync.addresses import canonical
from pve_corosync.findings import finding

U32 = 4294967295

#: pillar name: (corosync.conf key, lowest, highest, unit); transport is the one that is no number.
NUMBERS = {
    "priority": ("knet_link_priority", 0, 255, "higher wins"),
    "ping_interval": ("knet_ping_interval", 200, U32, "ms"),  # knet's timer ticks every 200 ms
    "ping_timeout": ("knet_ping_timeout", 200, U32, "ms"),
    "ping_precision": ("knet_ping_precision", 0, U32, "samples"),
    "pong_count": ("knet_pong_count", 0, 255, "pongs"),  # libknet keeps it in 8 bits
    "port": ("mcastport", 1024, 65535, "UDP port"),  # those below are other services'; the probe tests none
}
TRANSPORTS = ("udp", "sctp")

#: pillar name -> corosync.conf key
CONF_KEYS = {name: row[0] for name, row in NUMBERS.items()} | {"transport": "knet_transport"}
#: corosync.conf key -> pillar name
PILLAR_NAMES = {key: name for name, key in CONF_KEYS.items()}

#: keys of totem that the pillar may set, for the cluster or for one layout: (lowest, highest) in ms. A reload
#: takes them live (corosync totemconfig.c); below 1000 a short stall of the network costs the quorum.
TOTEM = {"token": (1000, 300000), "token_coefficient": (0, 60000)}

DEFAULT_PORT = 5405
MAX_LINK = 7
#: The fast-ping options of a link that is added in an emergency: link up after 0.5 s instead of 2.2 s.
FAST_PING = {"ping_interval": 200, "ping_timeout": 400}


def whole(value) -> int | None:
    """Return a whole number given as int or as digits, or None for anything else.

    :param value: int or str; bool is refused, because YAML makes it of ``yes``.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return None


def link_number(value) -> int | None:
    """Return the number of a link given as int or as digits, or None for what is none: 0 to 7 are.

    :param value: as for :func:`whole`.
    """
    number = whole(value)
    return number if number is not None and 0 <= number <= MAX_LINK else None


def allowed(name: str) -> str:
    """Return the allowed values of a pillar option as text.

    :param name: a pillar option name.
    :raises KeyError: unknown option.
    """
    if name == "transport":
        return " or ".join(TRANSPORTS)
    _, low, high, unit = NUMBERS[name]
    return f"a whole number from {low} to {high} ({unit})"


def in_range(name: str, value) -> bool:
    """Tell whether a value is allowed for a pillar option."""
    if name == "transport":
        return value in TRANSPORTS
    _, low, high, _ = NUMBERS[name]
    number = whole(value)
    return number is not None and low <= number <= high


def check(options: dict, place: str) -> list[dict]:
    """Return the findings of one link's options.

    :param options: pillar names to values; names that do not exist must have been sorted out before.
    :param place: where they stand, e.g. ``corosync:layouts:nominal:links:0``.
    """
    out = [
        finding(
            "option-range",
            f"{place}:{name}: {value!r} is not allowed; allowed: {allowed(name)}",
            data={"place": f"{place}:{name}", "value": value, "allowed": allowed(name)},
            remedy=f"correct {place}:{name} in the pillar",
        )
        for name, value in options.items()
        if not in_range(name, value)
    ]
    out += _pair(options, place)
    if options.get("transport") == "sctp":
        out.append(
            finding(
                "option-deprecated",
                f"{place}:transport: sctp is deprecated; allowed: udp",
                data={"place": f"{place}:transport"},
                remedy=f"drop {place}:transport, udp is the default",
            )
        )
    if whole(options.get("priority")) == 0:
        out.append(
            finding(
                "option-priority-zero",
                f"{place}:priority: corosync turns 0 into 1; the highest wins",
                data={"place": f"{place}:priority"},
                remedy="use 1 to 255",
            )
        )
    return out


def check_totem(given: dict, place: str) -> list[dict]:
    """Return the findings of the keys of totem that stand at a place of the pillar.

    :param given: a mapping of the pillar; keys that are not in :data:`TOTEM` are left alone.
    :param place: where it stands, e.g. ``corosync:layouts:nominal``.
    """
    return [
        finding(
            "option-range",
            f"{place}:{key}: {given[key]!r}; allowed: a whole number from {low} to {high} (ms)",
            data={"place": f"{place}:{key}", "value": given[key], "allowed": f"{low} to {high}"},
            remedy=f"correct {place}:{key} in the pillar",
        )
        for key, (low, high) in TOTEM.items()
        if key in given and not low <= (-1 if (n := whole(given[key])) is None else n) <= high
    ]


def _pair(options: dict, place: str) -> list[dict]:
    interval, timeout = "ping_interval" in options, "ping_timeout" in options
    if interval != timeout:
        there, missing = ("ping_interval", "ping_timeout") if interval else ("ping_timeout", "ping_interval")
        return [
            finding(
                "option-pair",
                f"{place}: {there} {options[there]!r} is alone; allowed: with {missing}, or not",
                data={"place": place, "missing": missing},
                remedy=f"add {missing} to {place}",
            )
        ]
    if interval:
        low, high = whole(options["ping_interval"]), whole(options["ping_timeout"])
        if low is not None and high is not None and high < low:
            return [
                finding(
                    "option-timeout-short",
                    f"{place}: ping_timeout {high} ms is shorter than ping_interval {low} ms",
                    data={"place": place, "ping_interval": low, "ping_timeout": high},
                    remedy=f"set ping_timeout to {2 * low} or more",
                )
            ]
    return []


def to_conf(options: dict) -> dict[str, str]:
    """Return the options under their corosync.conf keys, values as text.

    :param options: valid pillar options.
    :returns: e.g. ``{"knet_link_priority": "10"}``.
    """
    return {
        CONF_KEYS[name]: str(value if name == "transport" else whole(value))
        for name, value in options.items()
    }


def from_conf(options: dict) -> dict:
    """Return the options of an interface block under their pillar names, numbers as int.

    :param options: corosync.conf keys to text; keys that are no link option are left out.
    """
    out = {}
    for key, value in options.items():
        name = PILLAR_NAMES.get(key)
        if name is not None:
            number = whole(value)
            out[name] = value if number is None else number
    return out


def port(number: int, options: dict) -> int:
    """Return the UDP port of a link.

    :param number: link number 0 to 7.
    :param options: corosync.conf keys to text.
    """
    given = whole(options.get("mcastport"))
    return DEFAULT_PORT + number if given is None else given


def shared_sockets(links: dict) -> list[tuple]:
    """Return the links that would bind one socket: ``[(first, link, port, node, address)]``, a link once.

    :param links: ``{number: {"options": {corosync.conf key: text}, "addresses": {node: address}}}``.
    """
    seen, out = {}, {}
    for number, link in sorted(links.items()):
        used = port(number, link["options"])
        for node, address in link["addresses"].items():
            first = seen.setdefault((node, canonical(address), used), number)
            if first != number:
                out.setdefault(number, (first, number, used, node, address))
    return list(out.values())
