"""
What holds on to addresses on this node: PVE's services and the tasks in them, and networks in datacenter.cfg.

Part of the execution module ``pve_node`` (Salt joins the files of one virtual name).

:depends: systemd

.. versionadded:: 0.1.0
"""

import os

import salt.utils.path
from pve_corosync import addresses as ip
from pve_corosync.judge import phases
from pve_corosync.node import children, files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, datacenter, systemd
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pve_node"

#: memoises the local network in its process (PVE/Firewall.pm local_network). Its reload executes it anew and
#: keeps the rules; its stop, so a restart too, takes them away (pve-firewall.service).
FIREWALL = "pve-firewall"
#: which start of pve-cluster pve-firewall has looked at since.
STAMP = f"{files.STATE_DIR}/services-looked.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: look .members up at each request by themselves; reloaded so that their open connections go too.
RELOADED = ("pvestatd", "pvedaemon", "pveproxy")


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def reload_services():
    """
    Have the services that hold on to addresses look again, and return what became of each.

    pve-firewall is reloaded always (restarted only where it cannot): it keeps the local network it found
    first. Which start of pve-cluster that was for is noted. pvestatd, pvedaemon and
    pveproxy look the addresses up at each request, and are reloaded only to drop old connections, so only
    with quorum (a start of pveproxy blocks up to 80 s without) and only when they can reload: a restart would
    kill the tasks that run in them. Services that do not run are left alone.

    Returns ``{"services": {name: {"done": "restarted"|"reloaded"|"left alone", "why", "active", "pid_kept"}},
    "tasks": {"before": [UPID], "after": [UPID], "gone": [UPID]}, "failed": [name]}``. A task in ``gone`` has
    ended meanwhile; whether well, its own log tells.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.reload_services
    """
    names = (FIREWALL, *RELOADED)
    was = units(("pve-cluster", *names))
    why_not = __salt__["pmxcfs.why_not"]()
    before = tasks()
    report = {}
    for name in names:
        report[name] = _refresh(name, was.get(name), why_not)
    now = units(names)
    for name, entry in report.items():
        old, unit = was.get(name) or {}, now.get(name) or {}
        entry["active"] = bool(unit.get("active"))
        entry["pid_kept"] = bool(unit.get("pid")) and unit.get("pid") == old.get("pid")
    if (
        report[FIREWALL]["done"] != "left alone"
        and report[FIREWALL]["active"]
        and not report[FIREWALL]["why"]
    ):
        _stamp(was.get("pve-cluster") or {})
    after = tasks()
    return {
        "services": report,
        "tasks": {"before": before, "after": after, "gone": sorted(set(before) - set(after))},
        "failed": [
            name for name, e in report.items() if e["done"] != "left alone" and (e["why"] or not e["active"])
        ],
    }


def services_due():
    """
    Return why the services that hold on to addresses must look again, "" if they need not.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.services_due
    """
    told = files.read_json(_path(STAMP)) or {}
    looked = told.get("pve_cluster") if told.get("boot") == _boot() else None
    return phases.services_due(units(["pve-cluster", FIREWALL]), looked)


def tasks():
    """
    Return the UPIDs of the PVE tasks (backups, migrations, …) that run on this node now.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.tasks
    """
    found = set()
    base = _path("/proc")
    for entry in os.listdir(base):
        if not entry.isdigit():
            continue
        try:
            with open(os.path.join(base, entry, "cmdline"), "rb") as file:
                upid = systemd.task(file.read())
        except OSError:  # it ended between the listing and now
            continue
        if upid:
            found.add(upid)
    return sorted(found)


def units(names):
    """
    Return what systemd tells about units on this node.

    names
        A list of unit names; one without a suffix is a service.

    Returns ``{name: {"loaded", "active", "state", "sub", "pid", "can_reload", "result", "since"}}``;
    ``state`` is systemd's ActiveState, ``loaded`` is false for a unit that does not exist here.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.units '[pve-cluster, corosync]'
    """
    shell.check("pve_node.units", locals())
    if not isinstance(names, (list, tuple)) or not names or any(str(name).startswith("-") for name in names):
        raise SaltInvocationError(f"names {names!r}: a list of unit names is needed")
    result = children.run(systemd.command([str(name) for name in names]), timeout=10.0)
    if result["rc"] != 0:
        raise CommandExecutionError(f"systemctl show: {children.complaint(result)}")
    return systemd.show(children.text(result))


def addresses(up=False):
    """
    Return the addresses of this node's interfaces: ``{"eth0": ["10.66.0.1/24"]}``.

    up
        Only of interfaces that are up.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.addresses
    """
    shell.check("pve_node.addresses", locals())
    result = children.run(["ip", "-j", "address", "show"] + ["up"] * bool(up), timeout=5.0)
    try:
        return corosync.ip_addresses(children.text(result))
    except corosync.OutputError as exc:
        raise CommandExecutionError(f"{exc}; {children.complaint(result)}") from exc


def migration_network(primary=None):
    """
    Tell whether ``migration:`` and ``replication:`` in datacenter.cfg lead PVE's data to one address of this
    node.

    primary
        This node's address on the primary network; with it, a network that leads elsewhere is a problem too.

    Returns ``{"set": {key: {"type", "network"}}, "networks": {cidr: {"used_by", "addresses": [ip]}},
    "problems": [{"code", "severity", "text", "data", "remedy"}]}``. Without a network there is nothing to
    look at: PVE uses the primary address.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_node.migration_network 198.51.100.10
    """
    shell.check("pve_node.migration_network", locals())
    text = __salt__["pmxcfs.files"]("datacenter.cfg")["datacenter.cfg"] or ""
    told = datacenter.parse(text)
    found = addresses(up=True)
    used = {}
    problems = datacenter.check(told, found, ip.canonical(primary) if primary else None)
    bad = {problem["data"]["network"] for problem in problems if problem["code"] == "datacenter-network-bad"}
    for network, users in datacenter.networks(told).items():
        own = [] if network in bad else datacenter.matching(found, network)
        used[network] = {"used_by": users, "addresses": own}
    return {"set": told, "networks": used, "problems": problems}


def _path(path):
    return shell.path(__opts__, path)


def _boot():
    return (files.read(_path(BOOT_ID)) or b"").decode("latin-1").strip()


def _stamp(cluster):
    """
    Note the start of pve-cluster that was looked at; systemd counts it from boot.
    """
    files.ensure_folder(_path(files.STATE_DIR))
    files.write_json(_path(STAMP), {"boot": _boot(), "pve_cluster": cluster.get("since", 0)})


def _refresh(name, unit, why_not):
    """
    Restart or reload one service if that is right for it now: ``{"done", "why"}``, ``why`` empty if it was
    done.
    """
    why = ""
    if not unit or not unit["loaded"]:
        why = "not installed"
    elif not unit["active"]:
        why = f"does not run ({unit['state']})"
    elif name in RELOADED and why_not:
        why = f"{why_not}; a start of pveproxy would block up to 80 s"
    elif name in RELOADED and not unit["can_reload"]:
        why = "cannot reload, and a restart would kill the tasks that run in it"
    if why:
        return {"done": "left alone", "why": why}
    command = ["systemctl", "reload-or-restart", systemd.full_name(name)]
    result = children.run(command, timeout=60.0)
    return {
        "done": "reloaded" if unit["can_reload"] else "restarted",
        "why": "" if result["rc"] == 0 else children.complaint(result),
    }
