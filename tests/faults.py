"""Faults at the boundaries of a run and in mid-step, on a lab of real daemons; what became of the cluster.

A run of the campaign brings the lab to its first state, begins a command, does one harm when the journal of
the command has come to a certain line, undoes it, and looks at the cluster itself: files, versions, members,
quorum. What is not right is followed by the same command again. Nothing judged here is asked of the product.
"""

import itertools
import json
import os
import random
import signal
import threading
import time

from lab.cluster import MASTER, LabError, wait_for
from lab.network import PUBLIC, VRACK, address

BY_ITSELF, AGAIN, NEVER = "by itself", "same command", "NOT AT ALL"
#: Attempts with the same command before a run counts as lost.
ATTEMPTS = 2
COMMAND_SECONDS = 400
SETTLE_SECONDS = 25
UNDO_AFTER = 6
LAYOUTS = {"nominal": {0: VRACK}, "degraded": {0: PUBLIC, 1: VRACK}}

#: name: (words of salt-run, layout that is right at the end, layout at the start, is the vRack cut there).
COMMANDS = {
    "failover": (("corosync.apply", "degraded"), "degraded", "nominal", True),
    "planned": (("corosync.apply", "degraded"), "degraded", "nominal", False),
    "return": (("corosync.apply", "nominal"), "nominal", "degraded", False),
    "restart": (("corosync.restart",), "nominal", "nominal", False),
    "orch.failover": (("state.orchestrate", "orch.failover"), "degraded", "nominal", True),
    "orch.nominal": (("state.orchestrate", "orch.nominal"), "nominal", "degraded", False),
}

# Prints every line that a journal on the master gets from now on.
FOLLOW = """
import glob, os, time
places = {path: os.path.getsize(path) for path in glob.glob(PATTERN)}
print("following", flush=True)
while True:
    for path in glob.glob(PATTERN):
        with open(path) as file:
            file.seek(places.get(path, 0))
            text = file.read()
        whole = text[: text.rfind("\\n") + 1]
        places[path] = places.get(path, 0) + len(whole.encode())
        print(whole, end="", flush=True)
    time.sleep(0.02)
"""
PATTERN = "/var/cache/salt/master/pve-corosync/*/*.jsonl"

# Writes "SECONDS 0|1" whenever this node's quorum has come or gone, to its end.
QUORUM = """
import ctypes as c, time
lib = c.CDLL("libquorum.so.5"); handle = c.c_uint64(); kind = c.c_uint32(); last = None
def quorate():
    global handle
    if not handle.value and lib.quorum_initialize(c.byref(handle), None, c.byref(kind)) != 1:
        handle = c.c_uint64(); return False
    value = c.c_int()
    if lib.quorum_getquorate(handle, c.byref(value)) != 1:
        handle = c.c_uint64(); return False
    return bool(value.value)
while True:
    now = quorate()
    if now != last:
        print(f"{time.time():.2f} {int(now)}", flush=True)
        last = now
    time.sleep(0.05)
"""


class Fault:
    """One harm: `do` and `undo` take the lab and a node; what has an `undo` is undone after some seconds."""

    def __init__(self, do, undo=None, at_master=False):
        self.do, self.undo, self.at_master = do, undo, at_master


def _on(*words, machine=None):
    """Return a harm that is one program on the node (or on the machine that is named)."""
    return lambda lab, node: lab.exec(machine or node, list(words))


def _full(folder):
    """Return harm and remedy: no byte more can be written in a folder, whose content stays."""
    fill = (
        f"mkdir -p {folder} && cp -a {folder} /dev/shm/kept && mount -t tmpfs -o size=4m,mode=700"
        f" tmpfs {folder} &&"
        f" cp -a /dev/shm/kept/. {folder}/; rm -rf /dev/shm/kept;"
        f" dd if=/dev/zero of={folder}/.fill bs=4096 2>/dev/null; true"
    )
    free = (
        f"rm -f {folder}/.fill; rm -rf /dev/shm/kept; cp -a {folder} /dev/shm/kept; umount -l {folder};"
        f" cp -a /dev/shm/kept/. {folder}/; rm -rf /dev/shm/kept"
    )
    return _on("sh", "-c", fill), _on("sh", "-c", free)


def _hang(program):
    return Fault(_on("pkill", "-STOP", "-x", program), _on("pkill", "-CONT", "-x", program))


