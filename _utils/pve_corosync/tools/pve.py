"""What the tools of Proxmox VE 8 and 9 print, as plain data.

Sources: PVE/CLI/pvecm.pm, pvesr.pm, ha_manager.pm, PVE/API2/HA/Status.pm, pmxcfs status.c; recorded outputs.
"""

from __future__ import annotations

import json
import re
import stat

from pve_corosync.tools import corosync as corosync_output
from pve_corosync.tools.corosync import OutputError

_STATES = (
    ("not-in-cluster", re.compile(r"Corosync config '.*' does not exist")),
    (
        "corosync-stopped",
        re.compile(r"Cannot initialize (CMAP|QUORUM|VOTEQUORUM|CFG) service|CS_ERR_LIBRARY"),
    ),
    ("pmxcfs-stopped", re.compile(r"ipcc_send_rec|Unable to load access control list|not mounted")),
    ("no-quorum", re.compile(r"no quorum|not ready - no quorum", re.IGNORECASE)),
)


def pve_state(stderr: str) -> str:
    """Return why a PVE tool failed, read from its stderr, as its exit codes do not tell.

    :returns: ``not-in-cluster``, ``corosync-stopped``, ``pmxcfs-stopped``, ``no-quorum`` or ``""``.
    """
    return next((state for state, pattern in _STATES if pattern.search(stderr)), "")


def _last(text):
    lines = [line for line in text.split("\n") if line.strip()]
    return lines[-1] if lines else "(nothing on stderr)"


def pvecm_status(stdout: str, stderr: str = "", rc: int = 0) -> dict:
    """Return what ``pvecm status`` tells; exit code 2 alone may be "no quorum" or "not in a cluster".

    :returns: ``{"state": "quorate" | "no-quorum" | "not-in-cluster" | "corosync-stopped" | "pmxcfs-stopped",
        "cluster": {"name", "version", "transport", "secauth"} | None, "quorum": as :func:`quorum` |
        None}``; the cluster part is from the cluster file, the rest from the running daemon.
    :raises OutputError: a line that does not fit, or another failure.
    """
    cluster, rest = None, stdout
    if stdout.lstrip().startswith("Cluster information"):
        head, mark, tail = stdout.partition("Quorum information")
        rest = mark + tail
        keys = dict(re.findall(r"^([\w ]+):[ \t]*(\S*)[ \t]*$", head, re.MULTILINE))
        version = keys.get("Config Version", "")
        if not re.fullmatch(r"[0-9]+", version):
            raise OutputError("pvecm status", head, "no line 'Config Version:'")
        cluster = {
            "name": keys.get("Name"),
            "version": int(version),
            "transport": keys.get("Transport"),
            "secauth": keys.get("Secure auth"),
        }
    if rest.strip():
        seen = corosync_output.quorum(rest)
        return {"state": "quorate" if seen["quorate"] else "no-quorum", "cluster": cluster, "quorum": seen}
    state = pve_state(stderr)
    if not state:
        raise OutputError("pvecm status", _last(stderr), f"failed with exit code {rc}")
    return {"state": state, "cluster": cluster, "quorum": None}


def pvecm_nodes(stdout: str, stderr: str = "", rc: int = 0) -> dict:
    """Return what ``pvecm nodes`` tells: the nodes of this partition only, and rc 0 without quorum too.

    :returns: ``{"state": "ok" | as :func:`pve_state`, "nodes": {nodeid: {"name", "votes", "local",
        "qdevice"}}}``.
    :raises OutputError: a line that does not fit, or another failure.
    """
    if stdout.strip():
        return {"state": "ok", "nodes": corosync_output.members(stdout)}
    state = pve_state(stderr)
    if not state:
        raise OutputError("pvecm nodes", _last(stderr), f"failed with exit code {rc}")
    return {"state": state, "nodes": {}}


#: strerror of ENOENT in the C locale, which children run in.
NO_SUCH_FILE = "No such file or directory"


def local_link(text: str) -> dict:
    """Return what ``stat -c %f`` of the link ``/etc/pve/local`` tells: ``{"mounted", "writable", "said"}``.

    It is a symbolic link where pmxcfs is mounted, and its owner may write where this partition may (pmxcfs
    cfs-plug-link.c, PVE/Cluster.pm check_cfs_quorum). ``said`` is an error other than that there is no such
    file: a pmxcfs that died leaves its mount behind.

    :param text: the mode in hexadecimal digits, or what stat said; "" if there is no such file.
    """
    text = text.strip()
    try:
        mode, said = int(text or "0", 16), ""
    except ValueError:
        mode, said = 0, "" if NO_SUCH_FILE in text else text
    link = stat.S_ISLNK(mode)
    return {"mounted": link, "writable": link and bool(mode & stat.S_IWUSR), "said": said}


