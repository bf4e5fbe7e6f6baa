"""The pillar `corosync:watch`: defaults, and every problem at once with its place."""

import pytest
from _rules_world import problems
from _sequence_world import pillar
from pve_corosync.pillar import layouts

DEFAULTS = {
    "failover": None,
    "home": "ask",
    "hold": 5,
    "primary_hold": 30,
    "healthy_for": 600,
    "at_most": 3,
}


def loaded(watch):
    return layouts.load(pillar() | {"watch": watch})["watch"]


@pytest.mark.parametrize("off", [None, False])
def test_without_the_key_nothing_is_watched(off):
    assert loaded(off) is None and layouts.load(pillar())["watch"] is None


def test_an_empty_one_only_tells():
    assert loaded({}) == DEFAULTS


def test_what_is_given_is_taken():
    given = {"failover": "degraded", "home": "auto", "hold": "7", "at_most": 1}
    assert loaded(given) == DEFAULTS | given | {"hold": 7}


@pytest.mark.parametrize(
    ("watch", "place", "text"),
    [
        (
            {"failover": "degarded"},
            "failover",
            "'degarded' is no layout of the pillar; allowed: degraded, nominal",
        ),
        ({"failover": 3}, "failover", "3 is no layout"),
        ({"home": "soon"}, "home", "'soon' is no way home; allowed: ask, auto"),
        ({"hold": 0}, "hold", "0 is not usable; allowed: a whole number from 1 to 40, in seconds"),
        ({"hold": True}, "hold", "True is not usable"),
        ({"at_most": "often"}, "at_most", "'often' is not usable; allowed: a whole number from 1 to 100"),
        ({"healthy_for": 1.5}, "healthy_for", "1.5 is not usable"),
        ({"faliover": "degraded"}, "faliover", "unknown key 'faliover'"),
        (True, "", "True is no mapping"),
        ([], "", "[] is no mapping"),
    ],
)
def test_a_problem_has_its_place(watch, place, text):
    (item,) = problems(pillar() | {"watch": watch})
    assert item["data"]["place"] == f"corosync:watch:{place}".rstrip(":")
    assert text in item["text"]


def test_every_problem_is_told_at_once():
    found = problems(pillar() | {"watch": {"hold": 99, "home": "no", "at_most": 0}})
    assert [item["data"]["place"].rpartition(":")[2] for item in found] == ["home", "hold", "at_most"]
