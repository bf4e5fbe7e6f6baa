"""Faults at the boundaries of a run and in mid-step, on a lab of real daemons; what became of the cluster.

A run of the campaign begins a command where the last run has left the cluster (or in the lab's first state,
if that is not right), does one harm when the journal of the command has come to a certain line, undoes it,
and looks at the cluster itself: files, versions, members, quorum, HA. What is not right is followed by the
same command again. Nothing judged here is asked of the product.
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

BY_ITSELF, AGAIN, TWICE, NEVER = "by itself", "same command", "by it twice", "NOT AT ALL"
#: of a run that could not begin: the lab itself was not to be had. It counts for nothing.
NO_LAB = "no lab"
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
    "HA restart": (("corosync.restart",), "nominal", "nominal", False),
    "orch.failover": (("state.orchestrate", "orch.failover"), "degraded", "nominal", True),
    "orch.nominal": (("state.orchestrate", "orch.nominal"), "nominal", "degraded", False),
}
#: with a resource of HA, whose watchdog is open on the first node: at the beginning, and so at the end.
ARMED = ("HA restart",)
#: how many lines the journal of a command has, about; of an orchestration those of all phases.
LINES = {"restart": 7, "HA restart": 11, "orch.failover": 28, "orch.nominal": 28}
MOST_LINES = 12
#: the first of every round: HA is released, and nobody is left who would put it in service again.
KILLED_WITH_HA_RELEASED = ("HA restart", "kill salt-run", "pve1", "HA ended", 0)

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
    "full /etc/corosync": Fault(*_full("/etc/corosync")),
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
    A command comes after one that ends where it begins, as long as there is one.
    """
    random_ = random.Random(seed)
    while True:
        pairs = [pair for pair in itertools.product(commands, faults) if not _moot(*pair)]
        random_.shuffle(pairs)
        layout = "nominal"
        if KILLED_WITH_HA_RELEASED[:2] in pairs:
            pairs.remove(KILLED_WITH_HA_RELEASED[:2])
            yield KILLED_WITH_HA_RELEASED
        while pairs:
            pair = next((pair for pair in pairs if COMMANDS[pair[0]][2] == layout), pairs[0])
            pairs.remove(pair)
            layout = COMMANDS[pair[0]][1]
            delay = random_.choice((0, 0, 0.4, 1.2, 2.5))
            line = random_.randint(1, LINES.get(pair[0], MOST_LINES))
            yield *pair, random_.choice(nodes), line, delay