def hangs(state: dict) -> bool:
    """Tell whether ``/etc/pve`` gives no answer.

    :param state: what ``pmxcfs.state`` tells, or ``pmxcfs`` of the facts.
    """
    return bool(state.get("hung")) or state.get("state") == "hung"


def why_not(state: dict) -> str:
    """Return why ``/etc/pve`` cannot be written, "" if nothing is known that says so.

    :param state: as for :func:`hangs`.
    """
    if hangs(state):
        return hung()
    if state.get("said"):
        return f"/etc/pve gives no answer ({state['said']}): systemctl status pve-cluster"
    if not state.get("mounted"):
        return "/etc/pve is not mounted: systemctl status pve-cluster"
    return "" if state.get("writable") else "/etc/pve is read-only: this partition is not quorate"


def hung(timeout: float | None = None) -> str:
    """Return the words for a pmxcfs that gives no answer.

    :param timeout: seconds that it had; None if that does not matter.
    """
    after = "" if timeout is None else f" within {timeout:g} s"
    return (
        f"/etc/pve did not answer{after}: pmxcfs hangs, see journalctl -u pve-cluster (a resync may be slow)"
    )


def pmxcfs_members(text: str) -> dict:
    """Return the content of ``/etc/pve/.members``.

    :returns: ``{"nodename", "version", "cluster": {"name", "version", "nodes", "quorate": bool} | None,
        "nodelist": {name: {"id", "online": bool, "ip": address | None}}}``; no cluster and no nodes on a
        node that is alone, or whose pmxcfs has not reached corosync since its start.
    :raises OutputError: not the JSON that pmxcfs writes.
    """
    try:
        data = json.loads(text)
        cluster = data.get("cluster")
        return {
            "nodename": data["nodename"],
            "version": int(data["version"]),
            "cluster": cluster
            and {
                "name": cluster["name"],
                "version": int(cluster["version"]),
                "nodes": int(cluster["nodes"]),
                "quorate": bool(cluster["quorate"]),
            },
            "nodelist": {
                name: {"id": int(entry["id"]), "online": bool(entry["online"]), "ip": entry.get("ip")}
                for name, entry in sorted(data.get("nodelist", {}).items())
            },
        }
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise OutputError("/etc/pve/.members", text[:80], f"not understood ({err})") from None


_JOB = r"([1-9][0-9]{2,8}-\d{1,9})"
_SR_LIST = re.compile(_JOB + r"\s+(\S+)\s+(\S.*?)\s+(\S+)\s+(yes|no)\s*\Z")
_SR_TIME = r"(\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d|-|pending)"
_SR_STATUS = re.compile(
    _JOB
    + r"\s+(Yes|No)\s+(\S+)\s+"
    + _SR_TIME
    + r"\s+"
    + _SR_TIME
    + r"\s+([\d.]+(?:e-?\d+)?|-)\s+(\d+)(?: (.*))?\Z",
    re.DOTALL,
)


