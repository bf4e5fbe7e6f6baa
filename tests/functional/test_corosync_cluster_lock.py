"""The lock of the cluster, between nodes that each work on the links by themselves."""

import os
import time

import pytest
from pve_corosync.node import etc_pve_lock, locks

LOCK = etc_pve_lock.LOCK


def test_the_lock_is_one_for_all_and_named(tmp_path):
    (tmp_path / "priv/lock").mkdir(parents=True)
    first = etc_pve_lock.take({"node": "pve1"}, tmp_path)
    assert first["taken"]
    assert etc_pve_lock.take({"node": "pve2"}, tmp_path) == {"taken": False, "holder": {"node": "pve1"}}
    os.utime(tmp_path / LOCK, (first["mtime"], first["mtime"]))  # a plain directory has no rule for time 0
    assert etc_pve_lock.renew(first["mtime"], tmp_path)["held"]
    later = first["mtime"] + 60
    os.utime(tmp_path / LOCK, (later, later))
    assert etc_pve_lock.renew(first["mtime"], tmp_path)["held"] is False, "somebody else has renewed it"
    etc_pve_lock.drop(tmp_path)
    assert etc_pve_lock.renew(first["mtime"], tmp_path)["held"] is False
    assert list((tmp_path / "priv/lock").iterdir()) == [] and etc_pve_lock.read_holder(tmp_path) is None
    assert etc_pve_lock.drop(tmp_path) == {"dropped": True}


def test_a_lock_that_went_to_somebody_else_is_lost_and_left_alone(pair, monkeypatch):
    monkeypatch.setattr(etc_pve_lock, "RENEW_S", 0.1)
    with locks.Lock({"node": "pve1", "run": "r"}, 1, str(pair.one.root)) as lock:
        assert not lock.lost()
        later = time.time() + 60
        os.utime(pair.one.pve / LOCK, (later, later))
        end = time.monotonic() + 5
        while not lock.lost() and time.monotonic() < end:
            time.sleep(0.05)
        assert lock.lost()
    assert (pair.one.pve / LOCK).exists()


def test_without_etc_pve_there_is_no_lock(pair):
    (pair.one.pve / "local").unlink()
    with pytest.raises(locks.LockError, match="not mounted"):
        with locks.Lock({"node": "pve1"}, 1, str(pair.one.root)):
            pytest.fail("nothing may be done without the lock")
    with pytest.raises(locks.LockError, match="not mounted"):
        locks.Lock({}, 0, str(pair.one.root))._ask({"do": "drop"})
