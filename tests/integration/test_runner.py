"""The runner ``corosync`` through salt-run and orchestrations, on a real master with two minions."""

import ast
import copy
import fcntl
import json
import pathlib
import re
import signal
import subprocess
import time

import conftest
import pytest
from pve_corosync.ports import salt_master

REPO = conftest.REPO
FUNCTIONS = {
    "facts": "corosync.py",
    "fleet_facts": "corosync_fleet.py",
    "stage": "corosync_stage.py",
    "finish": "corosync_stage.py",
    "disarm_back": "corosync_back.py",
    "outcome": "corosync_stage.py",
    "step": "corosync_step.py",
}


def codes(ret):
    return [item["code"] for item in ret.data["findings"]]


def versions(site):
    """The versions of every file and daemon of the simulated cluster."""
    state = site.state()
    texts = [state["shared"]] + [row[key] for row in state["nodes"].values() for key in ("local", "running")]
    return {conftest.corosync_conf.parse(text).version for text in texts}


def arguments(path, name):
    tree = ast.parse(path.read_text())
    spec = next(node.args for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.unparse(spec)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_simulated_functions_take_what_the_real_ones_take(name):
    real = arguments(REPO / "_modules" / FUNCTIONS[name], name)
    assert arguments(conftest.SIM / "_modules" / "corosync.py", name) == real


def test_status_of_a_healthy_cluster(cluster):
    ret = cluster.run("corosync.status")
    assert ret.returncode == 0, ret
    assert ret.data["in_force"] == ["nominal"]
    assert ret.data["matrix"]["pve1"]["pve2"] == {"0": "connected"}
    assert [row["quorate"] for row in ret.data["state"]] == [True, True]


def test_the_fleet_in_one_line_a_cluster(cluster):
    ret = cluster.run("corosync.fleet")
    assert ret.returncode == 0, ret
    (row,) = ret.data["clusters"]
    assert (row["cluster"], row["kind"], row["answers"], row["in_force"]) == (
        "prod",
        "healthy",
        2,
        ["nominal"],
    )
    cluster.cut(conftest.VRACK)
    ret = cluster.text("corosync.fleet")
    assert ret.returncode == 1, ret
    assert (
        "1 cluster: 1 NO QUORUM" in ret.stdout
        and 'orch.failover pillar=\'{"cluster": "prod"}\'' in ret.stdout
    )
    assert [line for line in ret.stdout.splitlines() if len(line) > 80] == []
    ret = cluster.run("corosync.fleet", "cluster=prod")
    assert ret.returncode == 2 and codes(ret) == ["argument-unknown"]


def test_a_failover_of_many_runs_them_side_by_side_and_one_that_fails_stops_no_other(cluster):
    cluster.cut(conftest.VRACK)
    before = versions(cluster)
    ret = cluster.run("state.orchestrate", "orch.failover", 'pillar={"cluster": ["prod"], "skpi": ["pve2"]}')
    assert ret.returncode == 1 and "knows no pillar key 'skpi'; allowed: layout, skip" in ret.stdout, ret
    ret = cluster.run("state.orchestrate", "orch.failover", 'pillar={"cluster": "needed"}', "test=True")
    assert ret.returncode == 0 and "1 would be changed, nothing was written" in ret.stdout, ret
    assert "198.51.100.10" in ret.stdout and versions(cluster) == before, ret
    given = json.dumps({"cluster": ["nope", "prod"]})
    ret = cluster.run("state.orchestrate", "orch.failover", f"pillar={given}")
    assert ret.returncode == 1, ret
    assert max(versions(cluster)) > max(before), ret
    assert "nope: begun (1 of 2)" in ret.stderr and "prod: begun (2 of 2)" in ret.stderr
    (row,) = ret.data["data"]["ring-master"].values()
    assert "cluster 'nope' is in no pillar" in " ".join(row["comment"].split()), row["comment"]
    ret = cluster.run("corosync.many", "needed")
    # the simulated nodes have links only, so the failover stops after them: it is gone on with
    assert [row["cluster"] for row in ret.data["clusters"]] == ["prod"], ret
    for words in (
        ("prod", "orchestration=restart"),
        ("prod", "at_once=0"),
        ("prod", "given={'x': 1}"),
        ("needed", "orchestration=nominal"),
    ):
        ret = cluster.run("corosync.many", *words)
        assert ret.returncode == 2, ret


def test_status_of_a_cut_cluster_as_text(cluster):
    cluster.cut(conftest.VRACK)
    ret = cluster.text("corosync.status")
    assert ret.returncode == 1, ret
    assert "0 DOWN" in ret.stdout and "1/2" in ret.stdout


def test_a_pillar_with_an_error_still_shows_the_cluster(cluster):
    broken = copy.deepcopy(conftest.PILLAR)
    broken["layouts"]["degraded"]["links"][0]["network"] = "nosuch"
    conftest.write_pillar(cluster.pillar_path, broken)
    ret = cluster.run("corosync.status")
    assert ret.returncode == 1, ret
    assert "network-unknown" in codes(ret)
    assert ret.data["matrix"]["pve2"]["pve1"] == {"0": "connected"}
    ret = cluster.run("corosync.apply", "degraded")
    assert ret.returncode == 2, ret
    assert codes(ret) == ["network-unknown"]


def test_plan_with_steps_and_without(cluster):
    ret = cluster.run("corosync.plan", "degraded")
    assert ret.returncode == 0, ret
    assert ret.data["steps"] and all(step["act"] == "cluster" for step in ret.data["steps"])
    assert versions(cluster) == {5}
    ret = cluster.run("corosync.plan")
    assert ret.returncode == 0, ret
    assert ret.data["steps"] == []


def test_failover_and_return(cluster):
    cluster.cut(conftest.VRACK)
    ret = cluster.run("corosync.apply", "degraded")
    assert ret.returncode == 0, ret
    assert ret.data["result"] == "reached"
    assert [step["act"] for step in ret.data["steps"]][:2] == ["local", "publish"]
    assert ret.data["seconds"]["quorate"] <= ret.data["seconds"]["total"]
    assert codes(ret) == ["link-dead"]
    assert "step 1/" in ret.stderr and "pve1: ok" in ret.stderr
    reached = versions(cluster)
    assert len(reached) == 1 and min(reached) > 5
    assert all(row["lock"] is None for row in cluster.state()["nodes"].values())

    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (0, "already"), ret
    assert versions(cluster) == reached

    ret = cluster.run("corosync.apply")
    assert (ret.returncode, ret.data["result"]) == (1, "refused"), ret
    assert "goal-cannot-carry" in codes(ret)
    assert versions(cluster) == reached

    cluster.cut()
    ret = cluster.run("corosync.apply", "progress=False")
    assert (ret.returncode, ret.data["result"]) == (0, "reached"), ret
    assert "step 1/" not in ret.stderr
    assert {step["act"] for step in ret.data["steps"]} == {"cluster"}
    assert links_ok(cluster.run("corosync.verify"))
    assert not links_ok(cluster.run("corosync.verify", "degraded"))


def links_ok(ret):
    """Whether the items of the checklist that the simulated nodes can answer are all true."""
    ok = {item["item"]: item["ok"] for item in ret.data["checklist"]}
    return all(
        ok[name]
        for name in (
            "answers",
            "links connected",
            "links exact",
            "addresses",
            "quorum",
            "one ring",
            "versions",
            "same bytes",
            "cluster file system",
        )
    )


def test_a_test_run_shows_the_files_and_writes_nothing(cluster):
    before = cluster.state()
    ret = cluster.run("corosync.apply", "degraded", "test=True")
    assert (ret.returncode, ret.data["result"]) == (0, "test"), ret
    added = [line for line in ret.data["diffs"]["pve1"].splitlines() if line.startswith("+")]
    assert any("ring0_addr: 198.51.100.10" in line for line in added), ret
    assert cluster.state() == before


def test_a_silent_node_is_refused_and_can_be_skipped(cluster):
    cluster.fault("pve2", facts_delay=conftest.SILENT)
    begun = time.monotonic()
    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (1, "refused"), ret
    assert codes(ret)[0] == "node-silent"
    assert time.monotonic() - begun < conftest.SILENT, "it does not wait until the node answers"
    assert versions(cluster) == {5}
    ret = cluster.run("corosync.plan", "degraded", "skip=pve2")
    assert "node-silent" not in [item["code"] for item in ret.data["findings"] if item["severity"] == "error"]


def test_a_node_that_refuses_the_files_stops_everything(cluster):
    cluster.fault("pve2", stage="parse error in config")
    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (1, "failed"), ret
    assert codes(ret)[0] == "stage-failed"
    assert "parse error in config" in ret.data["findings"][0]["text"]
    assert versions(cluster) == {5}
    assert all(row["lock"] is None for row in cluster.state()["nodes"].values())


def test_a_failing_step_is_told_and_the_same_command_goes_on(cluster):
    cluster.cut(conftest.VRACK)
    cluster.fault("pve2", steps={"1": "corosync refused version 6"})
    ret = cluster.text("corosync.apply", "degraded")
    assert ret.returncode == 1, ret
    for words in (
        "stopped in step 1",
        "pve2: corosync refused version 6",
        "the cluster is in this state now",
        "go on:   salt-run corosync.apply degraded",
        "go back: salt-run corosync.apply nominal",
    ):
        assert words in ret.stdout or words in " ".join(ret.stdout.split()), ret
    assert "Traceback" not in ret.stdout + ret.stderr
    cluster.change(lambda state: state["nodes"]["pve2"]["faults"].clear())
    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (0, "reached"), ret


def test_an_outcome_that_got_lost_is_asked_for(cluster):
    cluster.fault("pve1", loses_answer=[1])
    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (0, "reached"), ret
    assert "asking for the outcome" in " ".join(ret.stderr.split())
    calls = [call for call in cluster.state()["nodes"]["pve1"]["calls"] if call[1] == 1]
    assert len(calls) == 1


def test_a_second_run_is_refused_while_one_is_under_way(cluster):
    folder = pathlib.Path(cluster.master.config["cachedir"]) / "pve-corosync" / "prod"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"jid": "20260102030405060708", "pid": 42, "start": 1763900000}))
        file.flush()
        ret = cluster.run("corosync.apply", "degraded")
    assert ret.returncode == 1, ret
    assert codes(ret) == ["run-under-way"]
    assert "20260102030405060708" in ret.data["findings"][0]["text"]
    assert versions(cluster) == {5}


