"""Rules about the copies of corosync.conf: do they parse, in both grammars, and do they say the same.

A fault in the text that edits start from is an error, since edits keep its bytes; in any other copy it is a
warning, since the plan overwrites it.
"""

from __future__ import annotations

import re

from pve_corosync import addresses as ip
from pve_corosync import link_options
from pve_corosync.cluster import base
from pve_corosync.findings import finding
from pve_corosync.rules import by_hand

# One plan raises the version by a handful of steps; strtoull ends at 2^64-1.
HIGHEST_VERSION = 2**64 - 1 - 64
_LINES = "correct that (lines `key: value`, each section once, comments on lines of their own)"
_ANEW = "nothing, the next change of the links writes it anew"
LEFTOVERS = ("bindnetaddr", "ringnumber", "mcastaddr", "broadcast", "ttl")


def parsable(context):
    """Each copy parses; one of them at least is there."""
    for text in context.texts:
        if text.view is None:
            told = "; ".join(_problem(problem) for problem in text.problems)
            yield finding(
                "conf-unparsable",
                f"{text.where()}: does not parse: {told}",
                data={"places": text.places, "problems": text.problems},
                remedy=(
                    "nothing, the plan replaces it"
                    if context.base
                    else f"correct it and test it with: corosync -t -c {_path(text)}"
                ),
            )
    if context.base is None and context.nodes:  # silence says nothing about a file
        silent = [node for node in context.silent if node not in context.skip]
        yield finding(
            "conf-none",
            f"no copy of corosync.conf that parses on {', '.join(context.nodes)}"
            + (f"; of {', '.join(silent)} nothing is known" if silent else ""),
            data={"nodes": list(context.nodes), "silent": silent},
            remedy=f"first make {', '.join(silent)} answer, a good copy may be there"
            if silent
            else "restore /etc/corosync/corosync.conf from a backup (/var/lib/pve-corosync/backups)",
        )


def there(context):
    """Each node has its local file, and the cluster file where /etc/pve is mounted."""
    for node, facts in context.nodes.items():
        if not facts.get("local"):
            yield finding(
                "local-file-missing",
                f"{node}: /etc/corosync/corosync.conf is missing",
                data={"node": node},
                remedy="nothing, the plan writes it",
            )
        if not facts.get("cluster_file") and (facts.get("pmxcfs") or {}).get("mounted"):
            yield finding(
                "cluster-file-missing",
                f"{node}: /etc/pve is mounted and holds no corosync.conf: the node "
                "is in no cluster, or pmxcfs runs in local mode",
                data={"node": node},
                remedy=f"on {node}: ps -o args= -C pmxcfs; then systemctl restart pve-cluster",
            )


def grammars(context):
    """Both readers, corosync and PVE, read each copy, and read the same.

    An error is only what would remain in the goal's file: links, interface blocks, version are written anew.
    """
    remaining = set()
    if context.base:
        lines = {_shape(item): item["line"] for item in context.base.view["lint"]}
        for item in context.aimed():
            remaining.add(_shape(item))
            item = item | {"line": lines.get(_shape(item))}  # the line in the copy, not in the goal's file
            yield finding(
                "conf-grammar",
                f"{context.base.where()}: {_problem(item)}",
                data={"places": context.base.places} | item,
                forceable=item["reader"] == "PVE",  # corosync runs the file as it is
                remedy=by_hand.change(context, _LINES)
                + ("; or force=conf-grammar" if item["reader"] == "PVE" else ""),
            )
    for text in _parsed(context):
        for item in text.view["lint"]:
            if text is not context.base or _shape(item) not in remaining:
                yield finding(
                    "conf-grammar",
                    f"{text.where()}: {_problem(item)}",
                    severity="warning",
                    data={"places": text.places} | dict(item),
                    remedy=_ANEW,
                )


def _shape(item: dict) -> tuple:
    """The same problem in two texts: its numbers (lines, versions) differ, its words do not."""
    return item["reader"], re.sub(r"[0-9]+", "N", item["text"])


