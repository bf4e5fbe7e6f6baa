"""
The way back of a run, on this node: kept ready while the links are changed, and gone where the run is lost.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: corosync, systemd-run
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import os
import sys
import time

import salt.utils.path
from pve_corosync.node import back, runs
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import way_back
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

LOOK_S, TRIES, PAUSE_S, PATIENCE_S = 1.0, 3, 5.0, 60


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def arm_back(txn, layout, pillar, quiet, confirm=False):
    """
    Keep a way back ready for a run: a timer that takes this node back to a layout if the run is lost.

    txn
        The name of the run.

    layout, pillar
        The layout to go back to, and the pillar ``corosync`` that has it.

    quiet
        Seconds of silence after which the run is taken for lost.

    confirm
        Whether the run is to be confirmed; then it is gone back from also where no quorum was lost.

    Raises CommandExecutionError if the timer could not be set.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.arm_back run1 nominal '{"cluster_name": "prod"}' 60
    """
    shell.check("corosync.arm_back", locals())
    txn, quiet = shell.checked(runs.checked_txn, txn), shell.seconds(quiet, "quiet")
    record = {"txn": txn, "layout": str(layout), "quiet": quiet, "confirm": bool(confirm), "due": None}
    record["quorate"] = _quorate()
    return _arm(record, pillar, quiet)


def disarm_back(txn=None):
    """
    Give up the way back that this node keeps ready, and return the layout that it led to; None without one.

    txn
        Only that of this run; default any.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.disarm_back
    """
    shell.check("corosync.disarm_back", locals())
    txn = None if txn is None else shell.checked(runs.checked_txn, txn)
    record = back.read(_root())
    return record["layout"] if back.disarm(_root(), txn) else None


def await_confirm(txn, seconds):
    """
    Go back when a time is over, unless ``corosync.disarm_back`` comes first; return whether that is ready.

    txn
        The run that is over, and for which a way back is kept ready.

    seconds
        The time for the confirmation.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.await_confirm run1 120
    """
    shell.check("corosync.await_confirm", locals())
    txn, seconds = shell.checked(runs.checked_txn, txn), shell.seconds(seconds, "seconds")
    record = back.read(_root())
    if not record or record["txn"] != txn:
        return False
    return _arm(record | {"due": time.time() + seconds}, None, seconds)


def go_back(txn):
    """
    Take this node back to the layout before a run that is lost, or was not confirmed; the timer calls this.

    Waits as long as the run may still go on. Returns what ``corosync.apply`` returned, or None where there
    was no reason to go back.

    txn
        The name of the run.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.go_back run1
    """
    shell.check("corosync.go_back", locals())
    txn = shell.checked(runs.checked_txn, txn)
    while True:
        record = back.read(_root())
        if not record or record["txn"] != txn:
            return None
        verdict = way_back.decide(record, time.time(), runs.holder(_root()), _quorate())
        if verdict != "wait":
            break
        time.sleep(LOOK_S)
    back.forget(_root(), keep_pillar=True)  # from here on, nobody stops this process
    if verdict == "done":
        return None
    log.warning("run %s is lost or was not confirmed: going back to layout %s", txn, record["layout"])
    call = {"degraded": True, "patience": PATIENCE_S, "progress": True, "takes_over": [txn]}
    for left in range(TRIES, 0, -1):
        report = __salt__["corosync.apply"](record["layout"], **call)
        if not report["retcode"] or left == 1:
            break
        time.sleep(PAUSE_S)
    log.warning("going back to layout %s: %s", record["layout"], report["summary"])
    return report


def _arm(record, pillar, after):
    # the same salt-call as this minion's, with its configuration: both may stand outside of PATH
    beside = [os.path.join(os.path.dirname(path), "salt-call") for path in (sys.argv[0], sys.executable)]
    program = next((path for path in beside if os.access(path, os.X_OK)), salt.utils.path.which("salt-call"))
    command = [program or "salt-call", "--local", f"--config-dir={os.path.dirname(__opts__['conf_file'])}"]
    command += ["--retcode-passthrough", "corosync.go_back", record["txn"]]
    try:
        back.arm(_root(), record, pillar, command, after)
    except back.NotArmed as exc:
        raise CommandExecutionError(f"the way back could not be kept ready: {exc}") from None
    return True


def _quorate():
    return bool((__salt__["corosync.quorum"]() or {}).get("quorate"))


def _root():
    return shell.root(__opts__)
