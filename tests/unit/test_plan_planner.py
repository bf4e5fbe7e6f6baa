"""Plans in the situations that the design and the facts name."""

import copy
import json

import pytest
import simulation
from pve_corosync import conf, findings
from pve_corosync.cluster import base, cluster, topology
from pve_corosync.plan import planner

TWO = ("pve1", "pve2")
THREE = ("pve1", "pve2", "pve3")
NOMINAL = {0: "vrack"}
DEGRADED = {0: "public", 1: "vrack"}
OPTIONS = {0: {"knet_link_priority": "20"}, 1: {"knet_link_priority": "10"}}


def codes(plan, severity="error"):
    return {f["code"] for f in plan["findings"] if f["severity"] == severity}


def ways(plan):
    return [" ".join(f"{n}{net[0]}" for n, net in sorted(step["links"].items())) for step in plan["steps"]]


def acts(plan):
    return [step["act"] for step in plan["steps"]]


@pytest.fixture
def degraded():
    return simulation.layout(DEGRADED, TWO, "degraded", OPTIONS)


def test_the_planned_way(degraded):
    plan = planner.plan(degraded, simulation.Sim(NOMINAL, TWO).observed())
    assert ways(plan) == ["0v 2p", "1v 2p", "0p 1v 2p", "0p 1v"]
    assert acts(plan) == ["cluster"] * 4
    assert (plan["path"], plan["from_version"], plan["to_version"]) == ("planned", 5, 9)
    assert [s["version"] for s in plan["steps"]] == [6, 7, 8, 9]
    assert (plan["expected_loss_s"], plan["complete"], plan["partitions"]) == (0.0, True, [["pve1", "pve2"]])
    assert [(s["add"], s["remove"]) for s in plan["steps"]] == [([2], []), ([1], [0]), ([0], []), ([], [2])]
    assert plan["steps"][0]["wait"] == {
        "connected": {0: [["pve1", "pve2"]], 2: [["pve1", "pve2"]]},
        "quorate": True,
        "writable": True,
    }
    # links that are added on the way come with fast timers, which a reload changes; the last file has none
    assert ["knet_ping_interval" in s["conf"] for s in plan["steps"]] == [True, True, True, False]


def test_the_degraded_way(degraded):
    plan = planner.plan(degraded, simulation.Sim(NOMINAL, TWO, ["vrack"]).observed())
    assert ways(plan) == ["0v 2p", "0v 2p", "1v 2p", "0p 1v 2p", "0p 1v"]
    assert acts(plan) == ["local", "publish", "cluster", "cluster", "cluster"]
    first, second = plan["steps"][:2]
    assert first["conf"] == second["conf"] and first["version"] == second["version"] == 6
    assert conf.parse(first["conf"]).links()[2]["options"] == {
        "knet_ping_interval": "200",
        "knet_ping_timeout": "400",
    }
    assert first["wait"]["connected"] == {0: [], 2: [["pve1", "pve2"]]}
    assert "knet_ping" not in plan["steps"][-1]["conf"]
    assert "network-dead" in codes(plan, "info")
    links = conf.parse(plan["steps"][-1]["conf"]).links()
    assert {n: link["options"] for n, link in links.items()} == OPTIONS


def test_fast_ping_on_a_link_that_stays_is_taken_back():
    layout = simulation.layout({0: "vrack", 1: "public"}, TWO, options=OPTIONS)
    plan = planner.plan(layout, simulation.Sim(NOMINAL, TWO, ["vrack"]).observed())
    assert acts(plan) == ["local", "publish", "cluster"]
    first, last = (conf.parse(plan["steps"][i]["conf"]).links() for i in (0, 2))
    assert first[0]["options"] == {}  # the first step only adds
    assert first[1]["options"] == {
        "knet_link_priority": "10",
        "knet_ping_interval": "200",
        "knet_ping_timeout": "400",
    }
    assert {n: link["options"] for n, link in last.items()} == OPTIONS
    assert plan["steps"][2]["change"] == [0, 1]


@pytest.mark.parametrize(
    "fast, wanted",
    [
        (False, {}),
        ({}, {}),
        (True, {"knet_ping_interval": "200", "knet_ping_timeout": "400"}),
        (
            {"ping_interval": 300, "ping_timeout": 700},
            {"knet_ping_interval": "300", "knet_ping_timeout": "700"},
        ),
    ],
)
def test_fast_ping_is_the_operators_choice(degraded, fast, wanted):
    plan = planner.plan(degraded, simulation.Sim(NOMINAL, TWO, ["vrack"]).observed(), fast=fast)
    assert conf.parse(plan["steps"][0]["conf"]).links()[2]["options"] == wanted


