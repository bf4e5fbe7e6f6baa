"""A real master and two real minions with the real code, and a simulated cluster behind the minions."""

import fcntl
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import time

import pytest
import salt.version
from pve_corosync import conf as corosync_conf

from tests.support import forked

REPO = pathlib.Path(__file__).resolve().parents[2]
SIM = REPO / "tests" / "support" / "sim"

ADDRESSES = {
    "pve1": {"vrack": "10.66.0.1", "public": "198.51.100.10"},
    "pve2": {"vrack": "10.66.0.2", "public": "203.0.113.20"},
}
#: a developer's checkout holds what Python compiled; a user's does not.
COMPILED = ["*.pyc", "*/__pycache__/*"]
PILLAR = {
    "cluster_name": "prod",
    "nodes": {
        name: {"nodeid": number, "addresses": ADDRESSES[name]} for number, name in enumerate(ADDRESSES, 1)
    },
    "layouts": {
        "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
        "degraded": {
            "links": {0: {"network": "public"}, 1: {"network": "vrack", "priority": 10}},
            "primary": "public",
        },
    },
    "layout": "nominal",
}
VRACK, PUBLIC = "10.66.", "198.51."
#: seconds that a master waits for facts: two masters and their minions share two cores, and a healthy node
#: that is late would be told as silent.
PATIENCE = 10
SILENT = 3 * PATIENCE


@pytest.fixture(scope="session")
def salt_factories_config():
    return {"code_dir": str(REPO), "start_timeout": 90}


@pytest.fixture(scope="session")
def cluster_path(tmp_path_factory):
    return tmp_path_factory.mktemp("sim") / "cluster.json"


@pytest.fixture(scope="session")
def pillar_path(tmp_path_factory):
    return tmp_path_factory.mktemp("pillar")


@pytest.fixture(scope="session")
def forking(tmp_path_factory):
    """What stands for Python in the command lines of `salt` and `salt-run`: a fork that has imported Salt."""
    with forked.launcher(tmp_path_factory.mktemp("forked")) as program:
        yield program


@pytest.fixture(scope="session")
def site(salt_factories, cluster_path, pillar_path, forking):
    """Master and minions, started, with this project's code on both sides."""
    write_pillar(pillar_path, PILLAR)
    (pillar_path / "top.sls").write_text("base: {'*': [corosync]}\n")
    cluster_path.write_text(json.dumps(nominal()))
    master = salt_factories.salt_master_daemon(
        "ring-master",
        overrides={
            "file_roots": {"base": [str(SIM), str(REPO / "states")]},
            "file_ignore_glob": COMPILED,
            "pillar_roots": {"base": [str(pillar_path)]},
            "pve_corosync": {
                "minions": "pve*",
                "gather_timeout": PATIENCE,
                "step_margin": 2,
                "outcome_patience": 12,
                "answer_grace": 2,
                "verify_timeout": 3,
            },
        },
    )
    # Salt's own default; with the 0.05 of salt-factories a beacon's second is twenty
    overrides = {"sim_cluster": str(cluster_path), "loop_interval": 1}
    minions = [master.salt_minion_daemon(name, overrides=overrides) for name in ADDRESSES]
    with master.started(), minions[0].started(), minions[1].started():
        run, cli = commands(master, forking)
        assert run.run("saltutil.sync_all").returncode == 0
        synced = cli.run("saltutil.sync_all", minion_tgt="*")
        assert synced.returncode == 0, synced
        for name in ADDRESSES:
            assert "modules.corosync" in synced.data[name]["modules"], synced
        yield Site(master, run, cli, cluster_path, pillar_path)


@pytest.fixture
def cluster(site):
    """The site with a healthy nominal cluster, its pillar, and a master that remembers nothing."""
    shutil.rmtree(site.state_dir, ignore_errors=True)
    site.write(nominal())
    write_pillar(site.pillar_path, PILLAR)
    return site


def commands(master, python):
    """``salt-run`` and ``salt`` of a master, with this program for Python."""
    found = master.salt_run_cli(timeout=120), master.salt_cli(timeout=120)
    for cli in found:
        cli.python_executable = python
    return found


