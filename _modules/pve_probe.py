"""
Test the port of a link between the nodes before corosync uses it: both directions, latency, path MTU.

All nodes run ``pve_probe.exchange`` at the same moment. The port is that of the *new* link (5405 + its
number), free until the link exists; a port that corosync has already is not touched and reported as busy.

.. versionadded:: 0.1.0
"""

import errno
import ipaddress
import json
import logging
import select
import socket
import time

from pve_corosync import link_options
from pve_corosync.node import children, runs
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import probe
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "pve_probe"

MAX_SECONDS = 10.0
#: ip(7), ipv6(7): set the Don't Fragment bit, and do not hold back what the known path MTU would not take.
PMTUDISC_PROBE = 3
IP_MTU_DISCOVER = getattr(socket, "IP_MTU_DISCOVER", 10)
IPV6_MTU_DISCOVER = getattr(socket, "IPV6_MTU_DISCOVER", 23)


def __virtual__():
    return __virtualname__


def exchange(txn, local, peers, port, seconds=probe.WINDOW):
    """
    Exchange packets with the peers on one port, and return what arrived.

    txn
        Any text, the same on all nodes of this run: packets of another run are ignored.

    local
        This node's address on the link's network.

    peers
        ``{node name: address}`` of the others there.

    port
        The link's UDP port, 5405 + its number.

    seconds
        At most 10, default 4: longer than the exchange takes, as the others may begin later. It ends earlier
        when everybody knows everything.

    Returns ``{"local", "port", "busy": text, "peers": {name: {"in": bool, "out": bool, "latency_us":
    int|None, "mtu": int|None, "answers": int}}, "interface_mtu": int, "seconds": float}``. ``busy`` names who
    has the port (``peers`` is empty then). ``mtu`` is the largest of the sizes tried that arrived in one
    piece. Raises CommandExecutionError if the address is not on this node.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_probe.exchange t1 198.51.100.10 '{pve2: 203.0.113.20}' 5406
    """
    shell.check("pve_probe.exchange", locals())
    local, peers, port, seconds = _checked(local, peers, port, seconds)
    mtus = _interface_mtus()
    if local not in mtus:
        raise CommandExecutionError(
            f"{local} is on no interface of this node: bring it up, or correct the pillar"
        )
    line = _Line(txn, local, peers, port, mtus[local])
    _exchange_all([line], seconds)
    return line.answer


def links(txn, links, seconds=probe.WINDOW):  # pylint: disable=redefined-outer-name
    """
    Exchange packets on several links at once, with all other nodes of each.

    txn, seconds
        As for ``pve_probe.exchange``.

    links
        ``{any name: {"port": UDP port, "addresses": {node: address}}}``, the same on all nodes: this node
        is the one whose address is on an interface here.

    Returns ``{"links": {name: answer of pve_probe.exchange, or {"error": text}}}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_probe.links t1 '{a: {port: 5406, addresses: {pve1: 10.66.0.1, pve2: 10.66.0.2}}}'
    """
    shell.check("pve_probe.links", locals())
    if not isinstance(links, dict) or not links:
        raise SaltInvocationError("links: {name: {port: number, addresses: {node: address}}} is needed")
    mtus, lines, answers = _interface_mtus(), {}, {}
    for name, link in links.items():
        try:
            local, peers, port, seconds = _place(link, mtus, seconds)
            lines[str(name)] = _Line(f"{txn} {name}", local, peers, port, mtus[local])
        except (CommandExecutionError, SaltInvocationError) as exc:
            answers[str(name)] = {"error": str(exc)}
    if lines:
        _exchange_all(list(lines.values()), seconds)
    return {"links": answers | {name: line.answer for name, line in lines.items()}}


class _Line:
    """
    One link's socket and its part of the exchange; without a session, if another program has the port.
    """

    def __init__(self, txn, local, peers, port, mtu):
        version = ipaddress.ip_address(local).version
        self.peers, self.port = peers, port
        self.names = {address: name for name, address in peers.items()}
        self.answer = {
            "local": local,
            "port": port,
            "busy": "",
            "peers": {},
            "interface_mtu": mtu,
            "seconds": 0.0,
        }
        self.sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.session = None
        try:
            _probe_mode(self.sock, version)
            self.sock.bind((local, port))
        except OSError as exc:
            self.sock.close()
            if exc.errno != errno.EADDRINUSE:
                raise CommandExecutionError(f"UDP {port} on {local} cannot be used: {exc.strerror}") from exc
            self.answer["busy"] = _owner(local, port)
            return
        self.session = probe.Session(txn, peers, mtu, version)

    def close(self, seconds):
        """
        Note what was seen.
        """
        self.sock.close()
        if self.session:
            self.answer.update(peers=self.session.result(), seconds=round(seconds, 3))


