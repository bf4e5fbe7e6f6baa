import pytest
from pve_corosync.tools import datacenter as dc

UP = {"eth0": ["10.66.0.1/24"], "eth1": ["198.51.100.10/24", "198.51.100.11/24", "2001:db8::1/64"]}


def test_parse_takes_named_and_bare_values():
    text = (
        "keyboard: de\n#migration: insecure\nmigration: secure,network=10.66.0.0/24\nreplication:"
        " type=insecure\n"
    )
    assert dc.parse(text) == {
        "migration": {"type": "secure", "network": "10.66.0.0/24"},
        "replication": {"type": "insecure"},
    }


def test_parse_of_nothing():
    assert dc.parse("") == {}
    assert dc.parse("migration_unsecure: 1\n") == {}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("migration: secure,network=10.66.0.0/24\n", {"10.66.0.0/24": "migration and replication"}),
        # replication alone counts for replication, also without a network
        ("migration: secure,network=10.66.0.0/24\nreplication: secure\n", {"10.66.0.0/24": "migration"}),
        (
            "migration: network=10.66.0.0/24\nreplication: network=198.51.100.0/24\n",
            {"10.66.0.0/24": "migration", "198.51.100.0/24": "replication"},
        ),
        ("replication: secure,network=10.66.0.0/24\n", {"10.66.0.0/24": "replication"}),
        ("migration: insecure\n", {}),
    ],
)
def test_networks_in_use(text, expected):
    assert dc.networks(dc.parse(text)) == expected


def codes(text, primary="10.66.0.1"):
    return [problem["code"] for problem in dc.check(dc.parse(text), UP, primary)]


def test_check_each_fault_by_its_code():
    assert codes("migration: network=10.66.0.0/24\n") == []
    assert codes("migration: network=10.66.0.0/24\n", "198.51.100.10") == ["datacenter-network-elsewhere"]
    assert codes("migration: network=10.66.0.0/24\n", None) == []
    assert codes("migration: network=172.16.0.0/24\n") == ["datacenter-network-none"]
    assert codes("migration: network=198.51.100.0/24\n") == ["datacenter-network-several"]
    assert codes("migration: network=10.66.0.0\n", None) == ["datacenter-network-none"]
    assert codes("migration: network=10.66.0/24\n") == ["datacenter-network-bad"]


def test_check_names_the_network_and_the_addresses():
    (problem,) = dc.check(dc.parse("migration: network=198.51.100.5/24\n"), UP, "10.66.0.1")
    assert "198.51.100.5/24" in problem["text"] and "198.51.100.10, 198.51.100.11" in problem["text"]
    assert problem["data"]["addresses"] == ["198.51.100.10", "198.51.100.11"]


def test_the_same_address_on_two_interfaces_is_one():
    found = {"eth0": ["10.66.0.1/24"], "vmbr0": ["10.66.0.1/32"]}
    assert dc.check(dc.parse("migration: network=10.66.0.0/24\n"), found, "10.66.0.1") == []
