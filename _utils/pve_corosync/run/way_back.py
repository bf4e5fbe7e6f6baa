"""When a node goes back by itself to the layout that a run came from. Pure."""

from __future__ import annotations

#: seconds beyond what the runner may take for one step, after which it is taken for dead.
RESERVE_S = 10.0


def quiet(steps: list[dict], step_wait, patience: float) -> float:
    """Return how long a run may be silent before a node takes its master for lost, in seconds.

    :param steps: the steps of the plan. :param step_wait: function that gives the wait for one.
    :param patience: how long the outcome of a step is asked for after that.
    """
    return max(map(step_wait, steps), default=0.0) + patience + RESERVE_S


def decide(record: dict | None, now: float, run: dict | None, quorate: bool) -> str:
    """Return ``wait``, ``done`` (there is no reason any more) or ``go``.

    A run that is over and waits to be confirmed is gone back from when its time is over. A run whose master
    is lost is gone back from if it cost this node its quorum, or was to be confirmed; one that lost nothing
    is left where it is, and the next run goes on with it.

    :param record: what the node keeps ready, ``node.back.read``. :param now: the time.
    :param run: the run that holds this node, ``node.runs.holder``; every step renews it.
    :param quorate: whether this node has quorum now.
    """
    if not record:
        return "done"
    if record.get("due"):
        return "go" if now >= record["due"] else "wait"
    if not run or run["txn"] != record["txn"]:
        return "done"
    if now - (run["until"] - run["ttl"]) < record["quiet"]:
        return "wait"
    lost = record["quorate"] and not quorate
    return "go" if lost or record["confirm"] else "wait"
