"""One node's share of the degraded path, on a simulated cluster of three of which one lost its vRack card."""

import contextlib

import pytest
from _sequence_world import SETTINGS, World
from pve_corosync.plan import planner
from pve_corosync.run import alone, alone_change, revive
from simulation import Sim, address, read

NODES = ("pve1", "pve2", "pve3")
PILLAR = {
    "cluster_name": "prod",
    "nodes": {
        name: {"nodeid": number, "addresses": {net: address(net, number) for net in ("vrack", "public")}}
        for number, name in enumerate(NODES, 1)
    },
    "layouts": {
        "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
        "degraded": {"links": {0: {"network": "public"}, 1: {"network": "vrack"}}, "primary": "public"},
    },
    "layout": "nominal",
}


def request(own):
    return alone.Request(PILLAR, own, own, "degraded")


@pytest.fixture
def sim():
    return Sim({0: "vrack"}, NODES, dead=[("vrack", "pve1", "pve3"), ("vrack", "pve2", "pve3")])


def observed(sim):
    """What each node can see by ssh over the public network: all; the card of pve3 is gone."""
    seen = sim.observed()
    gone = address("vrack", 3)
    rows = seen["nodes"]["pve3"]["addresses"]
    seen["nodes"]["pve3"]["addresses"] = {
        name: [text for text in texts if not text.startswith(gone)] for name, texts in rows.items()
    }
    return seen


def majority(sim, own="pve1"):
    asked, seen = request(own), observed(sim)
    return alone.majority_part(asked, seen, asked.plan(seen, [])[1])


def test_the_quorate_nodes_add_a_link_through_the_cluster_file_and_the_third_takes_it_over(sim):
    made, found = request("pve1").plan(observed(sim), [])
    assert made["steps"] == [] and "alone-needs-all" in [item["code"] for item in found]
    part = majority(sim)
    step = part["step"]
    assert (step["act"], step["nodes"], step["remove"], part["cut"]) == (
        "cluster",
        ["pve1", "pve2"],
        [],
        ["pve3"],
    )
    assert all("pve3" not in pair for pairs in step["wait"]["connected"].values() for pair in pairs)
    assert set(part["diffs"]) == {"pve1", "pve2", "cluster"}
    assert "alone-needs-all" not in [item["code"] for item in part["findings"]]

    sim.take(step)
    assert sim.lost == [] and sim.daemons["pve3"].version == 5 and sim.quorate(["pve1", "pve2"])
    assert majority(sim, "pve2")["step"] is None, "done already: no version is used up by another run"

    own = alone.own_part(request("pve3"), observed(sim))
    assert "part-adopted" in [item["code"] for item in own["findings"]]
    assert own["step"]["conf"] == step["conf"]
    assert observed(sim)["nodes"]["pve3"]["local"]["sha256"] in own["step"]["starts_from"]
    sim.take(own["step"] | {"nodes": ["pve3"]})
    assert sim.partitions() == [list(NODES)] and sim.lost == []

    asked = request("pve1")
    made, found = asked.plan(observed(sim), [])
    assert made["steps"] and alone.majority_part(asked, observed(sim), found) is None
    for step in made["steps"]:
        sim.take(step)
        assert sim.missing(step) == [] and sim.lost == []
    assert {n: a["pve3"] for n, a in read(sim.daemons["pve3"].local)[1].items()} == {
        0: address("public", 3),
        1: address("vrack", 3),
    }


def test_a_daemon_that_is_started_again_replaces_only_the_file_that_was_seen(sim):
    seen = observed(sim)
    seen["nodes"]["pve3"] |= {"runtime": None, "quorum": None, "corosync": {"state": "failed"}}
    theirs = seen["nodes"]["pve1"]["local"]
    seen["nodes"]["pve3"]["local"] = dict(theirs, version=4, text="", sha256="f")
    step, why = revive.revival(request("pve3"), seen)
    assert why == [] and set(step["starts_from"]) == {"f", theirs["sha256"]}


def test_the_cut_off_node_has_no_share_of_the_quorate_ones(sim):
    assert majority(sim, "pve3") is None


def test_a_whole_cluster_has_no_share(sim):
    sim.dead.clear()
    assert majority(sim) is None


def test_a_file_that_changed_between_two_looks_is_told_as_it_is(sim):
    before = observed(sim)
    sim.take(majority(sim)["step"])
    found = alone.changed(before, observed(sim))
    assert set(found) == {"pve1", "pve2", "cluster"}
    assert found["pve1"] == majority_diff(before, observed(sim))
    del before["nodes"]["pve1"]
    assert set(alone.changed(before, observed(sim))) == {"pve2", "cluster"}
    assert alone.changed(observed(sim), observed(sim)) == {}


def majority_diff(before, after):
    step = {"conf": after["nodes"]["pve1"]["local"]["text"]}
    return planner.diffs({"steps": [step], "skip": []}, before)["pve1"]


class OneNode(World):
    """The ports of pve1, with the simulation for the daemons; ``meanwhile`` happens while it waits."""

    jid = "run1"

    def __init__(self, sim, meanwhile=lambda: None):
        super().__init__(request("pve1"), sim)
        self.meanwhile, self.looks = meanwhile, 0

    def gather(self):
        self.looks += 1
        if self.looks == 4:
            self.meanwhile()
        self.clock += 0.2
        return observed(self.sim), []

    @contextlib.contextmanager
    def locked(self):
        yield

    def lost(self):
        return False

    def idle(self):
        return self.gather()

    def _facts(self, _name, address):
        return {"problems": []}


def go(sim, patience, meanwhile=lambda: None):
    ports = OneNode(sim, meanwhile)
    run = alone_change.AloneChange(ports.request, ports, SETTINGS, degraded=True, patience=patience)
    return ports, run.carry_out()


def test_the_quorate_nodes_go_on_to_the_layout_when_the_third_has_joined(sim):
    def third():
        own = alone.own_part(request("pve3"), observed(sim))
        sim.take(own["step"] | {"nodes": ["pve3"]})

    ports, told = go(sim, 60, third)
    assert told["result"] == "reached", told
    names = [kwarg["txn"] for function, _nodes, kwarg in ports.calls if function == "corosync.stage"]
    assert names == ["run1-part", "run1"], "outcomes are kept by run and number"
    assert sorted(read(sim.daemons["pve3"].local)[1]) == [0, 1] and sim.lost == []


def test_the_quorate_nodes_name_who_must_do_its_part(sim):
    told = go(sim, 0)[1]
    assert told["result"] == "waiting" and sim.daemons["pve1"].version == 6
    (item,) = [item for item in told["findings"] if item["code"] == "part-done"]
    assert item["remedy"] == "on pve3: salt-call --local corosync.apply degraded degraded=True"
    again = go(sim, 0)[1]
    assert again["result"] == "waiting" and sim.daemons["pve1"].version == 6
    assert "done already" in again["summary"]
