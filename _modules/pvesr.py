"""
ZFS replication of Proxmox VE on this node: the jobs, running them with a bound, and proof of the way they
take.

``pvesr`` prints no address when it succeeds, has no time limit (a dead address blocks it for 2 minutes), and
its exit code means little without ``--id``. So a job is run one by one, after a short test of the same ssh,
and the sockets of its own ssh processes are looked at while it runs.

:depends: pve-manager (pvesr), openssh-client, pmxcfs, pve_node
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module
    below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import os
import re
import time

import salt.utils.path
from pve_corosync.node import children, replication_job
from pve_corosync.node import files as node_files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, datacenter, pve, ssh
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "pvesr"

__func_alias__ = {"list_": "list"}

LOG_FOLDER = "/var/log/pve/replicate"
LIST_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5
MAX_WAIT = 3600.0
#: a job whose log is younger is at work.
LOG_FRESH = 30.0
LOG_LINES = 60


def __virtual__():
    if salt.utils.path.which("pvesr"):
        return __virtualname__
    return (False, "pvesr is not installed (package pve-manager)")


def list_():
    """
    Return the replication jobs of the whole cluster: ``{job: {"target", "schedule", "rate", "enabled"}}``.

    It works without quorum. On which node a job runs is not in it: that is where its guest is.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvesr.list
    """
    result = children.run(["pvesr", "list"], timeout=LIST_TIMEOUT)
    if result["rc"] != 0:
        raise CommandExecutionError(f"pvesr list: {children.complaint(result)}")
    return _parsed(pve.pvesr_list, children.text(result))


def status():
    """
    Return the state of the jobs of guests on this node: ``{job: {"enabled", "target", "last_sync",
    "next_sync", "duration_s", "fail_count", "state"}}``; ``state`` is OK, SYNCING or the text of the last
    error.

    Refused at once without quorum, where the tool would block for 10 s and fail.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pvesr.status
    """
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(
            f"pvesr status needs quorum (it takes the cluster-wide lock of replication.cfg), and {why};"
            " pvesr.list works without"
        )
    result = children.run(["pvesr", "status"], timeout=LIST_TIMEOUT)
    err = children.text(result, "err")
    if result["late"]:
        raise CommandExecutionError(
            f"pvesr status gave no answer within {LIST_TIMEOUT:g} s: see journalctl -u pve-cluster"
        )
    return _parsed(pve.pvesr_status, children.text(result), err, result["rc"])


def path(target):
    """
    Tell which address PVE's ssh to a node goes to now, and by what.

    target
        The node's name.

    Returns ``{"target", "address", "source": "members"|"resolver", "network": cidr|None, "known_hosts":
    bool}``. ``members`` is ``/etc/pve/.members``; a node that has no address there is looked up with this
    node's resolver. ``network`` is a replication network from datacenter.cfg: the first ssh goes to
    ``address``, the rest to the peer's address in that network.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvesr.path pve2
    """
    shell.check("pvesr.path", locals())
    _require_name(target)
    known = f"nodes/{target}/ssh_known_hosts"
    files = __salt__["pmxcfs.files"](known, "datacenter.cfg")
    node = (__salt__["pmxcfs.members"]().get("nodelist") or {}).get(target)
    if node is None:
        raise CommandExecutionError(f"{target} is no node of this cluster (not in /etc/pve/.members)")
    address, source = node.get("ip"), "members"
    if not address:
        address, source = __salt__["pve_node.resolve"](target)[0], "resolver"
    networks = datacenter.networks(datacenter.parse(files["datacenter.cfg"] or ""))
    network = next((cidr for cidr, users in networks.items() if "replication" in users), None)
    return {
        "target": target,
        "address": address,
        "source": source,
        "network": network,
        "known_hosts": files[known] is not None,
    }


def probe(target):
    """
    Connect to a node with PVE's own ssh options, bounded to 5 s for the connection, and return what its sshd
    saw.

    target
        The node's name.

    Returns ``{"target", "address", "source", "ok": bool, "connection": {"from", "from_port", "to", "to_port"}
    | None, "error": text, "seconds"}``; ``connection`` is SSH_CONNECTION as the peer's sshd set it. It does
    not raise when the connection fails.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvesr.probe pve2
    """
    shell.check("pvesr.probe", locals())
    way = path(target)
    command = ssh.ssh_command(
        target,
        way["address"],
        ["printenv", "SSH_CONNECTION"],
        known_hosts=way["known_hosts"],
        connect_timeout=CONNECT_TIMEOUT,
    )
    command = [part.replace("=/etc/pve/", f"={_path('/etc/pve')}/") for part in command]
    result = children.run(command, timeout=CONNECT_TIMEOUT + 5.0)
    told = ssh.connection(children.text(result)) if result["rc"] == 0 else None
    error = ""
    if result["rc"] != 0:
        error = children.complaint(result)
    elif told is None:
        error = f"the peer did not tell its SSH_CONNECTION: {children.text(result)[:80]!r}"
    return {
        "target": target,
        "address": way["address"],
        "source": way["source"],
        "ok": not error,
        "connection": told,
        "error": error,
        "seconds": round(result["seconds"], 3),
    }


def run(job, timeout=150, check=True):
    """
    Run one replication job now and return how it went and which address its data took.

    job
        Its id, e.g. ``100-0``. Its guest must be on this node. Quorum is not needed.

    timeout
        Seconds to wait, at most 3600. A job that is not done by then is left running, and reported so, while
        its ssh is connected or it writes its log; else it is ended, with all that it started, and reported as
        late. A dead address alone takes 2 minutes.

    check
        Try the same ssh first (``pvesr.probe``), which tells within 5 s that the address is dead, and then
        leave the job alone.

    Returns ``{"job", "target", "ok": bool, "running": bool, "late": bool, "error": text, "seconds", "path":
    …, "probe": …, "seen": {"addresses": [ip], "sockets": [{"local", "remote", "remote_port", "state"}]},
    "log": [lines]}``: ``path`` is where PVE's ssh should go, taken before; ``seen`` are the connections of
    the job's own ssh processes while it ran; ``log`` is the job's log afterwards. It does not raise when the
    job fails.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvesr.run 100-0
    """
    shell.check("pvesr.run", locals())
    if not re.fullmatch(r"[1-9][0-9]{2,8}-\d{1,9}", str(job)):
        raise SaltInvocationError(f"job {job!r}: an id like 100-0 is needed, see pvesr.list")
    jobs = list_()
    if job not in jobs:
        raise CommandExecutionError(f"there is no job {job}; there are: {', '.join(sorted(jobs)) or 'none'}")
    target = jobs[job]["target"]
    answer = {
        "job": job,
        "target": target,
        "ok": False,
        "running": False,
        "late": False,
        "error": "",
        "seconds": 0.0,
        "path": path(target),
        "probe": None,
        "seen": {"addresses": [], "sockets": []},
        "log": [],
    }
    if check:
        answer["probe"] = probe(target)
        if not answer["probe"]["ok"]:
            answer["error"] = (
                f"not run, ssh to {target} at {answer['path']['address']}: {answer['probe']['error']}"
            )
            return answer
    before = _log_stamp(job)
    result, seen = _run_watched(job, shell.seconds(timeout, most=MAX_WAIT), target)
    answer.update(
        ok=result["rc"] == 0,
        running=result["running"],
        late=result["late"],
        seconds=round(result["seconds"], 3),
    )
    answer["seen"] = {"addresses": sorted({item["remote"] for item in seen}), "sockets": seen}
    if not answer["ok"]:
        answer["error"] = _why(result, answer)
    answer["log"] = _log_lines(job) if _log_stamp(job) != before else []
    log.info("replication job %s to %s: %s", job, target, "done" if answer["ok"] else answer["error"])
    return answer


def run_all(targets=None, timeout=150, budget=900):
    """
    Run every enabled job of the guests on this node, one after the other, and name those that fail.

    targets
        Only jobs to these nodes; default all.

    timeout
        Seconds to wait for one job.

    budget
        Seconds for all; jobs that were not begun by then are named in ``failed``.

    Needs quorum, because only ``pvesr status`` tells which jobs run here. After a failed ssh to a node its
    other jobs are not tried. After a job that is left running none is begun, as PVE runs one at a time; its
    scheduler does them next. Returns ``{"ok": bool, "jobs": {job: as pvesr.run}, "failed": {job: error},
    "running": {job: text}, "skipped": {job: why}}``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pvesr.run_all
    """
    shell.check("pvesr.run_all", locals())
    end = time.monotonic() + shell.seconds(budget, most=MAX_WAIT)
    done, failed, running, skipped, dead = {}, {}, {}, {}, {}
    for job, told in sorted(status().items()):
        if targets is not None and told["target"] not in targets:
            skipped[job] = f"its target {told['target']} is not asked for"
        elif not told["enabled"]:
            skipped[job] = "disabled"
        elif running:
            running[job] = f"not begun, as job {next(iter(running))} still runs; PVE's scheduler runs it next"
        elif time.monotonic() >= end:
            failed[job] = f"not begun: the {shell.seconds(budget, most=MAX_WAIT):g} s for all jobs are over"
        elif told["target"] in dead:
            failed[job] = dead[told["target"]]
        else:
            done[job] = run(
                job, timeout=min(shell.seconds(timeout, most=MAX_WAIT), max(1.0, end - time.monotonic()))
            )
            if not done[job]["ok"]:
                (running if done[job]["running"] else failed)[job] = done[job]["error"]
            if done[job]["probe"] and not done[job]["probe"]["ok"]:
                dead[told["target"]] = done[job]["error"]
    return {"ok": not failed, "jobs": done, "failed": failed, "running": running, "skipped": skipped}


def accepted(since, source=None, user="root"):
    """
    Return the logins that this node's sshd accepted, from its journal: the proof of where a peer's ssh came
    from.

    since
        Seconds since the epoch (this node's clock).

    source
        Only logins from this address.

    user
        Only logins as this user.

    Returns ``[{"time": epoch, "user", "method", "from", "port"}]``, oldest first.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvesr.accepted 1763900000 198.51.100.10
    """
    shell.check("pvesr.accepted", locals())
    try:
        start = float(since)
    except (TypeError, ValueError):
        raise SaltInvocationError(f"since {since!r}: seconds since the epoch are needed") from None
    command = ["journalctl", "--no-pager", "-o", "json", "--since", f"@{int(start)}"]
    for name in ssh.SSHD_NAMES:
        command += ["-t", name]
    result = children.run(command, timeout=LIST_TIMEOUT)
    if result["rc"] not in (0, 1):  # 1: no entry
        raise CommandExecutionError(f"journalctl: {children.complaint(result)}")
    return [
        login
        for login in ssh.accepted(children.text(result))
        if login["time"] >= start and login["user"] == user and source in (None, login["from"])
    ]


def _path(path):  # pylint: disable=redefined-outer-name
    return shell.path(__opts__, path)


def _require_name(name):
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", str(name)):
        raise SaltInvocationError(f"{name!r} is no node name")


def _parsed(parser, *arguments):
    try:
        return parser(*arguments)
    except corosync.OutputError as exc:
        raise CommandExecutionError(str(exc)) from exc


def _run_watched(job, timeout, target):
    """
    Run a job in a session of its own, and meanwhile note the connections of its ssh towards ``target``.

    A job that is not done when the wait ends is left running while it works: the first sync after an outage
    takes as long as it takes. One that does not is ended with all that it started.
    """
    before, seen = _log_stamp(job), {}
    work = replication_job.Job(["pvesr", "run", "--id", job, "--verbose"], _path("/proc"))

    def look():
        for item in work.sockets(target):
            item = {key: value for key, value in item.items() if key not in ("pid", "node")}
            seen[item["local"], item["local_port"], item["remote"], item["state"]] = item

    running = late = False
    if not work.watch(timeout, look):
        running = _works(work, target, job, before)
        late = not running
    if late:
        work.end()
    result = work.result() | {"running": running, "late": late, "pid": work.pid}
    return result, sorted(seen.values(), key=lambda item: (item["local_port"], item["state"]))


def _works(work, target, job, before):
    """
    Tell whether a job that is not done goes on: its ssh is connected, or it has just written its log.
    """
    if any(item["state"] == "ESTABLISHED" for item in work.sockets(target)):
        return True
    stamp = _log_stamp(job)
    return stamp not in (None, before) and time.time() - stamp / 1e9 < LOG_FRESH


def _why(result, answer):
    ways = (
        ", ".join(sorted({f"{s['remote']} ({s['state']})" for s in answer["seen"]["sockets"]}))
        or "no connection seen"
    )
    if result["running"]:
        return f"still running after {answer['seconds']:.0f} s, as process {result['pid']}; its ssh: {ways}"
    if result["late"]:
        return f"not done after {answer['seconds']:.0f} s and at a standstill, ended; its ssh: {ways}"
    said = ssh.reason(children.text(result), children.text(result, "err"), result["rc"])
    return said + _lock_holder() if ssh.locked(said) else said


def _lock_holder():
    """
    Return what another pvesr, which holds the lock of all replication of this node, waits for, in words.
    """
    found = [
        f"; the lock is held by another replication, whose ssh (process {row['pid']}) is at {row['remote']}"
        f" ({row['state']}) towards {row['node']}; on a dead address it ends by itself after 2 minutes, or:"
        f" kill {row['pid']}"
        for row in replication_job.replication_ssh(_path("/proc"))
    ]
    return "".join(dict.fromkeys(found))


def _log_stamp(job):
    try:
        return os.stat(_path(f"{LOG_FOLDER}/{job}")).st_mtime_ns
    except FileNotFoundError:
        return None


def _log_lines(job):
    data = node_files.read(_path(f"{LOG_FOLDER}/{job}")) or b""
    return data.decode("latin-1").splitlines()[-LOG_LINES:]
