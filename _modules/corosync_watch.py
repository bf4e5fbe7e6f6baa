"""
What the watch asks of a node: the facts, and a look at the daemon at the same moment.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

import time

import salt.utils.path
from pve_corosync.ports import salt_module as shell

__virtualname__ = "corosync"

PATIENCE_S = 1.0


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def watch_facts(timeout=3.0):
    """
    Return what the watch needs to know of this node, in one call.

    timeout
        Seconds that the tools may take.

    Returns ``{"facts": as of corosync.facts, "look": as of corosync_look.look, "ago": seconds since the
    look}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.watch_facts
    """
    shell.check("corosync.watch_facts", locals())
    look = __salt__["corosync_look.look"](patience=PATIENCE_S, counts=True)
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    facts = __salt__["corosync.facts"](timeout=timeout)
    passed = time.clock_gettime(time.CLOCK_BOOTTIME) - begun
    return {"look": look, "facts": facts, "ago": round(passed, 2)}