def test_a_layout_that_only_has_a_dead_network_is_refused():
    sim = simulation.Sim(DEGRADED, TWO, ["vrack"])
    for strategy in planner.STRATEGIES:
        plan = planner.plan(simulation.layout(NOMINAL, TWO), sim.observed(), strategy)
        assert "goal-cannot-carry" in codes(plan) and plan["steps"] == [] and not plan["complete"]


@pytest.mark.parametrize("strategy", planner.STRATEGIES)
def test_no_return_to_a_dead_primary_network(strategy):
    """A backup link would carry, so nobody is cut off, and still there is nothing to go back for."""
    sim = simulation.Sim(DEGRADED, TWO, ["vrack"])
    back = simulation.layout({0: "vrack", 1: "public"}, TWO, "nominal")
    plan = planner.plan(back, sim.observed(), strategy)
    assert codes(plan) == {"primary-dead"} and plan["steps"] == [] and not plan["complete"]
    forced = planner.plan(back, sim.observed(), strategy, force=["primary-dead"])
    assert codes(forced) == set() and forced["steps"] and "primary-dead" in codes(forced, "warning")


def test_a_dead_primary_network_does_not_stop_what_it_must_not():
    # to another primary network, over the dead one, from a cluster that works over its backup link
    sim = simulation.Sim({0: "vrack", 1: "public"}, TWO, ["vrack"])
    plan = planner.plan(simulation.layout(DEGRADED, TWO, "degraded"), sim.observed())
    assert codes(plan) == set() and plan["path"] == "planned" and plan["complete"]
    # nobody sees anybody: any link is better than none
    sim = simulation.Sim(NOMINAL, TWO, ["vrack"])
    plan = planner.plan(simulation.layout({0: "vrack", 1: "public"}, TWO), sim.observed())
    assert codes(plan) == set() and plan["path"] == "degraded" and plan["complete"]
    # dead only to a node that is skipped
    dead = [("vrack", "pve3", other) for other in TWO]
    sim = simulation.Sim({0: "public", 1: "vrack"}, THREE, dead)
    back = simulation.layout({0: "vrack", 1: "public"}, THREE, "nominal")
    assert codes(planner.plan(back, sim.observed())) == {"primary-dead"}
    assert codes(planner.plan(back, sim.observed(), skip=["pve3"])) == set()
    # in the layout already, only the files differ
    sim = simulation.Sim({0: "vrack", 1: "public"}, TWO, ["vrack"])
    sim.daemons["pve2"].version = 3
    plan = planner.plan(simulation.layout({0: "vrack", 1: "public"}, TWO), sim.observed())
    assert codes(plan) == set() and acts(plan) == ["cluster"]


def test_all_networks_dead():
    sim = simulation.Sim({0: "vrack", 1: "public"}, TWO, ["vrack", "public"])
    plan = planner.plan(simulation.layout(DEGRADED, TWO), sim.observed())
    assert codes(plan) == {"nothing-to-add"} and plan["steps"] == []


def test_the_address_of_the_emergency_network_is_gone(degraded):
    observed = simulation.Sim(NOMINAL, TWO, ["vrack"]).observed()
    for facts in observed["nodes"].values():
        facts["addresses"] = {"eth0": facts["addresses"]["eth0"]}
    plan = planner.plan(degraded, observed, force=["address-absent", "no-network-alive"])
    assert plan["steps"] == [] and codes(plan) == {"nothing-to-add"}


def test_eight_links_in_a_circle_offer_a_restart(monkeypatch):
    nets = dict(simulation.NETS, **{f"n{i}": f"10.{i}.0.{{}}" for i in range(5)})
    monkeypatch.setattr(simulation, "NETS", nets)
    full = dict(enumerate(nets))
    turned = dict(enumerate([*list(nets)[1:], list(nets)[0]]))
    sim = simulation.Sim(full, TWO)
    layout = simulation.layout(turned, TWO)
    plan = planner.plan(layout, sim.observed())
    assert codes(plan) == {"no-live-path"}
    offer = next(f for f in plan["findings"] if f["code"] == "no-live-path")
    assert offer["data"]["restart"] == {
        "mode": "together",
        "loss_s": 6.6,
        "quorum_s": 3.5,
        "pve_s": 6.6,
        "kept": False,
    }
    restart = planner.plan(layout, sim.observed(), "restart")
    assert acts(restart) == ["restart", "publish"] and restart["expected_loss_s"] == 6.6


