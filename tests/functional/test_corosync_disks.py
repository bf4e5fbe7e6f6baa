"""A disk that takes nothing is found when a run begins, before anything is changed; later it is told."""

import errno
import subprocess

import pytest
from _corosync_world import PUBLIC, VRACK, Node, conf, step
from pve_corosync.node import files, runs
from salt.exceptions import CommandExecutionError

FOLDERS = ("etc/corosync", "run/pve-corosync", "var/lib/pve-corosync")
BOTH = conf(6, {0: VRACK, 2: PUBLIC})
STEP = step(1, "local", BOTH, 6, [0, 2])


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


@pytest.fixture(params=FOLDERS)
def read_only(request, node):
    """The node pve1, and one of its folders on a file system that is mounted read-only."""
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


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_disk_that_takes_nothing_is_found_before_anything_is_changed(node, monkeypatch, folder):
    real = files.try_disk

    def full(path, size):
        assert size > len(BOTH)
        if path.endswith(folder):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        real(path, size)

    monkeypatch.setattr(files, "try_disk", full)
    with pytest.raises(CommandExecutionError, match=f"/{folder} cannot be written: No space left on device"):
        node.salt["corosync.stage"]("run1", [STEP])
    assert node.salt["corosync.busy"]() is None and node.local.read_text() == conf(5)


def test_a_step_whose_outcome_the_disk_does_not_take_tells_it_all_the_same(node, monkeypatch):
    assert node.salt["corosync.stage"]("run1", [STEP])["ok"]

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/pve-corosync/outcomes/x.json")

    monkeypatch.setattr(runs, "keep_outcome", full)
    told = node.salt["corosync.step"]("run1", STEP)
    assert told["ok"] and "could not be kept: /var/lib" in told["notes"][-1]
