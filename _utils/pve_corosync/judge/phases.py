"""What follows the links: the primary network, certificates, services and replication, as decisions on
plain data.

Facts: PVE's own ssh goes to the address that a node's name resolved to when its pmxcfs started, so only a
node whose own entry in ``.members`` is another one than wanted needs its pve-cluster restarted (pmxcfs.c);
pve-firewall keeps the local network that it found at its start (PVE/Firewall.pm local_network).
"""

from __future__ import annotations

from pve_corosync import addresses
from pve_corosync.cluster import answers as answers_of_nodes
from pve_corosync.cluster.export import member_address
from pve_corosync.findings import finding
from pve_corosync.judge import situation

#: the phases after each other: (function of the runner, what it is called in a report)
PHASES = (
    ("apply", "links"),
    ("move_primary", "primary network"),
    ("update_certs", "certificates"),
    ("reload_services", "services"),
    ("replicate", "replication"),
    ("verify", "exit checklist"),
)
#: seconds for a restart of pve-cluster, which takes 1 to 3: an armed LRM bears 60 s without its lock, and its
#: last renewal may be 10 s old (pve-ha-manager watchdog-mux.c).
RESTART_LIMIT_S = 40


def values(minions: dict, nodes: list[str], answers: dict) -> tuple[dict, dict]:
    """Return what nodes returned, as plain data, and the errors of those that returned none: ``({node:
    value}, {node: text})``.

    :param minions: ``{node: minion id}``. :param nodes: those that were asked.
    :param answers: ``{minion id: return event}``.
    """
    good, bad = {}, {}
    for node in nodes:
        answer = answers.get(minions[node])
        if answer is None:
            bad[node] = "no answer within the time"
            continue
        value, unfit = answers_of_nodes.checked(answer.get("return"))
        failed = not answer.get("success", True) or answer.get("retcode") or isinstance(value, str)
        if unfit or failed:
            said = unfit or situation.answer_error(answer) or value
            bad[node] = situation.last_line(said).removeprefix("ERROR: ")
        else:
            good[node] = value
    return good, bad


def wanted_primary(layout: dict, skip=()) -> dict[str, str]:
    """Return ``{node: canonical address}`` that the names are to have."""
    return {
        name: addresses.canonical(address)
        for name, address in layout["primary"]["addresses"].items()
        if name not in skip
    }


def movers(layout: dict, observed: dict, skip=()) -> list[str]:
    """Return the nodes whose own pmxcfs publishes another address than wanted, by nodeid: these need a
    restart.

    :param layout: what ``pillar.layouts.resolve`` returns. :param observed: gathered facts.
    """
    wanted = wanted_primary(layout, skip)
    moved = [
        name
        for name, address in wanted.items()
        if name in observed["nodes"]
        and member_address((observed["nodes"][name].get("pmxcfs") or {}).get("members"), name) != address
    ]
    return sorted(moved, key=lambda name: layout["nodes"][name]["nodeid"])


def datacenter_findings(told: dict[str, dict]) -> list[dict]:
    """Return findings on the networks in datacenter.cfg, the same text of several nodes once.

    :param told: ``{node: what pve_node.migration_network returned}``.
    """
    found = []
    for node, row in sorted(told.items()):
        for problem in (row or {}).get("problems") or ():
            found.append(
                finding(
                    problem["code"],
                    f"{node}: {problem['text']}",
                    severity=problem["severity"],
                    data={"node": node, **problem["data"]},
                    remedy=problem["remedy"],
                )
            )
    return found


def host_key_problems(certificates: dict[str, dict]) -> dict[tuple[str, str], str]:
    """Return where a node has another host key of a peer than the peer itself: ``{(node, peer): text}``.

    :param certificates: ``{node: what pve_certs.facts returned there}``.
    """
    wrong = {}
    for node, told in sorted(certificates.items()):
        for peer, entry in sorted((told.get("known_hosts") or {}).items()):
            if peer not in certificates:
                continue
            own = (certificates[peer].get("host_key") or {}).get("fingerprint")
            if not entry.get("present"):
                wrong[node, peer] = f"{node} has no ssh_known_hosts of {peer}"
            elif own and own not in (entry.get("fingerprints") or ()):
                wrong[node, peer] = f"{node} has another host key of {peer} than {peer} itself"
    return wrong


