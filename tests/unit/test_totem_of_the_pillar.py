"""token and token_coefficient of the pillar, for the cluster or one layout; and links that may be down."""

import copy

import _cases
import pytest
import simulation
from _rules_world import facts, observed, pillar
from _sequence_world import World, run, world
from _sequence_world import pillar as run_pillar
from pve_corosync import conf
from pve_corosync.findings import errors
from pve_corosync.judge import checklist, situation
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.rules import every
from pve_corosync.run.request import Request


def wanted(name="nominal", nodes=2, layout=None, **cluster):
    given = pillar(nodes) | cluster
    given["layouts"] = copy.deepcopy(given["layouts"])
    given["layouts"]["degraded"].update(layout or {})
    return layouts.resolve(layouts.load(given), name)


@pytest.mark.parametrize("value", [999, 300001, "x", None, True, -1, "²"])
@pytest.mark.parametrize("place", ["cluster", "layout"])
def test_a_token_out_of_range_is_refused(place, value):
    with pytest.raises(layouts.LayoutError) as error:
        wanted(**{"layout": {"token": value}} if place == "layout" else {"token": value})
    assert [item["code"] for item in error.value.findings] == ["option-range"]
    assert "1000 to 300000" in str(error.value)


def test_the_layout_wins_and_a_key_that_only_another_sets_goes():
    assert wanted("degraded", token=5000, layout={"token": "10000"})["totem"] == {"token": "10000"}
    assert wanted("nominal", token=5000, layout={"token": 10000})["totem"] == {"token": "5000"}
    assert wanted("nominal", layout={"token": 10000})["totem"] == {"token": None}
    assert wanted("nominal")["totem"] == {}


def test_a_token_is_set_in_one_step_of_its_own_and_is_the_goal_then():
    goal, seen = wanted(token=10000, token_coefficient=0), observed()
    made = planner.plan(goal, seen)
    (step,) = made["steps"]
    assert step["text"] == "set totem.token to 10000; set totem.token_coefficient to 0"
    document = conf.parse(step["conf"])
    assert (document.get("totem.token"), document.get("totem.token_coefficient")) == ("10000", "0")
    after = {"nodes": {name: facts(name, 2, step["conf"]) for name in seen["nodes"]}, "silent": []}
    assert planner.plan(goal, after)["steps"] == []
    items = checklist.checklist(goal, seen, items=["options"])
    assert not items[0]["ok"] and "totem.token is not set, not 10000" in items[0]["seen"]
    assert checklist.passed(checklist.checklist(goal, after, items=["options"]))


def test_the_token_of_degraded_goes_with_it():
    ports = world()
    given = run_pillar()
    given["layouts"]["degraded"]["token"] = 10000
    ports.request = Request(given, "degraded")
    assert run(ports)["result"] == "reached"
    assert {conf.parse(d.local).get("totem.token") for d in ports.sim.daemons.values()} == {"10000"}
    back = World(Request(given, None), ports.sim)
    ports.sim.dead.clear()
    assert run(back)["result"] == "reached"
    assert {conf.parse(d.local).get("totem.token") for d in ports.sim.daemons.values()} == {None}


def test_the_arithmetic_of_ha_follows():
    seen = observed()
    for row in seen["nodes"].values():
        row["ha"] = {"armed": True, "configured": True}
    assert "ha-slow-token" not in {item["code"] for item in every.check(wanted(token=10000), seen)}
    (item,) = [i for i in every.check(wanted(token=22500), seen) if i["code"] == "ha-slow-token"]
    assert "50 s" in item["text"]


def test_a_bad_token_of_the_file_is_cured_by_the_pillar():
    seen = observed()
    text = seen["nodes"]["pve1"]["local"]["text"].replace("  version: 2", "  token: 20\n  version: 2")
    for row in seen["nodes"].values():
        row["local"]["text"] = row["cluster_file"]["text"] = text
    assert [item["code"] for item in errors(every.check(wanted(), seen))] == ["conf-value"]
    assert errors(every.check(wanted(token=3000), seen)) == []


def test_a_link_that_is_optional_may_be_down():
    rows = {"pve1": {"vrack": "10.66.0.1", "public": "198.51.101.10"}}
    rows["pve2"] = {"vrack": "10.66.0.2", "public": "198.51.102.10"}
    cards = {name: {"a": row["vrack"] + "/24", "b": row["public"] + "/24"} for name, row in rows.items()}
    seen = _cases.cut(_cases.world(_cases.text("two-rings-of-pve5"), cards), 0)
    goal = _cases.goal(rows, {0: "vrack", 1: "public"})
    items = checklist.checklist(goal, seen, items=["links connected"])
    assert not checklist.passed(situation.tolerate(goal, seen, items)[0])  # it is the primary network
    goal["links"][0]["optional"] = True
    borne, told = situation.tolerate(goal, seen, items)
    assert checklist.passed(borne) and [item["severity"] for item in told] == ["info"]
    lost = [item for item in every.check(goal, seen) if item["code"] == "redundancy-lost"]
    assert [item["severity"] for item in lost] == ["info"]


@pytest.mark.parametrize("links", [{0: "vrack"}, {0: "public"}, {3: "vrack"}])
@pytest.mark.parametrize("optional", [True, False])
def test_a_plan_does_not_wait_for_an_optional_link_that_it_does_not_need(links, optional):
    """The public network is dead, and no link shows it yet."""
    sim = simulation.Sim(links, ["pve1", "pve2"])
    goal = simulation.layout({0: "vrack", 1: "public"}, ["pve1", "pve2"], primary="vrack")
    if optional:
        goal["links"][1]["optional"] = True
    if "public" not in links.values():
        sim.dead.add("public")
    made = planner.plan(goal, sim.observed())
    assert made["complete"], planner.describe(made)
    missing = []
    for step in made["steps"]:
        sim.take(step)
        missing += sim.missing(step)
    assert bool(missing) is (not optional and "public" in str(sim.dead)), (missing, planner.describe(made))


def test_a_plan_that_leads_over_an_optional_link_waits_for_it():
    """The links change places, and only the optional one carries."""
    sim = simulation.Sim({0: "public", 1: "vrack"}, ["pve1", "pve2"])
    sim.dead.add("vrack")
    goal = simulation.layout({0: "vrack", 1: "public"}, ["pve1", "pve2"], primary="public")
    goal["links"][1]["optional"] = True
    made = planner.plan(goal, sim.observed())
    waits = [number for step in made["steps"] for number, pairs in step["wait"]["connected"].items() if pairs]
    assert made["complete"] and 1 in waits, planner.describe(made)


def test_optional_is_yes_or_no():
    given = pillar()
    given["layouts"]["nominal"]["links"][0]["optional"] = "maybe"
    with pytest.raises(layouts.LayoutError, match="true or false"):
        layouts.load(given)
