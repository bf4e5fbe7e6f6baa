import json
import pathlib
import time

import pytest
from _pve_world import World
from salt.exceptions import CommandExecutionError, SaltInvocationError

ARMED = """\
quorum OK
master pve1 (active, Tue Nov 18 10:00:00 2025)
fencing armed (CRM watchdog active)
lrm pve1 (active, watchdog active, Tue Nov 18 10:00:02 2025)
lrm pve2 (idle, watchdog standby, Tue Nov 18 10:00:01 2025)
service vm:100 (pve1, started)
"""
DISARMED = """\
quorum OK
master pve1 (active, Tue Nov 18 10:00:00 2025) - disarmed, resource mode: freeze
fencing disarmed, resource mode: freeze (CRM watchdog released)
lrm pve1 (disarm mode, watchdog released, Tue Nov 18 10:00:02 2025)
lrm pve2 (disarm mode, watchdog released, Tue Nov 18 10:00:01 2025)
service vm:100 (pve1, started)
"""
OLD = """\
quorum OK
master pve1 (active, Tue Nov 18 10:00:00 2025)
lrm pve1 (active, Tue Nov 18 10:00:02 2025)
lrm pve2 (idle, Tue Nov 18 10:00:01 2025)
service vm:100 (pve1, started)
"""


@pytest.fixture
def node(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    monkeypatch.setattr("socket.gethostname", lambda: "pve1")
    world.mount()
    world.units(pve_ha_lrm="active", pve_ha_crm="active")
    world.file("etc/pve/ha/resources.cfg", "vm: 100\n\tstate started\n")
    (tmp_path / "armed").write_text(ARMED)
    (tmp_path / "disarmed").write_text(DISARMED)
    (tmp_path / "now").write_text(ARMED)
    world.tool("dpkg-query", "printf 5.1.3")
    world.tool(
        "ha-manager",
        """
        case "$*" in
            status) cat "$WORLD/now" ;;
            "crm-command disarm-ha freeze")
                cp "$WORLD/disarmed" "$WORLD/now"
                rm -rf "$WORLD/root/run/watchdog-mux.active" ;;
            "crm-command arm-ha") cp "$WORLD/armed" "$WORLD/now" ;;
            *) exit 1 ;;
        esac
        """,
    )
    world.watchdog = pathlib.Path(world.root / "run/watchdog-mux.active")
    world.watchdog.mkdir()
    world.path = tmp_path
    return world


def test_facts_of_an_armed_node_need_no_perl(node):
    assert node.salt["ha_manager.facts"]() == {
        "configured": True,
        "armed": True,
        "witnesses": ["the watchdog is open (/run/watchdog-mux.active)"],
        "lrm": "active",
        "crm": "active",
        "watchdog": True,
        "disarm_supported": True,
        "state": "armed: the watchdog is open (/run/watchdog-mux.active) (LRM active, CRM active)",
    }
    assert node.calls("ha-manager") == []


def test_facts_follow_the_machine(node):
    node.watchdog.rmdir()
    node.units(pve_ha_lrm="inactive")
    node.tool("dpkg-query", "printf 4.0.6")
    node.file("etc/pve/ha/resources.cfg", "vm: 100\n\tstate ignored\n")
    facts = node.salt["ha_manager.facts"]()
    assert (facts["configured"], facts["armed"], facts["lrm"], facts["disarm_supported"]) == (
        False,
        False,
        "inactive",
        False,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ARMED, ["LRM of pve1 active", "CRM of pve1 is the active master"]),
        (OLD, ["LRM of pve1 active", "CRM of pve1 is the active master"]),
        (DISARMED, []),
        (
            ARMED.replace("pve1 (active, watchdog active", "pve1 (old timestamp - dead?, watchdog standby"),
            None,
        ),
    ],
)
def test_the_status_speaks_where_the_watchdog_does_not(node, text, words):
    node.watchdog.rmdir()
    (node.path / "now").write_text(text)
    facts = node.salt["ha_manager.facts"]()
    words = ["CRM of pve1 is the active master"] if words is None else words
    assert facts["witnesses"] == [f"ha-manager status: {word}" for word in words]
    assert (facts["armed"], facts["watchdog"]) == (bool(words), False)
    assert all(word in facts["state"] for word in words)
    assert len(node.calls("ha-manager status")) == 1


