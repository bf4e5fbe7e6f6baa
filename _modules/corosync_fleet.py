"""
What ``salt-run corosync.fleet`` asks of every node.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

import salt.utils.path
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_module as shell

__virtualname__ = "corosync"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def fleet_facts(timeout=3):
    """
    Return what ``corosync.facts`` does, and the pillar ``corosync`` that this minion has.

    timeout
        As for ``corosync.facts``, in seconds.

    The pillar is the one of the minion's last refresh: to compile those of a whole fleet costs its master
    minutes. Returns ``{"facts", "pillar"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.fleet_facts
    """
    shell.check("corosync.fleet_facts", locals())
    return {
        "facts": __salt__["corosync.facts"](timeout=timeout),
        "pillar": layouts.plain(__pillar__.get("corosync")),
    }