# -- restart
# -------------------------------------------------------------------------------------------------------


def test_restart_together_where_links_change(degraded):
    plan = planner.plan(degraded, simulation.Sim(NOMINAL, TWO).observed(), "restart")
    assert (plan["path"], plan["expected_loss_s"]) == ("restart", 6.6)
    assert acts(plan) == ["restart", "publish"] and plan["steps"][0]["mode"] == "together"
    assert "restart-outage" in codes(plan, "warning")


def test_restart_rolling_where_a_link_stays():
    sim = simulation.Sim({0: "vrack", 1: "public"}, THREE)
    plan = planner.plan(simulation.layout({0: "vrack", 1: "third"}, THREE), sim.observed(), "restart")
    # the others keep the quorum, but HA resets a node for its own loss
    assert plan["steps"][0]["mode"] == "rolling" and plan["expected_loss_s"] == 8.0
    assert "each node alone is without quorum for about 8.0 s" in plan["steps"][0]["cost"]
    two = simulation.Sim({0: "vrack", 1: "public"}, TWO)
    plan = planner.plan(simulation.layout({0: "vrack", 1: "third"}, TWO), two.observed(), "restart")
    # one of two nodes alone has no quorum: each restart costs it
    assert plan["steps"][0]["mode"] == "rolling" and plan["expected_loss_s"] == 13.2


def test_a_rolling_restart_waits_for_etc_pve_before_the_next_node():
    """pmxcfs looks for corosync only every 5 s; without the wait, two nodes are without /etc/pve at once."""
    layout, sim = simulation.layout(NOMINAL, THREE), simulation.Sim(NOMINAL, THREE)
    first = planner.plan(layout, sim.observed(), "restart", again=True)["steps"][0]
    assert (first["mode"], first["wait"]["writable"]) == ("rolling", True)
    observed = sim.observed()
    observed["nodes"]["pve2"]["pmxcfs"].update(mounted=False, writable=False)
    plan = planner.plan(layout, observed, "restart", force=["pve-not-mounted"], again=True)
    assert (plan["steps"][0]["mode"], plan["steps"][0]["wait"]["writable"]) == ("rolling", False), plan


def test_restart_when_everything_is_there():
    plan = planner.plan(simulation.layout(NOMINAL, TWO), simulation.Sim(NOMINAL, TWO).observed(), "restart")
    assert (plan["path"], plan["steps"], plan["complete"]) == ("none", [], True)


def stopped(observed, *names):
    for name in names:
        observed["nodes"][name].update(runtime=None, quorum=None, links={})
        observed["nodes"][name]["corosync"]["state"] = "inactive"
        observed["nodes"][name]["pmxcfs"]["writable"] = False
    return observed


@pytest.mark.parametrize("nodes", [TWO, THREE])
def test_what_a_restart_costs_is_one_number_for_everybody(degraded, nodes):
    """HA's warning, the step, the finding about the outage, and the plan's own number."""
    observed = simulation.Sim(NOMINAL, nodes).observed()
    for facts in observed["nodes"].values():
        facts["ha"] = {"armed": True, "configured": True}
    plan = planner.plan(simulation.layout(DEGRADED, nodes), observed, "restart")
    found = {item["code"]: item["data"] for item in plan["findings"]}
    assert found["ha-restart"]["outage_s"] == found["restart-outage"]["loss_s"] == plan["expected_loss_s"] > 0


def test_the_token_of_stopped_nodes_is_one_number_for_everybody():
    """Five nodes, corosync.conf without a token: 3000 ms and 650 ms for each node above two."""
    nodes = [f"pve{n}" for n in range(1, 6)]
    observed = stopped(simulation.Sim(NOMINAL, nodes).observed(), *nodes)
    world = cluster.Cluster(simulation.layout(NOMINAL, nodes), observed, strategy="restart")
    assert (world.token(), world.consensus()) == (4950, 5940)
    assert topology.Topology(world).cluster.token() == 4950


