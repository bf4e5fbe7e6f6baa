"""
What a restart of corosync costs, and whether it can go node by node.

The numbers follow from the daemons' own timers; measured on real daemons (corosync 3.1.7): two nodes
together, quorum after 2.9-3.7 s and ``/etc/pve`` after 6.3-7.0 s; three nodes together 5.2-5.7 s; one restart
at a time 5.0-5.8 s each.
"""

STOP_START_S = 1.3  # systemctl restart corosync returns after this, before it sees anybody


def outage(view):
    """
    Return ``(mode, {"loss_s", "quorum_s", "pve_s", "kept"})`` of restarting all nodes that take part into the
    goal.

    view
        ``cluster.topology.Topology``.

    The mode is ``rolling`` where a link that stays as it is carries between every pair, else ``together``.
    The quorum is back when the links are (three pongs, token/4 apart); ``/etc/pve`` within token + consensus.
    ``loss_s`` is the longer one: what one node, or all of them, may be without quorum; HA resets a node for
    its own loss, so it is not 0.0 where the others keep the quorum all the time (``kept``).
    """
    token, consensus = view.cluster.token(), view.cluster.consensus()
    quorum = STOP_START_S + 3 * (token / 4) / 1000
    pve = (token + consensus) / 1000
    once = round(max(quorum, pve), 1)
    times = {"loss_s": once, "quorum_s": round(quorum, 1), "pve_s": round(pve, 1), "kept": False}
    if not _rolling(view):
        return "together", times
    votes = [view.votes[node] for node in view.running]
    if 2 * (sum(votes) - max(votes, default=0)) > sum(view.votes.values()):
        return "rolling", times | {"kept": True}
    return "rolling", times | {"loss_s": round(once * len(votes), 1)}


def _rolling(view):
    """Whether, on every pair, a link that the goal leaves as it is was seen connected."""
    if not view.pairs:
        return False
    return all(
        any(view.goal.get(n) == view.current[pair[0]][n] for n in view.connected[pair]) for pair in view.pairs
    )


def words(mode, times):
    """What the outage means, as one sentence part."""
    if times["kept"]:
        return (
            f"corosync restarts node by node: each node alone is without quorum for about {times['loss_s']} "
            "s, the cluster keeps it"
        )
    start = "node by node, each time" if mode == "rolling" else "on all nodes at once,"
    return (
        f"corosync restarts {start} quorum is back after about {times['quorum_s']} s, /etc/pve after about "
        f"{times['pve_s']} s"
    )
