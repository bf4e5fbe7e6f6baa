"""HA around a run: released before, in service again after, whatever fails."""

import contextlib
import json

import pytest
from _sequence_world import ARMED, NO_HA, NODES, run, step_calls, world
from pve_corosync import arguments
from pve_corosync.judge import evidence
from pve_corosync.run import ha_guard


def armed(**more):
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = {name: ARMED | more for name in NODES}
    return ports


def first_steps(ports):
    """Return what was called before and after the first daemon restarted."""
    names = [
        call[0].split(".")[1] + ("" if call[0] != "corosync.step" else " " + call[2]["phase"])
        for call in ports.calls
    ]
    cut = names.index("step restart")
    return names[:cut], names[cut:]


def test_a_restart_with_an_armed_watchdog_disarms_first_and_arms_again():
    ports = armed()
    report = run(ports)
    assert report["result"] == "reached", report
    before, after = first_steps(ports)
    assert before.index("stage") < before.index("disarm") < before.index("wait_released")
    assert "arm" in after
    assert ports.ha_done == [
        ("disarm", "pve1"),
        *(("wait_released", name) for name in NODES),
        ("arm", "pve1"),
    ]


def test_a_restart_where_ha_cannot_disarm_stops_the_lrms_before_the_crms():
    ports = armed(disarm_supported=False)
    run(ports)
    assert [what for what, _ in ports.ha_done] == [
        "stop_lrm",
        "stop_lrm",
        "stop_crm",
        "stop_crm",
        "start_crm",
        "start_crm",
        "start_lrm",
        "start_lrm",
    ]


def test_ha_is_in_service_again_after_a_failed_restart():
    ports = armed()
    ports.fails["pve2", 1] = "corosync is inactive after the restart"
    report = run(ports)
    assert report["result"] == "failed"
    assert "pve2" in report["findings"][0]["text"] and "inactive" in report["findings"][0]["text"]
    assert ports.ha_done[-1] == ("arm", "pve1")


def test_a_watchdog_that_does_not_close_stops_the_run_before_any_step():
    ports = armed()
    ports.ha_fails["wait_released", "pve2"] = "the watchdog is still open after 120 s"
    report = run(ports)
    assert (report["result"], report["summary"]) == (
        "failed",
        "HA could not be released, nothing was changed",
    )
    assert report["findings"][0]["code"] == "ha-guard"
    assert not step_calls(ports)
    assert ports.ha_done[-1] == ("arm", "pve1")


def test_ha_that_does_not_arm_again_fails_the_run_and_names_the_command():
    ports = armed()
    ports.ha_fails["arm", "pve1"] = "HA is not armed again after 120 s"
    report = run(ports)
    assert report["result"] == "failed"
    (row,) = [item for item in report["findings"] if item["code"] == "ha-not-in-service"]
    assert row["remedy"] == "salt -L pve1 ha_manager.arm"
    assert report["summary"].endswith("HA is not in service again")


NOT_SYNCED = "'ha_manager.facts' is not available."
NOT_INSTALLED = (
    "'ha_manager' __virtual__ returned False: ha-manager is not installed (package pve-ha-manager)"
)


def test_a_node_without_ha_manager_has_no_ha():
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = dict.fromkeys(NODES, NOT_INSTALLED)
    report = run(ports)
    assert (report["result"], report["ha"]["action"]) == ("reached", "none"), report
    assert "not in use" in report["ha"]["text"]


@pytest.mark.parametrize("text", [NOT_SYNCED, "'ha_manager' __virtual__ returned False: No module named 'x'"])
def test_a_node_whose_modules_are_not_synced_may_have_ha(text):
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = dict.fromkeys(NODES, text)
    report = run(ports)
    assert (report["result"], report["ha"]["action"]) == ("failed", "refuse")
    assert report["findings"][0]["code"] == "ha-guard" and not step_calls(ports)


def test_a_watchdog_that_corosync_facts_show_counts_too():
    ports = world("degraded", dead=(), strategy="restart")
    ports.ha = {"pve1": dict(NO_HA), "pve2": NOT_SYNCED}
    real = ports.gather

    def gather():
        observed, findings = real()
        observed["nodes"]["pve2"]["ha"]["armed"] = True
        return observed, findings

    ports.gather = gather
    report = run(ports)
    assert report["ha"]["action"] == "disarm" and "armed: pve2" in report["ha"]["text"]


def test_one_crm_that_does_not_start_leaves_no_lrm_stopped():
    ports = armed(disarm_supported=False)
    ports.ha_fails["start_crm", "pve1"] = "pve-ha-crm is failed after its start"
    report = run(ports)
    assert report["result"] == "failed"
    assert {("start_lrm", name) for name in NODES} <= set(ports.ha_done)
    (row,) = [item for item in report["findings"] if item["code"] == "ha-not-in-service"]
    assert row["remedy"] == "salt -L pve1 ha_manager.start_crm" and "is failed" in row["text"]


