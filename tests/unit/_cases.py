"""Whole clusters from files of ``tests/captures/cases``: corosync.conf as people have reported it."""

import pathlib

from _rules_world import facts
from pve_corosync import conf
from pve_corosync.pillar import layouts

CASES = pathlib.Path(__file__).parents[1] / "captures" / "cases"


def text(name):
    """The file of a case."""
    return (CASES / f"{name}.conf").read_text()


def world(content, cards):
    """A living cluster that has this file.

    :param cards: ``{node: {interface: "address/prefix"}}``; the names resolve to the first of each node.
    """
    nodes = conf.parse(content).nodes()
    seen = {}
    for name in nodes:
        seen[name] = facts(name, len(nodes), content)
        seen[name]["addresses"] = {"lo": ["127.0.0.1/8"]} | {
            card: [row] if isinstance(row, str) else row for card, row in cards[name].items()
        }
        seen[name]["names"] = {node: [first(cards[node])] for node in nodes}
        for node, row in seen[name]["pmxcfs"]["members"]["nodelist"].items():
            row["ip"] = first(cards[node])
    return {"nodes": seen, "silent": []}


def first(cards):
    row = next(iter(cards.values()))
    return (row if isinstance(row, str) else row[0]).split("/")[0]


def goal(nodes, links, cluster="prod", primary=None, **options):
    """The resolved layout ``wanted``.

    :param nodes: ``{node: {network: address}}``. :param links: ``{number: network}``.
    """
    pillar = {
        "cluster_name": cluster,
        "nodes": {
            name: {"nodeid": number, "addresses": rows}
            for number, (name, rows) in enumerate(nodes.items(), 1)
        },
        "layouts": {
            "wanted": {
                "links": {n: {"network": network} for n, network in links.items()},
                "primary": primary or links[0],
            }
        },
        "layout": "wanted",
    } | options
    return layouts.resolve(layouts.load(pillar))


def cut(seen, *numbers):
    """Cut links between all nodes: not connected, and with no link left each is alone and without quorum."""
    for name, row in seen["nodes"].items():
        for links in row["links"].values():
            for number in numbers or list(links):
                links[number]["connected"] = False
        if not any(link["connected"] for links in row["links"].values() for link in links.values()):
            own = row["runtime"]["nodeid"]
            row["quorum"] |= {"quorate": False, "members": [own], "total": 1, "ring_id": f"{own}.2a"}
            row["pmxcfs"]["writable"] = False
    return seen


def says(found):
    """Findings as ``severity code: text -> remedy``."""
    return [f"{item['severity']} {item['code']}: {item['text']} -> {item['remedy']}" for item in found]
