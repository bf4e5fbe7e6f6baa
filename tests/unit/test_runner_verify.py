"""corosync.verify on the master: what it makes of the answers, without a master."""

import importlib.util
import pathlib

import simulation
from _sequence_world import pillar
from pve_corosync import show
from pve_corosync.findings import finding
from pve_corosync.run.request import Request

REPO = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("runner_corosync", REPO / "_runners" / "corosync.py")
RUNNER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(RUNNER)


class Site:
    """Nodes that tell what the simulation has, and nothing more."""

    settings = {"exit_timeout": 1}

    def __init__(self, observed, findings=()):
        self.observed, self.findings = observed, list(findings)

    def see(self):
        return self.observed, self.findings

    def ask(self, names, fun, kwarg, wait):
        return {}


def verified(observed, layout=None, findings=(), **how):
    report = {"do": "verify"} | RUNNER._checked(Site(observed, findings), Request(pillar(), layout, **how))
    return report, show.render(report)


def test_without_quorum_the_first_line_says_so_and_how_to_bring_it_back():
    report, lines = verified(simulation.Sim({0: "vrack"}, ("pve1", "pve2"), dead={"vrack"}).observed())
    assert report["retcode"] == 1 and lines[0].startswith("prod has NO QUORUM")
    assert "  salt-run state.orchestrate orch.failover" in lines


def test_where_nobody_answers_nothing_is_said_of_files():
    report, lines = verified({"nodes": {}, "silent": ["pve1", "pve2"]})
    text = "\n".join(lines)
    assert report["retcode"] == 1 and lines[0].startswith("prod: the master reaches none of pve1 and pve2")
    assert "missing" not in text and "?     pve1, pve2 could not be asked: " in text


def test_away_from_the_wanted_layout_the_last_line_checks_the_one_in_force():
    world = simulation.Sim({0: "public", 1: "vrack"}, ("pve1", "pve2")).observed()
    report, lines = verified(world)
    assert report["retcode"] == 1
    assert lines[-1] == "degraded is in force: salt-run corosync.verify degraded"
    assert verified(world, cluster="prod")[1][-1].endswith(" corosync.verify degraded cluster=prod")
    assert "in force" not in "\n".join(verified(world, "degraded")[1])


def test_what_was_forced_is_shown_and_does_not_fail_a_checklist_that_is_true(monkeypatch):
    monkeypatch.setattr(RUNNER.checklist, "passed", lambda items: True)
    world = simulation.Sim({0: "vrack"}, ("pve1", "pve2")).observed()
    other = [finding("code-differs", "pve2 has other code", data={"node": "pve2"})]
    report, lines = verified(world, findings=other)
    assert report["retcode"] == 1 and "other code of this project" in lines[0]
    report, lines = verified(world, findings=other, force=["code-differs"])
    assert (report["retcode"], report["result"]) == (0, "true") and "verdict" not in report
    assert any("code-differs" in line for line in lines)
