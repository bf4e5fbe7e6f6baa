"""Taking over from runs that are dead: their locks on the nodes, after any step of theirs has ended.

Pure but for the ports of ``run.change``.
"""

from __future__ import annotations

from pve_corosync import arguments
from pve_corosync.judge import outcomes


def take_over(ports, request, settings, held: dict, call: dict) -> list[dict]:
    """Take the locks of dead runs for this run; return the findings on nodes where that did not go.

    A node lets go of a step of the dead run that it still carries out only when that has ended: facts that
    were gathered before are old then.

    :param ports, request, settings: see ``run.change``.
    :param held: ``{node: run}``, of :func:`judge.situation.dead_runs`.
    :param call: ``{"txn", "by"}`` of this run; who calls gives the locks back.
    """
    runs = sorted(set(held.values()))
    ports.say(f"taking over from {', '.join(runs)}")
    wait = settings["stage_timeout"] + arguments.TAKE_OVER_S
    answers = ports.ask(sorted(held), "corosync.stage", call | {"steps": [], "takes_over": runs}, wait)
    return outcomes.stage_problems(answers, {name: request.minions[name] for name in held})
