"""The items of the exit checklist that look beyond corosync: names, PVE's ssh, replication, certificates,
HA, services.

Each is a function as in ``judge.checklist``; their facts are what ``corosync.exit_facts`` returned, as
``exit`` in the facts of a node. Without any, an item returns None.
"""

from __future__ import annotations

from pve_corosync import addresses
from pve_corosync.cluster import answers
from pve_corosync.judge import phases, situation


def attach(observed: dict, told: dict, errors: dict) -> None:
    """Put what ``corosync.exit_facts`` returned into the observed facts; what does not have its shape is
    that node's error.

    :param told: ``{node: facts}``. :param errors: ``{node: text}`` of nodes that returned none.
    """
    for name, facts in observed["nodes"].items():
        value, error = answers.checked(told[name], answers.EXIT) if told.get(name) else (None, "")
        facts["exit"] = value or {"problems": {}, "error": error or errors.get(name, "not asked")}


def _each(world, part, want, judge):
    """Judge one part of the exit facts on every node; None if no node has exit facts."""
    if not any("exit" in facts for facts in world.nodes.values()):
        return None

    def judged(name, facts):
        told = facts.get("exit") or {"error": "not asked"}
        if told.get("error"):
            return told["error"]
        if told.get(part) is None:
            return told["problems"].get(part, "not told")
        return judge(name, told[part])

    return world.each(want, judged)


def _primary(world):
    return phases.wanted_primary(world.layout)


def names(world):
    """Every node's resolver gives every name its primary address."""
    wanted = {name: address for name, address in _primary(world).items() if name in world.names}

    def judge(_, resolved):
        wrong = []
        for name, address in sorted(wanted.items()):
            found = [addresses.canonical(text) for text in resolved.get(name) or ()]
            usable = [text for text in found if addresses.unusable(text) != "loopback"]
            if usable[:1] != [address]:
                wrong.append(f"{name} is {', '.join(found) or 'unknown'}, not {address}")
        return ", ".join(wrong)

    return _each(world, "resolved", f"names resolve to {world.layout['primary']['network']}", judge)


def ssh(world):
    """PVE's own ssh from every node to every other arrives at the primary address."""
    wanted = _primary(world)

    def judge(name, told):
        wrong = []
        for peer in (peer for peer in world.names if peer != name):
            row = told.get(peer)
            if not row or not row["ok"]:
                wrong.append(f"to {peer}: {(row or {}).get('error') or 'not told'}")
            elif (arrived := (row.get("connection") or {}).get("to")) != wanted[peer]:
                wrong.append(f"to {peer} arrives at {arrived}, not at {wanted[peer]}")
        return "; ".join(wrong)

    return _each(world, "ssh", f"PVE's ssh arrives on {world.layout['primary']['network']}", judge)


def replication(world):
    """Every enabled job has run, and its last run was well; one that runs now after failures is open."""

    def judge(_, jobs):
        wrong = []
        for job, row in sorted(jobs.items()):
            if not row["enabled"]:
                continue
            if row["state"] == "SYNCING" and row["fail_count"]:
                wrong.append(
                    f"job {job} to {row['target']} is still running, after {row['fail_count']} failures: look"
                    " again when it has ended"
                )
            elif row["state"] not in ("OK", "SYNCING"):
                wrong.append(f"job {job} to {row['target']}: {situation.last_line(row['state'])[:200]}")
            elif row["fail_count"]:
                wrong.append(f"job {job} to {row['target']} failed {row['fail_count']} times")
            elif row["last_sync"] is None and row["state"] == "OK":
                wrong.append(f"job {job} to {row['target']} has never run")
        return "; ".join(wrong)

    result = _each(world, "jobs", "every enabled job ran well", judge)
    busy = sorted(
        f"job {job} from {name} to {row['target']}"
        for name, facts in world.nodes.items()
        for job, row in ((facts.get("exit") or {}).get("jobs") or {}).items()
        if row["enabled"] and row["state"] == "SYNCING"
    )
    if result and result[0] and busy:
        return True, f"still running: {', '.join(busy)}", result[2]
    return result


def certificates(world):
    """Every node's certificate is there, in time, and covers its name and its primary address."""

    def judge(_, told):
        return "; ".join(
            text.removeprefix("certificate: ") for text in told["problems"] if "certificate" in text
        )

    return _each(world, "certificates", "each certificate covers name and primary address", judge)


def known_hosts(world):
    """Every node has every node's host key file, with the key that the node really has."""
    told = {
        name: facts["exit"]["certificates"]
        for name, facts in world.nodes.items()
        if (facts.get("exit") or {}).get("certificates")
    }
    differing = phases.host_key_problems(told)

    def judge(name, row):
        wrong = [
            entry["why"]
            for peer, entry in sorted(row["known_hosts"].items())
            if peer in world.names and not entry["ok"]
        ]
        return "; ".join(
            dict.fromkeys(wrong + [text for (node, _), text in differing.items() if node == name])
        )

    return _each(world, "certificates", "each node has the host key of each node", judge)


def ha(world):
    """Where HA has resources, it is not disarmed, and LRM and CRM run on every node."""

    def judge(_, told):
        facts, status = told["facts"], told["status"] or {}
        if facts["configured"] is None:
            return facts["state"]
        if not facts["configured"]:
            return ""
        wrong = [
            f"{unit} {facts[key]}"
            for key, unit in (("lrm", "pve-ha-lrm"), ("crm", "pve-ha-crm"))
            if facts[key] != "active"
        ]
        if status.get("fencing") in ("disarmed", "disarming"):
            wrong.append(f"fencing {status['fencing']}")
        return ", ".join(wrong)

    return _each(world, "ha", "HA in service where it has resources", judge)


def migration_network(world):
    """A network in datacenter.cfg gives PVE exactly one address on every node."""
    wanted = _primary(world)
    elsewhere = sorted(
        {
            f"{network} leads {node} to {', '.join(row['addresses'])}"
            for node, facts in world.nodes.items()
            for network, row in (
                ((facts.get("exit") or {}).get("migration") or {}).get("networks") or {}
            ).items()
            if row["addresses"] and row["addresses"] != [wanted.get(node)]
        }
    )

    def judge(_, told):
        return "; ".join(
            row["text"] for row in told["problems"] if row["code"] != "datacenter-network-elsewhere"
        )

    result = _each(world, "migration", "datacenter.cfg: no network, or one address on each node", judge)
    if result and result[0] and elsewhere:
        return True, f"off the primary network, as datacenter.cfg wants: {'; '.join(elsewhere)}", result[2]
    return result


def services(world):
    """The services that hold on to addresses were started since the last start of pve-cluster."""
    return _each(world, "services", "services looked since pve-cluster's last start", lambda _, due: due)


#: name of the item: its function, in the order of the checklist
ITEMS = {
    "names": names,
    "PVE's ssh": ssh,
    "replication": replication,
    "certificates": certificates,
    "known hosts": known_hosts,
    "HA": ha,
    "migration network": migration_network,
    "services": services,
}
