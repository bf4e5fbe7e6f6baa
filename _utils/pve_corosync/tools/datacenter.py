"""The networks that ``/etc/pve/datacenter.cfg`` sets for migration and replication, and what is wrong with
them.

Facts: PVE runs ``ip address show to CIDR up`` on the peer and needs exactly one distinct address
(PVE/Network.pm, PVE/CLI/pvecm.pm mtunnel); the first ssh goes to the primary address all the same
(PVE/SSHInfo.pm). ``replication:`` (from PVE 9.0) is used alone if it is there, even without a network; else
``migration:`` (PVE/Replication.pm).
"""

from __future__ import annotations

import ipaddress

from pve_corosync.findings import finding

KEYS = ("migration", "replication")


def parse(text: str) -> dict[str, dict]:
    """Return the two properties that are set: ``{"migration": {"type": "secure", "network":
    "10.66.0.0/24"}}``.

    :param text: datacenter.cfg, ``""`` if there is none. The last line of a key wins; a bare word is its
    ``type``.
    """
    found = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if line.startswith("#") or not separator or key.strip() not in KEYS:
            continue
        parts = [part.strip() for part in value.split(",") if part.strip()]
        found[key.strip()] = dict(part.split("=", 1) if "=" in part else ("type", part) for part in parts)
    return found


def networks(parsed: dict) -> dict[str, str]:
    """Return the networks in use: ``{"10.66.0.0/24": "migration and replication"}``; empty if none is set.

    :param parsed: what :func:`parse` returned.
    """
    users: dict[str, list[str]] = {}
    for user in KEYS:
        key = user if user in parsed else "migration"
        network = parsed.get(key, {}).get("network")
        if network:
            users.setdefault(network, []).append(user)
    return {network: " and ".join(names) for network, names in users.items()}


def matching(found: dict, network: str) -> list[str]:
    """Return the distinct addresses of a node that lie in a network, as PVE would see them.

    :param found: ``{"eth0": ["10.66.0.1/24"]}`` (``tools.ip_addresses``), interfaces that are up.
    :param network: ``address/prefix``; host bits may be set.
    :raises ValueError: no such notation.
    """
    wanted = ipaddress.ip_network(network, strict=False)
    own = {ipaddress.ip_interface(text).ip for texts in found.values() for text in texts}
    return sorted(str(address) for address in own if address in wanted)


def check(parsed: dict, found: dict, primary: str | None = None) -> list[dict]:
    """Return what is wrong with the networks on this node, one finding each
    (``findings.finding``).

    :param parsed: what :func:`parse` returned.
    :param found: ``{interface: [address/prefix]}`` of the interfaces that are up.
    :param primary: the node's address on the primary network; None leaves that comparison out.
    """
    problems = []
    for network, users in networks(parsed).items():
        try:
            own = matching(found, network)
        except ValueError as exc:
            problems.append(_problem("datacenter-network-bad", network, users, [], f"is no network: {exc}"))
            continue
        if not own:
            text = "matches no address of this node that is up, so jobs towards it fail"
            problems.append(_problem("datacenter-network-none", network, users, own, text))
        elif len(own) > 1:
            text = f"matches {len(own)} addresses of this node ({', '.join(own)}), PVE takes exactly one"
            problems.append(_problem("datacenter-network-several", network, users, own, text))
        elif primary and own != [primary]:
            text = f"sends the data to {own[0]}, not to the primary address {primary}"
            problems.append(_problem("datacenter-network-elsewhere", network, users, own, text))
    return problems


def _problem(code, network, users, own, text):
    return finding(
        code,
        f"datacenter.cfg: the network {network} for {users} {text}",
        data={"network": network, "used_by": users, "addresses": own},
        remedy=(
            "pvesh set /cluster/options with another network, or --delete the key, so that the primary"
            " network is used"
        ),
    )
