"""ports.alive: a long wait for a call ends when the minion does not work on it any more."""

import contextlib

import pytest
from pve_corosync.ports import alive
from pve_corosync.ports import master as port_master

CALL, WAIT = "1", 320


class Bus:
    """Client and bus of a master with minions that take their time; the clock moves while it is waited."""

    def __init__(self, monkeypatch, **minions):
        """:param minions: ``name={"ends": seconds, or None, "dies": seconds, "back": seconds}``."""
        self.minions, self.now, self.jobs = minions, 0.0, 0
        self.called = 1e9  # when an operator's command comes that goes first
        self.events, self.questions = [], []
        for name, how in minions.items():
            if how.get("ends") is not None:
                self.events.append((how["ends"], CALL, name, "done"))
        for module in (alive, port_master):
            monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def run_job(self, ids, fun, arg, tgt_type="list", kwarg=None, listen=False, timeout=None):
        self.jobs += 1
        jid = str(self.jobs)
        if fun == "saltutil.find_job":
            assert arg == [CALL]
            self.questions.append((self.now, list(ids)))
            for name in ids:
                how = self.minions[name]
                dies, back = how.get("dies", 1e9), how.get("back", 1e9)
                if self.now < dies:
                    self.events.append((self.now + 0.1, jid, name, {"jid": CALL}))
                elif self.now >= back:
                    self.events.append((self.now + 0.1, jid, name, {}))
        return {"jid": jid}

    def get_event(self, wait, tag, match_type, full):
        self.events.sort(key=lambda row: row[0])
        if not self.events or self.events[0][0] > self.now + wait:
            self.now += wait
            return None
        at, jid, name, value = self.events.pop(0)
        self.now = max(self.now, at)
        return {"tag": f"salt/job/{jid}/ret/{name}", "data": {"id": name, "return": value, "success": True}}

    def publish(self, **more):
        there = contextlib.nullcontext
        master = port_master.Master({}, lambda: there(self), lambda: there(self), None, None, None, "9")
        master.gives_way = lambda: self.now >= self.called
        return master.publish(list(self.minions), "pvecm.add", {}, WAIT, **more)


def test_a_minion_that_works_is_waited_for(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 1}, pve2={"ends": 70})
    silent = []
    assert bus.publish(silent=silent.append)[1:] == (
        {name: {"id": name, "return": "done", "success": True} for name in ("pve1", "pve2")},
        [],
    )
    assert [ids for _, ids in bus.questions] == silent == [["pve2"]] * 6, "only who has not answered is asked"


def test_a_short_call_asks_nobody(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 9})
    bus.publish()
    assert bus.questions == []


@pytest.mark.parametrize(
    "how, seconds, text",
    [
        ({"dies": 3, "back": 8}, 15, "does not work on pvecm.add any more"),
        ({"dies": 12, "back": 18}, 25, "does not work on pvecm.add any more"),
        ({"dies": 3}, 55, "the minion is silent: 4 times"),
    ],
)
def test_a_minion_that_is_gone_is_not(monkeypatch, how, seconds, text):
    bus, heard = Bus(monkeypatch, pve1={"ends": 2}, pve2=how), []
    _, got, pending = bus.publish(heard=lambda name, _event: heard.append(name))
    assert bus.now <= seconds and pending == []
    assert got["pve1"]["return"] == "done" and text in got["pve2"]["return"]
    assert not got["pve2"]["success"] and got["pve2"]["retcode"] and got["pve2"]["gone"]
    assert heard == ["pve1"], "what the master says of a minion is no answer of it"


def test_an_answer_that_crosses_the_question_counts(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 11, "dies": 10, "back": 10})
    assert bus.publish()[1]["pve1"]["return"] == "done"


def test_a_minion_that_was_silent_for_a_while_is_waited_for(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 100})
    asked = bus.run_job

    def deaf_for_a_while(ids, fun, arg, **how):
        if 15 < bus.now < 45 and fun == "saltutil.find_job":
            bus.questions.append((bus.now, list(ids)))
            return {"jid": "7"}
        return asked(ids, fun, arg, **how)

    bus.run_job = deaf_for_a_while
    assert bus.publish()[1]["pve1"]["return"] == "done"


def test_who_is_skipped_is_not_asked(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 15}, pve2={})
    assert bus.publish(optional={"pve2"})[2] == ["pve2"]
    assert {name for _, ids in bus.questions for name in ids} == {"pve1"}


def test_a_long_wait_ends_when_an_operators_command_goes_first(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 70}, pve2={"ends": 4})
    bus.called = 5
    _, got, pending = bus.publish()
    assert bus.now < 7 and pending == []
    assert got["pve2"]["return"] == "done" and got["pve1"]["return"].startswith("an operator's command")


def test_answers_that_came_in_time_are_read_by_a_master_that_was_kept_from_reading(monkeypatch):
    """The processor was another's for longer than the wait: unread answers are no silence."""
    bus = Bus(monkeypatch, pve1={"ends": 1}, pve2={"ends": 2}, pve3={"ends": 1e6})
    asked = bus.run_job

    def starved(*words, **more):
        told = asked(*words, **more)
        bus.now += WAIT + 100
        return told

    bus.run_job = starved
    _, got, pending = bus.publish(optional={"pve3"})
    assert sorted(got) == ["pve1", "pve2"] and pending == ["pve3"]


def test_the_last_look_ends(monkeypatch):
    bus = Bus(monkeypatch, pve1={"ends": 1e6})
    assert bus.publish()[2] == ["pve1"]
    assert WAIT <= bus.now <= WAIT + 2 * port_master.LAST_LOOK_S
