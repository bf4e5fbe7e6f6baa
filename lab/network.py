"""The two networks of a lab: the vRack, one L2 segment, and the public one, a routed /24 for each machine.

Everything is in network namespaces of the lab's own: one for each machine, and one (``-net``) that holds
the vRack's bridge and is the router between the public /24s. Nothing of a lab is in the host's namespace, so
interfaces need no prefix, and labs side by side may use the same addresses.

A cut takes the far end of the cable down, so the machine loses its carrier and keeps its addresses. A lost
card is the interface deleted in the machine.
"""

import json
from pathlib import Path

from lab.shell import LabError, run
from lab.state import MASTER

VRACK, PUBLIC = "vrack", "public"
NETWORKS = (VRACK, PUBLIC)
CARD = {VRACK: "vrack0", PUBLIC: "public0"}
MASTER_ADDRESS = "198.51.100.10"


def number(machine):
    """Return the number in a machine's name: pve2 -> 2, the master -> 0."""
    return 0 if machine == MASTER else int(machine.removeprefix("pve"))


def networks_of(machine):
    """Return the networks that a machine has a card in; the master sees only the public one."""
    return (PUBLIC,) if machine == MASTER else NETWORKS


def address(machine, network):
    """Return a machine's address in a network, without the prefix length."""
    return f"10.66.0.{number(machine)}" if network == VRACK else f"198.51.{100 + number(machine)}.10"


def gateway(machine):
    """Return the router's address in a machine's public /24."""
    return f"198.51.{100 + number(machine)}.1"


class Network:
    """Cables, cards and the router of one lab.

    Every function brings about what the record says (``cut``, ``lost``), whatever was there before, so each
    may be repeated after an interruption.
    """

    def __init__(self, record):
        self.record = record
        self.hub = f"{record.prefix}-net"

    def namespace(self, machine):
        """Return the name of a machine's network namespace."""
        return f"{self.record.prefix}-{machine}"

    def path(self, machine):
        """Return the file that stands for a machine's network namespace."""
        return f"/run/netns/{self.namespace(machine)}"

    def create(self):
        """Make the namespaces, the bridge, the router and all cables."""
        for name in [self.hub, *map(self.namespace, self.record.machines())]:
            if not Path("/run/netns", name).exists():
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
        run(["ip", "netns", "exec", self.hub, "tee", "/proc/sys/net/ipv4/ip_forward"], stdin="1")
        if "vrack" not in self._ports():
            bridge = ["type", "bridge", "stp_state", "0", "forward_delay", "0"]
            _ip("-n", self.hub, "link", "add", "vrack", *bridge)
        _ip("-n", self.hub, "link", "set", "vrack", "up")
        self.apply()

    def apply(self, machines=None):
        """Make the cards and carriers of these machines (default: all) agree with the record."""
        record, ports = self.record.read(), self._ports()
        cables, cards = [], {}
        for machine in machines or self.record.machines():
            for network in networks_of(machine):
                port, mark = self._port(machine, network), [network, machine]
                if mark in record.get("lost", []):
                    cables += [f"link del {port}"] if port in ports else []
                    continue
                if port not in ports:
                    self._lay(machine, network)
                cables.append(f"link set {port} {'down' if mark in record.get('cut', []) else 'up'}")
                cards.setdefault(machine, []).extend(_card(machine, network))
        _ip("-n", self.hub, "-batch", "-", stdin=cables)
        for machine, lines in cards.items():
            _ip("-n", self.namespace(machine), "-batch", "-", stdin=lines)

    def carrier(self, machine, up):
        """Take all cables of a machine down, as when its power goes, or up again as the record says."""
        if up:
            self.apply([machine])
            return
        ports = {self._port(machine, network) for network in networks_of(machine)} & self._ports()
        _ip("-n", self.hub, "-batch", "-", stdin=[f"link set {port} down" for port in sorted(ports)])

    def renew(self, machine):
        """Give a machine an empty network namespace with its cards in it, as after a cold start."""
        ports = {self._port(machine, network) for network in networks_of(machine)} & self._ports()
        _ip("-n", self.hub, "-batch", "-", stdin=[f"link del {port}" for port in sorted(ports)])
        if Path(self.path(machine)).exists():
            _ip("netns", "del", self.namespace(machine))
        _ip("netns", "add", self.namespace(machine))
        _ip("-n", self.namespace(machine), "link", "set", "lo", "up")
        self.apply([machine])

    def delete(self):
        """Delete every namespace of this lab, also those that no record tells of."""
        folder = Path("/run/netns")
        names = {
            self.hub,
            *(self.namespace(machine) for machine in [MASTER, *(f"pve{n}" for n in range(1, 10))]),
        }
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name in names and run(["ip", "netns", "del", path.name], check=False).returncode:
                path.unlink()  # an interrupted `ip netns add` leaves a plain file

    def _port(self, machine, network):
        """Return the name of the cable's far end, in the hub."""
        return f"{'v' if network == VRACK else 'p'}-{machine}"

    def _ports(self):
        """Return the names of all interfaces in the hub."""
        told = run(["ip", "-n", self.hub, "-j", "link", "show"]).stdout
        return {row["ifname"] for row in json.loads(told)}

    def _lay(self, machine, network):
        """Make a card and its cable."""
        port, mac = self._port(machine, network), f"02:66:00:00:{NETWORKS.index(network):02x}"
        card = ["link", "add", CARD[network], "address", f"{mac}:{number(machine):02x}", "type", "veth"]
        _ip("-n", self.namespace(machine), *card, "peer", "name", port, "netns", self.hub)
        if network == VRACK:
            _ip("-n", self.hub, "link", "set", port, "master", "vrack")
        else:
            _ip("-n", self.hub, "address", "add", f"{gateway(machine)}/24", "dev", port)


def _card(machine, network):
    """Return what ip(8) has to do in a machine for a card: its address, and the way out."""
    card = CARD[network]
    lines = [f"address replace {address(machine, network)}/24 dev {card}", f"link set {card} up"]
    if network == PUBLIC:
        lines.append(f"route replace default via {gateway(machine)} dev {card}")
    return lines


def check_name(network):
    """Raise LabError for a network that is not there."""
    if network not in NETWORKS:
        raise LabError(f"there is no network {network!r}: the lab has {' and '.join(NETWORKS)}")


def _ip(*args, stdin=None):
    """Run ip(8), with lines for its standard input; a kernel without the needed device type is named."""
    try:
        run(["ip", *args], stdin=None if stdin is None else "".join(f"{line}\n" for line in stdin))
    except LabError as error:
        if "Unknown device type" in str(error) or "Operation not supported" in str(error):
            raise LabError(
                f"this kernel lacks a network feature that the lab needs (veth, bridge): {error}"
            ) from None
        raise
