"""ports.master: the cluster's lock on the master, the journal and progress of a run."""

import copy
import fcntl
import io
import json
import os
import pathlib
import signal
import sys
import threading

import pytest
from pve_corosync import arguments
from pve_corosync.judge import status
from pve_corosync.pillar import layouts
from pve_corosync.ports import lock, salt_master
from pve_corosync.ports import master as port_master
from salt.exceptions import SaltClientError, SaltReqTimeoutError


def site(path, jid="20261125"):
    return port_master.Site(master_of(path, jid=jid), None, None)


def master_of(path, jid="20261125", **more):
    pillar = {"corosync": {"cluster_name": "prod", "nodes": {"pve1": {}}}} | more
    return port_master.Master(
        {"cachedir": str(path)},
        client=None,
        bus=None,
        accepted=lambda target, kind: {"pve1"},
        pillar=lambda minion: pillar,
        fire=lambda data, tag: None,
        jid=jid,
    )


def test_a_part_of_the_pillar_that_failed_is_told_first_where_the_key_is_wrong(tmp_path):
    """What is missing in the key is likely to be there: a run names it, and so does the status."""
    master = master_of(tmp_path, _errors=["Rendering SLS 'nodes' failed"])
    with pytest.raises(layouts.LayoutError) as error:
        port_master.request(master, None, "live", None, None, None)
    codes = [item["code"] for item in error.value.findings]
    assert codes[0] == "pillar-render" and len(codes) > 1
    seen = {"nodes": {}, "silent": ["pve1"]}
    found = port_master.Site(master, None, None)
    report = status.judge("prod", found.pillar, seen, found.findings)
    assert "wrong, so nothing can be planned: pillar of pve1: Rendering" in report["summary"]
    assert report["verdict"]["command"] == "correct it; salt-run pillar.show_pillar pve1"


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
    assert lock.idle(one.folder()) and one.see() == (facts, [])
    with one.lock():
        pathlib.Path(one.folder(), "7.jsonl").touch()
        assert not lock.idle(one.folder()) and one.see() == (facts, [])
    assert lock.idle(one.folder())
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
        pytest.raises(arguments.RunError, match="another run is under way: job 20261125"),
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


def named(path, name, jid="20261125"):
    pillar = {"corosync": {"cluster_name": name, "nodes": {"pve1": {}}}}
    made = site(path, jid).master
    made.pillar = lambda minion: pillar
    return port_master.Site(made, None, None)


def test_two_clusters_of_like_names_do_not_keep_each_other_out(tmp_path):
    with named(tmp_path, "a.b").lock(), named(tmp_path, "a_b", "20261126").lock():
        pass


def before_now(path, cluster, jid):
    """A run of a version that had one folder for `a.b` and `a_b`; returns its lock, held."""
    (path / "pve-corosync/a_b").mkdir(parents=True, exist_ok=True)
    (path / f"pve-corosync/a_b/{jid}.jsonl").write_text('{"cluster": "%s"}\n' % cluster)
    lock = open(path / "pve-corosync/a_b/lock", "w", encoding="utf-8")
    lock.write('{"jid": "%s", "pid": 1, "start": 1}' % jid)
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_a_run_of_the_version_before_keeps_its_cluster_and_no_other(tmp_path):
    one, other = named(tmp_path, "a.b"), named(tmp_path, "a b")
    one.gather = lambda: ({"nodes": {"pve1": {"busy": {"txn": "7"}}}}, [])
    with before_now(tmp_path, "a.b", "7"):
        with other.lock():
            pass
        with pytest.raises(arguments.RunError, match="another run is under way: job 7"), one.lock():
            raise AssertionError("two runs at once")
        assert one.see()[0]["nodes"]["pve1"]["busy"], "a live run's lock is none of a dead one"
    with one.lock():
        assert one.earlier_runs() == {"7", "7-again"}, "its journal came along"
    assert one.see()[0]["nodes"]["pve1"]["busy"] is None


def test_a_master_that_is_killed_ends_no_run_and_the_journal_has_the_report(tmp_path, capsys):
    ours = site(tmp_path)
    with ours.lock():
        ports = port_master.Ports(ours, True)

        def gone(_data, _tag):
            raise OSError("Stream is closed")

        ours.master.fire = gone
        ports.note("begun")
        ports.note("ended", findings=[{"code": "step-failed"}])
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("cannot be reached") == 1
    assert f"it is in the journal: salt-run corosync.journal jid={ports.jid}" in said
    rows = [json.loads(line) for line in pathlib.Path(ports.path).read_text().splitlines()]
    assert [row["event"] for row in rows] == ["begun", "ended"] and rows[1]["findings"]


@pytest.mark.parametrize(
    "error", [SaltClientError("no answer"), SaltReqTimeoutError("timed out"), OSError("Stream is closed")]
)
def test_a_master_that_cannot_be_reached_is_a_finding_and_no_traceback(error):
    def work():
        raise error

    context = {}
    report = salt_master.guarded("apply", {}, (), False, work, context)
    assert (report["retcode"], context["retcode"]) == (1, 1)
    assert report["findings"][0]["code"] == "master-failed" and str(error) in report["findings"][0]["text"]


def test_where_a_run_came_from_is_in_the_journal_of_one_that_ended_half_way(tmp_path):
    ours = site(tmp_path)
    with ours.lock():
        ports = port_master.Ports(ours, False)
        assert ports.came_from() == []
        earlier = pathlib.Path(ports.path).with_name("20261124.jsonl")
        rows = [{"event": "begun"}, {"event": "planned", "origin": ["degraded"]}]
        earlier.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert ports.came_from() == ["degraded"], "it was killed"
        rows += [{"event": "ended", "result": "reached"}]
        earlier.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert ports.came_from() == []
