import base64
import errno
import json
import os
import subprocess
import sys

import pytest
from pve_corosync.node import etc_pve


@pytest.fixture
def base(tmp_path):
    (tmp_path / "local").symlink_to("nodes/pve1")
    return tmp_path


def replace(base, data, expected, **kwargs):
    notes = str(base.parent / f"{base.name}-notes")
    how = {"base": str(base), "notes": notes} | kwargs
    return etc_pve.replace("firewall/cluster.fw", data, expected, "firewall-cluster", **how)["changed"]


def test_create_replace_and_remove(base):
    path = base / "firewall/cluster.fw"
    assert replace(base, b"one", None) is True and path.read_bytes() == b"one"
    assert replace(base, b"one", b"other") is False  # it holds what is wanted, whoever wrote it
    assert replace(base, b"two", b"one") is True and path.read_bytes() == b"two"
    assert replace(base, None, b"two") is True and not path.exists()
    assert list((base / "firewall").iterdir()) == [] and list((base / "priv/lock").iterdir()) == []


def test_a_file_changed_by_others_stays_and_the_lock_is_given_back(base):
    replace(base, b"theirs", None)
    with pytest.raises(etc_pve.Refused, match="changed by somebody else"):
        replace(base, b"ours", b"old")
    assert (base / "firewall/cluster.fw").read_bytes() == b"theirs" and list(
        (base / "priv/lock").iterdir()
    ) == []


def test_a_held_lock_is_waited_for_and_left_alone(base):
    (base / "priv/lock/firewall-cluster").mkdir(parents=True)
    with pytest.raises(etc_pve.Refused, match="is held"):
        replace(base, b"x", None, lock_wait=0.2)
    assert (base / "priv/lock/firewall-cluster").exists() and not (base / "firewall").exists()


def test_a_lock_of_another_node_is_waited_for_where_pmxcfs_refuses_the_request_to_expire(base, monkeypatch):
    """pmxcfs answers utime on a lock that has not expired with EACCES, and names no file (contract suite)."""
    held = base / "priv/lock/firewall-cluster"
    held.mkdir(parents=True)
    asked = []

    def refused(path, times):
        asked.append((path, times))
        if len(asked) == 2:
            held.rmdir()
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "utime", refused)
    assert replace(base, b"x", None, lock_wait=5.0) is True
    assert asked == [(str(held), (0, 0))] * 2


def test_not_mounted_writes_nothing(tmp_path):
    with pytest.raises(etc_pve.Refused, match="not mounted"):
        replace(tmp_path, b"x", None)
    assert list(tmp_path.iterdir()) == []


def test_the_program_answers_in_json(base):
    def ask(data, expected=None, name="firewall/cluster.fw"):
        request = {
            "do": "replace",
            "notes": str(base.parent / f"{base.name}-notes"),
            "name": name,
            "data": base64.b64encode(data).decode(),
            "expected": expected,
            "lock": "x",
            "base": str(base),
        }
        done = subprocess.run(
            etc_pve.command(sys.executable),
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=10,
            check=True,
        )
        return json.loads(done.stdout)

    told = ask(b"one")
    assert told["ok"] and told["changed"]
    assert "somebody else" in ask(b"two")["error"]
    (base / "file").write_text("")
    assert ask(b"two", name="file/x")["ok"] is False
