"""Files that people have: what the rules say of them, and that the plan cures what it can."""

import _cases
import pytest
from _rules_world import layout, observed
from pve_corosync import conf
from pve_corosync.findings import errors
from pve_corosync.plan import planner
from pve_corosync.rules import every

VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}
PUBLIC = {"pve1": "198.51.101.10", "pve2": "198.51.102.10"}
NODES = {name: {"vrack": VRACK[name], "public": PUBLIC[name]} for name in VRACK}
CARDS = {name: {"eno2": VRACK[name] + "/24", "eno1": PUBLIC[name] + "/24"} for name in VRACK}


def whole(goal, seen, **arguments):
    found = every.check(goal, seen, **arguments)
    assert errors(found) == [], _cases.says(errors(found))
    made = planner.plan(goal, seen)
    assert errors(made["findings"]) == [], _cases.says(errors(made["findings"]))
    return found, made


@pytest.mark.parametrize("dead", [(), (0,), (0, 1)], ids=["alive", "vrack cut", "all cut"])
@pytest.mark.parametrize("links", [{0: "vrack", 1: "public"}, {0: "public", 1: "vrack"}, {0: "vrack"}])
def test_the_two_blocks_of_one_link_are_written_anew(dead, links):
    seen = _cases.world(_cases.text("two-rings-of-pve5"), CARDS)
    if dead:
        _cases.cut(seen, *dead)
    wanted = _cases.goal(NODES, links)
    found = every.check(wanted, seen, force=["primary-dead", "no-network-alive"])
    assert errors(found) == [], _cases.says(errors(found))
    for step in planner.plan(wanted, seen)["steps"]:
        assert conf.lint(step["conf"]) == []
        assert "ringnumber" not in step["conf"] and "bindnetaddr" not in step["conf"]


def test_pve_takes_the_two_blocks_for_two_links():
    """PVE/Corosync.pm takes ringnumber where there is no linknumber; its verify_conf has no objection."""
    told = [item["text"] for item in conf.lint(_cases.text("two-rings-of-pve5"))]
    assert told == [
        "interface block for link 0 in the eyes of corosync, for link 1 in those of PVE: set linknumber"
    ]


def test_of_two_equal_blocks_one_stays():
    text = _cases.text("one-address-for-both")
    twice = text.replace("  interface {\n", "  interface {\n    linknumber: 0\n  }\n  interface {\n", 1)
    document = conf.parse(twice)
    assert not document.is_plain(0)
    document.set_options(0, {})
    assert document.text == text


def test_a_section_in_an_interface_block_goes():
    text = _cases.text("one-address-for-both")
    block = "    linknumber: 0\n"
    nested = text.replace(
        block, block + "    knet_transport: udp\n    member {\n      memberaddr: a\n    }\n"
    )
    assert any("aborts" in item["text"] for item in conf.lint(nested.replace("member", "else")))
    document = conf.parse(nested)
    document.set_options(0, {})
    assert document.text == text


ONE = {"pve1": {"vrack": "10.66.0.1"}, "pve2": {"vrack": "10.66.0.2"}}
ONE_CARDS = {"pve1": {"eno2": "10.66.0.1/24"}, "pve2": {"eno2": "10.66.0.2/24"}}


def test_one_address_in_two_entries_is_cured_by_the_layout():
    """`pvecm add` without a link wrote it; the pillar and the interfaces are right."""
    seen = _cases.cut(_cases.world(_cases.text("one-address-for-both"), ONE_CARDS))
    found, made = whole(_cases.goal(ONE, {0: "vrack"}), seen)
    assert [item["severity"] for item in found if item["code"] == "address-in-use"] == ["warning"]
    assert conf.parse(made["steps"][-1]["conf"]).links()[0]["addresses"] == {
        "pve1": "10.66.0.1",
        "pve2": "10.66.0.2",
    }


def test_an_address_that_really_is_the_other_nodes_stays_refused():
    seen = _cases.cut(_cases.world(_cases.text("one-address-for-both"), ONE_CARDS))
    seen["nodes"]["pve1"]["addresses"]["eno2"].append("10.66.0.2/24")
    found = every.check(_cases.goal(ONE, {0: "vrack"}), seen, force=["address-in-use"])
    assert [item["code"] for item in errors(found, ["address-in-use"])] == ["address-in-use"]


SHARED = {
    "pve1": {"lan": "192.168.100.30", "wan": "100.64.240.43"},
    "pve2": {"lan": "192.168.100.20", "wan": "100.64.125.0"},
    "pve3": {"lan": "100.64.202.8", "wan": "100.64.202.8"},
}
SHARED_CARDS = {
    name: {"eno2": rows["lan"] + "/24", "eno1": rows["wan"] + "/16"}
    if name != "pve3"
    else {"eno1": "100.64.202.8/16"}
    for name, rows in SHARED.items()
}


def test_a_node_with_one_address_for_both_links_is_served():
    seen = _cases.world(_cases.text("same-address-on-both-links"), SHARED_CARDS)
    found, made = whole(_cases.goal(SHARED, {0: "lan", 1: "wan"}), seen)
    assert made["steps"] == [] and "address-shared" in {item["code"] for item in found}
    found, made = whole(_cases.goal(SHARED, {0: "wan", 1: "lan"}), seen)
    assert made["steps"] and made["complete"]


