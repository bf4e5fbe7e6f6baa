"""``corosync.probe`` where the links of the layout are there and dead."""

import _rules_world as world
import pytest
from pve_corosync import arguments
from pve_corosync.run import follow
from pve_corosync.run.request import Request

NODES = ("pve1", "pve2")
SETTINGS = arguments.settings(None)
WAY = {"peer": "pve2", "link": 0, "from": world.VRACK["pve1"], "to": world.VRACK["pve2"]}


class Ports:
    """Two nodes with the link of the layout ``nominal``, dead; ``open``: whether packets of a test arrive."""

    jid = "1"

    def __init__(self, dead=True, arrives=True, routes=()):
        self.clock, self.calls, self.arrives = 0.0, [], arrives
        self.seen = world.observed()
        for name, facts in self.seen["nodes"].items():
            for rows in facts["links"].values():
                rows[0]["connected"] = not dead
            if dead:
                facts["quorum"] |= {"quorate": False, "members": [facts["runtime"]["nodeid"]], "total": 1}
                facts["pmxcfs"]["writable"] = False
            facts["routes"] = list(routes) if name == "pve1" else []

    def passed(self):
        return self.clock

    def say(self, _text):
        pass

    def note(self, _event, _tag="run", **_data):
        pass

    def gather(self):
        return self.seen, []

    def ask(self, nodes, function, kwarg, _wait, heard=None, grace=None):
        assert function == "pve_probe.links" and grace is None
        self.calls.append((list(nodes), kwarg["links"]))
        row = {"in": self.arrives, "out": self.arrives, "latency_us": 300, "mtu": 1500, "answers": 3}
        answers = {}
        for name in nodes:
            peers = {peer: dict(row) for peer in NODES if peer != name}
            links = {key: {"busy": "", "seconds": 4.0, "peers": peers} for key in kwarg["links"]}
            answers[name] = {"return": {"links": links}, "retcode": 0, "success": True}
            self.clock += 0.1
            heard(name, None)
        return answers


def probe(ports, layout="nominal"):
    report = follow.probe(Request(world.pillar(), layout), ports, SETTINGS)
    return report, {item["code"]: item for item in report["findings"]}


def test_a_living_layout_has_nothing_to_test():
    ports = Ports(dead=False)
    report, _ = probe(ports)
    assert report["result"] == "already" and "nothing to test" in report["summary"] and ports.calls == []


def test_dead_links_of_the_layout_are_tested_beside_corosync():
    ports = Ports()
    report, told = probe(ports)
    ((nodes, links),) = ports.calls
    assert nodes == list(NODES)
    assert links == {
        "0 vrack on UDP 5412": {"port": 5412, "addresses": {name: world.VRACK[name] for name in NODES}}
    }
    assert report["result"] == "done" and "both ways" in report["summary"]
    assert "UDP 5405 is filtered, or corosync has not noticed yet" in told["port-suspect"]["text"]


def test_a_network_through_which_nothing_comes_is_named():
    report, told = probe(Ports(arrives=False))
    assert report["result"] == "failed" and "nothing arrives from pve1 to pve2" in report["summary"]
    assert "port-filtered" in told and "port-suspect" not in told


@pytest.mark.parametrize("arrives", [True, False])
def test_a_route_that_leaves_by_another_card_is_told(arrives):
    """An overlay network took the way with a rule of its own: repairing the network is no help then."""
    _, told = probe(Ports(arrives=arrives, routes=[WAY | {"dev": "tailscale0"}]))
    item = told["route-elsewhere"]
    assert item["severity"] == "warning"
    assert "leads over tailscale0, not over eno2" in item["text"] and "ip rule" in item["remedy"]
    assert "route-elsewhere" not in probe(Ports(arrives=arrives, routes=[WAY | {"dev": "eno2"}]))[1]


def test_a_route_of_a_dead_link_is_told_where_another_layout_is_tested():
    ports = Ports(routes=[WAY | {"dev": "tailscale0"}])
    _, told = probe(ports, "degraded")
    assert list(ports.calls[0][1]) == ["0 public", "1 vrack", "2 public"] and "route-elsewhere" in told
