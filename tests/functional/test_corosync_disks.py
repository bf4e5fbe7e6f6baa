"""A disk that takes nothing is found when a run begins, before anything is changed on any node."""

import subprocess

import pytest
from _corosync_world import Node, conf, step
from salt.exceptions import CommandExecutionError

FOLDERS = ("etc/corosync", "run/pve-corosync", "var/lib/pve-corosync")


@pytest.fixture(params=FOLDERS)
def read_only(request, tmp_path, monkeypatch):
    """The node pve1, and one of its folders on a file system that is mounted read-only."""
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    node = Node(tmp_path, monkeypatch)
    for folder in FOLDERS:
        (node.root / folder).mkdir(parents=True, exist_ok=True)
    path = str(node.root / request.param)
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield node, request.param
    finally:
        subprocess.run(["umount", path], check=True)


def held(node):
    return {path: path.read_bytes() for path in node.root.rglob("*") if path.is_file()}


def test_a_disk_that_is_read_only_refuses_the_run_before_anything_is_changed(read_only):
    node, folder = read_only
    before = held(node)
    with pytest.raises(CommandExecutionError) as caught:
        node.salt["corosync.stage"]("run1", [step(1, "local", conf(6), 6)])
    said = f"/{folder} cannot be written: Read-only file system; nothing was changed here"
    assert str(caught.value) == said and held(node) == before
    assert node.salt["corosync.busy"]() is None and node.daemon()["version"] == 5
