"""judge.verdict: the first line says what is true, and the command is one that a run would carry out."""

import itertools
import json
import shlex

import _sequence_world
import pytest
import simulation
from _sequence_world import pillar
from pve_corosync import show
from pve_corosync.findings import errors, finding
from pve_corosync.judge import situation, verdict, ways
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.rules import every
from pve_corosync.run.change import Change
from pve_corosync.run.request import Request

TWO, THREE = ("pve1", "pve2"), ("pve1", "pve2", "pve3")
AT = 1763900000.0


def all_layouts(nodes, more=None):
    given = pillar(nodes)
    given["layouts"] |= more or {}
    loaded = layouts.load(given)
    return {name: layouts.resolve(loaded, name) for name in loaded["layouts"]}


def judge(sim, nodes=TWO, more_layouts=None, observed=None, **more):
    known = all_layouts(nodes, more_layouts)
    observed = sim.observed() if observed is None else observed
    force = situation.in_force(known, observed)
    given = {"in_force": force, "now": AT} | more
    return verdict.verdict(observed, known, "nominal", **given)


def sim(links=None, nodes=TWO, **more):
    return simulation.Sim(links or {0: "vrack"}, nodes, **more)


def run(layout, result, hour=0.0, **more):
    end = AT - 3600 * hour
    row = {"jid": "7", "layout": layout, "result": result, "begun_at": end - 60, "ended_at": end, "codes": []}
    return row | more


def test_a_healthy_cluster_is_said_to_be_so():
    told = judge(sim())
    assert (told["kind"], told["ok"], told["command"]) == ("healthy", True, "")
    assert told["text"] == "prod is healthy on nominal: 2 nodes, quorum, vrack connected."


def halves(names=("nominal", "degraded"), **more):
    """The vRack is cut, and `pvecm expected 1` was typed on both sides; the pillar has these layouts."""
    observed = sim(dead={"vrack"}).observed()
    for facts in observed["nodes"].values():
        facts["quorum"] |= {"quorate": True}
    known = {name: layout for name, layout in all_layouts(TWO).items() if name in names}
    findings = planner.plan(known["nominal"], observed)["findings"]
    return verdict.verdict(
        observed, known, "nominal", in_force=["nominal"], now=AT, findings=findings, **more
    )


def test_two_quorate_halves_are_not_told_to_repair_the_network():
    """The repair is what drops one side's /etc/pve: the copies come first."""
    told = halves()
    assert (told["kind"], told["ok"]) == ("halves", False)
    assert told["text"].startswith("prod is split, and EACH PART HAS QUORUM: pve1 / pve2 are quorate apart")
    assert told["text"].endswith("Stop what runs on both sides. Then join them:")
    assert told["command"] == (
        """salt-run state.orchestrate orch.failover pillar='{"force": ["quorate-halves"]}'"""
    )
    assert told["also"][0].startswith("Repair vrack only after that")
    on_node = halves(on_node=True)
    assert (
        on_node["text"].endswith("Then on the master, join them:") and on_node["command"] == told["command"]
    )


def test_two_quorate_halves_that_no_layout_joins():
    told = halves(names=["nominal"])
    assert told["kind"] == "halves" and not told["command"]
    assert "No layout of the pillar joins them now." in told["text"]


def test_no_quorum_and_the_one_command_that_brings_it_back():
    told = judge(sim(dead={"vrack"}))
    assert (told["kind"], told["ok"]) == ("no-quorum", False)
    assert told["text"] == (
        "prod has NO QUORUM: pve1 and pve2 do not reach each other over vrack. Way out, over public:"
    )
    assert told["command"] == "salt-run state.orchestrate orch.failover"


def test_the_way_is_the_orchestration_that_the_layout_maps_to():
    only = {"spare": {"links": {0: {"network": "third"}}, "primary": "third"}}
    rows = pillar()
    for number, row in enumerate(rows["nodes"].values(), 1):
        row["addresses"]["third"] = simulation.address("third", number)
    rows["layouts"] = {"nominal": rows["layouts"]["nominal"]} | only
    loaded = layouts.load(rows)
    known = {name: layouts.resolve(loaded, name) for name in loaded["layouts"]}
    told = verdict.verdict(sim(dead={"vrack"}).observed(), known, "nominal", in_force=["nominal"])
    assert told["command"] == 'salt-run state.orchestrate orch.failover pillar=\'{"layout": "spare"}\''


