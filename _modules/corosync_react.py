"""
A node asks the master for its rebuild by an event, and hears what the master answers.

Any accepted minion can send any event with any data. So the event only says "ask this node": the node keeps
what it asked for on its own disk, and tells the master when that asks.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import logging
import os
import secrets
import time

import salt.utils.path
from pve_corosync.node import files
from pve_corosync.ports import salt_module as shell

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

FILE = f"{files.RUN_DIR}/rebuild.json"
ASKED = f"{files.RUN_DIR}/rebuild-asked.json"
#: how long a node stands by what it asked for, in seconds.
ASKED_FOR_S = 600
#: what a node has that is, or was, in a cluster.
MEMBER = ("/etc/corosync/corosync.conf", "/etc/corosync/authkey")


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def ask_rebuild(node=None):
    """
    Note that this node wants to be rebuilt, and return the nonce to send to the master with the event.

    node
        Its name in the pillar, which the master is told when it asks.

    The state ``corosync.ring_layout`` calls it; what is noted is good once, for ten minutes.

    CLI Example:

    .. code-block:: bash

        salt-call corosync.ask_rebuild pve2
    """
    shell.check("corosync.ask_rebuild", locals())
    nonce = secrets.token_hex(16)
    files.ensure_folder(files.under(_root(), files.RUN_DIR))
    files.write_json(files.under(_root(), ASKED), {"time": time.time(), "nonce": nonce, "node": node})
    return nonce


def rebuild_wanted(nonce):
    """
    Tell whether this node asked for its rebuild, and has nothing of a cluster.

    nonce
        What the event had. Another one than this node's last is of an earlier event, or of one that somebody
        else sent: a hint like any other, so that who sends many of them keeps no node from its rebuild.

    Returns ``{"wanted": bool, "text": why not, "node": its name}``. The master asks this before it does
    anything. A yes is given once.

    CLI Example:

    .. code-block:: bash

        salt pve2 corosync.rebuild_wanted 6f1ed002ab5595859014ebf0951522d9
    """
    shell.check("corosync.rebuild_wanted", locals())
    asked = files.read_json(files.under(_root(), ASKED))
    if not asked:
        return {"wanted": False, "text": "this node did not ask"}
    if asked.get("nonce") != nonce:
        log.warning("asked because of an earlier event of this node, or of one that somebody else sent")
    os.unlink(files.under(_root(), ASKED))
    if not 0 <= time.time() - float(asked["time"]) <= ASKED_FOR_S:
        return {"wanted": False, "text": f"this node asked more than {ASKED_FOR_S} s ago"}
    there = [path for path in MEMBER if os.path.exists(files.under(_root(), path))]
    if there:
        return {"wanted": False, "text": f"this node is not freshly installed: it has {', '.join(there)}"}
    return {"wanted": True, "text": "", "node": asked.get("node")}


def hear_rebuild(result, text=""):
    """
    Keep what the master says of the rebuild of this node; ``corosync.rebuild_asked`` calls it.

    result
        ``begun``, or what the rebuild ended with: ``rebuilt``, ``already``, ``failed``, ``refused``.

    text
        What an operator would see.

    Returns True. The state ``corosync.ring_layout`` waits for it.

    CLI Example:

    .. code-block:: bash

        salt pve2 corosync.hear_rebuild begun
    """
    shell.check("corosync.hear_rebuild", locals())
    answer = {"time": time.time(), "result": str(result), "text": str(text)}
    files.ensure_folder(files.under(_root(), files.RUN_DIR))
    files.write_json(files.under(_root(), FILE), answer)
    return True


def rebuild_heard(since=0.0):
    """
    Return the last answer of the master as ``{"time", "result", "text"}``, or None.

    since
        The time of the epoch in seconds; an older answer is none.

    CLI Example:

    .. code-block:: bash

        salt pve2 corosync.rebuild_heard
    """
    shell.check("corosync.rebuild_heard", locals())
    answer = files.read_json(files.under(_root(), FILE))
    return answer if answer and answer["time"] >= float(since) else None


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")