def test_restart_starts_what_is_stopped_everywhere(degraded):
    sim = simulation.Sim(NOMINAL, TWO)
    sim.daemons["pve2"].local = simulation.conf(NOMINAL, TWO, 7).replace(
        "secauth: on", "secauth: on\n  token: 5000"
    )
    observed = stopped(sim.observed(), *TWO)
    plan = planner.plan(degraded, observed, "restart")
    assert acts(plan) == ["restart", "publish"] and plan["complete"] and plan["path"] == "restart"
    first, last = plan["steps"]
    assert first["mode"] == "together" and first["version"] == 8 and "token: 5000" in first["conf"]
    pairs = [["pve1", "pve2"]]
    assert first["wait"] == {"connected": {0: pairs, 1: pairs}, "quorate": True, "writable": False}
    assert last["writers"] == ["pve1", "pve2"] and "nodes" not in last
    assert plan["expected_loss_s"] == 11.0  # token 5000 and consensus 6000 of the file
    # also where the files are those of the layout already
    assert acts(planner.plan(simulation.layout(NOMINAL, TWO), observed, "restart")) == ["restart", "publish"]


def test_live_does_not_start_a_daemon(degraded):
    observed = stopped(simulation.Sim(NOMINAL, TWO).observed(), *TWO)
    plan = planner.plan(degraded, observed)
    assert "corosync-stopped" in codes(plan) and plan["steps"] == []
    plan = planner.plan(degraded, observed, force=["corosync-stopped"])
    assert codes(plan) == {"no-node"} and plan["steps"] == []
    told = next(f for f in plan["findings"] if f["code"] == "no-node")
    assert "strategy=restart" in told["remedy"]


def test_restart_starts_one_that_is_stopped_with_the_others():
    observed = stopped(simulation.Sim(NOMINAL, TWO).observed(), "pve2")
    observed["nodes"]["pve1"]["quorum"].update(quorate=False, members=[1], total=1)
    plan = planner.plan(simulation.layout(NOMINAL, TWO), observed, "restart")
    assert acts(plan) == ["restart", "publish"]
    assert plan["steps"][0]["wait"]["connected"] == {0: [["pve1", "pve2"]]}
    assert plan["steps"][1]["writers"] == ["pve1", "pve2"]


def test_publish_asks_only_nodes_that_can_see_it():
    layout = simulation.layout(DEGRADED, THREE)
    observed = simulation.Sim(NOMINAL, THREE).observed()
    observed["nodes"]["pve3"]["pmxcfs"] = {"mounted": False, "writable": False, "members": None}
    observed["nodes"]["pve3"]["cluster_file"] = None
    plan = planner.plan(layout, observed, force=["pve-not-mounted"])
    assert acts(plan) == ["local"] * 4 + ["publish"]
    assert plan["steps"][-1]["nodes"] == ["pve1", "pve2"] and plan["complete"]


def test_a_hung_pmxcfs_does_not_stop_a_failover_without_quorum():
    """Its first step needs the local files only (two nodes, vRack cut, pmxcfs of one stands still)."""
    observed = simulation.Sim(NOMINAL, TWO, dead=["vrack"]).observed()
    assert not any(row["quorum"]["quorate"] for row in observed["nodes"].values())
    hung = {"state": "hung", "mounted": False, "writable": False, "members": None}
    observed["nodes"]["pve2"] |= {"pmxcfs": hung, "cluster_file": None}
    plan = planner.plan(simulation.layout(DEGRADED, TWO), observed)
    assert acts(plan)[0] == "local" and not findings.errors(plan["findings"])
    assert [item["severity"] for item in plan["findings"] if item["code"] == "pve-hung"] == ["warning"]
    assert plan["steps"][acts(plan).index("publish")]["nodes"] == ["pve1"]


def test_unknown_strategy(degraded):
    with pytest.raises(ValueError, match="allowed: live, restart"):
        planner.plan(degraded, simulation.Sim(NOMINAL, TWO).observed(), "fast")


# -- drift
# ---------------------------------------------------------------------------------------------------------


def sim_at(links=None, nodes=TWO):
    return simulation.Sim(NOMINAL if links is None else links, nodes)


def plan_nominal(sim):
    return planner.plan(simulation.layout(NOMINAL, tuple(sim.daemons)), sim.observed())


def test_reached():
    plan = plan_nominal(sim_at())
    assert (plan["path"], plan["steps"], plan["complete"], plan["to_version"]) == ("none", [], True, 5)


