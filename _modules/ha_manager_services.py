"""
Stop and start the two HA services of this node in a way that resets nobody.

Part of the execution module ``ha_manager`` (Salt joins the files of one virtual name). Only for versions of
pve-ha-manager that cannot disarm, and for a cluster without quorum: ``cluster.ha.guard`` tells the order.

:depends: pve-ha-manager, pve_node, pmxcfs, systemd

.. versionadded:: 0.1.0
"""

import os
import socket
import time

import salt.utils.path
from pve_corosync.node import children, files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import systemd
from salt.exceptions import CommandExecutionError

__virtualname__ = "ha_manager"

LRM = "pve-ha-lrm"
CRM = "pve-ha-crm"
#: exists while a client of watchdog-mux holds the watchdog open (watchdog-mux.c).
ACTIVE = "/run/watchdog-mux.active"
MAX_WAIT = 600.0
#: an LRM writes its status every 10 s at most, and counts as dead when that is 30 s old (Status.pm).
SETTLE = 35.0
PAUSE = 0.5


def __virtual__():
    if salt.utils.path.which("ha-manager"):
        return __virtualname__
    return (False, "ha-manager is not installed (package pve-ha-manager)")


def stop_lrm(timeout=180):
    """
    Stop the LRM of this node, with its services frozen and left running, and wait until it ended.

    timeout
        Seconds, at most 600.

    To be done on all nodes before any CRM is stopped. Refused where it cannot work: with an open watchdog and
    without quorum the LRM would hold on to it, and systemd would kill it after an hour, which resets the
    node. Returns ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.stop_lrm
    """
    shell.check("ha_manager.stop_lrm", locals())
    if _running(LRM) and _watchdog():
        why = __salt__["pmxcfs.why_not"]()
        if why:
            raise CommandExecutionError(
                f"{why}, and the watchdog is open: the LRM would not let go of it before that is mended"
            )
        if not _running(CRM) and not _cluster_has_master():
            raise CommandExecutionError(
                "no CRM is active, so the LRM would wait for an answer for an hour and be killed: start"
                f" {CRM} first"
            )
    return _stop(LRM, timeout)


def stop_crm(timeout=120):
    """
    Stop the CRM of this node and wait until it ended and the watchdog is closed.

    timeout
        Seconds for all of it, at most 600.

    Refused while the LRM of this node runs, or another node's LRM holds its watchdog: LRMs go first, on all
    nodes. Returns ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.stop_crm
    """
    shell.check("ha_manager.stop_crm", locals())
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    if _running(CRM):
        if _running(LRM):
            raise CommandExecutionError(
                f"{LRM} still runs: it waits for the CRM's answer when it is stopped, so stop it first, on"
                " all nodes"
            )
        _wait_other_lrms(start, min(end, start + SETTLE))
    done = _stop(CRM, max(0.0, end - time.monotonic()))
    __salt__["ha_manager.wait_released"](max(0.0, end - time.monotonic()))
    return dict(done, watchdog=False, seconds=_since(start))


def start_crm(timeout=30):
    """
    Start the CRM of this node and read back that it runs: ``{"unit", "state", "changed", "watchdog",
    "seconds"}``.

    timeout
        Seconds, at most 600. All nodes must be members again first, or absent ones are fenced.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.start_crm
    """
    shell.check("ha_manager.start_crm", locals())
    return _start(CRM, timeout)


def start_lrm(timeout=30):
    """
    Start the LRM of this node and read back that it runs: ``{"unit", "state", "changed", "watchdog",
    "seconds"}``.

    timeout
        Seconds, at most 600. All nodes must be members again first.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.start_lrm
    """
    shell.check("ha_manager.start_lrm", locals())
    return _start(LRM, timeout)


def _since(start):
    return round(time.monotonic() - start, 3)


def _watchdog():
    root = shell.root(__opts__)
    return os.path.isdir(files.under(root, ACTIVE))


def _state(unit):
    told = __salt__["pve_node.units"]([unit]).get(unit) or {}
    return told["state"] if told.get("loaded") else "not-found"


def _running(unit):
    return _state(unit) not in ("inactive", "failed", "not-found")


def _cluster_has_master():
    return (__salt__["ha_manager.status"]()["master"] or {}).get("status") == "active"


def _wait_other_lrms(start, end):
    """
    Wait until the status, which is up to 10 s behind, names no LRM elsewhere that may still need the CRM's
    answer.
    """
    own = socket.gethostname().split(".")[0]
    while True:
        told = __salt__["ha_manager.status"]()
        busy = [
            name
            for name, lrm in told["lrms"].items()
            if name != own and told["quorate"] and "active" in (lrm["watchdog"], lrm["status"])
        ]
        if not busy:
            return
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"the LRM of {', '.join(busy)} is still active after {_since(start):.0f} s, and a CRM that"
                " stops now leaves it without an answer: stop_lrm on all nodes, then stop_crm"
            )
        time.sleep(PAUSE)


def _stop(unit, timeout):
    """
    Stop a unit without a time limit of systemd's own that we would share, and wait for it.
    """
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    changed = _running(unit)
    if changed:
        _systemctl(["stop", "--no-block", systemd.full_name(unit)])
    while _running(unit):
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"{unit} has not ended after {_since(start):.0f} s; it goes on ending: do not kill it, do not"
                f" take quorum away; see journalctl -u {unit}"
            )
        time.sleep(PAUSE)
    return _outcome(unit, changed, start)


def _start(unit, timeout):
    start = time.monotonic()
    changed = not _running(unit)
    if changed:
        _systemctl(["start", systemd.full_name(unit)], timeout=shell.seconds(timeout, most=MAX_WAIT))
    done = _outcome(unit, changed, start)
    if done["state"] != "active":
        raise CommandExecutionError(f"{unit} is {done['state']} after its start: see journalctl -u {unit}")
    return done


def _systemctl(arguments, timeout=15.0):
    result = children.run(["systemctl", *arguments], timeout=timeout)
    if result["rc"] != 0:
        raise CommandExecutionError(f"systemctl {arguments[0]} {arguments[-1]}: {children.complaint(result)}")


def _outcome(unit, changed, start):
    state = _state(unit)
    return {
        "unit": unit,
        "state": state,
        "changed": changed,
        "watchdog": _watchdog(),
        "seconds": _since(start),
    }
