"""arguments: what an operator types, and what a pillar says of its members."""

import pytest
from pve_corosync import arguments
from pve_corosync.arguments import RunError


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, []),
        ("", []),
        (False, []),
        ("pve1, pve2,", ["pve1", "pve2"]),
        (["pve1", "pve1"], ["pve1"]),
        (7, ["7"]),
        (("a", "b"), ["a", "b"]),
    ],
)
def test_names(value, expected):
    assert arguments.names(value, "skip") == expected


@pytest.mark.parametrize("value", [{"a": 1}, True, [["a"]], [None]])
def test_names_refuses_other_types(value):
    with pytest.raises(RunError, match="skip="):
        arguments.names(value, "skip")


@pytest.mark.parametrize("value", ["fast", None, 1, "Live"])
def test_choice_names_the_allowed_ones(value):
    with pytest.raises(RunError, match="allowed: live, restart"):
        arguments.choice(value, "strategy", ("live", "restart"))


def test_choice_does_not_take_numbers_for_truth():
    assert arguments.choice(True, "test", (False, True)) is True
    with pytest.raises(RunError):
        arguments.choice(1, "test", (False, True))


@pytest.mark.parametrize("value", ["abc", 0, -1, None, True, 1.5, "1e3", ""])
def test_count_names_what_is_allowed(value):
    with pytest.raises(RunError, match="last=.* allowed: a number, 1 or more"):
        arguments.count(value, "last")
    assert arguments.count("7", "last") == arguments.count(7, "last") == 7


def test_unknown_arguments_are_all_named_and_salts_own_are_not():
    arguments.unknown_arguments("corosync.apply", {"__pub_jid": 1}, ("layout",))
    with pytest.raises(RunError) as caught:
        arguments.unknown_arguments("corosync.apply", {"skp": 1, "frce": 2}, ("layout", "skip"))
    assert [item["data"]["argument"] for item in caught.value.findings] == ["skp", "frce"]
    assert caught.value.retcode == 2


def test_settings_have_defaults_and_take_values():
    assert arguments.settings(None)["gather_timeout"] == 5
    assert arguments.settings({"gather_timeout": 2.5, "minions": "pve*"}) == arguments.settings(None) | {
        "gather_timeout": 2.5,
        "minions": "pve*",
    }


def test_settings_report_every_bad_value():
    with pytest.raises(RunError) as caught:
        arguments.settings(
            {
                "gather_timout": 3,
                "stage_timeout": 0,
                "step_margin": "3",
                "minions": "",
                "verify_timeout": True,
                "outcome_patience": 601,
            }
        )
    assert len(caught.value.findings) == 6


def test_settings_must_be_a_mapping():
    with pytest.raises(RunError, match="no mapping"):
        arguments.settings(["gather_timeout"])


@pytest.mark.parametrize(
    "pillar, expected",
    [
        (
            {"nodes": {"a": {"minion": "a.example"}, "b": {}, "c": None}},
            {"a": "a.example", "b": "b", "c": "c"},
        ),
        ({"nodes": ["a"]}, {}),
        ({}, {}),
        ("corosync", {}),
        (None, {}),
    ],
)
def test_members_of_a_pillar_that_may_be_wrong(pillar, expected):
    assert arguments.members(pillar) == expected


def test_choose_cluster():
    assert arguments.choose_cluster({"prod": {}}, None, "x") == "prod"
    assert arguments.choose_cluster({"prod": {}, "lab": {}}, "lab", "x") == "lab"


@pytest.mark.parametrize(
    "found, wanted, code",
    [
        ({}, None, "cluster-none"),
        ({}, "prod", "cluster-none"),
        ({"a": 1, "b": 1}, None, "cluster-several"),
        ({"a": 1}, "b", "cluster-unknown"),
    ],
)
def test_choose_cluster_refuses_with_the_next_action(found, wanted, code):
    with pytest.raises(RunError) as caught:
        arguments.choose_cluster(found, wanted, "none of the keys '*'")
    (item,) = caught.value.findings
    assert item["code"] == code and item["remedy"]
