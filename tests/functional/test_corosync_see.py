"""What one node sees of its cluster by itself: its own facts, those of its peers over ssh, the status."""

import subprocess
import time

import pytest
from pve_corosync import show
from pve_corosync.cluster import facts as node_facts


def test_another_nodes_facts_have_the_shape_of_its_own(pair):
    own = pair.call("corosync.facts")
    seen = pair.call("corosync.observe")
    told = seen["nodes"]["pve2"]
    assert seen["silent"] == [] and seen["why"] == {}
    assert set(told) == set(own) - {"code", "alive_for", "pillar"}  # nothing of this project runs there
    assert (told["node"], told["minion"], told["problems"]) == ("pve2", "pve2", [])
    for key in ("local", "cluster_file", "corosync", "names", "authkey", "ha", "busy"):
        assert told[key] == own[key], key
    assert told["pmxcfs"]["writable"] and told["links"]["pve1"][0]["connected"]
    assert told["quorum"]["nodeid"] == 2 and told["runtime"]["nodeid"] == 2
    assert abs(told["time"] - time.time()) < 60


@pytest.mark.parametrize("state", ["healthy", "stopped", "unmounted", "broken"])
def test_a_node_has_the_same_facts_whoever_asks(pair, monkeypatch, state):
    """They are read here by child processes, over ssh by a script, and built in one place."""
    node = pair.one
    node.file("etc/hosts", "127.0.0.1 localhost\n10.66.0.1 PVE1 # here\n10.66.0.2 pve2\n")
    node.file("etc/pve/ha/resources.cfg", "vm: 100\n\tstate started\n")
    node.file("etc/pve/ha/manager_status", '{"disarm": {"mode": "freeze"}}')
    if state == "stopped":
        node.daemon(running=False)
    if state == "unmounted":
        (node.pve / "local").unlink()
        node.tool("stat", 'case "$*" in *pve/local) exit 1 ;; *) exec /usr/bin/stat "$@" ;; esac')
    if state == "broken":
        for name in ("etc/pve/.members", "etc/pve/ha/manager_status", "etc/corosync/corosync.conf"):
            node.file(name, "{")
    here = pair.call("corosync.facts")
    # the script tells the host name of this machine, and drops what commands say of themselves
    node.tool("uname", "echo pve1")
    monkeypatch.setenv("RING_ROOT", str(node.root))
    said = subprocess.run(["sh", "-c", node_facts.SCRIPT], capture_output=True, text=True, check=True).stdout
    there = node_facts.parse(said, "pve1")
    assert here.pop("code") and "code" not in there, "only the code itself can tell which one it is"
    assert here.pop("alive_for") == {} and "alive_for" not in there, "the beacon's note is its own node's"
    assert len(here.pop("pillar")) == 12 and "pillar" not in there, "a minion's pillar is its own"
    for facts in (here, there):
        facts.pop("time")
        facts["problems"] = len(facts["problems"])
    assert there == here


def test_ssh_goes_to_pves_own_address_with_its_own_host_key(pair):
    pair.call("corosync.observe")
    line = pair.one.calls("ssh ")[0]
    for word in (
        "-T",
        "BatchMode=yes",
        "ConnectTimeout=5",
        "HostKeyAlias=pve2",
        "GlobalKnownHostsFile=none",
        "/etc/pve/nodes/pve2/ssh_known_hosts",
        "root@10.66.0.2 -- sh -s",
    ):
        assert word in line
    assert len(pair.one.calls("ssh ")) == 1


def test_ssh_does_without_a_host_key_file_that_pve_does_not_keep(pair):
    (pair.one.pve / "nodes/pve2/ssh_known_hosts").unlink()  # pve-cluster before 8.0.6
    assert pair.call("corosync.observe")["silent"] == []
    line = pair.one.calls("ssh ")[0]
    assert "KnownHostsFile" not in line and "HostKeyAlias=pve2" in line


def test_a_dead_link_is_tried_last(pair):
    pair.quorum(False, dead=[0])
    pair.call("corosync.observe")
    assert "root@203.0.113.20" in pair.one.calls("ssh ")[0]


def test_a_node_that_cannot_be_asked_is_silent_and_says_why(pair):
    pair.deaf.touch()
    seen = pair.call("corosync.observe")
    assert seen["silent"] == ["pve2"]
    assert seen["why"]["pve2"].count("Connection timed out") == 2, "both of its addresses were tried"


def test_what_is_read_on_a_peer_only_reads(pair):
    before = {path: path.stat().st_mtime_ns for path in pair.two.root.rglob("*") if path.is_file()}
    pair.call("corosync.observe")
    assert {path: path.stat().st_mtime_ns for path in pair.two.root.rglob("*") if path.is_file()} == before
    assert not [line for line in pair.two.calls() if "-R" in line or "restart" in line]


def test_an_answer_that_breaks_off_keeps_what_came(pair):
    pair.two.daemon(hang=True)
    told = pair.call("corosync.observe")["nodes"]["pve2"]
    assert told["runtime"] is None and told["local"]["version"] == 5
    assert any("corosync-cmapctl" in text for text in told["problems"])


def test_nonsense_is_no_answer():
    with pytest.raises(node_facts.FactsError, match="Welcome"):
        node_facts.parse("Welcome to pve2\n")


def test_status_shows_both_nodes(pair):
    told = pair.call("corosync.status")
    assert told["in_force"] == ["nominal"] and told["result"] == "ok"
    assert told["matrix"]["pve2"]["pve1"] == {0: "connected"}
    assert told["versions"] == {"local": 5, "cluster_file": 5, "runtime": 5}


def test_status_holds_the_cluster_to_the_first_layout_in_force_as_the_master_does(pair):
    """Two layouts with the same links, another one wanted: the first in the pillar counts."""
    pair.pillar["layout"] = "degraded"
    one = [item["code"] for item in pair.call("corosync.status")["findings"]]
    pair.pillar["layouts"]["same-links"] = dict(pair.pillar["layouts"]["nominal"], primary="public")
    told = pair.call("corosync.status")
    assert told["in_force"] == ["nominal", "same-links"]
    assert [item["code"] for item in told["findings"]] == one


def test_status_that_has_errors_sets_the_exit_code(pair):
    pair.call("corosync.status")
    assert "retcode" not in pair.context
    pair.quorum(False, dead=[0])
    told = pair.call("corosync.status")
    assert (told["result"], told["retcode"], pair.context["retcode"]) == ("errors", 1, 1)


def test_status_without_a_pillar_shows_this_node_and_asks_nobody(pair):
    pair.pillar = None
    told = pair.call("corosync.status")
    assert [item["code"] for item in told["findings"]] == ["pillar-none"] and told["links"] == {
        "pve2": {0: "connected"}
    }
    assert pair.one.calls("ssh ") == []
    assert told["verdict"]["text"] == (
        "pve1 has quorum, and it has no pillar `corosync`, so nothing can be planned."
    )
    assert "/srv/pillar" in told["verdict"]["command"]
    screen = "\n".join(show.render(told))
    assert screen.startswith("pve1 has quorum") and "in force: not known without a pillar" in screen
