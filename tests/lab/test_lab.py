"""The lab itself: what it promises to those who test with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import host, seed
from lab.cluster import MASTER, Lab, LabError, wait_for
from lab.node import kill_cgroup, start_time
from lab.story import phases

COMMAND = [sys.executable, str(host.REPO / "lab/lab")]
SUITE = os.environ.get("LAB_SUITES", "bookworm").split()[0]


def leftovers(name):
    """Return everything here that carries a lab's name: namespaces, cgroups, mounts, processes, folders."""
    prefix = f"pcl-{name}"
    found = [
        path
        for folder in ("/run/netns", "/run/systemd/nspawn/propagate", host.cgroup_root(), host.HOME)
        if Path(folder).is_dir()
        for path in Path(folder).iterdir()
        if path.name in (name, prefix) or path.name.startswith(f"{prefix}-")
    ]
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        found += [line for line in mounts if f"{host.HOME}/{name}/" in line or prefix in line]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [words for word in words if word.startswith(f"--machine={prefix}-")]
    return [str(item) for item in found]


def card(lab, node, name):
    """Return the state word of ip(8) for an interface of a node, None when there is no such interface."""
    for line in lab.exec(node, ["ip", "-brief", "link"], check=True).stdout.splitlines():
        if line.split("@")[0].split()[0] == name:
            return line.split()[1]
    return None


def test_first_state(lab):
    """All daemons run, one link connects the nodes, and every name resolves to the vRack."""
    for node in lab.nodes:
        assert lab.members(node) == [1, 2]
        assert lab.quorate(node)
        resolved = [
            line.split()[0] for line in lab.exec(node, ["getent", "ahostsv4", "pve2"]).stdout.splitlines()
        ]
        assert set(resolved) == {"10.66.0.2"}
        assert lab.exec(node, ["systemctl", "is-active", "ssh", "pveproxy", "salt-minion"]).returncode == 0
    links = lab.exec("pve1", ["corosync-cfgtool", "-s"]).stdout.split()
    assert (links.count("ID"), links[-2:]) == (2, ["2:", "connected"])


def test_pillar_of_the_tree_is_the_labs():
    """The example pillar is the one for two nodes, with the lab's own addresses."""
    assert (host.REPO / "pillar/corosync/nodes.sls").read_text() == seed.nodes_sls(["pve1", "pve2"])


def test_needs_root(monkeypatch):
    """Without root the lab says so, and what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="has to run as root.*sudo"):
        host.prepare()


def test_missing_kernel_feature_is_named(monkeypatch, tmp_path):
    """A machine without cgroup2 and a folder that cannot carry an overlay are refused in one sentence."""
    monkeypatch.setattr(host, "cgroup_root", lambda: None)
    with pytest.raises(LabError, match="cgroup2"):
        host.prepare()
    monkeypatch.undo()
    monkeypatch.setattr(host, "HOME", tmp_path / "a:b")  # a colon parts the layers of an overlay
    with pytest.raises(LabError, match="LAB_HOME"):
        host.prepare()


def test_networks_are_as_designed(lab):
    """The vRack is one segment; the public network is routed, and leads to the master."""
    assert lab.exec("pve1", ["ping", "-c1", "-W2", "10.66.0.2"]).returncode == 0
    via = lab.exec("pve1", ["ip", "route", "get", "198.51.102.10"], check=True).stdout
    assert "via 198.51.101.1" in via
    assert lab.exec("pve1", ["ping", "-c1", "-W2", "198.51.102.10"]).returncode == 0
    assert lab.exec("pve2", ["ping", "-c1", "-W2", "198.51.100.10"]).returncode == 0
    assert lab.exec(MASTER, ["ping", "-c1", "-W1", "10.66.0.1"]).returncode != 0


def test_nodes_reach_each_other_by_ssh_on_both_networks(lab):
    """As after a join: root gets in without a password, on either address."""
    for address in ("10.66.0.2", "198.51.102.10"):
        done = lab.exec(
            "pve1",
            ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", address, "hostname"],
        )
        assert done.stdout == "pve2\n", done.stderr


def test_cut_takes_quorum_and_heal_brings_it_back(lab):
    """A cut network drops the carrier of every node; without the vRack no node has quorum."""
    lab.cut("vrack")
    assert [card(lab, node, "vrack0") for node in lab.nodes] == ["DOWN", "DOWN"]
    assert "10.66.0.1/24" in lab.exec("pve1", ["ip", "-4", "address", "show", "vrack0"]).stdout
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="both nodes to lose quorum")
    assert lab.members("pve1") == [1]
    wait_for(
        lambda: not any(map(lab.writable, lab.nodes)), 10, what="/etc/pve to become read-only on both nodes"
    )
    lab.heal("vrack")
    assert [card(lab, node, "vrack0") for node in lab.nodes] == ["UP", "UP"]
    wait_for(lambda: all(map(lab.healthy, lab.nodes)), 30, what="both nodes to be healthy")


def test_cut_of_one_node_leaves_the_others_carrier(lab):
    """A network cut at one node is the failure of that node's cable."""
    lab.cut("vrack", "pve2")
    assert [card(lab, node, "vrack0") for node in lab.nodes] == ["UP", "DOWN"]
    assert lab.status()["cut"] == [["vrack", "pve2"]]
    assert lab.exec("pve1", ["ping", "-c1", "-W1", "10.66.0.2"]).returncode != 0
    assert lab.exec("pve1", ["ping", "-c1", "-W2", "198.51.102.10"]).returncode == 0


