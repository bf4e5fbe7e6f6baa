"""Parts of a cluster that were quorate apart: refused, saved first, and what was lost is told."""

import pytest
from _sequence_world import run, step_calls, world
from pve_corosync.cluster import halves

INDEXES = {
    "pve1": {"version": 90, "mtime": 5, "files": {"qemu-server/1.conf": "a", "new": "x", "priv/lock/a": "1"}},
    "pve2": {
        "version": 80,
        "mtime": 9,
        "files": {"qemu-server/1.conf": "b", "only": "y", "nodes/b/lrm_status": "2"},
    },
}


def apart(force=(), unsaved=()):
    """The world of a cut vRack where `pvecm expected 1` was used on both sides."""
    ports = world()
    ports.request.force = list(force)
    gather = ports.gather

    def gathered():
        observed, findings = gather()
        for name, facts in observed["nodes"].items():
            if len(facts["quorum"]["members"]) == 1:
                facts["quorum"]["quorate"] = True
                facts["database"] = INDEXES[name]
        return observed, findings

    def save(name, txn):
        return "no space left" if name in unsaved else INDEXES[name] | {"folder": f"/halves/{txn}"}

    ports.gather, ports._save = gathered, save
    return ports


def test_two_quorate_halves_are_refused_and_their_difference_is_told():
    ports = apart()
    report = run(ports)
    assert (report["result"], ports.calls) == ("refused", [])
    (item,) = [item for item in report["findings"] if item["code"] == "quorate-halves"]
    assert item["severity"] == "error" and item["forceable"]
    assert item["data"]["survivor"] == "pve1"
    assert item["data"]["lost"] == {"pve2": ["only", "qemu-server/1.conf"]}
    assert report["verdict"]["kind"] == "halves" and "quorate-halves" in report["verdict"]["command"]


def test_a_force_saves_first_and_names_what_was_lost():
    ports = apart(force=["quorate-halves"])
    report = run(ports)
    assert report["result"] == "reached", report
    assert ports.calls[0][0] == "pmxcfs.save" and ports.calls[0][1] == ["pve1", "pve2"]
    (item,) = [item for item in report["findings"] if item["code"] == "halves-lost"]
    assert item["data"]["files"] == ["only", "qemu-server/1.conf"]
    assert item["data"]["folder"].startswith("/halves/") and "/halves/" in item["remedy"]


def test_a_node_that_cannot_save_keeps_the_halves_apart():
    ports = apart(force=["quorate-halves"], unsaved=["pve2"])
    report = run(ports)
    assert report["result"] == "failed" and step_calls(ports) == []
    assert "halves-unsaved" in [item["code"] for item in report["findings"]]
    assert "corosync.stage" not in [call[0] for call in ports.calls]


@pytest.mark.parametrize(
    "one, two, wanted",
    [((9, 1), (8, 5), "pve1"), ((8, 1), (8, 5), "pve2"), ((8, 5), (8, 5), "pve1"), ((7, 9), (8, 0), "pve2")],
)
def test_who_leads_as_pmxcfs_chooses(one, two, wanted):
    """dcdb_select_leader: version, then time, then the first in the order of nodeids."""
    indexes = {
        name: {"version": version, "mtime": mtime, "files": {}}
        for name, (version, mtime) in (("pve2", two), ("pve1", one))
    }
    assert halves.leader(indexes, {"pve1": 1, "pve2": 2}) == wanted