FAULTS = {
    "kill salt-run": Fault(_on("pkill", "-9", "-f", "bin/salt-run ", machine=MASTER), at_master=True),
    "kill minion": Fault(_on("systemctl", "kill", "--signal=KILL", "salt-minion")),
    "kill pmxcfs": Fault(_on("pkill", "-9", "-x", "pmxcfs")),
    "hang pmxcfs": _hang("pmxcfs"),
    "hang corosync": _hang("corosync"),
    "kill corosync": Fault(
        _on("pkill", "-9", "-x", "corosync"), _on("systemctl", "start", "corosync", "pve-cluster")
    ),
    "cut vrack": Fault(lambda lab, node: lab.cut(VRACK, node), lambda lab, node: lab.heal(VRACK)),
    "cut public": Fault(lambda lab, node: lab.cut(PUBLIC, node), lambda lab, node: lab.heal(PUBLIC)),
    "full /var": Fault(*_full("/var/lib/pve-corosync")),
    "full /run": Fault(*_full("/run/pve-corosync")),
    # The clock of the machine is not the lab's to set: what was written before now has a date of tomorrow.
    "clock back": Fault(
        _on(
            "sh", "-c", "find /var/lib/pve-corosync /run/pve-corosync -exec touch -d '1 day' {} + 2>/dev/null"
        )
    ),
}


def _moot(command, fault):
    """Tell whether a fault is there already when the command begins."""
    return COMMANDS[command][3] and fault == "cut vrack"


def choices(seed, commands=COMMANDS, faults=FAULTS, nodes=("pve1", "pve2")):
    """Yield (command, fault, node, line of the journal, delay) without end, every pair once a round.

    A delay of 0 is a boundary: the line has just been written; others are in the middle of what follows it.
    """
    random_ = random.Random(seed)
    while True:
        pairs = [pair for pair in itertools.product(commands, faults) if not _moot(*pair)]
        random_.shuffle(pairs)
        for command, fault in pairs:
            delay = random_.choice((0, 0, 0.4, 1.2, 2.5))
            yield command, fault, random_.choice(nodes), random_.randint(1, 12), delay


class Campaign:
    """Runs on one lab that is up.

    say
        function that takes one line for the person who waits
    """

    def __init__(self, lab, say=print):
        self.lab, self.say = lab, say
        self.rows = []

    def run(self, count, chosen):
        """Do that many runs; returns one dict a run, in the order in which they were done."""
        for number, (command, fault, node, line, delay) in zip(range(1, count + 1), chosen):
            where = MASTER if FAULTS[fault].at_master else node
            row = {"run": number, "command": command, "fault": fault, "node": where}
            row |= {"line": line, "delay": delay}
            try:
                row |= self._one(command, FAULTS[fault], node, line, delay)
            except LabError as error:
                row |= {"event": "", "codes": [], "verdict": NEVER, "wrong": [str(error)]}
                row |= {"seconds": 0, "without": 0}
            self.rows.append(row)
            self.say(line_of(row))
        return self.rows

    def _one(self, command, fault, node, line, delay):
        words, goal, start, cut = COMMANDS[command]
        lab = self.lab
        lab.reset()
        lab.wait_minions()
        if start != "nominal":
            done = lab.salt_run("corosync.apply", start, timeout=COMMAND_SECONDS)
            if done.returncode:
                raise LabError(f"the start {start} was not reached: {done.stdout}")
        if cut:
            lab.cut(VRACK)
            wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 40, what="the nodes to lose quorum")
        watch = Watch(lab)
        journal = Journal(lab)
        try:
            codes, event = [], ""
            begun = time.time()
            running = Running(lab, words)
            event = journal.wait(line, running)
            if event:
                time.sleep(delay)
                fault.do(lab, node)
                if fault.undo:
                    time.sleep(UNDO_AFTER)
                    fault.undo(lab, node)
            codes.append(running.end())
            wrong = self._wrong(goal)
            verdict = BY_ITSELF
            while (codes[-1] != 0 or wrong) and len(codes) <= ATTEMPTS:
                self._answering()
                codes.append(Running(lab, words).end())
                wrong = self._wrong(goal)
                verdict = AGAIN
            if codes[-1] != 0 or wrong:
                verdict = NEVER
            return {
                "event": event,
                "codes": codes,
                "verdict": verdict,
                "wrong": wrong,
                "seconds": round(time.time() - begun, 1),
                "without": watch.without(begun),
            }
        finally:
            journal.close()
            watch.close()

    def _answering(self):
        """Wait for the minions, as somebody would who has seen that the command has failed."""
        try:
            self.lab.wait_minions()
        except LabError as error:
            self.say(f"  {error}")

    def _wrong(self, goal):
        """Return what is not as it should be, waiting some seconds for daemons that are still coming up."""
        end = time.monotonic() + SETTLE_SECONDS
        while (wrong := self._look(goal)) and time.monotonic() < end:
            time.sleep(1)
        return wrong

    def _look(self, goal):
        lab, wrong, texts, versions = self.lab, [], set(), set()
        for node in lab.nodes:
            try:
                if len(lab.members(node)) != len(lab.nodes) or not lab.quorate(node):
                    wrong.append(f"{node} is not quorate with all")
                if not lab.writable(node):
                    wrong.append(f"{node} cannot write to /etc/pve")
                said = lab.exec(node, ["corosync-cmapctl", "-g", "totem.config_version"]).stdout
                versions.add(said.split()[-1] if said else None)
                texts |= {
                    lab.read(node, path) for path in ("/etc/corosync/corosync.conf", "/etc/pve/corosync.conf")
                }
            except LabError as error:
                wrong.append(f"{node}: {error}")
        if len(texts) != 1:
            return [*wrong, f"{len(texts)} different files"]
        (text,) = texts
        found = {}
        for row in text.splitlines():
            key, _, value = row.strip().partition(": ")
            if key.startswith("ring") and key.endswith("_addr"):
                found.setdefault(int(key[4]), set()).add(value)
        wanted = {
            link: {address(node, network) for node in lab.nodes} for link, network in LAYOUTS[goal].items()
        }
        if found != wanted:
            wrong.append(f"the links are {found}")
        if versions != {text.split("config_version: ")[1].split()[0]}:
            wrong.append(f"the daemons have versions {sorted(map(str, versions))}")
        return wrong


