"""
Mode and owner of the cluster's key on this node.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import os
import stat

import salt.utils.path
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"

MODE = 0o400


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def secure_authkey(path="/etc/corosync/authkey", test=False):
    """
    Give the key of the cluster mode 0400 and owner root:root, and return what changed; its content is not
    read.

    path
        The key file.

    test
        Only tell what would change.

    Returns ``{"changes": {"mode": {"old", "new"}, "owner": {"old", "new"}}}``. Raises CommandExecutionError
    if the file does not exist, or still is as it was afterwards.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.secure_authkey
    """
    shell.check("corosync.secure_authkey", locals())
    real = shell.path(__opts__, path)
    changes = _differences(real)
    if changes and not test:
        try:
            os.chown(real, 0, 0)
            os.chmod(real, MODE)
        except OSError as exc:
            raise CommandExecutionError(f"{path}: {exc.strerror}") from exc
        left = _differences(real)
        if left:
            raise CommandExecutionError(
                f"{path} did not take {', '.join(left)}: is the file system read-only?"
            )
    return {"changes": changes}


def _differences(path):
    try:
        told = os.lstat(path)
    except OSError as exc:
        raise CommandExecutionError(f"{path}: {exc.strerror}; a join brings it: pvecm add") from exc
    if not stat.S_ISREG(told.st_mode):
        raise CommandExecutionError(f"{path} is no regular file: look at it by hand")
    found = {}
    if stat.S_IMODE(told.st_mode) != MODE:
        found["mode"] = {"old": f"{stat.S_IMODE(told.st_mode):04o}", "new": f"{MODE:04o}"}
    if (told.st_uid, told.st_gid) != (0, 0):
        found["owner"] = {"old": f"{told.st_uid}:{told.st_gid}", "new": "0:0"}
    return found
