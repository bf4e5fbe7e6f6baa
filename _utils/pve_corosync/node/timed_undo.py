"""A change that undoes itself: what was before is kept, and a transient timer of systemd brings it back.

The timer needs no master and no minion's daemon, only this node. It does not outlive a reboot, and neither
does what is kept: after one, what is on the disk holds. Facts: systemd-run(1), AccuracySec is a minute by
default.
"""

from __future__ import annotations

import os
import shutil
import sys

from pve_corosync.node import children, files

FOLDER = f"{files.RUN_DIR}/undo"
TIMEOUT = 20.0


class NotArmed(Exception):
    """The timer could not be started, so nothing may be changed."""


def arm(root, name: str, before: dict, function: str, seconds: float) -> None:
    """Keep what is now, and call a function of the minion after some time unless :func:`disarm` comes first.

    An undo of the same name that is armed already keeps what it holds: that is the state to return to.

    :param name: of the undo; its unit is ``pve-corosync-NAME-undo``. :param before: plain data for the
        function. :param function: for ``salt-call --local``.
    :raises NotArmed: systemd did not take it.
    """
    path = _path(root, name)
    pending = stop(name) and files.read_json(path) is not None
    if not pending:
        files.ensure_folder(os.path.dirname(path))
        files.write_json(path, before)
    beside = os.path.join(os.path.dirname(sys.executable), "salt-call")
    call = [shutil.which("salt-call") or beside, "--local", function]
    how = [f"--on-active={seconds:g}", "--timer-property=AccuracySec=1s", "--property=Type=oneshot"]
    result = children.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={unit(name)}", *how, *call], timeout=TIMEOUT
    )
    if result["rc"] != 0:
        raise NotArmed(f"systemd-run: {children.complaint(result)}")


def disarm(root, name: str):
    """Stop the timer and return what was kept, None if nothing was."""
    stop(name)
    kept = files.read_json(_path(root, name))
    if kept is not None:
        os.unlink(_path(root, name))
    return kept


def kept(root, name: str):
    """Return what is kept for an undo, None if none is armed."""
    return files.read_json(_path(root, name))


def stop(name: str) -> bool:
    """Stop the timer of an undo, and tell whether there was one."""
    return children.run(["systemctl", "stop", f"{unit(name)}.timer"], timeout=TIMEOUT)["rc"] == 0


def unit(name: str) -> str:
    """Return the name of the transient unit."""
    return f"pve-corosync-{name}-undo"


def _path(root, name):
    return files.under(root, f"{FOLDER}/{name}.json")
