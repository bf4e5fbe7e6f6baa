"""Facts of a watched cluster as plain data, for tests of the watch's decision."""

import copy
import itertools

import simulation
from pve_corosync.judge import watch

POLICY = {
    "failover": "degraded",
    "home": "auto",
    "hold": 5,
    "primary_hold": 30,
    "healthy_for": 600,
    "at_most": 3,
}
LINKS = {"nominal": {0: "vrack"}, "degraded": {0: "public", 1: "vrack"}, "double": {0: "vrack", 1: "public"}}


def layouts(nodes):
    return {name: simulation.layout(links, nodes, name=name) for name, links in LINKS.items()}


def seen(layout="nominal", nodes=("pve1", "pve2"), dead=(), age=1e6, locked=False, links=None):
    """Answers of nodes; ``dead`` holds networks, or ``(network, node)`` for one node's card."""
    networks = dict(links or LINKS[layout])
    rows = {
        name: {
            "state": "running",
            "age": age,
            "quorate": True,
            "links": {peer: {} for peer in nodes if peer != name},
            "downs": {peer: {} for peer in nodes if peer != name},
            "dead_for": {},
            "interval": {},
            "busy": "",
            "armed": False,
        }
        for name in nodes
    }
    for one, two in itertools.permutations(nodes, 2):
        for number, network in networks.items():
            up = not {network, (network, one), (network, two)} & set(dead)
            rows[one]["links"][two][str(number)] = up
            rows[one]["downs"][two][str(number)] = 0 if up else 1
    for name, row in rows.items():
        row["quorate"] = all(any(links.values()) for links in row["links"].values())
    return {
        "layout": layout,
        "networks": {str(number): network for number, network in networks.items()},
        "locked": locked,
        "nodes": rows,
    }


class Watch:
    """Looks after each other, with the state kept between them as on a disk."""

    def __init__(self, nodes=("pve1", "pve2"), home="nominal", **policy):
        self.policy, self.layouts, self.home = POLICY | policy, layouts(nodes), home
        self.state, self.now = watch.new_state(), 1_800_000_000.0

    def look(self, found, after=0.0):
        """One look, some seconds after the last; returns its decision."""
        self.now += after
        decision, self.state = watch.decide(
            copy.deepcopy(found), self.policy, self.layouts, self.home, copy.deepcopy(self.state), self.now
        )
        return decision

    def code(self, found, after=0.0):
        return self.look(found, after)["code"]

    def after(self, decision, ok=True, links_ok=None, seconds=10):
        """The act ended."""
        self.now += seconds
        self.state = watch.after(self.state, decision, ok, ok if links_ok is None else links_ok, self.now)
