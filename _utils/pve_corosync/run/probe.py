"""A short exchange of UDP packets between nodes before a link is used: does its port work in both directions,
how fast, and how large may a packet be.

Both ends run it at the same time on the link's own port, from that port to that port, as knet does. This file
has the packets and what follows from them; time and sockets are the caller's. A packet: magic, kind, flags,
sequence, size that was sent or seen, a token of the run, the sender's clock; then padding.
"""

from __future__ import annotations

import hashlib
import statistics
import struct

from pve_corosync.findings import finding

MAGIC = b"pvcp"
PROBE, ECHO = 1, 2
#: the sender has an answer from the one it writes to, and needs nothing more.
DONE = 1
_HEAD = struct.Struct("!4sBBHI8sQ")

PING_EVERY = 0.1
MTU_EVERY = 0.3
MTU_ROUNDS = 3
#: seconds that a node listens and asks at most. The nodes have no common clock and begin when the master's
#: call reaches them, so it is much longer than the exchange takes, which ends when everybody knows all.
WINDOW = 4.0
#: seconds for which two nodes must have tested at the same time before silence means a filter.
OVERLAP = 1.0
#: still answering and telling after everything is known, for a peer that began later.
LINGER = 0.15
#: sizes of IP packets that links in use have; the interface's own MTU comes on top.
SIZES = (
    9000,
    8950,
    8000,
    4000,
    2000,
    1500,
    1492,
    1480,
    1476,
    1460,
    1450,
    1440,
    1430,
    1420,
    1412,
    1400,
    1390,
    1380,
    1360,
    1340,
    1320,
    1300,
    1280,
    1200,
    1100,
    1000,
    800,
    576,
)
#: below this an IPv6 packet does not fit, and a tunnel on the way is likely broken.
LOW_MTU = 1280
BASE_PORT = 5405


def token(run: str) -> bytes:
    """Return the 8 bytes that mark the packets of one run; others are not answered."""
    return hashlib.sha256(str(run).encode()).digest()[:8]


def overhead(version: int) -> int:
    """Return the bytes of IP and UDP headers, by IP version."""
    return (20 if version == 4 else 40) + 8


def sizes(mtu: int) -> list[int]:
    """Return the packet sizes to try on an interface with that MTU, largest first."""
    return sorted({size for size in SIZES if size < mtu} | {mtu}, reverse=True)


def pack(
    kind: int, mark: bytes, sequence: int, size: int, clock: int, *, flags: int = 0, length: int = 0
) -> bytes:
    """Return one packet; ``length`` is its payload in bytes, at least the head."""
    return _HEAD.pack(MAGIC, kind, flags, sequence, size, mark, clock).ljust(length, b"\0")


def unpack(data: bytes, mark: bytes) -> dict | None:
    """Return the fields of a packet of this run, None for anything else."""
    if len(data) < _HEAD.size:
        return None
    magic, kind, flags, sequence, size, seen, clock = _HEAD.unpack_from(data)
    if magic != MAGIC or seen != mark or kind not in (PROBE, ECHO):
        return None
    return {"kind": kind, "flags": flags, "sequence": sequence, "size": size, "clock": clock}


class Session:
    """One node's part of the exchange; ``now`` is a clock in nanoseconds, packets are ``(peer, bytes)``."""

    def __init__(self, run: str, peers, mtu: int, version: int = 4):
        self.mark, self.headers = token(run), overhead(version)
        self.tries = sizes(mtu)
        self.peers = {
            name: {"in": False, "out": False, "rtt": [], "mtu": 0, "rounds": 0, "done": False}
            for name in peers
        }
        self.sequence = 0
        self.next_ping = self.next_mtu = 0
        self.complete_since = None

    def due(self, now: int) -> list[tuple[str, bytes]]:
        """Return what is to be sent now."""
        packets = []
        if now >= self.next_ping:
            self.next_ping = now + int(PING_EVERY * 1e9)
            packets += [(name, self._probe(now, name)) for name in self.peers]
        if now >= self.next_mtu:
            self.next_mtu = now + int(MTU_EVERY * 1e9)
            for name, peer in self.peers.items():
                if peer["out"] and peer["rounds"] < MTU_ROUNDS and peer["mtu"] < self.tries[0]:
                    peer["rounds"] += 1
                    packets += [
                        (name, self._probe(now, name, size)) for size in self.tries if size > peer["mtu"]
                    ]
        return packets

    def wake(self) -> int:
        """Return the time of the next packet that is due."""
        return min(self.next_ping, self.next_mtu)

    def receive(self, now: int, name: str, data: bytes) -> bytes | None:
        """Take a packet from a peer and return the answer to send, None if there is none."""
        told, peer = unpack(data, self.mark), self.peers.get(name)
        if told is None or peer is None:
            return None
        peer["done"] = peer["done"] or bool(told["flags"] & DONE)
        if told["kind"] == PROBE:
            peer["in"] = True
            seen = len(data) + self.headers
            return pack(ECHO, self.mark, told["sequence"], seen, told["clock"], flags=self._flags(name))
        if not peer["out"]:
            self.next_mtu = now  # the way is open: try the sizes at once
        peer["out"] = True
        peer["mtu"] = max(peer["mtu"], told["size"])
        if told["size"] < SIZES[-1]:
            peer["rtt"].append(max(0, now - told["clock"]) / 1000)
        return None

    def over(self, now: int) -> bool:
        """Tell whether every peer knows everything, and had the time to learn it."""
        if not all(self._flags(name) and peer["done"] for name, peer in self.peers.items()):
            self.complete_since = None
            return False
        self.complete_since = self.complete_since or now
        return now >= self.complete_since + int(LINGER * 1e9)

    def result(self) -> dict:
        """Return ``{peer: {"in": bool, "out": bool, "latency_us": int|None, "mtu": int|None, "answers":
        int}}``.

        ``in``: its packets arrived here; ``out``: ours arrived there and the answers came back;
        ``latency_us``: median of the round trips, as knet counts latency; ``mtu``: the largest IP packet, not
        fragmented, that arrived there.
        """
        return {
            name: {
                "in": peer["in"],
                "out": peer["out"],
                "latency_us": round(statistics.median(peer["rtt"])) if peer["rtt"] else None,
                "mtu": peer["mtu"] if peer["mtu"] >= SIZES[-1] else None,
                "answers": len(peer["rtt"]),
            }
            for name, peer in self.peers.items()
        }

    def _probe(self, now, name, size=0):
        self.sequence = (self.sequence + 1) % 65536
        return pack(
            PROBE,
            self.mark,
            self.sequence,
            size,
            now,
            flags=self._flags(name),
            length=max(0, size - self.headers),
        )

    def _flags(self, name):
        peer = self.peers[name]
        sized = peer["mtu"] >= self.tries[0] or peer["rounds"] >= MTU_ROUNDS
        return DONE if peer["in"] and peer["out"] and sized else 0


