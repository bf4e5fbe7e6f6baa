"""What the watch decides: each rule, each "no" with its code, and the state between two looks."""

import json
import pathlib

import pytest
from _watch_world import Watch, seen
from pve_corosync.codes import CODES
from pve_corosync.judge import watch

CUT = {"dead": ["vrack"]}


def failed_over(made=None):
    """A watch whose failover was carried out."""
    made = made or Watch()
    made.look(seen(**CUT))
    decision = made.look(seen(**CUT), 5)
    assert decision["do"] == "failover", decision
    made.after(decision)
    return made


def test_dead_links_are_looked_at_twice_and_then_the_layout_is_changed():
    made = Watch()
    first = made.look(seen(**CUT))
    assert (first["do"], first["code"], first["again_in"]) == ("wait", "watch-second-look", 1)
    soon = made.look(seen(**CUT), 1)
    assert (soon["code"], soon["again_in"]) == ("watch-second-look", 4)
    assert made.code(seen(**CUT), 2) == "watch-second-look"
    second = made.look(seen(**CUT), 2)
    assert (second["do"], second["layout"], second["code"]) == ("failover", "degraded", "watch-failover")
    assert "vrack pve1-pve2" in second["text"]


def test_what_the_nodes_saw_before_counts_for_the_hold_but_a_second_look_follows():
    made, found = Watch(), seen(**CUT)
    for here, there in (("pve1", "pve2"), ("pve2", "pve1")):
        found["nodes"][here]["dead_for"] = {there: {"0": 4.5 if here == "pve1" else 60}}
    assert made.look(found)["again_in"] == 1
    assert made.look(found, 1)["do"] == "failover"


def test_what_a_node_knows_of_the_time_before_counts_when_it_is_told_at_a_later_look():
    """The beacons of two nodes look up to a second apart: the first look comes before one of them knew."""
    made, found = Watch(), seen(**CUT)
    found["nodes"]["pve1"]["dead_for"] = {"pve2": {"0": 1.5}}
    assert made.look(found)["again_in"] == 1, "pve2 knows in a second"
    found["nodes"]["pve1"]["dead_for"], found["nodes"]["pve2"]["dead_for"] = (
        {"pve2": {"0": 2.5}},
        {"pve1": {"0": 3.0}},
    )
    assert made.look(found, 1)["again_in"] == 2, "of the two ends the one that knows longer"
    assert made.look(seen(**CUT), 2)["do"] == "failover", "what was told once is not forgotten"


def test_of_several_dead_links_the_one_that_died_last_counts():
    names = ("pve1", "pve2", "pve3")
    made, found = Watch(), seen(nodes=names, **CUT)
    for name in names:
        found["nodes"][name]["dead_for"] = {peer: {"0": 9.0} for peer in names if peer != name}
    found["nodes"]["pve1"]["dead_for"]["pve3"] = {"0": 1.5}
    found["nodes"]["pve3"]["dead_for"]["pve1"] = {"0": 2.0}
    assert made.look(found)["again_in"] == 3


def test_a_second_look_leaves_time_for_a_ping_to_be_answered():
    """With a long token knet pings less often: a look before the next ping proves nothing."""
    made, found = Watch(), seen(**CUT)
    for here, there in (("pve1", "pve2"), ("pve2", "pve1")):
        found["nodes"][here] |= {"dead_for": {there: {"0": 60}}, "interval": {"0": 2.4}}
    assert made.look(found)["again_in"] == 3
    assert made.code(found, 1) == "watch-second-look"
    assert made.look(found, 2)["do"] == "failover"


def test_a_node_without_a_beacon_is_waited_for_a_second_and_no_longer():
    made = Watch()
    waits = [made.look(seen(**CUT))["again_in"], made.look(seen(**CUT), 1)["again_in"]]
    assert waits == [1, 4]


def test_a_flap_of_four_seconds_changes_nothing():
    made = Watch()
    made.look(seen(**CUT))
    assert made.code(seen(), 4) == "watch-healthy"
    assert made.code(seen(**CUT), 1) == "watch-second-look", "what died again is a new suspicion"
    assert made.code(seen(**CUT), 4) == "watch-second-look"


