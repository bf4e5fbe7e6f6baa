"""Whatever stands anywhere in the pillar: findings with a place, never an exception."""

import copy
import datetime

import pytest
from _rules_world import problems
from pve_corosync import arguments
from pve_corosync.findings import errors
from pve_corosync.pillar import layouts

PILLAR = {
    "cluster_name": "prod",
    "nodes": {
        "pve1": {"nodeid": 1, "minion": "m1", "addresses": {"vrack": "10.66.0.1", "public": "198.51.100.10"}},
        "pve2": {"nodeid": 2, "addresses": {"vrack": "10.66.0.2", "public": "203.0.113.20"}},
    },
    "layouts": {
        "nominal": {
            "links": {0: {"network": "vrack", "ping_interval": 300, "ping_timeout": 600}},
            "primary": "vrack",
        },
        "degraded": {
            "links": {0: {"network": "public"}, 1: {"network": "vrack", "priority": 10}},
            "primary": "public",
        },
    },
    "layout": "nominal",
    "skip": ["pve2"],
    "fast_ping": {"ping_interval": 200, "ping_timeout": 400},
    "firewall": {"management": ["192.0.2.0/24"], "ssh": "peers"},
}
JUNK = {
    "None": None,
    "True": True,
    "False": False,
    "zero": 0,
    "minus": -1,
    "huge": 10**30,
    "float": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "empty text": "",
    "blank": " ",
    "text": "junk",
    "nul": "a\0b",
    "newline": "a\nb",
    "braces": "}{#",
    "long": "x" * 5000,
    "not ascii": "knoten-\u00fc\ud800",
    "bytes": b"x",
    "stars": "****",
    "list": [],
    "list of lists": [["pve2"]],
    "list of mappings": [{"pve2": None}],
    "mapping": {},
    "nested": {"a": {"b": []}},
    "mapping of numbers": {1: 2},
    "date": datetime.date(2026, 1, 1),
    "tuple": ("pve1", None),
    "set": {"pve1"},
}
KEYS = {
    "None": None,
    "True": True,
    "number": 7,
    "minus": -7,
    "float": 0.5,
    "empty": "",
    "date": datetime.date(2026, 1, 1),
    "tuple": ("a", "b"),
    "bytes": b"x",
    "odd": "}{ #",
    "nul": "\0",
}


def places(tree, path=()):
    """Every place of a tree, the root too."""
    yield path
    rows = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in rows:
        yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def with_value(path, value):
    if not path:
        return value
    tree = copy.deepcopy(PILLAR)
    at(tree, path[:-1])[path[-1]] = value
    return tree


def told(pillar):
    """Validate, and hold the findings to their form; the master looks for the nodes before it validates."""
    if isinstance(pillar, dict):
        arguments.members(layouts.plain(pillar))
    found = problems(pillar)
    for item in found:
        assert item["code"] and item["text"] and str(item["data"]["place"]).startswith("corosync"), item
    if errors(found):
        with pytest.raises(layouts.LayoutError):
            layouts.load(pillar)
    else:
        for name in layouts.load(pillar)["layouts"]:
            layouts.resolve(layouts.load(pillar), name)
    return found


def test_the_pillar_itself_is_good():
    assert told(PILLAR) == []


@pytest.mark.parametrize("junk", JUNK)
def test_junk_as_a_value(junk):
    for path in places(PILLAR):
        told(with_value(path, JUNK[junk]))


@pytest.mark.parametrize("junk", KEYS)
def test_junk_as_a_key(junk):
    for path in places(PILLAR):
        if isinstance(at(PILLAR, path), dict):
            for value in (copy.deepcopy(next(iter(at(PILLAR, path).values()))), None, []):
                tree = copy.deepcopy(PILLAR)
                at(tree, path)[KEYS[junk]] = value
                told(tree)


@pytest.mark.parametrize("path", list(places(PILLAR)), ids=lambda path: ":".join(map(str, path)) or "all")
def test_what_is_missing(path):
    if path and isinstance(at(PILLAR, path[:-1]), dict):
        tree = copy.deepcopy(PILLAR)
        del at(tree, path[:-1])[path[-1]]
        told(tree)


def test_a_mapping_in_the_list_of_skipped_nodes_is_named():
    found = told(PILLAR | {"skip": [{"pve2": None}]})
    assert [item["code"] for item in found] == ["skip-unknown"] and "{'pve2': None}" in found[0]["text"]
