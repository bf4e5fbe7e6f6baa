"""A simulated cluster behind the execution module ``corosync``: a JSON file instead of daemons.

All minions of a test share the file that the minion config ``sim_cluster`` names::

    {"shared": conf text, "dead": [network],
     "nodes": {name: {"local", "running", "faults": {…}, "lock", "outcomes"}}}

Links connect where both running files have the same addresses of them and their network is alive; partitions,
quorum and a writable cluster file follow. Faults of a node: ``facts_delay`` (seconds), ``stage`` (text),
``steps`` ({number: text}), ``step_delay`` ({number: seconds}), ``loses_answer`` ([number]: the step is done,
its answer does not come).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time

from pve_corosync import conf
from pve_corosync.node import code
from pve_corosync.pillar import layouts

__virtualname__ = "corosync"

TIMEOUT = 3.0


def __virtual__():
    return __virtualname__ if __opts__.get("sim_cluster") else (False, "no sim_cluster in the minion config")


def facts(timeout=TIMEOUT, **kwargs):
    name = __opts__["id"]
    with _state() as state:
        row = state["nodes"][name]
        delay = row["faults"].get("facts_delay", 0)
        told = _facts(state, name)
    time.sleep(delay)
    return told


def fleet_facts(timeout=3):
    """As the real one: the facts, and the pillar that the minion has."""
    return {"facts": facts(timeout=timeout), "pillar": layouts.plain(__pillar__.get("corosync"))}


def watch_facts(timeout=TIMEOUT):
    """As the real one: the facts, and what the daemon says of its links (see ``corosync_look``)."""
    return {
        "facts": facts(timeout=timeout),
        "look": __salt__["corosync_look.look"](),
        "ago": 0.0,
    }


def simulated_look():
    """What ``corosync_look.look`` of the simulation returns."""
    with _state() as state:
        told = _facts(state, __opts__["id"])
    links = {
        peer: {str(n): link["connected"] for n, link in rows.items()} for peer, rows in told["links"].items()
    }
    return {
        "state": "running",
        "age": 500.0,
        "node": told["node"],
        "nodeid": told["runtime"]["nodeid"],
        "nodes": sorted(told["runtime"]["nodes"]),
        "members": sorted(
            peer
            for peer, row in told["runtime"]["nodes"].items()
            if row["nodeid"] in told["quorum"]["members"]
        ),
        "quorate": told["quorum"]["quorate"],
        "version": told["runtime"]["version"],
        "local": told["local"]["version"],
        "links": links,
        "downs": {peer: dict.fromkeys(rows, 1) for peer, rows in links.items()},
        "pongs": {peer: dict.fromkeys(rows, 1) for peer, rows in links.items()},
    }


def stage(txn, steps, by="", ttl=900, takes_over=(), back=None, look=False):  # pylint: disable=too-many-arguments
    while takes_over and _at_work():
        time.sleep(0.1)
    with _state() as state:
        row = state["nodes"][__opts__["id"]]
        if row["lock"] and row["lock"] != txn and row["lock"] not in takes_over:
            return {
                "ok": False,
                "checks": [{"version": 0, "sha256": "", "ok": False, "text": f"held by {row['lock']}"}],
            }
        checks = []
        for entry in steps:
            try:
                conf.parse(entry["conf"])
                said = row["faults"].get("stage", "")
            except conf.ConfError as exc:
                said = str(exc)
            checks.append(
                {"version": entry["version"], "sha256": _digest(entry["conf"]), "ok": not said, "text": said}
            )
        ok = all(check["ok"] for check in checks)
        if ok:
            row["lock"], row["back"] = txn, back and back["layout"]
    told = {"ok": ok, "checks": checks, "back": ""}
    return told | ({"look": __salt__["corosync_look.look"]()} if look else {})


def step(txn, step, writer="", phase=""):
    name, number = __opts__["id"], step["number"]
    with _state() as state:
        row = state["nodes"][name]
        stored = row["outcomes"].get(f"{txn} {number} {phase}")
        delay = row["faults"].get("step_delay", {}).get(str(number), 0)
        fault = row["faults"].get("steps", {}).get(str(number), "")
        lost = number in row["faults"].get("loses_answer", [])
        row["calls"] = row.get("calls", []) + [[txn, number, step["act"]]]
        row["at_work"] = row.get("at_work", 0) + (not stored)
    if stored:
        return stored
    begun = time.time()
    time.sleep(delay)
    outcome = {
        "node": name,
        "txn": txn,
        "number": number,
        "act": step["act"],
        "phase": phase,
        "ok": False,
        "error": fault,
        "seen": {},
        "missing": [],
        "notes": [],
        "log": [],
        "started": begun,
        "seconds": {},
    }
    if not fault:
        _act(name, step, writer)
        _wait(name, step, outcome)
    with _state() as state:
        if fault:
            outcome["seen"] = _seen(state, name)
        outcome["ok"] = not outcome["error"] and not outcome["missing"]
        state["nodes"][name]["outcomes"][f"{txn} {number} {phase}"] = outcome
        state["nodes"][name]["at_work"] -= 1
    if lost:
        time.sleep(30)
    return outcome


def outcome(txn, number, phase="", wait=0):
    end = time.time() + wait
    while True:
        working = bool(wait) and _at_work()
        with _state() as state:
            found = state["nodes"][__opts__["id"]]["outcomes"].get(f"{txn} {number} {phase}")
        if found or not working:
            return found
        if time.time() > end:
            return {"under_way": True}
        time.sleep(0.05)


def _at_work():
    with _state() as state:
        return state["nodes"][__opts__["id"]].get("at_work", 0) > 0


def finish(txn, confirm=0):
    with _state() as state:
        row = state["nodes"][__opts__["id"]]
        held, row["lock"] = row["lock"] == txn, None
        row["back"] = row.get("back") if confirm else None
        return held


def disarm_back(txn=None):
    with _state() as state:
        row = state["nodes"][__opts__["id"]]
        layout, row["back"] = row.get("back"), None
        return layout


def _act(name, step, writer):
    with _state() as state:
        if step["act"] == "local":
            state["nodes"][name]["local"] = state["nodes"][name]["running"] = step["conf"]
        elif name == writer:
            if not _quorate(state, name):
                raise ValueError("the cluster file is read-only here")
            state["shared"] = step["conf"]
            if step["act"] == "cluster":
                for peer in _partition(state, name):
                    state["nodes"][peer]["local"] = state["nodes"][peer]["running"] = step["conf"]


def _wait(name, step, outcome):
    end = time.time() + min(step["deadline_s"], 6)
    while True:
        with _state() as state:
            seen, wanted = _seen(state, name), step["wait"]
            missing = [] if seen["version"] == step["version"] else [f"runs version {seen['version']}"]
            for link, pairs in wanted["connected"].items():
                for pair in pairs:
                    for peer in pair if name in pair else ():
                        if peer != name and not seen["connected"].get(int(link), {}).get(peer):
                            missing.append(f"link {link} to {peer} not connected")
            missing += [f"not {key}" for key in ("quorate", "writable") if wanted[key] and not seen[key]]
            if step["act"] != "local" and state["shared"] != step["conf"]:
                missing.append("the cluster file has other bytes")
        if not missing or time.time() > end:
            break
        time.sleep(0.05)
    outcome.update(seen=seen, missing=missing)
    outcome["seconds"] = {"quorate": round(time.time() - outcome["started"], 3)} if seen["quorate"] else {}


def _seen(state, name):
    links = _links(state, name)
    numbers = {number for rows in links.values() for number in rows}
    return {
        "version": conf.parse(state["nodes"][name]["running"]).version,
        "quorate": _quorate(state, name),
        "writable": _quorate(state, name),
        "ring_id": _ring(state, name),
        "connected": {
            n: {peer: rows[n]["connected"] for peer, rows in links.items() if n in rows} for n in numbers
        },
    }


def _map(text):
    return {n: link["addresses"] for n, link in conf.parse(text).links().items()}


def _links(state, name):
    """What this node's daemon says of every other node."""
    mine, found = _map(state["nodes"][name]["running"]), {}
    for peer, row in state["nodes"].items():
        if peer == name:
            continue
        theirs = _map(row["running"])
        found[peer] = {
            number: {
                "connected": theirs.get(number) == addresses
                and not row["faults"].get("off")
                and not any(part in addresses[name] for part in state["dead"]),
                "enabled": True,
                "mtu": 1397,
                "latency_us": 180,
                "down_count": 0,
            }
            for number, addresses in mine.items()
        }
    return found