def test_a_flap_between_two_looks_is_seen_by_the_counters():
    made = Watch()
    made.look(seen(**CUT))
    again = seen(**CUT)
    again["nodes"]["pve1"]["downs"]["pve2"]["0"] = 2
    assert made.look(again, 5)["code"] == "watch-second-look"


def test_one_answered_ping_is_a_sign_of_life():
    """knet calls a link alive again a second or two late: a flap that is over must not be acted upon."""
    made, found = Watch(), seen(**CUT)
    for name, peer in (("pve1", "pve2"), ("pve2", "pve1")):
        found["nodes"][name]["pongs"] = {peer: {"0": 40}}
    assert made.code(found) == "watch-second-look"
    again = seen(**CUT)
    for name, peer in (("pve1", "pve2"), ("pve2", "pve1")):
        again["nodes"][name]["pongs"] = {peer: {"0": 41 if name == "pve1" else 40}}
    assert made.code(again, 5) == "watch-second-look", "a new suspicion"
    assert made.look(again, 4)["again_in"] == 1, "with a hold of its own"
    assert made.look(again, 1)["do"] == "failover"


def test_a_daemon_that_is_busy_at_the_second_look_is_asked_again():
    """Around a new membership corosync answers nobody for a second: that is no reason to begin anew."""
    made = Watch()
    made.look(seen(**CUT))
    decision = made.look(broken(pve1={"state": "busy"}), 5)
    assert (decision["do"], decision["code"]) == ("wait", "watch-busy") and decision["again_in"] < 1
    assert made.look(seen(**CUT), 0.3)["do"] == "failover"


def test_a_suspicion_of_long_ago_is_none():
    """The master was away for an hour: what it saw before is worth nothing."""
    made = Watch()
    made.look(seen(**CUT))
    assert made.code(seen(**CUT), 3600) == "watch-second-look"


def test_a_clock_that_went_back_proves_nothing():
    made = Watch()
    made.look(seen(**CUT))
    assert made.code(seen(**CUT), -3600) == "watch-second-look"


def broken(**rows):
    found = seen(**CUT)
    for name, row in rows.items():
        found["nodes"][name] = None if row is None else found["nodes"][name] | row
    return found


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (broken(pve2=None), "watch-silent"),
        (broken(pve2={"state": "stopped"}), "watch-daemon"),
        (broken(pve1={"state": "hung"}), "watch-daemon"),
        (broken(pve2={"state": "busy"}), "watch-busy"),
        (broken(pve2={"age": 3.0}), "watch-fresh"),
        (broken(pve2={"age": None}), "watch-fresh"),
        (broken(pve1={"busy": "20261126"}), "watch-run-under-way"),
        (seen(locked=True, **CUT), "watch-run-under-way"),
        (seen(dead=["vrack", "public"]), "watch-second-look"),
        (seen(layout="degraded", dead=["vrack", "public"]), "watch-nothing-left"),
        (seen(layout="degraded"), "watch-by-hand"),
        (seen(layout="double", dead=["public"]), "watch-backup-dead"),
        (seen(), "watch-healthy"),
    ],
)
def test_each_no_has_its_code(found, code):
    assert Watch().code(found) == code


@pytest.mark.parametrize("bad", [{"pve2": None}, {"pve2": {"state": "hung"}}, {"pve2": {"age": 2.0}}])
def test_what_proves_nothing_at_the_second_look_stops_it(bad):
    made = Watch()
    made.look(seen(**CUT))
    assert made.look(broken(**bad), 5)["do"] in ("nothing", "wait")
    assert made.code(seen(**CUT), 1) == "watch-second-look", "and the suspicion begins anew"


def test_two_ends_that_disagree_are_looked_at_again():
    found = seen(**CUT)
    found["nodes"]["pve1"]["links"]["pve2"]["0"] = True
    decision = Watch().look(found)
    assert (decision["do"], decision["code"]) == ("wait", "watch-disagree")


def test_without_a_layout_it_only_tells():
    assert Watch(failover=None).code(seen(**CUT)) == "watch-only-tells"


def test_a_layout_on_the_dead_network_is_no_help():
    made = Watch(failover="nominal", home="double")
    assert made.code(seen(layout="double", dead=["vrack"])) == "watch-same-network"