def test_local_files_newer_are_published():
    sim = sim_at()
    old = simulation.conf({0: "public"}, TWO, 4)
    for daemon in sim.daemons.values():
        daemon.cluster = old
    plan = plan_nominal(sim)
    assert acts(plan) == ["publish"] and plan["steps"][0]["version"] == 5 == plan["to_version"]
    assert plan["steps"][0]["conf"] == sim.daemons["pve1"].local
    assert plan["steps"][0]["writers"] == ["pve1", "pve2"]


def test_equal_version_with_other_bytes_in_the_cluster_file():
    """pmxcfs takes no other bytes with a version that it has: one text with a higher one goes everywhere."""
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.cluster = simulation.conf({0: "public"}, TWO, 5)
    plan = plan_nominal(sim)
    assert acts(plan) == ["cluster"] and plan["steps"][0]["version"] == 6
    sim.take(plan["steps"][0])
    assert plan_nominal(sim)["path"] == "none" and sim.lost == []


def test_a_version_of_the_cluster_file_that_only_pmxcfs_reads():
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.cluster = "# config_version: 9\n" + simulation.conf(NOMINAL, TWO, 4)
    assert [(s["act"], s["version"]) for s in plan_nominal(sim)["steps"]] == [("cluster", 10)]


def test_a_cluster_file_that_no_daemon_runs_only_raises_the_version():
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.cluster = simulation.conf(NOMINAL, TWO, 8).replace("secauth: on", "secauth: on\n  token: 4000")
    plan = plan_nominal(sim)
    assert acts(plan) == ["cluster"] and plan["steps"][0]["version"] == 9
    assert "token: 4000" not in plan["steps"][0]["conf"]
    told = next(f for f in plan["findings"] if f["code"] == "copy-dropped")
    assert "cluster file of pve1, pve2" in told["text"]
    assert "totem.token is '4000' instead of not set" in told["text"]
    assert "/var/lib/pve-corosync/backups" in told["remedy"]


def test_one_nodes_hand_edit_is_not_spread():
    """A local file that was never loaded, with a higher version, must not turn the encryption off."""
    sim = sim_at()
    sim.daemons["pve2"].local = simulation.conf(NOMINAL, TWO, 7).replace("secauth: on", "secauth: off")
    plan = plan_nominal(sim)
    assert acts(plan) == ["cluster"] and plan["steps"][0]["version"] == 8
    assert "secauth: on" in plan["steps"][0]["conf"]
    told = next(f for f in plan["findings"] if f["code"] == "copy-dropped")
    assert told["severity"] == "warning" and "totem.secauth is 'off' instead of 'on'" in told["text"]
    sim.take(plan["steps"][0])
    assert plan_nominal(sim)["path"] == "none"


def test_the_key_itself_is_not_told():
    sim = sim_at()
    text = simulation.conf(NOMINAL, TWO, 7).replace("secauth: on", "secauth: on\n  key: hunter2")
    sim.daemons["pve2"].local = text
    plan = plan_nominal(sim)
    told = next(f for f in plan["findings"] if f["code"] == "copy-dropped")
    assert "totem.key differs" in told["text"] and "hunter2" not in json.dumps(plan)


def test_the_base_is_what_the_quorate_nodes_run():
    """One node was off and came back with a higher version that it alone runs."""
    alone = [(net, "pve3", other) for net in simulation.NETS for other in TWO]
    sim = simulation.Sim(NOMINAL, THREE, alone)
    text = simulation.conf(NOMINAL, THREE, 9).replace("secauth: on", "secauth: off")
    sim.daemons["pve3"] = simulation.Daemon("pve3", 3, text)
    assert "secauth: on" in base.choose(sim.observed()["nodes"])
    # without quorum anywhere, and as many on either side: the newer one
    sim = simulation.Sim(NOMINAL, TWO, ["vrack"])
    sim.daemons["pve2"] = simulation.Daemon("pve2", 2, simulation.conf({0: "vrack", 1: "public"}, TWO, 6))
    assert "config_version: 6" in base.choose(sim.observed()["nodes"])


def test_the_base_where_no_copy_of_what_runs_is_left():
    """All files were written and the reload was refused: what most nodes hold, not one node's edit."""
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.local = daemon.cluster = simulation.conf(NOMINAL, TWO, 8)
    sim.daemons["pve2"].local = simulation.conf(NOMINAL, TWO, 9).replace("secauth: on", "secauth: off")
    assert "config_version: 8" in base.choose(sim.observed()["nodes"])