def test_lost_card_is_gone_with_its_address_until_healed(lab):
    """A lost card is no interface at all; heal puts it back with addresses and routes."""
    before = lab.exec("pve2", ["ip", "-4", "route"], check=True).stdout.splitlines()
    lab.lose_card("pve2", "public")
    lab.lose_card("pve2", "vrack")
    assert card(lab, "pve2", "public0") is None
    assert card(lab, "pve2", "vrack0") is None
    assert lab.exec("pve2", ["ip", "-4", "route"]).stdout == ""
    lab.heal("public")
    assert card(lab, "pve2", "public0") == "UP"
    assert card(lab, "pve2", "vrack0") is None
    lab.heal()
    assert sorted(lab.exec("pve2", ["ip", "-4", "route"]).stdout.splitlines()) == sorted(before)
    assert lab.exec("pve2", ["ping", "-c1", "-W2", "198.51.100.10"]).returncode == 0


def test_crash_and_boot_keep_the_disk(lab):
    """A crashed node is gone at once for the others, and comes back with its disk and its cut cable."""
    lab.write("pve2", "/root/kept", "yes\n")
    lab.cut("public", "pve2")
    lab.crash("pve2")
    assert lab.status()["machines"]["pve2"] == "off"
    with pytest.raises(LabError, match="does not run"):
        lab.exec("pve2", ["true"])
    assert lab.exec("pve1", ["ping", "-c1", "-W1", "10.66.0.2"]).returncode != 0
    wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
    lab.disk("pve2").write("/root/while-off", "too\n")
    lab.boot("pve2")
    wait_for(lambda: all(map(lab.healthy, lab.nodes)), 30, what="both nodes to be healthy")
    assert lab.read("pve2", "/root/kept") + lab.read("pve2", "/root/while-off") == "yes\ntoo\n"
    assert card(lab, "pve2", "public0") == "DOWN"


def test_reset_undoes_what_a_test_did(lab):
    """Other files, another link, a firewall, a stopped daemon: reset finds and undoes all of it."""
    conf = lab.read("pve1", "/etc/corosync/corosync.conf")
    for node in lab.nodes:
        lab.write(
            node,
            "/etc/corosync/corosync.conf",
            conf.replace("config_version: ", "config_version: 9").replace(
                "link_mode: passive", "link_mode: rr"
            ),
        )
    lab.write("pve1", "/etc/hosts", "127.0.0.1 localhost\n")
    lab.exec("pve2", ["nft", "add", "table", "inet", "mine"], check=True)
    lab.exec("pve2", ["mkdir", "/var/lib/pve-corosync"], check=True)
    lab.exec("pve2", ["sh", "-c", "rm -r /root/.ssh /etc/ssh/ssh_host_rsa_key*"], check=True)
    lab.exec("pve2", ["systemctl", "stop", "corosync"], check=True)
    lab.reset()
    assert lab.exec("pve1", ["pvesr", "run", "--id", "100-0"]).returncode == 0, "ssh has its keys again"
    assert all(map(lab.healthy, lab.nodes))
    for node in lab.nodes:
        assert "link_mode: passive" in lab.read(node, "/etc/corosync/corosync.conf")
        assert lab.read(node, "/etc/hosts") == seed.hosts(lab.nodes)
        assert lab.exec(node, ["nft", "list", "ruleset"]).stdout == ""
        assert lab.exec(node, ["test", "-e", "/var/lib/pve-corosync"]).returncode == 1