def test_lost_redundancy_is_a_finding():
    seen = _cases.world(_cases.text("two-rings-of-pve5"), CARDS)
    wanted = _cases.goal(NODES, {0: "vrack", 1: "public"})
    assert "redundancy-lost" not in {item["code"] for item in every.check(wanted, seen)}
    _cases.cut(seen, 0)
    (item,) = [item for item in every.check(wanted, seen) if item["code"] == "redundancy-lost"]
    assert item["severity"] == "warning" and item["data"]["pairs"] == ["pve1-pve2"]
    _cases.cut(seen, 0, 1)
    assert "redundancy-lost" not in {item["code"] for item in every.check(wanted, seen)}


def test_the_votes_of_a_device_are_counted_as_cast():
    nodes = {"pve1": {"lan": "10.0.10.11"}, "pve2": {"lan": "10.0.10.12"}}
    cards = {name: {"eno1": rows["lan"] + "/24"} for name, rows in nodes.items()}
    seen = _cases.world(_cases.text("two-nodes-and-device"), cards)
    quorum = {"expected": 3, "total": 2, "quorum": 2, "qdevice_votes": 1, "members": [1]}
    seen["nodes"]["pve1"]["quorum"] |= quorum
    del seen["nodes"]["pve2"]
    wanted = _cases.goal(nodes, {0: "lan"})
    assert errors(every.check(wanted, seen, skip=["pve2"])) == []
    seen["nodes"]["pve1"]["quorum"] |= {"quorate": False, "total": 1, "qdevice_votes": 0}
    assert [item["code"] for item in errors(every.check(wanted, seen, skip=["pve2"]))] == ["skip-no-quorum"]


def test_two_nodelists_that_contradict_each_other_are_told_without_false_causes():
    seen = _cases.world(_cases.text("one-address-for-both"), ONE_CARDS)
    text = _cases.text("one-address-for-both").replace("0.2", "0.1", 1)
    for kind in ("local", "cluster_file"):
        seen["nodes"]["pve2"][kind]["text"] = text
    alone = _cases.world(_cases.text("repaired-to-one-node"), ONE_CARDS)["nodes"]["pve1"]
    seen["nodes"]["pve1"] = alone
    seen["nodes"]["pve2"]["quorum"] |= {"quorate": False, "members": [2], "total": 1, "ring_id": "2.9"}
    found = every.check(_cases.goal(ONE, {0: "vrack"}), seen)
    told = " ".join(_cases.says(found))
    assert "someone used" not in told and "pvecm add" not in told
    assert "two nodelists contradict each other" in told and errors(found)


def test_a_device_in_every_section_has_no_vote():
    text = _cases.text("device-in-every-section")
    cards = {
        "pve1": {"a": "192.168.22.11/24"},
        "pve2": {"a": "192.168.22.12/24"},
        "pve3": {"a": "192.168.22.13/24"},
    }
    seen = _cases.world(text, cards)
    nodes = {name: {"lan": rows["a"].split("/")[0]} for name, rows in cards.items()}
    found = every.check(_cases.goal(nodes, {0: "lan"}, cluster="cluster01"), seen)
    told = {item["data"]["section"] for item in found if item["code"] == "conf-section-unknown"}
    assert told == {"logging.qdevice", "nodelist.qdevice", "quorum.qdevice", "totem.qdevice"}


@pytest.mark.parametrize(
    "old, new, codes",
    [
        ("debug: off", "debug: off # as the vendor says", []),
        ("logging {\n", "logging {\n  a {\n    b: 1\n  }\n  a {\n    b: 1\n  }\n", []),
        ("    nodeid: 2\n", "", ["conf-grammar"]),
    ],
)
def test_what_pve_alone_does_not_read_yields_to_a_force(old, new, codes):
    """Corosync runs such a file: at night it is no reason to leave the cluster without quorum."""
    text = _cases.text("one-address-for-both").replace("10.66.0.2", "10.66.0.1", 1)
    seen = _cases.cut(_cases.world(text, ONE_CARDS))
    for row in seen["nodes"].values():
        row["local"]["text"] = row["cluster_file"]["text"] = text.replace(old, new)
    wanted = _cases.goal(ONE, {0: "vrack"})
    assert "conf-grammar" in {item["code"] for item in errors(every.check(wanted, seen))}
    forced = every.check(wanted, seen, force=["conf-grammar", "no-network-alive"])
    assert [item["code"] for item in errors(forced) if item["code"] == "conf-grammar"] == codes


@pytest.mark.parametrize("quorate", [True, False])
def test_skip_is_offered_only_where_it_would_not_be_refused(quorate):
    """One of two nodes is silent: alone the other has too few votes, unless it is quorate all the same."""
    world = observed()
    del world["nodes"]["pve2"]
    world["silent"] = ["pve2"]
    world["nodes"]["pve1"]["quorum"]["quorate"] = quorate
    found = every.check(layout("degraded"), world)
    (remedy,) = [item["remedy"] for item in found if item["code"] == "node-silent"]
    assert remedy.startswith("salt pve2 test.ping") and ("skip=pve2" in remedy) == quorate