@pytest.mark.parametrize(
    "words, code",
    [
        (("degarded",), "layout-unknown"),
        (("degraded", "skp=pve2"), "argument-unknown"),
        (("degraded", "skip=pve9"), "skip-unknown"),
        (("degraded", "strategy=fast"), "argument-bad"),
        (("degraded", "test=maybe"), "argument-bad"),
        (("degraded", "back=maybe"), "argument-bad"),
        (("degraded", "confirm=soon"), "argument-bad"),
        (("degraded", "cluster=lab"), "cluster-unknown"),
    ],
)
def test_what_is_typed_wrong_changes_nothing(cluster, words, code):
    before = cluster.state()
    ret = cluster.run("corosync.apply", *words)
    assert ret.returncode == 2, ret
    assert codes(ret) == [code]
    assert ret.data["findings"][0]["remedy"]
    assert cluster.state() == before


def test_a_run_that_is_to_be_confirmed_and_its_confirmation(cluster):
    ret = cluster.run("corosync.apply", "degraded", "confirm=60")
    assert ret.returncode == 0 and ret.data["confirm"]["layout"] == "nominal", ret
    assert [row["back"] for row in cluster.state()["nodes"].values()] == ["nominal", "nominal"]
    ret = cluster.run("corosync.confirm")
    assert ret.returncode == 0 and ret.data["nodes"] == {"pve1": "nominal", "pve2": "nominal"}, ret
    assert [row["back"] for row in cluster.state()["nodes"].values()] == [None, None]
    ret = cluster.run("corosync.confirm")
    assert ret.returncode == 0 and "no node was about to go back" in ret.data["summary"], ret


