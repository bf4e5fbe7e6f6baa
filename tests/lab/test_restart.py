"""The restart of corosync on its own, and a node that does not come back."""

import re

import pytest
from links import version
from phases import codes, failing, orchestrate, run, starts, texts

DROP_IN = "/run/systemd/system/corosync.service.d/stale.conf"


@pytest.fixture
def cluster(lab):
    """Two nodes; what a test put into the way of corosync's start is taken away."""
    lab.wait_minions()
    yield lab
    for node in lab.nodes:
        lab.exec(node, ["rm", "-f", DROP_IN, "/etc/corosync/stale.conf"])
        lab.exec(node, ["systemctl", "daemon-reload"])


def test_a_restart_on_its_own_restarts_every_daemon_and_keeps_the_layout(cluster):
    before, was = starts(cluster, "corosync"), version(cluster, "pve1")
    code, said = orchestrate(cluster, "restart")
    assert code == 0, said
    assert "reached and verified" in said and "HA is not in use" in said
    now = starts(cluster, "corosync")
    for node in cluster.nodes:
        assert version(cluster, node) == was + 1
        assert (
            cluster.exec(node, ["cmp", "/etc/corosync/corosync.conf", "/etc/pve/corosync.conf"]).returncode
            == 0
        )
        assert now[node] != before[node]


def test_a_restart_goes_over_swapped_links_without_an_unchanged_one(cluster):
    code, report = run(cluster, "corosync.apply", "degraded", "strategy=restart")
    assert (code, report["result"]) == (0, "reached"), report
    phases = [row["text"].rsplit("(", 1)[1] for row in report["done"] if row["text"].endswith(")")]
    assert phases == ["files)", "restart)"]  # on both nodes at the same moment


def test_a_node_that_starts_with_an_older_file_is_found_named_and_brought_back(cluster):
    cluster.exec("pve2", ["cp", "/etc/corosync/corosync.conf", "/etc/corosync/stale.conf"], check=True)
    cluster.exec("pve2", ["mkdir", "-p", DROP_IN.rsplit("/", 1)[0]], check=True)
    cluster.write(
        "pve2",
        DROP_IN,
        "[Service]\nExecStartPre=/bin/cp /etc/corosync/stale.conf /etc/corosync/corosync.conf\n",
    )
    cluster.exec("pve2", ["systemctl", "daemon-reload"], check=True)
    code, report = run(cluster, "corosync.restart")
    assert (code, report["result"]) == (1, "failed"), report
    assert codes(report)[0] == "step-failed"
    # by itself it exits with status 0; what systemd calls that depends on its ExecStop
    assert re.search("pve2: corosync is (inactive|failed) after the restart", texts(report)), report
    assert "pve1: corosync is" not in texts(report)
    state = {row["node"]: row["corosync"] for row in report["state"]}
    assert state["pve1"] == "active" and state["pve2"] in ("inactive", "failed")

    code, report = run(cluster, "corosync.verify")
    assert code == 1 and {"quorum", "versions", "same bytes"} <= set(failing(report)), report

    cluster.exec("pve2", ["rm", DROP_IN], check=True)
    cluster.exec("pve2", ["systemctl", "daemon-reload"], check=True)
    code, report = run(cluster, "corosync.restart")
    assert (code, report["result"]) == (0, "reached"), report
    assert version(cluster, "pve1") == version(cluster, "pve2")
