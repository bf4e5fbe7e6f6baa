"""Nobody types: the watch on real daemons, from the beacon and the reactor to the whole way and back."""

import json
import time

import pytest
from links import PUBLIC, VRACK, addresses, healthy, version
from phases import members, run

from lab.cluster import wait_for
from lab.seed import MASTER

DROP_IN, EXTRA = "/etc/salt/master.d/watch.conf", "/etc/salt/watch-pillar.json"
KEPT = "/var/cache/salt/master/pve-corosync"
POLICY = {"failover": "degraded", "hold": 5, "home": "auto", "healthy_for": 15, "at_most": 5}
CONFIG = """
reactor:
  - 'salt/beacon/*/corosync/*': [salt://reactor/watch.sls]
ext_pillar:
  - cmd_json: cat /etc/salt/watch-pillar.json
"""


@pytest.fixture(scope="module")
def with_watch(booted_lab):
    """The cluster with its watch, brought as the documentation says."""
    lab = booted_lab
    lab.reset()
    lab.wait_minions()
    lab.exec(MASTER, ["mkdir", "-p", "/etc/salt/master.d"], check=True)
    lab.write(MASTER, DROP_IN, CONFIG)
    policy(lab)
    restart_master(lab)
    lab.sync()

    def applied():
        # on Salt 3006 the minion loads every module it has when it is asked for its beacons
        done = lab.salt("-L", ",".join(lab.nodes), "state.apply", "corosync.watch", timeout=300)
        print(done.stdout, done.stderr)
        return done.returncode == 0

    wait_for(applied, 300, every=5, what="the state of the watch")
    try:
        yield lab
    finally:
        lab.exec(
            MASTER,
            ["rm", "-rf", DROP_IN, EXTRA, KEPT],
        )
        lab.heal()
        restart_master(lab)
        lab.salt("-L", ",".join(lab.nodes), "saltutil.refresh_pillar")
        lab.salt("-L", ",".join(lab.nodes), "state.apply", "corosync.watch", check=True)


@pytest.fixture
def watched(with_watch, lab):
    """The watch of a healthy cluster, which has seen nothing yet."""
    lab.exec(MASTER, ["sh", "-c", f"rm -rf {KEPT}/*/watch.json {KEPT}/*/watch-pause.json {KEPT}/watch"])
    policy(lab)
    assert watch(lab)["armed"]
    # a daemon that is younger than 15 s proves nothing
    wait_for(lambda: youngest(lab) > 16, 60, every=1, what="the daemons to be no longer fresh")
    return lab


def youngest(lab):
    words = ["ps", "-o", "etimes=", "-C", "corosync"]
    return min(int(lab.exec(node, words, check=True).stdout.split()[0]) for node in lab.nodes)


def policy(lab, **more):
    lab.write(MASTER, EXTRA, json.dumps({"corosync": {"watch": POLICY | more}}))


def restart_master(lab):
    lab.exec(MASTER, ["systemctl", "restart", "salt-master"], check=True)
    lab.wait_minions()


def watch(lab, *words):
    """What ``corosync.watch`` says."""
    code, report = run(lab, "corosync.watch", *words)
    assert code == 0, report
    return report["watch"]


def said(lab, code):
    """Wait until the watch says something."""
    wait_for(lambda: (watch(lab)["said"] or {}).get("code") == code, 60, every=1, what=f"the answer {code}")


def in_force(lab, links, seconds):
    """Wait until all files have these links."""

    def there():
        try:
            return addresses(lab) == links
        except ValueError:  # the files differ: a step is under way
            return False

    wait_for(there, seconds, every=0.5, what=f"the links {links}")


def test_cut_flap_crash_and_the_way_home(watched):
    lab, nominal = watched, {0: set(VRACK[node] for node in watched.nodes)}
    degraded = {0: {PUBLIC[node] for node in lab.nodes}, 1: nominal[0]}
    said(lab, "watch-healthy")
    before = version(lab, "pve1")

    for seconds in (1, 4):
        lab.cut("vrack")
        time.sleep(seconds)
        lab.heal()
        time.sleep(12)
        assert addresses(lab) == nominal and version(lab, "pve1") == before, f"a flap of {seconds} s"

    begun = time.monotonic()
    lab.cut("vrack")
    in_force(lab, degraded, 90)
    wait_for(lambda: all(map(lab.quorate, lab.nodes)), 60, what="quorum")
    print(f"\nquorum on the new links {time.monotonic() - begun:.1f} s after the cut")
    wait_for(lambda: (watch(lab)["last"] or {}).get("ok"), 120, every=2, what="the whole way")
    assert members(lab, "pve2") == {node: PUBLIC[node] for node in lab.nodes}
    healthy(lab)

    lab.heal()
    in_force(lab, nominal, 150)
    wait_for(lambda: (watch(lab)["last"] or {}).get("do") == "home", 120, every=2, what="the way home")
    told = watch(lab)
    assert told["last"]["ok"] and told["failovers"] == 1 and told["goal"] is None
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


def runs(lab, layout):
    """The runs to a layout that brought its links, oldest first."""
    code, report = run(lab, "corosync.journal", "last=50")
    assert code == 0, report
    rows = [row for row in report["runs"] if row["layout"] == layout and row["result"] == "reached"]
    return rows[::-1]
