"""
What corosync, its files and its surroundings look like on this node.

The functions of this file change nothing. Those that do are in ``corosync_stage.py``, ``corosync_step.py``
and ``corosync_wait.py``; Salt joins all files with this virtual name into one module.

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import grp
import json
import os
import pwd
import re
import shutil
import socket
import tempfile
import time

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.cluster import facts as node_facts
from pve_corosync.cluster import memory
from pve_corosync.judge import same_pillar
from pve_corosync.node import (
    beacon_note,
    children,
    code,
    database,
    etc_pve,
    etc_pve_client,
    files,
    proofs,
    runs,
    undo,
)
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, iproute

__virtualname__ = "corosync"

AUTHKEY = "/etc/corosync/authkey"
HOSTS = "/etc/hosts"
#: exists as long as a client holds the HA watchdog open (pve-ha-manager, watchdog-mux.c).
WATCHDOG = "/run/watchdog-mux.active"

#: one deadline for all questions together; each is answered in some milliseconds by a healthy node. It must
#: lie well below what the runner waits for a node (``arguments``: gather_timeout), or a node on which one
#: tool hangs is taken for silent, and cannot say what hangs.
TIMEOUT = arguments.FACTS_S
CHECK_TIMEOUT = 20.0
#: keeps all but syntax errors from standard error.
QUIET = re.compile(rb"to_stderr\s*:\s*no\b")

CMAP_PARTS = (
    "totem.",
    "nodelist.",
    "runtime.config.totem.",
    "runtime.votequorum.",
    "runtime.members.",
    "config.",
)


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def facts(timeout=TIMEOUT, **kwargs):  # pylint: disable=unused-argument
    """
    Return everything that rules and plans need to know about this node, in one call.

    timeout
        Seconds that all tools together may take; they run at once.

    What cannot be read is None, with a text in ``problems``; a sick cluster never makes this function fail.
    ``/etc/pve`` is read in a child process, since it can hang.

    Returns ``{"node", "minion", "time", "corosync": {"version", "state"}, "local", "cluster_file", "runtime",
    "links", "quorum", "pmxcfs", "addresses", "cards", "names", "authkey", "ha", "busy", "undo", "code",
    "alive_for", "routes", "database", "pillar", "problems"}``. The key of the cluster is never in it, only
    its digest.
    ``pmxcfs`` has ``state``: ``mounted``, ``hung`` or ``not mounted``; ``alive_for`` is what the beacon saw;
    ``pillar`` is a digest of the pillar ``corosync`` that this minion has, empty where it has none.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.facts
    """
    shell.check("corosync.facts", locals())
    timeout = shell.seconds(timeout)
    answers = _ask("version", "unit", "cmap", "stats", "quorum", "pve", "addresses", timeout=timeout)
    rows = {name: _row(result) for name, result in answers.items() if name != "pve"}
    rows |= _pve_rows(answers["pve"], timeout)
    rows |= _file_rows()
    told = node_facts.build(rows, __opts__.get("id"))
    told["code"] = code.digest(os.path.dirname(os.path.abspath(__file__)))
    told["alive_for"] = beacon_note.alive_for(_root(), time.clock_gettime(time.CLOCK_BOOTTIME))
    told["routes"] = _routes(told["runtime"], told["links"])
    told["database"] = _database(told["quorum"], told["runtime"], told["problems"])
    told["pillar"] = same_pillar.digest(__pillar__.get("corosync"))
    return told


def proved(layout=None):
    """
    Tell whether this node can prove by itself that a layout is in force and nothing is to be done; nobody is
    asked.

    layout
        A layout of the pillar; default the one that the pillar wants.

    Everything that a proof goes by is compared with what it was when it was proved last; only what is
    different is proved anew, by ``corosync.prove``.

    Returns ``{"unproved": [text], "version", "note"}``; the note is for ``corosync.keep_proof``. A pillar
    that is wrong is not proved, and left to ``corosync.apply`` to tell.

    CLI Example:

    .. code-block:: bash

        salt-call corosync.proved
    """
    shell.check("corosync.proved", locals())
    told = facts()
    mark = memory.mark(told, shell.pillar(__pillar__), __opts__.get("id"), layout, proofs.look(_root()))
    if mark != proofs.proved(_root()):
        return __salt__["corosync.prove"](layout)
    return {"unproved": [], "version": told["runtime"]["version"], "note": memory.note(told)}


def check(conf):
    """
    Have this node's corosync check a configuration without using it: ``corosync -t``.

    conf
        The whole file, one character per byte (latin-1).

    It must run on the node concerned, because corosync looks for the local node in the file. Safe while the
    daemon runs (corosync exec/main.c). Versions 3.1.7 to 3.1.9 abort on a config_version that is no number;
    that is a refusal here like any other.

    Returns ``{"ok": bool, "text": text, "rc": int|None, "warnings": [text]}``; ``text`` has the reason.

    CLI Example:

    .. code-block:: bash

        salt pve1 corosync.check "$(cat /root/corosync.conf.new)"
    """
    shell.check("corosync.check", locals())
    data = shell.checked(runs.checked_conf, conf)
    result = _test_conf(data)
    told = _judged(result)
    if not told["ok"] and not result["err"].strip() and QUIET.search(data):
        # what the grammar does not catch goes through the log, which this file keeps from standard error
        # (measured)
        told["errors"] = _judged(_test_conf(QUIET.sub(b"to_stderr: yes", data)))["errors"]
    return {
        "ok": told["ok"],
        "text": "; ".join(told["errors"]),
        "rc": result["rc"],
        "warnings": told["warnings"],
    }


def links():
    """
    Return the links to every other node as the running daemon sees them.

    Returns ``{node: {link: {"connected", "enabled", "mtu", "latency_us", "down_count"}}}``, empty if corosync
    does not run here.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.links
    """
    answers = _ask("cmap", "stats")
    cmap = _cmap(answers["cmap"], [])
    return _links(answers["stats"], corosync.runtime(cmap), []) if cmap else {}


def quorum():
    """
    Return quorum and membership as ``corosync-quorumtool`` tells them; None if corosync does not run here.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.quorum
    """
    return _quorum(_ask("quorum")["quorum"], [])


def runtime():
    """
    Return what the running daemon has in cmap: version, nodes and addresses, timers; None if it does not run.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.runtime
    """
    cmap = _cmap(_ask("cmap")["cmap"], [])
    return corosync.runtime(cmap) if cmap else None


def running_version():
    """
    Return the ``totem.config_version`` of the running daemon, None if it does not run: one short process.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.running_version
    """
    result = children.run(["corosync-cmapctl", "totem.config_version"], timeout=TIMEOUT)
    return (_parsed(corosync.cmap, result, "corosync-cmapctl", []) or {}).get("totem.config_version")


def unit():
    """
    Return the state of corosync.service: ``{"state", "result", "exit_status"}``.

    A daemon that left because a peer has a higher config_version is ``inactive``, not ``failed``.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.unit
    """
    return _unit(_ask("unit")["unit"])


def node_name(conf=None):
    """
    Return this node's name in corosync: from the running daemon, else the one in a configuration that fits.

    conf
        The text of a configuration; default the local file.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.node_name
    """
    shell.check("corosync.node_name", locals())
    answers = _ask("cmap", "addresses")
    cmap = _cmap(answers["cmap"], [])
    text = conf or _file_row(files.LOCAL_CONF).text or None
    running = corosync.runtime(cmap) if cmap else None
    known = node_facts.known_nodes(node_facts.described(text, "", []))
    addresses = _parsed(corosync.ip_addresses, answers["addresses"], "ip -j addr", [])
    return node_facts.own_name(running, known, addresses, socket.gethostname().split(".")[0])


def _root():
    return shell.root(__opts__)


def _path(path):
    return shell.path(__opts__, path)


def _ask(*keys, timeout=TIMEOUT):
    """
    Run the commands of these questions at the same time.
    """
    request = {"do": "read", "names": list(node_facts.PVE_FILES.values()), "base": _path(etc_pve.BASE)}
    commands = {
        "version": ["corosync", "-v"],
        "unit": ["systemctl", "show", "corosync", "-p", "ActiveState,Result,ExecMainStatus"],
        "cmap": ["corosync-cmapctl", *CMAP_PARTS],
        "stats": ["corosync-cmapctl", "-m", "stats", "stats.knet."],
        "quorum": ["corosync-quorumtool", "-siH"],
        "pve": etc_pve.command(),
        "addresses": ["ip", "-d", "-j", "addr"],
    }
    data = {"pve": json.dumps(request).encode()}
    return children.run_all({key: commands[key] for key in keys}, timeout=timeout, data=data)


def _parsed(parse, result, tool, problems):
    """
    Return what a tool printed, parsed; None, and a problem, if it is late, silent or not understood.
    """
    said = children.text(result)
    if not result["late"] and said.strip():
        try:
            return parse(said)
        except corosync.OutputError as exc:
            problems.append(str(exc))
            return None
    problems.append(f"{tool}: {children.complaint(result)}")
    return None


def _cmap(result, problems):
    return _parsed(corosync.cmap, result, "corosync-cmapctl", problems)


def _links(result, running, problems):
    stats = _parsed(corosync.cmap, result, "corosync-cmapctl -m stats", problems)
    return corosync.link_stats(stats, running) if stats else {}


def _quorum(result, problems):
    return _parsed(corosync.quorum, result, "corosync-quorumtool", problems)


def _unit(result):
    rows = dict(line.split("=", 1) for line in children.text(result).splitlines() if "=" in line)
    status = rows.get("ExecMainStatus", "")
    return {
        "state": rows.get("ActiveState") or "unknown",
        "result": rows.get("Result"),
        "exit_status": int(status) if status.isdigit() else None,
    }


def _row(result):
    """
    Return the result of a child as a row of facts.
    """
    code = None if result["late"] else result["rc"]
    said = "" if result["late"] else children.complaint(result)
    return node_facts.Row(code, children.text(result), said)


def _pve_rows(result, timeout):
    """
    Return the rows of what the child read in ``/etc/pve``; one that hangs gives no answer to any.
    """
    hung = node_facts.Row(None, said=f"no answer within {timeout:g} s")
    broken = node_facts.Row(1)
    try:
        answer = etc_pve_client.answered(result, timeout)
    except etc_pve_client.NoAnswer as exc:
        link = hung if exc.late else node_facts.Row(1, said=str(exc))
        return {"link": link} | dict.fromkeys(node_facts.PVE_FILES, hung if exc.late else broken)
    mode = "a1ed" if answer["writable"] else "a16d" if answer["mounted"] else "0"  # as stat -c %f prints it
    rows = {"link": node_facts.Row(1, said=answer["said"]) if answer["said"] else node_facts.Row(0, mode)}
    for name, path in node_facts.PVE_FILES.items():
        text = answer["files"].get(path)
        rows[name] = broken if text is None else node_facts.Row(0, text)
        if path in answer["errors"]:
            rows[name] = node_facts.Row(1, said=answer["errors"][path])
    return rows


def _file_rows():
    """
    Return the rows of what is read on this node's own disk.
    """
    rows = {
        "time": node_facts.Row(0, repr(time.time())),
        "host": node_facts.Row(0, socket.gethostname()),
        "local": _file_row(files.LOCAL_CONF),
        "hosts": _file_row(HOSTS),
        "busy": _file_row(runs.RUN_FILE),
        "undo": _file_row(undo.RECORD),
        "watchdog": node_facts.Row(0 if os.path.isdir(_path(WATCHDOG)) else 1),
    }
    return rows | _key_rows()


def _file_row(name):
    path = _path(name)
    try:
        data = files.read(path)
    except OSError as exc:
        return node_facts.Row(1, said=f"{path}: {exc.strerror}")
    if data is None:
        return node_facts.Row(1, said=f"{path} does not exist")
    return node_facts.Row(0, data.decode("latin-1"))


def _routes(running, links):
    """
    Return where the kernel sends what goes over dead links: the cause may be a rule of another network.
    """
    ways = iproute.dead_ways(running, links) if running else []
    if not ways:
        return []
    asked = children.run_all({number: iproute.command(way) for number, way in enumerate(ways)}, timeout=1.0)
    return [way | {"dev": iproute.device(children.text(asked[number]))} for number, way in enumerate(ways)]


def _database(quorum, running, problems):
    """
    Return what ``/etc/pve`` holds, where this node is quorate without some of the others: the rule about
    halves compares it. None elsewhere.
    """
    if not quorum or not quorum["quorate"] or len(quorum["members"]) >= max(2, len(running["nodes"])):
        return None
    try:
        return database.index(_root())
    except OSError as exc:
        problems.append(str(exc))
        return None


def _key_rows():
    """
    Return the rows of the cluster's key: its digest, mode and owner; the key itself stays here.
    """
    path = _path(AUTHKEY)
    try:
        data = files.read(path)
        if data is None:
            return {"key": node_facts.Row(1), "keymode": node_facts.Row(1)}
        stat = os.stat(path)
    except OSError as exc:
        return {"key": node_facts.Row(1, said=f"{path}: {exc.strerror}"), "keymode": node_facts.Row(1)}
    owner = f"{_name_of(pwd.getpwuid, stat.st_uid)}:{_name_of(grp.getgrgid, stat.st_gid)}"
    return {
        "key": node_facts.Row(0, files.sha256(data)),
        "keymode": node_facts.Row(0, f"{stat.st_mode & 0o7777:04o} {owner}"),
    }


def _name_of(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def _test_conf(data):
    """
    Run ``corosync -t`` on a copy in a private directory, beside this node's own ``uidgid.d``.
    """
    folder = tempfile.mkdtemp(prefix="pve-corosync-check.")
    try:
        path = os.path.join(folder, "corosync.conf")
        with open(path, "wb") as file:
            file.write(data)
        os.symlink(_path("/etc/corosync/uidgid.d"), os.path.join(folder, "uidgid.d"))
        result = children.run(["corosync", "-t", "-c", path], timeout=CHECK_TIMEOUT)
        result["err"] = result["err"].replace(folder.encode() + b"/", b"")
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judged(result):
    if result["late"]:
        why = f"corosync -t: no answer within {CHECK_TIMEOUT:g} s: is a resolver of some ringX_addr dead?"
        return {"ok": False, "errors": [why], "warnings": []}
    return corosync.check_result(result["rc"], children.text(result), children.text(result, "err"))