def test_orchestrations_and_their_exit_codes(cluster):
    cluster.cut(conftest.VRACK)
    ret = cluster.run("state.orchestrate", "links_only")
    assert ret.returncode == 0, ret
    assert "step 1/" in ret.stderr
    assert "reached and verified" in ret.stdout
    reached = versions(cluster)
    ret = cluster.run("state.orchestrate", "links_only", 'pillar={"layout": "nominal"}')
    assert ret.returncode == 1, ret
    assert "goal-cannot-carry" in ret.stdout
    assert versions(cluster) == reached


def test_the_account_of_a_run_is_a_page_or_markdown(cluster, tmp_path):
    cluster.cut(conftest.VRACK)
    assert cluster.run("corosync.apply", "degraded").returncode == 0
    run = cluster.run("corosync.journal", "last=1").data["runs"][0]["jid"]
    page = tmp_path / "night.html"
    ret = cluster.run("corosync.report", run, f"out={page}")
    assert (ret.returncode, ret.data["result"], ret.data["run"]) == (0, "written", run), ret
    assert page.read_text().startswith("<!doctype html>") and run in page.read_text()
    shown = cluster.text("corosync.report")
    assert f"run {run} to degraded" in shown.stdout and "## Seconds without" in shown.stdout, shown
    for words in (("nosuch",), (run, "out=/nowhere/x.html"), (run, f"out={tmp_path}/x.pdf")):
        ret = cluster.run("corosync.report", *words)
        assert (ret.returncode, codes(ret)) == (2, ["argument-bad"]), ret
        assert ret.data["findings"][0]["remedy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night.html"]


