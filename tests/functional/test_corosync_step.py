import ast
import fcntl
import hashlib
import stat
import threading
import time

import pytest
from _corosync_world import PUBLIC, VRACK, Node, conf, step
from _pve_world import REPO
from pve_corosync import arguments
from pve_corosync.node import etc_pve
from salt.exceptions import CommandExecutionError, SaltInvocationError

BOTH = conf(6, {0: VRACK, 2: PUBLIC})


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


@pytest.fixture
def staged(node):
    """A node on which the run ``run1`` is staged with the step that adds link 2."""
    assert node.salt["corosync.stage"]("run1", [step(1, "local", BOTH, 6)])["ok"]
    return node


def write_later(node):
    """Let another node replace the cluster file in 0.7 s; return a function that tells when it did."""
    times = []

    def work():
        times.append(time.time())
        node.cluster.write_text(BOTH)

    timer = threading.Timer(0.7, work)
    timer.start()
    return lambda: (timer.join(10), times[0])[1]


def local(number=1, text=BOTH, version=6, connected=(0, 2), **more):
    return step(number, "local", text, version, connected, **more)


# ---- stage, finish
# -------------------------------------------------------------------------------------------------


def test_stage_checks_each_file_once_and_takes_the_lock(node):
    steps = [step(1, "local", BOTH, 6), step(2, "publish", BOTH, 6), step(3, "cluster", conf(7), 7)]
    told = node.salt["corosync.stage"]("run1", steps, by="admin")
    assert told["ok"] and [check["version"] for check in told["checks"]] == [6, 7]
    assert len(node.calls("corosync -t")) == 2
    assert node.salt["corosync.facts"]()["busy"]["txn"] == "run1"
    assert node.salt["corosync.busy"]()["by"] == "admin"
    assert node.local.read_text() == conf(5)
    assert node.salt["corosync.finish"]("run1") is True
    assert node.salt["corosync.busy"]() is None
    assert node.salt["corosync.finish"]("run1") is False


def test_stage_looks_at_the_daemon_where_that_is_asked_for(node):
    told = node.salt["corosync.stage"]("run1", [local()], look=True)
    assert told["ok"] and told["look"] == node.salt["corosync_look.look"](counts=True)
    assert told["look"]["state"] == "stopped", "this machine's own: there is none"
    assert "look" not in node.salt["corosync.stage"]("run1", [local()])


def test_stage_takes_no_lock_for_a_file_that_corosync_refuses(node):
    told = node.salt["corosync.stage"]("run1", [local(), local(2, conf(7, extra="  x: REFUSED\n"), 7)])
    assert told["ok"] is False
    assert [check["ok"] for check in told["checks"]] == [True, False]
    assert "Missing closing brace" in told["checks"][1]["text"]
    assert node.salt["corosync.busy"]() is None


def test_another_run_is_refused_until_its_lock_is_void(staged):
    with pytest.raises(CommandExecutionError, match="run run1 .by unknown, since .*corosync.finish run1"):
        staged.salt["corosync.stage"]("run2", [local()])
    with pytest.raises(CommandExecutionError, match="run1"):
        staged.salt["corosync.step"]("run2", local())
    assert staged.salt["corosync.finish"]("run2") is False
    assert staged.salt["corosync.stage"]("run1", [local()], ttl=0.1)["ok"], "its own lock is no obstacle"
    time.sleep(0.15)
    assert staged.salt["corosync.stage"]("run2", [local()])["ok"]


def test_the_lock_of_a_dead_run_is_taken_over(staged):
    again = local(2)
    assert staged.salt["corosync.stage"]("run2", [again], takes_over=["run1", "run0"])["ok"]
    assert staged.salt["corosync.busy"]()["txn"] == "run2"
    with pytest.raises(CommandExecutionError, match="run2"):
        staged.salt["corosync.step"]("run1", local())  # a call of the dead run that comes late
    with pytest.raises(CommandExecutionError, match="run2"):
        staged.salt["corosync.stage"]("run3", [again], takes_over=["run1"])
    assert staged.salt["corosync.step"]("run2", again)["ok"]


