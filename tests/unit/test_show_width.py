"""show: no line of any report is wider than a terminal, and colours are only there for one."""

import importlib.util
import itertools
import pathlib

import pytest
import simulation
from _sequence_world import SETTINGS, World, pillar
from pve_corosync import show, show_tables
from pve_corosync.findings import finding
from pve_corosync.judge import situation, verdict
from pve_corosync.judge.past import row as past_row
from pve_corosync.rules import every
from pve_corosync.run.change import Change
from pve_corosync.run.request import Request

STATES = pathlib.Path(__file__).resolve().parents[2] / "_states"
SIZES = (2, 3, 7, 24)
DEAD = [set(), {"vrack"}, {("vrack", "pve-with-a-long-name-1", "pve-with-a-long-name-2")}]


def names(count):
    return tuple(f"pve-with-a-long-name-{number}" for number in range(1, count + 1))


def wide(report):
    return [line for line in show.render(report) if len(line) > show.WIDTH]


def world(count, dead, silent=()):
    return simulation.Sim({0: "vrack"}, names(count), dead=dead, silent=silent)


@pytest.mark.parametrize("count, dead", itertools.product(SIZES, DEAD), ids=str)
def test_status_and_plan_fit(count, dead):
    sim = world(count, dead, silent=names(count)[-1:] if count > 3 else ())
    observed, request = sim.observed(), Request(pillar(names(count)), "degraded")
    findings = every.check(request.layout, observed)
    status = {
        "do": "status",
        "cluster": "prod",
        "in_force": ["nominal"],
        "state": situation.state_now(observed),
        "matrix": situation.matrix(observed),
        "findings": findings,
        "verdict": verdict.of_request(request, observed, findings),
    }
    assert wide(status) == []
    made, found = request.plan(observed, [])
    report = request.planned(made, found, observed, diff=True)
    assert wide({"do": "plan"} | report) == []
    assert wide({"do": "plan"} | verdict.attach(report, request, observed)) == []


@pytest.mark.parametrize("count", SIZES[:3])
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_and_its_journal_fit(count, fails):
    sim = world(count, {"vrack"})
    request = Request(pillar(names(count)), "degraded")
    ports = World(request, sim)
    if fails:
        ports.lost_calls = {(name, 1, "") for name in names(count)}
        ports.deaf = set(names(count)[1:])
    report = Change(request, ports, SETTINGS, "20261126030000000000").carry_out()
    assert wide({"do": "apply"} | report) == []
    notes = [
        {"time": 1763900000.0, "at": 1.0, "jid": "2026", "cluster": "prod"} | note for note in ports.notes
    ]
    run = past_row(notes, True)
    assert wide({"do": "journal", "findings": [], "runs": [run]}) == []
    lines = show.render({"do": "journal", "findings": [], "runs": [run | {"notes": notes}]})
    assert [line for line in lines if len(line) > show.WIDTH] == []
    assert any("ended" in line for line in lines)
    assert fails or any("step 1 begun" in line for line in lines)


def test_a_checklist_and_a_phase_fit():
    items = [
        {"item": f"item {n}", "ok": bool(n % 3), "seen": "word " * 30, "expected": "other " * 20}
        for n in range(9)
    ]
    head = {"cluster": "prod", "layout": "degraded", "summary": "word " * 40, "findings": []}
    for full in (False, True):
        report = head | {"do": "verify", "checklist": items, "full": full, "result": "not true"}
        assert wide(report) == []
        text = "\n".join(show.render(report))
        assert ("ok    item 1, item 2" in text) is not full
    phase = head | {"do": "replicate", "phase": "replication", "result": "failed", "open": ["exit checklist"]}
    done = [{"number": 1, "text": "word " * 40, "ok": False, "seconds": 1.0, "nodes": {"pve1": "x " * 90}}]
    assert wide(phase | {"done": done, "next": ["go on:   salt-run corosync.replicate degraded"]}) == []


def test_remedies_stand_as_they_are_typed_where_they_are_read():
    item = finding(
        "node-silent", "pve2 is silent", remedy="salt pve2 test.ping; to go on without it: skip=pve2,pve3"
    )
    report = {"do": "apply", "cluster": "prod", "findings": [item], "summary": "refused", "result": "refused"}
    assert "skip=pve2,pve3" in "\n".join(show.render(report))
    report |= {
        "command": "salt-run state.orchestrate orch.failover",
        "next": ["go on:   salt-run corosync.apply x"],
    }
    text = "\n".join(show.render(report))
    assert """pillar='{"skip": ["pve2", "pve3"]}'""" in text.replace("\n       ", " ")
    assert "go on:   salt-run state.orchestrate orch.failover" in text