class Running:
    """A command on the master, in a thread."""

    def __init__(self, lab, words):
        self.code = None
        self.thread = threading.Thread(target=self._run, args=(lab, words), daemon=True)
        self.thread.start()

    def _run(self, lab, words):
        try:
            self.code = lab.exec(
                MASTER, ["/opt/salt/bin/salt-run", *words], timeout=COMMAND_SECONDS
            ).returncode
        except LabError:
            self.code = "hung"

    def end(self):
        """Wait for its end; returns the exit code, or "hung"."""
        self.thread.join()
        return self.code


class Follower:
    """A program on a machine that prints lines until it is ended."""

    def __init__(self, lab, machine, code):
        self.lines = []
        self.process = lab.machine(machine).popen(["/usr/bin/python3", "-u", "-c", code])
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def close(self):
        """End the program."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.thread.join()


class Journal(Follower):
    """What the journals of the master get, line by line."""

    def __init__(self, lab):
        super().__init__(lab, MASTER, f"PATTERN = {PATTERN!r}\n{FOLLOW}")
        wait_for(lambda: self.lines, 20, every=0.02, what="the journal to be followed")

    def wait(self, number, running):
        """Wait for a line; returns its event, or "" when the command had ended before."""
        while len(self.lines) <= number:
            if not running.thread.is_alive():
                return ""
            time.sleep(0.01)
        return json.loads(self.lines[number])["event"]


class Watch:
    """How long each node is without quorum."""

    def __init__(self, lab):
        self.followers = [Follower(lab, node, QUORUM) for node in lab.nodes]

    def without(self, begun):
        """Return for how many seconds the node that lacked it longest had no quorum, since a moment."""
        now, worst = time.time(), 0
        for follower in self.followers:
            rows = [line.split() for line in follower.lines]
            turns = [(max(float(when), begun), value == "1") for when, value in rows]
            ends = [when for when, _ in turns[1:]] + [now]
            worst = max(worst, sum(end - when for (when, good), end in zip(turns, ends) if not good))
        return round(worst, 1)

    def close(self):
        """End the watchers."""
        for follower in self.followers:
            follower.close()


def line_of(row):
    """Return one run as a line of the table."""
    where = (
        f"{row['event'] or 'had ended'}{' +%.1f s' % row['delay'] if row['delay'] and row['event'] else ''}"
    )
    codes = ",".join(map(str, row["codes"]))
    line = (
        f"{row['run']:>3}  {row['command']:<14} {row['fault']:<14} {row['node']:<7} {where:<24} {codes:<8} "
        f"{row['verdict']:<13} {row['without']:>6.1f} {row['seconds']:>6.1f}"
    )
    return line + (f"\n     {'; '.join(row['wrong'])}" if row["wrong"] else "")


HEAD = (
    f"{'run':>3}  {'command':<14} {'fault':<14} {'on':<7} {'when':<24} {'exits':<8} {'ended right':<13} "
    f"{'no qu.':>6} {'all s':>6}"
)


def summary(rows):
    """Return lines: how the runs of every fault ended, and all of them."""
    lines = [
        f"{'fault':<16} {'runs':>5} {BY_ITSELF:>10} {AGAIN:>13} {NEVER:>11} {'worst without quorum':>21}"
    ]
    groups = {name: [row for row in rows if row["fault"] == name] for name in FAULTS} | {"all": rows}
    for name, some in groups.items():
        if some:
            counts = [sum(row["verdict"] == verdict for row in some) for verdict in (BY_ITSELF, AGAIN, NEVER)]
            worst = max(row["without"] for row in some)
            lines.append(
                f"{name:<16} {len(some):>5} {counts[0]:>10} {counts[1]:>13} {counts[2]:>11} {worst:>19.1f} s"
            )
    return lines