@pytest.mark.parametrize(
    ("state", "age", "armed"), [("active", 5, True), ("active", 90, False), ("wait_for_agent_lock", 5, False)]
)
def test_the_lrms_own_status_speaks_too(node, state, age, armed):
    node.watchdog.rmdir()
    (node.path / "now").write_text(DISARMED)
    node.file(
        "etc/pve/nodes/pve1/lrm_status", json.dumps({"state": state, "timestamp": int(time.time()) - age})
    )
    facts = node.salt["ha_manager.facts"]()
    assert facts["armed"] is armed
    assert facts["witnesses"] == (["the LRM status in /etc/pve is active"] if armed else [])


def test_a_status_that_fails_leaves_what_the_machine_says(node):
    node.watchdog.rmdir()
    node.tool("ha-manager", "echo 'Connection refused' >&2; exit 111")
    assert node.salt["ha_manager.facts"]()["armed"] is False


def test_unused_ha_costs_no_perl(node):
    node.watchdog.rmdir()
    node.file("etc/pve/ha/resources.cfg", "")
    assert node.salt["ha_manager.facts"]()["armed"] is False
    assert node.calls("ha-manager") == []


def test_facts_without_pmxcfs_say_so(node):
    (node.pve / "local").unlink()
    assert node.salt["ha_manager.facts"]()["configured"] is None


def test_the_listing_decides_where_there_is_no_package(node):
    node.tool("dpkg-query", "exit 1")
    node.tool("ha-manager", 'echo "       ha-manager crm-command disarm-ha <resource-mode>"')
    assert node.salt["ha_manager.facts"]()["disarm_supported"] is True
    node.tool("ha-manager", 'echo "       ha-manager crm-command stop <sid> <timeout>"')
    assert node.salt["ha_manager.facts"]()["disarm_supported"] is False


@pytest.mark.parametrize("text", [ARMED, OLD])
def test_armed_reads_both_texts(node, text):
    (node.path / "now").write_text(text)
    told = node.salt["ha_manager.armed"]()
    assert told["armed"] is True and told["cluster"] is True
    assert told["evidence"]["status"]["quorate"] is True


def test_armed_without_a_status_still_tells_the_machine(node):
    node.tool("ha-manager", "echo 'Unable to load access control list: Connection refused' >&2; exit 111")
    told = node.salt["ha_manager.armed"]()
    assert told["armed"] is True and told["cluster"] is None
    assert "Connection refused" in told["evidence"]["status"]


def test_disarm_and_arm_read_the_effect_back(node):
    told = node.salt["ha_manager.disarm"](timeout=5)
    assert (told["changed"], told["fencing"], told["watchdog"]) == (True, "disarmed", False)
    assert node.salt["ha_manager.disarm"](timeout=5)["changed"] is False
    assert node.calls("ha-manager crm-command disarm") == ["ha-manager crm-command disarm-ha freeze"]
    told = node.salt["ha_manager.arm"](timeout=5)
    assert (told["changed"], told["fencing"]) == (True, "armed")
    assert node.salt["ha_manager.arm"](timeout=5)["changed"] is False


def test_disarm_that_leaves_the_watchdog_open_is_an_error(node):
    (node.path / "now").write_text(DISARMED)
    with pytest.raises(CommandExecutionError, match=r"watchdog-mux.active exists"):
        node.salt["ha_manager.disarm"](timeout=0.2)


def test_disarm_is_refused_on_old_versions_without_quorum_and_for_bad_modes(node):
    with pytest.raises(SaltInvocationError, match="freeze, ignore"):
        node.salt["ha_manager.disarm"]("stop")
    node.mount(writable=False)
    with pytest.raises(CommandExecutionError, match="not quorate"):
        node.salt["ha_manager.disarm"]()
    node.tool("dpkg-query", "printf 5.1.2")
    with pytest.raises(CommandExecutionError, match="stop_lrm on all nodes"):
        node.salt["ha_manager.disarm"]()
    assert node.calls("ha-manager crm-command") == []