def test_one_card_of_three_nodes_moves_all():
    nodes = ("pve1", "pve2", "pve3")
    made, found = Watch(nodes), seen(nodes=nodes, dead=[("vrack", "pve3")])
    assert made.code(found) == "watch-second-look"
    decision = made.look(found, 5)
    assert decision["do"] == "failover" and "pve1-pve3" in decision["text"]
    assert "pve1-pve2" not in decision["text"]


def test_with_two_links_the_primary_network_moves_after_a_hold_of_its_own():
    made, found = Watch(home="double"), seen(layout="double", dead=["vrack"])
    assert made.code(found) == "watch-second-look"
    assert made.look(found, 1)["again_in"] == 29
    assert made.code(found, 19) == "watch-second-look"
    assert made.look(found, 10)["do"] == "failover"


def test_a_pause_goes_before_everything():
    made = Watch()
    made.state["paused_until"] = made.now + 3600
    assert made.code(seen(**CUT)) == "watch-paused"
    assert made.code(seen(**CUT), 3601) == "watch-second-look"


def test_only_so_many_failovers_in_a_day():
    made = Watch(at_most=2)
    for _ in range(2):
        failed_over(made)
        made.now += 3600
    made.look(seen(**CUT))
    assert made.code(seen(**CUT), 5) == "watch-too-many"
    made.now += 86400
    made.look(seen(**CUT))
    assert made.look(seen(**CUT), 5)["do"] == "failover"


def test_home_by_itself_only_after_a_time_without_a_flap():
    made = failed_over()
    assert made.code(seen(layout="degraded", dead=["vrack"]), 10) == "watch-healing"
    assert made.look(seen(layout="degraded"), 10)["again_in"] == 600
    flapped = seen(layout="degraded")
    flapped["nodes"]["pve2"]["downs"]["pve1"]["1"] = 7
    assert made.look(flapped, 599)["again_in"] == 600, "a flap that no look has seen"
    decision = made.look(flapped, 600)
    assert (decision["do"], decision["layout"]) == ("home", "nominal")
    made.after(decision)
    assert made.code(seen()) == "watch-healthy" and made.state["away"] is None


def test_home_may_be_asked_for_with_the_command():
    made = failed_over()
    made.policy["home"] = "ask"
    made.look(seen(layout="degraded"))
    decision = made.look(seen(layout="degraded"), 600)
    assert (decision["do"], decision["code"]) == ("nothing", "watch-home-ready")
    assert decision["remedy"] == "salt-run state.orchestrate orch.nominal"
    kept = made.state | {"said": decision | {"time": 7}}
    told = watch.shown(made.policy, kept, 10)["text"]
    assert told.endswith("vrack is healthy again -> salt-run state.orchestrate orch.nominal"), told


def test_a_layout_without_the_network_shows_nothing_of_it():
    made = failed_over()
    assert made.code(seen(layout="degraded", links={0: "public"})) == "watch-unseen"


def test_a_layout_that_somebody_else_chose_stays():
    made = Watch()
    assert made.code(seen(layout="degraded")) == "watch-by-hand"
    assert made.code(seen(layout="degraded"), 6000) == "watch-by-hand"


def test_a_move_that_ended_half_way_is_gone_on_with_and_backs_off():
    made = Watch()
    made.look(seen(**CUT))
    decision = made.look(seen(**CUT), 5)
    made.after(decision, ok=False)
    between = seen(layout=None, links={0: "vrack", 2: "public"}, dead=["vrack"])
    assert made.code(between, 1) == "watch-back-off"
    decision = made.look(between, 10)
    assert (decision["do"], decision["layout"], decision["code"]) == ("go-on", "degraded", "watch-go-on")
    made.after(decision, ok=False)
    assert made.look(between, 1)["again_in"] == 19, "the next wait is longer"
    decision = made.look(between, 19)
    made.after(decision)
    assert made.state["goal"] is None and len(made.state["failovers"]) == 1
    assert made.code(seen(layout="degraded", dead=["vrack"])) == "watch-healing"


def test_what_follows_the_links_is_tried_some_times_only():
    made = Watch()
    made.look(seen(**CUT))
    decision = made.look(seen(**CUT), 5)
    for _ in range(watch.REST_TRIES):
        made.after(decision, ok=False, links_ok=True)
        decision = made.look(seen(layout="degraded", dead=["vrack"]), 600)
    assert decision["code"] == "watch-healing" and made.state["away"]


