"""
HA of Proxmox VE on this node: is its watchdog armed, and the ways to release it around a loss of quorum.

Where pve-ha-manager is 5.1.3 or newer, HA is disarmed and armed for the whole cluster; else the LRMs of all
nodes are stopped, then the CRMs. Which of the two a plan needs, if any, is decided by ``cluster.ha.guard``;
these functions carry it out, and wait for the effect. Nothing here ends or kills a process: an LRM that is
killed resets its node.

:depends: pve-ha-manager, pve_node, pmxcfs, systemd
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module
    below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import os
import socket
import time

import salt.utils.path
from pve_corosync.cluster import ha
from pve_corosync.node import children
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, pve
from salt.exceptions import CommandExecutionError, SaltInvocationError

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
#: the same among the facts, which have to arrive while the runner waits for them.
FACTS_STATUS_TIMEOUT = 5.0
#: a crm-command only puts a line into a queue; it waits up to 10 s for the cluster-wide lock.
COMMAND_TIMEOUT = 30.0
MAX_WAIT = 600.0
#: how often: the status costs a Perl process, a unit or a directory almost nothing.
PAUSE = 0.5


def __virtual__():
    if salt.utils.path.which("ha-manager"):
        return __virtualname__
    return (False, "ha-manager is not installed (package pve-ha-manager)")


def facts():
    """
    Return the HA facts of this node; the slow ``ha-manager`` itself is asked only where nothing faster says
    that the node is armed.

    Returns ``{"configured": bool|None, "armed": bool, "witnesses": [text], "lrm": text, "crm": text,
    "watchdog": bool, "disarm_supported": bool, "state": text}``: ``configured`` is None when ``/etc/pve``
    could not be read; ``lrm`` and ``crm`` are systemd's ActiveState (``active``, ``inactive``, ``failed``, …,
    ``not-found``); ``watchdog`` is whether any client of watchdog-mux holds it open. A node is ``armed`` if
    one of three witnesses says so: the watchdog, the LRM's own status in ``/etc/pve`` (LRM.pm), or the text
    of ``ha-manager status``, old or new; ``witnesses`` names them.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' ha_manager.facts
    """
    units = _units()
    watchdog = _watchdog()
    configured, lrm_status = _cluster_files()
    witnesses = _witnesses(watchdog, lrm_status, configured, units)
    found = {
        "configured": configured,
        "armed": bool(witnesses),
        "witnesses": witnesses,
        "lrm": units[LRM],
        "crm": units[CRM],
        "watchdog": watchdog,
        "disarm_supported": _disarm_supported(),
    }
    found["state"] = ha.describe(found)
    return found


def status():
    """
    Return what ``ha-manager status`` prints on this node, as data; it works without quorum too, with old
    values then.

    Returns ``{"quorate", "master", "fencing", "resource_mode", "lrms", "services", "configured", "armed",
    "certain"}`` (see ``tools.ha_status``). Raises CommandExecutionError if the tool fails.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.status
    """
    result = children.run(["ha-manager", "status"], timeout=STATUS_TIMEOUT)
    if result["rc"] != 0:
        raise CommandExecutionError(f"ha-manager status: {children.complaint(result)}")
    try:
        return pve.ha_status(children.text(result))
    except corosync.OutputError as exc:
        raise CommandExecutionError(str(exc)) from exc


def armed():
    """
    Tell whether the watchdog is armed on this node, with everything that speaks for it.

    Returns ``{"armed": bool, "cluster": bool|None, "evidence": {"watchdog", "lrm", "crm", "status"}}``:
    ``armed`` is this node's open watchdog, ``cluster`` is whether the status names any node whose watchdog
    may be open (None if the status could not be read; ``evidence.status`` then has the reason).

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

    Call it on one node only, with quorum, and wait on the others with ``ha_manager.wait_released``. Disarmed
    already is no error. Returns ``{"changed", "fencing", "lrms", "watchdog", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.disarm
    """
    shell.check("ha_manager.disarm", locals())
    if mode not in MODES:
        raise SaltInvocationError(f"mode {mode!r}: allowed: {', '.join(MODES)}")
    if not _disarm_supported():
        raise CommandExecutionError(
            "this pve-ha-manager cannot disarm (5.1.3 or newer can): stop_lrm on all nodes, then stop_crm"
            " on all"
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

    Returns ``{"changed", "fencing", "lrms", "watchdog", "seconds"}``; not disarmed is no error. The watchdogs
    open when the LRMs have something to do.

    CLI Example:

    .. code-block:: bash

        salt pve1 ha_manager.arm
    """
    shell.check("ha_manager.arm", locals())
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
    shell.check("ha_manager.wait_released", locals())
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    while _watchdog():
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"the watchdog is still open after {_since(start):.0f} s ({ACTIVE} exists): see journalctl -u"
                f" {MUX} -u {LRM} -u {CRM}; do not take quorum away now"
            )
        time.sleep(PAUSE)
    return {"watchdog": False, "seconds": _since(start)}


