"""Highstate, a node by itself, drift and adoption, on real daemons."""

import json
import re
import threading
import time

import pytest
from highstates import all_unmet, changes, highstate, layout_state, ring_id, unmet, wanted
from links import files, version
from runbook import commands, typed

from lab.cluster import wait_for
from lab.host import REPO

PILLAR_FILES = sorted(str(path.relative_to(REPO / "pillar")) for path in (REPO / "pillar").rglob("*.sls"))


def with_pillar(lab, node):
    """Lay the master's pillar on a node, where salt-call --local looks for it."""
    for name in PILLAR_FILES:
        text = lab.read("master", f"/srv/pillar/{name}")
        lab.exec(node, ["mkdir", "-p", "/srv/pillar/corosync"], check=True)
        lab.write(node, f"/srv/pillar/{name}", text)


def local(lab, node, *words, timeout=400):
    """Run salt-call --local on a node, with the pillar in a file there; return (exit code, report)."""
    with_pillar(lab, node)
    done = lab.exec(
        node, ["salt-call", "--local", "--retcode-passthrough", "--out=json", *words], timeout=timeout
    )
    return done.returncode, json.loads(done.stdout)["local"]


@pytest.fixture(autouse=True)
def answering(lab):
    lab.wait_minions()


def test_highstate_on_both_nodes_at_once_changes_the_layout_once(lab):
    """
    One node makes the change for both; test=True told it before; another highstate changes nothing at all.
    """
    before, ring = {node: version(lab, node) for node in lab.nodes}, ring_id(lab, "pve1")
    tested = highstate(lab, "pve*", "test=True", wanted("degraded"))
    assert {node: version(lab, node) for node in lab.nodes} == before
    done = highstate(lab, "pve*", wanted("degraded"))
    rows = {node: layout_state(states) for node, states in done.items()}
    assert all(row["result"] is True for row in rows.values()), rows
    changed = [node for node, row in rows.items() if row["changes"]]
    assert len(changed) == 1, rows
    assert layout_state(tested[changed[0]])["changes"] == rows[changed[0]]["changes"]
    assert all_unmet(done) == {}
    assert ring_id(lab, "pve1") == ring, "no membership was lost on the way"
    assert len(files(lab)) == 1
    members = json.loads(lab.read("pve1", "/etc/pve/.members"))["nodelist"]
    assert {name: row["ip"] for name, row in members.items()} == {
        "pve1": "198.51.101.10",
        "pve2": "198.51.102.10",
    }

    after = {node: version(lab, node) for node in lab.nodes}
    again = highstate(lab, "pve*", wanted("degraded"))
    assert {key for states in again.values() for key, row in states.items() if row["changes"]} == set(), again
    assert {node: version(lab, node) for node in lab.nodes} == after

    back = highstate(lab, "pve*")
    assert sum(bool(layout_state(states)["changes"]) for states in back.values()) == 1, back
    lab.salt_run("corosync.replicate", "nominal", check=True)  # its own schedule would have run it by then
    verified = json.loads(lab.salt_run("--out=json", "corosync.verify", "nominal").stdout)
    assert verified["retcode"] == 0, [item for item in verified["checklist"] if not item["ok"]]
    again = highstate(lab, "pve*")
    assert not any(row["changes"] for states in again.values() for row in states.values()), again


def test_a_highstate_that_is_killed_in_the_middle_is_finished_by_the_other_nodes(lab):
    """The lock of the dead holder ends by itself; the other highstate plans from what is there."""
    first = version(lab, "pve1")
    script = (
        f"salt-call state.apply '{wanted('degraded')}' & P=$!; for i in $(seq 1 900); do sleep 0.1; "
        f"[ $(sed -n 's/^ *config_version: *//p' /etc/corosync/corosync.conf) -gt {first} ] && break; done; "
        "kill -9 $P; wait $P"
    )
    results = {}
    killed = threading.Thread(
        target=lambda: results.update(pve1=lab.exec("pve1", ["bash", "-c", script], timeout=120))
    )
    killed.start()
    wait_for(
        lambda: lab.exec("pve1", ["test", "-d", "/etc/pve/priv/lock/pve-corosync"]).returncode == 0,
        90,
        what="pve1 to take the lock",
    )
    waiting = threading.Thread(
        target=lambda: results.update(highstate(lab, "pve2", wanted("degraded"), timeout=400))
    )
    waiting.start()
    killed.join()
    assert results["pve1"].returncode == 137
    reached = lab.read("pve1", "/etc/pve/corosync.conf").split("config_version: ")[1].split()[0]
    assert first < int(reached) < first + 4, "it was killed in the middle"
    begin = time.monotonic()
    waiting.join()
    row = layout_state(results["pve2"])
    assert row["result"] is True and row["changes"], row
    assert time.monotonic() - begin < 220
    assert len(files(lab)) == 1 and all(map(lab.healthy, lab.nodes))
    rows = highstate(lab, "pve1", wanted("degraded"))["pve1"]
    assert unmet(rows) == {}
    assert not layout_state(rows)["changes"]


