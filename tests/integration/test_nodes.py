"""
The real code on real minions, whose corosync and pmxcfs are recorded tools: states, runner, exit codes.

Once the code is synced from file_roots, once it is installed by pip on the master and on the minions.
"""

import json
import sys
import threading

import attr
import conftest
import pytest

sys.path.insert(0, str(conftest.REPO / "tests" / "functional"))

from _corosync_world import conf, put  # noqa: E402
from _two_nodes import INTERFACES, PILLAR, Pair, parsed  # noqa: E402

STATE = "corosync_|-links of the cluster_|-links of the cluster_|-ring_layout"
NAMES = ("pve1", "pve2")


class Nodes:
    """Master, minions, and the two nodes behind them; each minion has the tools of its node on its PATH."""

    def __init__(self, pair, pillar_path, master, python):
        self.pair, self.pillar_path, self.master = pair, pillar_path, master
        self.runner, self.cli = conftest.commands(master, python)

    def run(self, *words):
        """``salt-run`` with JSON output."""
        return self.runner.run(*words)

    def states(self, target, *words):
        """``salt TARGET state.apply …``: ``{node: row of the links}``."""
        said = self.cli.run("state.apply", "corosync.links", *words, minion_tgt=target)
        assert isinstance(said.data, dict), said
        rows = (
            said.data if set(said.data) <= {f"{self.kind}-{name}" for name in NAMES} else {target: said.data}
        )
        return {name.rpartition("-")[2]: row[STATE] for name, row in rows.items()}

    @property
    def kind(self):
        return self.master.id

    def minion(self, name):
        return f"{self.kind}-{name}"

    def write(self, layout="nominal"):
        nodes = {name: row | {"minion": self.minion(name)} for name, row in PILLAR["nodes"].items()}
        conftest.write_pillar(self.pillar_path, PILLAR | {"nodes": nodes, "layout": layout})

    def versions(self):
        return {parsed(text)[0] for text in self.pair.texts()}


class Share:
    """``/etc/pve`` of both nodes is one, as pmxcfs makes it: the newest cluster file is on both, and runs."""

    def __init__(self, pair):
        self.pair, self.end = pair, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(10)

    def work(self):
        while not self.end.wait(0.05):
            texts = [node.cluster.read_text() for node in self.pair.both if node.cluster.exists()]
            if len(set(texts)) < 2:
                continue
            newest = max(texts, key=lambda text: parsed(text)[0])
            for node in self.pair.both:
                for path in (node.cluster, node.local):
                    put(path, newest)
                version, nodes = parsed(newest)
                node.daemon(version=version, nodes=nodes)


#: files of a root of the user's own, in folders that are called like ours.
TREE = ("tests/one", "states/two", "docs/three", "_modules_of_others/four", "README.md")


def pip_factories(salt_factories, folder, python):
    """Return what starts Salt's programs with another Python, without the tree on its path."""
    return attr.evolve(
        salt_factories, root_dir=folder, scripts_dir=None, python_executable=python, code_dir=None
    )


