"""
Hold the primary network on this node: its names, and the address that PVE's own tools use for it.

Part of the execution module ``pve_node`` (Salt joins the files of one virtual name). It is what highstate
calls; the runner moves all nodes in one go with the functions beneath it.

:depends: pmxcfs (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import time

import salt.utils.path
from salt.exceptions import CommandExecutionError

try:
    import ring_alone
    import ring_hold
    import ring_layout
    import ring_run
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_alone, ring_hold, ring_layout, ring_run

__virtualname__ = "pve_node"

WAIT = 300


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def hold_primary(layout=None, test=False, wait=WAIT):
    """
    Make this node's names and its address in ``/etc/pve/.members`` those of a layout's primary network.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Only tell what would change.

    wait
        Seconds to wait for other nodes: only one node of the cluster restarts its pve-cluster at a time.

    The names come first (``pve_node.names``). If ``.members`` shows another address of this node, its
    pve-cluster is restarted and read back, and the services that keep addresses are refreshed. Without quorum
    nothing is touched.

    Returns ``{"changes": {"hosts": diff, "members": {"old", "new"}}, "notes": [text]}``. Raises
    CommandExecutionError with what is in the way.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_node.hold_primary test=true
    """
    order = _order(layout)
    addresses = order.layout["primary"]["addresses"]
    wanted = addresses[order.own]
    told = __salt__["pve_node.names"](addresses, test=True)
    seen = __salt__["pve_node.members"]()["nodes"].get(order.own)
    changes = {"hosts": told["diff"]} if told["changed"] else {}
    if seen != told["own"]["address"]:
        changes["members"] = {"old": seen, "new": told["own"]["address"]}
    if not changes or test:
        return {"changes": changes, "notes": told["notes"]}
    if not __salt__["pmxcfs.state"]()["writable"]:
        raise CommandExecutionError(
            "/etc/pve is not writable, so the names stay as they are; quorum comes first:"
            f" {order.on_master()}"
        )
    notes = list(told["notes"])
    holder = {
        "node": order.own,
        "what": "primary network",
        "run": time.strftime("%Y%m%dT%H%M%S", time.gmtime()),
    }
    try:
        with ring_hold.Lock(holder, wait, (__opts__.get("pve_corosync") or {}).get("root")):
            if "hosts" in changes:
                __salt__["pve_node.names"](addresses)
            if "members" in changes:
                __salt__["pve_node.restart_pve_cluster"](wanted)
                failed = __salt__["pve_node.reload_services"]()["failed"]
                notes += [f"not refreshed: {', '.join(failed)}; systemctl status says why"] if failed else []
    except (ring_hold.Held, ring_hold.LockError) as exc:
        raise CommandExecutionError(f"{exc}; nothing was changed") from exc
    return {"changes": changes, "notes": notes}


def _order(layout):
    pillar = ring_layout.plain(__pillar__.get("corosync"))
    try:
        return ring_alone.Order(pillar, __opts__.get("id"), __salt__["corosync.node_name"](), layout)
    except (ring_run.RunError, ring_layout.LayoutError) as exc:
        raise CommandExecutionError(str(exc)) from exc
