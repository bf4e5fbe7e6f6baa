"""The two networks of a lab: the vRack, one L2 segment, and the public one, a routed /24 for each machine.

Everything is in network namespaces of the lab's own: one for each machine, and one (``-net``) that holds
the vRack's bridge and is the router between the public /24s. Nothing of a lab is in the host's namespace, so
interfaces need no prefix, and labs side by side may use the same addresses.

A cut takes the far end of the cable down, so the machine loses its carrier and keeps its addresses. A lost
card is the interface deleted in the machine.
"""

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
        if not self._has(self.hub, "vrack"):
            _ip(
                "-n",
                self.hub,
                "link",
                "add",
                "vrack",
                "type",
                "bridge",
                "stp_state",
                "0",
                "forward_delay",
                "0",
            )
        _ip("-n", self.hub, "link", "set", "vrack", "up")
        self.apply()

    def apply(self, machines=None):
        """Make the cards and carriers of these machines (default: all) agree with the record."""
        record = self.record.read()
        for machine in machines or self.record.machines():
            for network in networks_of(machine):
                if [network, machine] in record.get("lost", []):
                    self._pull(machine, network)
                else:
                    self._plug(machine, network, carrier=[network, machine] not in record.get("cut", []))

    def carrier(self, machine, up):
        """Take all cables of a machine down, as when its power goes, or up again as the record says."""
        if up:
            self.apply([machine])
            return
        for network in networks_of(machine):
            if self._has(self.hub, self._port(machine, network)):
                _ip("-n", self.hub, "link", "set", self._port(machine, network), "down")

    def renew(self, machine):
        """Give a machine an empty network namespace with its cards in it, as after a cold start."""
        for network in networks_of(machine):
            self._pull(machine, network)
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

    def _has(self, namespace, interface):
        return run(["ip", "-n", namespace, "link", "show", interface], check=False).returncode == 0

    def _pull(self, machine, network):
        """Delete a card; its cable goes with it."""
        if self._has(self.hub, self._port(machine, network)):
            _ip("-n", self.hub, "link", "del", self._port(machine, network))

    def _plug(self, machine, network, carrier):
        """Make sure of a card with its cable, address and route."""
        inside, port, card = self.namespace(machine), self._port(machine, network), CARD[network]
        if not self._has(self.hub, port):
            mac = f"02:66:00:00:{NETWORKS.index(network):02x}:{number(machine):02x}"
            _ip(
                "-n",
                inside,
                "link",
                "add",
                card,
                "address",
                mac,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                self.hub,
            )
            if network == VRACK:
                _ip("-n", self.hub, "link", "set", port, "master", "vrack")
            else:
                _ip("-n", self.hub, "address", "add", f"{gateway(machine)}/24", "dev", port)
        _ip("-n", self.hub, "link", "set", port, "up" if carrier else "down")
        _ip("-n", inside, "address", "replace", f"{address(machine, network)}/24", "dev", card)
        _ip("-n", inside, "link", "set", card, "up")
        if network == PUBLIC:
            _ip("-n", inside, "route", "replace", "default", "via", gateway(machine), "dev", card)


def check_name(network):
    """Raise LabError for a network that is not there."""
    if network not in NETWORKS:
        raise LabError(f"there is no network {network!r}: the lab has {' and '.join(NETWORKS)}")


def _ip(*args):
    """Run ip(8); a kernel without the needed device type is named as such."""
    try:
        run(["ip", *args])
    except LabError as error:
        if "Unknown device type" in str(error) or "Operation not supported" in str(error):
            raise LabError(
                f"this kernel lacks a network feature that the lab needs (veth, bridge): {error}"
            ) from None
        raise