def test_on_the_other_layout_the_way_out_may_be_home():
    told = judge(sim({0: "public"}, dead={"public"}))
    assert told["kind"] == "no-quorum"
    assert told["command"] == "salt-run state.orchestrate orch.nominal"


def test_a_node_that_is_cut_off_is_named_first_and_with_whom():
    dead = {("vrack", "pve1", "pve3"), ("vrack", "pve2", "pve3")}
    told = judge(sim(nodes=THREE, dead=dead), THREE)
    assert told["text"].startswith(
        "prod: pve3 has NO QUORUM, pve1 and pve2 have it: pve3 does not reach pve1 and pve2 over vrack."
    )
    assert told["command"] == "salt-run state.orchestrate orch.failover"


def test_no_quorum_and_no_way():
    told = judge(sim(dead={"vrack", "public"}, links={0: "public", 1: "vrack"}))
    assert told["kind"] == "no-quorum" and told["command"] == ""
    assert "No layout of the pillar helps now: repair public and vrack." in told["text"]


def test_a_silent_node_is_left_out_where_the_others_are_enough():
    told = judge(sim(nodes=THREE, dead={"vrack"}, silent=("pve3",)), THREE)
    assert told["command"] == 'salt-run state.orchestrate orch.failover pillar=\'{"skip": ["pve3"]}\''
    assert "without pve3" in told["text"]


def test_where_the_others_are_not_enough_the_nodes_can_do_it_themselves():
    told = judge(sim(dead={"vrack"}, silent=("pve2",)))
    assert told["command"] == "salt-call --local corosync.apply degraded degraded=True"
    assert "type on every node" in told["text"]


def test_of_silent_nodes_nothing_is_concluded():
    world = sim(nodes=THREE, dead={"vrack"}, silent=("pve2", "pve3"))
    told = judge(world, THREE)
    assert "nobody knows whether pve2 and pve3 have it" in told["text"]
    nobody = {"nodes": {}, "silent": list(TWO)}
    told = judge(None, observed=nobody)
    assert (told["kind"], told["ok"]) == ("unreachable", False)
    assert "reaches none of pve1 and pve2" in told["text"]
    assert told["command"] == "salt -L pve1,pve2 test.ping"
    assert "  salt-call --local corosync.status" in told["also"]


def test_a_silent_node_is_left_out_only_where_the_rest_has_the_votes():
    told = judge(sim(silent=("pve2",)))
    assert (told["kind"], told["also"]) == ("silent", [])
    told = judge(sim(nodes=THREE, silent=("pve3",)), THREE)
    assert told["command"] == "salt pve3 test.ping" and """pillar='{"skip": ["pve3"]}'""" in told["also"][0]


def test_a_minion_without_the_code_is_not_silent():
    said = "'corosync.facts' is not available."
    item = finding("node-error", f"pve2: {said}", data={"node": "pve2", "minion": "pve2", "error": said})
    told = judge(None, observed={"nodes": {}, "silent": list(TWO)}, findings=[item])
    assert told["kind"] == "no-code"
    assert told["command"] == "salt pve2 saltutil.sync_all"


def answered(node, said):
    return finding("node-error", f"{node}: {said}", data={"node": node, "minion": node, "error": said})


LACKS = "'corosync.facts' is not available."


def test_one_node_without_the_code_answers_and_is_told_to_sync():
    told = judge(sim(silent=("pve2",)), findings=[answered("pve2", LACKS)])
    assert (told["kind"], told["ok"], told["also"]) == ("lacks-code", False, [])
    assert told["text"] == "prod has quorum, but pve2 answers without this project's code."
    assert told["command"] == "salt pve2 saltutil.sync_all"
    told = judge(sim(silent=("pve2",)), findings=[answered("pve2", "boom")])
    assert told["text"] == "prod has quorum, but pve2 answers with an error."
    assert told["command"] == "salt pve2 corosync.facts"


