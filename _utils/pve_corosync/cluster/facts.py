"""
The facts of a node, built from what it was asked: here by child processes, or over ssh by a script.

A node that has no master asks its peers over PVE's own ssh. :data:`SCRIPT` is what runs on the peer: it holds
nothing that comes from data, changes nothing, and prints one line a command as soon as it has ended, so that
a command that hangs costs only what comes after it. :func:`parse` turns the lines into rows, and
:func:`build` makes the facts of the rows, whoever asked for them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import NamedTuple

from pve_corosync import conf
from pve_corosync.cluster import ha
from pve_corosync.tools import corosync, hosts, pve

#: a file that another process of that node renames is missing once, for a moment (pmxcfs, measured).
_TWICE = """sh -c 'cat "$0" || { sleep 0.1; cat "$0"; }' """
#: what is read, in this order; ``/etc/pve`` comes last, since it can hang.
COMMANDS = (
    ("time", "date +%s.%N"),
    ("host", "uname -n"),
    ("version", "corosync -v"),
    ("unit", "systemctl show corosync -p ActiveState"),
    (
        "cmap",
        "corosync-cmapctl totem. nodelist. runtime.config.totem. runtime.votequorum. runtime.members."
        " config.",
    ),
    ("stats", "corosync-cmapctl -m stats stats.knet."),
    ("quorum", "corosync-quorumtool -siH"),
    ("addresses", "ip -d -j addr"),
    ("local", 'cat "$R/etc/corosync/corosync.conf"'),
    ("hosts", 'cat "$R/etc/hosts"'),
    ("key", 'sha256sum "$R/etc/corosync/authkey"'),
    ("keymode", 'stat -c "%a %U:%G" "$R/etc/corosync/authkey"'),
    ("busy", 'cat "$R/run/pve-corosync/run.json"'),
    ("undo", 'cat "$R/var/lib/pve-corosync/undo.json"'),
    ("watchdog", 'test -d "$R/run/watchdog-mux.active"'),
    ("link", """sh -c 'exec stat --cached=never -c %f "$0" 2>&1' "$R/etc/pve/local\""""),
    ("cluster_file", _TWICE + '"$R/etc/pve/corosync.conf"'),
    ("members", 'cat "$R/etc/pve/.members"'),
    ("resources", _TWICE + '"$R/etc/pve/ha/resources.cfg"'),
    ("manager", _TWICE + '"$R/etc/pve/ha/manager_status"'),
)
#: rows of files in ``/etc/pve``: row -> path relative to it.
PVE_FILES = {
    "cluster_file": "corosync.conf",
    "members": ".members",
    "resources": "ha/resources.cfg",
    "manager": "ha/manager_status",
}
#: what runs out of time under timeout(1).
TIMED_OUT = (124, 137)
#: states of ``/etc/pve``.
MOUNTED, HUNG, NOT_MOUNTED = "mounted", "hung", "not mounted"

#: ``RING_ROOT`` is for tests; a node has no such variable.
SCRIPT = (
    'export LC_ALL=C PATH="$PATH:/usr/sbin:/usr/bin:/sbin:/bin"\nR=${RING_ROOT-}\n'
    'told() { printf "%s %s %s\\n" "$1" "$2" "$(base64 -w0 <"$T")"; }\n'
    "T=$(mktemp) || exit 1\ntrap 'rm -f \"$T\"' EXIT\n"
    + "".join(
        f'timeout -k 1 3 {command} >"$T" 2>/dev/null </dev/null; told {name} $?\n'
        for name, command in COMMANDS
    )
)


class FactsError(ValueError):
    """
    A peer's answer is not what the script prints; the text says what it is.
    """


class Row(NamedTuple):
    """
    What one question brought: exit code (None: no answer in time), text, and what was said instead of it.
    """

    code: int | None
    text: str = ""
    said: str = ""

    @property
    def late(self) -> bool:
        """
        Whether no answer came in time.
        """
        return self.code is None or self.code in TIMED_OUT

    @property
    def complaint(self) -> str:
        """
        Why there is no text, in words.
        """
        return "no answer in time" if self.late else self.said or f"exit code {self.code}, no text"


