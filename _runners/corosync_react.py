"""
What a reactor may start in the name of a node.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import logging

from pve_corosync.pillar import layouts
from pve_corosync.run.request import Request
from salt.exceptions import SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

TELL_TIMEOUT = 5


def __virtual__():
    return __virtualname__


def rebuild_asked(minion, node):
    """
    Rebuild a node because its own minion asked for it by an event; ``states/reactor/rebuild.sls`` calls this.

    minion
        The minion that sent the event, as the master knows it.

    node
        The node's name in that minion's pillar. One that the pillar gives to another minion is refused.

    The minion is told when the rebuild begins, and how it ended. Returns what ``corosync.rebuild`` returns,
    which refuses a node that is not empty. Raises SaltInvocationError, and does nothing, if the minion may
    not ask for this node.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.rebuild_asked pve2 pve2
    """
    try:
        cluster = _allowed(str(minion), node)
    except SaltInvocationError as exc:
        _tell(minion, "refused", str(exc))
        raise
    log.info("minion %s asked to rebuild %s", minion, node)
    _tell(minion, "begun")
    report = __salt__["corosync.rebuild"](node, cluster=cluster, progress=False, brief=True)
    _tell(minion, report["result"], report["report"])
    return report


def _allowed(minion, node):
    """
    Return the name of the cluster whose node this minion is; raise SaltInvocationError if it is not.
    """
    try:
        pillar = layouts.plain((__salt__["pillar.show_pillar"](minion) or {}).get("corosync"))
        request = Request(pillar or {})
    except layouts.LayoutError as exc:
        raise SaltInvocationError(f"minion {minion!r}: {exc}; nothing was done") from exc
    mine = [name for name, owner in request.minions.items() if owner == minion]
    if node not in mine:
        raise SaltInvocationError(
            f"minion {minion!r} asked to rebuild node {node!r}; its pillar allows"
            f" {', '.join(mine) or 'none'}: nothing was done"
        )
    return request.layout["cluster_name"]


def _tell(minion, result, text=""):
    """
    Tell the minion; it only saves it some waiting, so that no error of this may end a rebuild.
    """
    try:
        call = {"result": result, "text": text}
        __salt__["salt.execute"](
            [str(minion)], "corosync.hear_rebuild", tgt_type="list", timeout=TELL_TIMEOUT, kwarg=call
        )
    except Exception as exc:  # pylint: disable=broad-except
        log.warning("minion %s could not be told of its rebuild: %r", minion, exc)
