"""The orchestrations as states of the master: test runs, second runs, failures, one entry in the journal."""

import json

import conftest
from test_runner import codes, versions


def states(ret):
    """The states of an orchestration by their names, in the order that they ran."""
    (rows,) = ret.data["data"].values()
    return {row["__id__"]: row for row in sorted(rows.values(), key=lambda row: row["__run_num__"])}


def test_a_test_run_shows_plan_and_files_and_writes_nothing(cluster):
    cluster.cut(conftest.VRACK)
    before = cluster.state()
    runs = cluster.run("corosync.journal").data["runs"]
    ret = cluster.run("state.orchestrate", "orch.failover", "test=True")
    rows = states(ret)
    assert {row["result"] for row in rows.values()} == {None} and len(rows) == 6, ret
    assert (
        "ring0_addr: 198.51.100.10"
        in rows["1 links"]["changes"]["diffs"][
            "the cluster file, the local file of pve1, the local file of pve2"
        ]
    )
    assert rows["1 links"]["changes"]["steps"] and rows["6 exit checklist"]["changes"] == {}
    assert cluster.state() == before
    assert cluster.run("corosync.journal").data["runs"] == runs


def test_a_second_run_reports_no_change_and_a_run_is_one_entry_in_the_journal(cluster):
    cluster.cut(conftest.VRACK)
    ret = cluster.run("state.orchestrate", "links_only")
    assert ret.returncode == 0 and states(ret)["links"]["changes"]["steps"], ret
    before = cluster.run("corosync.journal").data["runs"]
    ret = cluster.run("state.orchestrate", "links_only")
    assert ret.returncode == 0 and states(ret)["links"]["changes"] == {}, ret
    runs = cluster.run("corosync.journal").data["runs"]
    assert len(runs) == len(before) + 1 and runs[0]["result"] == "already"
    told = cluster.text("corosync.journal", runs[0]["jid"]).stdout
    assert "begun: degraded" in told and "verified" in told, told


def test_a_failure_is_the_report_and_stands_once(cluster):
    cluster.cut(conftest.VRACK)
    cluster.fault("pve2", steps={"1": "corosync refused version 6"})
    ret = cluster.cli.run("state.orchestrate", "orch.failover", "--out=highstate", "--log-level=error")
    assert ret.returncode == 1 and ret.stdout.count("pve2: corosync refused version 6") <= 2, ret
    assert "retcode" not in ret.stdout and "Traceback" not in ret.stdout + ret.stderr, ret
    assert "go on: " not in ret.stderr, "Salt logs the comment of a failed state"
    assert "go on:   salt-run state.orchestrate orch.failover" in ret.stdout, ret
    (row, *_) = cluster.run("corosync.journal", "last=1").data["runs"]
    assert (row["result"], row["layout"]) == ("failed", "degraded")


def test_a_key_that_the_orchestration_does_not_know_is_refused(cluster):
    cluster.cut(conftest.VRACK)
    before = cluster.state()
    for name in ("failover", "nominal", "restart"):
        ret = cluster.run("state.orchestrate", f"orch.{name}", f"pillar={json.dumps({'skpi': ['pve2']})}")
        assert ret.returncode == 1 and "knows no pillar key 'skpi'; allowed: layout, skip" in ret.stdout, ret
    assert cluster.state() == before


def test_remedies_stand_as_they_are_typed_there(cluster):
    cluster.fault("pve2", facts_delay=conftest.SILENT)
    ret = cluster.cli.run("state.orchestrate", "orch.failover", "--out=highstate")
    assert ret.returncode == 1 and """pillar='{"skip": ["pve2"]}'""" in ret.stdout, ret
    assert "skip=pve2" not in ret.stdout, ret


def test_a_node_with_other_code_is_refused_before_anything_is_written(cluster):
    cluster.cut(conftest.VRACK)
    cluster.change(lambda state: state["nodes"]["pve2"].update(code={"core": "0123456789ab"}))
    ret = cluster.run("corosync.apply", "degraded")
    assert ret.returncode == 1 and codes(ret)[0] == "code-differs", ret
    assert ret.data["verdict"]["command"] == "salt pve2 saltutil.sync_all"
    assert versions(cluster) == {5}
    ret = cluster.run("corosync.apply", "degraded", "force=code-differs")
    assert (ret.returncode, ret.data["result"]) == (0, "reached"), ret


def test_the_first_line_of_a_dead_cluster_names_the_way_out(cluster):
    cluster.cut(conftest.VRACK)
    for words in (("corosync.status",), ("corosync.plan",), ("corosync.apply", "nominal")):
        ret = cluster.text(*words)
        assert ret.returncode == 1, ret
        said = ret.stdout.split("\n\n")[0]
        assert said.startswith("prod has NO QUORUM: pve1 and pve2 do not reach each other"), ret
        assert said.endswith("salt-run state.orchestrate orch.failover"), ret
