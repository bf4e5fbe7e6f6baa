"""The door of the watch: a node whose answer has not the shape of one counts as one that gave none."""

import copy

import pytest
from _watch_world import POLICY, layouts
from pve_corosync.cluster import answers
from pve_corosync.judge import situation, watch, watch_seen
from test_cluster_answers import VALUES, changed, places, world

NODES = ("pve1", "pve2")
LAYOUTS = layouts(NODES)


def told(dead=()):
    """Return ``{node: what corosync.watch_facts returned}``, with everything that a real node tells."""
    rows = {}
    for name, facts in world(dead).items():
        links = {
            peer: {str(number): row["connected"] for number, row in links.items()}
            for peer, links in facts["links"].items()
        }
        counts = {peer: dict.fromkeys(of, 1) for peer, of in links.items()}
        look = {"state": "running", "age": 500.5, "node": name, "nodeid": 1, "quorate": True, "local": 5}
        look |= {"members": list(NODES), "nodes": list(NODES), "version": facts["runtime"]["version"]}
        look |= {"links": links, "downs": counts, "pongs": counts, "silent": {"0": 1.5}}
        look |= {"interval": {"0": 0.5}, "dead_for": {"pve1": {"0": 2.5}}}
        rows[name] = {"facts": facts, "look": look, "ago": 0.1}
    return copy.deepcopy(rows)


def look(rows):
    """Do what the watch does with answers; return what it decides on."""
    events = {name: {"return": row} for name, row in rows.items()}
    situation.observe({name: name for name in NODES}, watch_seen.facts(events))
    seen = watch_seen.seen(LAYOUTS, ["nominal"], list(NODES), events, False)
    watch.decide(seen, POLICY, LAYOUTS, "nominal", watch.new_state(), 1_800_000_000.0)
    good = {name: {"return": row["look"]} for name, row in told().items()}
    watch_seen.again(events, good)
    bad = {name: {"return": row.get("look") if isinstance(row, dict) else row} for name, row in rows.items()}
    made = watch_seen.again({name: {"return": row} for name, row in told().items()}, bad)
    if made is not None:
        watch_seen.seen(LAYOUTS, ["nominal"], list(NODES), made, False)
    return seen


@pytest.mark.parametrize("dead", [(), ("vrack",)])
@pytest.mark.parametrize("part", [None, "look", "ago"])
def test_no_changed_value_is_a_traceback_and_none_costs_another_node(part, dead):
    rows = told(dead)
    good = look(rows)
    for path in places(rows["pve2"]):
        for value in VALUES if (path[0] if path else None) == part else ():
            seen = look(rows | {"pve2": changed(rows["pve2"], path, value)})
            assert seen["nodes"]["pve1"] == good["nodes"]["pve1"], (path, value)


@pytest.mark.parametrize(
    "bad", [{"runtime": [1]}, {"runtime": {"nodes": [1]}}, {"links": 5}, {"ha": "x"}, {"busy": [1]}]
)
def test_a_node_with_bad_facts_gave_no_answer_and_says_why(bad):
    rows = told()
    good = look(rows)
    rows["pve2"]["facts"] |= bad
    seen = look(rows)
    assert seen["nodes"] == good["nodes"] | {"pve2": None} and seen["layout"] == good["layout"]
    events = {name: {"return": row} for name, row in rows.items()}
    observed, found = situation.observe({name: name for name in NODES}, watch_seen.facts(events))
    assert observed["silent"] == ["pve2"] and next(iter(bad)) in found[0]["text"], found


def test_a_bad_look_is_told_as_such():
    rows = told()
    rows["pve2"]["look"]["links"] = {"pve1": {"9": True}}
    assert look(rows)["nodes"]["pve2"] is None
    events = {name: {"return": row} for name, row in rows.items()}
    _, found = situation.observe({name: name for name in NODES}, watch_seen.facts(events))
    (item,) = found
    assert item["text"] == (
        "pve2: its answer cannot be used: look.links.pve1: 9; allowed: a whole number, 0 to 7"
    )


def test_what_a_real_node_tells_passes_unchanged():
    rows = told()
    for row in rows.values():
        assert answers.WATCHED(row, "") == row
    for state in ({"state": "busy", "for": 0.0}, {"state": "stopped", "local": None, "why": "x"}):
        assert answers.LOOK(state, "") == state
