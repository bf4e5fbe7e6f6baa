"""The door for what nodes say of the exit checklist: a bad value is that node's error, and its alone."""

import copy

import pytest
from pve_corosync.cluster import answers
from pve_corosync.judge import checklist, checklist_exit, phases
from test_cluster_answers import VALUES, changed, places
from test_judge_checklist_exit import ADDRESSES, LAYOUT, exit_facts

NETWORK = {"10.66.0.0/24": {"used_by": "migration", "addresses": ["198.51.100.10"]}}
PROBLEM = {"code": "datacenter-network-none", "severity": "error", "text": "x", "data": {}, "remedy": "y"}


def told_by(node):
    """Everything that a real node tells."""
    told = exit_facts(node)
    told["jobs"] = {"100-0": {"next_sync": None, "duration_s": 2.5} | exit_facts("pve1")["jobs"]["100-0"]}
    told["migration"] |= {
        "networks": NETWORK,
        "problems": [PROBLEM],
        "set": {"migration": {"type": "secure"}},
    }
    told["certificates"] |= {"node": node, "address": ADDRESSES[node], "certificate": None, "damaged": ""}
    told["certificates"]["problems"] = ["certificate: it ended"]
    told["ha"]["status"] |= {"quorate": True, "lrms": {}, "resource_mode": None}
    told["problems"] = {"jobs": "x"}
    return told


def rows(told):
    """The items, from the answers of two nodes."""
    observed = {"nodes": {node: {} for node in ADDRESSES}, "silent": []}
    events = {node: {"return": value} for node, value in told.items()}
    minions = {node: node for node in ADDRESSES}
    checklist_exit.attach(observed, *phases.values(minions, list(ADDRESSES), copy.deepcopy(events)))
    seen = checklist.checklist(LAYOUT, observed, items=list(checklist_exit.ITEMS))
    return observed, {
        row["item"]: [text for text in row["seen"].split("; ") if text.startswith("pve1: ")] for row in seen
    }


def test_what_a_real_node_tells_passes_unchanged():
    for node in ADDRESSES:
        assert answers.EXIT(told_by(node), "") == told_by(node) and answers.EXIT(exit_facts(node), "")


@pytest.mark.parametrize("part", [None, *sorted(told_by("pve2"))])
def test_no_changed_value_is_a_traceback_and_none_costs_another_node(part):
    told = {node: told_by(node) for node in ADDRESSES}
    good = rows(told)[1]
    for path in places(told["pve2"]):
        for value in VALUES if (path[0] if path else None) == part else ():
            observed, now = rows(told | {"pve2": changed(told["pve2"], path, value)})
            assert observed["nodes"]["pve1"]["exit"] == told["pve1"], (path, value)
            if path[:2] == ("certificates", "host_key"):
                now["known hosts"] = good["known hosts"]  # a key is compared with the one that its node has
            assert now == good, (path, value)


def test_a_bad_value_is_named_with_its_place_for_every_item_of_that_node():
    told = {node: exit_facts(node) for node in ADDRESSES}
    told["pve2"]["jobs"] = {"100-0": 5}
    observed = {"nodes": {node: {} for node in ADDRESSES}, "silent": []}
    checklist_exit.attach(observed, told, {})
    for row in checklist.checklist(LAYOUT, observed, items=list(checklist_exit.ITEMS)):
        assert row["seen"] == "pve2: its answer cannot be used: jobs.100-0: 5; allowed: a mapping", row


def test_an_error_without_a_text_and_an_ssh_without_an_address_are_told():
    told = {node: exit_facts(node) for node in ADDRESSES}
    told["pve1"]["jobs"]["100-0"]["state"] = " "
    told["pve2"]["ssh"]["pve1"]["connection"] = None
    observed = {"nodes": {node: {} for node in ADDRESSES}, "silent": []}
    checklist_exit.attach(observed, told, {})
    items = {
        row["item"]: row["seen"]
        for row in checklist.checklist(LAYOUT, observed, items=list(checklist_exit.ITEMS))
    }
    assert items["replication"] == "pve1: job 100-0 to pve2: no text"
    assert items["PVE's ssh"] == "pve2: to pve1 arrives at None, not at 198.51.100.10"
