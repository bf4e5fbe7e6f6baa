"""Adopting clusters that people have: their pillar is made, and its first plan is no refusal."""

import _cases
import pytest
from pve_corosync.cluster import literal
from pve_corosync.pillar import layouts
from pve_corosync.run import adopt

CARDS = {
    "pve1": {"eno2": "10.66.0.1/24", "eno1": "198.51.100.10/24"},
    "pve2": {"eno2": "10.66.0.2/24", "eno1": "203.0.113.20/24"},
}


def adopted(seen):
    pillar, head = adopt.adopt({name: facts | {"node": name} for name, facts in seen["nodes"].items()}, "*")
    layouts.load(pillar)
    return pillar, " ".join(line.removeprefix("# ") for line in head)


@pytest.mark.parametrize("who", ["the runtime", "the hosts file"])
def test_ring_addresses_that_are_names(who):
    seen = _cases.world(_cases.text("ring-addresses-are-names"), CARDS)
    for facts in seen["nodes"].values():
        facts["names"] = {} if who == "the runtime" else facts["names"]
        if who == "the runtime":
            facts["runtime"]["members"] = {1: ["10.66.0.1"], 2: ["10.66.0.2"]}
        else:
            facts["names"] = {"pve1": ["10.66.0.1"], "pve2": ["10.66.0.2"]}
    pillar, head = adopted(seen)
    assert {name: node["addresses"]["eno2"] for name, node in pillar["nodes"].items()} == {
        "pve1": "10.66.0.1",
        "pve2": "10.66.0.2",
    }
    assert "refused" not in head


def test_a_stale_list_of_members_is_not_believed():
    facts = {"runtime": {"members": {1: ["198.51.100.10", "10.66.0.9"]}}, "names": {}}
    row = {"nodeid": 1, "addresses": {0: "pve1", 1: "10.66.0.1"}}
    assert literal.literal(facts, row, 0) == "pve1"
    facts["runtime"]["members"][1][1] = "10.66.0.1"
    assert literal.literal(facts, row, 0) == "198.51.100.10"


def test_one_address_for_both_links():
    cards = {
        "pve1": {"eno2": "192.168.100.30/24", "eno1": "100.64.240.43/16"},
        "pve2": {"eno2": "192.168.100.20/24", "eno1": "100.64.125.0/16"},
        "pve3": {"eno1": "100.64.202.8/16"},
    }
    pillar, head = adopted(_cases.world(_cases.text("same-address-on-both-links"), cards))
    assert len(set(pillar["nodes"]["pve3"]["addresses"].values())) == 1
    assert set(pillar["layouts"]["nominal"]["links"]) == {0, 1} and "refused" not in head


def test_a_second_address_does_not_hide_a_network():
    """A failover address on the public card of one node."""
    text = _cases.text("ring-addresses-are-names").replace("_addr: pve", "_addr: 10.66.0.")
    cards = {name: dict(rows) for name, rows in CARDS.items()}
    cards["pve1"]["eno1"] = ["192.0.2.77/32", "198.51.100.10/24"]
    pillar, head = adopted(_cases.world(text, cards))
    assert pillar["nodes"]["pve1"]["addresses"]["eno1"] == "198.51.100.10"
    assert "network eno1: pve1 is at 198.51.100.10; left out: 192.0.2.77" in head


def test_two_links_with_one_port_on_different_addresses():
    text = _cases.text("two-rings-of-pve5").replace(
        "    bindnetaddr: 198.51.101.0\n", "    mcastport: 5405\n"
    )
    text = text.replace("ringnumber", "linknumber").replace("    bindnetaddr: 10.66.0.0\n", "")
    cards = {
        "pve1": {"eno2": "10.66.0.1/24", "eno1": "198.51.101.10/24"},
        "pve2": {"eno2": "10.66.0.2/24", "eno1": "198.51.102.10/24"},
    }
    pillar, head = adopted(_cases.world(text, cards))
    assert pillar["layouts"]["nominal"]["links"][1]["port"] == 5405 and "refused" not in head
