"""The port test with real packets between network namespaces."""

import json
import pathlib
import time

import pytest
from _spaces import Spaces
from pve_corosync.run import probe

REPO = pathlib.Path(__file__).resolve().parents[2]
HOSTS = {"pve1": "198.18.1.1/24", "pve2": "198.18.2.2/24"}
ADDRESSES = {name: address.split("/")[0] for name, address in HOSTS.items()}

EXCHANGE = f"""
import json, sys
sys.path[:0] = [{str(REPO)!r}, {str(REPO / "_utils")!r}]
from _modules import pve_probe
print(json.dumps(pve_probe.exchange("t", sys.argv[1], json.loads(sys.argv[2]), 5406, float(sys.argv[3]))))
"""

LINKS = f"""
import json, sys
sys.path[:0] = [{str(REPO)!r}, {str(REPO / "_utils")!r}]
from _modules import pve_probe
print(json.dumps(pve_probe.links("t", json.loads(sys.argv[1]), float(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def net():
    with Spaces("prb", HOSTS) as spaces:
        yield spaces


@pytest.fixture(autouse=True)
def clean(net):
    yield
    for name in HOSTS:
        net.run(name, "nft", "flush", "ruleset")
    net.run("r", "ip", "link", "set", "wire1", "mtu", "1500")
    net.run("pve2", "ip", "link", "set", "eth0", "mtu", "1500")


def exchange(net, only=None, seconds=1.5):
    """Run the exchange on both at once and return ``{node: result}``."""
    started = {}
    for name in HOSTS:
        peers = {other: address for other, address in ADDRESSES.items() if other != name}
        if only in (None, name):
            started[name] = net.python(name, EXCHANGE, ADDRESSES[name], json.dumps(peers), str(seconds))
    results = {}
    for name, process in started.items():
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        results[name] = json.loads(out)
    return results


def test_open_both_ways_with_latency_and_mtu(net):
    results = exchange(net)
    for name, told in results.items():
        (peer,) = told["peers"].values()
        assert peer["in"] and peer["out"], name
        assert peer["mtu"] == told["interface_mtu"] == 1500 and 0 < peer["latency_us"] < 100_000
        assert told["seconds"] < 1.5
    assert probe.problems(1, 5406, ADDRESSES, results) == []


def test_a_port_that_one_node_filters_is_named_with_its_rule(net):
    net.nft("pve2", "table inet t { chain i { type filter hook input priority 0; udp dport 5406 drop; }; }")
    results = exchange(net)
    (problem,) = probe.problems(1, 5406, ADDRESSES, results)
    assert problem["code"] == "port-filtered" and problem["data"]["nodes"] == ["pve1", "pve2"]
    assert results["pve1"]["peers"]["pve2"]["in"] is True
    # the rule that the remedy names opens it
    assert "'ip saddr 198.18.1.1 udp dport 5406 accept'" in problem["remedy"]
    net.run(
        "pve2",
        "nft",
        "insert",
        "rule",
        "inet",
        "t",
        "i",
        "ip",
        "saddr",
        "198.18.1.1",
        "udp",
        "dport",
        "5406",
        "accept",
    )
    assert probe.problems(1, 5406, ADDRESSES, exchange(net)) == []


def test_a_narrow_way_is_measured(net):
    net.run("r", "ip", "link", "set", "wire1", "mtu", "1400")
    assert exchange(net)["pve1"]["peers"]["pve2"]["mtu"] == 1400


def test_a_peer_that_is_absent_costs_no_more_than_the_time_given(net):
    begin = time.monotonic()
    results = exchange(net, only="pve1", seconds=0.5)
    assert time.monotonic() - begin < 5 and results["pve1"]["seconds"] < 0.8
    assert results["pve1"]["peers"]["pve2"] == {
        "in": False,
        "out": False,
        "latency_us": None,
        "mtu": None,
        "answers": 0,
    }


def test_a_port_in_use_is_named_and_left_alone(net):
    holder = net.python(
        "pve1",
        "import socket, time; s = socket.socket(2, 2); s.bind(('198.18.1.1', 5406)); print(1, flush=True);"
        " time.sleep(15)",
    )
    try:
        assert holder.stdout.readline() == "1\n"
        results = exchange(net, seconds=0.3)
    finally:
        holder.kill()
        holder.communicate()
    assert results["pve1"]["peers"] == {} and results["pve1"]["busy"].startswith("python")
    assert [p["code"] for p in probe.problems(1, 5406, ADDRESSES, results)] == ["port-busy"]


def test_an_address_that_is_not_here_is_an_error(net):
    process = net.python("pve1", EXCHANGE, "198.18.9.9", '{"pve2": "198.18.2.2"}', "1")
    _out, err = process.communicate(timeout=20)
    assert process.returncode != 0 and "198.18.9.9 is on no interface of this node" in err


def test_several_links_are_tested_at_once(net):
    net.nft("pve2", "table inet t { chain i { type filter hook input priority 0; udp dport 5407 drop; }; }")
    links = {
        "open": {"port": 5406, "addresses": ADDRESSES},
        "shut": {"port": 5407, "addresses": ADDRESSES},
        "gone": {"port": 5408, "addresses": {"pve1": "198.18.9.1", "pve2": "198.18.9.2"}},
    }
    begin = time.monotonic()
    started = {name: net.python(name, LINKS, json.dumps(links), "1.2") for name in HOSTS}
    results = {}
    for name, process in started.items():
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        results[name] = json.loads(out)["links"]
    assert time.monotonic() - begin < 8

    def codes(key):
        told = {name: results[name][key] for name in HOSTS}
        return [
            (problem["code"], problem["data"]["nodes"])
            for problem in probe.problems(1, links[key]["port"], links[key]["addresses"], told)
        ]

    assert codes("open") == []
    assert codes("shut") == [("port-filtered", ["pve1", "pve2"])]
    assert codes("gone") == [("probe-silent", ["pve1"]), ("probe-silent", ["pve2"])]
    assert "0 and not 1 of the addresses are on this node" in results["pve1"]["gone"]["error"]
