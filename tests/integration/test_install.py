"""
The code as it reaches a minion and a master: synced from file_roots, and installed by pip as a Salt
extension.
"""

import json
import os
import pathlib
import subprocess
import sys

import conftest
import pytest

REPO = conftest.REPO
MODULES = {
    "corosync": {"facts", "step", "observe", "plan", "apply", "status", "secure_authkey", "backups"},
    "pvecm": {"delnode", "add", "joinable", "status"},
    "pve_node": {"hold_primary", "names"},
}
STATES = {"corosync.ring_layout", "corosync.authkey_managed", "pve_node.primary", "pve_node.trusted"}
RUNNERS = {
    "corosync.status",
    "corosync.plan",
    "corosync.apply",
    "corosync.pillar",
    "corosync.rebuild",
    "corosync.about",
}
SLS = [path for end in ("sls", "jinja") for path in (REPO / "states").glob(f"[a-z]*/*.{end}")]
#: what the loaders make of one configuration, told as JSON: run in a process of its own, as a daemon would
#: be.
PROBE = """
import json, sys
import salt.config, salt.loader
opts = salt.config.DEFAULT_MINION_OPTS.copy()
opts.update(json.loads(sys.argv[1]))
master = salt.config.DEFAULT_MASTER_OPTS.copy()
master.update(json.loads(sys.argv[1]))
utils = salt.loader.utils(opts)
functions = salt.loader.minion_mods(opts, utils=utils)
states = salt.loader.states(opts, functions, utils, {})
runners = salt.loader.runner(master, utils=salt.loader.utils(master))
names = ("corosync.", "pvecm.", "pve_node.", "pmxcfs.", "pvesr.", "ha_manager.")
told = {"modules": [n for n in functions if n.startswith(names)],
        "states": [n for n in states if n.startswith(names)],
        "runners": [n for n in runners if n.startswith(names)]}
told["output"] = salt.loader.outputters(opts)["corosync_table"](json.loads(sys.argv[2]))
told["files"] = sorted({sys.modules[functions[n].__module__].__file__ for n in told["modules"]})
told["about"] = runners["corosync.about"]()
told["check"] = functions["corosync.check"]("totem {")
print("TOLD" + json.dumps(told))
"""
REPORT = {"do": "plan", "findings": [], "summary": "nothing", "retcode": 0}


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A PATH on which the programs are that make the modules load; none of them is run."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("pmxcfs", "pvecm", "pvesr", "ha-manager", "corosync-cfgtool"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    (folder / "corosync").write_text("#!/bin/sh\necho 'parser error: Missing closing brace' >&2\nexit 8\n")
    (folder / "corosync").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def probe(python, cache, tools, **opts):
    opts = {
        "cachedir": str(cache),
        "extension_modules": str(cache / "extmods"),
        "file_client": "local",
        "grains": {},
        "id": "pve1",
        "pillar": {},
    } | opts
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {"PATH": tools}
    done = subprocess.run(
        [python, "-c", PROBE, json.dumps(opts), json.dumps(REPORT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=env,
        cwd=cache,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("TOLD")[-1])


def complete(told):
    have = set(told["modules"])
    missing = {f"{module}.{name}" for module, names in MODULES.items() for name in names} - have
    assert not missing
    assert not STATES - set(told["states"]) and not RUNNERS - set(told["runners"])
    assert "nothing" in told["output"]
    assert told["check"]["ok"] is False and "Missing closing brace" in told["check"]["text"], (
        "the core is imported"
    )


def test_installed_by_pip_everything_loads(installed, tmp_path, tools):
    python, site = installed
    told = probe(python, tmp_path, tools)
    complete(told)
    assert all(pathlib.Path(path).is_relative_to(site) for path in told["files"]), told["files"]
    assert told["about"]["states"] == str(site / "saltext/pve_corosync/sls")


def test_installed_from_a_checkout_everything_loads(editable, tmp_path, tools):
    """pip install -e: an edit in the checkout counts at once."""
    python, source = editable
    told = probe(python, tmp_path, tools)
    complete(told)
    assert all(pathlib.Path(path).is_relative_to(source) for path in told["files"]), told["files"]
    assert told["about"]["code"] == str(source / "_utils/pve_corosync")


def test_the_wheel_has_the_code_and_nothing_else(installed):
    _, site = installed
    tops = {path.name.split("-")[0] for path in site.iterdir() if path.suffix != ".pth"}
    assert tops in ({"saltext", name} for name in ("saltext.pve_corosync", "saltext_pve_corosync")), tops
    package = site / "saltext/pve_corosync"
    sls = {str(path.relative_to(REPO / "states")) for path in SLS}
    assert {str(path.relative_to(package / "sls")) for path in (package / "sls").rglob("*.*")} == sls
    for kind in ("modules", "states", "runners", "utils", "output", "beacons", "wrapper"):
        here, there = REPO / f"_{kind}", package / kind
        wanted = {str(path.relative_to(here)) for path in here.rglob("*.py")}
        assert {str(path.relative_to(there)) for path in there.rglob("*.py")} == wanted


def test_the_orchestrations_of_the_wheel_run(installed, tmp_path):
    """From the folder that corosync.about names, with the state that the extension brings."""
    python, site = installed
    config = {
        "root_dir": str(tmp_path),
        "cachedir": str(tmp_path / "cache"),
        "pki_dir": str(tmp_path / "pki"),
        "file_roots": {"base": [str(site / "saltext/pve_corosync/sls")]},
        "pillar_roots": {"base": [str(tmp_path)]},
    }
    (tmp_path / "cache/proc").mkdir(parents=True)  # the daemon, which is not there, makes it
    (tmp_path / "master").write_text(json.dumps(config))
    run = [python, "-c", "from salt.scripts import salt_run; salt_run()", "-c", str(tmp_path)]
    done = subprocess.run(
        [*run, "state.orchestrate", "orch.failover", 'pillar={"skpi": 1}'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done
    assert "Function: corosync_run.phase" in done.stdout, done.stdout + done.stderr
    assert "orch.failover knows no pillar key 'skpi'" in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def synced(tmp_path_factory, tools):
    """The tree synced to a minion without a master: ``(what saltutil.sync_all says, cache, call)``."""
    folder = tmp_path_factory.mktemp("synced")
    conf, cache = folder / "conf", folder / "cache"
    conf.mkdir()
    (conf / "minion").write_text(
        json.dumps(
            {
                "file_client": "local",
                "id": "pve1",
                "root_dir": str(folder),
                "cachedir": str(cache),
                "extension_modules": str(cache / "extmods"),
                "file_roots": {"base": [str(REPO / "states")]},
                "file_ignore_glob": conftest.COMPILED,
                "enable_fqdns_grains": False,
            }
        )
    )
    call = [
        str(pathlib.Path(sys.executable).with_name("salt-call")),
        "--local",
        "-c",
        str(conf),
        "--out=json",
    ]

    def run(*words):
        done = subprocess.run(
            [*call, *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=dict(os.environ, PATH=tools),
        )
        assert done.stdout, done.stderr[-3000:]
        return json.loads(done.stdout)["local"]

    return run("saltutil.sync_all"), cache, run


def probe_synced(python, cache, folder, tools):
    """What the loaders make of the synced code; complete, and from nowhere else."""
    extmods = cache / "extmods"
    told = probe(
        python,
        folder,
        tools,
        cachedir=str(cache),
        extension_modules=str(extmods),
        runner_dirs=[str(REPO / "_runners")],
        utils_dirs=[str(extmods / "utils")],
    )
    complete(told)
    assert all(pathlib.Path(path).is_relative_to(extmods) for path in told["files"]), told["files"]
    assert told["about"]["code"] == str(extmods / "utils/pve_corosync")


def test_synced_from_file_roots_everything_loads(synced, tmp_path, tools):
    told, cache, run = synced
    assert "modules.corosync_alone" in told["modules"] and "states.corosync" in told["states"]
    assert "utils.pve_corosync.run.alone" in told["utils"] and "output.corosync_table" in told["output"]
    assert not any(run("saltutil.sync_all").values())
    probe_synced(sys.executable, cache, tmp_path, tools)
    assert run("--pillar-root", str(tmp_path), "corosync.plan")["findings"][0]["code"] == "pillar-none"


def test_what_is_synced_wins_over_an_older_package(synced, installed, tmp_path, tools):
    probe_synced(installed[0], synced[1], tmp_path, tools)


def test_the_states_render_for_a_node(tmp_path, tools):
    """Every SLS of `corosync` compiles with the example pillar, beside a root of the user's own."""
    conf, own = tmp_path / "conf", tmp_path / "srv"
    conf.mkdir()
    own.mkdir()
    (own / "top.sls").write_text("base: {'*': [corosync]}\n")
    (conf / "minion").write_text(
        json.dumps(
            {
                "file_client": "local",
                "id": "pve1",
                "root_dir": str(tmp_path),
                "cachedir": str(tmp_path / "cache"),
                "file_roots": {"base": [str(own), str(REPO / "states")]},
                "pillar_roots": {"base": [str(REPO / "pillar")]},
                "enable_fqdns_grains": False,
                "module_dirs": [str(REPO / "_modules")],
                "states_dirs": [str(REPO / "_states")],
                "utils_dirs": [str(REPO / "_utils")],
            }
        )
    )
    call = [
        str(pathlib.Path(sys.executable).with_name("salt-call")),
        "--local",
        "-c",
        str(conf),
        "--out=json",
    ]
    done = subprocess.run(
        [*call, "state.show_highstate"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=dict(os.environ, PATH=tools),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)["local"]
    assert isinstance(shown, dict), shown
    assert [name for name in shown if "ring_layout" in str(shown[name].get("corosync"))] == [
        "links of the cluster"
    ]
    order = sorted(
        shown,
        key=lambda name: min(
            row["order"]
            for rows in shown[name].values()
            if isinstance(rows, list)
            for row in rows
            if isinstance(row, dict) and "order" in row
        ),
    )
    assert order.index("links of the cluster") < order.index("names of the cluster")
