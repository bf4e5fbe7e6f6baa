"""Nobody types: the watch on real daemons, from the beacon and the reactor to the whole way and back."""

import time

import pytest
from links import PUBLIC, VRACK, addresses, healthy, version
from phases import members
from watching import acted, brought, forgotten, in_force, said, watch

from lab.cluster import wait_for

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


def test_cut_flap_crash_and_the_way_home(watched):
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

    before = version(lab, "pve1")
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
