"""
What a Proxmox VE node is known by in its cluster, as states: names, address, certificate, host keys.

:depends: the execution modules ``pve_node`` and ``pve_certs``

.. versionadded:: 0.1.0
"""

from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pve_node"


def __virtual__():
    if "pve_node.hold_primary" in __salt__:
        return __virtualname__
    return (False, "the execution module pve_node is not there: no Proxmox VE node, or nothing was synced")


def primary(name, layout=None, wait=300):
    """
    Hold a layout's primary network: the cluster's names in ``/etc/hosts``, and this node's address in PVE.

    name
        Any text.

    layout
        A layout of the pillar; default the one that the pillar wants.

    wait
        Seconds to wait for other nodes, since only one restarts its pve-cluster at a time.

    .. code-block:: yaml

        names:
          pve_node.primary:
            - require: [corosync: links]
    """
    ret = {
        "name": name,
        "changes": {},
        "result": True,
        "comment": "names and address are those of the primary network",
    }
    try:
        shell.check("state.primary", locals())
        told = __salt__["pve_node.hold_primary"](layout, test=__opts__["test"], wait=wait)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"result": False, "comment": str(exc)}
    ret["changes"] = told["changes"]
    if told["changes"]:
        parts = {
            "hosts": "/etc/hosts",
            "members": "the address in /etc/pve/.members (pve-cluster restarts)",
            "services": "the addresses that services hold on to",
        }
        what = " and ".join(text for key, text in parts.items() if key in told["changes"])
        ret["comment"] = f"{what} would be changed" if __opts__["test"] else f"{what} changed"
        ret["result"] = None if __opts__["test"] else True
    return _ended(ret, told, told["notes"])


def trusted(name, layout=None):
    """
    Have this node's certificate cover its name and address, and its host key be known to the others.

    name
        Any text.

    layout
        As for ``pve_node.primary``: ``test=True`` expects the address that it gives.

    PVE's ``updatecerts`` writes both, and only if something is missing; a new certificate has a new
    fingerprint, and the services are reloaded for it.

    .. code-block:: yaml

        keys:
          pve_node.trusted: []
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "certificate and host key are in order"}
    try:
        shell.check("state.trusted", locals())
        told = __salt__["pve_node.hold_trust"](layout, test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"result": False, "comment": str(exc)}
    ret["changes"] = told["changes"]
    wrong = (told["changes"].get("problems") or {}).get("old") or []
    if wrong:
        ret["comment"] = "pvecm updatecerts has put them in order"
    elif told["changes"]:
        ret["comment"] = "the services have the certificate"
    if told["changes"] and __opts__["test"]:
        said = f"pvecm updatecerts would be run: {'; '.join(wrong)}" if wrong else "services would reload"
        ret.update(result=None, comment=said)
    return _ended(ret, told)


def _ended(ret, told, notes=()):
    """
    Return the result with its notes, and with what went wrong after something was changed.
    """
    if told["failed"]:
        ret["result"] = False
    ret["comment"] = "\n".join(filter(None, [ret["comment"], *notes, told["failed"]]))
    return ret
