"""May a node join again, over which links, and how its old entry goes."""

import copy
import hashlib

import pytest
from pve_corosync import conf
from pve_corosync.pillar import layouts
from pve_corosync.run import join

NODES = {
    "pve1": ("10.66.0.1", "198.51.100.10"),
    "pve2": ("10.66.0.2", "203.0.113.20"),
    "pve3": ("10.66.0.3", "203.0.113.30"),
}
PILLAR = {
    "cluster_name": "prod",
    "layout": "nominal",
    "nodes": {
        name: {"nodeid": n, "addresses": {"vrack": NODES[name][0], "public": NODES[name][1]}}
        for n, name in enumerate(NODES, 1)
    },
    "layouts": {"nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"}},
}
LAYOUT = layouts.resolve(layouts.load(PILLAR))
LINKS = {
    0: {"addresses": {n: a[0] for n, a in NODES.items()}, "options": {}},
    2: {"addresses": {n: a[1] for n, a in NODES.items()}, "options": {}},
}
EMPTY = {"name": "pve3", "reasons": []}


def file_facts(text):
    version = conf.parse(text).version
    return {"version": version, "text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def observed(links=LINKS, quorate=True, listed=True):
    names = list(NODES) if listed else ["pve1", "pve2"]
    rows = {
        n: {"addresses": {k: v for k, v in row["addresses"].items() if k in names}, "options": {}}
        for n, row in links.items()
    }
    text = conf.render("prod", {n: {"nodeid": PILLAR["nodes"][n]["nodeid"]} for n in names}, rows, 7).decode()
    file = file_facts(text)
    running = {
        "version": 7,
        "nodeid": 1,
        "token": 3000,
        "consensus": 3600,
        "interfaces": {},
        "nodes": {
            n: {
                "nodeid": PILLAR["nodes"][n]["nodeid"],
                "addresses": {k: row["addresses"][n] for k, row in rows.items()},
            }
            for n in names
        },
    }
    facts = {
        "local": file,
        "cluster_file": file,
        "runtime": running,
        "quorum": {"quorate": quorate, "members": [1, 2]},
        "pmxcfs": {"mounted": True, "writable": quorate},
        "links": {},
        "addresses": {},
    }
    blank = {
        "local": None,
        "cluster_file": None,
        "runtime": None,
        "quorum": None,
        "links": {},
        "pmxcfs": {"mounted": True, "writable": True},
    }
    return {
        "nodes": {"pve1": copy.deepcopy(facts), "pve2": copy.deepcopy(facts), "pve3": blank},
        "silent": [],
    }


def codes(found):
    return [item["code"] for item in found]


@pytest.mark.parametrize("listed", [True, False])
def test_the_links_are_those_in_force_not_those_of_the_pillars_layout(listed):
    seen = observed(listed=listed)
    assert join.check(LAYOUT, "pve3", seen, EMPTY) == []
    assert join.links(LAYOUT, "pve3", seen) == ({0: "10.66.0.3", 2: "203.0.113.30"}, [])
    assert join.listed(seen, "pve3") is listed


def test_a_link_on_an_unknown_network_is_refused():
    links = {5: {"addresses": {"pve1": "192.0.2.1", "pve2": "192.0.2.2", "pve3": "192.0.2.3"}, "options": {}}}
    found = join.check(LAYOUT, "pve3", observed(links), EMPTY)
    assert codes(found) == ["rebuild-link"] and "192.0.2.1" in found[0]["text"]


def test_everything_in_the_way_is_told_at_once():
    seen = observed()
    del seen["nodes"]["pve1"]
    seen["nodes"]["pve2"]["runtime"] = None
    found = join.check(LAYOUT, "pve3", seen, {"name": "pve3", "reasons": ["corosync runs"]})
    assert codes(found) == ["rebuild-not-empty", "rebuild-silent", "rebuild-not-level"]
    assert codes(join.check(LAYOUT, "pve9", seen, None)) == ["rebuild-unknown"]
    assert codes(join.check(LAYOUT, "pve3", observed(), None)) == ["rebuild-silent"]


@pytest.mark.parametrize("kind", ["local", "cluster_file"])
def test_nodes_that_differ_are_brought_in_order_first(kind):
    seen = observed()
    text = seen["nodes"]["pve2"][kind]["text"].replace("10.66.0.1", "10.66.0.99")
    seen["nodes"]["pve2"][kind] = file_facts(text)
    found = join.check(LAYOUT, "pve3", seen, EMPTY)
    assert codes(found) == ["rebuild-not-level"] and "salt-run corosync.apply skip=pve3" in found[0]["remedy"]


def test_without_quorum_the_others_drop_the_node_locally_and_publish_the_same_bytes():
    seen = observed(quorate=False)
    assert not join.quorate(seen, "pve3") and join.quorate(observed(), "pve3")
    local, publish = join.removal(LAYOUT, "pve3", seen)
    assert (local["act"], publish["act"], local["version"]) == ("local", "publish", 8)
    assert local["conf"] == publish["conf"] and local["nodes"] == ["pve1", "pve2"]
    doc = conf.parse(local["conf"])
    assert sorted(doc.nodes()) == ["pve1", "pve2"] and doc.version == 8 and sorted(doc.links()) == [0, 2]


def test_a_quorum_device_is_told_before_a_node_joins():
    seen = observed()
    seen["nodes"]["pve2"]["quorum"]["qdevice_votes"] = 1
    (item,) = join.check(LAYOUT, "pve3", seen, EMPTY)
    assert (item["code"], item["severity"]) == ("rebuild-qdevice", "warning")
    assert item["data"] == {"nodes": ["pve2"]} and "pvecm qdevice setup" in item["remedy"]


@pytest.mark.parametrize("only_publish", [False, True])
def test_the_steps_that_drop_a_node_replace_only_what_was_seen(only_publish):
    seen = observed(quorate=False)
    hand = seen["nodes"]["pve2"]["cluster_file"]["sha256"] = "f" * 64
    made = join.removal(LAYOUT, "pve3", seen, only_publish)
    known = sorted([seen["nodes"]["pve1"]["local"]["sha256"], hand])
    assert [step["starts_from"] for step in made] == [known] * len(made)


def test_guests_that_come_go_or_change_are_named():
    before = {"pve1/lxc/1.conf": "a", "pve1/lxc/2.conf": "b"}
    assert join.guests_changed(before, dict(before), "pve3") == []
    after = {"pve1/lxc/1.conf": "x", "pve2/lxc/3.conf": "c"}
    assert join.guests_changed(before, after, "pve3")[0]["data"]["paths"] == [
        "pve1/lxc/1.conf",
        "pve1/lxc/2.conf",
        "pve2/lxc/3.conf",
    ]
