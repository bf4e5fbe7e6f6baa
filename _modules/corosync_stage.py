"""
Begin and end a run on this node: stage it, ask for the outcome of a step, finish it.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import contextlib
import os
import time

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.node import etc_pve_client, files, runs
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"

#: how long one question for an outcome may wait, in seconds.
MAX_WAIT_S = 60.0
#: how long a look waits for the daemon, in seconds.
LOOK_S = 1.0


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def stage(txn, steps, by="", ttl=900, takes_over=(), back=None, look=False):  # pylint: disable=too-many-arguments
    """
    Check the configurations of all steps on this node, keep the local file's bytes, and take the node's run
    lock; nothing else is written.

    txn
        The name of the run: letters, digits, ``.``, ``_``, ``-``, at most 64.

    steps
        The steps of the plan; of each, ``number``, ``version`` and ``conf`` are read.

    by
        Who runs it, for the message that another run gets.

    ttl
        Seconds until the lock is void; every step renews it.

    takes_over
        Names of runs that are known to be dead: a lock of theirs is no obstacle. A step of theirs that is
        still carried out here is waited for, up to 60 s; none of them can begin another.

    back
        Keep a way back ready, ``{"layout", "pillar", "quiet", "confirm"}`` as ``corosync.arm_back`` takes
        them. That of another run is given up in any case.

    look
        Look at the daemon too, when all that is done (``corosync_look.look`` with counts).

    Before that, the disks are tried that a step writes to, and the local file must be one that the plan saw
    (``starts_from`` of the steps: digests).

    Returns ``{"ok": bool, "checks": [{"version", "sha256", "ok", "text"}], "back": text}``, with ``look``
    where that was asked for; ``back`` is "" or why no way back is ready; the check of an edited file has
    ``code`` besides. The lock is taken only if all are ok. Raises CommandExecutionError if another run holds
    the lock.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.stage run1 '[{"number": 1, "version": 6, "conf": "totem { … }"}]' by=admin
    """
    shell.check("corosync.stage", locals())
    txn = shell.checked(runs.checked_txn, txn)
    etc_pve_client.give_back(_root())  # what a dead process of this node holds in /etc/pve is in our way
    ttl = shell.seconds(ttl, "ttl")
    takes_over = shell.checked(_listed, takes_over, "takes_over")
    dead = [shell.checked(runs.checked_txn, name) for name in takes_over]
    checks = {}
    for entry in shell.checked(_listed, steps, "steps"):
        shell.checked(runs.check_step, entry)
        digest = files.sha256(runs.checked_conf(entry["conf"]))
        if digest not in checks:
            told = __salt__["corosync.check"](entry["conf"])
            checks[digest] = {
                "version": entry["version"],
                "sha256": digest,
                "ok": told["ok"],
                "text": told["text"],
            }
    checks = list(checks.values()) + _edited(steps, set(checks))
    _try_disks(steps)
    ok = all(check["ok"] for check in checks)
    try:
        with contextlib.ExitStack() as locks:
            if (runs.holder(_root()) or {}).get("txn") in dead:
                # before the run lock, as a step takes them: it holds the one while it asks for the other
                locks.enter_context(runs.locked(_root(), "step", arguments.TAKE_OVER_S))
            locks.enter_context(runs.locked(_root(), "run", 10.0))
            runs.refuse_other(_root(), txn, dead)
            if ok:
                _back_up()
                runs.take(_root(), txn, by, ttl, [check["sha256"] for check in checks], dead)
    except runs.Busy as exc:
        raise CommandExecutionError(str(exc)) from None
    told = {"ok": ok, "checks": checks, "back": _keep_ready(txn, back) if ok else ""}
    return told | ({"look": __salt__["corosync_look.look"](LOOK_S, True)} if look else {})


def finish(txn, confirm=0):
    """
    Give the node's run lock back, and return whether this run held it.

    txn
        The name of the run; the lock of another run stays.

    confirm
        Seconds in which ``corosync.disarm_back`` has to come, or this node goes back; by default the way back
        that was kept ready for the run is given up.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.finish run1
    """
    shell.check("corosync.finish", locals())
    txn = shell.checked(runs.checked_txn, txn)
    if confirm:
        __salt__["corosync.await_confirm"](txn, confirm)
    else:
        __salt__["corosync.disarm_back"](txn)
    try:
        with runs.locked(_root(), "run", 10.0):
            return runs.give_back(_root(), txn)
    except runs.Busy as exc:
        raise CommandExecutionError(str(exc)) from None


def busy():
    """
    Return the run that holds this node as ``{"txn", "by", "since"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.busy
    """
    run = runs.holder(_root())
    return {key: run[key] for key in ("txn", "by", "since")} if run else None


def outcome(txn, number, phase="", wait=0):
    """
    Return the stored outcome of a step, or None if this node has none.

    txn, number
        The run and the step.

    phase
        ``files`` for the first half of a restart step.

    wait
        Seconds to wait for the end of a step that is under way here, at most 60; where it goes on then, the
        answer is ``{"under_way": True}``. None then says that no step is under way: the call was lost.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.outcome run1 2
    """
    shell.check("corosync.outcome", locals())
    txn, number = shell.checked(runs.checked_txn, txn), shell.checked(runs.checked_number, number)
    phase = shell.checked(runs.checked_phase, phase)
    end = time.monotonic() + shell.seconds(wait, "wait", MAX_WAIT_S)
    while True:
        working = bool(wait) and runs.is_locked(_root(), "step")  # asked before: it may end between the two
        found = runs.outcome(_root(), txn, number, phase)
        if found is not None or not working:
            return found
        if time.monotonic() >= end:
            return {"under_way": True}
        time.sleep(0.1)


def _keep_ready(txn, way):
    """
    Give up the way back of an earlier run, and keep that of this one ready; return why that did not go.
    """
    if way is None:
        __salt__["corosync.disarm_back"]()
        return ""
    try:
        __salt__["corosync.arm_back"](txn, **way)
    except CommandExecutionError as exc:
        return str(exc)
    return ""


def _edited(steps, own):
    """
    Return a check that failed if the local file is none that the plan saw, and none of this run's own.
    """
    seen = {digest for entry in steps for digest in entry.get("starts_from") or ()}
    path = files.under(_root(), files.LOCAL_CONF)
    try:
        data = files.read(path)
        runs.refuse_edited(path, data, seen and seen | own)
    except OSError as exc:
        raise CommandExecutionError(f"{path}: {exc.strerror}") from exc
    except runs.Edited as exc:
        row = {"version": None, "sha256": files.sha256(data), "ok": False, "text": str(exc)}
        return [row | {"code": "file-edited"}]
    return []


def _try_disks(steps):
    """
    Find out, before anything is changed on any node, whether the disks take what the steps write.
    """
    if not steps:
        return
    size = max(len(entry["conf"]) for entry in steps) + 4096
    for folder in (os.path.dirname(files.LOCAL_CONF), files.RUN_DIR, files.STATE_DIR):
        try:
            files.try_disk(files.under(_root(), folder), size)
        except OSError as exc:
            raise CommandExecutionError(
                f"{folder} cannot be written: {exc.strerror}; nothing was changed here"
            ) from exc


def _back_up():
    """
    Keep the local file as it is before the run: in a ``cluster`` step pmxcfs may replace it before the step
    begins here.
    """
    path = files.under(_root(), files.LOCAL_CONF)
    try:
        now = files.read(path)
        if now is not None:
            folder = files.under(_root(), f"{files.STATE_DIR}/backups")
            files.keep_backup(folder, "corosync.conf.local", now)
    except OSError as exc:
        raise CommandExecutionError(
            f"no backup of {path} could be kept, so nothing is changed: {exc}"
        ) from exc


def _listed(value, what):
    if not isinstance(value, (list, tuple)):
        raise runs.BadArgument(f"{what} {value!r}: a list is needed")
    return value


def _root():
    return shell.root(__opts__)
