"""
What a run has to undo at its end, on the node's own disk before it is done.

This file does I/O on purpose. A run may be killed between the two, so the next one must find it here; it
stays over a boot.
"""

import os
import time

from pve_corosync.node import files

RECORD = f"{files.STATE_DIR}/undo.json"


def read(root):
    """
    Return what is to be undone here, ``{"txn", "since", "undo": [entry]}``, or None.
    """
    return files.read_json(files.under(root, RECORD))


def keep(root, txn, entries):
    """
    Note what a run has to undo, in place of what was noted before.

    entries : list
        ``{"function", "nodes", "kwargs", "text"}`` each, in the order in which they are to be called.
    """
    path = files.under(root, RECORD)
    files.ensure_folder(os.path.dirname(path))
    files.write_json(path, {"txn": txn, "since": time.time(), "undo": list(entries)})


def drop(root):
    """
    Forget it, and return whether there was something.
    """
    path = files.under(root, RECORD)
    if not os.path.exists(path):
        return False
    os.unlink(path)
    return True
