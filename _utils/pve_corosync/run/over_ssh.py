"""A report that a node made for itself, as it is to be read on a master that asked it over salt-ssh.

Pure. A node alone names commands for its own console; salt-ssh has a shorter way to the same functions, and
brings the pillar along.
"""

from __future__ import annotations

import shlex

LOCAL = "salt-call --local "
EVERY = ", type on every node:"


def minions(pillar) -> list[str]:
    """Return the minion ids of the nodes of a pillar, none where it is wrong; the node tells what is wrong.

    :param pillar: the value of the key ``corosync``, plain types.
    """
    nodes = pillar.get("nodes") if isinstance(pillar, dict) else None
    rows = nodes.items() if isinstance(nodes, dict) else ()
    return sorted(str((row or {}).get("minion", name)) for name, row in rows if isinstance(row or {}, dict))


def told(value, own: str, everyone: list[str]):
    """Return a report with the commands for a node's console turned into those of salt-ssh.

    :param value: the report, or any part of it. :param own: the id by which the node was asked.
    :param everyone: the ids of all nodes of the cluster.
    """
    if isinstance(value, dict):
        fresh = {key: told(item, own, everyone) for key, item in value.items()}
        if value.get("code") == "pillar-none":
            fresh["remedy"] = f"give {own} the pillar `corosync` on the master (top.sls of the pillar)"
        return fresh
    if isinstance(value, list):
        return [told(item, own, everyone) for item in value]
    if not isinstance(value, str) or LOCAL not in value and EVERY not in value:
        return value
    # a node's part of the degraded path is one of several: the others do theirs by the same command
    lines = [
        line.replace(LOCAL, _to(everyone or [own] if "degraded=True" in line else [own]))
        for line in value.replace(EVERY, ":").split("\n")
    ]
    return "\n".join(lines)


def _to(ids):
    target = f"-L {','.join(ids)}" if len(ids) > 1 else shlex.quote(ids[0])
    return f"salt-ssh {target} "
