"""ports.master: the cluster's lock on the master, the journal and progress of a run."""

import copy
import fcntl
import io
import os
import pathlib
import signal
import sys
import threading

import pytest
from pve_corosync.ports import master as port_master
from pve_corosync.run import outcomes


def site(path, jid="20261125"):
    pillar = {"corosync": {"cluster_name": "prod", "nodes": {"pve1": {}}}}
    master = port_master.Master(
        {"cachedir": str(path)},
        client=None,
        bus=None,
        accepted=lambda target, kind: {"pve1"},
        pillar=lambda minion: pillar,
        fire=lambda data, tag: None,
        jid=jid,
    )
    return port_master.Site(master, None, None)


def test_a_hangup_does_not_end_a_run(tmp_path):
    told = []
    before = signal.signal(signal.SIGHUP, lambda *_: told.append("hangup"))
    try:
        with site(tmp_path).lock():
            os.kill(os.getpid(), signal.SIGHUP)
        assert told == []
        os.kill(os.getpid(), signal.SIGHUP)
        assert told == ["hangup"], "the handler is back"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_lock_is_taken_in_a_thread_too(tmp_path):
    told = []

    def work():
        with site(tmp_path).lock():
            told.append("locked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert told == ["locked"]


def test_whoever_looks_sees_the_lock_of_a_live_run_and_not_that_of_a_dead_one(tmp_path):
    """A look at the lock neither keeps a run out nor makes one of a run's death."""
    one = site(tmp_path)
    facts = {"nodes": {"pve1": {"busy": {"txn": "7"}}, "pve2": {"busy": {"txn": "of another master"}}}}
    one.gather = lambda: (copy.deepcopy(facts), [])
    assert port_master.idle(one.folder()) and one.see() == (facts, [])
    with one.lock():
        pathlib.Path(one.folder(), "7.jsonl").touch()
        assert not port_master.idle(one.folder()) and one.see() == (facts, [])
    assert port_master.idle(one.folder())
    observed, (row,) = one.see()
    assert (row["code"], row["severity"]) == ("run-dead", "info") and "run 7 is dead" in row["text"]
    assert [row["busy"] for row in observed["nodes"].values()] == [None, {"txn": "of another master"}]
    with open(os.path.join(one.folder(), "lock"), encoding="utf-8") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.15, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        with one.lock():
            timer.join()


def test_a_second_run_is_refused(tmp_path):
    with (
        site(tmp_path).lock(),
        pytest.raises(outcomes.RunError, match="another run is under way: job 20261125"),
    ):
        with site(tmp_path, "20261126").lock():
            raise AssertionError("two runs at once")


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("closed", [False, True])
def test_progress_to_a_terminal_that_is_gone_ends_nothing(tmp_path, monkeypatch, closed):
    gone = io.StringIO() if closed else Gone()
    if closed:
        gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    ports = port_master.Ports(site(tmp_path), True)
    ports.say("step 1")
    ports.say("step 2")
    assert ports.progress is False


def test_the_runs_with_a_journal_here_are_over(tmp_path):
    ours = site(tmp_path)
    with ours.lock():
        ports = port_master.Ports(ours, False)
        ports.note("begun")
        assert ports.over == frozenset()
        for name in ("20261123.jsonl", "notes.txt"):
            with open(os.path.join(ours.folder(), name), "w", encoding="utf-8"):
                pass
        assert ports.over == {"20261123", "20261123-again"}