def _place(link, mtus, seconds):
    """
    Return this node's address on a link, the others', the port and the time, checked.
    """
    addresses = dict(link.get("addresses") or {}) if isinstance(link, dict) else {}
    own = [node for node, address in addresses.items() if str(address) in mtus]
    if len(own) != 1:
        said = ", ".join(f"{node} {address}" for node, address in sorted(addresses.items())) or "none"
        raise CommandExecutionError(f"{len(own)} and not 1 of the addresses are on this node, out of: {said}")
    local = addresses.pop(own[0])
    return _checked(local, addresses, link.get("port"), seconds)


def _checked(local, peers, port, seconds):
    wrong, good = [], {}
    try:
        local = str(ipaddress.ip_address(local))
    except ValueError:
        wrong.append(f"local {local!r} is no IP address")
    for name, address in (peers or {}).items() if isinstance(peers, dict) else ():
        try:
            good[str(name)] = str(ipaddress.ip_address(address))
        except ValueError:
            wrong.append(f"peer {name}: {address!r} is no IP address")
    if not good and not wrong:
        wrong.append("peers: {node name: address} with at least one entry is needed")
    if not wrong and len({ipaddress.ip_address(address).version for address in [local, *good.values()]}) > 1:
        wrong.append("local and peers are of different IP versions")
    try:
        port = int(port)
        seconds = min(runs.checked_seconds(seconds, "seconds"), MAX_SECONDS)
    except (TypeError, ValueError):  # BadArgument is one
        wrong.append(f"port {port!r} and seconds {seconds!r}: numbers are needed")
    else:
        if not link_options.in_range("port", port):
            wrong.append(f"port {port}: {link_options.allowed('port')}")
    if wrong:
        raise SaltInvocationError("; ".join(wrong))
    return local, good, port, seconds


def _interface_mtus():
    """
    Return ``{address: MTU of its interface}`` of this node.
    """
    result = children.run(["ip", "-j", "address", "show"], timeout=5.0)
    try:
        rows = json.loads(result["out"] or b"[]")
    except ValueError:
        raise CommandExecutionError(f"ip address show: {children.complaint(result)}") from None
    return {
        str(ipaddress.ip_address(info["local"])): int(row["mtu"])
        for row in rows
        for info in row.get("addr_info", [])
        if info.get("local")
    }


def _probe_mode(sock, version):
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    sock.setblocking(False)


def _owner(address, port):
    result = children.run(["ss", "-Hunap", "sport", "=", f":{port}"], timeout=5.0)
    for line in children.text(result).splitlines():
        if (
            f"{address}:{port}" in line
            or f"[{address}]:{port}" in line
            or f"*:{port}" in line
            or f"0.0.0.0:{port}" in line
        ):
            quoted = line.split('(("', 1)
            return quoted[1].split('"', 1)[0] if len(quoted) > 1 else "another program"
    return "another program"


def _exchange_all(lines, seconds):
    """
    Have every line exchange its packets, all at the same time, and close it.
    """
    start = time.monotonic()
    try:
        _converse([line for line in lines if line.session], time.monotonic_ns() + int(seconds * 1e9))
    finally:
        for line in lines:
            line.close(time.monotonic() - start)


def _converse(lines, end):
    """
    Send what is due and answer what comes, until every session is over or the time is.
    """
    while True:
        now = time.monotonic_ns()
        lines = [line for line in lines if not line.session.over(now)]
        if now >= end or not lines:
            return
        for line in lines:
            for name, data in line.session.due(now):
                _send(line.sock, data, (line.peers[name], line.port))
        wake = min(line.session.wake() for line in lines)
        pause = max(0, min(wake, end) - time.monotonic_ns()) / 1e9
        readable = select.select([line.sock for line in lines], [], [], min(pause, probe.PING_EVERY))[0]
        for line in lines:
            if line.sock in readable:
                _answer_all(line.sock, line.session, line.names, line.port)


def _answer_all(sock, session, names, port):
    for _number in range(256):
        try:
            data, source = sock.recvfrom(65535)
        except BlockingIOError:
            return
        except OSError as exc:  # an ICMP error about an earlier packet: it tells nothing about this direction
            log.debug("probe: %s", exc)
            continue
        name = names.get(str(ipaddress.ip_address(source[0].split("%")[0])))
        # only what came from the port of the link counts, as for knet
        reply = session.receive(time.monotonic_ns(), name, data) if name and source[1] == port else None
        if reply:
            _send(sock, reply, source[:2])


def _send(sock, data, target):
    try:
        sock.sendto(data, target)
    except (
        OSError
    ) as exc:  # too large for the interface, no route, dropped by a local rule: no answer will come
        log.debug("probe to %s, %d bytes: %s", target[0], len(data), exc)
