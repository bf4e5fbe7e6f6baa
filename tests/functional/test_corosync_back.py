"""The way back that a node keeps ready: the timer, the pillar that it goes by, and what it does."""

import errno
import json
import subprocess
import threading
import time

import pytest
from _corosync_world import PUBLIC, VRACK, conf
from _pve_world import put
from _two_nodes import INTERFACES, PILLAR, parsed
from pve_corosync import conf as corosync_conf
from pve_corosync.node import etc_pve_lock
from salt.exceptions import CommandExecutionError

ARGS = {"layout": "nominal", "pillar": PILLAR, "quiet": 40.0}


@pytest.fixture
def armed(pair):
    pair.one.tool("systemd-run", "exit 0")
    pair.one.tool("systemctl", "exit 0")
    assert pair.call("corosync.arm_back", "run1", **ARGS) is True
    return pair


def record(pair):
    path = pair.one.root / "var/lib/pve-corosync/back.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_the_timer_starts_salt_call_with_the_pillar_of_the_run(armed):
    (line,) = armed.one.calls("systemd-run ")
    folder = armed.one.root / "var/lib/pve-corosync/back-pillar"
    for word in (
        "--unit=pve-corosync-back",
        "--on-active=40",
        "--timer-property=AccuracySec=1s",
        "--local",
        f"--pillar-root={folder}",
        "corosync.go_back run1",
    ):
        assert word in line
    head, _, text = (folder / "layout.sls").read_text().partition("\n")
    assert head == "#!json" and json.loads(text) == json.loads(json.dumps({"corosync": PILLAR}))
    assert (folder / "layout.sls").stat().st_mode & 0o077 == 0
    assert record(armed)["quorate"] is True


def test_a_finished_run_goes_back_no_more(armed):
    armed.call("corosync.finish", "run2")
    assert record(armed)["txn"] == "run1", "another run's way back stays"
    armed.call("corosync.finish", "run1")
    assert record(armed) is None
    assert "pve-corosync-back.timer" in armed.one.calls("systemctl stop")[0]
    assert armed.call("corosync.go_back", "run1") is None


def test_a_new_run_takes_the_place_of_the_way_back(armed):
    assert armed.call("corosync.stage", "run2", [])["back"] == ""
    assert record(armed) is None
    assert armed.call("corosync.stage", "run2", [], back=ARGS)["back"] == ""
    assert record(armed)["txn"] == "run2"