def problems(link: int, port: int, addresses: dict, results: dict) -> list[dict]:
    """Return what the exchange found wrong, one finding each (``findings.finding``).

    :param link: number of the link; :param port: its UDP port.
    :param addresses: ``{node: IP}`` on the link's network.
    :param results: ``{node: what pve_probe.exchange returned there, {"error": text}, or None}``.
    """
    found = []
    for node in sorted(addresses):
        told = results.get(node)
        why = "" if told is None else told.get("error") or ""
        if told is None or why:
            found.append(
                _problem(
                    "probe-silent",
                    link,
                    port,
                    [node],
                    f"{node} took no part in the test of link {link}, so its port is not tested"
                    + (f": {why}" if why else ""),
                    "" if why else "see whether its minion answers: salt <minion> test.ping",
                )
            )
        elif told.get("busy"):
            found.append(
                _problem(
                    "port-busy",
                    link,
                    port,
                    [node],
                    f"UDP {port} on {addresses[node]} ({node}) is in use by {told['busy']}, so link {link}"
                    " could not be tested there",
                    "choose another link number, or end the program that has the port",
                )
            )
    for one in sorted(addresses):
        for two in sorted(addresses):
            if one != two:
                found += _way(link, port, addresses, results, one, two)
    return found


def _way(link, port, addresses, results, one, two):
    """
    Return the problems of the way from ``one`` to ``two``.
    """
    sender, receiver = ((results.get(node) or {}).get("peers") or {} for node in (one, two))
    arrived = receiver.get(one, {}).get("in")
    if not sender or arrived is None:  # one of them did not test
        return []
    if not arrived:
        source, target = addresses[one], addresses[two]
        text = f"UDP {port} from {one} ({source}) does not reach {two} ({target}): filtered, or no route"
        return [_problem("port-filtered", link, port, [one, two], text, rule_to_add(two, source, port))]
    mtu = sender.get(two, {}).get("mtu")
    if mtu and mtu < LOW_MTU:
        text = f"packets from {one} to {two} on link {link} arrive up to {mtu} bytes only"
        return [
            _problem(
                "path-mtu-low",
                link,
                port,
                [one, two],
                text,
                "look for a tunnel or a wrong MTU on the way; corosync itself adapts",
            )
        ]
    return []


def rule_to_add(node: str, source: str, port: int) -> str:
    """Return how to let a peer's packets in on a node, for each kind of firewall."""
    version = "ip6" if ":" in source else "ip"
    ports = f"{BASE_PORT}:{BASE_PORT + 7}" if BASE_PORT <= port <= BASE_PORT + 7 else port
    return (
        f"on {node}, allow it: salt {node} state.apply corosync.firewall; or by hand with PVE's firewall: in"
        f" [RULES] of /etc/pve/firewall/cluster.fw the line 'IN ACCEPT -source {source} -p udp -dport"
        f" {ports}'; with nftables: '{version} saddr {source} udp dport {port} accept' in the chain that"
        " drops it; and ask the provider's firewall"
    )


def _problem(code, link, port, nodes, text, remedy):
    return finding(code, text, data={"link": link, "port": port, "nodes": nodes}, remedy=remedy)