def parse(answer: str, minion: str = "") -> dict:
    """
    Return the facts of a node that was asked over ssh.

    :param answer: what :data:`SCRIPT` printed, perhaps broken off.
    :param minion: the minion id that the pillar gives this node.
    :raises FactsError: not one line of it is there.
    """
    rows = {}
    for line in answer.splitlines():
        words = line.split(" ")
        if len(words) == 3 and words[0] in dict(COMMANDS) and words[1].isdigit():
            try:
                text = base64.b64decode(words[2], validate=True).decode("latin-1")
            except binascii.Error:
                continue  # the last line of an answer that was broken off
            rows[words[0]] = Row(int(words[1]), text)
    if not rows:
        raise FactsError(f"no facts in the answer: {answer.strip()[:200] or 'it is empty'}")
    return build(rows, minion)


def build(rows: dict, minion: str = "") -> dict:
    """
    Return the facts of a node, the one shape of them: ``corosync.facts`` says what is in it.

    :param rows: ``{name of a question in COMMANDS: Row}``; one that is missing was not answered in time.
    :param minion: its minion id.
    """
    return _Builder(rows).facts(minion)


class _Builder:
    """
    The answers of one node, and what could not be read of them.
    """

    def __init__(self, rows):
        self.rows = {name: rows.get(name, Row(None)) for name, _command in COMMANDS}
        self.problems = []

    def facts(self, minion):
        version = self.parsed("version", corosync.corosync_version, "corosync -v")
        cmap = self.parsed("cmap", corosync.cmap, "corosync-cmapctl")
        running = corosync.runtime(cmap) if cmap else None
        stats = self.parsed("stats", corosync.cmap, "corosync-cmapctl -m stats") if running else None
        quorum = self.parsed("quorum", corosync.quorum, "corosync-quorumtool") if running else None
        pmxcfs = self.pmxcfs()
        local, shared = self.copy("local", "local file"), self.copy("cluster_file", "cluster file")
        addresses = self.parsed("addresses", corosync.ip_addresses, "ip -j addr")
        known = known_nodes(local, shared)
        node = own_name(running, known, addresses, self.text("host").strip().split(".")[0])
        return {
            "node": node,
            "minion": minion,
            "time": _number(self.text("time")),
            "corosync": {"version": version, "state": self.unit()},
            "local": local,
            "cluster_file": shared,
            "runtime": running,
            "links": corosync.link_stats(stats, running) if stats else {},
            "quorum": quorum,
            "pmxcfs": pmxcfs,
            "addresses": addresses,
            "cards": corosync.ip_cards(self.text("addresses")) if addresses else {},
            "names": self.names(sorted({node, *known, *(running["nodes"] if running else ())})),
            "authkey": self.key(),
            "ha": self.ha(pmxcfs),
            "busy": self.busy(),
            "routes": [],  # asked of a node by itself only
            "database": None,  # a peer is not asked to read all of it; the rule says that it is not known
            "undo": self.undo(),
            "problems": self.problems,
        }

    def text(self, name):
        return self.rows[name].text

    def parsed(self, name, parse_, tool):
        """
        Return what a command printed, parsed; None, and a problem, if it is late, empty or not understood.
        """
        row = self.rows[name]
        if row.text.strip() and not row.late:
            try:
                return parse_(row.text)
            except corosync.OutputError as exc:
                self.problems.append(str(exc))
                return None
        self.problems.append(f"{tool}: {row.complaint}")
        return None

    def unit(self):
        rows = dict(line.split("=", 1) for line in self.text("unit").splitlines() if "=" in line)
        return rows.get("ActiveState") or "unknown"

    def pmxcfs(self):
        """
        Return ``{"state", "mounted", "writable", "members"}``; one that hangs is not "not mounted".
        """
        link = self.rows["link"]
        seen = pve.local_link("" if link.late else link.said or link.text if link.code else link.text)
        late = [PVE_FILES[name] for name in PVE_FILES if self.rows[name].late]
        state = HUNG if link.late or late and seen["mounted"] else MOUNTED if seen["mounted"] else NOT_MOUNTED
        if state == HUNG:
            said = link.said or "no answer in time"
            self.problems.append(f"/etc/pve hangs: {said}: journalctl -u pve-cluster")
        elif state == NOT_MOUNTED:
            self.problems.append(pve.why_not(seen))
        self.mounted = state == MOUNTED
        for name, path in PVE_FILES.items():
            if self.mounted and self.rows[name].said:
                self.problems.append(f"/etc/pve/{path}: {self.rows[name].said}")
        told = {"state": state, "mounted": self.mounted, "writable": self.mounted and seen["writable"]}
        return told | {"said": seen["said"], "members": self.members()}

    def members(self):
        row = self.rows["members"]
        if not self.mounted or row.code:
            return None
        try:
            return pve.pmxcfs_members(row.text)
        except corosync.OutputError as exc:
            self.problems.append(str(exc))
            return None

    def copy(self, name, what):
        """
        Return ``{"version", "sha256", "text"}`` of a configuration, None if it is not there; the version is
        None if corosync could not read it.
        """
        row = self.rows[name]
        if row.code != 0 or name == "cluster_file" and not self.mounted:
            if name == "local":
                self.problems.append(
                    row.said or "/etc/corosync/corosync.conf does not exist or cannot be read"
                )
            return None
        return described(row.text, what, self.problems)

    def names(self, nodes):
        """
        Return what the hosts file says about the nodes, in its order; nothing is asked of a resolver.
        """
        row = self.rows["hosts"]
        if row.code != 0:
            self.problems.append(row.said or "/etc/hosts cannot be read")
            return None
        return hosts.names(row.text, nodes)

    def key(self):
        """
        Return digest, mode and owner of the cluster's key; the key itself stays on its node.
        """
        digest, words = self.text("key").split(), self.text("keymode").split()
        if self.rows["key"].code != 0 or not digest or len(words) != 2:
            if self.rows["key"].said:
                self.problems.append(self.rows["key"].said)
            return None
        return {"sha256": digest[0].lstrip("\\"), "mode": words[0].zfill(4), "owner": words[1]}

    def ha(self, pmxcfs):
        """
        Return whether the HA watchdog is held open here, and whether HA has something to do in the cluster.
        """
        told = {"armed": self.rows["watchdog"].code == 0, "configured": None, "resources": None}
        told["disarm"] = None
        if not pmxcfs["mounted"]:
            return told
        told["resources"] = sorted(ha.resources(self.text("resources")))
        told["configured"] = bool(told["resources"])
        if self.text("manager").strip():
            try:
                told["disarm"] = json.loads(self.text("manager")).get("disarm")
            except (ValueError, AttributeError, RecursionError):
                self.problems.append("/etc/pve/ha/manager_status is not JSON of the HA manager")
        return told

    def busy(self):
        """
        Return the run that holds this node, None if none does.
        """
        try:
            run = json.loads(self.text("busy"))
            now = _number(self.text("time"))
            return {key: run[key] for key in ("txn", "by", "since")} if now and run["until"] > now else None
        except (ValueError, KeyError, TypeError):
            return None

    def undo(self):
        """
        Return what a run that was cut off has to undo here, None if nothing.
        """
        try:
            told = json.loads(self.text("undo") or "null")
        except (ValueError, RecursionError):
            return None
        return told if isinstance(told, dict) else None


