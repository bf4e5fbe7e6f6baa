"""The beacon ``corosync``: which looks make an event, and what its configuration may hold."""

import json

import pytest

from _beacons import corosync as beacon

WELL = {
    "state": "running",
    "age": 500.0,
    "node": "pve1",
    "nodeid": 1,
    "quorate": True,
    "members": ["pve1", "pve2"],
    "nodes": ["pve1", "pve2"],
    "version": 5,
    "local": 5,
    "links": {"pve2": {"0": True}},
}
CUT = WELL | {"links": {"pve2": {"0": False}}}
LOST = CUT | {"quorate": False, "members": ["pve1"]}
CONFIG = [{"interval": 1}, {"again": 10}, {"_beacon_name": "corosync"}]


class Minion:
    """Ticks of a second; ``now`` is what the next look finds."""

    def __init__(self, monkeypatch, root):
        monkeypatch.setattr(beacon, "__opts__", {"pve_corosync": {"root": str(root)}}, raising=False)
        self.note = root / "run/pve-corosync/watch.json"
        self.clock, self.now = 1000.0, dict(WELL)
        monkeypatch.setattr(beacon.time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(beacon.time, "clock_gettime", lambda _clock: self.clock)
        monkeypatch.setattr(beacon, "__salt__", {beacon.LOOK: lambda counts: dict(self.now)}, raising=False)
        beacon._SEEN.clear()

    def tick(self, found=None, seconds=1):
        """The events of some seconds."""
        self.now, events = self.now if found is None else found, []
        for _ in range(seconds):
            events += beacon.beacon(CONFIG)
            self.clock += 1
        return events


@pytest.fixture
def minion(monkeypatch, tmp_path):
    made = Minion(monkeypatch, tmp_path)
    yield made
    beacon._SEEN.clear()


def test_the_first_look_says_how_things_are(minion):
    (event,) = minion.tick()
    assert (event["tag"], event["changes"], event["wrong"]) == ("begin", [], [])
    assert event["look"] == WELL


def test_each_change_is_told_once_and_what_is_wrong_every_ten_seconds(minion):
    minion.tick()
    (event,) = minion.tick(CUT)
    assert (event["tag"], event["changes"]) == ("change", ["link 0 to pve2 is dead"])
    assert event["wrong"] == ["link 0 to pve2 is dead"]
    assert minion.tick(seconds=9) == []
    (event,) = minion.tick()
    assert (event["tag"], event["changes"]) == ("still", [])
    (event,) = minion.tick(LOST)
    assert event["changes"] == ["quorum is lost", "pve2 left"]
    (event,) = minion.tick(WELL)
    assert event["changes"] == ["quorum is back", "pve2 joined", "link 0 to pve2 is connected"]
    assert event["wrong"] == []


def test_a_healthy_node_is_quiet_but_for_a_sign_of_life(minion):
    minion.tick()
    events = minion.tick(seconds=120)
    assert [event["tag"] for event in events] == ["alive", "alive"]


def test_a_stopped_or_hung_daemon_is_wrong_and_a_busy_one_is_nothing(minion):
    minion.tick()
    assert minion.tick({"state": "busy", "for": 0.3}, seconds=3) == []
    (event,) = minion.tick({"state": "hung", "for": 3.4})
    assert (event["changes"], event["wrong"]) == (
        ["corosync is hung, was running"],
        ["corosync is hung"],
    )
    (event,) = minion.tick({"state": "stopped", "local": 5})
    assert event["wrong"] == ["corosync is stopped"]
    (event,) = minion.tick(WELL)
    assert (event["changes"], event["wrong"]) == (["corosync is running, was stopped"], [])


def test_versions_may_differ_for_a_while_as_in_a_change_but_not_for_long(minion):
    minion.tick()
    (event,) = minion.tick(WELL | {"local": 6})
    assert event["changes"] == ["the local file's version is 6, was 5"] and event["wrong"] == []
    events = minion.tick(seconds=31)
    assert [event["tag"] for event in events] == ["change"]
    assert events[0]["wrong"] == ["the daemon runs version 5, the local file has 6"]
    (event,) = minion.tick(WELL)
    assert event["wrong"] == []


def test_since_when_links_are_dead_is_kept_for_who_asks_the_node(minion):
    minion.tick()
    assert json.loads(minion.note.read_text()) == {"at": 1000.0, "dead": {}, "alive": {"pve2": {"0": 1000.0}}}
    minion.tick(CUT)
    minion.tick(LOST, seconds=12)
    kept = json.loads(minion.note.read_text())
    assert kept["dead"] == {"pve2": {"0": 1001.0}} and kept["at"] == 1012.0 and kept["alive"] == {}
    minion.tick(WELL)
    minion.tick(seconds=60)
    kept = json.loads(minion.note.read_text())
    assert kept == {"at": 1074.0, "dead": {}, "alive": {"pve2": {"0": 1014.0}}}


def test_what_knet_waited_before_it_called_a_link_dead_counts(minion):
    minion.tick()
    minion.tick(CUT | {"silent": {"0": 0.75}})
    minion.tick(LOST | {"silent": {"0": 0.75}}, seconds=12)
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1000.25}}


