"""
What a reactor may start in the name of a node.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import hashlib
import logging
import os
import re
import time

from pve_corosync import arguments
from pve_corosync.findings import finding
from pve_corosync.pillar import layouts
from pve_corosync.ports import master, salt_master
from pve_corosync.run.request import Request

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

TELL_TIMEOUT = 5
#: how long after one event of a minion the next is passed over, in seconds: a flood costs little.
PAUSE_S = 2
_NONCE = re.compile(r"[0-9a-f]{32}")


def __virtual__():
    return __virtualname__


def rebuild_asked(minion=None, node=None, nonce=None, **kwargs):
    """
    Rebuild a node because its own minion asked for it by an event; ``states/reactor/rebuild.sls`` calls this.

    minion
        The minion that the event names as its sender. That proves nothing: any accepted minion can name any.

    node
        The node's name in that minion's pillar, by the event; what the minion itself says counts.

    nonce
        What the node noted on its own disk when it asked. The node is asked before anything else: no lock is
        taken, no other node is asked, and nobody is told anything for what a node did not want.

    An event that another minion sent in its name does no harm: a node that wants to be rebuilt says so to it
    as well. The minion is told when the rebuild begins, and how it ended. Returns what ``corosync.rebuild``
    returns, which refuses a node that is not empty, and ends where an operator's command waits for it.
    Nothing is done if the minion may not ask for this node, or did not; the exit code is 1 then.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.rebuild_asked pve2 pve2 6f1ed002ab5595859014ebf0951522d9
    """
    allowed = ("minion", "node", "nonce")
    work = lambda: _asked(minion, node, nonce)  # noqa: E731
    return salt_master.guarded("rebuild_asked", kwargs, allowed, False, work, __context__, locals())


def _asked(minion, node, nonce):
    if str(minion) not in salt_master.of(globals()).accepted([str(minion)], "list"):
        # each name that an event made up would cost a question, and leave a stamp
        raise _refused(f"minion {minion!r} has no accepted key: nothing was done")
    _pause(str(minion))
    node = _wanted(str(minion), nonce) or node
    try:
        cluster = _allowed(str(minion), node)
    except arguments.RunError as exc:
        _tell(minion, "refused", str(exc))
        raise
    log.info("minion %s asked to rebuild %s", minion, node)
    _tell(minion, "begun")
    __context__[master.ASKED] = True
    try:
        report = __salt__["corosync.rebuild"](node, cluster=cluster, progress=False, brief=True)
    finally:
        del __context__[master.ASKED]
    _tell(minion, report["result"], report["report"])
    return report


def _refused(text):
    """
    Return the error with which nothing is done; Salt would turn its own for bad arguments into success.
    """
    remedy = "if it is to be done all the same: salt-run corosync.rebuild NODE"
    return arguments.RunError(finding("argument-bad", text, remedy=remedy), arguments.FAILED)


def _pause(minion):
    """
    Raise RunError if an event of this minion came just before; the node sends its own again.
    """
    folder = os.path.join(__opts__["cachedir"], "pve-corosync-asked")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    stamp = os.path.join(folder, hashlib.sha256(minion.encode()).hexdigest()[:32])
    try:
        passed = time.time() - os.stat(stamp).st_mtime
    except FileNotFoundError:
        passed = PAUSE_S
    if 0 <= passed < PAUSE_S:
        raise _refused(f"minion {minion!r} asked less than {PAUSE_S} s ago: nothing was done")
    with open(stamp, "w", encoding="utf-8"):
        os.utime(stamp)


def _wanted(minion, nonce):
    """
    Ask the minion whether it wants to be rebuilt, and return as which node (None: it does not say); raise
    RunError if it does not want to.
    """
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise _refused(f"minion {minion!r}: an event without the node's nonce: nothing was done")
    answers = __salt__["salt.execute"](
        [minion], "corosync.rebuild_wanted", tgt_type="list", timeout=TELL_TIMEOUT, kwarg={"nonce": nonce}
    )
    answer = (answers or {}).get(minion)
    if not isinstance(answer, dict) or answer.get("wanted") is not True:
        why = answer.get("text") if isinstance(answer, dict) else answer or "it did not answer"
        raise _refused(f"minion {minion!r} does not want to be rebuilt ({why}): nothing was done")
    return answer.get("node")


def _allowed(minion, node):
    """
    Return the name of the cluster whose node this minion is; raise RunError if it is not.
    """
    try:
        pillar = layouts.plain((__salt__["pillar.show_pillar"](minion) or {}).get("corosync"))
        request = Request(pillar or {})
    except layouts.LayoutError as exc:
        raise _refused(f"minion {minion!r}: {exc}; nothing was done") from exc
    mine = [name for name, owner in request.minions.items() if owner == minion]
    if node not in mine:
        raise _refused(
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