def test_wait_released_tells_who_holds_it(node):
    with pytest.raises(CommandExecutionError, match="still open"):
        node.salt["ha_manager.wait_released"](timeout=0.2)
    node.watchdog.rmdir()
    assert node.salt["ha_manager.wait_released"](timeout=0)["watchdog"] is False


def test_stop_and_start_in_order(node):
    (node.path / "now").write_text(OLD.replace("lrm pve1 (active", "lrm pve1 (restart mode"))
    node.hook("on-stop", '[ "$1" != pve-ha-crm ] || rm -rf "$WORLD/root/run/watchdog-mux.active"')
    told = node.salt["ha_manager.stop_lrm"](timeout=5)
    assert (told["state"], told["changed"], told["watchdog"]) == ("inactive", True, True)
    assert node.salt["ha_manager.stop_lrm"](timeout=5)["changed"] is False
    told = node.salt["ha_manager.stop_crm"](timeout=5)
    assert (told["state"], told["changed"], told["watchdog"]) == ("inactive", True, False)
    assert node.salt["ha_manager.start_crm"](timeout=5)["state"] == "active"
    assert node.salt["ha_manager.start_lrm"](timeout=5)["changed"] is True
    assert node.salt["ha_manager.start_lrm"](timeout=5)["changed"] is False
    done = [line.split()[1::1] for line in node.calls("systemctl st")]
    assert done == [
        ["stop", "--no-block", "pve-ha-lrm.service"],
        ["stop", "--no-block", "pve-ha-crm.service"],
        ["start", "pve-ha-crm.service"],
        ["start", "pve-ha-lrm.service"],
    ]


def test_the_crm_is_not_stopped_while_an_lrm_needs_it(node, monkeypatch):
    with pytest.raises(CommandExecutionError, match="pve-ha-lrm still runs"):
        node.salt["ha_manager.stop_crm"]()
    node.units(pve_ha_lrm="inactive")
    (node.path / "now").write_text(
        ARMED.replace("lrm pve2 (idle, watchdog standby", "lrm pve2 (active, watchdog active")
    )
    with pytest.raises(CommandExecutionError, match="LRM of pve2 is still active"):
        node.salt["ha_manager.stop_crm"](timeout=0.2)
    assert node.calls("systemctl stop") == []


def test_the_lrm_is_not_stopped_where_it_would_not_let_go(node):
    node.mount(writable=False)
    with pytest.raises(CommandExecutionError, match="not quorate.*watchdog"):
        node.salt["ha_manager.stop_lrm"]()
    node.mount()
    node.units(pve_ha_crm="inactive")
    (node.path / "now").write_text(ARMED.replace("master pve1 (active", "master pve1 (old timestamp - dead?"))
    with pytest.raises(CommandExecutionError, match="no CRM is active"):
        node.salt["ha_manager.stop_lrm"]()
    assert node.calls("systemctl stop") == []


def test_without_quorum_and_unarmed_both_stop_at_once(node):
    node.mount(writable=False)
    node.watchdog.rmdir()
    (node.path / "now").write_text(ARMED.replace("quorum OK", "quorum No quorum on node 'pve1'!"))
    assert node.salt["ha_manager.stop_lrm"](timeout=5)["state"] == "inactive"
    assert node.salt["ha_manager.stop_crm"](timeout=5)["state"] == "inactive"


def test_an_lrm_that_does_not_end_is_named_and_left_alone(node):
    node.hook("on-stop", 'echo deactivating >"$WORLD/units/$1"')
    with pytest.raises(CommandExecutionError, match="has not ended.*do not kill it"):
        node.salt["ha_manager.stop_lrm"](timeout=0.2)
    assert node.calls("systemctl kill") == []


def test_stop_crm_keeps_one_timeout_for_all_that_it_waits_for(node):
    node.units(pve_ha_lrm="inactive")
    node.hook("on-stop", "sleep 2")  # the stop takes what there is, and the watchdog stays open
    with pytest.raises(CommandExecutionError, match=r"still open after [01] s"):
        node.salt["ha_manager.stop_crm"](timeout=2.2)
