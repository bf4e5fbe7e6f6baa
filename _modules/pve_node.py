"""
The primary network on this node: what the cluster's names resolve to, pve-cluster and its view of the
addresses.

PVE's own ssh (replication, migration, proxied API calls) goes to the address that a node's name resolved to,
on that node, when its pmxcfs started (``ip`` in ``/etc/pve/.members``); ``ring0_addr`` has no part in it. So
the primary network moves by the names in ``/etc/hosts`` and a restart of pve-cluster on each node whose own
name moved.

:depends: pmxcfs (pve-cluster), iproute2, systemd
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module
    below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import difflib
import logging
import os
import socket
import stat
import time

import salt.utils.path
from pve_corosync import addresses as ip
from pve_corosync.node import children, files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import hosts
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "pve_node"

HOSTS = "/etc/hosts"
#: a resolver that asks a dead DNS server takes its time.
RESOLVE_TIMEOUT = 8.0
MAX_WAIT = 600.0
PAUSE = 0.2


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def names(addresses, test=False):
    """
    Make the cluster's names in ``/etc/hosts`` resolve to the given addresses, and return what was seen.

    addresses
        ``{node name: IP address}``, this node's own name among them.

    test
        Only tell what would change.

    Only the lines of these names are touched; comments, order and other names stay. The old file is kept as a
    backup, the new one has the same mode and owner. Then this node's own name is resolved as pmxcfs does it;
    if the first address that is not loopback is another one than wanted, or the address is not on this node,
    the old file is put back, because pmxcfs would not start, or would tell all nodes a wrong address.

    Returns ``{"changed", "diff", "backup", "own": {"name", "address", "interface", "resolved"}, "notes"}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_node.names '{pve1: 198.51.100.10, pve2: 203.0.113.20}' test=true
    """
    shell.check("pve_node.names", locals())
    wanted = _checked_addresses(addresses)
    name = _own_name()
    if name not in wanted:
        raise SaltInvocationError(
            f"addresses has no entry for this node, {name}; it has {', '.join(sorted(wanted))}"
        )
    interface = _interface_of(wanted[name])
    path = os.path.realpath(_path(HOSTS))
    old = files.read(path)
    try:
        new = hosts.move(old or b"", wanted)
    except hosts.HostsError as exc:
        raise SaltInvocationError(f"{HOSTS} stays as it is: {exc}") from exc
    answer = {
        "changed": new != old,
        "diff": _diff(old or b"", new),
        "backup": None,
        "own": {"name": name, "address": wanted[name], "interface": interface, "resolved": None},
        "notes": _notes(old or b""),
    }
    if test:
        return answer
    if answer["changed"]:
        answer["backup"] = _replace_hosts(path, old, new)
    try:
        answer["own"]["resolved"] = _check_own_name(name, wanted[name])
    except CommandExecutionError as exc:
        if answer["changed"]:
            _restore_hosts(path, old)
            raise CommandExecutionError(f"{exc}; {HOSTS} is as it was before") from exc
        raise
    return answer


def resolve(name):
    """
    Return the addresses that a name resolves to on this node now, in the order of getaddrinfo.

    name
        A host name. Raises CommandExecutionError if it has none.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.resolve pve2
    """
    shell.check("pve_node.resolve", locals())
    result = children.run(["getent", "ahosts", name], timeout=RESOLVE_TIMEOUT)
    found = []
    for line in children.text(result).splitlines():
        address = line.split()[0] if line.split() else ""
        if ip.parse(address) is not None and address not in found:
            found.append(address)
    if not found:
        why = "no answer within 8 s" if result["late"] else f"getent ended with {result['rc']}"
        raise CommandExecutionError(
            f"{name} resolves to no address on this node ({why}): give it a line in {HOSTS}"
        )
    return found


def members():
    """
    Return the node addresses that this node's pmxcfs knows, ``{"nodes": {name: ip|None}, "own": name,
    "quorate"}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.members
    """
    told = __salt__["pmxcfs.members"]()
    return {"own": told.get("nodename"), "nodes": _node_addresses(told), "quorate": _quorate(told)}


def wait_members(addresses, timeout=30):
    """
    Wait until ``/etc/pve/.members`` on this node shows these addresses, and return the evidence.

    addresses
        ``{node name: IP address}``.

    timeout
        Seconds, at most 600.

    Returns ``{"ok": bool, "seen": {name: ip|None}, "missing": [text], "seconds": float}``; it does not raise
    when the time is over.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.wait_members '{pve1: 198.51.100.10}' 20
    """
    shell.check("pve_node.wait_members", locals())
    wanted = _checked_addresses(addresses)
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    while True:
        seen, missing = _look_members(wanted)
        if not missing or time.monotonic() >= end:
            return {"ok": not missing, "seen": seen, "missing": missing, "seconds": _since(start)}
        time.sleep(PAUSE)


def restart_pve_cluster(address, timeout=60, always=False):
    """
    Restart pve-cluster on this node and wait until it is whole again with its new address.

    address
        The IP address that this node's name is to have in ``/etc/pve/.members`` afterwards. The name must
        resolve to it already (``pve_node.names``).

    timeout
        Seconds for everything, at most 600.

    always
        Restart also if ``.members`` shows the address already.

    Refused unless corosync runs (a restart of pve-cluster would start it, with whatever file it has) and
    ``/etc/pve`` is writable (this is a step behind quorum; without it there would be nothing to wait for).

    Returns ``{"changed", "node", "address", "seen": {name: ip}, "seconds": {"restart", "mounted", "writable",
    "members"}}``, seconds counted from the start. Raises CommandExecutionError with the last journal lines if
    the node is not back in time.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_node.restart_pve_cluster 198.51.100.10
    """
    shell.check("pve_node.restart_pve_cluster", locals())
    name = _own_name()
    wanted = _checked_addresses({name: address})
    _interface_of(wanted[name])
    _check_own_name(name, wanted[name])
    answer = {"changed": False, "node": name, "address": wanted[name], "seen": {}, "seconds": {}}
    seen, missing = _look_members(wanted)
    if not missing and not always:
        return dict(answer, seen=seen)
    _refuse_restart()
    start = time.monotonic()
    end = start + shell.seconds(timeout, most=MAX_WAIT)
    result = children.run(["systemctl", "restart", "pve-cluster.service"], timeout=end - start)
    answer.update(changed=True)
    answer["seconds"]["restart"] = _since(start)
    if result["rc"] != 0:
        raise CommandExecutionError(
            f"pve-cluster did not start again: {children.complaint(result)}; {_journal()}"
        )
    answer["seen"] = _gate(wanted, start, end, answer["seconds"])
    log.info("pve-cluster restarted, %s is at %s in .members", name, wanted[name])
    return answer


def _path(path):
    return shell.path(__opts__, path)


def _own_name():
    """
    Return the name pmxcfs looks up: the short host name (pmxcfs.c).
    """
    return socket.gethostname().split(".")[0]


def _since(start):
    return round(time.monotonic() - start, 3)


def _checked_addresses(addresses):
    if not isinstance(addresses, dict) or not addresses:
        raise SaltInvocationError(
            "addresses: a mapping {node name: IP address} with at least one entry is needed"
        )
    wrong = []
    for name, address in addresses.items():
        if ip.parse(address) is None:
            wrong.append(f"{name}: {address!r} is no IP address")
        elif ip.unusable(address):
            wrong.append(
                f"{name}: {address} is a {ip.unusable(address)} address, which no other node reaches"
            )
    if wrong:
        raise SaltInvocationError("addresses: " + "; ".join(wrong))
    return {str(name): ip.canonical(address) for name, address in addresses.items()}


def _interface_of(address):
    for interface, texts in __salt__["pve_node.addresses"]().items():
        if address in [text.split("/")[0] for text in texts]:
            return interface
    raise CommandExecutionError(
        f"{address} is on no interface of this node, and pmxcfs would publish it all the same: correct the"
        " pillar, or bring the interface up first"
    )


def _check_own_name(name, wanted):
    """
    Resolve this node's own name and require ``wanted`` to be what pmxcfs would take: the first that is not
    loopback.
    """
    found = resolve(name)
    usable = [ip.canonical(address) for address in found if ip.unusable(address) != "loopback"]
    if not usable:
        raise CommandExecutionError(
            f"{name} resolves to {', '.join(found)} only: pmxcfs does not start with loopback"
        )
    if usable[0] != wanted:
        raise CommandExecutionError(
            f"{name} resolves to {', '.join(found)}, so pmxcfs would take {usable[0]} and not {wanted}: see"
            f" {HOSTS}, /etc/nsswitch.conf and the DNS"
        )
    return found


def _replace_hosts(path, old, new):
    backup = None
    try:
        if old is not None:
            backup = files.keep_backup(_path(f"{files.STATE_DIR}/backups"), "hosts", old)
        _write_hosts(path, new)
    except OSError as exc:
        raise CommandExecutionError(f"{path} could not be replaced and is as it was: {exc}") from exc
    log.info("%s replaced, the old one is %s", path, backup)
    return backup


def _write_hosts(path, data):
    mode, owner = 0o644, (0, 0)
    if os.path.exists(path):
        was = os.stat(path)
        mode, owner = stat.S_IMODE(was.st_mode), (was.st_uid, was.st_gid)
    files.replace(path, data, mode=mode)
    if owner != (0, 0):
        os.chown(path, *owner)


def _restore_hosts(path, old):
    try:
        if old is None:
            os.unlink(path)
        else:
            _write_hosts(path, old)
    except OSError as exc:
        raise CommandExecutionError(
            f"{path} is wrong and could not be put back, do it by hand: {exc}"
        ) from exc


def _diff(old, new):
    pair = [data.decode("latin-1").splitlines() for data in (old, new)]
    return "\n".join(difflib.unified_diff(*pair, HOSTS, HOSTS, lineterm=""))


def _notes(data):
    if b"manage_etc_hosts" in data:
        return [
            f"cloud-init writes {HOSTS} anew at each boot: set manage_etc_hosts to false in /etc/cloud, or"
            " the names fall back at the next reboot"
        ]
    return []


def _node_addresses(told):
    return {name: node.get("ip") for name, node in (told.get("nodelist") or {}).items()}


def _quorate(told):
    return bool((told.get("cluster") or {}).get("quorate"))


def _look_members(wanted):
    """
    Return ``({name: ip|None}, [what is missing])`` of ``.members`` now.
    """
    try:
        told = _node_addresses(__salt__["pmxcfs.members"]())
    except CommandExecutionError as exc:  # in the middle of its restart
        return {}, [str(exc)]
    seen = {name: ip.canonical(told[name]) if told.get(name) else None for name in wanted}
    return seen, [
        f".members has {seen[name] or 'no address'} for {name}, {address} wanted"
        for name, address in wanted.items()
        if seen[name] != address
    ]


def _refuse_restart():
    corosync = __salt__["pve_node.units"](["corosync"]).get("corosync") or {}
    if not corosync.get("active"):
        raise CommandExecutionError(
            "corosync does not run, and a restart of pve-cluster would start it with whatever file it has:"
            " put the current corosync.conf in place and start corosync first"
        )
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"{why}: that comes before a restart of pve-cluster")


def _gate(wanted, start, end, seconds):
    """
    Wait until pmxcfs is mounted, writable and shows the address; note in ``seconds`` when each was first
    seen.
    """
    while True:
        now = __salt__["pmxcfs.state"]()
        missing = [
            text
            for text, ok in (
                ("/etc/pve is not mounted", now["mounted"]),
                ("/etc/pve is not writable", now["writable"]),
            )
            if not ok
        ]
        for part in ("mounted", "writable"):
            if now[part]:
                seconds.setdefault(part, _since(start))
        seen = {}
        if not missing:
            seen, missing = _look_members(wanted)
        if not missing:
            seconds["members"] = _since(start)
            return seen
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"pve-cluster was restarted, and after {_since(start):.0f} s: {'; '.join(missing)};"
                f" {_journal()}"
            )
        time.sleep(PAUSE)


def _journal():
    result = children.run(
        ["journalctl", "-u", "pve-cluster", "-n", "5", "-o", "cat", "--no-pager"], timeout=5.0
    )
    said = " | ".join(children.text(result).split("\n")).strip(" |")
    return f"its journal ends with: {said}" if said else "see journalctl -u pve-cluster"
