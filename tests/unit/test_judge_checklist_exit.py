"""judge.checklist_exit: each item beyond corosync, true and broken."""

import copy

import pytest
from pve_corosync.judge import checklist, checklist_exit

ADDRESSES = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}
LAYOUT = {
    "name": "degraded",
    "cluster_name": "prod",
    "nodes": {"pve1": {"nodeid": 1, "minion": "pve1"}, "pve2": {"nodeid": 2, "minion": "pve2"}},
    "links": {0: {"network": "public", "addresses": ADDRESSES, "options": {}}},
    "primary": {"network": "public", "addresses": ADDRESSES},
}
JOB = {"enabled": True, "target": "pve2", "state": "OK", "fail_count": 0, "last_sync": "2026-11-23_14:50:50"}


def exit_facts(node):
    peer = "pve2" if node == "pve1" else "pve1"
    known = {
        name: {"present": True, "ok": True, "fingerprints": [f"key of {name}"], "why": ""}
        for name in ADDRESSES
    }
    return {
        "node": node,
        "resolved": {name: [address] for name, address in ADDRESSES.items()},
        "certificates": {"problems": [], "host_key": {"fingerprint": f"key of {node}"}, "known_hosts": known},
        "jobs": {"100-0": dict(JOB)} if node == "pve1" else {},
        "ha": {
            "facts": {"configured": True, "lrm": "active", "crm": "active", "state": "armed"},
            "status": {"fencing": "armed"},
        },
        "migration": {"set": {}, "networks": {}, "problems": []},
        "services": "",
        "ssh": {
            peer: {"ok": True, "connection": {"from": ADDRESSES[node], "to": ADDRESSES[peer]}, "error": ""}
        },
        "problems": {},
    }


def table(change=None, errors=None):
    told = {node: exit_facts(node) for node in ADDRESSES}
    if change:
        change(told)
    told = {node: row for node, row in told.items() if node not in (errors or {})}
    observed = {"nodes": {node: {} for node in ADDRESSES}, "silent": []}
    checklist_exit.attach(observed, copy.deepcopy(told), errors or {})
    rows = checklist.checklist(LAYOUT, observed, items=list(checklist_exit.ITEMS))
    return {row["item"]: row for row in rows}


def failing(rows):
    return sorted(name for name, row in rows.items() if not row["ok"])


def test_a_healthy_cluster_passes_every_item():
    assert failing(table()) == []


def put(value, *keys):
    def change(told):
        row = told
        for key in keys[:-1]:
            row = row[key]
        row[keys[-1]] = value

    return change


BROKEN = [
    ("names", put(["10.66.0.2"], "pve1", "resolved", "pve2"), "pve1: pve2 is 10.66.0.2, not 203.0.113.20"),
    ("names", put([], "pve1", "resolved", "pve2"), "pve2 is unknown"),
    ("names", put(["127.0.1.1", "10.66.0.2"], "pve2", "resolved", "pve2"), "not 203.0.113.20"),
    (
        "PVE's ssh",
        put({"from": "x", "to": "10.66.0.2"}, "pve1", "ssh", "pve2", "connection"),
        "arrives at 10.66.0.2",
    ),
    ("PVE's ssh", put({"ok": False, "error": "timed out"}, "pve1", "ssh", "pve2"), "to pve2: timed out"),
    ("replication", put("command failed: exit code 255", "pve1", "jobs", "100-0", "state"), "exit code 255"),
    ("replication", put(2, "pve1", "jobs", "100-0", "fail_count"), "failed 2 times"),
    ("replication", put(None, "pve1", "jobs", "100-0", "last_sync"), "has never run"),
    ("certificates", put(["certificate: it ended"], "pve2", "certificates", "problems"), "pve2: it ended"),
    (
        "known hosts",
        put("other", "pve2", "certificates", "host_key", "fingerprint"),
        "another host key of pve2",
    ),
    ("HA", put("inactive", "pve2", "ha", "facts", "lrm"), "pve2: pve-ha-lrm inactive"),
    ("HA", put("disarmed", "pve1", "ha", "status", "fencing"), "fencing disarmed"),
    (
        "migration network",
        put(
            [{"code": "datacenter-network-none", "text": "192.0.2.0/24 matches none"}],
            "pve1",
            "migration",
            "problems",
        ),
        "192.0.2.0/24",
    ),
    ("services", put("pve-firewall is older", "pve1", "services"), "pve1: pve-firewall is older"),
]


@pytest.mark.parametrize("item, change, words", BROKEN)
def test_each_item_is_found_when_it_is_broken(item, change, words):
    rows = table(change)
    assert failing(rows) == [item]
    assert words in rows[item]["seen"]


def test_a_job_that_is_disabled_or_runs_now_is_no_open_item():
    assert failing(table(put(False, "pve1", "jobs", "100-0", "enabled"))) == []
    rows = table(put("SYNCING", "pve1", "jobs", "100-0", "state"))
    assert failing(rows) == []
    assert rows["replication"]["seen"] == "still running: job 100-0 from pve1 to pve2"


def test_a_job_that_runs_after_failures_is_open():
    def change(told):
        told["pve1"]["jobs"]["100-0"] |= {"state": "SYNCING", "fail_count": 2}

    rows = table(change)
    assert failing(rows) == ["replication"]
    assert "still running, after 2 failures" in rows["replication"]["seen"]


def test_ha_without_resources_needs_no_daemons():
    def change(told):
        for row in told.values():
            row["ha"]["facts"] |= {"configured": False, "lrm": "inactive", "crm": "inactive"}
            row["ha"]["status"] = None

    assert failing(table(change)) == []


def test_a_migration_network_off_the_primary_one_is_shown_and_bearable():
    network = {"10.66.0.0/24": {"used_by": "migration", "addresses": ["10.66.0.1"]}}
    row = table(put(network, "pve1", "migration", "networks"))["migration network"]
    assert row["ok"] and "leads pve1 to 10.66.0.1" in row["seen"]


def test_a_part_that_could_not_be_read_is_open_with_its_reason():
    def change(told):
        told["pve1"]["jobs"] = None
        told["pve1"]["problems"] = {"jobs": "pvesr status needs quorum"}

    rows = table(change)
    assert failing(rows) == ["replication"] and "needs quorum" in rows["replication"]["seen"]


def test_a_node_that_told_nothing_fails_every_item():
    rows = table(errors={"pve2": "no answer within the time"})
    assert failing(rows) == sorted(checklist_exit.ITEMS)
    assert "pve2: no answer within the time" in rows["HA"]["seen"]
