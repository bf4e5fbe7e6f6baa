"""
The way back that a node keeps ready for a run: what to go back to, and the timer that does it.

This file does I/O on purpose. The timer is a transient one of systemd, so that it needs neither minion nor
master nor network; it starts ``salt-call --local corosync.go_back`` with the pillar that the run staged here.
It does not outlive a reboot.
"""

import json
import os

from pve_corosync.node import children, files

UNIT = "pve-corosync-back"
LIMIT_S = 15.0
RECORD = f"{files.STATE_DIR}/back.json"
PILLAR = f"{files.STATE_DIR}/back-pillar"


class NotArmed(Exception):
    """
    The timer could not be set; the text says why.
    """


def read(root):
    """
    Return what is kept ready, ``{"txn", "layout", "quorate", "quiet", "confirm", "due"}``, or None.
    """
    return files.read_json(files.under(root, RECORD))


def arm(root, record, pillar, command, after):
    """
    Keep a way back ready in place of any other, and raise NotArmed if that does not go.

    record : dict
        What :func:`read` returns.

    pillar : dict
        The pillar ``corosync`` with which to go back; None leaves the one that is staged.

    command : list
        The program to start, without the folder of the pillar.

    after : float
        Seconds until it is started; it looks itself whether there is a reason.
    """
    folder = files.under(root, PILLAR)
    disarm(root, keep_pillar=pillar is None)
    try:
        files.ensure_folder(folder)
        if pillar is not None:
            files.replace(os.path.join(folder, "top.sls"), b"base:\n  '*':\n    - layout\n", 0o600)
            text = "#!json\n" + json.dumps({"corosync": pillar}) + "\n"
            files.replace(os.path.join(folder, "layout.sls"), text.encode(), 0o600)
        files.write_json(files.under(root, RECORD), record)
    except OSError as exc:
        raise NotArmed(f"{exc.filename or folder}: {exc.strerror or exc}") from exc
    call = ["systemd-run", f"--unit={UNIT}", f"--on-active={after:g}", "--timer-property=AccuracySec=1s"]
    call += ["--property=Type=oneshot", "--collect", command[0], f"--pillar-root={folder}", *command[1:]]
    result = children.run(call, timeout=LIMIT_S)
    if result["rc"] != 0:
        forget(root)
        raise NotArmed(f"systemd-run: {children.complaint(result)}")


def disarm(root, txn=None, keep_pillar=False):
    """
    Stop the timer and drop what was kept ready, with ``txn`` only that of this run; return whether there was
    one.
    """
    record = read(root)
    if not record or (txn is not None and record["txn"] != txn):
        return False
    children.run(["systemctl", "stop", f"{UNIT}.timer", f"{UNIT}.service"], timeout=LIMIT_S)
    forget(root, keep_pillar)
    return True


def forget(root, keep_pillar=False):
    """
    Drop what was kept ready, and leave the timer: for the process that it has started.
    """
    paths = [files.under(root, RECORD)]
    paths += [] if keep_pillar else [os.path.join(files.under(root, PILLAR), "layout.sls")]
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)