def test_failover_and_nominal_hand_on_their_pillar_and_stop_at_a_failed_phase(cluster):
    cluster.cut(conftest.VRACK)
    assert first_phase(cluster, "orch.failover") == (True, "reached")
    reached = versions(cluster)
    assert first_phase(cluster, "orch.failover") == (True, "already")
    assert first_phase(cluster, "orch.nominal") == (False, "refused")
    assert versions(cluster) == reached
    cluster.cut()
    assert first_phase(cluster, "orch.nominal") == (True, "reached")
    for given, code in (
        ({"layout": "nosuch"}, "layout-unknown"),
        ({"skip": ["pve1", "pve9"]}, "skip-unknown"),
    ):
        ret = cluster.run("state.orchestrate", "orch.failover", f"pillar={json.dumps(given)}")
        assert ret.returncode == 1 and code in ret.stdout, ret


def first_phase(cluster, orchestration):
    """Return result and the runner's own word of the phase that moves the links."""
    ret = cluster.run("state.orchestrate", orchestration)
    (states,) = ret.data["data"].values()
    first = min(states.values(), key=lambda row: row["__run_num__"])
    if not first["result"]:
        assert ret.returncode == 1 and len(states) == 1, ret
    word = re.match(r"prod, layout \w+: (reached already|reached|refused)", first["comment"])
    return first["result"], {"reached already": "already"}.get(word[1], word[1])


def test_status_leaves_out_whom_the_pillar_or_the_operator_skips(cluster):
    cluster.fault("pve2", facts_delay=conftest.SILENT, off=True)
    ret = cluster.run("corosync.status")
    assert ret.returncode == 1 and "node-silent" in codes(ret), ret
    for words, skip in ((("skip=pve2",), []), ((), ["pve2"])):
        conftest.write_pillar(cluster.pillar_path, conftest.PILLAR | {"skip": skip})
        ret = cluster.run("corosync.status", *words)
        assert "node-silent" not in codes(ret) and "node-skipped" in codes(ret), ret
        errors = [item["code"] for item in ret.data["findings"] if item["severity"] == "error"]
        quorate = {row["node"]: row["quorate"] for row in ret.data["state"]}["pve1"]
        assert ret.returncode == (1 if errors or not quorate else 0), ret