def test_a_dead_run_is_put_an_end_to_without_a_step(staged):
    """Its lock is taken and given back before anything is planned; its calls that come late are refused."""
    assert staged.salt["corosync.stage"]("run2", [], takes_over=["run1"])["checks"] == []
    assert staged.salt["corosync.finish"]("run2") is True and staged.salt["corosync.busy"]() is None
    with pytest.raises(CommandExecutionError, match="run1"):
        staged.salt["corosync.step"]("run1", local())
    assert staged.local.read_text() == conf(5)


def test_a_step_of_a_dead_run_is_waited_for_before_its_lock_is_taken(staged):
    staged.daemon(dead_links=[2])
    told = []
    thread = threading.Thread(target=lambda: told.append(staged.salt["corosync.step"]("run1", local())))
    staged.salt["corosync.busy"]()
    thread.start()
    while not staged.calls("corosync-cfgtool"):
        time.sleep(0.02)
    timer = threading.Timer(0.5, lambda: staged.daemon(dead_links=[]))
    timer.start()
    assert staged.salt["corosync.stage"]("run2", [local(2)], takes_over=["run1"])["ok"]
    thread.join(10)
    timer.join(10)
    assert told and told[0]["ok"], "it ended, and wrote no more after the lock was taken"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda salt: salt["corosync.stage"]("r", None), "steps=None; allowed: a list"),
        (lambda salt: salt["corosync.stage"]("r", [local()], ttl="long"), "ttl='long'; allowed: seconds"),
        (
            lambda salt: salt["corosync.stage"]("r", [local()], takes_over="run1"),
            "takes_over='run1'; allowed: a list",
        ),
        (lambda salt: salt["corosync.step"]("r", local(deadline_s="x")), "deadline_s 'x': seconds"),
        (lambda salt: salt["corosync.wait"](deadline="abc"), "deadline='abc'; allowed: seconds"),
        (lambda salt: salt["corosync.wait"](gone=3), "gone=3; allowed: a list"),
        (lambda salt: salt["corosync.reload"]("abc"), "timeout='abc'; allowed: seconds"),
        (lambda salt: salt["corosync.facts"](timeout="abc"), "timeout='abc'; allowed: seconds"),
        (lambda salt: salt["pmxcfs.wait_writable"]("abc"), "timeout='abc'; allowed: seconds"),
        (lambda salt: salt["pmxcfs.write_conf"](BOTH, wait="abc"), "wait='abc'; allowed: seconds"),
    ],
)
def test_bad_numbers_and_lists_are_named(node, call, words):
    with pytest.raises(SaltInvocationError, match=words):
        call(node.salt)
    assert node.calls() == [] and node.local.read_text() == conf(5)