def pinged(count, up=True, silent=0.75):
    """Return a look with so many answered pings."""
    link = {"links": {"pve2": {"0": up}}, "pongs": {"pve2": {"0": count}}}
    return WELL | link | ({} if up else {"silent": {"0": silent}, "interval": {"0": 0.75}})


def test_a_link_is_dead_since_the_ping_after_the_last_answer(minion):
    """knet needs up to 1.5 s and a look up to 1 s more; the counter of answers has stood still since."""
    minion.tick()
    for count in (7, 8, 10):
        minion.tick(pinged(count))  # the last of these at 1003
    minion.tick(pinged(10))
    minion.tick(pinged(10, up=False))  # at 1005: dead since 1004.25 by knet
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1003.75}}
    minion.tick(seconds=20)
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1003.75}}


def test_what_knet_waited_counts_where_it_is_the_longer_time(minion):
    minion.tick()
    minion.tick(pinged(7))
    minion.tick(pinged(7, up=False, silent=2.5))
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 999.5}}


def test_an_answer_on_a_dead_link_is_a_sign_of_life_and_noted_at_once(minion):
    minion.tick()
    minion.tick(pinged(7))
    minion.tick(pinged(7, up=False), seconds=3)
    minion.tick(pinged(8, up=False))  # at 1005
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1005.0}}
    minion.tick(seconds=3)
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1005.0}}


def test_a_beacon_that_stood_still_knows_nothing_of_that_time(minion):
    """A node that was paused for seconds got no answers, whatever the network did."""
    minion.tick()
    minion.tick(pinged(7))  # at 1001
    minion.clock += 8
    minion.tick(pinged(7, up=False))  # at 1010: by knet alone
    assert json.loads(minion.note.read_text())["dead"] == {"pve2": {"0": 1009.25}}


def test_counters_are_not_told_in_an_event(minion):
    minion.tick()
    (event,) = minion.tick(pinged(7, up=False))
    assert not {"pongs", "downs", "dead_for"} & set(event["look"])


def test_a_note_that_cannot_be_written_ends_nothing(minion):
    minion.note.parent.parent.write_text("no folder")
    assert [event["tag"] for event in minion.tick()] == ["begin"]


def test_a_new_link_and_a_lost_one_are_changes(minion):
    minion.tick()
    (event,) = minion.tick(WELL | {"links": {"pve2": {"1": True}}})
    assert event["changes"] == ["link 0 to pve2 is gone", "link 1 to pve2 is connected"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"interval": 1}, "must be a list"),
        ([{"agian": 3}], "agian: no such key; allowed: interval, again, alive"),
        ([{"again": 0}], "again: 0 is no number of seconds from 1 to 86400"),
        ([{"again": "soon"}, {"alive": True}], "again: 'soon' is no number"),
        (["interval"], "'interval' is no 'key: value'"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(config, text):
    ok, said = beacon.validate(config)
    assert not ok and text in said


def test_every_problem_is_told_at_once():
    said = beacon.validate([{"again": "soon"}, {"alive": True}])[1]
    assert "again" in said and "alive" in said


def test_the_usual_configuration_is_valid():
    assert beacon.validate(CONFIG)[0]
