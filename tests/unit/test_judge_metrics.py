"""The metrics of a node: what they say, that they parse, and that the alert rules name only what there is."""

import pathlib
import re

import pytest
import simulation
import yaml
from pve_corosync.judge import metrics

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
NODES = ("pve1", "pve2", "pve3")
LAYOUTS = {
    "nominal": simulation.layout({0: "vrack"}, NODES, name="nominal"),
    "degraded": simulation.layout({0: "public", 1: "vrack"}, NODES, name="degraded"),
}
LINE = re.compile(r'pve_corosync_([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"\})? (-?[0-9.e+]+)')


def facts(dead=(), silent=()):
    return simulation.Sim({0: "vrack"}, NODES, dead=dead, silent=silent).observed()["nodes"]["pve1"]


def parsed(told, layouts=LAYOUTS, wanted="nominal", last=None):
    """``{name and labels: value}`` of the text, which must hold to OpenMetrics."""
    text = metrics.text(told, layouts, wanted, last, 1_800_000_000.5)
    lines = text.splitlines()
    assert lines[-1] == "# EOF" and text.endswith("\n")
    found, typed = {}, []
    for line in lines[:-1]:
        if line.startswith("# TYPE "):
            typed.append(line.split()[2])
            assert line.endswith(" gauge")
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match and typed[-1] == f"pve_corosync_{match[1]}", line
            found[match[1] + (match[2] or "")] = float(match[3])
    assert len(typed) == len(set(typed)), "a metric stands in one block"
    return found


def test_a_healthy_node():
    found = parsed(facts(), last={"time": 1.5, "ok": True})
    assert found == {
        "running": 1,
        "quorate": 1,
        'layout_wanted{layout="nominal"}': 1,
        'layout_in_force{layout="degraded"}': 0,
        'layout_in_force{layout="nominal"}': 1,
        "links": 2,
        "links_dead": 0,
        "failures_borne": 1,
        'version{copy="local"}': 5,
        'version{copy="cluster"}': 5,
        'version{copy="runtime"}': 5,
        "drift": 0,
        "last_run_time_seconds": 1.5,
        "last_run_ok": 1,
        "written_time_seconds": 1_800_000_000,
    }


def test_dead_links_and_a_lost_quorum():
    found = parsed(facts(dead=["vrack"]))
    assert (found["links_dead"], found["quorate"], found["failures_borne"]) == (2, 0, 0)


def test_a_stopped_daemon_leaves_out_what_is_not_known():
    found = parsed(facts() | {"runtime": None, "quorum": None, "links": {}})
    assert found["running"] == found["quorate"] == 0
    assert not {"links", "links_dead", "failures_borne", "last_run_ok"} & set(found)


@pytest.mark.parametrize("change", ["version", "bytes", "addresses"])
def test_drift_is_any_difference(change):
    told = facts()
    if change == "version":
        told["runtime"] = told["runtime"] | {"version": 4}
    elif change == "bytes":
        told["cluster_file"] = told["cluster_file"] | {"sha256": "1" * 64}
    else:
        text = told["local"]["text"].replace("10.66.0.2", "10.66.0.9")
        same = {"text": text, "sha256": "2" * 64}
        told["local"], told["cluster_file"] = told["local"] | same, told["cluster_file"] | same
    assert parsed(told)["drift"] == 1


@pytest.mark.parametrize(
    ("votes", "quorum", "borne"),
    [
        ({1: 1, 2: 1}, 2, 0),
        ({1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, 3, 2),
        ({1: 1, 2: 3, 3: 1, 4: 1}, 4, 0),
        ({1: 3, 2: 1, 3: 1}, 3, 2),
    ],
)
def test_what_the_quorum_bears_counts_the_heaviest_first_and_never_this_node(votes, quorum, borne):
    told = {"quorate": True, "votes": votes, "total": sum(votes.values()), "quorum": quorum}
    assert metrics.borne(told, {"runtime": {"nodeid": 1}}) == borne


def test_a_device_is_told_and_odd_names_are_escaped():
    told = facts()
    told["quorum"] = told["quorum"] | {"qdevice_votes": 1}
    assert parsed(told, {}, 'a"b\\c\nd')["device_votes"] == 1


def test_the_alert_rules_name_only_metrics_that_there_are():
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"pve_corosync_(\w+)", rule["expr"])}
    assert used and used <= set(metrics.HELP)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
    tests = yaml.safe_load((DOCS / "alerts_test.yml").read_text())["tests"]
    series = [row["series"] for test in tests for row in test["input_series"]]
    assert {re.match(r"pve_corosync_(\w+)", name)[1] for name in series} <= set(metrics.HELP)
    tried = {row["alertname"] for test in tests for row in test["alert_rule_test"]}
    assert tried == {rule["alert"] for rule in rules}


def test_the_page_names_every_metric():
    page = (DOCS / "watch.md").read_text()
    assert [name for name in metrics.HELP if f"`{name}`" not in page] == []
