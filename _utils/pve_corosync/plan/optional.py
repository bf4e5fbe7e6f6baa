"""What a plan does not wait for: links that may be down, where no later step needs them."""

from __future__ import annotations

from pve_corosync.plan import invariants


def relax(plan: dict, layout: dict, view) -> None:
    """Take links that are optional out of what the steps wait for, where no later step leads over them.

    A step that waited for one would end as failed on a cluster that is as it was asked for.

    :param plan: with its steps, which are changed. :param layout: what ``pillar.layouts.resolve`` returns.
    :param view: what the plan was made from, a ``cluster.topology.Topology``.
    """
    optional = {int(n): link["network"] for n, link in layout["links"].items() if link.get("optional")}
    for step in plan["steps"] if optional else ():
        connected = step["wait"]["connected"]
        for number in [n for n in connected if step["links"].get(n) == optional.get(int(n))]:
            pairs = connected.pop(number)
            if not _carried(plan, view) or invariants.check(plan, view):
                connected[number] = pairs


def _carried(plan, view):
    """Tell whether every pair keeps, in each step, a link that was read back: told by the link's number."""
    pairs = [*view.pairs, *view.watched]
    known = {pair: {int(n) for n in view.connected[pair]} for pair in pairs}
    for step in plan["steps"]:
        gone = {int(n) for n in step["remove"]}
        waited = {int(n): [tuple(row) for row in rows] for n, rows in step["wait"]["connected"].items()}
        for pair in pairs:
            if known[pair] and not known[pair] - gone:
                return False
            known[pair] = known[pair] - gone | {n for n, rows in waited.items() if pair in rows}
    return True
