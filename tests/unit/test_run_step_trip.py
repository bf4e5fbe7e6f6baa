"""The round trips of one step: who is asked again, and who is waited for."""

import pytest
from pve_corosync import arguments
from pve_corosync.run import step_trip


class Ports:
    """Nodes with the answers that a test gives them, and a clock that only waiting moves."""

    def __init__(self, answers):
        self.answers, self.clock, self.said = answers, 0.0, []

    def passed(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds

    def say(self, text):
        self.said.append(text)

    def ask(self, names, function, kwarg, wait, heard=None, grace=None):
        heard_of = [name for name in names if self.answers.get((name, function)) is not None]
        for name in heard_of:
            heard(name, {"return": self.answers[name, function]})
        self.clock += 0.3 if len(heard_of) == len(names) else wait


def outcome(ok, error=""):
    return {"number": 2, "ok": ok, "error": error, "phase": "", "seen": {}, "missing": []}


def trip(answers, act):
    ports = Ports(answers)
    step = {"number": 2, "act": act, "version": 6, "conf": "", "deadline_s": 20, "text": "x"}
    settings = arguments.settings(None)
    found = step_trip.StepTrip(ports, settings, "run1", step, "pve1", "", ["pve1", "pve2"]).outcomes()
    return found, ports.clock


@pytest.mark.parametrize("act", ["cluster", "publish"])
@pytest.mark.parametrize("told", [outcome(False, "EBUSY"), "Traceback: boom"])
def test_nobody_is_waited_for_once_the_writer_has_failed(act, told):
    """The others wait for a file that does not come, up to the deadline of the step."""
    answers = {("pve1", "corosync.step"): told, ("pve2", "corosync.outcome"): {"under_way": True}}
    found, seconds = trip(answers, act)
    assert seconds < 10 and found["pve1"] == told
    assert found["pve2"] == "not waited for, as pve1 did not write the cluster file"


@pytest.mark.parametrize("told", [outcome(False, "a\x1b[2Jb"), "a\x1b[2Jb"])
def test_what_a_node_says_is_kept_and_told_without_control_characters(told):
    found, _ = trip({(name, "corosync.step"): told for name in ("pve1", "pve2")}, "local")
    assert [row if isinstance(row, str) else row["error"] for row in found.values()] == ["ab", "ab"]


@pytest.mark.parametrize(("act", "ok"), [("cluster", True), ("local", False)])
def test_a_node_that_works_on_its_own_is_waited_for(act, ok):
    answers = {("pve1", "corosync.step"): outcome(ok), ("pve2", "corosync.outcome"): {"under_way": True}}
    found, seconds = trip(answers, act)
    assert "pve2" not in found and seconds > 20
