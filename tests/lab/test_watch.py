"""Nobody types: the watch on real daemons, from the beacon and the reactor to the whole way and back."""

import time

import pytest
from links import PUBLIC, VRACK, addresses, healthy, version
from phases import calls, guest, members
from watching import acted, brought, forgotten, in_force, policy, runs, said, watch

from lab.cluster import wait_for
from lab.seed import MASTER

NOMINAL = {0: {VRACK["pve1"], VRACK["pve2"]}}
DEGRADED = {0: {PUBLIC["pve1"], PUBLIC["pve2"]}, 1: NOMINAL[0]}


@pytest.fixture(scope="module")
def with_watch(booted_lab):
    """The cluster with its watch."""
    with brought(booted_lab) as lab:
        yield lab


@pytest.fixture
def watched(with_watch, lab):
    """The watch of a healthy cluster, which has seen nothing yet."""
    forgotten(lab)
    return lab


def test_flaps_a_cut_the_way_home_and_one_too_many(watched):
    lab = watched
    said(lab, "watch-healthy")
    before = version(lab, "pve1")

    for seconds in (1, 4):
        lab.cut("vrack")
        time.sleep(seconds)
        lab.heal()
        time.sleep(12)
        assert addresses(lab) == NOMINAL and version(lab, "pve1") == before, f"a flap of {seconds} s"

    begun = time.monotonic()
    lab.cut("vrack")
    in_force(lab, DEGRADED, 180)
    wait_for(lambda: all(map(lab.quorate, lab.nodes)), 60, what="quorum")
    print(f"\nquorum on the new links {time.monotonic() - begun:.1f} s after the cut")
    acted(lab, "failover")
    assert members(lab, "pve2") == {node: PUBLIC[node] for node in lab.nodes}
    healthy(lab)

    lab.heal()
    in_force(lab, NOMINAL, 200)
    told = acted(lab, "home")
    assert told["failovers"] == 1 and told["goal"] is None
    assert members(lab, "pve1") == {node: VRACK[node] for node in lab.nodes}

    policy(lab, at_most=1)
    before = version(lab, "pve1")
    lab.cut("vrack")
    assert said(lab, "watch-too-many")["remedy"] == "salt-run state.orchestrate orch.failover"
    assert version(lab, "pve1") == before
    lab.heal()
    said(lab, "watch-healthy")


def test_a_standstill_a_crash_and_a_pause_are_no_dead_network(watched):
    lab = watched
    said(lab, "watch-healthy")
    before = version(lab, "pve1")
    for seconds in (4, 12):
        with lab.standstill("pve2"):
            time.sleep(seconds)
        wait_for(lambda: all(map(lab.healthy, lab.nodes)), 60, what="quorum after the standstill")
        time.sleep(8)
        assert addresses(lab) == NOMINAL and version(lab, "pve1") == before, f"a standstill of {seconds} s"
    said(lab, "watch-healthy")

    lab.crash("pve2")
    said(lab, "watch-silent")
    time.sleep(15)
    assert version(lab, "pve1") == before, "a node that crashed is no dead network"
    lab.boot("pve2")
    wait_for(lambda: all(map(lab.quorate, lab.nodes)), 90, what="quorum after the boot")

    assert watch(lab, "pause=3600")["paused_s"] > 3500
    lab.cut("vrack")
    said(lab, "watch-paused")
    assert version(lab, "pve1") == before
    lab.heal()


def _ha_touched(lab):
    """What released HA, stopped or started a part of it, or fenced a node."""
    said = [what for node in lab.nodes for _, what in calls(lab, node)]
    return [what for what in said if "crm-command" in what or what.endswith(("stop", "start", "FENCE"))]


def test_a_lost_card_with_ha_armed_moves_all_once_and_home_is_asked_for(watched):
    lab = watched
    policy(lab, home="ask", at_most=1)
    guest(lab, ran=False)
    lab.exec("pve1", ["ha-manager", "add", "vm:100", "--state", "started"], check=True)
    open_ = ["test", "-e", "/run/watchdog-mux.active/lrm"]
    wait_for(lambda: lab.exec("pve1", open_).returncode == 0, 30, what="the LRM of pve1 to open the watchdog")
    ha_before, runs_before = _ha_touched(lab), len(runs(lab, "degraded"))

    lab.lose_card("pve2", "vrack")
    in_force(lab, DEGRADED, 180)
    told = acted(lab, "failover")
    assert told["failovers"] == 1 and not told["armed"]
    healthy(lab)
    assert len(runs(lab, "degraded")) == runs_before + 1, "both nodes tell of one thing: one run"
    assert _ha_touched(lab) == ha_before and lab.exec("pve1", open_).returncode == 0, "HA is left alone"

    lab.heal()
    assert said(lab, "watch-home-ready")["remedy"] == "salt-run state.orchestrate orch.nominal"
    assert addresses(lab) == DEGRADED, "home is asked for, not gone"


def test_a_master_that_was_dead_fails_over_once_when_it_is_back(watched):
    lab = watched
    before, runs_before = version(lab, "pve1"), len(runs(lab, "degraded"))
    lab.crash(MASTER)
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 40, what="the nodes to lose quorum")
    time.sleep(15)
    assert version(lab, "pve1") == before
    lab.boot(MASTER)
    in_force(lab, DEGRADED, 200)
    told = acted(lab, "failover")
    assert told["failovers"] == 1 and len(runs(lab, "degraded")) == runs_before + 1
    healthy(lab)