def test_a_timer_that_cannot_be_set_is_told(pair):
    pair.one.tool("systemd-run", "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(CommandExecutionError, match="Failed to connect to bus"):
        pair.call("corosync.arm_back", "run1", **ARGS)
    assert record(pair) is None
    told = pair.call("corosync.stage", "run1", [], back=ARGS)
    assert told["ok"] and "Failed to connect to bus" in told["back"]


def test_without_a_confirmation_the_node_goes_back(armed):
    armed.call("corosync.finish", "run1", confirm=30)
    assert "--on-active=30" in armed.one.calls("systemd-run ")[-1]
    assert 25 < record(armed)["due"] - time.time() <= 30
    assert armed.call("corosync.disarm_back") == "nominal" and record(armed) is None
    assert armed.call("corosync.disarm_back") is None


def test_a_lost_run_is_taken_over_and_gone_back_from(armed):
    """The lock of the dead run stays on the node; the layout before is the one that is in force."""
    armed.call(
        "corosync.stage", "run1", [{"number": 1, "act": "local", "version": 6, "conf": conf(6)}], back=ARGS
    )
    path = armed.one.root / "var/lib/pve-corosync/back.json"
    path.write_text(json.dumps(record(armed) | {"due": time.time() - 1}))
    told = armed.call("corosync.go_back", "run1")
    assert (told["result"], told["layout"]) == ("already", "nominal"), told
    assert record(armed) is None
    assert armed.one.local.read_text() == conf(5, extra=INTERFACES)


def dead_lock(pair):
    """Leave PVE's lock of the cluster file, taken just now by a process of this node that was killed."""
    dead = subprocess.Popen(["true"])
    by = etc_pve_lock.me(dead.pid)
    dead.wait()
    lock = pair.one.pve / "priv/lock" / etc_pve_lock.CONF_LOCK
    lock.mkdir(parents=True)
    told = {"by": by, "state": "held", "asked": time.time() - 1, "mtime": int(lock.stat().st_mtime)}
    name = f"var/lib/pve-corosync/locks/{etc_pve_lock.CONF_LOCK}.{dead.pid}.json"
    return lock, pair.one.file(name, json.dumps(told))


def test_the_way_back_gives_back_the_lock_that_the_lost_run_left(armed):
    """Its own writer was killed under PVE's lock, which lasts for two minutes; the way back needs it."""
    gone_to = conf(6, {0: PUBLIC}, INTERFACES)
    for node in armed.both:
        node.local.write_text(gone_to)
        node.cluster.write_text(gone_to)
        node.daemon(**dict(zip(("version", "nodes"), parsed(gone_to))))
    armed.call("corosync.stage", "run1", [], back=ARGS | {"confirm": True})
    path = armed.one.root / "var/lib/pve-corosync/back.json"
    path.write_text(json.dumps(record(armed) | {"due": time.time() - 1}))
    lock, note = dead_lock(armed)
    with armed.pmxcfs():
        told = armed.call("corosync.go_back", "run1")
    assert (told["result"], told["layout"]) == ("reached", "nominal"), told["summary"]
    assert not lock.exists() and not note.exists() and record(armed) is None
    (text,) = armed.texts()
    links = corosync_conf.parse(text).links()
    assert {number: link["addresses"] for number, link in links.items()} == {0: VRACK}


def test_the_way_back_of_a_run_that_cost_the_quorum_gives_the_lock_back_when_it_can(armed, monkeypatch):
    """Under the lock the quorum was lost: it cannot be given back before the way back has brought quorum."""
    gone_to = conf(6, {0: PUBLIC}, INTERFACES)
    armed.call("corosync.stage", "run1", [], back=ARGS | {"quiet": 0.1})
    for node in armed.both:
        node.local.write_text(gone_to)
        node.cluster.write_text(gone_to)
        node.daemon(**dict(zip(("version", "nodes"), parsed(gone_to))))
    lock, note = dead_lock(armed)
    armed.quorum(False, dead=[0])
    refusing, seen = armed.one.refuse_writes(monkeypatch, errno.EACCES), []

    def peer():  # the other node goes back, too, and the vRack carries
        end = time.monotonic() + 40
        while armed.one.local.read_text() == gone_to and time.monotonic() < end:
            time.sleep(0.1)
        seen.append(lock.exists())
        text = armed.one.local.read_text()
        put(armed.two.local, text)
        armed.two.daemon(**dict(zip(("version", "nodes"), parsed(text))))
        time.sleep(1)
        refusing.unlink()
        armed.quorum(True)

    helper = threading.Thread(target=peer, daemon=True)
    helper.start()
    with armed.pmxcfs():
        told = armed.call("corosync.go_back", "run1")
    helper.join()
    assert (told["result"], told["layout"]) == ("reached", "nominal"), told["summary"]
    assert seen == [True] and not lock.exists() and not note.exists()
    (text,) = armed.texts()
    assert corosync_conf.parse(text).links()[0]["addresses"] == VRACK


def test_what_is_to_be_undone_is_noted_and_seen_by_both_nodes(pair):
    entry = {"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA again"}
    assert pair.call("corosync.facts")["undo"] is None
    assert pair.call("corosync.keep_undo", "run1", [entry]) is True
    told = pair.call("corosync.facts")["undo"]
    assert (told["txn"], told["undo"]) == ("run1", [entry])
    (pair.two.root / "var/lib/pve-corosync").mkdir(parents=True, exist_ok=True)
    (pair.two.root / "var/lib/pve-corosync/undo.json").write_text(json.dumps(told))
    assert pair.call("corosync.observe")["nodes"]["pve2"]["undo"] == told
    status = pair.call("corosync.status")
    assert "ha-left-released" in [item["code"] for item in status["findings"]] and status["retcode"] == 1
    assert pair.call("corosync.drop_undo") is True and pair.call("corosync.drop_undo") is False