def _partition(state, name):
    return [name] + [
        peer for peer, rows in _links(state, name).items() if any(r["connected"] for r in rows.values())
    ]


def _quorate(state, name):
    return 2 * len(_partition(state, name)) > len(state["nodes"])


def _ring(state, name):
    return "-".join(sorted(_partition(state, name)))


def _copy(text):
    return {"version": conf.parse(text).version, "sha256": _digest(text), "text": text}


def _facts(state, name):
    row = state["nodes"][name]
    running = conf.parse(row["running"])
    nodes, group = running.nodes(), _partition(state, name)
    ids = sorted(nodes[peer]["nodeid"] for peer in group)
    quorate, votes = _quorate(state, name), len(nodes)
    return {
        "node": name,
        "minion": name,
        "time": time.time(),
        "corosync": {"version": "3.1.7", "state": "active"},
        "local": _copy(row["local"]),
        "cluster_file": _copy(state["shared"]),
        "runtime": {
            "version": running.version,
            "cluster_name": running.cluster_name,
            "reload_status": 1,
            "nodeid": nodes[name]["nodeid"],
            "token": 3000,
            "consensus": 3600,
            "nodes": {
                n: {"nodeid": r["nodeid"], "addresses": dict(r["addresses"])} for n, r in nodes.items()
            },
            "interfaces": {n: dict(link["options"]) for n, link in running.links().items()},
        },
        "links": _links(state, name),
        "quorum": {
            "quorate": quorate,
            "ring_id": _ring(state, name),
            "expected": votes,
            "highest_expected": votes,
            "total": len(group),
            "quorum": votes // 2 + 1,
            "flags": ["Quorate"] if quorate else [],
            "members": ids,
        },
        "pmxcfs": {"mounted": True, "writable": quorate, "members": None},
        "addresses": {f"eth{n}": [f"{a}/24"] for n, a in enumerate(state["addresses"][name])},
        "names": {peer: [state["addresses"][peer][0]] for peer in nodes},
        "authkey": {"sha256": "k" * 64, "mode": "0400", "owner": "root:root"},
        "ha": {"armed": False, "configured": False, "resources": [], "disarm": None},
        "undo": None,
        "busy": {"txn": row["lock"], "by": "", "since": 0.0} if row["lock"] else None,
        "code": code.digest(os.path.dirname(__file__)) | row.get("code", {}),
        "problems": [],
    }


def _digest(text):
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


@contextlib.contextmanager
def _state():
    """The cluster's state, for one at a time; written back with what the block changed."""
    with open(__opts__["sim_cluster"], "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        before = json.dumps(state)
        yield state
        after = json.dumps(state)
        if after != before:
            file.seek(0)
            file.write(after)
            file.truncate()
            file.flush()