@pytest.mark.parametrize(
    ("txn", "entry", "words"),
    [
        ("../x", local(), "txn '../x'"),
        ("", local(), "txn=''; allowed"),
        ("r", "no step", "a mapping"),
        ("r", {"number": 1}, "no 'act'; step has no 'version'; step has no 'conf'"),
        ("r", local() | {"act": "format"}, "allowed are local, publish, cluster, restart"),
        ("r", local(number="one"), "number 'one'"),
        ("r", local(version=7), "version 7, but totem.config_version of its conf is 6"),
        ("r", local(text="totem {", version=7), "of its conf is None"),
        ("r", local(text="€"), "latin-1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_done(node, txn, entry, words):
    for call in (
        lambda: node.salt["corosync.stage"](txn, [entry]),
        lambda: node.salt["corosync.step"](txn, entry),
    ):
        with pytest.raises(SaltInvocationError, match=words):
            call()
    assert node.calls() == [] and node.local.read_text() == conf(5)


# ---- local
# ---------------------------------------------------------------------------------------------------------


def test_a_step_needs_its_run_staged(node):
    with pytest.raises(CommandExecutionError, match="run run1 is not staged on this node"):
        node.salt["corosync.step"]("run1", local())
    assert node.local.read_text() == conf(5) and node.salt["corosync.outcome"]("run1", 1) is None


def test_a_file_that_was_not_staged_is_checked_before_it_is_written(staged):
    with pytest.raises(CommandExecutionError, match="corosync -t refuses .*Missing closing brace"):
        staged.salt["corosync.step"]("run1", local(2, conf(7, extra="  x: REFUSED\n"), 7))
    assert staged.local.read_text() == conf(5)


def test_local_writes_reloads_and_reads_back(staged):
    told = staged.salt["corosync.step"]("run1", local(), "pve2")
    assert told["ok"] is True and told["error"] == "" and told["missing"] == [], told
    assert (told["node"], told["txn"], told["number"], told["act"]) == ("pve1", "run1", 1, "local")
    assert told["seen"] == {
        "version": 6,
        "connected": {0: {"pve2": True}, 2: {"pve2": True}},
        "quorate": True,
        "ring_id": "1.1e",
        "writable": True,
    }
    assert staged.local.read_text() == BOTH
    assert stat.S_IMODE(staged.local.stat().st_mode) == 0o644
    assert [backup.read_text() for backup in staged.backups] == [conf(5)]
    assert told["backups"] == [str(staged.backups[0])]
    seconds = told["seconds"]
    assert (
        seconds["write"]
        <= seconds["reload"]
        <= seconds["version"]
        <= seconds["connected"]
        <= seconds["total"]
        < 3
    )
    assert staged.cluster.read_text() == conf(5), "a local step leaves the cluster file alone"
    assert staged.salt["corosync.backups"]() == {
        "corosync.conf.local": [{"path": str(staged.backups[0]), "version": 5}],
        "corosync.conf.cluster": [],
    }


def test_a_repeated_step_returns_the_stored_outcome_and_acts_no_more(staged):
    first = staged.salt["corosync.step"]("run1", local())
    calls = staged.calls()
    assert staged.salt["corosync.step"]("run1", local()) == first
    assert staged.salt["corosync.outcome"]("run1", "1") == first
    assert staged.calls() == calls
    assert staged.salt["corosync.outcome"]("run1", 2) is None


def test_a_call_that_comes_twice_at_once_acts_once(staged):
    told = []
    threads = [
        threading.Thread(target=lambda: told.append(staged.salt["corosync.step"]("run1", local())))
        for _ in range(2)
    ]
    staged.salt["corosync.busy"]()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert told[0] == told[1] and len(staged.calls("corosync-cfgtool")) == 1


def test_whoever_asks_for_an_outcome_learns_whether_the_step_is_under_way(staged):
    outcome = staged.salt["corosync.outcome"]
    assert outcome("run1", 1, wait=5) is None, "nobody works on it: it is not waited for"
    entry = local(connected=(0, 3), deadline_s=3)
    work = threading.Thread(target=lambda: staged.salt["corosync.step"]("run1", entry))
    work.start()
    try:
        while outcome("run1", 1, wait=0.1) is None:
            time.sleep(0.05)
        assert outcome("run1", 1, wait=0.1) == {"under_way": True} and outcome("run1", 1) is None
        told = outcome("run1", 1, wait=30)
    finally:
        work.join()
    assert told["missing"] and not told["ok"]


def test_a_reload_that_passed_by_is_repeated(staged):
    staged.daemon(lost_reloads=1)
    told = staged.salt["corosync.step"]("run1", local(deadline_s=6))
    assert told["ok"], told
    assert len(staged.calls("corosync-cfgtool")) == 2


@pytest.mark.parametrize("quiet", [False, True])
def test_a_refused_file_is_taken_back(staged, quiet):
    staged.daemon(refusals=2, quiet_refusal=quiet)
    told = staged.salt["corosync.step"]("run1", local())
    assert told["ok"] is False
    assert (
        "corosync refused version 6" in told["error"] and "version 5, is back and reloaded" in told["error"]
    )
    assert staged.local.read_text() == conf(5)
    assert told["seen"]["version"] == 5
    assert len(staged.calls("corosync-cfgtool")) == 3, "the last one repairs cmap"
    assert staged.salt["corosync.outcome"]("run1", 1) == told


def test_one_refusal_is_not_final(staged):
    staged.daemon(refusals=1)
    assert staged.salt["corosync.step"]("run1", local())["ok"]


def test_a_stopped_daemon_gets_the_file_and_is_told(staged):
    staged.daemon(running=False)
    told = staged.salt["corosync.step"]("run1", local())
    assert told["ok"] is False and "systemctl start corosync" in told["error"]
    assert staged.local.read_text() == BOTH, "it must not start with the older file"


def test_what_does_not_come_is_named_at_the_deadline(staged):
    staged.daemon(dead_links=[2], quorate=False)
    staged.mount(writable=False)
    told = staged.salt["corosync.step"]("run1", local(deadline_s=1, remove=[0]))
    assert told["ok"] is False
    assert told["missing"] == [
        "link 2 to pve2 not connected",
        "link 0 is still configured in the running daemon",
        "not quorate",
        "/etc/pve is read-only: this partition is not quorate",
    ]
    assert told["error"].startswith("not seen within 1 s: link 2 to pve2")
    assert 1 <= told["seconds"]["total"] < 6
    assert "connected" not in told["seconds"] and told["seconds"]["version"] < 3
    assert staged.local.read_text() == BOTH, "the daemon runs it: it stays"


def test_pairs_of_others_and_links_that_are_not_asked_for_do_not_count(staged):
    staged.daemon(dead_links=[2])
    entry = local(connected=[0])
    entry["wait"]["connected"]["2"] = [["pve2", "pve3"]]
    assert staged.salt["corosync.step"]("run1", entry)["ok"]


@pytest.mark.parametrize("version", [6, 9])
def test_a_version_that_is_not_above_the_local_file_is_refused(staged, version):
    staged.local.write_text(conf(version))
    told = staged.salt["corosync.step"]("run1", local())
    assert told["ok"] is False and f"has version {version}" in told["error"]
    assert staged.local.read_text() == conf(version) and staged.calls("corosync-cfgtool") == []


def test_a_file_that_is_there_already_is_reloaded_and_not_backed_up(staged):
    staged.local.write_text(BOTH)
    backups = staged.backups
    assert staged.salt["corosync.step"]("run1", local())["ok"]
    assert staged.backups == backups


def test_only_the_last_twenty_backups_stay(node):
    node.salt["corosync.stage"]("run1", [local()], ttl=60)
    for version in range(6, 29):
        text = conf(version)
        assert node.salt["corosync.step"]("run1", local(version, text, version, [0]))["ok"]
    kept = node.salt["corosync.backups"]()["corosync.conf.local"]
    assert [copy["version"] for copy in kept] == list(range(8, 28))


def test_outcomes_hold_no_more_than_fifty(staged):
    folder = staged.root / "var/lib/pve-corosync/outcomes"
    folder.mkdir(parents=True)
    for number in range(60):
        (folder / f"old-{number}.json").write_text("{}")
    staged.salt["corosync.step"]("run1", local())
    assert len(list(folder.iterdir())) == 50 and (folder / "run1-1.json").exists()
    assert "the-secret" not in (folder / "run1-1.json").read_text()


# ---- cluster, publish
# ----------------------------------------------------------------------------------------------


def test_cluster_the_writer_replaces_the_cluster_file(staged):
    done = staged.distribute(reload=True)
    told = staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2]), "pve1")
    done()
    assert told["ok"] and told["notes"] == [], told
    assert staged.cluster.read_text() == BOTH == staged.local.read_text()
    assert (staged.pve / "corosync.conf.bak").read_text() == conf(5)
    assert [path.rsplit("/", 1)[1].split(".2")[0] for path in told["backups"]] == [
        "corosync.conf.local",
        "corosync.conf.cluster",
    ]
    assert (
        not (staged.pve / "corosync.conf.new").exists()
        and not (staged.pve / "priv/lock/file-corosync_conf").exists()
    )