class Site:
    """What the tests do with the master and the simulated cluster."""

    def __init__(self, master, run, salt, cluster_path, pillar_path):
        self.master, self.cli, self.salt = master, run, salt
        self.cluster_path, self.pillar_path = cluster_path, pillar_path
        self.state_dir = pathlib.Path(master.config["cachedir"], "pve-corosync")

    def run(self, *words):
        """``salt-run`` with JSON output."""
        return self.cli.run(*words)

    def text(self, *words):
        """``salt-run`` with what an operator sees."""
        return self.cli.run(*words, "--out=corosync_table")

    def command(self, *words):
        """The words of a ``salt-run`` with a Python of its own, which a test can send signals to."""
        return [sys.executable, *self.cli.cmdline(*words)[1:]]

    def state(self):
        with open(self.cluster_path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return json.load(file)

    def write(self, state):
        self.change(lambda now: (now.clear(), now.update(state)))

    def change(self, function):
        """Change the state under the lock that the simulated nodes take."""
        with open(self.cluster_path, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = json.load(file)
            function(state)
            file.seek(0)
            file.write(json.dumps(state))
            file.truncate()

    def fault(self, node, **faults):
        self.change(lambda state: state["nodes"][node]["faults"].update(faults))

    def cut(self, *networks):
        self.change(lambda state: state.update(dead=list(networks)))

    def wait_for(self, true, seconds=10):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "did not come within the time"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A Python with this Salt and with this project installed by pip: ``(python, site-packages)``."""
    python, site = python_with_salt(tmp_path_factory.mktemp("installed"))
    _pip("--python", python, "install", "--no-deps", _wheel(tmp_path_factory.mktemp("wheel")))
    return python, site


@pytest.fixture(scope="session")
def editable(tmp_path_factory):
    """A Python with this Salt and this project installed by ``pip install -e``: ``(python, checkout)``."""
    python, _ = python_with_salt(tmp_path_factory.mktemp("editable"))
    source = _source(tmp_path_factory.mktemp("checkout"))
    _pip("--python", python, "install", "--no-deps", "-e", source)
    return python, source


def python_with_salt(folder):
    """Make a Python that has what this one has: ``(python, site-packages)``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    site = folder / f"lib/python{sysconfig.get_python_version()}/site-packages"
    (site / "salt.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(folder / "bin/python"), site


def _pip(*words):
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True, timeout=240)


def _wheel(folder):
    """Build the wheel of the tree, as pip does, without touching the tree."""
    _pip("wheel", "--no-deps", "-w", folder / "dist", _source(folder))
    return next((folder / "dist").glob("*.whl"))


def _source(folder):
    """Copy the tree as git has it, with what is edited and not committed yet."""
    copy = folder / "source"
    subprocess.run(
        ["git", "-C", str(REPO), "checkout-index", "--all", f"--prefix={copy}/"], check=True, timeout=60
    )
    for kind in ("_modules", "_states", "_runners", "_utils", "_output", "_beacons", "_wrapper", "saltext"):
        for path in (REPO / kind).rglob("*.py"):
            target = copy / path.relative_to(REPO)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copy


def write_pillar(path, pillar):
    (path / "corosync.sls").write_text(json.dumps({"corosync": pillar}))


def conf(version=5):
    links = {0: {"addresses": {name: row["vrack"] for name, row in ADDRESSES.items()}, "options": {}}}
    nodes = {name: {"nodeid": number} for number, name in enumerate(ADDRESSES, 1)}
    return corosync_conf.render("prod", nodes, links, version).decode("latin-1")


def nominal():
    text = conf()
    return {
        "shared": text,
        "dead": [],
        "addresses": {name: list(row.values()) for name, row in ADDRESSES.items()},
        "nodes": {
            name: {"local": text, "running": text, "lock": None, "outcomes": {}, "faults": {}}
            for name in ADDRESSES
        },
    }


def pytest_report_header():
    return f"salt {salt.version.__version__}"


def pytest_sessionfinish():
    # Salt's handlers write to streams that pytest has closed by then; logging would print a page for each.
    logging.raiseExceptions = False
