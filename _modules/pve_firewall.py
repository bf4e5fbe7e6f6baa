"""
The firewall between the nodes: corosync's UDP ports and ssh open to peers, closed to everyone else.

Where PVE's own firewall is on, its ``cluster.fw`` gets rules and sets (:mod:`.tools.cluster_fw`); where it is
off, a table of nftables of our own does it (:mod:`.tools.nft`), kept in
``/etc/pve-corosync/firewall.nft`` and loaded at boot by a unit.

:depends: nftables or pve-firewall, pmxcfs, pve_node
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion
    configuration puts every path of this module below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import difflib
import logging
import os
import socket
import time

import salt.utils.path
from pve_corosync import link_options
from pve_corosync.node import children, etc_pve, etc_pve_client, etc_pve_lock, files, timed_undo
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import cluster_fw, nft
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "pve_firewall"

CLUSTER_FW = "firewall/cluster.fw"
LOCK = "firewall-cluster"
UNIT_FOLDER = "/etc/systemd/system"
#: pve-firewall looks at its files every 10 s.
SETTLE = 25.0
#: for the write of a file in ``/etc/pve``: its lock, and a pmxcfs that joins its group again.
WRITE_TIMEOUT = 30.0
#: the undo of a table that was loaded anew, and the seconds in which the master must have answered.
UNDO, UNDO_S = "firewall", 60
CONFIRM_S = (10, 86400)


def __virtual__():
    if salt.utils.path.which("pve-firewall") or salt.utils.path.which("nft"):
        return __virtualname__
    return (False, "neither pve-firewall nor nft is installed")


def state():
    """
    Return which firewall holds the node's ports and what it lets through now.

    Returns ``{"backend": "pve-firewall"|"nftables", "cluster_fw": {"enabled", "policy_in", "ours", …} | None,
    "service": text, "nft": {"peers", "management", "ssh", "ports"} | None, "dropped": {text: packets},
    "persistent": bool, "findings": [finding]}``: ``cluster_fw`` is None if the file does not exist,
    ``service`` the state of pve-firewall, ``nft`` what the loaded table of ours holds, ``dropped`` its
    counters, ``persistent`` whether it comes back at boot. Raises CommandExecutionError if cluster.fw cannot
    be read: whether PVE's firewall is on is not known then.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_firewall.state
    """
    units = __salt__["pve_node.units"](["pve-firewall", nft.UNIT])
    service = units.get("pve-firewall") or {}
    found = _cluster_fw()
    told = cluster_fw.options(found or b"")
    listing = _nft_listing()
    return {
        "backend": "pve-firewall" if told["enabled"] and service.get("active") else "nftables",
        "cluster_fw": None if found is None else told,
        "service": service.get("state") or "not-found",
        "nft": nft.listed(listing),
        "dropped": nft.counters(listing),
        "persistent": os.path.exists(_path(nft.NFT_FILE)) and os.path.lexists(_wanted_link()),
        "findings": cluster_fw.notes(told, bool(service.get("active")), told["enabled"] and _host_uses_nft()),
    }


def apply(networks=None, management=None, ssh=None, test=False, ports=None, confirm=None):
    """
    Let the nodes' corosync and ssh in and everyone else's not, through the firewall that this node uses.

    networks
        ``{network: {node: IP address}}``: every network in use, also the one about to be used. Default: all
        networks of the pillar ``corosync``, with its ``firewall: {management, ssh}`` and the ports of its
        layouts as the default of the other arguments.

    management
        Addresses and CIDRs from which ssh stays possible besides the nodes; ``[]`` for the nodes only.
        Without it ssh from others is left alone, so that nobody is locked out.

    ssh
        ``peers`` (default): with ``management`` named, ssh from others than the nodes and these is dropped;
        running sessions go on. ``open``: ssh from others is left alone. With PVE's firewall on, "left alone"
        is up to its rules, its policy and its set ``management``.

    test
        Only tell what would change.

    ports
        UDP ports of links besides 5405 to 5412.

    confirm
        Seconds after which a table of nftables that was changed goes back to what it was, unless somebody
        calls ``pve_firewall.confirm`` before. Without it the master's answer over a new connection is
        enough; called with ``salt-call --local`` there is no master, and nothing is undone.

    Returns ``{"backend", "changed", "diff", "management": [cidr], "ssh", "seen": …, "notes": [text],
    "findings": [finding]}``; ``seen`` is what is in force afterwards, read back from the kernel or from
    cluster.fw. Raises CommandExecutionError with nothing changed, if the rules do not pass their check, or if
    it cannot be told which firewall is in use.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_firewall.apply test=true
        salt 'pve*' pve_firewall.apply '{vrack: {pve1: 10.66.0.1, pve2: 10.66.0.2}}' '[192.0.2.0/24]'
    """
    shell.check("pve_firewall.apply", locals())
    if networks is None:
        networks, given, known = _from_pillar()
        management = given["management"] if management is None else management
        ssh, ports = ssh or given["ssh"], known if ports is None else ports
    ssh, ports = ssh or "peers", ports or ()
    if not isinstance(networks, dict) or not all(isinstance(nodes, dict) for nodes in networks.values()):
        raise SaltInvocationError("networks: {network: {node: IP address}} is needed")
    confirm = _confirm_seconds(confirm)
    now = state()
    try:
        if now["backend"] == "pve-firewall":
            closed = ssh == "peers" and management is not None
            done = _apply_cluster_fw(networks, management or [], ports, closed, test)
            done["ssh"] = "peers" if closed else f"policy {now['cluster_fw']['policy_in']} of cluster.fw"
            if closed and now["cluster_fw"]["ssh"]:
                done["notes"].append(
                    "rules of cluster.fw that accept ssh stand behind the one that drops it, name their"
                    f" sources in management: {'; '.join(now['cluster_fw']['ssh'])}"
                )
            if now["nft"] and not test:
                _remove_nft()
                done["notes"].append("the table of nftables was removed: PVE's firewall is on now")
        else:
            done = _apply_nft(networks, management, ssh, ports, now, test, confirm)
    except cluster_fw.FirewallError as exc:
        raise SaltInvocationError(str(exc)) from exc
    if ssh == "peers" and management is None:
        done["notes"].append(
            "ssh from others is left as it is: the pillar has no corosync: {firewall: {management: [CIDR]}};"
            " [] there is for the nodes only"
        )
    done["notes"] += [item["text"] for item in now["findings"]]
    return dict(done, backend=now["backend"], findings=now["findings"])


def remove(test=False):
    """
    Take everything of ours out again: from cluster.fw (others' lines stay), the nftables table, its file and
    unit.

    test
        Only tell what would change.

    Returns ``{"changed": bool, "removed": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_firewall.remove
    """
    shell.check("pve_firewall.remove", locals())
    removed = []
    old = _cluster_fw()
    new = None if old is None else cluster_fw.remove(old)
    if new != old:
        removed.append(CLUSTER_FW)
        if not test:
            _write_cluster_fw(old, new or None)
    if os.path.exists(_path(nft.NFT_FILE)) or nft.listed(_nft_listing()):
        removed += [nft.NFT_FILE, nft.UNIT, f"table {nft.FAMILY} {nft.TABLE}"]
        if not test:
            _remove_nft()
    return {"changed": bool(removed), "removed": removed}


def confirm():
    """
    Let the table that was loaded with ``confirm`` stay; returns whether one waited for it.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_firewall.confirm
    """
    return timed_undo.disarm(_root(), UNDO) is not None


def undo_change():
    """
    Go back to the table before the last change; the timer of that change calls this.

    Returns whether there was something to go back to.

    CLI Example:

    .. code-block:: bash

        salt-call --local pve_firewall.undo_change
    """
    before = timed_undo.kept(_root(), UNDO)
    if before is None:
        return False
    path = _path(nft.NFT_FILE)
    if before["text"] is None:
        _remove_nft()
    else:
        _load_nft(path, files.read(path), before["text"].encode("latin-1"))
    timed_undo.disarm(_root(), UNDO)
    log.warning("the firewall went back to what it was: nobody said that it may stay")
    return True


def _confirm_seconds(confirm):
    if confirm is None:
        return None
    number, (least, most) = link_options.whole(confirm), CONFIRM_S
    if number is None or not least <= number <= most:
        raise SaltInvocationError(f"confirm={confirm!r}: allowed: seconds from {least} to {most}")
    return number


def _guarded_load(path, old, text, confirm):
    """
    Load a table that undoes itself unless the master answers after it, or somebody confirms it.

    Returns a note for who called, or None.
    """
    master = __opts__.get("file_client") != "local"
    if not master and confirm is None:
        _load_nft(path, old, text)
        return None
    seconds = confirm or UNDO_S
    before = None if old is None else old.decode("latin-1")
    try:
        timed_undo.arm(_root(), UNDO, {"text": before}, "pve_firewall.undo_change", seconds)
    except timed_undo.NotArmed as exc:
        raise CommandExecutionError(f"the undo could not be armed, nothing was changed: {exc}") from exc
    try:
        _load_nft(path, old, text)
    except CommandExecutionError:
        undo_change()
        raise
    if confirm:
        return f"it undoes itself in {confirm} s unless: salt {__opts__.get('id')} pve_firewall.confirm"
    _hear_master(seconds)
    if timed_undo.disarm(_root(), UNDO) is None:
        raise CommandExecutionError(f"the master answered only after {seconds} s: the table was undone")
    return None


def _hear_master(seconds):
    """
    Have the master answer over a new connection; raise CommandExecutionError if it does not.
    """
    try:
        if __salt__["event.send"]("corosync/firewall/loaded", {"node": socket.gethostname()}):
            return
        said = "it did not take an event"
    except Exception as exc:  # pylint: disable=broad-except
        said = repr(exc)
    raise CommandExecutionError(
        f"the master was not reached after the new table was loaded, so it undoes itself within {seconds} s:"
        f" {said}"
    )


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")


def _path(path):
    return shell.path(__opts__, path)


def _from_pillar():
    try:
        cluster = layouts.load(__pillar__.get("corosync"))
    except layouts.LayoutError as exc:
        raise SaltInvocationError(str(exc)) from exc
    ports = {
        link_options.port(number, link["options"])
        for layout in cluster["layouts"].values()
        for number, link in layout["links"].items()
    }
    return layouts.networks_of(cluster), cluster["firewall"], sorted(ports)


def _wanted_link():
    return _path(f"{UNIT_FOLDER}/multi-user.target.wants/{nft.UNIT}")


def _cluster_fw():
    """
    Return the bytes of cluster.fw, None if it does not exist; a file that cannot be read is neither.
    """
    text = _pve_file(CLUSTER_FW)
    return None if text is None else text.encode("latin-1")


def _pve_file(name):
    try:
        return __salt__["pmxcfs.files"](name)[name]
    except CommandExecutionError as exc:
        raise CommandExecutionError(
            f"{name} of /etc/pve cannot be read, so it is not known whether PVE's firewall is on, and nothing"
            f" was changed: {exc}; look with systemctl status pve-cluster, then run this again"
        ) from exc


def _host_uses_nft():
    text = _pve_file(f"nodes/{socket.gethostname().split('.')[0]}/host.fw") or ""
    return any(line.split("#")[0].replace(" ", "").strip() == "nftables:1" for line in text.splitlines())


def _diff(old, new, name):
    pair = [data.decode("latin-1").splitlines() for data in (old or b"", new)]
    return "\n".join(difflib.unified_diff(*pair, name, name, lineterm=""))


def _apply_cluster_fw(networks, management, ports, closed, test):
    old = _cluster_fw()
    new = cluster_fw.cluster_fw(old or b"", networks, management, ports, closed)
    done = {
        "changed": old is None or not cluster_fw.same(old, new),
        "diff": "",
        "management": list(management),
        "seen": None,
        "notes": [],
    }
    if done["changed"]:
        done["diff"] = _diff(old, new, CLUSTER_FW)
    if done["changed"] and not test:
        done["changed"] = _write_cluster_fw(old, new)
    if not test:
        done["seen"] = {
            "cluster_fw": cluster_fw.options(_cluster_fw() or b""),
            "service": _wait_pve_firewall(),
        }
    return done


def _write_cluster_fw(old, new):
    """
    Replace the file, and tell whether it was this node that did: the other nodes write the same.
    """
    if old is not None:
        files.keep_backup(_path(f"{files.STATE_DIR}/backups"), "cluster.fw", old)
    request = {
        "do": "replace",
        "name": CLUSTER_FW,
        "data": etc_pve_client.coded(new),
        "expected": etc_pve_client.coded(old),
        "lock": LOCK,
        "notes": _path(etc_pve_lock.NOTES),
        "timeout": WRITE_TIMEOUT - 2,
    }
    try:
        answer = etc_pve_client.ask(request, _path(etc_pve.BASE), WRITE_TIMEOUT)
    except etc_pve_client.NoAnswer as exc:
        raise CommandExecutionError(str(exc)) from None
    log.info("%s replaced", CLUSTER_FW)
    return answer["changed"]


def _wait_pve_firewall():
    """
    Return pve-firewall's own word, once it has nothing pending or the time is over.
    """
    end = time.monotonic() + SETTLE
    while True:
        result = children.run(["pve-firewall", "status"], timeout=15.0)
        said = children.complaint(result)
        if "pending" not in said or time.monotonic() >= end:
            return said
        time.sleep(1.0)


def _nft_listing():
    result = children.run(["nft", "-j", "list", "table", nft.FAMILY, nft.TABLE], timeout=10.0)
    return children.text(result) if result["rc"] == 0 else ""


def _apply_nft(networks, management, ssh, ports, now, test, confirm):  # pylint: disable=too-many-arguments
    peers = [address for nodes in networks.values() for address in nodes.values()]
    ssh = "open" if management is None and ssh == "peers" else ssh
    wanted = nft.wanted(peers, management or [], ssh, ports)
    text = nft.text(peers, management or [], ssh, ports).encode()
    path = _path(nft.NFT_FILE)
    old = files.read(path)
    done = {
        "changed": old != text or now["nft"] != wanted or not now["persistent"],
        "diff": _diff(old, text, nft.NFT_FILE),
        "management": wanted["management"],
        "ssh": ssh,
        "seen": None,
        "notes": [],
    }
    if test:
        return done
    if done["changed"]:
        note = _guarded_load(path, old, text, confirm)
        done["notes"] += [note] if note else []
    done["seen"] = nft.listed(_nft_listing())
    if done["seen"] != wanted:
        raise CommandExecutionError(f"nft holds {done['seen']} and not {wanted} after it was loaded")
    return done


def _load_nft(path, old, text):
    """
    Check the text, load it in one transaction, keep it; an error before or while loading leaves all as it
    was.
    """
    _nft(["-c", "-f", "-"], text)
    _nft(["-f", "-"], text)
    files.ensure_folder(os.path.dirname(path), 0o755)
    if old is not None and old != text:
        files.keep_backup(_path(f"{files.STATE_DIR}/backups"), "firewall.nft", old)
    files.replace(path, text, mode=0o644)
    unit = _path(f"{UNIT_FOLDER}/{nft.UNIT}")
    wanted = nft.unit(salt.utils.path.which("nft") or "/usr/sbin/nft", nft.NFT_FILE).encode()
    if files.read(unit) != wanted:
        files.replace(unit, wanted, mode=0o644)
        _systemctl("daemon-reload")
    _systemctl("enable", "--now", nft.UNIT)
    log.info("nftables table %s loaded and kept in %s", nft.TABLE, path)


def _remove_nft():
    if os.path.exists(_path(f"{UNIT_FOLDER}/{nft.UNIT}")):
        _systemctl("disable", "--now", nft.UNIT)
        os.unlink(_path(f"{UNIT_FOLDER}/{nft.UNIT}"))
        _systemctl("daemon-reload")
    _nft(["-f", "-"], nft.removal().encode())
    if os.path.exists(_path(nft.NFT_FILE)):
        os.unlink(_path(nft.NFT_FILE))
    folder = os.path.dirname(_path(nft.NFT_FILE))
    if os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def _nft(arguments, data):
    result = children.run(["nft", *arguments], timeout=10.0, data=data)
    if result["rc"] != 0:
        raise CommandExecutionError(f"nft {' '.join(arguments)}: {children.complaint(result)}")


def _systemctl(*arguments):
    result = children.run(["systemctl", *arguments], timeout=30.0)
    if result["rc"] != 0:
        raise CommandExecutionError(f"systemctl {' '.join(arguments)}: {children.complaint(result)}")
