"""``tests/bench unattended``: from the cut to quorum and to the first write under /etc/pve, nobody typing.

The watch on a lab of real daemons against the floor: a bare script that publishes the same links two seconds
after the cut, without asking or checking anything. A watcher on each node, the same for both, waits for the
loss first.
"""

import json
import shlex
import statistics
import time

from lab.cluster import LabError, wait_for

NODES = ("pve1", "pve2")
FLOOR_S = 2.0
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
    """Cut the vRack and do something; return ``{"quorate", "writes"}``: seconds from the cut, all nodes."""
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
    return {word: max(float(row[word]) for row in times) - begun for word in ("quorate", "writes")}


def pause(lab, seconds):
    words = [f"pause={seconds}"] if seconds else ["resume=True"]
    done = lab.salt_run("corosync.watch", *words)
    if done.returncode:
        raise LabError(f"the watch does not pause: {done.stdout}{done.stderr}")


def table(lab, runs, stage):
    """Print cut to quorum and cut to first write, of both ways, and the ratio of their medians.

    stage
        Function that puts the bare script with the same links on the master, as /root/bench.sh.
    """
    rows = {"watch": [], "floor": []}
    for _ in range(runs):
        for name in rows:
            lab.reset()
            lab.wait_minions()
            pause(lab, 0 if name == "watch" else 3600)
            stage(lab)

            def act(begun, name=name):
                if name == "floor":
                    time.sleep(max(0.0, begun + FLOOR_S - time.time()))
                    lab.exec("master", ["sh", "/root/bench.sh"], timeout=120)

            time.sleep(20)  # the daemons of a reset are fresh, and the watch waits for them
            rows[name].append(measured(lab, act))
            print(f"{name:<6} " + "  ".join(f"{key} {value:.2f} s" for key, value in rows[name][-1].items()))
    for key in ("quorate", "writes"):
        watch, floor = (statistics.median(row[key] for row in rows[name]) for name in ("watch", "floor"))
        worst = max(row[key] for row in rows["watch"]) / floor
        print(
            f"cut to {key}: watch {watch:.2f} s, floor {floor:.2f} s: {watch / floor:.2f}, worst {worst:.2f}"
        )