def test_cluster_the_file_that_pmxcfs_was_faster_to_replace_is_kept(staged):
    staged.local.write_text(BOTH)
    staged.cluster.write_text(BOTH)
    assert staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2]), "pve2")["ok"]
    assert [backup.read_text() for backup in staged.backups] == [conf(5)]


def test_stage_keeps_the_local_file_once_or_refuses(node):
    for txn in ("run1", "run1"):
        assert node.salt["corosync.stage"](txn, [local()])["ok"]
    assert [backup.read_text() for backup in node.backups] == [conf(5)]
    node.salt["corosync.finish"]("run1")
    node.local.write_text(conf(4))
    for backup in node.backups:
        backup.unlink()
    folder = node.root / "var/lib/pve-corosync/backups"
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(CommandExecutionError, match="no backup of .* could be kept"):
        node.salt["corosync.stage"]("run2", [local()])
    assert node.salt["corosync.busy"]() is None


def test_what_is_late_is_told_before_the_runner_gives_up(staged):
    step_file = ast.parse((REPO / "_modules/corosync_step.py").read_text())
    bound = {
        node.targets[0].id: node.value.value
        for node in step_file.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    times = arguments.settings(None)
    assert bound["LATE_S"] + bound["AFTER_S"] < times["step_margin"] + times["outcome_patience"]

    with open(staged.root / "var/lock/pvecm.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = staged.salt["corosync.step"]("run1", step(1, "publish", BOTH, 6, deadline_s=1), "pve1")
    assert told["ok"] is False and "pvecm.lock is held" in told["error"], told

    staged.local.write_text(BOTH)
    staged.tool("systemctl", 'if [ "$1" = restart ]; then exec sleep 60; fi; echo ActiveState=active')
    told = staged.salt["corosync.step"](
        "run1", step(2, "restart", BOTH, 6, deadline_s=1), "pve1", phase="restart"
    )
    assert told["ok"] is False and "did not end within 4 s, and goes on" in told["error"], told


def test_cluster_the_others_wait_for_it(staged):
    done = staged.distribute(reload=True)
    written = write_later(staged)
    told = staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2]), "pve2")
    done()
    assert told["ok"] and told["started"] + told["seconds"]["version"] >= written(), told


