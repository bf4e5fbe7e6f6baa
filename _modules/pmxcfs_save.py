"""
The database of pmxcfs: what is in it, and copies of it before two parts of a cluster are joined.

Part of the execution module ``pmxcfs`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

from pve_corosync.node import database, runs
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

__virtualname__ = "pmxcfs"


def __virtual__():
    return __virtualname__


def index():
    """
    Return what this node's ``/etc/pve`` holds, from ``/var/lib/pve-cluster/config.db``.

    Returns ``{"version": int, "mtime": seconds, "files": {path: sha256}}``, None where there is no database.
    The highest version survives when two parts of a cluster meet (pve-cluster ``dcdb.c``).
    Raises CommandExecutionError if it cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.index
    """
    try:
        return database.index(_root())
    except OSError as exc:
        raise CommandExecutionError(str(exc)) from exc


def save(txn):
    """
    Copy ``config.db``, and every file of it, below ``/var/lib/pve-corosync/halves`` of this node.

    txn
        The name of the run; a second call with the same name keeps what is there.

    Returns ``{"folder": path, "version", "mtime", "files"}`` as ``pmxcfs.index``. The folder is readable by
    root only: it holds the keys of ``/etc/pve/priv``. Raises CommandExecutionError if no copy was made.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.save before-the-merge
    """
    shell.check("pmxcfs.save", locals())
    txn = shell.checked(runs.checked_txn, txn)
    try:
        return database.save(_root(), txn)
    except OSError as exc:
        raise CommandExecutionError(str(exc)) from exc


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")
