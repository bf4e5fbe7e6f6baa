"""``corosync.metrics`` through Salt's loader: the text, and the file for the textfile collector."""

import json
import os

import pytest
from _corosync_world import Node
from salt.exceptions import CommandExecutionError

PROM = "/var/lib/prometheus/node-exporter/corosync.prom"


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def test_the_text_has_the_node_and_its_last_run(node):
    text = node.salt["corosync.metrics"]()
    assert "pve_corosync_quorate 1\n" in text and text.endswith("# EOF\n")
    assert "last_run" not in text
    for number, ok in ((1, True), (2, False)):
        path = node.file(f"var/lib/pve-corosync/outcomes/2026-{number}.json", json.dumps({"ok": ok}))
        os.utime(path, (1000 + number, 1000 + number))
    text = node.salt["corosync.metrics"]()
    assert "pve_corosync_last_run_ok 0\n" in text and "pve_corosync_last_run_time_seconds 1002\n" in text


def test_the_file_is_replaced_as_a_whole_and_readable_for_the_exporter(node):
    target = node.root / PROM.lstrip("/")
    target.parent.mkdir(parents=True)
    assert node.salt["corosync.metrics"](PROM) == PROM
    assert "pve_corosync_running 1\n" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o644 and os.listdir(target.parent) == ["corosync.prom"]


def test_a_folder_that_is_not_there_is_named(node):
    with pytest.raises(CommandExecutionError, match="prometheus-node-exporter"):
        node.salt["corosync.metrics"](PROM)
