"""The demonstration: a vRack fails, the cluster moves to the public network, and comes back."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager

from lab import base, host
from lab.cluster import MASTER, Lab, LabError, wait_for

WIDTH = 100


class Story:
    """Play the acts on one lab and keep the time of each.

    lab
        a lab.cluster.Lab that is not up yet
    """

    def __init__(self, lab):
        self.lab = lab
        self.times = []
        self.lists = {}

    @contextmanager
    def act(self, title):
        """Print a heading, then what the block prints, then how long it took."""
        print(f"\n{len(self.times) + 1}. {title}\n{'-' * WIDTH}", flush=True)
        begin = time.monotonic()
        try:
            yield
        finally:
            self.times.append((title, time.monotonic() - begin))
            print(f"{'(' + format(self.times[-1][1], '.1f') + ' s)':>{WIDTH}}", flush=True)

    def play(self):
        """Play everything; returns True when both checklists were green."""
        lab = self.lab
        print(f"Real Corosync, systemd, sshd and Salt on Debian {lab.suite}, in network namespaces.")
        with self.act("Two nodes and a Salt master are booted"):
            host.prepare()
            base.provide(lab.suite)
            lab.up()
            self.show("pve1", "corosync", "-v", lines=1)
            self.show(MASTER, "salt", "--version")
            self.show("pve1", "ip", "-brief", "-4", "address")
            self.show("pve2", "ip", "-brief", "-4", "address")
        with self.act("All is well: one link, on the vRack"):
            self.show(MASTER, "salt-run", "corosync.status")
        with self.act("The vRack fails"):
            self._fail()
        with self.act("Failover to the public network"):
            self._watched("orch.failover")
        with self.act("Checklist of the degraded layout"):
            self._checklist("degraded")
        with self.act("The vRack is repaired"):
            self._repair()
        with self.act("Back to the nominal layout"):
            self._watched("orch.nominal")
        with self.act("Checklist of the nominal layout"):
            self._checklist("nominal")
        return all(self.lists.get(name) for name in ("degraded", "nominal"))

    def show(self, machine, *argv, lines=None):
        """Run a program as a person would, print prompt and output; returns the exit code.

        lines
            print only so many of the first ones
        """
        done = self.lab.exec(machine, list(argv), timeout=240)
        print(f"{machine}# {' '.join(argv)}")
        said = (done.stdout.rstrip() or done.stderr.rstrip()).splitlines()[:lines]
        print("".join(f"  {line.rstrip()}".rstrip() + "\n" for line in said), end="", flush=True)
        return done.returncode

    def _fail(self):
        lab, begin = self.lab, time.monotonic()
        lab.cut("vrack")
        print("The vRack cable of both nodes is unplugged.")
        wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="both nodes to lose quorum")
        wait_for(
            lambda: not any(map(lab.writable, lab.nodes)),
            60,
            what="/etc/pve to become read-only on both nodes",
        )
        print(
            f"No quorum on either node after {time.monotonic() - begin:.1f} s, and /etc/pve is read-only:\n"
        )
        self.show("pve1", "corosync-cfgtool", "-s")
        self.show("pve1", "touch", "/etc/pve/a-new-file")

    def _repair(self):
        lab, begin = self.lab, time.monotonic()
        lab.heal()
        print("The cable of both nodes is plugged in again.")
        links = len(lab.nodes) - 1

        def connected():
            return all(
                lab.exec(node, ["corosync-cfgtool", "-s"]).stdout.count("\tconnected") >= 2 * links
                for node in lab.nodes
            )

        wait_for(connected, 60, what="both links to be connected on both nodes")
        print(f"Both links are connected on both nodes after {time.monotonic() - begin:.1f} s:\n")
        self.show("pve1", "corosync-cfgtool", "-s")

    def _checklist(self, layout):
        code = self.show(MASTER, "salt-run", "corosync.verify", layout, "full=True")
        self.lists[layout] = code == 0
        self.show("pve1", "cat", "/etc/pve/.members")

    def _watched(self, orchestration):
        """Run an orchestration while looking at the nodes, and tell what they went through."""
        watch = Watch(self.lab)
        print(f"{MASTER}# salt-run state.orchestrate {orchestration}", flush=True)
        with watch:
            code, text = self._stream(["salt-run", "--out=json", "state.orchestrate", orchestration])
        print(
            "\n".join(["", *phases(text), "", f"exit code {code}; seen on the nodes, from the command on:"])
        )
        for line in watch.report():
            print(f"  {line}")

    def _stream(self, argv, timeout=300):
        """Run a program on the master, print its standard error as it comes; returns (code, output)."""
        command = self.lab.machine(MASTER).command(argv)
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            deadline = threading.Timer(timeout, os.killpg, (child.pid, signal.SIGKILL))
            deadline.start()
            try:
                for line in child.stderr:
                    if line.strip() and not line.startswith(
                        ("[", "unclosed ")
                    ):  # Salt's own log is no progress
                        print(f"  {line.rstrip()}", flush=True)
                child.wait()
            finally:
                deadline.cancel()
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
            out.seek(0)
            return child.returncode, out.read()

    def summary(self, begin):
        """Print the table of acts."""
        print(f"\n{'=' * WIDTH}")
        for title, seconds in self.times:
            print(f"{title:<{WIDTH - 10}}{seconds:>8.1f} s")
        print(f"{'in all':<{WIDTH - 10}}{time.monotonic() - begin:>8.1f} s")
        for name in ("degraded", "nominal"):
            verdict = {True: "green", False: "NOT GREEN", None: "not reached"}[self.lists.get(name)]
            print(f"checklist {name:<{WIDTH - 20}}{verdict:>10}")


def phases(text):
    """Return lines that sum up what `salt-run --out=json state.orchestrate` printed, one for each step.

    A text that is no such document comes back as it is.
    """
    try:
        (states,) = json.loads(text)["data"].values()
        steps = sorted(states.values(), key=lambda step: step["__run_num__"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return text.rstrip().splitlines()
    lines = []
    for step in steps:
        returned = step["changes"].get("return")
        report = ""
        if isinstance(returned, dict):
            report = returned.get("report", "")
            report = report.removeprefix(f"{returned.get('cluster')}, layout {returned.get('layout')}: ")
        report = report or re.sub(r"^\S+, layout [^:]+: ", "", step["comment"])
        said = " ".join(report.split("\n\n")[0].split())
        verdict = "ok" if step["result"] else "FAILED"
        lines.append(f"  {step['__id__']:<20} {verdict:<7} {step.get('duration', 0) / 1000:5.1f} s   {said}")
        if not step["result"]:
            lines += [f"      {line}" for line in report.splitlines()[1:]]
    return lines


class Watch:
    """Look at quorum and /etc/pve of every node about five times a second, while a with block runs."""

    def __init__(self, lab):
        self.lab = lab
        self.seen = {node: [] for node in lab.nodes}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(node,), daemon=True) for node in lab.nodes]

    def __enter__(self):
        self.begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _look(self, node):
        while not self._stop.wait(0.2):
            try:
                now = (self.lab.quorate(node), self.lab.writable(node))
            except LabError:
                now = (False, False)
            self.seen[node].append((time.monotonic() - self.begin, *now))

    def report(self):
        """Return lines: when quorum and a writable /etc/pve came or went, for each node."""
        lines = []
        for node, samples in self.seen.items():
            for column, what in ((1, "quorum"), (2, "/etc/pve writable")):
                turns = [
                    f"{'yes' if new[column] else 'NO'} at {new[0]:.1f} s"
                    for old, new in zip(samples, samples[1:])
                    if old[column] != new[column]
                ]
                first = "yes" if samples and samples[0][column] else "NO"
                story = (
                    ", then ".join([f"{first} at the start", *turns]) if turns else f"{first} all the time"
                )
                lines.append(f"{node}  {what:<18} {story}")
        return lines


def main(argv=None):
    """Play the demonstration and clean up; exit code 0 only when both checklists were green."""
    top = argparse.ArgumentParser(prog="lab/demo", description=__doc__)
    top.add_argument(
        "--suite",
        choices=sorted(base.SALT),
        default="bookworm",
        help="bookworm: Corosync 3.1.7, Salt 3006; trixie: Corosync 3.1.9, Salt 3008",
    )
    top.add_argument("--name", default="demo", help="name of the lab")
    top.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    args = top.parse_args(argv)
    begin = time.monotonic()
    try:
        host.prepare()
        lab = Lab(args.name, args.suite)
        if lab.record.exists():
            raise LabError(f"lab {args.name!r} is there already: lab/lab --name {args.name} down removes it")
    except LabError as error:
        print(f"lab/demo: {error}", file=sys.stderr)
        return 1
    story, green = Story(lab), False
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        green = story.play()
    except LabError as error:
        print(f"\nlab/demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nlab/demo: interrupted, cleaning up", file=sys.stderr)
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # nothing may break the cleaning up
        if not args.keep:
            lab.down()
        story.summary(begin)
    return 0 if green else 1


def _interrupt(_number, _frame):
    """End the play as Ctrl-C does, so that the lab is cleared up."""
    raise KeyboardInterrupt
