"""Parts of a cluster that were quorate apart, around a run that joins them: save first, tell afterwards."""

from __future__ import annotations

from pve_corosync.cluster import halves
from pve_corosync.findings import finding
from pve_corosync.judge import phases

#: seconds to copy a database of at most 128 MiB.
SAVE_S = 60.0


def needed(findings: list[dict]) -> bool:
    """Tell whether a plan joins parts that are quorate apart.

    :param findings: the findings of the plan.
    """
    return any(item["code"] == halves.CODE for item in findings)


def save(request, ports, txn: str, nodes: list[str]) -> tuple[list[dict], dict]:
    """Have nodes copy their /etc/pve; return (findings, answers).

    :param request: a ``run.change.Request``. :param ports: as there. :param txn: the name of the run.
    :param nodes: those that are asked.
    :returns: ``answers``: ``{node: what pmxcfs.save returned}``; a finding for each node without one.
    """
    ports.say(f"parts of the cluster are quorate apart: {', '.join(nodes)} save /etc/pve first")
    answers = ports.ask(nodes, "pmxcfs.save", {"txn": txn}, SAVE_S)
    good, bad = phases.values(request.minions, nodes, answers)
    ports.note("saved", folders={name: told["folder"] for name, told in good.items()}, errors=bad)
    return [
        finding(
            "halves-unsaved",
            f"{name}: its /etc/pve could not be saved: {text}",
            data={"node": name},
            remedy=f"salt {request.minions[name]} pmxcfs.save {txn}; nothing was joined",
        )
        for name, text in bad.items()
    ], good


def lost(request, saved: dict) -> list[dict]:
    """Return what was lost when the parts met, with the places of the copies.

    :param request: a ``run.change.Request``. :param saved: the answers of :func:`save`.
    """
    ids = {name: row["nodeid"] for name, row in request.layout["nodes"].items()}
    survivor = halves.leader(saved, ids)
    return [
        finding(
            "halves-lost",
            f"of {node} was dropped for the /etc/pve of {survivor}: {halves.told(paths)}",
            data={"node": node, "survivor": survivor, "files": paths, "folder": saved[node]["folder"]},
            remedy=f"on {node}: ls -R {saved[node]['folder']}/pve has them as they were; copy back what is "
            "needed, each file on its own",
        )
        for node, paths in (halves.lost(saved, survivor) if survivor else {}).items()
    ]
