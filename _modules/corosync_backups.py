"""
The copies of files that changes left behind on this node.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import os

import salt.utils.path
from pve_corosync.node import files, runs
from pve_corosync.ports import salt_module as shell

__virtualname__ = "corosync"

COPIES = ("corosync.conf.local", "corosync.conf.cluster")


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def backups():
    """
    Return the copies of replaced files, oldest first: ``{"corosync.conf.local": [{"path", "version"}]}``.

    The last 20 of each are kept, outside ``/etc/pve``. Never put one back as it is: its version is below that
    of the other copies, pmxcfs refuses it, and a daemon that starts with it exits. Use its content with a
    higher version.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.backups
    """
    folder = shell.path(__opts__, f"{files.STATE_DIR}/backups")
    return {
        name: [
            {"path": path, "version": runs.version_of(files.read(path).decode("latin-1"))}
            for path in (os.path.join(folder, entry) for entry in files.list_backups(folder, name))
        ]
        for name in COPIES
    }
