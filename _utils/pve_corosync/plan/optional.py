"""What a plan does not wait for: links that may be down, where no later step needs them."""

from __future__ import annotations

from pve_corosync.plan import invariants


def relax(plan: dict, layout: dict, view) -> None:
    """Take links that are optional out of what the steps wait for, unless the plan then breaks an invariant.

    A step that waited for one would end as failed on a cluster that is as it was asked for. Where Corosync is
    connected with a node that takes no part, nothing is taken out: the invariants do not read its links.

    :param plan: with its steps, which are changed. :param layout: what ``pillar.layouts.resolve`` returns.
    :param view: what the plan was made from, a ``cluster.topology.Topology``.
    """
    optional = {int(n): link["network"] for n, link in layout["links"].items() if link.get("optional")}
    for step in plan["steps"] if optional and not view.watched else ():
        connected = step["wait"]["connected"]
        for number in [n for n in connected if step["links"].get(n) == optional.get(int(n))]:
            pairs = connected.pop(number)
            if invariants.check(plan, view):
                connected[number] = pairs