@pytest.mark.parametrize(
    "what, done",
    [("note", True), ("gather", False), ("ha_manager.arm", False), ("corosync.finish", True)],
)
def test_an_error_of_the_master_after_the_steps_leaves_ha_armed_or_names_the_command(what, done):
    ports = armed()
    step = ports._carry_out

    def last_step(name, entry, writer, phase):
        if phase == "restart":
            ports.breaks = {what: OSError(28, "No space left on device")}
        return step(name, entry, writer, phase)

    ports._carry_out = last_step
    if what == "corosync.finish":
        assert run(ports)["result"] == "reached"
    else:
        with (
            pytest.raises(arguments.RunError)
            if what != "ha_manager.arm"
            else contextlib.nullcontext() as caught
        ):
            report = run(ports)
        report = caught.value.report if caught else report
        assert (report["result"], report["retcode"]) == ("failed", 1)
        codes = [item["code"] for item in report["findings"]]
        assert ("ha-not-in-service" in codes) is not done
        assert done or "salt -L pve1 ha_manager.arm" in report["findings"][0]["remedy"]
        assert done or any("salt -L pve1 ha_manager.arm" in text for text in ports.said)
        assert caught is None or "No space left" in json.dumps(report["findings"])
    assert (("arm", "pve1") in ports.ha_done) is done
    assert ports.calls[-1][0] == "corosync.finish" or what in ("ha_manager.arm", "corosync.finish")


def test_an_error_before_anything_was_touched_stays_as_it_is():
    ports = world()
    ports.breaks["gather"] = OSError("no Salt")
    with pytest.raises(OSError, match="no Salt"):
        run(ports)


def test_what_the_plan_says_of_ha_is_what_the_run_does():
    ports = armed()
    observed = ports.sim.observed()
    for name in NODES:
        observed["nodes"][name]["ha"]["armed"] = True
    assert "released first and put in service again" in ha_guard.words(7, observed, NODES)
    observed["nodes"]["pve2"]["quorum"]["quorate"] = False
    text = ha_guard.words(7, observed, NODES)
    assert text.startswith("pve2 has no quorum") and "cannot be released" in text
    observed["nodes"]["pve1"]["quorum"]["quorate"] = False
    assert ha_guard.words(7, observed, NODES).startswith("there is no quorum")
    assert "put in service again" not in ha_guard.words(7, observed, NODES)
    assert "stays armed" not in ha_guard.words(0, observed, NODES)


def test_a_live_run_asks_nothing_of_ha_and_says_so():
    ports = world()
    ports.ha = {name: dict(ARMED) for name in NODES}
    report = run(ports)
    assert not [call for call in ports.calls if call[0].startswith("ha_manager.")]
    assert report["ha"]["action"] == "none" and report["ha"]["text"]


# ---- a run that is killed between


def killed(function):
    """A restart with HA armed that is killed when it asks for a function, and the world that it leaves."""
    ports = armed()
    ask = ports.ask

    def dies(nodes, what, *args, **more):
        if what == function:
            raise KeyboardInterrupt
        return ask(nodes, what, *args, **more)

    ports.ask = dies
    with contextlib.suppress(KeyboardInterrupt):
        run(ports)
    ports.ask, ports.ha_done = ask, []
    for name in NODES:  # disarmed: no watchdog is open any more, which is how the intent got lost
        ports.ha[name] = NO_HA | {"configured": True}
    return ports


@pytest.mark.parametrize("strategy", ["restart", "live"])
def test_what_a_killed_run_has_released_is_put_in_service_by_the_next_one(strategy, monkeypatch):
    monkeypatch.setattr(ha_guard.HaGuard, "after", lambda self: [])  # killed by -9: nothing ran
    ports = killed("corosync.step")
    monkeypatch.undo()
    assert {row["undo"][0]["function"] for row in ports.undo.values()} == {"ha_manager.arm"}
    ports.request.strategy = strategy
    (item,) = evidence.released(ports.request.layout, ports.gather()[0])
    assert item["code"] == "ha-left-released" and "arm HA again" in item["text"]
    report = run(ports)
    assert report["result"] == "reached" and ("arm", "pve1") in ports.ha_done, report
    assert ports.undo == {} and evidence.released(ports.request.layout, ports.gather()[0]) == []


def test_also_where_the_layout_is_reached_already(monkeypatch):
    ports = world("nominal", dead=())
    entry = {"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA again"}
    ports.undo = {"pve2": {"txn": "1", "since": 1.0, "undo": [entry]}}
    report = run(ports)
    assert report["result"] == "already" and ports.ha_done == [("arm", "pve1")]
    assert ports.undo == {} and report["ha"]["action"] == "inherited"


def test_an_intent_stays_noted_while_it_is_not_undone():
    ports = armed()
    ports.ha_fails["arm", "pve1"] = "the CRM does not answer"
    assert run(ports)["result"] == "failed"
    assert set(ports.undo) == set(NODES)
    ports = world("nominal", dead=())
    entry = {"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA again"}
    ports.undo = {"pve2": {"txn": "1", "since": 1.0, "undo": [entry]}}
    ports.ha_fails["arm", "pve1"] = "the CRM does not answer"
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("failed", 1) and ports.undo
    assert "ha-not-in-service" in [item["code"] for item in report["findings"]]


def test_a_run_that_cannot_note_what_to_undo_releases_nothing():
    ports = armed()
    ports.undo_says["pve2"] = "/var/lib/pve-corosync/undo.json: No space left on device"
    report = run(ports)
    assert report["result"] == "failed" and ports.ha_done == [] and step_calls(ports) == []
    assert "No space left" in report["findings"][0]["text"]


def test_ha_that_somebody_disarmed_by_hand_is_told_and_left():
    ports = world("nominal", dead=())
    observed = ports.gather()[0]
    observed["nodes"]["pve1"]["ha"]["disarm"] = {"mode": "freeze"}
    (item,) = evidence.released(ports.request.layout, observed)
    assert item["remedy"] == "if nobody works on it: salt pve1 ha_manager.arm"
