"""The code served by GitFS with the lines of docs/install.md."""

import json
import os
import pathlib
import re
import subprocess
import sys

import conftest
import pytest
import salt.utils.yaml

PAGE = conftest.REPO / "docs/install.md"
ADDRESS = "https://git.example/pve-corosync.git"


def git(folder, *words):
    call = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.example", *words]
    subprocess.run(call, check=True, capture_output=True, timeout=60)


def repository(folder):
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "everything")
    return f"file://{folder}"


@pytest.fixture
def master(tmp_path):
    """A function that runs a runner of a master whose configuration is that of the page; no daemon."""
    ours, own, srv = tmp_path / "ours", tmp_path / "own", tmp_path / "srv"
    subprocess.run(
        ["git", "-C", str(conftest.REPO), "checkout-index", "--all", f"--prefix={ours}/"],
        check=True,
        timeout=60,
    )
    for path, text in {own / "web.sls": "x: {test.nop: []}\n", own / "tests/file": "mine\n"}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    srv.mkdir()
    (srv / "top.sls").write_text("base: {'*': [corosync]}\n")
    block = re.search(r"```yaml\n(# GitFS\n.*?)```", PAGE.read_text(), re.DOTALL)[1]
    lines = salt.utils.yaml.safe_load(block.replace(ADDRESS, repository(ours)))
    (tmp_path / "cache/proc").mkdir(parents=True)
    opts = {
        "id": "master",
        "root_dir": str(tmp_path),
        "cachedir": str(tmp_path / "cache"),
        "extension_modules": str(tmp_path / "cache/extmods"),
        "file_roots": {"base": [str(srv)]},
    } | lines
    opts["gitfs_remotes"].insert(0, {repository(own): [{"base": "main"}]})
    (tmp_path / "master").write_text(json.dumps(opts))
    program = str(pathlib.Path(sys.executable).with_name("salt-run"))

    def run(function):
        done = subprocess.run(
            [program, "-c", str(tmp_path), "--out=json", function],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


def test_states_and_code_come_from_git_and_the_users_own_files_stay(master):
    assert master("fileserver.update") is True
    files = set(master("fileserver.file_list"))
    assert {"top.sls", "web.sls", "tests/file"} <= files
    assert {"orch/failover.sls", "corosync/init.sls", "_runners/corosync.py"} <= files
    synced = master("saltutil.sync_all")
    assert "utils.pve_corosync.run.change" in synced["utils"] and "runners.corosync" in synced["runners"]
    assert master("corosync.about")["code"].endswith("extmods/utils/pve_corosync")
    again = master("saltutil.sync_all")
    assert not any(again.values()), again