def _path(path):
    return shell.path(__opts__, path)


def _since(start):
    return round(time.monotonic() - start, 3)


def _watchdog():
    return os.path.isdir(_path(ACTIVE))


def _units():
    told = __salt__["pve_node.units"]([LRM, CRM])
    return {
        name: told[name]["state"] if told.get(name, {}).get("loaded") else "not-found" for name in (LRM, CRM)
    }


def _cluster_files():
    """
    Return whether a resource is configured, None if that is unknown, and the text of this node's LRM status.
    """
    status_file = f"nodes/{_own_name()}/lrm_status"
    try:
        told = __salt__["pmxcfs.files"](RESOURCES, status_file)
    except CommandExecutionError as exc:
        log.info("HA resources unknown: %s", exc)
        return None, None
    return bool(ha.resources(told[RESOURCES] or "")), told[status_file]


def _own_name():
    return socket.gethostname().split(".")[0]


def _witnesses(watchdog, lrm_status, configured, units):
    """
    Return what says that this node is armed.
    """
    found = [f"the watchdog is open ({ACTIVE})"] if watchdog else []
    if ha.lrm_active(lrm_status, time.time()):
        found.append("the LRM status in /etc/pve is active")
    # nothing can be armed where no service runs, or none has ever had anything to do
    if found or configured is False or not {"active", "activating", "deactivating"} & set(units.values()):
        return found
    result = children.run(["ha-manager", "status"], timeout=FACTS_STATUS_TIMEOUT)
    try:
        told = pve.ha_status(children.text(result), "", 1 if result["rc"] is None else result["rc"])
    except corosync.OutputError as exc:
        log.info("ha-manager status: %s", exc)
        return found
    return [f"ha-manager status: {text}" for text in ha.holders(told, _own_name())]


def _disarm_supported():
    result = children.run(["dpkg-query", "-W", "-f", "${Version}", "pve-ha-manager"], timeout=5.0)
    if result["rc"] == 0 and result["out"].strip():
        return ha.disarm_supported(children.text(result))
    usage = children.run(["ha-manager", "help"], timeout=STATUS_TIMEOUT)
    return ha.disarm_supported("", children.text(usage) + children.text(usage, "err"))


def _crm_command(*arguments):
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"crm-command {arguments[0]} is not sent: {why}")
    result = children.run(["ha-manager", "crm-command", *arguments], timeout=COMMAND_TIMEOUT)
    if result["rc"] != 0:
        raise CommandExecutionError(f"ha-manager crm-command {arguments[0]}: {children.complaint(result)}")
    log.info("ha-manager crm-command %s sent", " ".join(arguments))


def _wait_fencing(disarmed, timeout):
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    while True:
        told = status()
        holders = [name for name, lrm in told["lrms"].items() if lrm["watchdog"] == "active"]
        if disarmed:
            done = told["fencing"] == "disarmed" and not holders and not _watchdog()
        else:
            done = told["fencing"] not in ("disarmed", "disarming")
        if done:
            lrms = {name: lrm["status"] for name, lrm in told["lrms"].items()}
            return {
                "fencing": told["fencing"],
                "lrms": lrms,
                "watchdog": _watchdog(),
                "seconds": _since(start),
            }
        if time.monotonic() >= end:
            wanted = "disarmed with all watchdogs closed" if disarmed else "armed again"
            raise CommandExecutionError(
                f"HA is not {wanted} after {_since(start):.0f} s: fencing {told['fencing']}, watchdog of"
                f" {', '.join(holders) or 'no LRM'} active, {ACTIVE}"
                f" {'exists' if _watchdog() else 'is gone'}; a service that is being moved or recovered"
                " delays it, see ha-manager status"
            )
        time.sleep(PAUSE)
