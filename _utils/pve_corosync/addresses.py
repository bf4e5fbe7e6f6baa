"""IP addresses: canonical form, family, what a link can use. Nothing is resolved here."""

from __future__ import annotations

import functools
import ipaddress


def parse(text) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address object, an IPv4-mapped IPv6 address as the IPv4 address it stands for, else None.

    :param text: str; brackets, a prefix length or a zone are not taken.
    """
    return _parse(text) if isinstance(text, str) else None


@functools.lru_cache(maxsize=4096)  # a plan of 32 nodes asks for the same 256 addresses half a million times
def _parse(text):
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def canonical(text) -> str:
    """Return the canonical spelling of an IP address, or the text itself if it is none."""
    return _canonical(text) if isinstance(text, str) else str(text)


@functools.lru_cache(maxsize=4096)
def _canonical(text):
    address = parse(text)
    return text if address is None else str(address)


def family(text) -> str:
    """Return ``ipv4``, ``ipv6``, or ``""`` for what is no IP address."""
    address = parse(text)
    return "" if address is None else f"ipv{address.version}"


def looks_like_name(text) -> bool:
    """Tell whether a text could be a host name (a letter in it, no colon)."""
    return (
        isinstance(text, str)
        and ":" not in text
        and any(c.isalpha() for c in text)
        and all(c.isalnum() or c in "-._" for c in text)
    )


def unusable(text) -> str:
    """Return why an IP address cannot carry a link, or ``""``.

    IPv4 link-local addresses pass: people set them by hand on a direct cable; the IPv6 ones need a zone.
    """
    address = parse(text)
    if address is None:
        return ""
    for name, bad in (
        ("loopback", address.is_loopback),
        ("multicast", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("broadcast", str(address) == "255.255.255.255"),
        ("link-local", address.version == 6 and address.is_link_local),
    ):
        if bad:
            return name
    return ""


@functools.lru_cache(maxsize=4096)
def interface(text) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    """Return address and prefix of ``10.66.0.1/24``, or None."""
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        return None


def network(text) -> str:
    """Return the subnet of an ``address/prefix`` text, "" for what is none."""
    found = interface(text)
    return "" if found is None else str(found.network)


def overlap(one: str, two: str) -> bool:
    """Tell whether the subnets of two ``address/prefix`` texts overlap; host routes (/32, /128) never do."""
    first, second = interface(one), interface(two)
    if first is None or second is None or first.version != second.version:
        return False
    longest = first.network.max_prefixlen
    if longest in (first.network.prefixlen, second.network.prefixlen):
        return False
    return first.network.overlaps(second.network)
