"""A small healthy cluster as pillar, facts and files, for the tests of the rules and of the checklist."""

import copy
import hashlib

from pve_corosync import conf as corosync_conf
from pve_corosync.pillar import layouts, schema

VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2", "pve3": "10.66.0.3"}
PUBLIC = {"pve1": "198.51.100.10", "pve2": "203.0.113.20", "pve3": "192.0.2.30"}


def pillar(nodes=2):
    names = sorted(VRACK)[:nodes]
    return {
        "cluster_name": "prod",
        "nodes": {
            name: {"nodeid": number, "addresses": {"vrack": VRACK[name], "public": PUBLIC[name]}}
            for number, name in enumerate(names, 1)
        },
        "layouts": {
            "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
            "degraded": {
                "links": {0: {"network": "public"}, 1: {"network": "vrack", "priority": 10}},
                "primary": "public",
            },
        },
        "layout": "nominal",
    }


def layout(name="nominal", nodes=2):
    return layouts.resolve(layouts.load(pillar(nodes)), name)


def conf(links=None, nodes=2, version=5, cluster_name="prod", totem=None):
    """The text of a file in PVE's form."""
    names = sorted(VRACK)[:nodes]
    links = links or {0: {"addresses": {name: VRACK[name] for name in names}, "options": {}}}
    rows = {name: {"nodeid": number} for number, name in enumerate(names, 1)}
    return corosync_conf.render(cluster_name, rows, links, version, totem).decode("latin-1")


def file_facts(text, version=None):
    if version is None:
        version = corosync_conf.pmxcfs_version(text.encode("latin-1"))
    return {"version": version, "sha256": hashlib.sha256(text.encode("latin-1")).hexdigest(), "text": text}


def facts(name, nodes=2, text=None):
    """What corosync.facts returns on a healthy node whose file, cluster file and runtime are ``text``."""
    text = text or conf(nodes=nodes)
    document = corosync_conf.parse(text.encode("latin-1"))
    rows = document.nodes()
    links = sorted({number for row in rows.values() for number in row["addresses"]})
    return {
        "node": name,
        "minion": name,
        "time": 1763900000.0,
        "corosync": {"version": "3.1.7", "state": "active"},
        "local": file_facts(text),
        "cluster_file": file_facts(text),
        "runtime": {
            "version": document.version,
            "cluster_name": document.cluster_name,
            "reload_status": 1,
            "nodeid": rows[name]["nodeid"],
            "token": 3000,
            "consensus": 3600,
            "nodes": {n: {"nodeid": r["nodeid"], "addresses": dict(r["addresses"])} for n, r in rows.items()},
            "joined": {r["nodeid"]: {"status": "joined", "version": document.version} for r in rows.values()},
            "interfaces": {n: {"knet_ping_interval": "750", "knet_ping_timeout": "1500"} for n in links},
        },
        "links": {
            other: {
                n: {"connected": True, "enabled": True, "mtu": 1397, "latency_us": 180, "down_count": 0}
                for n in links
            }
            for other in rows
            if other != name
        },
        "quorum": {
            "quorate": True,
            "ring_id": "1.1e",
            "expected": nodes,
            "highest_expected": nodes,
            "total": nodes,
            "quorum": nodes // 2 + 1,
            "flags": ["Quorate"],
            "members": sorted(r["nodeid"] for r in rows.values()),
        },
        "pmxcfs": {
            "mounted": True,
            "writable": True,
            "members": {
                "nodename": name,
                "version": 6,
                "cluster": {"name": "prod", "version": document.version, "nodes": nodes, "quorate": True},
                "nodelist": {n: {"id": r["nodeid"], "online": True, "ip": VRACK[n]} for n, r in rows.items()},
            },
        },
        "addresses": {
            "lo": ["127.0.0.1/8", "::1/128"],
            "eno1": [PUBLIC[name] + "/24"],
            "eno2": [VRACK[name] + "/24"],
        },
        "names": {n: [VRACK[n]] for n in rows},
        "authkey": {"sha256": "ab" * 32, "mode": "0400", "owner": "root:root"},
        "ha": {"armed": False, "configured": False},
        "busy": None,
        "problems": [],
    }


def observed(nodes=2, text=None):
    return {"nodes": {name: facts(name, nodes, text) for name in sorted(VRACK)[:nodes]}, "silent": []}


def rewrite(world, text, node=None, which=("local", "cluster_file"), version=None):
    """Give one node, or all of them, other files."""
    for name in [node] if node else list(world["nodes"]):
        for key in which:
            world["nodes"][name][key] = file_facts(text, version)
    return world


def changed(world, path, value):
    """Return a copy with one value set, e.g. ``nodes.pve1.quorum.expected``."""
    world = copy.deepcopy(world)
    *head, last = path.split(".")
    at = world
    for key in head:
        at = at[key]
    at[last] = value
    return world


def codes(findings, severity=None):
    return sorted({item["code"] for item in findings if severity in (None, item["severity"])})


def problems(given):
    """Every problem of a pillar at once, warnings too."""
    return schema.check(layouts.plain(given))[0]
