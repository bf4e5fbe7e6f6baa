"""salt-ssh: the extension on the master, a real sshd on loopback, and a node that has nothing of Salt.

Behind the sshd is the node pve1 of the functional tests: recorded tools, and pve2 behind a recorded ssh.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time

import conftest
import pytest
import salt.version

sys.path.insert(0, str(conftest.REPO / "tests" / "functional"))
from _two_nodes import PILLAR, Pair

PAGE = (conftest.REPO / "docs" / "salt-ssh.md").read_text()
#: salt-ssh, where a node told of something bad.
AGGREGATE = 20
SALT_SSH = "from salt.scripts import salt_ssh; salt_ssh()"
NEEDS_LINE = salt.version.__version__.startswith("3006")


class Door:
    """A master with nothing but its files, and one node behind sshd."""

    def __init__(self, folder, python, pair, port):
        self.folder, self.python, self.pair, self.port = folder, python, pair, port
        self.conf = folder / "conf"
        self.conf.mkdir()
        (folder / "pillar").mkdir()
        conftest.write_pillar(folder / "pillar", PILLAR)
        (folder / "pillar/top.sls").write_text("base: {'*': [corosync]}\n")
        target = {
            "host": "127.0.0.1",
            "port": port,
            "user": "root",
            "priv": str(folder / "key"),
            "thin_dir": str(folder / "thin"),
            "minion_opts": {"pve_corosync": {"root": str(pair.one.root)}},
        }
        (self.conf / "roster").write_text(json.dumps({"pve1": target}))
        # Salt 3008 packs an installed extension by itself
        self.master(**({"thin_extra_mods": "pve_corosync"} if NEEDS_LINE else {}))

    def master(self, **more):
        site = pathlib.Path(self.python).parents[1].glob("lib/*/site-packages/saltext/pve_corosync/sls")
        config = {
            "root_dir": str(self.folder / "master"),
            "cachedir": str(self.folder / "cache"),
            "pki_dir": str(self.folder / "pki"),
            "log_file": str(self.folder / "ssh.log"),
            "pillar_roots": {"base": [str(self.folder / "pillar")]},
            "file_roots": {"base": [str(next(site))]},
            "ssh_options": ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"],
        }
        (self.conf / "master").write_text(json.dumps(config | more))

    def run(self, *words, code=0):
        """Return what salt-ssh printed."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [self.python, "-c", SALT_SSH, "-c", str(self.conf), *words],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env=env | {"PATH": os.defpath + ":/usr/sbin:/sbin", "COLUMNS": "80"},
        )
        assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout


@pytest.fixture(scope="module")
def door(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    patch = pytest.MonkeyPatch()
    pair = Pair(tmp_path_factory.mktemp("pair"), patch)
    patch.undo()
    (pair.one.bin / "python3").symlink_to(sys._base_executable)  # a Python without Salt and without us
    for name in ("key", "host"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=60
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{pair.one.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/key.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        f'SetEnv "PATH={path}" WORLD={pair.one.bin.parent} HOME={folder}\n'
    )
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    sshd = subprocess.Popen(
        [shutil.which("sshd", path="/usr/sbin:/sbin"), "-D", "-e", "-f", str(folder / "sshd_config")],
        stderr=(folder / "sshd.log").open("w"),
    )
    try:
        for _ in range(100):
            with socket.socket() as try_it:
                if try_it.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield Door(folder, installed[0], pair, port)
    finally:
        sshd.terminate()
        sshd.wait(10)


def test_the_page_is_followed_from_no_quorum_to_the_way_out(door):
    """Each command of docs/salt-ssh.md, as it stands there; the first screen names the one that helps."""
    lines = [shlex.split(line) for line in re.findall(r"^ {4,}salt-ssh (.*)$", PAGE, re.M)]
    page = {next(word for word in words if re.fullmatch(r"[a-z]+\.[a-z]+", word)): words for words in lines}
    assert set(page) == {"test.ping", "corosync.status", "corosync.plan", "corosync.apply", "state.apply"}
    door.pair.quorum(False, dead=[0])
    seen = door.run(*page["corosync.status"], code=AGGREGATE)
    assert "prod has NO QUORUM: pve1 and pve2 do not reach each other over vrack." in seen, seen
    way = "salt-ssh " + shlex.join(page["corosync.apply"])
    assert f"Way out, over public: {way} Or on the master" in " ".join(seen.split()), seen
    assert "salt-call" not in seen and max(map(len, seen.splitlines())) <= 80, seen
    seen = door.run(*page["corosync.plan"], code=AGGREGATE)
    assert way in seen and "salt-call" not in seen, seen
    seen = door.run(*page["state.apply"], code=AGGREGATE)
    assert "corosync.ring_layout" in seen and "prod has NO QUORUM" in seen, seen
    seen = door.run(*page["corosync.apply"], "patience=0", code=AGGREGATE)
    assert "add link 2 on public" in seen, seen
    assert "198.51.100.10" in door.pair.one.local.read_text(), "the node did its own part"