def test_silence_beside_a_node_without_the_code_is_told_apart():
    nodes = (*THREE, "pve4", "pve5")
    told = judge(
        sim(nodes=nodes, silent=("pve4", "pve5")),
        nodes,
        findings=[answered("pve5", LACKS)],
        past=[run("gone from the pillar", "failed")],
    )
    assert told["kind"] == "silent" and told["command"] == "salt pve4 test.ping"
    assert "pve4 does not answer the master; pve5 answers without" in told["text"]
    assert "  salt pve5 saltutil.sync_all" in told["also"]
    assert [text for text in told["also"] if text.startswith("By the way")]
    world, lacks = sim({0: "vrack", 1: "public"}, THREE, dead={"public"}, silent=("pve3",)), LACKS
    dead = judge(world, THREE, findings=[answered("pve3", lacks)])
    assert dead["kind"] == "dead-link" and "  salt pve3 saltutil.sync_all" in dead["also"]


def test_no_quorum_and_a_node_without_the_code_is_not_said_to_be_silent():
    told = judge(sim(dead={"vrack"}, silent=("pve2",)), findings=[answered("pve2", LACKS)])
    assert told["kind"] == "no-quorum" and "not answer the master" not in told["text"]
    assert "pve2 answers without this project's code" in told["text"]
    assert told["command"] == "salt pve2 saltutil.sync_all"


def test_nodes_that_all_answer_with_an_error_are_not_out_of_reach():
    nobody = {"nodes": {}, "silent": list(TWO), "refusals": {"pve1": "boom"}}
    told = judge(None, observed=nobody, findings=[answered("pve1", "boom")])
    assert told["kind"] == "no-facts" and "reaches none" not in told["text"]
    assert "pve2 does not answer the master; pve1 answers with an error" in told["text"]
    assert told["command"] == "salt pve1 corosync.facts"


def test_a_dead_link_with_quorum_is_an_alarm():
    told = judge(sim({0: "vrack", 1: "public"}, dead={"public"}))
    assert (told["kind"], told["ok"]) == ("dead-link", False)
    assert "one more failure takes the quorum" in told["text"] and told["command"] == ""
    told = judge(sim({0: "public", 1: "vrack"}, dead={"vrack"}), past=[run("degraded", "reached", 2)])
    assert told["command"] == "salt-run state.orchestrate orch.nominal"
    assert " on degraded since " in told["text"] and "Repair vrack" in told["text"]


def test_a_dead_primary_network_is_left_by_a_failover():
    both = {"nominal": {"links": {0: {"network": "vrack"}, 1: {"network": "public"}}, "primary": "vrack"}}
    told = judge(sim({0: "vrack", 1: "public"}, dead={"vrack"}), more_layouts=both)
    assert told["kind"] == "dead-link" and "Replication and migration go over vrack" in told["text"]
    assert told["command"] == "salt-run state.orchestrate orch.failover"


def test_away_from_the_wanted_layout():
    told = judge(sim({0: "public", 1: "vrack"}), past=[run("degraded", "reached", 2)])
    assert (told["kind"], told["ok"]) == ("away", True)
    assert "vrack is healthy on every pair" in told["text"]
    assert told["command"] == "salt-run state.orchestrate orch.nominal"
    told = judge(sim({0: "public"}))
    assert "on none of the pillar's layouts" in told["text"] and "corosync.probe nominal" in told["text"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.4, "59 s"), (40 * 60 + 5, "40 min"), (7300, "2 h"), (400000, "4 days")]
)
def test_away_and_since_when_the_way_home_is_healthy(seconds, words):
    seen = sim({0: "public", 1: "vrack"}).observed()
    for name, peer in (TWO, TWO[::-1]):
        seen["nodes"][name]["alive_for"] = {peer: {"0": 3.0, "1": seconds + (name == "pve2")}}
    told = judge(None, observed=seen)["text"]
    assert f"; vrack is healthy on every pair for at least {words}. Home" in told
    seen["nodes"]["pve2"]["alive_for"] = {}
    assert "vrack is healthy on every pair." in judge(None, observed=seen)["text"], "one node cannot tell"


@pytest.mark.parametrize("result", ["failed", "interrupted", "broken off"])
def test_a_last_run_that_did_not_end_well(result):
    told = judge(sim(), past=[run("nominal", result)])
    assert (told["kind"], told["ok"]) == ("last-run", False)
    assert told["command"] == "salt-run state.orchestrate orch.nominal"
    assert told["also"] == ["What it did: salt-run corosync.journal 7"]
    told = judge(sim({0: "public", 1: "vrack"}, dead={"vrack"}), past=[run("degraded", result)])
    assert told["command"] == "salt-run state.orchestrate orch.failover", "names and certificates may be open"
    assert told["also"][1] == "Besides, pve1 and pve2 do not reach each other over vrack."
    told = judge(sim(), past=[run("gone from the pillar", result)])
    assert told["kind"] == "healthy" and "salt-run corosync.journal 7" in told["also"][0]