@pytest.mark.parametrize("nodes", [("pve1", "pve2"), ("pve1", "pve2", "pve3"), names(2), names(7)], ids=len)
@pytest.mark.parametrize("fails", [False, True])
def test_an_orchestration_fits_behind_what_salt_puts_before_it(nodes, fails):
    """Its outputter puts 14 letters before each line of a comment."""
    sim = simulation.Sim({0: "vrack"}, nodes, dead={"vrack"})
    request = Request(pillar(nodes), "degraded")
    report = {"do": "apply", "command": ORCHESTRATION} | request.head()
    observed = sim.observed()
    if fails:
        report |= {"result": "failed", "summary": "stopped in step 1 of 5: " + "word " * 20, "findings": []}
        report |= {"state": situation.state_now(observed), "matrix": situation.matrix(observed)}
        report |= {"next": ["go on:   salt-run corosync.apply degraded"], "steps": []}
    else:
        report |= Change(request, World(request, sim), SETTINGS, "20261126030000000000").carry_out()
    lines = show.render(report, show.IN_STATE)
    assert [line for line in lines if len(line) > 66] == [] and lines
    assert not fails or nodes[0] != "pve1" or "READ-ONLY" in "\n".join(lines), "no word of a table breaks"
    assert show_tables.room() == show.WIDTH, "and nothing else becomes narrow by it"


ORCHESTRATION = """salt-run state.orchestrate orch.failover pillar='{"cluster": "prod", "skip": ["pve3"]}'"""


def loaded(name):
    """Return a file of states, as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"states_{name}", STATES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_unknown_pillar_key_of_an_orchestration_fits():
    module = loaded("corosync_orch")
    module.__opts__, module.__context__ = {"test": False}, {"corosync_run.given": {"layuot": "x"}}
    said = module.phase("links", "apply", "failover")
    assert said["result"] is False and max(map(len, said["comment"].splitlines())) <= 66
    assert "knows no pillar key 'layuot'; allowed: layout, skip" in " ".join(said["comment"].split())


def test_the_state_of_a_layout_fits():
    module = loaded("corosync")
    item = finding("node-silent", "pve2 does not answer " + "word " * 30, remedy="salt pve2 test.ping")
    told = {"text": "prod has NO QUORUM: " + "word " * 30, "command": ORCHESTRATION, "also": ["word " * 30]}
    report = {"result": "refused", "findings": [item], "verdict": told, "next": [f"do it: {ORCHESTRATION}"]}
    module.__opts__ = {"test": False}
    module.__salt__ = {"corosync.proved": lambda layout: {}, "corosync.apply": lambda *_, **__: report}
    ret = module.ring_layout("links")
    assert ret["result"] is False and max(map(len, ret["comment"].splitlines())) <= 66
    assert "\n-> salt pve2 test.ping\n" in ret["comment"]
    assert ret["comment"].count("  salt-run state.orchestrate orch.failover \\\n") == 1


def test_a_comment_of_a_state_fits_and_its_commands_are_whole():
    text = show_tables.for_state(
        "prod has NO QUORUM: pve1 and pve2 do not reach each other over vrack. Way out, over public:\n"
        f"  {ORCHESTRATION}\n"
        "pve2 does not answer (minion 'pve2'); its vote and its file are missing -> salt pve2 test.ping\n"
        f"go on:   {ORCHESTRATION}\n"
        "another thing that has its remedy in words -> correct corosync:nodes:pve1:minion in the pillar"
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 66
    assert "-> salt pve2 test.ping" in lines
    assert "  salt-run state.orchestrate orch.failover \\" in lines
    assert "go on:   salt-run state.orchestrate orch.failover \\" in lines
    assert " ".join(text.split()).endswith("corosync:nodes:pve1:minion in the pillar")
    assert show_tables.for_state("") == "" and show_tables.for_state("reached already") == "reached already"


def test_what_an_orchestration_is_given_stays_in_one_piece():
    item = finding(
        "node-silent", "pve2 is silent", remedy="salt pve2 test.ping; to go on without it: skip=pve2"
    )
    report = {"do": "x", "summary": "s", "findings": [item], "command": ORCHESTRATION}
    for width in (show.WIDTH, show.IN_STATE):
        lines = show.render(report, width)
        assert [line for line in lines if """pillar='{"skip": ["pve2"]}'""" in line]
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    "command", ["systemctl start corosync", "salt -L pve1,pve2 test.ping", "salt-run corosync.journal"]
)
def test_a_short_command_in_a_sentence_stays_in_one_piece(command):
    for before in range(60):
        lines = show_tables.wrapped("x " * before + command + "; and so on")
        assert command in "\n".join(lines) and max(map(len, lines)) <= show.WIDTH


def test_a_long_command_can_be_copied():
    command = 'salt-run state.orchestrate orch.failover pillar=\'{"skip": ["' + "a" * 30 + "\"]}' " + "b" * 40
    lines = show.command_lines(command)
    assert all(line.endswith(" \\") for line in lines[:-1]) and len(lines) > 1
    assert " ".join(" ".join(line.removesuffix(" \\").split()) for line in lines) == command


def test_colours_are_salts_and_none_in_a_pipe():
    names_of = ("LIGHT_RED", "YELLOW", "GREEN", "CYAN", "ENDC")
    lines = ["prod has NO QUORUM", "", "plain", "  salt-run corosync.status"]
    assert show.coloured(lines, dict.fromkeys(names_of, "")) == lines
    shown = show.coloured(lines, {name: f"<{name}>" for name in names_of})
    assert shown == [
        "<LIGHT_RED>prod has NO QUORUM<ENDC>",
        "",
        "plain",
        "<CYAN>  salt-run corosync.status<ENDC>",
    ]
