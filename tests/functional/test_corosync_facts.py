import json
import os
import time

import pytest
from _corosync_world import PUBLIC, VRACK, Node, conf
from pve_corosync import arguments
from salt.exceptions import SaltInvocationError


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def test_facts_of_a_healthy_node(node):
    told = node.salt["corosync.facts"]()
    assert told["problems"] == []
    assert (told["node"], told["minion"]) == ("pve1", "pve1")
    assert told["corosync"] == {"version": "3.1.7", "state": "active"}
    assert told["local"]["text"] == conf(5) and told["local"]["version"] == 5
    assert told["cluster_file"] == told["local"]
    assert told["runtime"]["version"] == 5 and told["runtime"]["token"] == 3000
    assert told["runtime"]["nodes"]["pve2"] == {"nodeid": 2, "addresses": {0: "10.66.0.2"}}
    assert told["links"] == {
        "pve2": {0: {"connected": True, "enabled": True, "mtu": 1397, "latency_us": 180, "down_count": 0}}
    }
    assert told["quorum"]["quorate"] is True and told["quorum"]["members"] == [1, 2]
    assert told["pmxcfs"]["mounted"] and told["pmxcfs"]["members"]["nodelist"]["pve1"]["ip"] == "10.66.0.1"
    assert told["addresses"] == {"eth0": ["10.66.0.1/24"]} and told["cards"] == {"eth0": ["eth0"]}
    assert told["names"] == {"pve1": ["10.66.0.1"], "pve2": ["10.66.0.2"]}
    assert told["ha"] == {"armed": False, "configured": False, "resources": [], "disarm": None}
    assert told["busy"] is None
    assert told["pillar"] == "", "this node has no pillar `corosync`"


def test_the_key_of_the_cluster_stays_on_the_node(node):
    told = node.salt["corosync.facts"]()
    assert len(told["authkey"]["sha256"]) == 64
    assert "the-secret-of-the-cluster" not in repr(told)


def test_each_question_is_one_process(node):
    node.salt["corosync.facts"]()
    assert len(node.calls()) == len(set(node.calls())) == 6, node.calls()


def test_for_how_long_links_have_been_alive_is_what_the_beacon_noted_lately(node):
    assert node.salt["corosync.facts"]()["alive_for"] == {}
    note, now = node.root / "run/pve-corosync/watch.json", time.clock_gettime(time.CLOCK_BOOTTIME)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"at": now - 50, "dead": {}, "alive": {"pve2": {"0": now - 600}}}))
    assert 600 <= node.salt["corosync.facts"]()["alive_for"]["pve2"]["0"] < 640
    note.write_text(json.dumps({"at": now - 90, "dead": {}, "alive": {"pve2": {"0": now - 600}}}))
    assert node.salt["corosync.facts"]()["alive_for"] == {}, "a beacon that was taken away tells nothing"


def test_a_stopped_daemon_is_told_and_does_not_fail(node):
    node.daemon(running=False)
    told = node.salt["corosync.facts"]()
    assert told["corosync"]["state"] == "inactive"
    assert told["runtime"] is None and told["quorum"] is None and told["links"] == {}
    assert told["node"] == "pve1", "the name comes from the file"
    assert told["problems"] == ["corosync-cmapctl: Failed to initialize the cmap API. Error CS_ERR_LIBRARY"]


def test_lost_quorum_is_an_answer_not_a_problem(node):
    node.daemon(quorate=False, dead_links=[0])
    told = node.salt["corosync.facts"]()
    assert told["quorum"]["quorate"] is False and told["quorum"]["members"] == [1]
    assert told["links"]["pve2"][0]["connected"] is False
    assert told["problems"] == []


def test_what_is_missing_is_named(node):
    node.local.unlink()
    (node.root / "etc/corosync/authkey").unlink()
    (node.pve / "local").unlink()
    told = node.salt["corosync.facts"]()
    assert told["local"] is None and told["cluster_file"] is None and told["authkey"] is None
    assert told["pmxcfs"] == {
        "state": "not mounted",
        "mounted": False,
        "writable": False,
        "said": "",
        "members": None,
    }
    assert told["ha"]["configured"] is None
    text = "; ".join(told["problems"])
    assert "corosync.conf does not exist" in text and "/etc/pve is not mounted" in text


@pytest.mark.parametrize(
    ("host", "found"), [("pve1", {"pve1": ["10.66.0.1"]}), ("pve9", {"pve9": []})], ids=["there", "missing"]
)
def test_a_node_without_corosync_conf_looks_up_its_own_name(node, monkeypatch, host, found):
    """A reinstalled one: no file names any node, and "does not resolve" was false."""
    monkeypatch.setattr("socket.gethostname", lambda: f"{host}.example")
    node.daemon(running=False)
    node.local.unlink()
    node.cluster.unlink()
    told = node.salt["corosync.facts"]()
    assert (told["node"], told["local"], told["cluster_file"]) == (host, None, None)
    assert told["names"] == found


def test_files_that_do_not_parse_are_shown_with_their_problem(node):
    node.local.write_text("totem {\n  config_version: 9\n")
    node.file("etc/pve/.members", "{")
    node.file("etc/pve/ha/manager_status", "{")
    told = node.salt["corosync.facts"]()
    assert told["local"]["version"] is None and told["local"]["text"].startswith("totem")
    text = "; ".join(told["problems"])
    assert "local file: no totem.config_version" in text
    assert ".members" in text and "manager_status is not JSON" in text


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "[" * 5000])
def test_a_status_of_ha_that_is_no_mapping_costs_only_itself(node, text):
    node.file("etc/pve/ha/manager_status", text)
    told = node.salt["corosync.facts"]()
    assert told["ha"]["disarm"] is None and told["runtime"]["version"] == 5
    assert any("manager_status is not JSON of the HA manager" in problem for problem in told["problems"])


