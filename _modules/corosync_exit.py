"""What the exit checklist wants to know of this node beyond corosync itself, and the gates of the phases
after the links.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:depends: pmxcfs, pve_node, pve_certs, pvesr, ha_manager

.. versionadded:: 0.1.0
"""

import contextvars
import logging
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import salt.utils.path
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

#: what the loader says to lack when a module is not on this node.
_FUNCTION = re.compile(r"(ha_manager|pmxcfs|pve_certs|pve_node|pvesr)\.[a-z_]+")


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def exit_facts(primary):
    """
    Return what the exit checklist needs of this node besides ``corosync.facts``, in one call.

    primary
        ``{node name: address on the primary network}`` of all nodes.

    All parts are read at once; a part that cannot be read is None, with the reason in ``problems``. Returns
    ``{"node", "resolved": {name: [ip]}, "certificates": as pve_certs.facts, "ssh": {peer: as pvesr.probe},
    "jobs": as pvesr.status, "ha": {"facts", "status"}, "migration": as pve_node.migration_network,
    "services": why they must look again or "", "problems": {part: text}}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 corosync.exit_facts '{pve1: 198.51.100.10, pve2: 203.0.113.20}'
    """
    shell.check("corosync.exit_facts", locals())
    if not isinstance(primary, dict) or not primary:
        raise SaltInvocationError("primary: a mapping {node name: IP address} is needed")
    node = socket.gethostname().split(".")[0]
    peers = sorted(name for name in primary if name != node)
    parts = {
        "resolved": lambda: {name: _resolved(name) for name in sorted(primary)},
        "certificates": lambda: __salt__["pve_certs.facts"](primary.get(node)),
        "jobs": lambda: __salt__["pvesr.status"](),
        "ha": _ha,
        "migration": lambda: __salt__["pve_node.migration_network"](primary.get(node)),
        "services": lambda: __salt__["pve_node.services_due"](),
    }
    parts |= {f"ssh to {peer}": (lambda peer=peer: __salt__["pvesr.probe"](peer)) for peer in peers}
    told, problems = {}, {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        # the loader's dunders live in the context of the thread that Salt runs this in
        started = {
            name: pool.submit(contextvars.copy_context().run, _read, part) for name, part in parts.items()
        }
        for name, future in started.items():
            told[name], problem = future.result()
            if problem:
                problems[name] = problem
    ssh = {peer: told.pop(f"ssh to {peer}") for peer in peers}
    return {"node": node, **told, "ssh": ssh, "problems": problems}


def primary_gate(addresses, timeout=30):
    """Wait until this node's ``.members`` shows these addresses and ``/etc/pve`` is writable, and return
    the evidence.

    addresses
        ``{node name: IP address}``.

    timeout
        Seconds, at most 600.

    Returns ``{"ok": bool, "seen": {name: ip|None}, "missing": [text], "seconds": float}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.primary_gate '{pve1: 198.51.100.10}' 20
    """
    shell.check("corosync.primary_gate", locals())
    told = __salt__["pve_node.wait_members"](addresses, timeout)
    if not told["ok"]:
        return told
    try:
        waited = __salt__["pmxcfs.wait_writable"](max(0.0, float(timeout) - told["seconds"]))
    except CommandExecutionError as exc:
        return dict(told, ok=False, missing=[str(exc)])
    return dict(told, seconds=round(told["seconds"] + waited, 3))


def refresh_services(always=False):
    """
    Have the services that hold on to addresses look again, if they have not since pve-cluster was started.

    always
        Also if they have.

    Returns ``{"due": text, "done": as pve_node.reload_services | None}``; without quorum it raises.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.refresh_services
    """
    shell.check("corosync.refresh_services", locals())
    due = __salt__["pve_node.services_due"]()
    if not due and not always:
        return {"due": "", "done": None}
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"{why}; a reload of pveproxy would block")
    done = __salt__["pve_node.reload_services"]()
    if done["failed"]:
        said = "; ".join(
            f"{name}: {done['services'][name]['why'] or 'does not run'}" for name in done["failed"]
        )
        raise CommandExecutionError(f"{said}: see systemctl status {' '.join(done['failed'])}")
    return {"due": due or "asked for", "done": done}


def _read(part):
    try:
        return part(), ""
    except KeyError as exc:
        name = str(exc.args[0] if exc.args else "")
        if not _FUNCTION.fullmatch(name):
            log.exception("a part of the exit checklist")
            return None, f"a defect, see the minion's log: {exc!r}"
        return None, f"{name} is not available on this node"
    except (CommandExecutionError, SaltInvocationError) as exc:
        return None, str(exc)


def _resolved(name):
    try:
        return __salt__["pve_node.resolve"](name)
    except CommandExecutionError as exc:
        log.info("name %s: %s", name, exc)
        return []


def _ha():
    found = {"facts": __salt__["ha_manager.facts"](), "status": None}
    if found["facts"]["configured"]:
        found["status"] = __salt__["ha_manager.status"]()
    return found