def test_cluster_a_reload_that_did_not_come_is_made_up_for(staged):
    done = staged.distribute(reload=False)
    told = staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2], deadline_s=8), "pve1")
    done()
    assert told["ok"], told
    assert told["notes"] == ["pmxcfs wrote the local file but no reload came: reloaded here"]
    assert told["seconds"]["reload"] >= 2.5 and len(staged.calls("corosync-cfgtool")) == 1


def test_cluster_that_never_arrives_is_told(staged):
    told = staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2], deadline_s=1), "pve2")
    assert told["ok"] is False
    assert told["missing"][0] == "runtime at version 5, version 6 wanted"
    assert staged.local.read_text() == conf(5)


def test_cluster_without_quorum_writes_nothing(staged):
    staged.mount(writable=False)
    told = staged.salt["corosync.step"]("run1", step(1, "cluster", BOTH, 6, [2], deadline_s=1), "pve1")
    assert told["ok"] is False and "not quorate" in told["error"]
    assert staged.cluster.read_text() == conf(5)


def test_publish_gives_the_cluster_file_the_bytes_of_the_local_ones(staged):
    assert staged.salt["corosync.step"]("run1", local())["ok"]
    reloads = len(staged.calls("corosync-cfgtool"))
    told = staged.salt["corosync.step"]("run1", step(2, "publish", BOTH, 6, [0, 2]), "pve1")
    assert told["ok"], told
    assert staged.cluster.read_text() == BOTH
    assert len(staged.calls("corosync-cfgtool")) == reloads, "nothing reloads"


def test_publish_the_others_wait_until_they_see_the_bytes(staged):
    assert staged.salt["corosync.step"]("run1", local())["ok"]
    written = write_later(staged)
    told = staged.salt["corosync.step"]("run1", step(2, "publish", BOTH, 6), "pve2")
    assert told["ok"] and told["started"] + told["seconds"]["publish"] >= written(), told
    staged.cluster.write_text(conf(7))
    told = staged.salt["corosync.step"]("run1", step(3, "publish", BOTH, 6, deadline_s=1), "pve2")
    assert told["missing"] == ["/etc/pve/corosync.conf has version 7, version 6 wanted"]


# ---- what somebody else changes, and a pmxcfs that stands still


def digest(text):
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def test_a_hand_edit_between_plan_and_stage_is_found_before_anything_is_changed(node):
    entry = local(starts_from=[digest(conf(5))])
    node.local.write_text(conf(5) + "# by hand\n")
    told = node.salt["corosync.stage"]("run1", [entry])
    assert told["ok"] is False and told["checks"][-1]["code"] == "file-edited"
    assert "changed by somebody else since the plan was made" in told["checks"][-1]["text"]
    assert node.salt["corosync.busy"]() is None
    node.local.write_text(conf(5))
    assert node.salt["corosync.stage"]("run1", [entry])["ok"]