def transport(context):
    """The transport is knet."""
    for text in _parsed(context):
        value = text.view["totem"].get("transport", "knet")
        if value != "knet":
            yield finding(
                "transport-not-knet",
                f"{text.where()}: totem.transport is {value!r}; allowed: knet",
                severity=context.severity(text),
                data={"places": text.places, "value": value},
                remedy="stop corosync on all nodes, drop totem.transport, start it",
            )


def cluster_name(context):
    """Every copy and every runtime carries the name of the pillar."""
    wanted = context.layout["cluster_name"]
    seen = [(text.where(), text.view["cluster_name"]) for text in _parsed(context)]
    seen += [(f"runtime of {node}", runtime.get("cluster_name")) for node, runtime in context.runtime()]
    for where, name in seen:
        if name != wanted:
            yield finding(
                "cluster-other",
                f"{where}: cluster {name!r}, the pillar says {wanted!r}",
                data={"where": where, "value": name, "wanted": wanted},
                remedy="check that the minion belongs to this cluster; then correct corosync:cluster_name",
            )


def members(context):
    """The pillar and the nodelist name the same nodes with the same nodeids."""
    if not context.base:
        return
    where, rows = context.base.where(), {row["name"]: row for row in context.base.view["nodes"]}
    for name, node in context.layout["nodes"].items():
        if name not in rows and (other := _listing(context, name)):
            yield finding(
                "node-not-in-cluster",
                f"{name}: in the pillar and in the nodelist of {other}, not in that of {where}: two "
                "nodelists contradict each other",
                data={"node": name},
                remedy=f"if {name} belongs to it: give {where} the nodelist of {other} with config_version "
                f"{context.highest + 1}, then corosync-cfgtool -R there; else drop corosync:nodes:{name}",
            )
        elif name not in rows:
            yield finding(
                "node-not-in-cluster",
                f"{name}: in the pillar, not in the nodelist ({where})",
                data={"node": name},
                remedy=f"on {name}: pvecm add <a member>; or drop corosync:nodes:{name}",
            )
        elif rows[name]["nodeid"] != node["nodeid"]:
            yield finding(
                "nodeid-mismatch",
                f"{name}: nodeid {node['nodeid']} in the pillar, "
                f"{rows[name]['nodeid']} in the nodelist ({where})",
                data={"node": name, "pillar": node["nodeid"], "nodelist": rows[name]["nodeid"]},
                remedy=f"set corosync:nodes:{name}:nodeid to {rows[name]['nodeid']}",
            )
    for name in rows:
        if name and name not in context.layout["nodes"]:
            yield finding(
                "node-not-in-pillar",
                f"{name}: in the nodelist ({where}), not in the pillar; the goal would "
                "leave it without a link",
                data={"node": name},
                remedy=f"add corosync:nodes:{name} to the pillar; or, if it is gone: pvecm delnode {name}",
            )
    for node, runtime in context.runtime():
        wanted = (context.layout["nodes"].get(node) or {}).get("nodeid")
        if wanted and runtime.get("nodeid") not in (None, wanted):
            yield finding(
                "nodeid-mismatch",
                f"{node}: nodeid {wanted} in the pillar, {runtime['nodeid']} in the runtime",
                data={"node": node, "pillar": wanted, "runtime": runtime["nodeid"]},
                remedy=f"check that minion {context.layout['nodes'][node]['minion']} is {node}",
            )


def _listing(context, name: str) -> str:
    """Return where a nodelist has a node that the base's has not, or ""."""
    places = [t.where() for t in _parsed(context) if name in [row["name"] for row in t.view["nodes"]]]
    places += [
        f"runtime of {node}" for node, runtime in context.runtime() if name in runtime.get("nodes", ())
    ]
    return "; ".join(places)