@pytest.mark.parametrize("result", ["failed", "interrupted", "broken off"])
def test_a_failover_that_left_the_cluster_at_home_is_not_gone_on_with(result):
    """A healthy cluster is not told to leave the network that carries it."""
    told = judge(sim(), past=[run("degraded", result)])
    assert (told["kind"], told["ok"], told["command"]) == ("healthy", True, "")
    assert told["also"][0].startswith("By the way, the last run (to degraded,")
    assert told["also"][0].endswith(": salt-run corosync.journal 7")


def test_a_probe_or_a_checklist_that_failed_has_left_nothing_open():
    asked = [run("degraded", "failed", phases=[{"phase": name}]) for name in ("probe", "exit checklist")]
    told = judge(sim(), past=asked)
    assert (told["kind"], told["also"]) == ("healthy", [])
    told = judge(sim(), past=[*asked, run("nominal", "failed", phases=[{"phase": "links"}])])
    assert told["kind"] == "last-run", "the run before them is what counts"


def test_released_ha_is_not_forgotten():
    observed = sim().observed()
    observed["nodes"]["pve1"]["ha"] = {"armed": False, "disarm": {"mode": "freeze"}}
    told = judge(None, observed=observed)
    assert (told["kind"], told["ok"]) == ("ha-released", False)
    assert told["command"] == "salt pve1 ha_manager.arm"
    observed["nodes"]["pve2"]["busy"] = {"txn": "7", "since": AT, "by": ""}
    assert judge(None, observed=observed)["kind"] == "busy"
    told = judge(sim(), past=[run("nominal", "failed", codes=["ha-not-in-service"])])
    assert told["command"] == "salt pve1 ha_manager.status"


def test_a_quorum_device_that_gives_no_vote():
    observed = sim().observed()
    for row in observed["nodes"].values():
        row["quorum"] |= {"expected": 3, "total": 2}
    item = finding("qdevice", "a quorum device votes too")
    told = judge(None, observed=observed, findings=[item])
    assert (told["kind"], told["ok"]) == ("qdevice", False)
    assert "2 of 3 votes" in told["text"] and "corosync-qdevice" in told["command"]


def test_a_stopped_corosync_is_started_with_the_newest_file():
    observed = sim(nodes=THREE).observed()
    observed["nodes"]["pve2"] |= {"runtime": None, "links": {}, "quorum": None}
    for node in ("pve1", "pve3"):
        observed["nodes"][node]["links"].pop("pve2", None)
    told = judge(None, THREE, observed=observed)
    assert told["kind"] == "stopped" and told["command"] == "salt pve2 corosync.apply"


def test_all_stopped_is_a_restart():
    observed = sim().observed()
    for row in observed["nodes"].values():
        row |= {"runtime": None, "links": {}, "quorum": None, "corosync": {"state": "inactive"}}
        row["pmxcfs"] = {"mounted": True, "writable": False}
    told = judge(None, observed=observed)
    assert told["kind"] == "no-quorum" and "corosync does not run on pve1 and pve2" in told["text"]
    assert told["command"] == 'salt-run state.orchestrate orch.restart pillar=\'{"layout": "nominal"}\''


def test_no_writable_etc_pve_in_spite_of_quorum():
    observed = sim().observed()
    observed["nodes"]["pve2"]["pmxcfs"]["writable"] = False
    told = judge(None, observed=observed)
    assert told["kind"] == "read-only" and "not writable on pve2" in told["text"]
    observed["nodes"]["pve2"]["pmxcfs"] |= {"state": "hung", "mounted": False}
    told = judge(None, observed=observed)
    assert told["kind"] == "read-only" and "does not answer on pve2 (pmxcfs hangs)." in told["text"]


def test_other_code_and_other_errors():
    item = finding("node-other-name", "the keys differ", remedy="copy the key")
    told = judge(sim(), findings=[item])
    assert (told["kind"], told["command"]) == ("wrong", "copy the key")


