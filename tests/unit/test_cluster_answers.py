"""The door for what other machines say: nothing that a node answers is a traceback on the master."""

import copy
import json

import pytest
import simulation
from pve_corosync.cluster import answers
from pve_corosync.judge import evidence, outcomes, situation
from pve_corosync.plan import planner
from pve_corosync.rules import every

TWO = ("pve1", "pve2")
MINIONS = {name: name for name in TWO}
LAYOUTS = {
    "nominal": simulation.layout({0: "vrack"}, TWO, "nominal"),
    "degraded": simulation.layout({0: "public", 1: "vrack"}, TWO, "degraded"),
}
GONE = object()
#: what a run that was killed has to undo, as the node noted it.
ENTRY = {"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA"}
VALUES = (
    *(None, [], {}, "", "x", -1, 0, 1, 2**70, 1e308, float("nan"), True, False, 3.5, b"x"),
    *(["x"], {"x": 1}, {"x": {"y": [1]}}, [None], "\x1b[31m\x00", "10.66.0.1", GONE),
)
#: every so many of the mutations is tried: a prime, so that each place and each value comes up.
STEP = 7


def world(dead=()):
    """Return the facts of two nodes, those of pve2 with everything that a real node tells."""
    nodes = simulation.Sim({0: "vrack"}, TWO, dead=dead).observed()["nodes"]
    facts = nodes["pve2"]
    facts["pmxcfs"]["members"] = {
        "nodename": "pve2",
        "version": 3,
        "cluster": {"name": "prod", "version": 5, "nodes": 2, "quorate": True},
        "nodelist": {name: {"id": n, "online": True, "ip": f"10.66.0.{n}"} for n, name in enumerate(TWO, 1)},
    }
    facts["ha"] |= {"resources": ["vm:100"], "disarm": {"mode": "freeze"}}
    facts["quorum"] |= {"votes": {1: 1, 2: 1}, "nodeid": 2, "qdevice_votes": None}
    facts["runtime"]["interfaces"] = {0: {"knet_transport": "udp", "mcastport": "5405"}}
    facts["runtime"]["members"] = {1: ["10.66.0.1"], 2: ["10.66.0.2"]}
    facts["runtime"]["joined"] = {1: {"status": "joined", "version": 5}}
    facts |= {"cards": {"eth0": ["eth0"]}, "problems": ["x"], "busy": {"txn": "t", "by": "x", "since": 1.0}}
    facts["routes"] = [{"peer": "pve1", "link": 0, "from": "10.66.0.2", "to": "10.66.0.1", "dev": "wg0"}]
    facts["database"] = {"version": 7, "mtime": 1, "files": {"user.cfg": "0" * 64}}
    facts["undo"] = {"txn": "t", "since": 1.0, "undo": [ENTRY]}
    facts |= {"code": "0" * 64, "pillar": "0" * 12}
    return nodes


def places(value, path=()):
    """Yield the path of every value in plain data."""
    yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in rows:
        yield from places(item, (*path, key))


def changed(facts, path, value):
    """Return facts with one value changed, or taken out."""
    if not path:
        return None if value is GONE else value
    facts = copy.deepcopy(facts)
    inner = facts
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return facts


def look(nodes):
    """Do what runner and status do with answers; return what was observed."""
    observed, found = situation.observe(MINIONS, {name: {"return": facts} for name, facts in nodes.items()})
    every.check(LAYOUTS["degraded"], observed)
    planner.plan(LAYOUTS["degraded"], observed)
    planner.plan(LAYOUTS["nominal"], observed, "restart")
    situation.in_force(LAYOUTS, observed)
    situation.sick(situation.state_now(observed))
    outcomes.rings(observed, [], observed)
    situation.latest_of_facts(observed)
    situation.dead_runs(observed, ())
    evidence.released(LAYOUTS["degraded"], observed)
    apart = copy.deepcopy(observed)
    for number, facts in enumerate(apart["nodes"].values(), 1):  # each of them is quorate alone
        facts["quorum"] = facts.get("quorum") and facts["quorum"] | {"quorate": True, "members": [number]}
    every.check(LAYOUTS["degraded"], apart)
    json.dumps([situation.matrix(observed), situation.without_texts(observed), found])
    return observed, found


@pytest.mark.parametrize("dead", [(), ("vrack",)])
@pytest.mark.parametrize("part", sorted(world()["pve2"]))
def test_no_changed_value_is_a_traceback_and_none_costs_another_node(part, dead):
    nodes = world(dead)
    tries = [
        (path, value)
        for path in places(nodes["pve2"])
        for value in VALUES
        if (path[0] if path else "busy") == part
    ]
    for path, value in tries[:: 1 if len(tries) < 60 else STEP]:
        observed, found = look(nodes | {"pve2": changed(nodes["pve2"], path, value)})
        assert "pve1" in observed["nodes"], (path, value)
        if "pve2" in observed["silent"]:
            assert [item["data"].get("node") for item in found if item["code"] == "node-error"] in (
                ["pve2"],
                [],
            )


def test_good_facts_pass_unchanged():
    for facts in world().values():
        assert answers.facts(facts) == facts
    over_json = json.loads(json.dumps(world()["pve2"]))
    assert answers.facts(over_json) == world()["pve2"], "link numbers and node ids are numbers again"


@pytest.mark.parametrize(
    "change",
    [
        {"function": "cmd.run", "kwargs": {"cmd": "reboot"}},
        {"function": ["ha_manager.arm"]},
        {"kwargs": {"timeout": "x", "mode": "ignore"}},
        {"nodes": "pve1"},
    ],
)
def test_a_node_has_no_other_function_called_than_those_that_put_ha_in_service(change):
    """What is to be undone is noted on the nodes, and called on all of them: no node may choose what."""
    nodes = world()
    nodes["pve2"]["undo"]["undo"] = [ENTRY | change]
    observed, found = look(nodes)
    assert observed["silent"] == ["pve2"], change
    assert any(item["code"] == "node-error" and "undo" in item["text"] for item in found)
    assert evidence.left_undone(observed)[0] == []


def test_a_bad_value_is_named_with_its_place():
    nodes = world()
    nodes["pve2"]["links"]["pve1"][0]["connected"] = "yes"
    observed, found = look(nodes)
    assert observed["silent"] == ["pve2"]
    (item,) = [item for item in found if item["code"] == "node-error"]
    assert "links.pve1.0.connected: 'yes'; allowed: true or false" in item["text"]


def test_control_characters_stay_outside_and_files_keep_their_bytes():
    facts = world()["pve2"]
    facts["problems"] = ["\x1b[31mred\x1b]0;title\x07 \x9b2J\u202etxt\tand\nmore\r\x00"]
    facts["new"] = {"\x1b[1mkey": ["\x07v"]}
    facts["local"]["text"] += "# \x1b[31m caf\xe9\n"
    told = answers.facts(facts)
    assert told["problems"] == ["red 2Jtxt\tand\nmore"] and told["new"] == {"key": ["v"]}
    assert told["local"]["text"] == facts["local"]["text"]
    error = {"return": "\x1b[2Jboom", "success": False}
    _, found = situation.observe(MINIONS, {"pve1": error, "pve2": {"return": facts}})
    assert [item["text"] for item in found if item["code"] == "node-error"] == ["pve1: boom"]


def test_what_is_nested_without_end_is_refused():
    deep = []
    for _ in range(50):
        deep = [deep]
    with pytest.raises(answers.BadAnswer, match="extra.*plain data"):
        answers.facts(world()["pve2"] | {"extra": deep})
