"""
HA of Proxmox VE on this node: is its watchdog armed, and the ways to release it around a loss of quorum.

Where pve-ha-manager is 5.1.3 or newer, HA is disarmed and armed for the whole cluster; else the LRMs of all nodes
are stopped, then the CRMs. Which of the two a plan needs, if any, is decided by ``ring_ha.guard``; these functions
carry it out, and wait for the effect. Nothing here ends or kills a process: an LRM that is killed resets its node.

:depends: pve-ha-manager, pve_node, pmxcfs, systemd
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module below
    that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import os
import socket
import time

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import ring_children
    import ring_files
    import ring_ha
    import ring_output
    import ring_units
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import (
        ring_children,
        ring_files,
        ring_ha,
        ring_output,
        ring_units,
    )

log = logging.getLogger(__name__)

__virtualname__ = "ha_manager"

LRM = "pve-ha-lrm"
CRM = "pve-ha-crm"
MUX = "watchdog-mux"
#: exists while a client of watchdog-mux holds the watchdog open (watchdog-mux.c).
ACTIVE = "/run/watchdog-mux.active"
RESOURCES = "ha/resources.cfg"

MODES = ("freeze", "ignore")
STATUS_TIMEOUT = 15.0
#: a crm-command only puts a line into a queue; it waits up to 10 s for the cluster-wide lock.
COMMAND_TIMEOUT = 30.0
MAX_WAIT = 600.0
#: an LRM writes its status every 10 s at most, and counts as dead when that is 30 s old (Status.pm).
SETTLE = 35.0
#: how often: the status costs a Perl process, a unit or a directory almost nothing.
PAUSE = 0.5


def __virtual__():
    if salt.utils.path.which("ha-manager"):
        return __virtualname__
    return (False, "ha-manager is not installed (package pve-ha-manager)")


def facts():
    """
    Return the HA facts of this node, without the slow ``ha-manager`` itself.

    Returns ``{"configured": bool|None, "armed": bool, "lrm": text, "crm": text, "watchdog": bool,
    "disarm_supported": bool, "state": text}``: ``configured`` is None when ``/etc/pve`` could not be read; ``lrm``
    and ``crm`` are systemd's ActiveState (``active``, ``inactive``, ``failed``, …, ``not-found``); ``watchdog`` is
    whether any client of watchdog-mux holds it open, which is what ``armed`` goes by.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.facts
    """
    units = _units()
    watchdog = _watchdog()
    found = {
        "configured": _configured(),
        "armed": watchdog,
        "lrm": units[LRM],
        "crm": units[CRM],
        "watchdog": watchdog,
        "disarm_supported": _disarm_supported(),
    }
    found["state"] = ring_ha.describe(found)
    return found


def status():
    """
    Return what ``ha-manager status`` prints on this node, as data; it works without quorum too, with old values then.

    Returns ``{"quorate", "master", "fencing", "resource_mode", "lrms", "services", "configured", "armed",
    "certain"}`` (see ``ring_output.ha_status``). Raises CommandExecutionError if the tool fails.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.status
    """
    result = ring_children.run(["ha-manager", "status"], timeout=STATUS_TIMEOUT)
    if result["rc"] != 0:
        raise CommandExecutionError(f"ha-manager status: {ring_children.complaint(result)}")
    try:
        return ring_output.ha_status(ring_children.text(result))
    except ring_output.OutputError as exc:
        raise CommandExecutionError(str(exc)) from exc


def armed():
    """
    Tell whether the watchdog is armed on this node, with everything that speaks for it.

    Returns ``{"armed": bool, "cluster": bool|None, "evidence": {"watchdog", "lrm", "crm", "status"}}``: ``armed`` is
    this node's open watchdog, ``cluster`` is whether the status names any node whose watchdog may be open (None
    if the status could not be read; ``evidence.status`` then has the reason).

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.armed
    """
    units = _units()
    evidence = {"watchdog": _watchdog(), "lrm": units[LRM], "crm": units[CRM], "status": None}
    try:
        told = status()
    except CommandExecutionError as exc:
        evidence["status"] = str(exc)
        return {"armed": evidence["watchdog"], "cluster": None, "evidence": evidence}
    evidence["status"] = {key: told[key] for key in ("quorate", "master", "fencing", "lrms", "certain")}
    return {"armed": evidence["watchdog"], "cluster": told["armed"], "evidence": evidence}


def disarm(mode="freeze", timeout=120):
    """
    Disarm HA for the whole cluster and wait until the status shows it and this node's watchdog is closed.

    mode
        ``freeze``: services are left as they run; ``ignore``: they can be managed by hand meanwhile.

    timeout
        Seconds, at most 600. The CRM puts it off while a service is being fenced, recovered or moved.

    Call it on one node only, with quorum, and wait on the others with ``ha_manager.wait_released``. Disarmed already
    is no error. Returns ``{"changed", "fencing", "lrms", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.disarm
    """
    if mode not in MODES:
        raise SaltInvocationError(f"mode {mode!r}: allowed: {', '.join(MODES)}")
    if not _disarm_supported():
        raise CommandExecutionError(
            "this pve-ha-manager cannot disarm (5.1.3 or newer can): stop_lrm on all nodes, then stop_crm on all"
        )
    changed = status()["fencing"] != "disarmed"
    if changed:
        _crm_command("disarm-ha", mode)
    return dict(_wait_fencing(True, timeout), changed=changed)


def arm(timeout=120):
    """
    Arm HA again for the whole cluster and wait until the status no longer says disarmed.

    timeout
        Seconds, at most 600.

    Returns ``{"changed", "fencing", "lrms", "watchdog", "seconds"}``; not disarmed is no error. The watchdogs open
    when the LRMs have something to do.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.arm
    """
    changed = status()["fencing"] in ("disarmed", "disarming")
    if changed:
        _crm_command("arm-ha")
    return dict(_wait_fencing(False, timeout), changed=changed)


def wait_released(timeout=120):
    """
    Wait until no client holds this node's watchdog open: ``{"watchdog": false, "seconds": float}``.

    timeout
        Seconds, at most 600. Raises CommandExecutionError when it is over.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.wait_released 60
    """
    start = time.monotonic()
    end = start + _seconds(timeout)
    while _watchdog():
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"the watchdog is still open after {_since(start):.0f} s ({ACTIVE} exists): see journalctl -u {MUX}"
                f" -u {LRM} -u {CRM}; do not take quorum away now"
            )
        time.sleep(PAUSE)
    return {"watchdog": False, "seconds": _since(start)}


def stop_lrm(timeout=180):
    """
    Stop the LRM of this node, with its services frozen and left running, and wait until it ended.

    timeout
        Seconds, at most 600.

    To be done on all nodes before any CRM is stopped. Refused where it cannot work: with an open watchdog and
    without quorum the LRM would hold on to it, and systemd would kill it after an hour, which resets the node.
    Returns ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.stop_lrm
    """
    if _running(LRM) and _watchdog():
        if not __salt__["pmxcfs.state"]()["writable"]:
            raise CommandExecutionError(
                "no quorum, and the watchdog is open: the LRM would not let go of it. Bring quorum back first"
            )
        if not _running(CRM) and not _cluster_has_master():
            raise CommandExecutionError(
                f"no CRM is active, so the LRM would wait for an answer for an hour and be killed: start {CRM} first"
            )
    return _stop(LRM, timeout)


def stop_crm(timeout=120):
    """
    Stop the CRM of this node and wait until it ended and the watchdog is closed.

    timeout
        Seconds, at most 600.

    Refused while the LRM of this node runs, or another node's LRM holds its watchdog: LRMs go first, on all nodes.
    Returns ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.stop_crm
    """
    if _running(CRM):
        if _running(LRM):
            raise CommandExecutionError(
                f"{LRM} still runs: it waits for the CRM's answer when it is stopped, so stop it first, on all nodes"
            )
        start = time.monotonic()
        _wait_other_lrms(start, start + min(_seconds(timeout), SETTLE))
    done = _stop(CRM, timeout)
    wait_released(timeout)
    return dict(done, watchdog=False)


def start_crm(timeout=30):
    """
    Start the CRM of this node and read back that it runs: ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    timeout
        Seconds, at most 600. All nodes must be members again first, or absent ones are fenced.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.start_crm
    """
    return _start(CRM, timeout)


def start_lrm(timeout=30):
    """
    Start the LRM of this node and read back that it runs: ``{"unit", "state", "changed", "watchdog", "seconds"}``.

    timeout
        Seconds, at most 600. All nodes must be members again first.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.start_lrm
    """
    return _start(LRM, timeout)


def _path(path):
    return ring_files.under((__opts__.get("pve_corosync") or {}).get("root"), path)


def _since(start):
    return round(time.monotonic() - start, 3)


def _seconds(value):
    try:
        return min(float(value), MAX_WAIT)
    except (TypeError, ValueError):
        raise SaltInvocationError(f"timeout {value!r}: seconds are needed") from None


def _watchdog():
    return os.path.isdir(_path(ACTIVE))


def _units():
    told = __salt__["pve_node.units"]([LRM, CRM])
    return {name: told[name]["state"] if told.get(name, {}).get("loaded") else "not-found" for name in (LRM, CRM)}


def _running(unit):
    return _units()[unit] not in ("inactive", "failed", "not-found")


def _configured():
    try:
        return bool(ring_ha.resources(__salt__["pmxcfs.files"](RESOURCES)[RESOURCES] or ""))
    except CommandExecutionError as exc:
        log.info("HA resources unknown: %s", exc)
        return None


def _disarm_supported():
    result = ring_children.run(["dpkg-query", "-W", "-f", "${Version}", "pve-ha-manager"], timeout=5.0)
    if result["rc"] == 0 and result["out"].strip():
        return ring_ha.disarm_supported(ring_children.text(result))
    usage = ring_children.run(["ha-manager", "help"], timeout=STATUS_TIMEOUT)
    return ring_ha.disarm_supported("", ring_children.text(usage) + ring_children.text(usage, "err"))


def _crm_command(*arguments):
    if not __salt__["pmxcfs.state"]()["writable"]:
        raise CommandExecutionError(f"crm-command {arguments[0]} needs quorum: /etc/pve is not writable now")
    result = ring_children.run(["ha-manager", "crm-command", *arguments], timeout=COMMAND_TIMEOUT)
    if result["rc"] != 0:
        raise CommandExecutionError(f"ha-manager crm-command {arguments[0]}: {ring_children.complaint(result)}")
    log.info("ha-manager crm-command %s sent", " ".join(arguments))


def _wait_fencing(disarmed, timeout):
    start = time.monotonic()
    end = start + _seconds(timeout)
    while True:
        told = status()
        holders = [name for name, lrm in told["lrms"].items() if lrm["watchdog"] == "active"]
        if disarmed:
            done = told["fencing"] == "disarmed" and not holders and not _watchdog()
        else:
            done = told["fencing"] not in ("disarmed", "disarming")
        if done:
            lrms = {name: lrm["status"] for name, lrm in told["lrms"].items()}
            return {"fencing": told["fencing"], "lrms": lrms, "watchdog": _watchdog(), "seconds": _since(start)}
        if time.monotonic() >= end:
            wanted = "disarmed with all watchdogs closed" if disarmed else "armed again"
            raise CommandExecutionError(
                f"HA is not {wanted} after {_since(start):.0f} s: fencing {told['fencing']}, watchdog of"
                f" {', '.join(holders) or 'no LRM'} active, {ACTIVE} {'exists' if _watchdog() else 'is gone'};"
                " a service that is being moved or recovered delays it, see ha-manager status"
            )
        time.sleep(PAUSE)


def _cluster_has_master():
    return (status()["master"] or {}).get("status") == "active"


def _wait_other_lrms(start, end):
    """
    Wait until the status, which is up to 10 s behind, names no LRM elsewhere that may still need the CRM's answer.
    """
    own = socket.gethostname().split(".")[0]
    while True:
        told = status()
        busy = [name for name, lrm in told["lrms"].items()
                if name != own and told["quorate"] and "active" in (lrm["watchdog"], lrm["status"])]
        if not busy:
            return
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"the LRM of {', '.join(busy)} is still active after {_since(start):.0f} s, and a CRM that stops now"
                " leaves it without an answer: stop_lrm on all nodes, then stop_crm"
            )
        time.sleep(PAUSE)


def _stop(unit, timeout):
    """
    Stop a unit without a time limit of systemd's own that we would share, and wait for it.
    """
    start = time.monotonic()
    end = start + _seconds(timeout)
    changed = _running(unit)
    if changed:
        _systemctl(["stop", "--no-block", ring_units.full_name(unit)])
    while _running(unit):
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"{unit} has not ended after {_since(start):.0f} s; it goes on ending: do not kill it, do not take"
                f" quorum away; see journalctl -u {unit}"
            )
        time.sleep(PAUSE)
    return _outcome(unit, changed, start)


def _start(unit, timeout):
    start = time.monotonic()
    changed = not _running(unit)
    if changed:
        _systemctl(["start", ring_units.full_name(unit)], timeout=_seconds(timeout))
    done = _outcome(unit, changed, start)
    if done["state"] != "active":
        raise CommandExecutionError(f"{unit} is {done['state']} after its start: see journalctl -u {unit}")
    return done


def _systemctl(arguments, timeout=15.0):
    result = ring_children.run(["systemctl", *arguments], timeout=timeout)
    if result["rc"] != 0:
        raise CommandExecutionError(f"systemctl {arguments[0]} {arguments[-1]}: {ring_children.complaint(result)}")


def _outcome(unit, changed, start):
    state = _units()[unit]
    return {"unit": unit, "state": state, "changed": changed, "watchdog": _watchdog(), "seconds": _since(start)}
