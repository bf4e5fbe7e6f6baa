"""
What a run has to undo at its end, kept on this node before it is done: the next run finds it.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import salt.utils.path
from pve_corosync.node import runs, undo
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def keep_undo(txn, entries):
    """
    Note what a run has to undo at its end, in place of what was noted before.

    txn
        The name of the run.

    entries
        ``[{"function", "nodes", "kwargs", "text"}]``, in the order in which they are to be called.

    Raises CommandExecutionError if it could not be written: then nothing may be done that would need it.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.keep_undo run1 '[{"function": "ha_manager.arm", "nodes": ["pve1"]}]'
    """
    shell.check("corosync.keep_undo", locals())
    txn = shell.checked(runs.checked_txn, txn)
    try:
        undo.keep(_root(), txn, entries)
    except OSError as exc:
        raise CommandExecutionError(f"{exc.filename or undo.RECORD}: {exc.strerror or exc}") from exc
    return True


def drop_undo():
    """
    Forget what a run had to undo: it is done. Returns whether there was something.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.drop_undo
    """
    return undo.drop(_root())


def _root():
    return shell.root(__opts__)