@pytest.fixture(scope="module", params=["synced", "pip"])
def nodes(request, salt_factories, tmp_path_factory, forking):
    """The daemons, started, with the code from file_roots or from the wheel."""
    path, pillar_path = tmp_path_factory.mktemp("pair"), tmp_path_factory.mktemp("pillar")
    (pillar_path / "top.sls").write_text("base: {'*': [corosync]}\n")
    kind, own = request.param, tmp_path_factory.mktemp("own")
    python, states = forking, conftest.REPO / "states"
    if kind == "pip":
        python, site = request.getfixturevalue("installed")
        salt_factories = pip_factories(salt_factories, tmp_path_factory.mktemp("pip"), python)
        states = site / "saltext/pve_corosync/sls"
    # A master that has states of its own: ours are added behind them.
    roots = [str(own), str(states)]
    for name in TREE:
        (own / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (own / "tree" / name).write_text(name)
    with pytest.MonkeyPatch.context() as patch:
        pair = Pair(path, patch)
    ssh = (pair.one.bin / "ssh").read_text()
    put(pair.two.bin / "ssh", ssh.replace(f"{path}/two", f"{path}/one"), 0o755)
    locks = [node.root / "etc/pve/priv/lock" for node in pair.both]
    locks[1].rmdir()
    locks[1].symlink_to(locks[0])
    master = salt_factories.salt_master_daemon(
        kind,
        overrides={
            "file_roots": {"base": roots},
            "pillar_roots": {"base": [str(pillar_path)]},
            "file_ignore_glob": conftest.COMPILED,
            "pve_corosync": {"minions": f"{kind}-*"},
        },
    )
    site = Nodes(pair, pillar_path, master, python)
    site.write()
    minions = [daemon(site, name, node) for name, node in zip(NAMES, pair.both)]
    with master.started(), minions[0].started(), minions[1].started():
        assert site.run("saltutil.sync_all").returncode == 0
        synced = site.cli.run("saltutil.sync_all", minion_tgt="*")
        assert synced.returncode == 0
        assert {bool(row["modules"]) for row in synced.data.values()} == {kind == "synced"}, synced
        yield site


def daemon(site, name, node):
    minion = site.master.salt_minion_daemon(
        site.minion(name), overrides={"pve_corosync": {"root": str(node.root)}}
    )
    tools = {"PATH": f"{node.bin}:{minion.environ['PATH']}", "WORLD": str(node.bin.parent)}
    minion.environ = dict(minion.environ, **tools, RING_ROOT=str(node.root))
    return minion


@pytest.fixture
def site(nodes):
    """Both nodes healthy on the nominal layout, in one version that no test has had before."""
    nodes.write()
    version = max(nodes.versions()) + 1
    text = conf(version, extra=INTERFACES)
    for node in nodes.pair.both:
        for path in (node.local, node.cluster):
            put(path, text)
        node.daemon(running=True, version=version, nodes=parsed(text)[1])
    nodes.pair.quorum(True)
    return nodes


def test_states_of_the_users_own_are_served_as_before(site, tmp_path):
    """A tree with folders that are called like ours arrives whole."""
    target = tmp_path / "target"
    rows = site.cli.run(
        "state.single", "file.recurse", f"name={target}", "source=salt://tree", minion_tgt=site.minion("pve1")
    )
    assert [row["result"] for row in rows.data.values()] == [True], rows
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == set(TREE)


def test_minions_see_nothing_but_states_and_code(site):
    listed = site.cli.run("cp.list_master", minion_tgt=site.minion("pve1"))
    tops = {path.split("/")[0] for path in listed.data}
    code = {f"_{kind}" for kind in ("modules", "states", "runners", "utils", "output", "beacons")}
    assert tops == {"tree", "corosync", "orch", "reactor"} | (code if site.kind == "synced" else set())


def test_facts_of_both_nodes_and_the_status_with_its_exit_code(site):
    facts = site.cli.run("corosync.facts", minion_tgt="*").data
    assert {row["node"] for row in facts.values()} == set(NAMES)
    assert {row["runtime"]["version"] for row in facts.values()} == site.versions()
    assert site.run("corosync.status", "nonsense=1").returncode == 2
    site.pair.quorum(False, dead=[0])
    ret = site.run("corosync.status")
    assert ret.returncode == 1, ret
    assert [row["quorate"] for row in ret.data["state"]] == [False, False]
    assert ret.data["matrix"]["pve1"]["pve2"]["0"] != "connected"
    site.pair.quorum(True)
    ret = site.run("corosync.status")
    assert ret.data["matrix"]["pve1"]["pve2"] == {"0": "connected"} and ret.data["in_force"] == ["nominal"]
    errors = [item for item in ret.data["findings"] if item["severity"] == "error"]
    assert (ret.returncode, errors) == (0, []), ret


def test_the_state_changes_the_layout_once_and_then_nothing(site):
    before = site.versions()
    rows = site.states(site.minion("pve1"))
    assert (rows["pve1"]["result"], rows["pve1"]["changes"]) == (True, {}), rows
    site.write("degraded")
    tested = site.states(site.minion("pve1"), "test=True")["pve1"]
    assert tested["result"] is None and "198.51.100.10" in json.dumps(tested["changes"]), tested
    assert site.versions() == before
    with Share(site.pair):
        rows = site.states(f"{site.kind}-*")
        assert [row["result"] for row in rows.values()] == [True, True], rows
        assert len([row for row in rows.values() if row["changes"]]) == 1, rows
        reached = site.versions()
        rows = site.states(f"{site.kind}-*")
        assert [(row["result"], row["changes"]) for row in rows.values()] == [(True, {})] * 2, rows
    assert site.versions() == reached and len(reached) == 1 and reached != before
    assert len(site.pair.texts()) == 1 and "ring1_addr" in site.pair.texts().pop()


def test_without_quorum_the_state_touches_nothing_and_names_the_command(site):
    site.write("degraded")
    site.pair.quorum(False, dead=[0])
    before = site.pair.texts()
    row = site.states(site.minion("pve2"))["pve2"]
    assert (row["result"], row["changes"]) == (False, {}) and "salt-run" in row["comment"], row
    assert site.pair.texts() == before


def test_the_pillar_of_the_cluster_is_what_its_first_plan_leaves_empty(site):
    ret = site.runner.run("corosync.pillar", f"{site.kind}-*", "--out=txt")
    assert ret.returncode == 0 and "# Its first plan is empty." in ret.stdout, ret
    (site.pillar_path / "corosync.sls").write_text(ret.stdout)
    plan = site.run("corosync.plan")
    assert (plan.returncode, plan.data["steps"], plan.data["layout"]) == (0, [], "nominal"), plan
    assert site.run("corosync.pillar", "nobody*").returncode == 1


def test_a_rebuild_is_told_and_refused_before_anything_is_changed(site):
    for node in site.pair.both:
        node.tool("pvecm", "exit 1")
    told = site.run("corosync.rebuild", "pve2", "test=True")
    assert (told.returncode, told.data["result"]) == (0, "test"), told
    assert "member already" in told.data["summary"]
    assert site.run("corosync.rebuild", "pve9").returncode == 1
    two = site.pair.two
    two.daemon(running=False)
    key = two.root / "etc/corosync/authkey"
    kept = {path: path.read_bytes() for path in (two.local, two.cluster, key)}
    try:
        put(key, "of another cluster", 0o600)
        refused = site.run("corosync.rebuild", "pve2")
        assert (refused.returncode, refused.data["result"]) == (1, "refused"), refused
        assert [item["code"] for item in refused.data["findings"]] == ["rebuild-not-empty"]
        for path in kept:
            path.unlink()
        told = site.run("corosync.rebuild", "pve2", "test=True")
        assert (told.returncode, told.data["result"]) == (0, "test"), told
        assert (
            "would join by pve1 (10.66.0.1), links 0: 10.66.0.2; its entry is overwritten"
            in told.data["summary"]
        )
    finally:
        for path, data in kept.items():
            path.write_bytes(data)
        key.chmod(0o400)
    assert not [call for node in site.pair.both for call in node.calls("pvecm")]


def test_orch_rebuild_says_which_node_it_wants(site):
    ret = site.runner.run("state.orchestrate", "orch.rebuild", "--out=json")
    assert ret.returncode == 1 and 'pillar=\'{\\"node\\": \\"pve2\\"}\'' in ret.stdout, ret
