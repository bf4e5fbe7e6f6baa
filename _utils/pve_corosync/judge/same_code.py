"""Whether the nodes have the code of this project that the master has. Pure.

A node with other code may not know a step, or do it otherwise: a run that stops half way is worse than one
that does not begin.
"""

from __future__ import annotations

from pve_corosync.findings import finding

#: for an installed extension, where a sync changes nothing.
INSTALLED = "an installed extension: the same version on both sides, then restart salt-minion"


def check(minions: dict, nodes: dict, code: dict, skip=()) -> list[dict]:
    """Return the findings on code that differs from the master's.

    :param minions: ``{node: minion id}``. :param nodes: ``{node: facts}`` of those that answered.
    :param code: the master's digest, ``{"core", "modules"}`` as ``node.code.digest`` returns it; a part that
        is None here is not compared.
    :param skip: nodes that the work goes on without.
    """
    theirs = {name: facts.get("code") or {} for name, facts in nodes.items() if name not in skip}
    other = [name for name, told in theirs.items() if any(told.get(k) != v for k, v in code.items() if v)]
    if not other:
        return []
    told = {tuple(sorted(theirs[name].items())) for name in other}
    if len(other) == len(theirs) > 1 and len(told) == 1 and theirs[other[0]]:
        there = _word(theirs[other[0]])
        text = f"the master has other code of this project than all nodes (here {_word(code)}, there {there})"
        sync = f"salt -L {','.join(minions[name] for name in other)} saltutil.sync_all"
        remedy = f"salt-run saltutil.sync_all, then: {sync}"
        return [finding("code-differs", text, data={"nodes": other}, remedy=f"{remedy} ({INSTALLED})")]
    return [
        finding(
            "code-differs",
            f"{name} has other code of this project than the master (there {_word(theirs[name])}, "
            f"here {_word(code)})",
            data={"node": name, "code": theirs[name], "here": code},
            remedy=f"salt {minions[name]} saltutil.sync_all ({INSTALLED})",
        )
        for name in other
    ]


def _word(code):
    return "/".join(str(value) for value in code.values() if value) or "older than its digest"
