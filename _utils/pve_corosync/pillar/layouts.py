"""From the pillar to the desired layout: plain copy, validation, loading, resolving."""

from __future__ import annotations

from collections.abc import Mapping

from pve_corosync.findings import errors, finding
from pve_corosync.pillar import schema


class LayoutError(ValueError):
    """The pillar or the name of a layout is wrong; ``findings`` holds every problem."""

    def __init__(self, findings: list[dict]):
        self.findings = list(findings)
        lines = [item["text"] + (f" -> {item['remedy']}" if item["remedy"] else "") for item in self.findings]
        super().__init__("\n".join(lines))


def plain(obj):
    """Return a deep copy of plain types, so that nothing masks or freezes it.

    Salt 3008 hands out dict and list subclasses whose text form is asterisks; mappings become dict, lists,
    tuples and sets become list, subclasses of str and int become str and int.

    :param obj: anything a pillar can hold.
    """
    if isinstance(obj, Mapping):
        return {
            key if isinstance(key, (tuple, frozenset)) else plain(key): plain(value)
            for key, value in obj.items()
        }
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [plain(item) for item in obj]
    for kind in (str, bytes, int, float):
        if isinstance(obj, kind) and type(obj) not in (kind, bool):
            return kind.__str__(obj) if kind is str else kind(obj)
    return obj


def load(pillar) -> dict:
    """Return the cluster that the pillar describes.

    :param pillar: the value of the pillar key ``corosync``.
    :returns: ``{"cluster_name", "nodes": {name: {"nodeid", "minion", "addresses": {network: IP}}},
        "layouts": {name: {"name", "links": {int: {"network", "options": {conf key: text}}}, "primary"}},
        "layout", "skip": [node], "fast_ping": {"ping_interval": ms, "ping_timeout": ms} or {},
        "firewall": {"management": [address or CIDR] or None, "ssh": "peers" or "open"},
        "watch": what ``pillar.watch.check`` returned}``.
    :raises LayoutError: the pillar has errors.
    """
    findings, cluster = schema.check(plain(pillar))
    refused = errors(findings)
    if refused:
        raise LayoutError(refused)
    return cluster


def networks_of(cluster: dict) -> dict[str, dict[str, str]]:
    """Return every network of the cluster: ``{network: {node: IP}}``.

    :param cluster: what :func:`load` returned.
    """
    networks: dict[str, dict[str, str]] = {}
    for node, row in cluster["nodes"].items():
        for network, address in row["addresses"].items():
            networks.setdefault(network, {})[node] = address
    return networks


def resolve(cluster: dict, name: str | None = None) -> dict:
    """Return one layout with the addresses of all nodes.

    :param cluster: what :func:`load` returned.
    :param name: a layout's name; None takes the one that the pillar wants.
    :returns: ``{"name", "cluster_name", "nodes": {node: {"nodeid", "minion"}}, "links": {int: {"network",
        "addresses": {node: IP}, "options": {conf key: text}}}, "primary": {"network", "addresses"},
        "networks": {network: {node: IP}}, "totem": {key: text}}``; a link that may be down has ``optional``
        besides; a key of totem that some layout sets and this one does not is None: it goes.
    :raises LayoutError: unknown layout.
    """
    name = cluster["layout"] if name is None else name
    if name not in cluster["layouts"]:
        allowed = ", ".join(sorted(cluster["layouts"]))
        raise LayoutError(
            [
                finding(
                    "layout-unknown",
                    f"layout {name!r} is not in the pillar; allowed: {allowed}",
                    data={"value": str(name), "allowed": sorted(cluster["layouts"])},
                    remedy=f"name one of: {allowed}; or add corosync:layouts:{name}",
                )
            ]
        )
    layout = cluster["layouts"][name]
    networks = networks_of(cluster)
    ways = [cluster["totem"], *(row["totem"] for row in cluster["layouts"].values())]
    managed = list(dict.fromkeys(key for way in ways for key in way))
    totem = cluster["totem"] | layout["totem"]
    return {
        "name": name,
        "cluster_name": cluster["cluster_name"],
        "nodes": {
            node: {"nodeid": row["nodeid"], "minion": row["minion"]} for node, row in cluster["nodes"].items()
        },
        "links": {
            number: {
                "network": link["network"],
                "addresses": dict(networks[link["network"]]),
                "options": dict(link["options"]),
            }
            | ({"optional": True} if link.get("optional") else {})
            for number, link in sorted(layout["links"].items())
        },
        "primary": {"network": layout["primary"], "addresses": dict(networks[layout["primary"]])},
        "networks": networks,
        "totem": {key: totem.get(key) for key in managed},
    }