def nodelist(context):
    """Each node of the nodelist has a name and IP addresses of its own."""
    for text in _parsed(context):
        where, severity, rows = text.where(), context.severity(text), text.view["nodes"]
        data = {"places": text.places}
        seen = {}
        names = [row["name"] for row in rows if row["name"]]
        for name in sorted({name for name in names if names.count(name) > 1}):
            ids = _join(row["nodeid"] for row in rows if row["name"] == name)
            yield finding(
                "name-duplicate",
                f"{where}: nodes {ids} are both called {name}: PVE keeps only the last",
                severity=severity,
                data=data | {"node": name},
                remedy=by_hand.change(context, "give each its own name", text),
            )
        for position, row in enumerate(rows):
            who = row["name"] or f"node {position + 1}"
            if not row["name"]:
                yield finding(
                    "name-missing",
                    f"{where}: {who} of the nodelist has no name",
                    severity=severity,
                    data=data | {"position": position},
                    remedy=by_hand.change(context, "add `name: <short host name>` to its node block", text),
                )
            for number, address in row["addresses"].items():
                if ip.parse(address) is None:
                    yield finding(
                        "ring-host-name",
                        f"{where}: ring{number}_addr of {who} is {address!r}, a name that "
                        "corosync has to resolve",
                        data=data | {"node": who, "link": number, "value": address},
                        remedy="nothing if the plan replaces the link; else write the IP address",
                    )
                first = seen.setdefault(ip.canonical(address), who)
                if first != who:
                    yield finding(
                        "ring-duplicate",
                        f"{where}: {address} is an address of {first} and of {who}",
                        data=data | {"value": address, "nodes": [first, who]},
                        remedy="check with `ip -br address` whose it is",
                    )


def interfaces(context):
    """Interface blocks hold no leftovers of older transports and no value out of range."""
    for text in _parsed(context):
        where, view, data = text.where(), text.view, {"places": text.places}
        for number, block in sorted(view["interfaces"].items()):
            left = [key for key in LEFTOVERS if key in block]
            if left:
                yield finding(
                    "interface-leftover",
                    f"{where}: interface {number} holds {_join(left)}, which knet does "
                    "not use and which can stop the next start",
                    data=data | {"link": number, "keys": left},
                    remedy=f"drop {_join(left)} with a higher config_version",
                )
            named = link_options.from_conf(block)
            for name, value in named.items():
                if not link_options.in_range(name, value):
                    yield finding(
                        "conf-value",
                        f"{where}: interface {number}: {name} {value!r}; allowed: "
                        f"{link_options.allowed(name)}",
                        severity="warning",
                        data=data | {"link": number, "key": name, "value": value},
                        remedy="nothing, the plan sets the options of the layout",
                    )


def version_number(context):
    """The version is a plain number, the same for corosync and for pmxcfs."""
    for text in _parsed(context):
        raw, number, fooled = text.view["version_text"], text.view["version"], text.pmxcfs_version
        if raw is None or not re.fullmatch(r"[0-9]+", raw):
            said = "is missing" if raw is None else f"is {raw!r}"
            yield finding(
                "version-not-number",
                f"{text.where()}: totem.config_version {said}; a reload with this file "
                "aborts corosync before 3.1.10",
                data={"places": text.places, "value": raw},
                remedy="nothing, the plan writes a higher version; do not reload before",
            )
        elif number != fooled:
            yield finding(
                "version-fooled",
                f"{text.where()}: corosync reads config_version {number}, pmxcfs {fooled}: it "
                "takes the first `config_version: N` of the file, in a comment too",
                severity=context.severity(text),
                data={"places": text.places, "corosync": number, "pmxcfs": fooled},
                remedy=by_hand.change(context, "drop the comment that holds config_version", text),
            )


def version_room(context):
    """The version can be raised above every copy."""
    if context.highest > HIGHEST_VERSION:
        yield finding(
            "version-exhausted",
            f"config_version {context.highest} cannot be raised; allowed: up to {HIGHEST_VERSION}",
            data={"value": context.highest},
            remedy=(
                "stop corosync on all nodes, set config_version to 1 in every local file and, after the "
                "start, in /etc/pve/corosync.conf"
            ),
        )