def test_files_that_run_with_the_version_of_another_text():
    """Edited by hand on all nodes without a higher version, and reloaded: the links say which text runs."""
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.cluster = simulation.conf({0: "public"}, TWO, 5).replace("secauth: on", "secauth: off")
    assert "secauth: on" in base.choose(sim.observed()["nodes"])


def test_a_skipped_node_that_answers_counts_for_the_version(degraded):
    sim = simulation.Sim(NOMINAL, THREE)
    sim.daemons["pve3"].local = simulation.conf(NOMINAL, THREE, 40)
    layout = simulation.layout(DEGRADED, THREE)
    assert planner.plan(layout, sim.observed(), skip=["pve3"])["steps"][0]["version"] == 41


@pytest.mark.parametrize("spoil", ["version", "refused", "local", "links", "both"])
def test_one_step_levels_all(spoil):
    sim = sim_at()
    daemon = sim.daemons["pve2"]
    if spoil in ("version", "both"):
        daemon.version = 3
    if spoil == "refused":
        daemon.refused = True
    if spoil in ("local", "both"):
        daemon.local = simulation.conf(NOMINAL, TWO, 7, {0: {"knet_link_priority": "3"}})
    if spoil == "links":
        daemon.links = {**daemon.links, 1: {n: simulation.address("public", i) for i, n in enumerate(TWO, 1)}}
    plan = plan_nominal(sim)
    assert acts(plan) == ["cluster"] and plan["complete"]
    assert plan["steps"][0]["version"] == (8 if spoil in ("local", "both") else 6)
    sim.take(plan["steps"][0])
    assert plan_nominal(sim)["path"] == "none" and sim.lost == []


def test_the_version_is_above_every_copy_also_as_pmxcfs_reads_it():
    sim = sim_at()
    sim.daemons["pve2"].version = 40
    assert plan_nominal(sim)["steps"][0]["version"] == 41


def test_a_version_that_cannot_be_raised(degraded):
    sim = simulation.Sim(NOMINAL, TWO, version=2**64 - 3)
    plan = planner.plan(degraded, sim.observed())
    assert plan["steps"] == [] and codes(plan) & {"version-no-room", "version-exhausted"}


BLOCK = "  interface {\n    linknumber: 0\n  }\n"


def edited(sim, new):
    for daemon in sim.daemons.values():
        daemon.local = daemon.cluster = daemon.local.replace(BLOCK, new)
    return sim


def test_one_missing_interface_block_of_two_is_drift():
    plan = planner.plan(
        simulation.layout(DEGRADED, TWO), edited(simulation.Sim(DEGRADED, TWO), "").observed()
    )
    assert acts(plan) == ["cluster"] and BLOCK in plan["steps"][0]["conf"]


@pytest.mark.parametrize(
    "block",
    [
        "",
        BLOCK.replace("linknumber", "bindnetaddr: 10.66.0.1\n    linknumber"),
        "  interface {\n    linknumber: 0\n    mcastaddr: 239.192.0.1\n    ttl: 1\n  }\n",
    ],
)
def test_what_does_nothing_in_an_interface_block_is_no_drift_but_goes_with_the_next_step(block, degraded):
    sim = edited(sim_at(), block)
    assert acts(plan_nominal(sim)) == []
    steps = planner.plan(degraded, sim.observed())["steps"]
    assert steps and steps[-1]["conf"].count("linknumber:") == 2
    assert not any(key in steps[-1]["conf"] for key in ("bindnetaddr", "mcastaddr", "ttl"))


def test_an_option_that_does_something_is_drift():
    sim = edited(sim_at(), BLOCK.replace("  }", "    knet_ping_interval: 100\n  }"))
    assert acts(plan_nominal(sim)) == ["cluster"]


def test_everything_that_is_no_link_is_kept(degraded):
    sim = sim_at()
    for daemon in sim.daemons.values():
        daemon.local = daemon.cluster = daemon.local.replace("totem {\n", "# ours\ntotem {\n  token: 5000\n")
    for step in planner.plan(degraded, sim.observed())["steps"]:
        assert "# ours\ntotem {\n  token: 5000\n" in step["conf"]


