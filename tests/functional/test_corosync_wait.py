"""corosync.wait: what a step waits for, and corosync.reload by hand."""

import json
import threading

import pytest
from _corosync_world import Node
from salt.exceptions import SaltInvocationError


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def test_etc_pve_is_looked_at_once_where_nobody_waits_for_it(node):
    node.daemon(quorate=False)
    told = node.salt["corosync.wait"](quorate=True, deadline=1)
    assert told["missing"] == ["not quorate"] and told["seen"]["writable"] is True
    assert len(node.calls("corosync-quorumtool")) > 1
    assert len(node.calls("stat ")) == 1
    assert node.salt["corosync.wait"](writable=True, deadline=1)["ok"]
    assert len(node.calls("stat ")) == 2


def test_a_hung_etc_pve_does_not_hide_quorum(node):
    node.tool("stat", "exec sleep 60")
    told = node.salt["corosync.wait"](version=5, quorate=True, deadline=10)
    assert told["ok"] and told["seen"]["writable"] is False
    assert told["seconds"]["quorate"] < 3


def test_a_step_waits_until_a_write_goes_through(node, monkeypatch):
    """Quorum is back, the mode bit says writable, and pmxcfs joins its group again: EBUSY (pve-real.md)."""
    flag = node.refuse_writes(monkeypatch)
    told = node.salt["corosync.wait"](writable=True, quorate=True, deadline=0.2)
    assert not told["ok"] and told["seen"]["writable"] is False and "EBUSY" in told["missing"][0]
    assert "writable" not in told["seconds"] and "quorate" in told["seconds"]
    timer = threading.Timer(0.5, flag.unlink)
    timer.start()
    told = node.salt["corosync.wait"](writable=True, quorate=True, deadline=20)
    assert told["ok"] and told["seen"]["writable"] is True and not flag.exists()


def test_what_is_wrong_with_etc_pve_is_named(node):
    node.mount(writable=False)
    assert node.salt["corosync.wait"](writable=True, deadline=0)["missing"] == [
        "/etc/pve is read-only: this partition is not quorate"
    ]
    node.tool("stat", "echo 'stat: No such file or directory' >&2; exit 1")
    assert "/etc/pve is not mounted" in node.salt["corosync.wait"](writable=True, deadline=0)["missing"][0]
    node.tool("stat", "exec sleep 60")
    assert "pmxcfs hangs" in node.salt["corosync.wait"](writable=True, deadline=0)["missing"][0]


def test_wait_and_reload_by_hand(node):
    told = node.salt["corosync.wait"](
        version="5", connected={"0": ["pve2"]}, quorate=True, writable=True, deadline=1
    )
    assert told["ok"] and set(told["seconds"]) == {"version", "connected", "quorate", "writable"}
    told = node.salt["corosync.wait"](version=6, deadline=0)
    assert told["missing"] == ["runtime at version 5, version 6 wanted"]
    assert node.salt["corosync.wait"](connected={3: ["pve2"]}, deadline=0)["missing"] == [
        "link 3 to pve2 not configured in the running daemon"
    ]
    with pytest.raises(SaltInvocationError, match="version='six'; allowed: a whole number"):
        node.salt["corosync.wait"](version="six")
    assert node.salt["corosync.reload"]()["accepted"]
    node.daemon(running=False)
    told = node.salt["corosync.reload"]()
    assert (told["accepted"], told["refused"], told["running"]) == (False, False, False)
    assert json.dumps(told)