def test_a_broken_pillar_does_not_hide_the_quorum():
    item = finding("network-unknown", "no such network", remedy="correct it")
    told = verdict.of_pillar("prod", [{"node": "pve1", "answers": True, "quorate": False}], [item, item])
    assert told["text"].startswith("prod has NO QUORUM, and its pillar is wrong") and "1 more" in told["text"]


LINKS = ({0: "vrack"}, {0: "public"}, {0: "public", 1: "vrack"}, {0: "vrack", 2: "public"})
DEAD = [set(), {"vrack"}, {"public"}, {("vrack", "pve1", "pve2")}, {("vrack", "pve1", "pve3"), "public"}]


@pytest.mark.parametrize("links, dead, silent", itertools.product(LINKS, DEAD, ((), ("pve3",))))
def test_what_a_verdict_names_is_what_a_run_would_go(links, dead, silent):
    """No quorum without a command, and no command that the plan refuses or that ends where it began."""
    world = sim(links, THREE, dead=dead, silent=silent)
    observed, known = world.observed(), all_layouts(THREE)
    findings = every.check(known["nominal"], observed)
    told = judge(world, THREE, findings=findings)
    lost = not all(row["quorum"]["quorate"] for row in observed["nodes"].values())
    assert told["ok"] is False or not lost
    assert all(ord(letter) < 128 for letter in told["text"]) and "None" not in told["text"]
    if not lost or "state.orchestrate" not in told["command"]:
        return
    words = shlex.split(told["command"])
    given = json.loads(words[-1].partition("=")[2]) if words[-1].startswith("pillar=") else {}
    name = given.get("layout") or {"orch.failover": ways.FAILOVER, "orch.nominal": "nominal"}[words[2]]
    made = planner.plan(known[name], observed, skip=given.get("skip", ()))
    assert made["steps"] and not errors(made["findings"])


def test_a_command_works_where_it_is_read():
    told = judge(sim(dead={"vrack"}), on_node=True)
    assert told["command"] == "salt-call --local corosync.apply degraded degraded=True"
    assert told["also"] == [
        "Or on the master, for all of them:",
        "  salt-run state.orchestrate orch.failover",
    ]
    told = judge(sim({0: "public", 1: "vrack"}), on_node=True)
    assert told["command"] == "salt-call --local corosync.apply nominal"


def test_a_plan_that_does_not_help_fails_and_says_what_does():
    world = sim(dead={"vrack"})
    request = Request(pillar())
    made, findings = request.plan(world.observed(), [])
    report = verdict.attach(request.planned(made, findings, world.observed()), request, world.observed())
    assert (report["retcode"], report["result"]) == (1, "refused")
    assert report["verdict"]["command"] == "salt-run state.orchestrate orch.failover"
    lines = show.render({"do": "plan"} | report)
    assert lines[0].startswith("prod has NO QUORUM") and "nothing to do" not in "\n".join(lines)
    request = Request(pillar(), "degraded")
    made, findings = request.plan(world.observed(), [])
    report = verdict.attach(request.planned(made, findings, world.observed()), request, world.observed())
    assert report["retcode"] == 0 and "verdict" not in report
    assert report["next"] == ["do it: salt-run state.orchestrate orch.failover"]


def test_a_run_to_a_layout_that_cannot_help_is_short_and_names_the_way():
    request = Request(pillar())
    world = _sequence_world.World(request, sim(dead={"vrack"}))
    report = Change(request, world, _sequence_world.SETTINGS, "1").carry_out()
    assert report["retcode"] == 1 and world.clock < 5
    assert report["verdict"]["command"] == "salt-run state.orchestrate orch.failover"
    assert show.render({"do": "apply"} | report)[0].startswith("prod has NO QUORUM")


def test_who_is_left_out_and_what_is_forced_stays_in_the_headline():
    world = sim(nodes=THREE, silent=("pve3",))
    request = Request(pillar(THREE), "degraded", skip=["pve3"], force=["clock-skew"])
    made, findings = request.plan(world.observed(), [])
    lines = show.render({"do": "plan"} | request.planned(made, findings, world.observed()))
    assert lines[0].startswith("prod, layout degraded, WITHOUT pve3, forced clock-skew: ")