# -- who takes part
# ------------------------------------------------------------------------------------------------


def test_a_silent_node_that_is_a_member_is_told_of(degraded):
    layout = simulation.layout(DEGRADED, THREE)
    sim = simulation.Sim(NOMINAL, THREE, silent=["pve3"])
    plan = planner.plan(layout, sim.observed(), skip=["pve3"])
    assert "absent-member" in codes(plan, "warning")
    assert acts(plan) == ["cluster"] * 4 and plan["skip"] == ["pve3"]
    for step in plan["steps"]:
        sim.take(step)
        assert sim.lost == []


def test_a_stopped_daemon_gets_its_file_in_every_step():
    layout = simulation.layout(DEGRADED, THREE)
    observed = simulation.Sim(
        NOMINAL, THREE, [(n, "pve3", o) for n in simulation.NETS for o in TWO]
    ).observed()
    observed["nodes"]["pve3"].update(runtime=None, quorum=None, links={})
    observed["nodes"]["pve3"]["corosync"]["state"] = "inactive"
    assert "corosync-stopped" in codes(planner.plan(layout, observed))
    plan = planner.plan(layout, observed, force=["corosync-stopped"])
    assert acts(plan) == ["local"] * 4 + ["publish"]
    assert all(
        "pve3" not in pair
        for s in plan["steps"]
        for pairs in s["wait"]["connected"].values()
        for pair in pairs
    )


def test_nobody_answers(degraded):
    plan = planner.plan(degraded, {"nodes": {}, "silent": list(TWO)}, skip=list(TWO))
    assert plan["steps"] == [] and codes(plan)


def test_two_of_three_cannot_help_the_third():
    dead = ["vrack", ("public", "pve1", "pve3"), ("public", "pve2", "pve3")]
    sim = simulation.Sim({0: "vrack", 1: "public"}, THREE, dead)
    plan = planner.plan(simulation.layout({0: "vrack", 1: "public", 2: "third"}, THREE), sim.observed())
    assert plan["complete"] and acts(plan)[:2] == [
        "local",
        "publish",
    ]  # the third network is not known to be dead
    plan = planner.plan(simulation.layout({0: "public", 1: "vrack"}, THREE), sim.observed())
    assert codes(plan) == {"nothing-to-add"}
    skipped = planner.plan(
        simulation.layout({0: "public", 1: "vrack"}, THREE),
        {"nodes": {n: sim.observed()["nodes"][n] for n in TWO}, "silent": ["pve3"]},
        skip=["pve3"],
    )
    assert skipped["complete"] and skipped["path"] == "planned"


# -- what leaves
# ---------------------------------------------------------------------------------------------------


def test_the_plan_is_plain_data_and_the_same_each_time(degraded):
    observed = simulation.Sim(NOMINAL, TWO, ["vrack"]).observed()
    plan = planner.plan(degraded, observed)
    assert json.loads(json.dumps(plan)) == json.loads(json.dumps(planner.plan(degraded, observed)))
    # facts that went through JSON have text for link numbers
    through = json.loads(json.dumps(observed))
    layout = json.loads(json.dumps(degraded))
    assert planner.plan(layout, through)["steps"] == plan["steps"]


def test_nothing_given_is_changed(degraded):
    observed = simulation.Sim(NOMINAL, TWO, ["vrack"]).observed()
    before = copy.deepcopy((degraded, observed))
    planner.plan(degraded, observed)
    assert (degraded, observed) == before


def test_words(degraded):
    plan = planner.plan(degraded, simulation.Sim(NOMINAL, TWO, ["vrack"]).observed())
    told = planner.describe(plan)
    assert "1. local, version 6: add link 2 on public (fast ping)" in told
    assert "partitions: pve1 / pve2" in told
    assert "version 5 -> 9, expected loss of quorum: 0.0 s" in told
    assert "nothing to do, the layout is reached" in planner.describe(plan_nominal(sim_at()))


def test_diffs(degraded):
    observed = simulation.Sim(NOMINAL, TWO).observed()
    shown = planner.diffs(planner.plan(degraded, observed), observed)
    assert sorted(shown) == ["cluster", "pve1", "pve2"]
    assert "-  config_version: 5\n" in shown["cluster"] and "+    ring1_addr: 10.66.0.1\n" in shown["pve1"]
    reached = sim_at()
    assert planner.diffs(plan_nominal(reached), reached.observed()) == {}
