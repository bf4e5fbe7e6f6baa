"""
What the reactor does with an event of the beacon ``corosync``: drop it, or start a look of its own process.

The reactor calls this in a thread of the master's own process, which keeps what it has imported until the
master is restarted, and takes everything that runs in it along when it ends. So it only filters and starts,
has a name of its own, and imports nothing of ``pve_corosync``. ``corosync.watch_look`` is what works.

.. versionadded:: 0.2.0
"""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time

import salt.utils.minions

log = logging.getLogger(__name__)

__virtualname__ = "corosync_heard"

#: two starts for one cluster are at least so far apart, in seconds.
PAUSE_S = 2.0
START_S = 10
#: what may bring the quorum back goes before the master's other work.
NICE = -10
FOLDER = os.path.join("pve-corosync", "watch")
#: ``salt-run corosync.watch_look MINION`` in a fifth of its time: it loads the runner and nothing else.
PROGRAM = """
import signal, sys
import salt.config, salt.loader
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
opts = salt.config.client_config(sys.argv[1])
runner = salt.loader.runner(opts, context={})
report = runner["corosync.watch_look"](minion=sys.argv[2])
print(report.get("summary", report["result"]))
sys.exit(report["retcode"])
"""
MINION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

_STARTED = {}
#: clusters of which a change was told when a look had asked already: the next event starts one in any case.
_MISSED = set()


def __virtual__():
    return __virtualname__


def event(minion, kind="", wrong=False):
    """
    Start a look at the cluster of a minion, unless one is under way or nothing calls for it.

    minion
        The minion that the event names. It proves nothing, and need not: the look asks the nodes.

    kind
        What the beacon called it: ``begin``, ``change``, ``still`` or ``alive``.

    wrong
        Whether something is wrong there, as the event says.

    Returns ``started``, or why not: ``no minion``, ``too soon``, ``under way``, ``nothing to do``.

    CLI Example:

    .. code-block:: bash

        salt-run corosync_heard.event pve1 change True
    """
    if not isinstance(minion, str) or not MINION.fullmatch(minion):
        log.warning("corosync: an event with the minion %r is dropped", minion)
        return "no minion"
    now, note = time.time(), _note(minion)
    cluster = str(note.get("lock") or minion)  # all nodes of a cluster tell of a cut at the same moment
    if time.monotonic() - _STARTED.get(cluster, float("-inf")) < PAUSE_S:
        _missed(cluster, kind)
        return "too soon"
    due = note.get("due")
    calm = kind in ("begin", "alive") and not wrong and cluster not in _MISSED
    if note and calm and (due is None or now < due):
        return "nothing to do"
    if _held(note.get("lock")):
        _missed(cluster, kind)
        return "under way"
    if not note and not _has_key(minion):  # a name that an event made up would cost a process each
        log.warning("corosync: an event of %s, which has no accepted key, is dropped", minion)
        return "no minion"
    if len(_STARTED) > 10000:  # names that anybody may send
        _STARTED.clear()
    _MISSED.discard(cluster)
    _STARTED[cluster] = time.monotonic()
    _start(str(minion))
    return "started"


def _missed(cluster, kind):
    if kind == "change" and len(_MISSED) < 10000:
        _MISSED.add(cluster)


def _has_key(minion):
    found = salt.utils.minions.CkMinions(__opts__).check_minions([minion], tgt_type="list")
    return minion in found["minions"]


def _note(minion):
    path = os.path.join(__opts__["cachedir"], FOLDER, f"{minion}.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _held(path):
    """
    Tell whether a process looks at that cluster now.
    """
    try:
        with open(str(path), encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _start(minion):
    """
    Start a look outside of the master's unit, so that it outlives the master.
    """
    run = [sys.executable, "-c", PROGRAM, str(__opts__["conf_file"]), minion]
    unit, about = shutil.which("systemd-run"), f"corosync.watch_look {minion}"
    if unit and os.path.isdir("/run/systemd/system") and os.geteuid() == 0:
        subprocess.run(
            [unit, "--collect", "--quiet", "--no-block", f"--nice={NICE}", f"--description={about}", *run],
            check=True,
            timeout=START_S,
            stdin=subprocess.DEVNULL,
        )
        return
    quiet = subprocess.DEVNULL
    subprocess.Popen(run, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