def _job_rows(tool, text):
    """Cut a table into its rows; a row that does not start with a job belongs to the one before it."""
    rows = []
    for line in text.split("\n"):
        if re.match(_JOB + r"\s", line):
            rows.append(line)
        elif rows:
            rows[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("JobID "):
            raise OutputError(tool, line)
    return [row.rstrip() for row in rows]


def pvesr_list(text: str) -> dict:
    """Return what ``pvesr list`` prints: the replication jobs of the whole cluster.

    :returns: ``{job: {"target": node, "schedule": text, "rate": text | None, "enabled": bool}}``.
    :raises OutputError: a line that does not fit.
    """
    found = {}
    for row in _job_rows("pvesr list", text):
        match = _SR_LIST.match(row)
        if not match:
            raise OutputError("pvesr list", row)
        found[match[1]] = {
            "target": match[2].removeprefix("local/"),
            "schedule": match[3],
            "rate": None if match[4] == "-" else match[4],
            "enabled": match[5] == "yes",
        }
    return found


def pvesr_status(stdout: str, stderr: str = "", rc: int = 0) -> dict:
    """Return what ``pvesr status`` prints: the jobs of guests on this node.

    :returns: ``{job: {"enabled": bool, "target": node, "last_sync": text | None, "next_sync": text | None,
        "duration_s": float | None, "fail_count": int, "state": "OK" | "SYNCING" | the error, over several
        lines where it has them}}``; times are the node's local ``YYYY-MM-DD_HH:MM:SS``, ``next_sync`` may
        be ``pending``.
    :raises OutputError: a line that does not fit; the call failed (without quorum it does, after 10 s).
    """
    if rc:
        raise OutputError("pvesr status", _last(stderr), f"failed with exit code {rc}")
    found = {}
    for row in _job_rows("pvesr status", stdout):
        match = _SR_STATUS.match(row)
        if not match:
            raise OutputError("pvesr status", row)
        found[match[1]] = {
            "enabled": match[2] == "Yes",
            "target": match[3].removeprefix("local/"),
            "last_sync": None if match[4] == "-" else match[4],
            "next_sync": None if match[5] == "-" else match[5],
            "duration_s": None if match[6] == "-" else float(match[6]),
            "fail_count": int(match[7]),
            "state": (match[8] or "").strip(),
        }
    return found


_HA_NODE = re.compile(
    r"(master|lrm) (\S+) \((.*?)(?:, (watchdog \w+))?"
    r"(?:, (\w{3} \w{3} +\d+ [\d:]+ \d{4}))?\)(.*)\Z"
)
_HA_FENCING = re.compile(r"fencing (\w+)(?:, resource mode: (\w+))? ?(?:\((.*)\))?\Z")
_HA_SERVICE = re.compile(r"service (\S+) \((\S+), (.*)\)\Z")
_STALE = ("old timestamp", "unable to read", "detected time drift")


def ha_status(stdout: str, stderr: str = "", rc: int = 0) -> dict:
    """Return what ``ha-manager status`` prints, before and after pve-ha-manager 5.1.3.

    :returns: ``{"quorate": bool, "master": {"node", "status", "time"} | None, "fencing": "armed" |
        "standby" | "disarming" | "disarmed" | None (older), "resource_mode": "freeze" | "ignore" | None,
        "lrms": {node: {"status", "watchdog": "active" | "standby" | "released" | None (older), "time"}},
        "services": {sid: {"node", "state"}}, "configured": bool, "armed": bool, "certain": bool}``.
        ``armed``: some node may hold a watchdog. It is True as well where the text cannot exclude it (a
        stale or unreadable LRM status); ``certain`` is False then. What settles it on a node is
        /run/watchdog-mux.active.
    :raises OutputError: a line that does not fit, or the call failed (only pmxcfs being down was seen to do
        that).
    """
    if rc:
        raise OutputError("ha-manager status", _last(stderr), f"failed with exit code {rc}")
    found = {
        "quorate": None,
        "master": None,
        "fencing": None,
        "resource_mode": None,
        "lrms": {},
        "services": {},
    }
    for line in stdout.split("\n"):
        line = line.rstrip()
        if line == "full cluster state:":
            break
        if line:
            _ha_line(found, line)
    if found["quorate"] is None:
        raise OutputError("ha-manager status", stdout, "no line 'quorum'")
    found["configured"] = bool(found["services"]) or found["master"] is not None
    found["armed"], found["certain"] = _ha_armed(found)
    return found


def _ha_line(found, line):
    if line.startswith("quorum "):
        found["quorate"] = line == "quorum OK"
    elif match := _HA_NODE.match(line):
        entry = {"status": match[3], "time": match[5]}
        if match[1] == "master":
            found["master"] = {"node": match[2], **entry}
        else:
            found["lrms"][match[2]] = {**entry, "watchdog": match[4] and match[4].removeprefix("watchdog ")}
    elif match := _HA_FENCING.match(line):
        found["fencing"], found["resource_mode"] = match[1], match[2]
    elif match := _HA_SERVICE.match(line):
        found["services"][match[1]] = {"node": match[2], "state": match[3]}
    else:
        raise OutputError("ha-manager status", line)


def _ha_armed(found):
    """Tell (armed, certain); an LRM holds a watchdog while active or in maintenance, the CRM as master."""
    fencing, lrms = found["fencing"], found["lrms"].values()
    holders = [
        lrm["watchdog"] == "active"
        if lrm["watchdog"]
        else lrm["status"] in ("active", "lost_agent_lock", "maintenance mode", "restart mode")
        for lrm in lrms
    ]
    master = found["master"] or {"status": ""}
    crm = fencing in ("armed", "disarming") or (fencing is None and master["status"] == "active")
    if crm or any(holders):
        return True, True
    if any(lrm["status"].startswith(_STALE) for lrm in lrms) or master["status"].startswith(_STALE):
        return True, False
    return False, True
