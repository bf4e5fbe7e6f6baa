"""
What a reactor may start in the name of a node.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import logging

from salt.exceptions import SaltInvocationError

try:
    import ring_layout
    import ring_sequence
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_layout, ring_sequence

log = logging.getLogger(__name__)

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def rebuild_asked(minion, node):
    """
    Rebuild a node because its own minion asked for it by an event; ``states/reactor/rebuild.sls`` calls this.

    minion
        The minion that sent the event, as the master knows it.

    node
        The node's name in that minion's pillar. One that the pillar gives to another minion is refused.

    Returns what ``corosync.rebuild`` returns, which refuses a node that is not empty. Raises
    SaltInvocationError, and does nothing, if the minion may not ask for this node.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.rebuild_asked pve2 pve2
    """
    try:
        pillar = ring_layout.plain((__salt__["pillar.show_pillar"](str(minion)) or {}).get("corosync"))
        order = ring_sequence.Order(pillar or {})
    except ring_layout.LayoutError as exc:
        raise SaltInvocationError(f"minion {minion!r}: {exc}; nothing was done") from exc
    mine = [name for name, owner in order.minions.items() if owner == minion]
    if node not in mine:
        raise SaltInvocationError(
            f"minion {minion!r} asked to rebuild node {node!r}; its pillar allows"
            f" {', '.join(mine) or 'none'}: nothing was done"
        )
    log.info("minion %s asked to rebuild %s", minion, node)
    return __salt__["corosync.rebuild"](
        node, cluster=order.layout["cluster_name"], progress=False, brief=True
    )