class Campaign:
    """Runs on one lab that is up.

    say
        function that takes one line for the person who waits
    keep
        function that takes all rows whenever there is one more
    """

    def __init__(self, lab, say=print, keep=lambda rows: None):
        self.lab, self.say, self.keep = lab, say, keep
        self.rows, self.fresh, self.layout = [], True, "nominal"

    def run(self, count, chosen, until=None):
        """Do that many runs; returns one dict a run, in the order in which they were done.

        until
            time (as of ``time.time()``) after which no run is begun
        """
        for number, (command, fault, node, line, delay) in zip(range(1, count + 1), chosen):
            if until and time.time() > until:
                break
            where = MASTER if FAULTS[fault].at_master else node
            row = {"run": number, "suite": self.lab.suite, "nodes": len(self.lab.nodes), "command": command}
            row |= {"fault": fault, "node": where, "line": line, "delay": delay}
            row |= {"event": "", "codes": [], "seconds": 0, "without": 0}
            try:
                self._begin(command)
            except LabError as error:
                row |= {"verdict": NO_LAB, "wrong": [str(error)]}
            else:
                try:
                    row |= self._one(command, FAULTS[fault], node, line, delay)
                except LabError as error:
                    row |= {"verdict": NEVER, "wrong": [str(error)]}
            # HA stays armed and dates stay in the future: that is the next run's only if it asks for it
            self.fresh = bool(row["wrong"]) or command in ARMED or fault == "clock back"
            self.layout = COMMANDS[command][1]
            self.rows.append(row)
            self.keep(self.rows)
            self.say(line_of(row))
        return self.rows

    def _begin(self, command):
        """Bring the cluster to where a command begins."""
        _, _, start, cut = COMMANDS[command]
        lab = self.lab
        lab.heal()
        if self.fresh or self.layout != start or self._wrong(start):
            lab.reset(force=self.fresh)
            lab.wait_minions()
            if start != "nominal":
                done = lab.salt_run("corosync.apply", start, timeout=COMMAND_SECONDS)
                if done.returncode:
                    raise LabError(f"the start {start} was not reached: {done.stdout}")
        lab.wait_minions()
        wait_for(lambda: all(map(lab.connected, lab.nodes)), 40, what="all links to be connected")
        if command in ARMED:
            self._arm()
        if cut:
            lab.cut(VRACK)
            wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 40, what="the nodes to lose quorum")

    def _arm(self):
        """Give the first node a resource of HA, and wait for its watchdog."""
        lab, node = self.lab, self.lab.nodes[0]
        lab.exec(node, ["ha-manager", "add", "vm:100", "--state", "started"], check=True)
        wait_for(lambda: self._armed(), 40, what=f"the LRM of {node} to open the watchdog")

    def _armed(self):
        return (
            self.lab.exec(self.lab.nodes[0], ["test", "-e", "/run/watchdog-mux.active/lrm"]).returncode == 0
        )

    def _one(self, command, fault, node, line, delay):  # pylint: disable=too-many-arguments
        words = COMMANDS[command][0]
        lab = self.lab
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
            wrong = self._wrong_after(command)
            while (codes[-1] != 0 or wrong) and len(codes) <= ATTEMPTS:
                self._answering()
                again = Running(lab, words)
                codes.append(again.end())
                wrong = self._wrong_after(command)
                if codes[-1] != 0 or wrong:  # that the same command is enough is what is promised
                    self.say("\n".join(f"  | {text}" for text in [*again.said[-40:], f"wrong: {wrong}"]))
            return {
                "event": event,
                "codes": codes,
                "verdict": NEVER if codes[-1] != 0 or wrong else (BY_ITSELF, AGAIN, TWICE)[len(codes) - 1],
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

    def _wrong_after(self, command):
        return self._wrong(COMMANDS[command][1], armed=command in ARMED)

    def _wrong(self, goal, armed=False):
        """Return what is not as it should be, waiting some seconds for daemons that are still coming up."""
        end = time.monotonic() + SETTLE_SECONDS
        while (wrong := self._look(goal, armed)) and time.monotonic() < end:
            time.sleep(1)
        return wrong

    def _look(self, goal, armed):
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
                if "FENCE" in lab.exec(node, ["cat", "/var/log/ha-manager-calls.log"]).stdout:
                    wrong.append(f"{node} was fenced")
            except LabError as error:
                wrong.append(f"{node}: {error}")
        if armed and not self._armed():
            wrong.append("HA is not armed again")
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
        self.code, self.said = None, []
        self.thread = threading.Thread(target=self._run, args=(lab, words), daemon=True)
        self.thread.start()

    def _run(self, lab, words):
        try:
            done = lab.exec(MASTER, ["/opt/salt/bin/salt-run", *words], timeout=COMMAND_SECONDS)
            self.code, self.said = done.returncode, (done.stdout + done.stderr).splitlines()
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

    def wait(self, line, running):
        """Wait for a line, by its number or by its event; returns the event, or "" when the command had ended
        before."""
        while True:
            ended = not running.thread.is_alive()
            events = [json.loads(text)["event"] for text in self.lines[1:]]
            if line in events:
                return line
            if isinstance(line, int) and line <= len(events):
                return events[line - 1]
            if ended:
                return ""
            time.sleep(0.01)


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
        f"{row['run']:>3}  {row['command']:<14} {row['fault']:<18} {row['node']:<7} {where:<24} {codes:<8} "
        f"{row['verdict']:<13} {row['without']:>6.1f} {row['seconds']:>6.1f}"
    )
    return line + (f"\n     {'; '.join(row['wrong'])}" if row["wrong"] else "")


HEAD = (
    f"{'run':>3}  {'command':<14} {'fault':<18} {'on':<7} {'when':<24} {'exits':<8} {'ended right':<13} "
    f"{'no qu.':>6} {'all s':>6}"
)


def table(rows, key="fault"):
    """Return rows of a table: how the runs of every fault (or command, or suite) ended, and all of them.

    A run without a lab, or one whose command had ended before the harm, counts for nothing.
    """
    rows = [row for row in rows if row["event"] and row["verdict"] != NO_LAB]
    names = list(dict.fromkeys(row[key] for row in rows))
    groups = {name: [row for row in rows if row[key] == name] for name in sorted(names)} | {"all": rows}
    verdicts = (BY_ITSELF, AGAIN, TWICE, NEVER)
    told = [[key, "runs", *verdicts, "s without quorum: median", "worst"]]
    for name, some in groups.items():
        counts = [sum(row["verdict"] == verdict for row in some) for verdict in verdicts]
        without = sorted(row["without"] for row in some) or [0]
        told.append([name, len(some), *counts, without[len(without) // 2], without[-1]])
    return [[str(cell) for cell in row] for row in told]


def summary(rows, key="fault"):
    """Return the lines of :func:`table`."""
    told = table(rows, key)
    wide = [max(len(row[place]) for row in told) for place in range(len(told[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, wide)).rstrip() for row in told]
