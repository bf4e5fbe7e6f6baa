"""Commands side by side, each a process of its own, at most so many at once.

For runs of several clusters: a run takes a lock, changes how signals are dealt with and writes events, which
threads of one process would share.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time

PAUSE_S = 0.1
#: what a shell says of a command that it could not start.
NOT_STARTED = 127


def side_by_side(commands: dict, at_once: int, folder, say) -> dict:
    """Run commands, and return how each ended: ``{name: {"retcode", "seconds", "log"}}``.

    What a command prints goes to a file in ``folder``, which is made. None of them is ended here: each has
    deadlines of its own, and what it is in the middle of may not be broken off.

    :param commands: ``{name: [word]}``, begun in this order.
    :param at_once: how many may be under way at the same time, 1 or more.
    :param say: ``(text)`` writes a line of progress.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    waiting, running, ended = list(commands.items()), {}, {}
    while waiting or running:
        while waiting and len(running) < at_once:
            name, words = waiting.pop(0)
            log = os.path.join(folder, f"{len(ended) + len(running) + 1}-{_plain(name)}.txt")
            started = _start(words, log)
            say(f"{name}: begun ({len(ended) + len(running) + 1} of {len(commands)})")
            running[name] = (started, time.monotonic(), log)
        for name, (process, begun, log) in list(running.items()):
            retcode = process if isinstance(process, int) else process.poll()
            if retcode is None:
                continue
            seconds = round(time.monotonic() - begun, 1)
            ended[name] = {"retcode": retcode, "seconds": seconds, "log": log}
            say(f"{name}: ended with exit code {retcode} after {seconds} s")
            del running[name]
        if running:
            time.sleep(PAUSE_S)
    return {name: ended[name] for name in commands}


def keep_newest(folder, count: int) -> None:
    """Delete the oldest folders in a folder whose names sort by their time.

    :param count: how many stay.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names[: max(0, len(names) - count)]:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def tail(path, lines: int, before: str = "") -> list[str]:
    """Return the last lines of a file that say something; none if it cannot be read.

    :param before: the text that the first line begins with which is no longer wanted.
    """
    found = []
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = [line.rstrip() for line in file if line.strip()]
    end = next((place for place, line in enumerate(found) if before and line.startswith(before)), len(found))
    return found[:end][-lines:]


def _start(words, log):
    """Return the process, or the exit code of one that could not be started."""
    with open(log, "wb") as output:
        try:
            return subprocess.Popen(  # pylint: disable=consider-using-with
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as exc:
            output.write(f"{words[0]}: {exc.strerror}\n".encode())
            return NOT_STARTED


def _plain(name):
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
