"""What the lab tests of the watch share: bringing it to a lab, and what it says and does there."""

import contextlib
import json

from links import addresses
from phases import run

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


@contextlib.contextmanager
def brought(lab):
    """The cluster with its watch for the block, brought as the documentation says."""
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
        lab.exec(MASTER, ["rm", "-rf", DROP_IN, EXTRA, KEPT])
        lab.reset()
        restart_master(lab)
        lab.salt("-L", ",".join(lab.nodes), "saltutil.refresh_pillar")
        lab.salt("-L", ",".join(lab.nodes), "state.apply", "corosync.watch", check=True)


def forgotten(lab):
    """Let the watch have seen nothing yet, and wait until the daemons prove something."""
    # under its lock: a look that is under way would keep again what it had read
    gone = 'flock -w 60 "$d/watch.lock" rm -f "$d/watch.json" "$d/watch-pause.json"'
    lab.exec(MASTER, ["sh", "-c", f"for d in {KEPT}/*/; do {gone}; done; rm -rf {KEPT}/watch"], check=True)
    policy(lab)
    assert watch(lab)["armed"]
    wait_for(lambda: _youngest(lab) > 16, 60, every=1, what="the daemons to be no longer fresh")


def _youngest(lab):
    words = ["ps", "-o", "etimes=", "-C", "corosync"]
    return min(int(lab.exec(node, words, check=True).stdout.split()[0]) for node in lab.nodes)


def policy(lab, skip=(), **more):
    """Give the nodes' pillar a watch like :data:`POLICY`, but for what is named; skip: nodes to skip."""
    pillar = {"watch": POLICY | more} | ({"skip": list(skip)} if skip else {})
    lab.write(MASTER, EXTRA, json.dumps({"corosync": pillar}))


def restart_master(lab):
    lab.exec(MASTER, ["systemctl", "restart", "salt-master"], check=True)
    lab.wait_minions()


def watch(lab, *words):
    """What ``corosync.watch`` says."""
    code, report = run(lab, "corosync.watch", *words)
    assert code == 0, report
    return report["watch"]


def _kept(lab):
    """What the watch keeps on the master: to look there costs next to nothing, a `salt-run` over a second."""
    text = lab.exec(MASTER, ["sh", "-c", f"cat {KEPT}/*/watch.json"]).stdout
    return json.loads(text) if text else {}


def said(lab, code):
    """Wait until the watch says something, and return it."""
    wait_for(lambda: (_kept(lab).get("said") or {}).get("code") == code, 120, what=f"the answer {code}")
    return watch(lab)["said"]


def acted(lab, act):
    """Wait until the watch has gone a whole way, and return what it says then."""

    def done():
        last = _kept(lab).get("last") or {}
        return last.get("ok") and last.get("do") == act

    wait_for(done, 240, every=1, what=f"the end of {act}")
    return watch(lab)


def in_force(lab, links, seconds, nodes=None):
    """Wait until all files have these links."""

    def there():
        try:
            return addresses(lab, nodes) == links
        except ValueError:  # the files differ: a step is under way
            return False

    wait_for(there, seconds, every=0.5, what=f"the links {links}")


def runs(lab, layout):
    """The runs to a layout that brought its links, oldest first."""
    code, report = run(lab, "corosync.journal", "last=50")
    assert code == 0, report
    rows = [row for row in report["runs"] if row["layout"] == layout and row["result"] == "reached"]
    return rows[::-1]
