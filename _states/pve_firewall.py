"""
States for the firewall between the nodes of a cluster; see the execution module ``pve_firewall``.

.. versionadded:: 0.1.0
"""

from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pve_firewall"


def __virtual__():
    if "pve_firewall.apply" in __salt__:
        return __virtualname__
    return (False, "the execution module pve_firewall is not there: no pve-firewall and no nft on this node")


def managed(name, networks=None, management=None, ssh=None, confirm=None):
    """
    Hold corosync's UDP ports and ssh open to the peers and closed to everyone else; ssh only with management.

    name
        Any text.

    networks
        ``{network: {node: IP address}}``: every network in use. Default: all of the pillar ``corosync``, and
        its ``firewall: {management, ssh}`` with them.

    management
        Addresses and CIDRs from which ssh stays possible besides the nodes, ``[]`` for none. Without it ssh
        from others is left as it is, and the comment says so.

    ssh
        ``peers`` or ``open``.

    confirm
        Seconds after which a table of nftables that was changed goes back to what it was, unless somebody
        calls ``pve_firewall.confirm``; default the pillar ``corosync_confirm``. Without either an answer of
        the master is enough.

    .. code-block:: yaml

        corosync firewall:
          pve_firewall.managed: []

        corosync firewall without the pillar:
          pve_firewall.managed:
            - networks: {vrack: {pve1: 10.66.0.1, pve2: 10.66.0.2}}
            - management: [192.0.2.0/24]
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    confirm = __pillar__.get("corosync_confirm") if confirm is None else confirm
    how = {"management": management, "ssh": ssh, "test": __opts__["test"]}
    try:
        shell.check("state.managed", locals())
        done = __salt__["pve_firewall.apply"](networks, **how, **({"confirm": confirm} if confirm else {}))
    except (CommandExecutionError, SaltInvocationError) as exc:
        return dict(ret, result=False, comment=str(exc))
    notes = "".join(f"; {note}" for note in done["notes"])
    if not done["changed"]:
        return dict(ret, comment=f"{done['backend']} lets the peers in already{notes}")
    ret["changes"] = {"diff": done["diff"] or "loaded again"}
    if __opts__["test"]:
        return dict(ret, result=None, comment=f"{done['backend']} would be changed{notes}")
    return dict(ret, comment=f"{done['backend']} was changed and read back{notes}")


def absent(name):
    """
    Take out everything that ``pve_firewall.managed`` put in; what others wrote stays.

    name
        Any text.

    .. code-block:: yaml

        no corosync firewall:
          pve_firewall.absent: []
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "nothing of ours is there"}
    try:
        shell.check("state.absent", locals())
        done = __salt__["pve_firewall.remove"](test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as exc:
        return dict(ret, result=False, comment=str(exc))
    if done["changed"]:
        ret["changes"] = {"removed": done["removed"]}
        ret["comment"] = f"{', '.join(done['removed'])} {'would be' if __opts__['test'] else 'was'} removed"
        ret["result"] = None if __opts__["test"] else True
    return ret