def bump(lab):
    """Raise the version, so that there can be an older one; return the text."""
    path, first = "/etc/pve/corosync.conf", version(lab, "pve1")
    text = lab.read("pve1", path).replace(f"config_version: {first}", f"config_version: {first + 1}")
    lab.write("pve1", f"{path}.new", text)
    lab.exec("pve1", ["mv", f"{path}.new", path], check=True)
    wait_for(lambda: {version(lab, node) for node in lab.nodes} == {first + 1}, 15, what="the new version")
    assert files(lab) == {text}
    return text


def older(text):
    return re.sub(r"(config_version: )(\d+)", lambda found: f"{found[1]}{int(found[2]) - 1}", text)


DRIFT = {
    "older local file": (
        "pve1",
        "/etc/corosync/corosync.conf",
        older,
    ),
    "missing local file": ("pve2", "/etc/corosync/corosync.conf", lambda text: None),
    "broken local file": ("pve1", "/etc/corosync/corosync.conf", lambda text: text[: len(text) // 2]),
    "same version, other bytes": ("pve2", "/etc/corosync/corosync.conf", lambda text: f"# by hand\n{text}"),
    "newer local file": (
        "pve2",
        "/etc/corosync/corosync.conf",
        lambda text: text.replace("config_version: ", "config_version: 7"),
    ),
}


@pytest.mark.parametrize("kind", DRIFT)
def test_drift_of_a_file_is_repaired_by_any_nodes_highstate(lab, kind):
    """All copies and daemons have one version again, and the ring stays."""
    node, path, change = DRIFT[kind]
    bump(lab)
    ring = ring_id(lab, "pve1")
    text = change(lab.read(node, path))
    if text is None:
        lab.exec(node, ["rm", path], check=True)
    else:
        lab.write(node, path, text)
    tested = layout_state(highstate(lab, "pve1", "test=True")["pve1"])
    assert tested["result"] is None and tested["changes"], tested
    done = layout_state(highstate(lab, "pve1")["pve1"])
    assert done["result"] is True and done["changes"] == tested["changes"], done
    assert len(files(lab)) == 1
    assert len({version(lab, name) for name in lab.nodes}) == 1
    assert ring_id(lab, "pve1") == ring
    assert not layout_state(highstate(lab, "pve2")["pve2"])["changes"]


def test_a_cluster_file_that_is_behind_is_repaired(lab):
    """A local edit never flows back to /etc/pve by itself."""
    path = "/etc/corosync/corosync.conf"
    text = re.sub(r"config_version: \d+", "config_version: 70", lab.read("pve1", path))
    for node in lab.nodes:
        lab.write(node, path, text)
    lab.exec("pve1", ["corosync-cfgtool", "-R"], check=True)
    wait_for(lambda: {version(lab, node) for node in lab.nodes} == {70}, 10, what="the reload")
    done = layout_state(highstate(lab, "pve2")["pve2"])
    assert done["result"] is True and set(done["changes"]["diff"]) == {"cluster"}, done
    assert files(lab) == {text}


def test_what_somebody_wrote_into_a_newer_local_file_is_not_spread(lab):
    """A file that no daemon runs: refused, or dropped with a warning; encryption and token stay."""
    path = "/etc/corosync/corosync.conf"
    before = lab.read("pve1", path)
    text = re.sub(r"config_version: \d+", "config_version: 80", before)
    text = text.replace("totem {\n", "totem {\n  token: 9000\n").replace("secauth: on", "secauth: off")
    assert text.count("token: 9000") == 1 and "secauth: off" in text
    lab.write("pve2", path, text)
    done = layout_state(highstate(lab, "pve1")["pve1"])
    for name in (path, "/etc/pve/corosync.conf"):
        now = lab.read("pve1", name)
        assert "9000" not in now and "secauth: on" in now, now
    for node in lab.nodes:
        said = lab.exec(node, ["corosync-cmapctl", "-g", "runtime.config.totem.token"], check=True).stdout
        assert "9000" not in said
    if done["result"] is True:
        assert files(lab) == {lab.read("pve1", path)}
    else:
        assert not done["changes"] and done["comment"].count("pve2"), done
    assert all(map(lab.healthy, lab.nodes))


def test_key_and_names_that_drifted_are_put_right(lab):
    """The key is private again, and the names are those of the primary network; nothing else changes."""
    highstate(lab, "pve1")  # the firewall is not there yet
    key = "/etc/corosync/authkey"
    lab.exec("pve1", ["chmod", "0644", key], check=True)
    hosts = lab.read("pve1", "/etc/hosts")
    assert "10.66.0.2" in hosts
    lab.write("pve1", "/etc/hosts", hosts.replace("10.66.0.2", "198.51.102.10"))
    tested = changes(highstate(lab, "pve1", "test=True")["pve1"])
    done = highstate(lab, "pve1")["pve1"]
    assert (changes(done), unmet(done)) == (tested, {})
    assert sorted(key.split("_|-")[-1] for key in tested) == ["authkey_managed", "primary"], tested
    assert lab.exec("pve1", ["stat", "-c", "%a %U:%G", key]).stdout.strip() == "400 root:root"
    assert lab.read("pve1", "/etc/hosts") == hosts
    assert changes(highstate(lab, "pve1")["pve1"]) == {}


def world(lab):
    """Links, names and addresses of all nodes, without versions."""
    found = {}
    for node in lab.nodes:
        text = lab.read(node, "/etc/corosync/corosync.conf")
        found[node] = (
            re.sub(r"config_version: \d+", "", text),
            lab.read(node, "/etc/hosts"),
            {n: r["ip"] for n, r in json.loads(lab.read(node, "/etc/pve/.members"))["nodelist"].items()},
        )
    return found


def test_a_layout_that_the_pillar_names_is_reached_by_highstate_as_by_orchestration(lab):
    """Change `layout:`, refresh, highstate: the same as orch.failover and orch.nominal."""
    for orch in ("orch.failover", "orch.nominal"):
        done = lab.salt_run("state.orchestrate", orch, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        if orch == "orch.failover":
            degraded = world(lab)
    nominal = world(lab)
    assert degraded != nominal
    path, changed = "/srv/pillar/corosync/init.sls", "/root/init.sls"
    pillar = lab.read("master", path)
    assert "layout: nominal" in pillar
    lab.write("master", changed, pillar)
    lab.exec("master", ["mount", "--bind", changed, path], check=True)  # the tree itself is read-only there
    try:
        for name, goal in (("degraded", degraded), ("nominal", nominal)):
            lab.write("master", changed, pillar.replace("layout: nominal", f"layout: {name}"))
            lab.salt("pve*", "saltutil.refresh_pillar", "wait=True", check=True)
            rows = highstate(lab)
            assert all_unmet(rows) == {}
            assert world(lab) == goal
    finally:
        lab.exec("master", ["umount", path], check=True)
        lab.salt("pve*", "saltutil.refresh_pillar", "wait=True", check=True)


def test_a_runtime_that_missed_a_reload_is_repaired(lab):
    """The file is right, the daemon runs another version."""
    lab.exec("pve2", ["corosync-cmapctl", "-s", "totem.config_version", "u64", "99"], check=True)
    assert version(lab, "pve2") == 99
    done = layout_state(highstate(lab, "pve1")["pve1"])
    assert done["result"] is True and done["changes"], done
    assert {version(lab, node) for node in lab.nodes} == {100} and len(files(lab)) == 1


@pytest.mark.parametrize("change", [lambda text: text, older], ids=["its own file", "an older file"])
def test_a_stopped_node_is_started_with_the_file_of_the_other(lab, change):
    """From the other side it is reported; on the node itself it is repaired, also where nobody is quorate."""
    path = "/etc/corosync/corosync.conf"
    text = bump(lab)
    lab.exec("pve2", ["systemctl", "stop", "corosync"], check=True)
    lab.write("pve2", path, change(text))
    wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
    row = layout_state(highstate(lab, "pve1")["pve1"])
    assert row["result"] is False and "corosync.apply" in row["comment"], row
    tested = layout_state(highstate(lab, "pve2", "test=True")["pve2"])
    assert tested["result"] is None and tested["changes"], tested
    assert lab.exec("pve2", ["systemctl", "is-active", "-q", "corosync"]).returncode != 0
    done = layout_state(highstate(lab, "pve2")["pve2"])
    assert done["result"] is True and done["changes"] == tested["changes"], done
    assert all(map(lab.healthy, lab.nodes)) and files(lab) == {text}


def test_a_stopped_node_with_other_bytes_is_not_started(lab):
    """Which of two files of one version is right, nobody can tell; both nodes say how to get out of it."""
    path = "/etc/corosync/corosync.conf"
    text = lab.read("pve1", path)
    lab.exec("pve2", ["systemctl", "stop", "corosync"], check=True)
    lab.write("pve2", path, f"# by hand\n{text}")
    wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
    row = layout_state(highstate(lab, "pve2")["pve2"])
    assert row["result"] is False and not row["changes"] and "strategy=restart" in row["comment"], row
    assert lab.exec("pve2", ["systemctl", "is-active", "-q", "corosync"]).returncode != 0
    assert lab.read("pve1", path) == text
    done = lab.salt_run("corosync.apply", "nominal", "strategy=restart")
    assert done.returncode == 0, done.stdout
    assert all(map(lab.healthy, lab.nodes)) and len(files(lab)) == 1


def test_without_quorum_highstate_touches_nothing_and_names_the_command(lab):
    """With `degraded` it does this node's part; both nodes together bring the quorum back."""
    before = files(lab)
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="both nodes to lose quorum")
    for states in highstate(lab, "pve*", wanted("degraded")).values():
        row = layout_state(states)
        assert row["result"] is False and not row["changes"], row
        assert "salt-call --local corosync.apply degraded degraded=True" in row["comment"], row
    assert files(lab) == before
    done = highstate(lab, "pve*", wanted("degraded", corosync_degraded=True))
    rows = {node: layout_state(states) for node, states in done.items()}
    assert all(row["result"] is True and row["changes"] for row in rows.values()), rows
    assert all(map(lab.healthy, lab.nodes)) and len(files(lab)) == 1


def test_a_node_alone_does_its_part_and_the_last_one_finishes(lab):
    """
    No master, no sight of each other by ssh: pve1 adds a link, pve2 does so too and takes both to the layout.
    """
    lab.exec("master", ["systemctl", "stop", "salt-master"], check=True)
    try:
        lab.cut("vrack")
        wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="both nodes to lose quorum")
        with_pillar(lab, "pve1")
        _, said = typed(lab, "Master cut off", 0, on="pve1")
        assert "NO QUORUM" in said and said.count(commands("Master cut off")[1]) == 1, said
        code, report = local(lab, "pve1", "corosync.apply", "degraded")
        assert (code, report["result"]) == (1, "refused") and "alone-no-quorum" in [
            f["code"] for f in report["findings"]
        ]
        code, tested = local(lab, "pve1", "corosync.plan", "degraded", "degraded=True")
        code, report = local(lab, "pve1", "corosync.apply", "degraded", "degraded=True", "patience=2")
        assert (code, report["result"]) == (1, "waiting"), report
        assert tested["diffs"] == report["diffs"] and set(report["diffs"]) == {"pve1"}
        code, status = local(lab, "pve1", "corosync.status")
        assert status["matrix"]["pve1"]["pve2"] == {"0": "down", "2": "down"} and status["result"] == "errors"
        with_pillar(lab, "pve2")
        _, said = typed(lab, "Master cut off", 1, on="pve2")
        assert "reached, and verified" in said, said
        code, report = local(lab, "pve1", "corosync.apply", "degraded")
        assert (code, report["result"]) == (0, "already"), report
        assert all(map(lab.healthy, lab.nodes)) and len(files(lab)) == 1
    finally:
        lab.exec("master", ["systemctl", "start", "salt-master"], check=True)


def test_nodes_that_cannot_ask_each_other_come_to_the_same_bytes(lab):
    """ssh is closed, too: each does its part from nothing but its own files, and quorum is back."""
    for node in lab.nodes:
        local(lab, node, "corosync.status")
        lab.exec(
            node,
            ["nft", "-f", "-"],
            check=True,
            stdin="table inet mine { chain i { type filter hook input priority 0; tcp dport 22 drop; }; }\n",
        )
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="both nodes to lose quorum")
    found = {}
    calls = [
        threading.Thread(
            target=lambda node=node: found.update(
                {node: local(lab, node, "corosync.apply", "degraded", "degraded=True", "patience=30")}
            )
        )
        for node in lab.nodes
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert all(report["done"][0]["ok"] for _, report in found.values()), found
    wait_for(lambda: all(map(lab.healthy, lab.nodes)), 30, what="quorum to come back")
    copies = {lab.read(node, "/etc/corosync/corosync.conf") for node in lab.nodes}
    assert len(copies) == 1 and "198.51.101.10" in copies.pop()
    assert all("node-silent" in [f["code"] for f in report["findings"]] for _, report in found.values())


def test_the_pillar_of_a_living_cluster_makes_an_empty_plan(lab):
    """Adopting the tool is one command: what it prints is taken as it is."""
    done = lab.salt_run("corosync.pillar", check=True)
    assert "vrack0: 10.66.0.1" in done.stdout and "198.51" in done.stdout
    for node in lab.nodes:
        lab.exec(node, ["mkdir", "-p", "/srv/adopted"], check=True)
        lab.write(node, "/srv/adopted/top.sls", "base: {'*': [corosync]}\n")
        lab.write(node, "/srv/adopted/corosync.sls", done.stdout)
        told = lab.exec(
            node, ["salt-call", "--local", "--pillar-root=/srv/adopted", "--out=json", "corosync.plan"]
        )
        report = json.loads(told.stdout)["local"]
        assert (report["steps"], report["retcode"]) == ([], 0), report
        assert [f for f in report["findings"] if f["severity"] != "info"] == []
