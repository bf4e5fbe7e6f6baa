"""The exit checklist: all ok on a cluster that has its layout, each item broken once."""

import pytest
from _rules_world import PUBLIC, changed, conf, file_facts, layout, observed
from pve_corosync.judge import checklist


def table(rows):
    return {row["item"]: row for row in rows}


def bad(rows):
    return sorted(row["item"] for row in rows if not row["ok"])


def everywhere(world, path, value):
    for name in world["nodes"]:
        world = changed(world, f"nodes.{name}.{path}", value)
    return world


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_cluster_with_its_layout_passes(nodes):
    rows = checklist.checklist(layout("nominal", nodes), observed(nodes))
    assert [row["item"] for row in rows] == [*checklist.LINK_ITEMS, "primary"]
    assert bad(rows) == [] and checklist.passed(rows)
    assert all(row["seen"] and row["expected"] for row in rows)


def test_another_layout_does_not_pass():
    rows = checklist.checklist(layout("degraded"), observed())
    assert bad(rows) == ["addresses", "links connected", "links exact", "options", "primary"]


LINK = {"connected": True, "enabled": True, "mtu": 1397, "latency_us": 180, "down_count": 0}
CASES = {
    "one direction down": (
        "nodes.pve2.links.pve1",
        {0: LINK | {"connected": False}},
        ["links connected"],
        "link 0 pve2->pve1",
    ),
    "a link unknown to one": ("nodes.pve2.links.pve1", {}, ["links connected"], "link 0 pve2->pve1"),
    "no peer": ("nodes.pve2.links", {}, ["links connected"], "link 0 pve2->pve1"),
    "connected is not a word": (
        "nodes.pve2.links.pve1",
        {0: LINK | {"connected": "no"}},
        ["links connected"],
        "pve2",
    ),
    "extra link": ("nodes.pve2.links.pve1", {0: LINK, 3: LINK}, ["links exact"], "pve2: links 0, 3"),
    "extra link in the nodelist": (
        "nodes.pve2.runtime.nodes.pve2.addresses",
        {0: "10.66.0.2", 1: "1.2.3.4"},
        ["links exact"],
        "pve2: links 0, 1",
    ),
    "other address": (
        "nodes.pve2.runtime.nodes.pve1.addresses",
        {0: "10.66.9.1"},
        ["addresses"],
        "10.66.9.1",
    ),
    "no runtime": ("nodes.pve2.runtime", None, ["addresses", "links exact", "versions"], "pve2: no runtime"),
    "option": (
        "nodes.pve2.local",
        file_facts(
            conf(
                links={
                    0: {
                        "addresses": {"pve1": "10.66.0.1", "pve2": "10.66.0.2"},
                        "options": {"knet_link_priority": "7"},
                    }
                }
            )
        ),
        ["options", "same bytes"],
        "knet_link_priority",
    ),
    "no local file": (
        "nodes.pve2.local",
        None,
        ["options", "same bytes", "versions"],
        "none: local file of pve2",
    ),
    "local file broken": (
        "nodes.pve2.local",
        file_facts(conf() + "}\n"),
        ["options", "same bytes"],
        "not readable",
    ),
    "not quorate": ("nodes.pve2.quorum.quorate", False, ["quorum"], "pve2: not quorate"),
    "expected votes": ("nodes.pve2.quorum.expected", 1, ["quorum"], "expected votes 1, nodelist 2"),
    "member missing": ("nodes.pve2.quorum.members", [2], ["quorum"], "members 2"),
    "no quorum facts": ("nodes.pve2.quorum", None, ["one ring", "quorum"], "no ring id on pve2"),
    "two rings": ("nodes.pve2.quorum.ring_id", "2.20", ["one ring"], "1.1e on pve1; 2.20 on pve2"),
    "cluster file behind": (
        "nodes.pve2.cluster_file",
        file_facts(conf(version=4)),
        ["same bytes", "versions"],
        "4: cluster file of pve2",
    ),
    "same version, other bytes": (
        "nodes.pve2.cluster_file",
        file_facts(conf() + "#\n"),
        ["same bytes"],
        "cluster file",
    ),
    "runtime behind": ("nodes.pve2.runtime.version", 4, ["versions"], "4: runtime of pve2"),
    "not mounted": (
        "nodes.pve2.pmxcfs",
        {"mounted": False, "writable": False, "members": None},
        ["cluster file system", "primary"],
        "not mounted",
    ),
    "read-only": ("nodes.pve2.pmxcfs.writable", False, ["cluster file system"], "pve2: not writable"),
    "primary": ("nodes.pve2.pmxcfs.members.nodelist.pve1.ip", PUBLIC["pve1"], ["primary"], PUBLIC["pve1"]),
    "no ip in members": (
        "nodes.pve2.pmxcfs.members.nodelist.pve1",
        {"id": 1, "online": 0},
        ["primary"],
        "missing",
    ),
    "no nodelist in members": (
        "nodes.pve2.pmxcfs.members",
        {"nodename": "pve2", "version": 1},
        ["primary"],
        "pve1 is missing",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_item_broken_once(case):
    path, value, expected, said = CASES[case]
    rows = checklist.checklist(layout(), changed(observed(), path, value))
    assert bad(rows) == expected
    assert not checklist.passed(rows)
    assert said in " ".join(row["seen"] for row in rows if not row["ok"])


def test_a_quorum_device_that_gives_no_vote():
    world = observed()
    with_device = conf().replace("quorum {\n", "quorum {\n  device {\n    model: net\n  }\n", 1)
    for votes, said in ((0, "the quorum device gives no vote"), (1, "")):
        for facts in world["nodes"].values():
            facts["local"] = facts["cluster_file"] = file_facts(with_device)
            facts["quorum"]["qdevice_votes"] = votes
        row = table(checklist.checklist(layout(), world))["quorum"]
        assert row["ok"] is not bool(said) and said in row["seen"]


def test_a_silent_node_fails_every_item():
    world = observed(3)
    del world["nodes"]["pve3"]
    rows = checklist.checklist(layout("nominal", 3), world | {"silent": ["pve3"]})
    assert bad(rows) == sorted([*checklist.LINK_ITEMS, "primary"])
    assert "pve3" in table(rows)["answers"]["seen"]


def test_a_skipped_node_is_not_looked_at():
    world = observed(3)
    del world["nodes"]["pve3"]
    world = everywhere(world, "quorum.members", [1, 2])
    rows = checklist.checklist(layout("nominal", 3), world, skip=["pve3"])
    assert bad(rows) == []
    assert "pve3" not in " ".join(row["expected"] for row in rows)


def test_nobody_at_all_does_not_pass():
    assert not checklist.passed([])
    assert bad(checklist.checklist(layout(), {"nodes": {}, "silent": ["pve1", "pve2"]})) == sorted(
        [*checklist.LINK_ITEMS, "primary"]
    )
    nobody = checklist.checklist(layout(), observed(), skip=["pve1", "pve2"])
    assert not checklist.passed(nobody)


def test_items_can_be_chosen():
    rows = checklist.checklist(layout(), observed(), items=["primary", "quorum"])
    assert [row["item"] for row in rows] == ["quorum", "primary"]
    assert "primary" not in checklist.LINK_ITEMS and len(checklist.LINK_ITEMS) == 10
    assert [row["item"] for row in checklist.checklist(layout(), observed(), items="quorum")] == ["quorum"]


def test_an_unknown_item_is_refused():
    with pytest.raises(ValueError, match="'ringid'.*one ring"):
        checklist.checklist(layout(), observed(), items=["ringid"])


def test_an_item_without_facts_is_left_out_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setitem(checklist.ITEMS, "replication", lambda world: None)
    assert "replication" not in table(checklist.checklist(layout(), observed()))
    (row,) = checklist.checklist(layout(), observed(), items=["replication"])
    assert (row["item"], row["ok"]) == ("replication", False)


def test_link_numbers_may_be_text():
    world = observed()
    for row in world["nodes"].values():
        row["links"] = {
            peer: {str(n): link for n, link in links.items()} for peer, links in row["links"].items()
        }
        for node in row["runtime"]["nodes"].values():
            node["addresses"] = {str(n): address for n, address in node["addresses"].items()}
    goal = layout()
    goal["links"] = {str(n): link for n, link in goal["links"].items()}
    assert bad(checklist.checklist(goal, world)) == []


def test_a_quorum_device_has_votes_of_its_own():
    text = conf().replace("quorum {\n", "quorum {\n  device {\n    model: net\n  }\n")
    world = everywhere(observed(text=text), "quorum.expected", 3)
    assert bad(checklist.checklist(layout(), world)) == []


def test_nothing_is_concluded_from_silence():
    """A node that did not answer has no file that is missing, no ring, and no link that is down."""
    world = observed(3)
    del world["nodes"]["pve1"]
    world["silent"] = ["pve1"]
    rows = table(checklist.checklist(layout("nominal", 3), world))
    for item in ("versions", "same bytes", "one ring"):
        assert not rows[item]["ok"] and rows[item]["seen"] == "pve1: no answer"
    assert rows["links connected"]["seen"] == "pve1: no answer", "the others see it"
    nobody = checklist.checklist(layout("nominal", 3), {"nodes": {}, "silent": ["pve1", "pve2", "pve3"]})
    said = " ".join(row["seen"] for row in nobody)
    assert not [row for row in nobody if row["ok"]]
    assert "missing" not in said and "none:" not in said and "no ring" not in said and "->" not in said


def test_a_node_that_answered_with_an_error_is_not_called_silent():
    world = observed(3)
    del world["nodes"]["pve1"]
    world |= {"silent": ["pve1"], "refusals": {"pve1": "'corosync.facts' is not available."}}
    rows = table(checklist.checklist(layout("nominal", 3), world))
    for item in ("answers", "versions", "links connected"):
        assert rows[item]["seen"] == "pve1: 'corosync.facts' is not available."


def test_what_is_wrong_elsewhere_is_told_beside_a_silent_node():
    world = changed(observed(3), "nodes.pve2.local", None)
    del world["nodes"]["pve1"]
    rows = table(checklist.checklist(layout("nominal", 3), world))
    assert "none: local file of pve2; pve1: no answer" in rows["versions"]["seen"]
    assert "pve1: no answer" in rows["same bytes"]["seen"]
