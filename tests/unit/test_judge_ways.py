"""judge.ways: commands that an operator copies, on a master with one cluster and with several."""

import ast
import pathlib

import pytest
from pve_corosync.judge import ways

RUNNERS = pathlib.Path(__file__).resolve().parents[2] / "_runners"


def test_every_function_of_one_cluster_is_known():
    found = {
        node.name
        for path in RUNNERS.glob("corosync*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if "cluster" in [arg.arg for arg in node.args.args]
    }
    assert found == set(ways.OF_ONE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("look: salt-run corosync.status", "look: salt-run corosync.status cluster=a"),
        ("salt-run corosync.rebuild pve2", "salt-run corosync.rebuild cluster=a pve2"),
        ("salt-run corosync.apply x skip=b cluster=a", "salt-run corosync.apply x skip=b cluster=a"),
        (
            "salt-run corosync.status; salt pve1 test.ping",
            "salt-run corosync.status cluster=a; salt pve1 test.ping",
        ),
        ("salt-run corosync.journal jid=7", "salt-run corosync.journal jid=7"),
        ("salt-run corosync.watch resume=True", "salt-run corosync.watch cluster=a resume=True"),
        ("", ""),
    ],
)
def test_commands_name_the_cluster_once(text, expected):
    report = {
        "findings": [{"code": "x", "remedy": text}],
        "next": [text],
        "verdict": {"ok": True, "command": text, "also": []},
        "confirm": {"seconds": 9, "command": text},
    }
    ways.name_cluster(report, "a")
    assert [report["findings"][0]["remedy"], *report["next"]] == [expected] * 2
    assert report["verdict"] == {"ok": True, "command": expected, "also": []}
    assert report["confirm"] == {"seconds": 9, "command": expected}


def test_a_name_that_yaml_or_the_shell_would_read_is_quoted():
    report = {"findings": [{"remedy": "salt-run corosync.status"}]}
    ways.name_cluster(report, "on")
    assert report["findings"][0]["remedy"] == "salt-run corosync.status cluster='\"on\"'"