def services_due(units: dict, looked: int | None = None) -> str:
    """Return why the services that hold on to addresses must look again, "" if they need not.

    :param units: ``{"pve-cluster": …, "pve-firewall": …}`` as ``pve_node.units`` returns them.
    :param looked: the start of pve-cluster after which pve-firewall was last reloaded; a reload leaves the
        time of its own start as it is.
    """
    cluster, firewall = units.get("pve-cluster") or {}, units.get("pve-firewall") or {}
    if not (cluster.get("active") and firewall.get("active")):
        return ""
    if firewall["since"] >= cluster["since"] or looked == cluster["since"]:
        return ""
    return "pve-firewall has not looked since the last start of pve-cluster, it has the addresses of then"


def job_problems(primary: dict[str, str], job: dict, dedicated: str | None = None) -> list[str]:
    """Return what speaks against a replication job having gone where it should, in words.

    :param primary: ``{node: address}``. :param job: what ``pvesr.run`` returned.
    :param dedicated: the target's address in the replication network of datacenter.cfg: PVE's first ssh goes
        to the primary address even then, the rest and the data to this one.
    """
    target, way, probe = job["target"], job.get("path") or {}, job.get("probe") or {}
    wanted, wrong = primary.get(target), []
    if way.get("address") != wanted:
        wrong.append(
            f"PVE's ssh to {target} goes to {way.get('address')} ({way.get('source')}), not to {wanted}"
        )
    arrived = (probe.get("connection") or {}).get("to")
    if arrived and arrived != wanted:
        wrong.append(f"{target} took the ssh at {arrived}, not at {wanted}")
    allowed = {wanted, dedicated} - {None}
    others = sorted(set((job.get("seen") or {}).get("addresses") or ()) - allowed)
    if others and (dedicated or not way.get("network")):
        meant = " or ".join(sorted(allowed))
        wrong.append(f"while it ran, its ssh was connected to {', '.join(others)}, not to {meant}")
    if others and way.get("network") and not dedicated:
        wrong.append(
            f"datacenter.cfg leads it into {way['network']}, and {target} did not tell its one address there:"
            f" its ssh was connected to {', '.join(others)}"
        )
    return wrong


def job_row(node: str, name: str, job: dict, logins: list[dict], dedicated: dict | None = None) -> dict:
    """Return the proof of one job in short: what went where, by three witnesses.

    The login of the test before it is not the job's.

    :param logins: what the target's sshd accepted since before the job.
    :param dedicated: ``{node: address}`` in the replication network of datacenter.cfg, if it has one.
    """
    tested = (job.get("probe") or {}).get("connection") or {}
    sources = {tested.get("from"), (dedicated or {}).get(node)} - {None}
    seen = job.get("seen") or {}
    return {
        "job": name,
        "source": node,
        "target": job["target"],
        "ok": job["ok"],
        "running": bool(job.get("running")),
        "error": job["error"],
        "seconds": job["seconds"],
        "members": (job.get("path") or {}).get("address"),
        "network": (job.get("path") or {}).get("network"),
        "data": (dedicated or {}).get(job["target"]) or (job.get("path") or {}).get("address"),
        "sockets": seen.get("addresses") or [],
        "from": tested.get("from"),
        "logins": sum(
            login["from"] in sources
            and (login["from"], login.get("port")) != (tested.get("from"), tested.get("from_port"))
            for login in logins
        ),
        "log": (job.get("log") or [])[-1:],
    }


def unproven(row: dict) -> bool:
    """Tell whether a job that succeeded left no trace of where it went.

    :param row: what :func:`job_row` returned.
    """
    return row["ok"] and not row["logins"] and not row["sockets"]


def after(do: str) -> list[str]:
    """Return what the phases from this one on are called."""
    names = [name for name, _ in PHASES]
    return [title for name, title in PHASES[names.index(do) :]] if do in names else []