def same(context):
    """All copies hold the same bytes."""
    by_version = {}
    for text in _parsed(context):
        by_version.setdefault(text.version, []).append(text)
    for version, texts in sorted(by_version.items()):
        if len(texts) > 1 and version:
            told = " / ".join(text.where() for text in texts)
            yield finding(
                "copies-clash",
                f"version {version} with different bytes: {told}; pmxcfs overwrites the local "
                "file with the cluster file at its next start",
                data={"version": version},
                remedy="nothing, the plan writes one text with a higher version everywhere",
            )
    if len(by_version) > 1:
        told = " / ".join(
            f"{version}: {'; '.join(t.where() for t in texts)}"
            for version, texts in sorted(by_version.items())
        )
        yield finding(
            "copies-differ",
            f"the copies have different versions: {told}",
            data={"versions": sorted(by_version)},
            remedy="start no corosync with an older file; the plan writes one text everywhere",
        )


def dropped(context):
    """What a copy besides the base says outside the links goes nowhere, and that is told."""
    for text in _parsed(context):
        if text is context.base or text.version < context.base.version:
            continue
        differs = base.difference(text.text, context.base.text)
        if differs:
            yield finding(
                "copy-dropped",
                f"{text.where()}: version {text.version} is not taken over, the edits start from the "
                f"{context.base.where()} (version {context.base.version}); dropped: {'; '.join(differs)}",
                data={"places": text.places, "version": text.version, "differs": differs},
                remedy="if it was wanted: put it into /etc/pve/corosync.conf with a higher config_version "
                "afterwards; the plan keeps the file in /var/lib/pve-corosync/backups of its node",
            )


def running(context):
    """The runtime of each node has what its local file says."""
    local = {n: t for t in _parsed(context) for n, which in t.places if which == "local"}
    alike: list[tuple] = []  # what is the same on the next node is not compared again
    for node, runtime in context.runtime():
        text = local.get(node)
        if text is None:
            continue
        if runtime["version"] != text.version:
            yield finding(
                "runtime-version",
                f"{node}: the runtime has version {runtime['version']}, the local file {text.version}",
                data={"node": node, "runtime": runtime["version"], "file": text.version},
                remedy="nothing, the plan reloads with a higher version",
            )
        if any(text is other and runtime.get("nodes") == rows for other, rows in alike):
            continue
        same = True
        for row in text.view["nodes"]:
            have = {n: ip.canonical(a) for n, a in context.runtime_addresses(row["name"], runtime).items()}
            want = {n: ip.canonical(a) for n, a in row["addresses"].items()}
            if have != want:
                same = False
                yield finding(
                    "runtime-not-file",
                    f"{node}: the runtime has {row['name']} at {_told(have)}, the local "
                    f"file at {_told(want)}",
                    data={"node": node, "of": row["name"], "runtime": have, "file": want},
                    remedy="nothing, the plan reads the runtime; a restart now would change the links",
                )
        if same:
            alike.append((text, runtime.get("nodes")))


def _parsed(context):
    return [text for text in context.texts if text.view]


def _problem(item: dict) -> str:
    line, reader = item.get("line"), item.get("reader")
    return (f"line {line}: " if line else "") + item["text"] + (f" ({reader})" if reader else "")


def _path(text) -> str:
    local = any(which == "local" for _, which in text.places)
    return "/etc/corosync/corosync.conf" if local else "/etc/pve/corosync.conf"


def _told(addresses: dict) -> str:
    return ", ".join(f"{number}:{address}" for number, address in sorted(addresses.items())) or "no address"


def _join(items) -> str:
    return ", ".join(str(item) for item in items)


RULES = (
    parsable,
    there,
    grammars,
    transport,
    cluster_name,
    members,
    nodelist,
    interfaces,
    version_number,
    version_room,
    same,
    dropped,
    running,
)