def test_salt_answers_with_the_modules_of_this_tree(lab):
    """The minions have the lab's pillar and the tree's modules; the master serves nothing else of it."""
    pillar = lab.salt("--out=txt", "*", "config.get", "corosync:cluster_name", check=True).stdout
    assert sorted(pillar.splitlines()) == ["pve1: prod", "pve2: prod"]
    served = json.loads(lab.salt_run("--out=json", "fileserver.file_list", check=True).stdout)
    assert "_utils/pve_corosync/conf/__init__.py" in served
    folders = {path.partition("/")[0] for path in served}
    assert not folders & {"pillar", "lab", "tests", "docs", "tools", "states"}, folders


def test_a_guest_is_replicated_as_in_the_story(lab):
    """The first state has a guest on pve1 and a replication job to pve2, that works over the vRack."""
    done = lab.exec("pve1", ["pvesr", "run", "--id", "100-0", "--verbose"])
    assert done.returncode == 0, done.stderr
    assert "end replication job" in done.stdout
    journal = lab.exec("pve2", ["journalctl", "-u", "ssh", "-o", "cat", "--no-pager"]).stdout
    assert "Accepted publickey for root from 10.66.0.1" in journal


def test_exec_gives_code_output_and_deadline(lab):
    """The result has code and streams; a program that outlives its deadline is ended in the node too."""
    done = lab.exec("pve1", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    with pytest.raises(LabError, match="did not end within 0.5 s"):
        lab.exec("pve1", ["sleep", "4321"], timeout=0.5)
    assert lab.exec("pve1", ["pgrep", "-f", "^sleep 4321"]).returncode == 1


def test_errors_say_what_there_is(lab):
    """A wrong name is answered with the names that exist."""
    for act, text in (
        (lambda: lab.exec("pve7", ["true"]), "pve1, pve2, master"),
        (lambda: lab.cut("wifi"), "vrack and public"),
        (lambda: lab.cut("vrack", MASTER), "no card in vrack"),
        (lambda: lab.boot("pve1"), "running already"),
        (lambda: lab.up(), "already"),
        (lambda: Lab("No_Such"), "up to 20"),
    ):
        with pytest.raises(LabError, match=text):
            act()


def test_two_labs_side_by_side_and_nothing_left(lab, lab_prefix):
    """A second lab, of three nodes with the same addresses, neither disturbs the first nor leaves a trace."""
    name = f"{lab_prefix}-side"
    other = Lab(name, suite=lab.suite, nodes=3)
    try:
        other.up()
        assert other.members("pve3") == [1, 2, 3]
        assert lab.members("pve1") == [1, 2]
        other.cut("vrack")
        wait_for(lambda: not other.quorate("pve3"), 40, what="pve3 of the other lab to lose quorum")
        assert all(map(lab.healthy, lab.nodes))
        ids = other.salt(
            "--out=txt", "pve3", "config.get", "corosync:nodes:pve3:addresses:public", check=True
        ).stdout
        assert ids == "pve3: 198.51.103.10\n"
        assert leftovers(name)
    finally:
        other.down()
    assert leftovers(name) == []
    assert all(map(lab.healthy, lab.nodes))


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.5])
def test_down_clears_up_after_a_killed_up(lab_prefix, tmp_path, seconds):
    """kill -9 of `lab up` at different moments: down finds everything it had made."""
    name = f"{lab_prefix}-killed"
    said = tmp_path / "up.log"
    with open(said, "w", encoding="utf-8") as file:
        up = subprocess.Popen(
            [*COMMAND, "--name", name, "up", "--suite", SUITE], stdout=file, stderr=subprocess.STDOUT
        )
    wait_for(lambda: (host.HOME / name / "state.json").exists(), 200, every=0.05, what="lab up to begin")
    time.sleep(seconds)
    assert up.poll() is None, f"lab up was done before it could be killed: {said.read_text()}"
    up.send_signal(signal.SIGKILL)
    up.wait()
    down = subprocess.run([*COMMAND, "--name", name, "down"], capture_output=True, text=True, check=False)
    assert (down.returncode, down.stderr) == (0, "")
    time.sleep(0.5)  # what a half-started child of the killed command would still do
    assert leftovers(name) == []
    again = subprocess.run([*COMMAND, "--name", name, "down"], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")


def test_only_processes_of_the_lab_are_killed(tmp_path):
    """A recorded pid that has become another process is left alone."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        name = f"t{os.getpid()}-pid"
        lab = Lab(name)
        with lab.record.change() as record:
            record.update(
                suite="bookworm",
                base=str(tmp_path),
                nodes=["pve1", "pve2"],
                cut=[],
                lost=[],
                procs={"pve1": {"pid": stranger.pid, "start": "1@another"}},
            )
        lab.down()
        assert stranger.poll() is None
        assert start_time(stranger.pid)
        assert leftovers(name) == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_cgroup_that_goes_by_itself_is_no_error(monkeypatch):
    """A systemd that is being killed removes cgroups of its own between the look and the act."""
    cgroup = host.cgroup_root() / f"pcl-t{os.getpid()}-cgroup"
    (cgroup / "payload/one.service").mkdir(parents=True)
    (cgroup / "payload/two.service").mkdir()
    remove = os.rmdir
    monkeypatch.setattr(os, "rmdir", lambda path: (remove(path), remove(path)))
    kill_cgroup(cgroup)
    monkeypatch.undo()
    assert not cgroup.exists()
    kill_cgroup(cgroup)


def test_demo_sums_up_an_orchestration():
    """Each step of the document becomes a line, with all of its report where it failed; other text stays."""

    def step(number, name, good, report):
        returned = {"cluster": "prod", "layout": "degraded", "report": f"prod, layout degraded: {report}"}
        return {
            "__run_num__": number,
            "__id__": name,
            "result": good,
            "duration": 1500.0,
            "comment": "",
            "changes": {"return": returned},
        }

    document = {
        "data": {
            "master": {
                "b": step(1, "2 names", False, "refused\n\nERROR no-route: pve2\n    -> heal"),
                "a": step(0, "1 links", True, "reached\n\nstep  what"),
            }
        }
    }
    assert phases(json.dumps(document)) == [
        "  1 links              ok        1.5 s   reached",
        "  2 names              FAILED    1.5 s   refused",
        "      ",
        "      ERROR no-route: pve2",
        "          -> heal",
    ]
    assert phases("Rendering SLS failed\nsee log\n") == ["Rendering SLS failed", "see log"]


def test_salt_commands_take_options_as_they_are(lab):
    """`lab/lab salt-run --out=json …` hands the option on, and so does the form with --."""
    for dashes in ([], ["--"]):
        done = subprocess.run(
            [*COMMAND, "--name", lab.name, "salt", *dashes, "--out=txt", "pve1", "test.ping"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "pve1: True\n", done.stderr


def test_command_line(lab):
    """The command gives the program's own exit code, and one sentence where it cannot do as told."""
    command = [*COMMAND, "--name", lab.name]
    done = subprocess.run(
        [*command, "exec", "pve2", "--", "sh", "-c", "hostname; exit 5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (5, "pve2\n")
    status = subprocess.run([*command, "status"], capture_output=True, text=True, check=True).stdout.split()
    assert status.count("running") == 3
    wrong = subprocess.run([*command, "cut", "wifi"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "lab: there is no network 'wifi': the lab has vrack and public\n"
