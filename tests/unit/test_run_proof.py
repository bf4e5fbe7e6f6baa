"""run.proof: whatever a node takes as proved by itself, the look at all nodes finds nothing to do in."""

import copy
import functools
import json
import operator
import string

import pytest
from _rules_world import PUBLIC, VRACK, observed
from hypothesis import given, settings
from hypothesis import strategies as st
from pve_corosync.cluster import memory
from pve_corosync.findings import errors
from pve_corosync.judge import checklist
from pve_corosync.pillar import layouts
from pve_corosync.run import alone, proof

NODES = 3
KEY = {"authkey": "ab" * 32}
#: what a proof goes by besides the facts.
ASKED = ({"layout": "nominal"}, "pve1", None, KEY)


@functools.cache
def request(layout=None):
    names = sorted(VRACK)[:NODES]
    pillar = {
        "cluster_name": "prod",
        "nodes": {
            name: {"nodeid": number, "addresses": {"vrack": VRACK[name], "public": PUBLIC[name]}}
            for number, name in enumerate(names, 1)
        },
        "layouts": {
            "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
            "both": {"links": {0: {"network": "vrack"}, 1: {"network": "public"}}, "primary": "vrack"},
        },
        "layout": "nominal",
    }
    return alone.Request(pillar, "pve1", "pve1", layout)


def proved(world, layout=None, noted=KEY):
    return proof.proof(world["nodes"]["pve1"], request(layout).layout, "pve1", noted)


def nothing_to_do(world):
    """What ``corosync.apply`` of a node makes of a look at all nodes."""
    wanted = request()
    made, findings = wanted.plan(world, [])
    return not made["steps"] and not errors(findings) and checklist.passed(wanted.checklist(world)[0])


def places(value, path=()):
    """Every place in plain data: ``[path]``."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(facts, path, value):
    facts = copy.deepcopy(facts)
    at = facts
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return facts


HEALTHY = observed(NODES)
OWN = HEALTHY["nodes"]["pve1"]
#: the members of a ring agree on its id; a node that claims another one for itself is no node.
AGREED = [("quorum", "ring_id")]
PLACES = sorted((path for path in places(OWN) if path and path not in AGREED), key=str)
WORDS = st.one_of(
    st.text(string.ascii_letters, max_size=3), st.sampled_from([*VRACK.values(), *PUBLIC.values(), "left"])
)


def other(value):
    """Another value of the same type, or none at all: what a tool may tell."""
    kinds = {bool: st.booleans(), int: st.integers(0, 9), float: st.floats(0, 9), str: WORDS}
    empty = {dict: st.just({}), list: st.just([])}
    return st.one_of(st.none(), (kinds | empty).get(type(value), WORDS))


CHANGES = st.sampled_from(PLACES).flatmap(
    lambda path: st.tuples(st.just(path), other(functools.reduce(operator.getitem, path, OWN)))
)


def test_a_healthy_cluster_is_proved_and_nothing_is_to_do():
    assert proved(HEALTHY) == [] and nothing_to_do(HEALTHY)


def test_another_layout_is_not_proved():
    assert proved(HEALTHY, "both") == [
        "the file has not the links of the layout",
        "the daemon runs other links",
    ] + [f"link 1 to {name} is not connected" for name in sorted(VRACK)[1:NODES]]


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=2))
def test_what_is_proved_the_look_at_all_nodes_accepts(changes):
    own = OWN
    for path, value in changes:
        try:
            own = put(own, path, value)
        except (KeyError, TypeError, IndexError):
            continue  # the first change took the place of the second away
    world = {"nodes": dict(HEALTHY["nodes"], pve1=own), "silent": []}
    try:
        found = proved(world)
    except (AttributeError, KeyError, TypeError, ValueError):
        return  # a node's own tools do not tell such facts; the state would fail, and not say "nothing to do"
    if not found:
        assert nothing_to_do(world), changes


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_change_at_another_node_that_reaches_this_one_is_seen(data):
    """What the daemons and pmxcfs tell of another node is looked at, each of it."""
    name = data.draw(st.sampled_from(sorted(VRACK)[1:NODES]))
    number = OWN["runtime"]["nodes"][name]["nodeid"]
    path, value = data.draw(
        st.sampled_from(
            [
                (("runtime", "joined", number, "version"), 1),
                (("runtime", "joined", number, "status"), "left"),
                (("runtime", "joined", number), {}),
                (("links", name, 0, "connected"), False),
                (("links", name), {}),
                (("quorum", "members"), [1, number]),
                (("pmxcfs", "members", "nodelist", name, "online"), 0),
                (("pmxcfs", "members", "nodelist", name), {}),
                (("pmxcfs", "members", "cluster", "version"), 1),
            ]
        )
    )
    assert proved({"nodes": {"pve1": put(OWN, path, value)}, "silent": []})


def test_the_note_of_a_look_stands_for_versions_of_the_last_membership():
    old = put(OWN, ("runtime", "joined", 2, "version"), 1)
    world = {"nodes": dict(HEALTHY["nodes"], pve1=old), "silent": []}
    assert proved(world) == ["pve2 joined with version 1"]
    noted = json.loads(json.dumps(memory.note(old)))
    assert proved(world, noted=noted) == []
    for path, value in (
        (("quorum", "ring_id"), "1.2a"),
        (("runtime", "joined", 2, "version"), 2),
        (("runtime", "joined", 3, "status"), "left"),
    ):
        assert proved({"nodes": {"pve1": put(old, path, value)}, "silent": []}, noted=noted)


def test_the_key_must_have_been_compared():
    told = ["the key was not compared with that of the others yet"]
    for noted in (None, {}, {"authkey": None}, {"authkey": "cd" * 32}):
        assert proved(HEALTHY, noted=noted) == told
    for value in (None, "cd" * 32):
        own = put(OWN, ("authkey", "sha256"), value)
        assert told[0] in proved({"nodes": {"pve1": own}, "silent": []}, noted={"authkey": "ab" * 32})


@pytest.mark.parametrize("noted", [{}, [], "x", 1, KEY | {"version": 5}, KEY | {"joined": None}])
def test_no_other_note_proves_anything(noted):
    old = put(OWN, ("runtime", "joined", 2, "version"), 1)
    assert proved({"nodes": {"pve1": old}, "silent": []}, noted=noted)


def test_the_layout_of_the_pillar_is_what_is_proved():
    assert layouts.resolve(request().loaded)["name"] == "nominal"


def test_what_was_proved_stands_as_long_as_nothing_of_it_has_changed():
    """A proof is a pure function, so that a digest of all that goes into it can stand for it."""
    first = memory.mark(OWN, *ASKED)
    assert memory.mark(copy.deepcopy(OWN), *copy.deepcopy(ASKED)) == first
    assert memory.mark(OWN | {"time": 1.0, "alive_for": {"pve2": {"0": 5.0}}}, *ASKED) == first
    for path in places(OWN):
        if not isinstance(functools.reduce(operator.getitem, path, OWN), (dict, list)) and path != ("time",):
            changed = memory.mark(put(OWN, path, "changed"), *ASKED)
            assert (changed == first) is (path[-1] == "latency_us"), path
    for place in range(len(ASKED)):
        assert memory.mark(OWN, *ASKED[:place], "changed", *ASKED[place + 1 :]) != first
