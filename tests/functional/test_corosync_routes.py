"""The fact about routes: where the kernel sends what goes over a dead link."""

import time

import pytest
from _corosync_world import Node
from pve_corosync.tools import iproute

ADDRESSES = """[{"ifname": "eth0", "addr_info": [{"local": "10.66.0.1", "prefixlen": 24}]},
 {"ifname": "eth1", "addr_info": [{"local": "198.51.100.10", "prefixlen": 24}]}]"""
# as iproute2 6.1 prints it
ROUTE = '[{{"dst":"{to}","from":"{own}","dev":"{dev}","table":"52","flags":[],"uid":0,"cache":[]}}]'
TWO_LINKS = {
    "1": ["pve1", {"0": "10.66.0.1", "1": "198.51.100.10"}],
    "2": ["pve2", {"0": "10.66.0.2", "1": "203.0.113.20"}],
}
VRACK = {"peer": "pve2", "link": 0, "from": "10.66.0.1", "to": "10.66.0.2"}
PUBLIC = {"peer": "pve2", "link": 1, "from": "198.51.100.10", "to": "203.0.113.20"}
OVERLAY = ROUTE.format(to="10.66.0.2", own="10.66.0.1", dev="tailscale0")
GATEWAY = ROUTE.format(to="203.0.113.20", own="198.51.100.10", dev="eth1")


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def ip(node, vrack=f"echo '{OVERLAY}'", public=f"echo '{GATEWAY}'"):
    node.tool(
        "ip",
        f"""case "$*" in
        "-j route get 10.66.0.2 from 10.66.0.1") {vrack} ;;
        "-j route get 203.0.113.20 from 198.51.100.10") {public} ;;
        *route*) exit 255 ;;
        *) echo '{ADDRESSES}' ;;
        esac""",
    )


def told(node):
    facts = node.salt["corosync.facts"]()
    assert facts["addresses"]["eth0"] == ["10.66.0.1/24"] and facts["problems"] == []
    return facts["routes"], node.calls("ip -j route")


def test_links_that_live_are_no_reason_to_ask(node):
    ip(node)
    assert told(node) == ([], [])


def test_a_stopped_daemon_has_no_link_to_ask_for(node):
    ip(node)
    node.daemon(running=False)
    assert node.salt["corosync.facts"]()["routes"] == [] and node.calls("ip -j route") == []


def test_only_the_dead_link_is_asked_for_from_its_own_address(node):
    ip(node)
    node.daemon(nodes=TWO_LINKS, dead_links=[0])
    routes, calls = told(node)
    assert routes == [VRACK | {"dev": "tailscale0"}]
    assert calls == ["ip -j route get 10.66.0.2 from 10.66.0.1"]


def test_of_two_dead_links_the_one_that_leaves_elsewhere_is_known(node):
    ip(node)
    node.daemon(nodes=TWO_LINKS, dead_links=[0, 1], quorate=False)
    routes, calls = told(node)
    assert routes == [VRACK | {"dev": "tailscale0"}, PUBLIC | {"dev": "eth1"}] and len(calls) == 2
    own = {"10.66.0.1": ("eth0", "10.66.0.1/24"), "198.51.100.10": ("eth1", "198.51.100.10/24")}
    assert iproute.elsewhere(routes, own) == [VRACK | {"dev": "tailscale0", "card": "eth0"}]


@pytest.mark.parametrize(
    "answer",
    [
        "echo 'RTNETLINK answers: Network is unreachable' >&2; exit 2",
        "echo 'RTNETLINK answers: Invalid argument' >&2; exit 2",  # the own address is on no card now
        "echo '[]'",
        "echo 'Command line is not complete. Try option \"help\"'; exit 255",
        "kill -9 $$",
    ],
    ids=["unreachable", "no-address", "empty", "old", "killed"],
)
def test_a_kernel_that_has_no_route_costs_only_the_interface(node, answer):
    ip(node, vrack=answer)
    node.daemon(nodes=TWO_LINKS, dead_links=[0, 1], quorate=False)
    assert told(node)[0] == [VRACK | {"dev": None}, PUBLIC | {"dev": "eth1"}]


def test_an_ip_that_hangs_costs_a_second(node):
    ip(node, vrack="exec sleep 60")
    node.daemon(nodes=TWO_LINKS, dead_links=[0, 1], quorate=False)
    start = time.monotonic()
    assert told(node)[0] == [VRACK | {"dev": None}, PUBLIC | {"dev": "eth1"}]
    assert time.monotonic() - start < 10