def test_a_refused_failover_is_forgotten_when_the_network_is_back():
    made = Watch()
    made.look(seen(**CUT))
    made.after(made.look(seen(**CUT), 5), ok=False)
    assert made.code(seen()) == "watch-healthy" and made.state["goal"] is None


def test_a_failover_of_which_nothing_came_is_not_counted():
    """Three that HA refused, each healed by itself, must not take the night's last one."""
    made = Watch(at_most=1)
    for _ in range(3):
        made.look(seen(**CUT), 60)
        decision = made.look(seen(**CUT), 5)
        assert decision["do"] == "failover"
        made.after(decision, ok=False)
        assert made.code(seen()) == "watch-healthy" and made.state["failovers"] == []
    failed_over(made)
    assert len(made.state["failovers"]) == 1
    made.look(seen(**CUT), 60)
    assert made.code(seen(**CUT), 5) == "watch-too-many"


def test_a_failover_that_brought_the_links_stays_counted():
    """Also where what follows failed and somebody went home by hand; nor does a second one give it back."""
    made = Watch(at_most=1)
    made.look(seen(**CUT))
    made.after(made.look(seen(**CUT), 5), ok=False, links_ok=True)
    assert made.code(seen(), 60) == "watch-healthy" and len(made.state["failovers"]) == 1
    made = failed_over(Watch(at_most=1))
    between = seen(layout=None, links={0: "vrack"}, dead=["vrack"])
    made.look(between, 60)
    made.after(made.look(between, 5), ok=False)
    assert made.code(seen(), 60) == "watch-healthy" and len(made.state["failovers"]) == 1


def test_what_it_brought_and_something_half_undid_is_brought_again():
    """A node that was fenced comes back with its old file: no layout is in force, and no number is used."""
    made = failed_over(Watch(at_most=1))
    between = seen(layout=None, links={0: "vrack"}, dead=["vrack"])
    assert made.code(between, 60) == "watch-second-look"
    assert made.look(between, 5)["do"] == "failover" and len(made.state["failovers"]) == 1


def test_the_network_dies_again_on_the_way_home():
    made = failed_over(Watch(at_most=1))
    made.look(seen(layout="degraded"))
    decision = made.look(seen(layout="degraded"), 600)
    made.after(decision, ok=False)
    between = seen(layout=None, links={0: "vrack"}, dead=["vrack"])
    assert made.code(between) == "watch-second-look"
    decision = made.look(between, 5)
    assert (decision["do"], decision["layout"]) == ("failover", "degraded"), "its own way home is not counted"


def test_a_process_that_died_in_an_act_leaves_a_goal():
    made = Watch()
    made.look(seen(**CUT))
    made.look(seen(**CUT), 5)  # nothing is told to `after`: the master lost its power
    between = seen(layout=None, links={0: "vrack", 2: "public"}, dead=["vrack"])
    assert made.look(between, 60)["do"] == "go-on"


def test_a_layout_between_that_nobody_here_wanted_is_left_alone():
    made = Watch()
    assert made.code(seen(layout=None, links={0: "vrack", 2: "public"})) == "watch-between"


def test_ha_is_never_released_and_bears_no_longer_loss():
    found = seen(**CUT)
    found["nodes"]["pve1"]["armed"] = True
    now = 1000.0
    assert watch.ha_refuses(0, found, {"lost": 900.0}, now) is None
    assert watch.ha_refuses(10, found, {"lost": 990.0}, now) is None
    late = watch.ha_refuses(10, found, {"lost": 960.0}, now)
    assert late["code"] == "watch-ha" and "5 s are left" in late["text"]
    assert "released first" in watch.ha_refuses(1, found, {"lost": None}, now)["text"]
    assert watch.ha_refuses(50, seen(**CUT), {"lost": None}, now) is None, "nobody is armed"


def test_the_state_survives_the_disk():
    made = Watch()
    made.look(seen(**CUT))
    made.state = json.loads(json.dumps(made.state))
    assert made.look(seen(**CUT), 5)["do"] == "failover"


def test_every_code_of_the_watch_can_be_given():
    code = pathlib.Path(watch.__file__).read_text()
    names = {name for name, row in CODES.items() if row["subject"] == "Watch"}
    elsewhere = {"watch-value", "watch-refused", "watch-pillar"}
    assert {name for name in names - elsewhere if f'"{name}"' not in code} == set()
