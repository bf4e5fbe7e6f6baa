import pytest
from pve_corosync.cluster import ha


def node(armed=False, configured=True, disarm=True, lrm="active", crm="active"):
    return {
        "armed": armed,
        "configured": configured,
        "disarm_supported": disarm,
        "lrm": lrm,
        "crm": crm,
        "watchdog": armed,
        "state": "",
    }


def steps(answer, when):
    return [(entry["function"], entry["nodes"]) for entry in answer["sequence"] if entry["when"] == when]


@pytest.mark.parametrize(
    "version, usage, expected",
    [
        ("5.1.3", "", True),
        ("5.2.0", "", True),
        ("5.1.2", "", False),
        ("4.0.6", "", False),
        ("10.0", "", True),
        ("5.1.3~bpo12+1", "", True),
        # the version decides where there is one
        ("4.0.6", "ha-manager crm-command disarm-ha <resource-mode>", False),
        ("", "       ha-manager crm-command disarm-ha <resource-mode>", True),
        ("", "       ha-manager crm-command node-maintenance enable <node>", False),
    ],
)
def test_disarm_needs_a_version(version, usage, expected):
    assert ha.disarm_supported(version, usage) is expected


def test_resources_leaves_ignored_ones_out():
    text = "vm: 100\n\tstate started\n\ngroup: x\n\nct: 101\n\tstate ignored\n\nvm: 102\n\tmax_restart 2\n"
    assert ha.resources(text) == {"vm:100": "started", "vm:102": "started"}
    assert ha.resources("") == {}


def test_a_live_plan_needs_nothing_and_says_so():
    answer = ha.guard(0.0, {"pve1": node(armed=True), "pve2": node()}, True)
    assert (answer["action"], answer["sequence"]) == ("none", [])
    assert "no loss of quorum" in answer["text"] and "pve1" in answer["text"]


def test_a_live_plan_is_not_delayed_while_a_watchdog_runs_out():
    answer = ha.guard(0.0, {"pve1": node(armed=True)}, False)
    assert answer["action"] == "none" and "without delay" in answer["text"]


def test_unused_ha_needs_nothing():
    answer = ha.guard(7.0, {"pve1": node(configured=False), "pve2": node(configured=False)}, True)
    assert answer["action"] == "none" and "not in use" in answer["text"]
    assert ha.guard(7.0, {"pve1": node(configured=False), "pve2": None}, True)["action"] == "none"


def test_configured_but_closed_needs_nothing_while_quorate():
    assert ha.guard(7.0, {"pve1": node(), "pve2": node()}, True)["action"] == "none"


def test_disarm_where_every_version_has_it():
    answer = ha.guard(7.0, {"pve1": node(armed=True, crm="inactive"), "pve2": node()}, True)
    assert answer["action"] == "disarm"
    assert steps(answer, "before") == [
        ("ha_manager.disarm", ["pve2"]),
        ("ha_manager.wait_released", ["pve1", "pve2"]),
    ]
    assert answer["sequence"][0]["kwargs"] == {"mode": "freeze"}
    assert steps(answer, "after") == [("ha_manager.arm", ["pve2"])]
    assert "60 s" in answer["text"] and "7 s" in answer["text"]


def test_stop_in_order_where_one_version_cannot_disarm():
    answer = ha.guard(7.0, {"pve1": node(armed=True), "pve2": node(disarm=False, lrm="inactive")}, True)
    assert answer["action"] == "stop"
    assert steps(answer, "before") == [
        ("ha_manager.stop_lrm", ["pve1"]),
        ("ha_manager.stop_crm", ["pve1", "pve2"]),
    ]
    # what did not run before is not started
    assert steps(answer, "after") == [
        ("ha_manager.start_crm", ["pve1", "pve2"]),
        ("ha_manager.start_lrm", ["pve1"]),
    ]


def test_without_quorum_lrm_comes_back_first():
    answer = ha.guard(7.0, {"pve1": node(), "pve2": node()}, False)
    assert answer["action"] == "stop"
    assert [name for name, _nodes in steps(answer, "before")] == [
        "ha_manager.stop_lrm",
        "ha_manager.stop_crm",
    ]
    assert [name for name, _nodes in steps(answer, "after")] == [
        "ha_manager.start_lrm",
        "ha_manager.start_crm",
    ]


def test_without_quorum_an_open_watchdog_refuses_a_restart():
    answer = ha.guard(7.0, {"pve1": node(armed=True)}, False)
    assert answer["action"] == "refuse" and answer["sequence"] == []
    assert "pve1" in answer["text"] and "live strategy" in answer["text"]


def test_a_silent_node_refuses_only_what_would_need_it():
    assert ha.guard(7.0, {"pve1": node(armed=True, disarm=False), "pve2": None}, True)["action"] == "refuse"
    assert ha.guard(7.0, {"pve1": node(armed=True), "pve2": None}, True)["action"] == "disarm"
    assert "pve2" in ha.guard(7.0, {"pve1": node(), "pve2": None}, False)["text"]
    assert ha.guard(7.0, {"pve1": None, "pve2": None}, True)["action"] == "refuse"


def test_unreadable_configuration_counts_as_configured():
    assert ha.guard(7.0, {"pve1": node(configured=None)}, False)["action"] == "stop"


@pytest.mark.parametrize(
    "facts, word",
    [
        (node(armed=True), "armed"),
        (node(), "standby"),
        (node(configured=None), "unknown"),
        (node(configured=False), "unused"),
    ],
)
def test_describe(facts, word):
    assert ha.describe(facts).startswith(word)
