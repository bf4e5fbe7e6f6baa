"""ports.lock: one run at a time on a cluster; work that nobody typed gives way to what an operator types."""

import json
import os
import threading

import pytest
from pve_corosync import arguments
from pve_corosync.ports import lock
from pve_corosync.ports.master import Master, Site


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Returns sites of the same cluster on the same master, as two processes have them."""

    def one(jid):
        made = object.__new__(Site)
        made.master = Master({"cachedir": str(tmp_path)}, *[None] * 5, jid)
        made.name = "prod"
        return made

    monkeypatch.setattr(lock, "GIVE_WAY_S", 5)
    return one


def test_a_run_of_an_operator_is_not_given_way_to(site):
    with site("1").lock():
        with pytest.raises(arguments.RunError, match="another run is under way: job 1"):
            with site("2").lock():
                pytest.fail("it is held")
    assert not os.path.exists(os.path.join(site("1").folder(), lock.WANTED))


def test_work_that_gives_way_hears_of_the_operator_and_the_lock_is_his(site):
    begun, heard = threading.Event(), []

    def rebuild():
        asked = site("1")
        with asked.lock(gives_way=True):
            assert not asked.master.gives_way()
            begun.set()
            for _ in range(200):
                if asked.master.gives_way():
                    heard.append(True)
                    return
                threading.Event().wait(0.02)

    thread = threading.Thread(target=rebuild)
    thread.start()
    begun.wait(5)
    operator = site("2")
    with operator.lock():
        assert heard and not operator.master.gives_way()
        with open(os.path.join(operator.folder(), lock.FILE), encoding="utf-8") as file:
            assert json.load(file)["jid"] == "2"
    thread.join()
    assert not os.path.exists(os.path.join(operator.folder(), lock.WANTED))


def test_work_that_gives_way_takes_the_lock_from_nobody(site):
    with site("1").lock(gives_way=True):
        with pytest.raises(arguments.RunError, match="job 1"):
            with site("2").lock(gives_way=True):
                pytest.fail("it is held")


def test_work_that_does_not_end_in_time_is_told_as_under_way(site, monkeypatch):
    monkeypatch.setattr(lock, "GIVE_WAY_S", 0.5)
    with site("1").lock(gives_way=True):
        with pytest.raises(arguments.RunError, match="job 1"):
            with site("2").lock():
                pytest.fail("it is held")


def test_a_call_from_long_ago_is_none(site):
    with site("1").lock():
        path = os.path.join(site("1").folder(), lock.WANTED)
    with open(path, "w", encoding="ascii"):
        os.utime(path, (1, 1))
    asked = site("2")
    with asked.lock(gives_way=True):
        assert not asked.master.gives_way()