def described(text: str | None, what: str, problems: list) -> dict | None:
    """
    Return ``{"version", "sha256", "text"}`` of a configuration; the version is None if corosync could not
    read it.

    :param text: one character per byte; None if there is none.
    :param what: of the file, for the problem.
    :param problems: gets a text if there is no version.
    """
    if text is None:
        return None
    doc = _document(text)
    version = doc.version or None if doc else None
    if version is None:
        problems.append(f"{what}: no totem.config_version can be read")
    return {"version": version, "sha256": hashlib.sha256(text.encode("latin-1")).hexdigest(), "text": text}


def known_nodes(*copies) -> dict:
    """
    Return ``{name: [addresses]}`` of the nodes in copies of the configuration that parse.

    :param copies: what :func:`described` returns.
    """
    known: dict[str, list] = {}
    for copy in copies:
        doc = _document(copy["text"]) if copy else None
        for name, node in (doc.nodes() if doc else {}).items():
            known.setdefault(name, []).extend(node["addresses"].values())
    return known


def own_name(running: dict | None, known: dict, addresses: dict | None, host: str) -> str:
    """
    Return a node's name in corosync: of the running daemon, else the one in a configuration that fits.

    :param running: the runtime.
    :param known: what :func:`known_nodes` returns.
    :param addresses: ``{card: [address/prefix]}``.
    :param host: its host name, without a domain.
    """
    for name, node in (running["nodes"] if running else {}).items():
        if node["nodeid"] == running["nodeid"]:
            return name
    if host in known:
        return host
    own = {row.split("/")[0] for rows in (addresses or {}).values() for row in rows}
    return next((name for name, rows in known.items() if own.intersection(rows)), host)


def _document(text):
    try:
        return conf.parse(text)
    except conf.ConfError:
        return None


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None
