"""What the watch keeps on the master's disk: its state, its pause, and what the reactor may read of it.

All of it lies in the cluster's folder (``ports.master.Site.folder``), so that it outlives the master. The
notes for the reactor lie beside, one file a minion, because it knows no more than the minion of an event.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time

from pve_corosync.judge import watch

#: the whole way after the links: certificates, services and replication have limits of their own below this.
WAY_S = 3600

STATE, PAUSE, LOCK, NOTES = "watch.json", "watch-pause.json", "watch.lock", "watch"


class Kept:
    """The files of one cluster's watch.

    :param folder: the cluster's. :param base: the directory of all clusters.
    """

    def __init__(self, folder: str, base: str):
        self.folder, self.base = folder, base

    @contextlib.contextmanager
    def lock(self):
        """Hold the right to look at this cluster, and give whether it was free."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        with open(self._path(LOCK), "a", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def load(self) -> dict:
        """Return the state of the last look, a new one if there is none or none that can be read."""
        state = watch.new_state() | {"said": None, "times": {}}
        state |= {key: value for key, value in _read(self._path(STATE)).items() if key in state}
        until = _read(self._path(PAUSE)).get("until")
        return state | {"paused_until": float(until) if isinstance(until, (int, float)) else 0.0}

    def save(self, state: dict) -> None:
        """Keep the state; it is on the disk when this returns."""
        _write(self._path(STATE), state)

    def pause(self, until: float) -> None:
        """Let the watch do nothing until a time, 0 to let it go on."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        _write(self._path(PAUSE), {"until": until})

    def note(self, minions, due: float | None, now: float) -> None:
        """Tell the reactor of a look: its lock, when the next one is due without anything new, and when it
        was."""
        folder = os.path.join(self.base, NOTES)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        row = {"lock": self._path(LOCK), "due": due, "looked": now}
        for minion in minions:
            _write(os.path.join(folder, f"{plain_name(minion)}.json"), row)

    def _path(self, name):
        return os.path.join(self.folder, name)


def process_began() -> float | None:
    """Return when this process was started, in seconds of the epoch; None if that cannot be told
    (proc_pid_stat(5))."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def plain_name(minion: str) -> str:
    """Return the file name that stands for a minion."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", minion).lstrip(".") or "_"


def orchestrate(conf_file: str, name: str, pillar: dict) -> dict:
    """Run an orchestration as an operator does, and return ``{"retcode", "report"}``.

    :param conf_file: of the master. :param name: of the orchestration. :param pillar: what it is given.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "salt-run")
    words = ["state.orchestrate", name, f"pillar={json.dumps(pillar)}", "--no-color"]
    run = [shutil.which("salt-run") or beside, "-c", os.path.dirname(conf_file), *words]
    try:
        done = subprocess.run(
            run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAY_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"retcode": 1, "report": f"{name} did not end within {WAY_S} s"}
    return {"retcode": done.returncode, "report": (done.stdout.strip() or done.stderr.strip())}


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path, data):
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
