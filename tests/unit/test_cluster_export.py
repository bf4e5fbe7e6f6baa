"""The pillar of a living cluster: it loads, and nothing is to be done for it."""

import pytest
from _rules_world import PUBLIC, VRACK, changed, conf, observed, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from pve_corosync.cluster import export
from pve_corosync.judge import checklist
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.rules import every


def two(addresses):
    return {name: addresses[name] for name in ("pve1", "pve2")}


def links(**options):
    return {0: {"addresses": two(PUBLIC), "options": {}}, 3: {"addresses": two(VRACK), "options": options}}


@pytest.mark.parametrize("nodes", [2, 3])
def test_nothing_is_to_be_done_for_an_exported_cluster(nodes):
    world = observed(nodes)
    goal = layouts.resolve(layouts.load(export.export(world)))
    assert every.check(goal, world) == []
    assert checklist.passed(checklist.checklist(goal, world))
    plan = planner.plan(goal, world)
    assert (plan["path"], plan["steps"]) == ("none", [])


def test_export():
    assert export.export(observed()) == {
        "cluster_name": "prod",
        "nodes": {
            "pve1": {"nodeid": 1, "addresses": {"eno2": VRACK["pve1"], "eno1": PUBLIC["pve1"]}},
            "pve2": {"nodeid": 2, "addresses": {"eno2": VRACK["pve2"], "eno1": PUBLIC["pve2"]}},
        },
        "layouts": {"nominal": {"links": {0: {"network": "eno2"}}, "primary": "eno2"}},
        "layout": "nominal",
    }


def test_options_links_and_minions_are_kept():
    text = conf(links=links(knet_link_priority="10", knet_ping_interval="200", knet_ping_timeout="400"))
    world = changed(observed(text=text), "nodes.pve2.minion", "b.example")
    pillar = export.export(world)
    assert pillar["layouts"]["nominal"]["links"] == {
        0: {"network": "eno1"},
        3: {"network": "eno2", "priority": 10, "ping_interval": 200, "ping_timeout": 400},
    }
    assert pillar["layouts"]["nominal"]["primary"] == "eno2"
    assert "minion" not in pillar["nodes"]["pve1"] and pillar["nodes"]["pve2"]["minion"] == "b.example"


def test_the_runtime_counts_not_the_file():
    world = rewrite(observed(), conf(links=links(), version=6))
    assert export.export(world)["layouts"]["nominal"]["links"] == {0: {"network": "eno2"}}


def test_without_a_runtime_the_file_counts():
    world = observed(text=conf(links=links()))
    for row in world["nodes"].values():
        row["runtime"] = None
    assert set(export.export(world)["layouts"]["nominal"]["links"]) == {0, 3}


def test_interfaces_of_different_names_give_a_network_after_the_link():
    world = observed()
    world["nodes"]["pve2"]["addresses"]["enp5s0"] = world["nodes"]["pve2"]["addresses"].pop("eno2")
    pillar = export.export(world)
    assert pillar["layouts"]["nominal"]["links"] == {0: {"network": "net0"}}


def test_two_links_on_one_interface_have_two_networks():
    world = observed(text=conf(links=links()))
    for name, row in world["nodes"].items():
        row["addresses"] = {"eno1": [PUBLIC[name] + "/24", VRACK[name] + "/24"]}
    assert export.export(world)["layouts"]["nominal"]["links"] == {
        0: {"network": "eno1"},
        3: {"network": "net3"},
    }


def test_primary_on_no_link_is_a_network_of_its_own():
    world = observed()
    for row in world["nodes"].values():
        for name, entry in row["pmxcfs"]["members"]["nodelist"].items():
            entry["ip"] = PUBLIC[name]
    pillar = export.export(world)
    assert pillar["layouts"]["nominal"]["primary"] == "eno1"
    assert pillar["nodes"]["pve2"]["addresses"]["eno1"] == PUBLIC["pve2"]


@pytest.mark.parametrize(
    "names, primary",
    [
        ({"pve1": [VRACK["pve1"]], "pve2": [VRACK["pve2"]]}, "eno2"),
        ({"pve1": ["127.0.1.1", PUBLIC["pve1"]], "pve2": [PUBLIC["pve2"]]}, "eno1"),
        ({}, "eno2"),
    ],
)
def test_without_members_the_names_count(names, primary):
    world = observed()
    for row in world["nodes"].values():
        row["pmxcfs"] = {"mounted": False, "writable": False, "members": None}
        row["names"] = names
    assert export.export(world)["layouts"]["nominal"]["primary"] == primary


def test_a_silent_node_is_in_it_all_the_same():
    world = observed(3)
    del world["nodes"]["pve3"]
    pillar = export.export(world)
    assert pillar["nodes"]["pve3"] == {"nodeid": 3, "addresses": {"eno2": VRACK["pve3"]}}


def test_addresses_that_every_node_has_alike_are_no_network():
    world = observed()
    for row in world["nodes"].values():
        row["addresses"]["docker0"] = ["172.17.0.1/16"]
        row["addresses"]["lo"] = ["127.0.0.1/8"]
    assert set(export.export(world)["nodes"]["pve1"]["addresses"]) == {"eno1", "eno2"}


def test_a_host_name_becomes_the_address_that_the_node_resolves_it_to():
    text = conf().replace("ring0_addr: 10.66.0.2", "ring0_addr: pve2")
    pillar = export.export(observed(text=text))
    assert pillar["nodes"]["pve2"]["addresses"]["eno2"] == VRACK["pve2"]


def test_a_host_name_that_nobody_resolves_is_told():
    text = conf().replace("ring0_addr: 10.66.0.2", "ring0_addr: nohost")
    with pytest.raises(layouts.LayoutError, match="nohost"):
        export.export(observed(text=text))


def test_without_a_file_that_parses_it_says_so():
    world = rewrite(observed(), "totem {\n")
    with pytest.raises(layouts.LayoutError, match="parses"):
        export.export(world)
    with pytest.raises(layouts.LayoutError, match="parses"):
        export.export({"nodes": {}, "silent": ["pve1"]})


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 7), st.sampled_from(["10", "200"]), max_size=3))
def test_whatever_the_links_the_pillar_loads_and_describes_them(extra):
    wanted = {0: {"addresses": two(VRACK), "options": {}}}
    for number, priority in extra.items():
        wanted[number] = {
            "addresses": {"pve1": f"10.{number}.0.1", "pve2": f"10.{number}.0.2"},
            "options": {"knet_link_priority": priority},
        }
    goal = layouts.resolve(layouts.load(export.export(observed(text=conf(links=wanted)))))
    assert {n: (link["addresses"], link["options"]) for n, link in goal["links"].items()} == {
        n: (link["addresses"], link["options"]) for n, link in wanted.items()
    }
