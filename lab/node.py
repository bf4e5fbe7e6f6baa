"""One machine of a lab: a Debian root on an overlay, booted with its own systemd by systemd-nspawn."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lab import host
from lab.shell import LabError, run, wait_for
from lab.state import MASTER

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "USER": "root",
}

#: which process 1 was found below which supervisor, each with its start time: finding it reads all of /proc.
_LEADERS = {}


class Machine:
    """Boot, stop and enter one machine."""

    def __init__(self, record, name, namespace):
        self.record, self.name, self.namespace = record, name, namespace
        self.folder = record.folder / name
        self.cgroup = host.cgroup_root() / record.prefix / name

    def start(self, binds=()):
        """Begin to boot, and return at once.

        binds
            (host path, path in the machine) pairs, read-only in the machine
        """
        if self.leader():
            raise LabError(f"{self.name} is running already")
        kill_cgroup(self.cgroup)
        self.cgroup.mkdir(parents=True, exist_ok=True)
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--boot",
            f"--directory={self.folder}/root",
            f"--machine={self.record.prefix}-{self.name}",
            f"--hostname={self.name}",
            f"--network-namespace-path=/run/netns/{self.namespace}",
            "--bind=/dev/fuse",
            "--capability=all",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
            *(f"--bind-ro={outside}:{inside}" for outside, inside in binds),
        ]
        record = self.record.read()
        layers = [record["base"]] if self.name == MASTER else [record.get("pve"), record["base"]]
        plan = {
            "cgroup": str(self.cgroup),
            "lower": ":".join(filter(None, layers)),
            "folder": str(self.folder),
            "argv": argv,
        }
        with open(self.folder / "console.log", "ab") as console:
            child = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--propagation",
                    "slave",
                    sys.executable,
                    str(Path(__file__).with_name("launch.py")),
                    json.dumps(plan),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/",
            )
        with self.record.change() as record:
            record.setdefault("procs", {})[self.name] = {"pid": child.pid, "start": start_time(child.pid)}

    def supervisor(self):
        """Return the pid of this machine's systemd-nspawn, or None when it does not run."""
        proc = self.record.read().get("procs", {}).get(self.name)
        return proc["pid"] if proc and start_time(proc["pid"]) == proc["start"] else None

    def leader(self):
        """Return the pid, as the host sees it, of the machine's process 1, or None."""
        supervisor = self.supervisor()
        if not supervisor:
            return None
        key = supervisor, start_time(supervisor)
        pid, start = _LEADERS.get(key, (None, None))
        if not pid or start_time(pid) != start:
            pid = _process_1(supervisor)
            _LEADERS[key] = pid, pid and start_time(pid)
        return pid

    def command(self, argv, env=None):
        """Return the host command that runs argv in the machine, with a plain root environment."""
        leader = self.leader()
        if not leader:
            raise LabError(f"{self.name} does not run: boot it with lab/lab boot {self.name}")
        settings = [f"{key}={value}" for key, value in {**ENVIRONMENT, **(env or {})}.items()]
        return [
            "nsenter",
            f"--target={leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
            "env",
            "-i",
            *settings,
            *argv,
        ]

    def exec(self, argv, timeout=60, check=False, stdin=None, env=None):
        """Run a program in the machine to its end; see lab.shell.run for arguments and result."""
        return run(self.command(list(argv), env), timeout=timeout, check=check, stdin=stdin)

    def popen(self, argv):
        """Start a program in the machine, its output to be read; the caller kills its process group."""
        return subprocess.Popen(
            self.command(list(argv)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            errors="replace",
        )

    def wait_booted(self, timeout=90):
        """Wait until systemd has started everything, and raise LabError with the units that failed."""

        def listening():
            if not self.supervisor():
                raise LabError(f"{self.name} ended while booting; its last words: {self._last_words()}")
            return self.leader() and self.exec(["test", "-S", "/run/systemd/private"]).returncode == 0

        end = time.monotonic() + timeout
        wait_for(
            listening, timeout, every=0.1, what=f"systemd of {self.name} (see {self.folder}/console.log)"
        )
        left = max(1, end - time.monotonic())
        state = self.exec(["systemctl", "is-system-running", "--wait"], timeout=left).stdout.strip()
        if state != "running":
            raise LabError(
                f"{self.name} booted but its state is {state!r}; units that failed: {self.failed() or 'none'}"
            )

    def failed(self):
        """Return the names of the units that have failed, as text."""
        said = self.exec(["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).stdout
        return ", ".join(line.split()[0] for line in said.splitlines() if line.strip())

    def kill(self):
        """Take the power away: kill -9 of every process of the machine."""
        supervisor, leader = self.supervisor(), self.leader()
        if leader:
            kill_pid(leader)
            end = time.monotonic() + 2  # systemd-nspawn then ends by itself, and cleans up behind it
            while self.supervisor() and time.monotonic() < end:
                time.sleep(0.02)
        if self.supervisor() == supervisor and supervisor:
            kill_pid(supervisor)
        kill_cgroup(self.cgroup)
        with self.record.change() as record:
            record.get("procs", {}).pop(self.name, None)

    def freeze(self, on):
        """Let everything on the machine stand still, as a virtual machine that is paused, or go on again."""
        (self.cgroup / "cgroup.freeze").write_text("1" if on else "0", encoding="ascii")
        wanted = f"frozen {int(on)}"
        wait_for(
            lambda: wanted in (self.cgroup / "cgroup.events").read_text(encoding="ascii").splitlines(),
            10,
            every=0.02,
            what=f"{self.name}: {wanted}",
        )

    def _last_words(self):
        lines = (
            (self.folder / "console.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        )
        return " / ".join(lines[-3:]) or "none"


def start_time(pid):
    """Return when a process started (clock ticks since boot, the boot's id), None if it is gone or dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if fields[0] in "ZX" else f"{fields[19]}@{boot}"


def kill_pid(pid):
    """kill -9 of a process that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_cgroup(cgroup):
    """Kill what runs in a cgroup of the lab, and remove it; nothing is there but what the lab put there.

    A systemd that is being killed still removes cgroups of its own: what is gone meanwhile is gone.
    """

    def emptied():
        pids = [int(pid) for folder, _, _ in os.walk(cgroup) for pid in _lines(Path(folder, "cgroup.procs"))]
        for pid in pids:
            kill_pid(pid)
        return not pids

    wait_for(emptied, 20, every=0.05, what=f"the processes in {cgroup} to end")
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(FileNotFoundError):
            os.rmdir(folder)


def _lines(path):
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:  # the cgroup was removed by its own systemd meanwhile
        return []


def _process_1(supervisor):
    """Return the child of a supervisor that is process 1 of its machine, None where there is none yet."""
    for pid in _children(supervisor):
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue
        inner = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(inner) > 1 and inner[-1] == "1":
            return pid
    return None


def _children(pid):
    """Return the pids of the children of a process (not every kernel has /proc/PID/task/TID/children)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(name))
    return found
