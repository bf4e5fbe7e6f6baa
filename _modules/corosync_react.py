"""
What the master answers to a node that asked for its rebuild by an event.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import time

import salt.utils.path
from pve_corosync.node import files

__virtualname__ = "corosync"

FILE = f"{files.RUN_DIR}/rebuild.json"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


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
    answer = files.read_json(files.under(_root(), FILE))
    return answer if answer and answer["time"] >= float(since) else None


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")
