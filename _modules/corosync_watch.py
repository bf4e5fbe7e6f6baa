"""
What the watch asks of a node: the facts, and a look at the daemon at the same moment.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

import time

import salt.utils.path
from pve_corosync.node import beacon_note
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

    Returns ``{"facts": as of corosync.facts, "look": as of corosync_look.look, "dead_for": {node: {link:
    seconds}}, "ago": seconds since the look}``; ``dead_for`` is what the beacon saw, empty without one.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.watch_facts
    """
    shell.check("corosync.watch_facts", locals())
    look = __salt__["corosync_look.look"](patience=PATIENCE_S, counts=True)
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    told = {
        "look": look,
        "dead_for": beacon_note.dead_for(shell.root(__opts__), begun),
        "facts": __salt__["corosync.facts"](timeout=timeout),
    }
    return told | {"ago": round(time.clock_gettime(time.CLOCK_BOOTTIME) - begun, 2)}