def test_a_hand_edit_between_stage_and_step_is_not_overwritten(staged):
    entry = local(starts_from=[digest(conf(5))])
    staged.local.write_text(conf(5) + "# by hand\n")
    told = staged.salt["corosync.step"]("run1", entry)
    assert told["ok"] is False and told["code"] == "file-edited" and "by hand" in staged.local.read_text()
    staged.cluster.write_text(conf(5) + "# by hand\n")
    entry = step(2, "publish", BOTH, 6, starts_from=[digest(conf(5))])
    told = staged.salt["corosync.step"]("run1", entry, "pve1")
    assert told["code"] == "file-edited" and "/etc/pve/corosync.conf was changed" in told["error"]
    assert "by hand" in staged.cluster.read_text()


def test_what_the_run_itself_wrote_is_no_hand_edit(staged):
    assert staged.salt["corosync.step"]("run1", local(starts_from=[digest(conf(5))]))["ok"]
    seven = conf(7, {0: VRACK})
    told = staged.salt["corosync.step"]("run1", local(2, seven, 7, [0], starts_from=[digest(conf(5))]))
    assert told["ok"], told


def test_a_pmxcfs_that_stands_still_for_some_seconds_does_not_fail_a_step(staged, monkeypatch):
    """Reads had 3 s, whatever time the step had."""
    slow = staged.bin.parent / "slow.py"
    slow.write_text(
        f"import runpy, time\ntime.sleep(4)\nrunpy.run_path({etc_pve.command()[-1]!r}, run_name='__main__')\n"
    )
    command = [*etc_pve.command()[:-1], str(slow)]
    monkeypatch.setattr(etc_pve, "command", lambda python=None: command)
    timer = threading.Timer(5, monkeypatch.undo)  # after its first request it answers as ever
    told = []
    thread = threading.Thread(
        target=lambda: told.append(staged.salt["pmxcfs.write_conf"](BOTH, wait=30, timeout=60))
    )
    staged.salt["corosync.busy"]()
    thread.start()
    timer.start()
    thread.join(90)
    timer.join()
    assert told and told[0]["changed"] and staged.cluster.read_text() == BOTH


# ---- restart
# -------------------------------------------------------------------------------------------------------


def test_restart_writes_files_first_then_restarts(staged):
    entry = step(1, "restart", BOTH, 6, [0, 2])
    with pytest.raises(SaltInvocationError, match="phase 'files' or 'restart'"):
        staged.salt["corosync.step"]("run1", entry, "pve1")
    told = staged.salt["corosync.step"]("run1", entry, "pve1", phase="files")
    assert told["ok"] and told["phase"] == "files" and told["seen"] == {"file_version": 6}
    assert staged.local.read_text() == BOTH and staged.daemon()["version"] == 5
    assert not any("restart" in call for call in staged.calls("systemctl"))
    told = staged.salt["corosync.step"]("run1", entry | {"phase": "restart"}, "pve1")
    assert told["ok"] and told["seen"]["version"] == 6, told
    assert told["seconds"]["restart"] <= told["seconds"]["version"]
    assert staged.salt["corosync.outcome"]("run1", 1, "files")["phase"] == "files"
    assert staged.salt["corosync.outcome"]("run1", 1)["phase"] == "restart"


def test_restart_is_refused_without_the_file(staged):
    told = staged.salt["corosync.step"]("run1", step(1, "restart", BOTH, 6), "pve1", phase="restart")
    assert told["ok"] is False and "run phase files on every node first" in told["error"]
    assert not any("restart" in call for call in staged.calls("systemctl"))


def test_a_daemon_that_exits_after_the_restart_is_found(staged):
    staged.local.write_text(BOTH)
    staged.daemon(exits=True)
    told = staged.salt["corosync.step"](
        "run1", step(1, "restart", BOTH, 6, deadline_s=1), "pve1", phase="restart"
    )
    assert told["ok"] is False and "corosync is inactive after the restart" in told["error"]
    assert told["missing"][0] == "runtime not running, version 6 wanted"
