"""
What a Proxmox VE node is known by in its cluster, as states: names, address, certificate, host keys.

:depends: the execution modules ``pve_node`` and ``pve_certs``

.. versionadded:: 0.1.0
"""

from salt.exceptions import CommandExecutionError

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
        told = __salt__["pve_node.hold_primary"](layout, test=__opts__["test"], wait=wait)
    except CommandExecutionError as exc:
        return ret | {"result": False, "comment": str(exc)}
    ret["changes"] = told["changes"]
    if told["changes"]:
        parts = {"hosts": "/etc/hosts", "members": "the address in /etc/pve/.members (pve-cluster restarts)"}
        what = " and ".join(text for key, text in parts.items() if key in told["changes"])
        ret["comment"] = f"{what} would be changed" if __opts__["test"] else f"{what} changed"
        ret["result"] = None if __opts__["test"] else True
    ret["comment"] = "\n".join([ret["comment"], *told["notes"]])
    return ret


def trusted(name):
    """
    Have this node's certificate cover its name and address, and its host key be known to the others.

    name
        Any text.

    PVE's ``updatecerts`` writes both, and only if something is missing; a new certificate has a new
    fingerprint.

    .. code-block:: yaml

        keys:
          pve_node.trusted: []
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "certificate and host key are in order"}
    try:
        before = __salt__["pve_certs.facts"]()
        wrong = _own_problems(before)
        if not wrong:
            return ret
        ret["changes"] = {"problems": {"old": wrong, "new": []}}
        if __opts__["test"]:
            return ret | {"result": None, "comment": "pvecm updatecerts would be run: " + "; ".join(wrong)}
        told = __salt__["pve_certs.update"]()
    except CommandExecutionError as exc:
        return ret | {"changes": {}, "result": False, "comment": str(exc)}
    if told["changed"]:
        ret["changes"]["fingerprint"] = {"old": told["before"], "new": told["after"]}
    return ret | {"comment": "pvecm updatecerts has put them in order"}


def _own_problems(facts):
    """
    Return what this node itself can put right; another node's host key file is that node's part.
    """
    own = facts["known_hosts"].get(facts["node"]) or {}
    problems = [text for text in facts["problems"] if text.startswith("certificate")]
    return problems + ([own["why"]] if own and not own["ok"] else [])
