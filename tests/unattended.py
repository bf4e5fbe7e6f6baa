"""``tests/bench unattended``: from the cut to quorum and to the first write under /etc/pve, nobody typing.

The watch on a lab of real daemons against the floor: a bare script that publishes the same links two seconds
after the cut, without asking or checking anything. A watcher on each node, the same for both, waits for the
loss first.
"""

import json
import os
import shlex
import statistics
import time

from lab.cluster import LabError, wait_for
from tests.stalls import Watch

NODES = ("pve1", "pve2")
FLOOR_S = 2.0
#: the goal, as a ratio to the floor
GOAL = 1.15
#: seconds; a cut in which the machine lost more tells of the machine, and is made again
LOST_S = 0.5
JOURNAL = ("begun", "planned", "staged", "step 1 begun", "step 1 ended")
POLICY = {"failover": "degraded", "hold": 5, "home": "ask", "at_most": 100}
CONFIG = """
reactor:
  - 'salt/beacon/*/corosync/*': [salt://reactor/watch.sls]
ext_pillar:
  - cmd_json: cat /etc/salt/watch-pillar.json
"""
WATCHER = """
import ctypes as c, os, time
lib = c.CDLL("libquorum.so.5"); handle = c.c_uint64(); kind = c.c_uint32()
def quorate():
    global handle
    if not handle.value and lib.quorum_initialize(c.byref(handle), None, c.byref(kind)) != 1:
        handle = c.c_uint64(); return False
    value = c.c_int()
    if lib.quorum_getquorate(handle, c.byref(value)) != 1:
        handle = c.c_uint64(); return False
    return bool(value.value)
def writes():
    try:
        os.close(os.open(PATH, os.O_CREAT | os.O_WRONLY)); os.unlink(PATH)
    except OSError: return False
    return True
PATH = "/etc/pve/.bench-" + os.uname().nodename
end = time.monotonic() + 120
print("watching", flush=True)
while quorate() and time.monotonic() < end: time.sleep(0.01)
print("lost", time.time(), flush=True)
while not quorate() and time.monotonic() < end: time.sleep(0.01)
print("quorate", time.time(), flush=True)
while not writes() and time.monotonic() < end: time.sleep(0.05)
print("writes", time.time(), flush=True)
"""


def prepare(lab):
    """Bring the watch to the lab, as the documentation says."""
    lab.exec("master", ["mkdir", "-p", "/etc/salt/master.d"], check=True)
    lab.write("master", "/etc/salt/master.d/watch.conf", CONFIG)
    lab.write("master", "/etc/salt/watch-pillar.json", json.dumps({"corosync": {"watch": POLICY}}))
    lab.exec("master", ["systemctl", "restart", "salt-master"], check=True)
    lab.wait_minions()
    lab.sync()
    lab.salt("-L", ",".join(NODES), "state.apply", "corosync.watch", check=True)


def measured(lab, act):
    """Cut the vRack and do something; return ``{"quorate", "writes"}``, seconds from the cut, all
    nodes, and when the cut was."""
    for node in NODES:
        run = f"setsid python3 -c {shlex.quote(WATCHER)} >/run/bench.log 2>&1 &"
        lab.exec(node, ["sh", "-c", f"rm -f /run/bench.log; {run}"], check=True)

    def has(word):
        return all(word in lab.exec(node, ["cat", "/run/bench.log"]).stdout for node in NODES)

    wait_for(lambda: has("watching"), 20)
    begun = time.time()
    lab.cut("vrack")
    act(begun)
    wait_for(lambda: has("writes"), 130, every=1)
    found = [lab.exec(node, ["cat", "/run/bench.log"]).stdout.splitlines() for node in NODES]
    times = [dict(line.split() for line in lines if " " in line) for lines in found]
    return {word: max(float(row[word]) for row in times) - begun for word in ("quorate", "writes")}, begun


def milestones(lab, begun):
    """Return where the time went: ``{what: seconds after the cut}``, of the watch's last act."""
    kept = {}

    def ended():
        text = lab.exec("master", ["sh", "-c", "cat /var/cache/salt/master/pve-corosync/*/watch.json"]).stdout
        kept.update(json.loads(text)["times"] if text else {})
        return kept.get("links", 0) > begun

    wait_for(ended, 120, every=2, what="the end of the watch's act")
    script = "cat $(ls -t /var/cache/salt/master/pve-corosync/*/*.jsonl)"
    rows = [json.loads(line) for line in lab.exec("master", ["sh", "-c", script]).stdout.splitlines()]
    found = {row["event"]: row["time"] for row in rows if row["time"] > begun and row["event"] in JOURNAL}
    found |= kept
    return {name: round(at - begun, 1) for name, at in sorted(found.items(), key=lambda row: row[1])}


def pause(lab, seconds):
    words = [f"pause={seconds}"] if seconds else ["resume=True"]
    done = lab.salt_run("corosync.watch", *words)
    if done.returncode:
        raise LabError(f"the watch does not pause: {done.stdout}{done.stderr}")


def table(lab, runs, stage):
    """Print cut to quorum and cut to first write, of both ways, and the ratio of their medians.

    runs
        How many cuts of each way, ``{"watch": n, "floor": n}``.
    stage
        Function that puts the bare script with the same links on the master, as /root/bench.sh.
    """
    rows, machine = {"watch": [], "floor": []}, Watch()
    machine.start()
    for _ in range(2 * max(runs.values())):  # the two ways side by side, as the machine's load changes
        done = {name: len(rows[name]) / most for name, most in runs.items()}
        for name in [name for name in rows if done[name] == min(done.values()) < 1]:
            row, lost, times = _one(lab, name, stage, machine)
            told = "  ".join(f"{key} {value:.2f} s" for key, value in row.items())
            void = "" if lost <= LOST_S else f"  not counted: the machine lost {lost:.1f} s of ten"
            print(f"{name:<6} {told}  load {os.getloadavg()[0]:.1f}{void}", flush=True)
            if times:
                print("       " + " ".join(f"{what} {at}" for what, at in times.items()), flush=True)
            if not void:
                rows[name].append(row)
    for key in ("quorate", "writes"):
        print(summary(key, [row[key] for row in rows["watch"]], [row[key] for row in rows["floor"]]))


def _one(lab, name, stage, machine):
    """Make one cut; return what `measured` found, what the machine lost meanwhile, and the milestones."""
    lab.reset()
    lab.wait_minions()
    pause(lab, 0 if name == "watch" else 3600)
    stage(lab)

    def act(begun):
        if name == "floor":
            time.sleep(max(0.0, begun + FLOOR_S - time.time()))
            lab.exec("master", ["sh", "/root/bench.sh"], timeout=120)

    time.sleep(20)  # the daemons of a reset are fresh, and the watch waits for them
    since = time.monotonic()
    row, begun = measured(lab, act)
    return row, machine.lost(since), milestones(lab, begun) if name == "watch" else {}


def summary(key, watch, floor):
    """Return one line: the medians of both ways, their ratio, and how many cuts of each are within GOAL."""
    if not (watch and floor):
        return f"cut to {key}: no cut was counted, as the machine stood still in all of them"
    middle, least = statistics.median(watch), statistics.median(floor)
    found = f"watch {middle:.2f} s, floor {least:.2f} s: {middle / least:.2f}, worst {max(watch) / least:.2f}"
    within = ", ".join(
        f"{name} {sum(value <= GOAL * least for value in values)} of {len(values)}"
        for name, values in (("watch", watch), ("floor", floor))
    )
    return f"cut to {key}: {found}; within {GOAL}: {within}"
