"""The facts of another node, from what a fixed list of reading commands printed there.

A node that has no master asks its peers over PVE's own ssh. :data:`SCRIPT` is what runs on the peer: it holds
nothing that comes from data, changes nothing, and prints one line a command as soon as it has ended, so that
a command that hangs costs only what comes after it. :func:`parse` turns the lines into what
``corosync.facts`` returns.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from pve_corosync import conf
from pve_corosync.cluster import ha
from pve_corosync.node import etc_pve
from pve_corosync.tools import corosync, hosts, pve

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
    ("link", 'stat --cached=never -c %f "$R/etc/pve/local"'),
    ("cluster_file", 'cat "$R/etc/pve/corosync.conf"'),
    ("members", 'cat "$R/etc/pve/.members"'),
    ("resources", 'cat "$R/etc/pve/ha/resources.cfg"'),
    ("manager", 'cat "$R/etc/pve/ha/manager_status"'),
)

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
    """A peer's answer is not what the script prints; the text says what it is."""


def parse(answer: str, minion: str = "") -> dict:
    """Return the facts of a node, in the shape of ``corosync.facts``.

    :param answer: what :data:`SCRIPT` printed, perhaps broken off.
    :param minion: the minion id that the pillar gives this node.
    :raises FactsError: not one line of it is there.
    """
    told = _Told(answer)
    cmap = told.parsed("cmap", corosync.cmap, "corosync-cmapctl")
    running = corosync.runtime(cmap) if cmap else None
    stats = told.parsed("stats", corosync.cmap, "corosync-cmapctl -m stats") if running else None
    mode = _mode(told.text("link"))
    mounted, writable = etc_pve.is_link(mode), etc_pve.is_writable(mode)
    local, shared = told.copy("local"), told.copy("cluster_file") if mounted else None
    addresses = told.parsed("addresses", corosync.ip_addresses, "ip -j addr")
    known = _known(local, shared)
    members = told.parsed("members", pve.pmxcfs_members, ".members") if mounted else None
    unit = [line.partition("=")[2] for line in told.text("unit").split() if line.startswith("ActiveState=")]
    facts = {
        "node": _name(running, known, addresses, told.text("host").strip().split(".")[0]),
        "minion": minion,
        "time": _number(told.text("time")),
        "corosync": {
            "version": told.parsed("version", corosync.corosync_version, "corosync -v"),
            "state": (unit or ["unknown"])[0],
        },
        "local": local,
        "cluster_file": shared,
        "runtime": running,
        "links": corosync.link_stats(stats, running) if stats else {},
        "quorum": told.parsed("quorum", corosync.quorum, "corosync-quorumtool") if running else None,
        "pmxcfs": {"mounted": mounted, "writable": writable, "members": members},
        "addresses": addresses,
        "cards": corosync.ip_cards(told.text("addresses")) if addresses else {},
        "names": (
            None
            if told.code("hosts")
            else hosts.names(told.text("hosts"), sorted({*known, *(running["nodes"] if running else ())}))
        ),
        "authkey": _key(told),
        "ha": _ha(told, mounted),
        "busy": _busy(told),
        "routes": [],  # asked of a node by itself only
        "database": None,  # a peer is not asked to read all of it; the rule says that it is not known
        "undo": _undo(told),
        "problems": told.problems,
    }
    if not mounted:
        told.problems.append("/etc/pve is not mounted: systemctl status pve-cluster")
    return facts


class _Told:
    """The answer by command, and what could not be read of it."""

    def __init__(self, answer):
        self.rows, self.problems = {}, []
        for line in answer.splitlines():
            words = line.split(" ")
            if len(words) == 3 and words[0] in dict(COMMANDS) and words[1].isdigit():
                try:
                    self.rows[words[0]] = (
                        int(words[1]),
                        base64.b64decode(words[2], validate=True).decode("latin-1"),
                    )
                except binascii.Error:
                    continue  # the last line of an answer that was broken off
        if not self.rows:
            raise FactsError(f"no facts in the answer: {answer.strip()[:200] or 'it is empty'}")
        late = [name for name, _ in COMMANDS if name not in self.rows]
        if late:
            self.problems.append(f"no answer in time: {', '.join(late)}")

    def text(self, name):
        return self.rows.get(name, (1, ""))[1]

    def code(self, name):
        return self.rows.get(name, (1, ""))[0]

    def parsed(self, name, parse_, tool):
        """Return what a command printed, parsed; None, and a problem, if it is empty or not understood."""
        if self.text(name).strip():
            try:
                return parse_(self.text(name))
            except corosync.OutputError as exc:
                self.problems.append(str(exc))
                return None
        if name in self.rows:
            self.problems.append(f"{tool}: exit code {self.code(name)}, no text")
        return None

    def copy(self, name):
        """Return ``{"version", "sha256", "text"}`` of a configuration; None if it is not there."""
        if self.code(name):
            if name == "local":
                self.problems.append("/etc/corosync/corosync.conf does not exist or cannot be read")
            return None
        text = self.text(name)
        doc = _document(text)
        if doc is None or not doc.version:
            self.problems.append(f"{name.replace('_', ' ')}: no totem.config_version can be read")
        return {
            "version": doc.version or None if doc else None,
            "text": text,
            "sha256": hashlib.sha256(text.encode("latin-1")).hexdigest(),
        }


def _document(text):
    try:
        return conf.parse(text)
    except conf.ConfError:
        return None


def _known(*copies):
    """Return ``{name: [addresses]}`` of the nodes in the copies that parse."""
    known: dict[str, list] = {}
    for copy in copies:
        doc = _document(copy["text"]) if copy else None
        for name, node in (doc.nodes() if doc else {}).items():
            known.setdefault(name, []).extend(node["addresses"].values())
    return known


def _name(running, known, addresses, host):
    for name, node in (running["nodes"] if running else {}).items():
        if node["nodeid"] == running["nodeid"]:
            return name
    if host in known:
        return host
    own = {row.split("/")[0] for rows in (addresses or {}).values() for row in rows}
    return next((name for name, rows in known.items() if own.intersection(rows)), host)


def _mode(text):
    try:
        return int(text.strip(), 16)
    except ValueError:
        return 0


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None


def _key(told):
    words, digest = told.text("keymode").split(), told.text("key").split()
    if told.code("key") or len(words) != 2 or not digest:
        return None
    return {"sha256": digest[0].lstrip("\\"), "mode": words[0].zfill(4), "owner": words[1]}


def _ha(told, mounted):
    facts = {"armed": told.code("watchdog") == 0, "configured": None, "resources": None, "disarm": None}
    if not mounted:
        return facts
    facts["resources"] = sorted(ha.resources(told.text("resources")))
    facts["configured"] = bool(facts["resources"])
    if told.text("manager").strip():
        try:
            facts["disarm"] = json.loads(told.text("manager")).get("disarm")
        except ValueError:
            told.problems.append("/etc/pve/ha/manager_status is not JSON")
    return facts


def _undo(told):
    try:
        return json.loads(told.text("undo") or "null")
    except ValueError:
        return None


def _busy(told):
    try:
        run = json.loads(told.text("busy"))
        now = _number(told.text("time"))
        return {key: run[key] for key in ("txn", "by", "since")} if now and run["until"] > now else None
    except (ValueError, KeyError, TypeError):
        return None