def test_a_run_that_was_killed_is_gone_on_with(cluster):
    cluster.cut(conftest.VRACK)
    cluster.fault("pve1", step_delay={"1": 4})
    killed = subprocess.Popen(
        cluster.command("corosync.apply", "degraded"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cluster.wait_for(lambda: cluster.state()["nodes"]["pve1"].get("calls"), 60)
    killed.kill()
    killed.wait(10)
    held = cluster.state()["nodes"]["pve1"]["lock"]
    assert held
    cluster.change(lambda state: [row["faults"].clear() for row in state["nodes"].values()])
    for words in (
        ["corosync.plan", "degraded"],
        ["corosync.apply", "degraded", "test=True"],
        ["corosync.status"],
    ):
        ret = cluster.run(*words)
        (row,) = [item for item in ret.data["findings"] if item["code"] == "run-dead"]
        assert held in row["text"] and "run-busy" not in codes(ret), ret
        assert words[0] == "corosync.status" or ret.returncode == 0, ret
    assert cluster.run("corosync.journal", "last=1").data["runs"][0]["result"] == "broken off"
    ret = cluster.run("corosync.apply", "degraded")
    assert (ret.returncode, ret.data["result"]) == (0, "reached"), ret
    (row,) = [item for item in ret.data["before"] if item["code"] == "run-dead"]
    assert held in row["text"]
    assert all(row["lock"] is None for row in cluster.state()["nodes"].values())


def test_a_hangup_does_not_end_a_run(cluster):
    cluster.fault("pve1", step_delay={"1": 2})
    command = cluster.command("corosync.apply", "degraded")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        cluster.wait_for(lambda: cluster.state()["nodes"]["pve1"].get("calls"), 60)
        assert cluster.run("corosync.journal", "last=1").data["runs"][0]["result"] == "under way"
        running.stderr.close()
        running.send_signal(signal.SIGHUP)
        running.stdout.read()
        assert running.wait(60) == 0
    runs = cluster.run("corosync.journal", "last=1").data["runs"]
    assert runs[0]["result"] == "reached"


def test_a_bad_number_of_runs_is_named(cluster):
    ret = cluster.run("corosync.journal", "last=abc")
    assert ret.returncode == 2 and codes(ret) == ["argument-bad"], ret


def test_the_journal_keeps_every_run(cluster):
    ret = cluster.run("corosync.apply", "degraded")
    assert ret.returncode == 0, ret
    jid = ret.data["jid"]
    runs = cluster.run("corosync.journal", "last=1").data["runs"]
    assert [(row["jid"], row["layout"], row["result"]) for row in runs] == [(jid, "degraded", "reached")]
    notes = cluster.run("corosync.journal", f"jid={jid}").data["runs"][0]["notes"]
    events = [row["event"] for row in notes]
    assert events[0] == "begun" and events[-1] == "ended"
    assert "step 1 begun" in events and "step 1 ended" in events


def test_events_tell_the_steps(cluster, event_listener):
    begun = time.time()
    ret = cluster.run("corosync.apply", "degraded")
    tag = f"corosync/prod/run/{ret.data['jid']}/1"
    found = event_listener.wait_for_events([(cluster.master.id, tag)], after_time=begun, timeout=10)
    assert found.found_all_events


def test_the_runner_names_its_arguments():
    tree = ast.parse((REPO / "_runners" / "corosync.py").read_text())
    table = next(
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FUNCTIONS"
    )
    named = ast.literal_eval(table.value)
    public = {
        node.name: tuple(arg.arg for arg in node.args.args)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert named == public


def test_the_pillar_of_a_cluster_waits_no_longer_than_it_is_told(cluster):
    cluster.fault("pve2", facts_delay=7)
    ret = cluster.run("corosync.pillar", "pve*", "timeout=3")
    assert ret.returncode == 1, ret
    assert "pve2 is a node of prod and did not answer" in ret.data["findings"][0]["text"], ret


def test_a_job_that_was_killed_on_its_minion_is_not_waited_for(cluster):
    """Salt's own find_job tells it, of a real minion."""
    runner = {
        "__opts__": dict(cluster.master.config),
        "__file__": str(conftest.REPO / "_runners/corosync.py"),
    }
    master, silent = salt_master.of(runner), []
    _, told, pending = master.publish(
        ["pve1", "pve2"],
        "cmd.run",
        {"cmd": "kill -9 $PPID", "python_shell": True},
        100,
        silent=silent.append,
    )
    assert pending == [] and silent[0] == ["pve1", "pve2"]
    assert {row["return"].partition(":")[0] for row in told.values()} == {
        "the minion does not work on cmd.run any more"
    }