def test_names_in_the_hosts_file_count_as_for_the_resolver(node):
    """glibc compares them without regard to case (nss_files)."""
    node.file("etc/hosts", "10.66.0.1 PVE1\n010.66.0.2 pve2\nfe80::1 pve2x\n")
    assert node.salt["corosync.facts"]()["names"]["pve1"] == ["10.66.0.1"]


def test_hanging_tools_and_a_hanging_etc_pve_cost_one_deadline(node):
    node.daemon(hang=True)
    node.cluster.unlink()
    os.mkfifo(node.cluster)  # a reader of it blocks as one of a hung pmxcfs does
    start = time.monotonic()
    told = node.salt["corosync.facts"](timeout="1.5")
    assert time.monotonic() - start < 12
    assert "/etc/pve hangs: no answer within 1.5 s: journalctl -u pve-cluster" in told["problems"]
    assert told["pmxcfs"]["state"] == "hung" and not any("not mounted" in text for text in told["problems"])
    assert told["runtime"] is None and told["cluster_file"] is None
    assert told["local"]["version"] == 5, "what can be read is there"
    text = "; ".join(told["problems"])
    assert "/etc/pve hangs" in text and "corosync-cmapctl: no answer in time" in text


def test_the_facts_of_a_node_with_a_hung_tool_are_on_their_way_before_the_runner_gives_up():
    wait = arguments.settings(None)["gather_timeout"]
    assert arguments.facts_timeout(wait) == arguments.FACTS_S <= wait - arguments.FACTS_MARGIN_S
    assert arguments.facts_timeout(4) == 2 and arguments.facts_timeout(1) == 0.5
    assert arguments.facts_timeout(60) == arguments.FACTS_S, "a healthy node needs no more"


def test_ha_is_configured_and_armed(node):
    node.file("etc/pve/ha/resources.cfg", "vm: 100\n\tstate started\n\nct: 101\n\tstate ignored\n")
    node.file("etc/pve/ha/manager_status", '{"disarm": {"mode": "freeze"}}')
    (node.root / "run/watchdog-mux.active").mkdir(parents=True)
    assert node.salt["corosync.facts"]()["ha"] == {
        "armed": True,
        "configured": True,
        "resources": ["vm:100"],
        "disarm": {"mode": "freeze"},
    }


@pytest.mark.parametrize(
    ("running", "hostname", "links", "expected"),
    [
        (True, "elsewhere", {0: VRACK}, "pve1"),
        (False, "pve2.example", {0: VRACK}, "pve2"),
        (False, "elsewhere", {0: PUBLIC, 1: VRACK}, "pve1"),
        (False, "elsewhere", {0: PUBLIC}, "elsewhere"),
    ],
)
def test_own_name(node, monkeypatch, running, hostname, links, expected):
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    node.daemon(running=running)
    node.local.write_text(conf(5, links))
    assert node.salt["corosync.node_name"]() == expected
    assert node.salt["corosync.node_name"](conf(5, links)) == expected


def test_single_questions(node):
    assert node.salt["corosync.running_version"]() == 5
    assert node.salt["corosync.runtime"]()["cluster_name"] == "prod"
    assert node.salt["corosync.links"]()["pve2"][0]["connected"] is True
    assert node.salt["corosync.quorum"]()["ring_id"] == "1.1e"
    assert node.salt["corosync.unit"]() == {"state": "active", "result": "success", "exit_status": 0}
    node.daemon(running=False)
    assert node.salt["corosync.running_version"]() is None
    assert node.salt["corosync.runtime"]() is None
    assert node.salt["corosync.links"]() == {}
    assert node.salt["corosync.quorum"]() is None


def test_status_is_short(node):
    told = node.salt["corosync.status"]()
    assert told["versions"] == {"local": 5, "cluster_file": 5, "runtime": 5}
    assert told["links"] == {"pve2": {0: "connected"}}
    assert told["quorate"] and told["corosync"] == "3.1.7 active" and told["problems"] == []


def real_check(node, text):
    """Have the real corosync of this machine check a file for this machine."""
    for tool in node.bin.iterdir():
        tool.unlink()
    host = os.uname().nodename
    return node.salt["corosync.check"](text.replace("pve1", host))


def test_check_takes_a_good_file(node):
    assert real_check(node, conf(6, {0: VRACK, 2: PUBLIC})) == {
        "ok": True,
        "text": "",
        "rc": 0,
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("nodelist {", "nodelist"), "corosync.conf:1"),
        (("config_version: 6", "config_version: six"), "corosync abort"),
        (("    ring2_addr: 203.0.113.20\n", ""), "Not all nodes have the same number of links"),
        (("version: 2", "version: 3"), "can only parse version 2"),
    ],
)
@pytest.mark.parametrize("to_stderr", ["", "logging {\n  to_stderr: no\n}\n"])
def test_check_tells_why_not(node, change, words, to_stderr):
    told = real_check(node, conf(6, {0: VRACK, 2: PUBLIC}).replace(*change) + to_stderr)
    assert told["ok"] is False
    assert words in told["text"], told
    assert "/tmp" not in told["text"]


def test_check_wants_text(node):
    with pytest.raises(SaltInvocationError, match="latin-1"):
        node.salt["corosync.check"]("€")
