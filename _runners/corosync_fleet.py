"""
All clusters of this master at once.

Part of the runner ``corosync`` (Salt joins the files of one virtual name); docs/fleet.md has how it is used.

.. versionadded:: 0.2.0
"""

import logging
import os
import sys
import time

from pve_corosync import arguments
from pve_corosync.judge import fleet as fleet_run
from pve_corosync.judge import past as past_runs
from pve_corosync.ports import find, index, journals, lock, processes, salt_master
from pve_corosync.run import many as many_run

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

#: how many past runs of each cluster are looked at.
PAST = 3
#: seconds that the answer of one node takes on the master, beyond the wait for the nodes themselves.
ANSWER_S = 0.02
#: how many clusters are worked on at the same time: one takes half a core while it starts.
AT_ONCE = 8
#: ``salt-run`` of this very Salt, wherever it is installed.
SALT_RUN = "import salt.scripts; salt.scripts.salt_run()"
#: lines of a log that are looked at.
LOG = 10_000
#: how many times' logs are kept.
KEPT = 20


def __virtual__():
    return __virtualname__


def fleet(**kwargs):
    """
    Show all clusters, one line each, the worst first, and what to type for those that need something.

    All nodes of all clusters are asked at once, and waited for ``gather_timeout`` seconds and 0.02 s for each
    of them; a cluster that does not answer by then is named. The layout that is wanted is told by the pillar
    that the nodes have.

    Exit code 0 if every cluster is well, 1 if one is not, 2 if there is none.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.fleet
        salt-run corosync.fleet --out=json
    """
    return salt_master.guarded("fleet", kwargs, (), False, _fleet, __context__, {})


def many(
    clusters=None,
    orchestration="failover",
    given=None,
    at_once=AT_ONCE,
    progress=True,
    brief=False,
    test=False,
    **kwargs,
):  # pylint: disable=too-many-arguments
    """
    Run an orchestration for many clusters, side by side, each in a process of its own; show one summary.

    clusters
        A list, names with commas between, or ``needed``: all clusters of ``corosync.fleet`` whose way out is
        ``orch.failover``, each with the layout and the ``skip`` that it says.

    orchestration
        ``failover`` or ``nominal``.

    given
        What else the orchestration takes from its pillar: ``layout``, ``skip``, ``force``, ``strategy``,
        ``replication_timeout``.

    at_once
        How many clusters at the same time.

    progress, brief
        As for ``corosync.apply``.

    test
        Only show what each would do: the plan and the diffs. Nothing is written.

    One that fails stops no other. Exit code 0 if all ended with 0, 1 if one did not, 2 if an argument is
    wrong. What each printed is kept beside the journals.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.many a,b
        salt-run state.orchestrate orch.failover pillar='{"cluster": "needed"}'
    """
    return salt_master.guarded(
        "many",
        kwargs,
        ("clusters", "orchestration", "given", "at_once", "progress", "brief", "test"),
        brief,
        lambda: _many(clusters, orchestration, given, at_once, progress, bool(test)),
        __context__,
        locals(),
    )


def _many(clusters, orchestration, given, at_once, progress, test):  # pylint: disable=too-many-arguments
    arguments.choice(orchestration, "orchestration", many_run.ORCHESTRATIONS)
    at_once, given = arguments.count(at_once, "at_once"), dict(given or {})
    arguments.unknown_arguments(f"orch.{orchestration}", given, (*many_run.GIVEN, "cluster"))
    here = salt_master.of(globals())

    def needed():
        return [row | {"way": fleet_run.way(row)} for row in _fleet()["clusters"]]

    pillars = many_run.chosen(clusters, orchestration, given, needed)
    begin = [sys.executable, "-c", SALT_RUN, "-c", os.path.dirname(__opts__["conf_file"])]
    commands = {
        name: many_run.command(begin, orchestration, pillar, test) for name, pillar in pillars.items()
    }
    folder = os.path.join(here.state_dir(), ".many", here.jid)
    processes.keep_newest(os.path.dirname(folder), KEPT)
    ended = processes.side_by_side(commands, at_once, folder, _say if progress else lambda text: None)
    after = {row["cluster"]: row for row in _fleet()["clusters"]} if ended else {}
    logs = {name: processes.tail(row["log"], LOG) for name, row in ended.items()}
    return many_run.report(orchestration, ended, after, logs, test)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _fleet():
    here = salt_master.of(globals())
    settings = arguments.settings(here.opts.get("pve_corosync"))
    owners = find.fleet(here, settings["minions"])
    if not owners:
        arguments.choose_cluster({}, None, f"none of the accepted keys {settings['minions']!r}")
    wait = settings["gather_timeout"]
    call = {"timeout": arguments.facts_timeout(wait)}
    answers = here.publish(sorted(owners), "corosync.fleet_facts", call, wait + ANSWER_S * len(owners))[1]
    clusters, moved = fleet_run.sort(owners, answers)
    if moved:
        owners = find.fleet(here, settings["minions"], moved)
        clusters, _moved = fleet_run.sort(owners, answers)
    accepted = here.accepted("*", "glob")
    rows = [_row(here, name, told, accepted) for name, told in clusters.items()]
    report = fleet_run.report(rows, index.get(here.state_dir(), index.FLEET), time.time())
    index.put(here.state_dir(), index.FLEET, fleet_run.memory(report["clusters"]))
    return report


def _row(here, name, told, accepted):
    try:
        return fleet_run.judge(name, told, accepted, _past(here.state_dir(), name))
    except Exception as exc:  # pylint: disable=broad-except
        log.exception("cluster %s", name)  # the answers of one cluster must not hide all others
        return fleet_run.broken(name, told, repr(exc))


def _past(state_dir, name):
    folder = os.path.join(state_dir, index.folder_name(name))
    idle = lock.idle(folder)
    found = [journals.read(path) for path in journals.paths(folder)[:PAST]]
    return [past_runs.row(lines, idle) for lines in found if lines]
