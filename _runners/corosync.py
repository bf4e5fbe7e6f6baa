"""
The cluster as a whole: its status, a plan, a run to a layout, the exit checklist.

Every function asks all nodes at once, with deadlines of its own: a node that is down costs exactly the wait.
A run (``corosync.apply``) is planned from what all nodes report, checked on all nodes, carried out step by
step with one round trip each, journalled, and verified at its end. Progress goes to standard error, reports
to standard output.

:configuration: master config, all optional, times in seconds:

    .. code-block:: yaml

        pve_corosync:
          minions: 'pve*'         # where to look for the pillar `corosync`; default all accepted keys
          gather_timeout: 5
          stage_timeout: 15
          step_margin: 3
          answer_grace: 5
          outcome_patience: 30
          verify_timeout: 10

.. versionadded:: 0.1.0
"""

import logging
import os
import time

from pve_corosync import arguments
from pve_corosync.findings import errors, finding, ordered
from pve_corosync.judge import checklist, checklist_exit, phases, situation, verdict, watch, ways
from pve_corosync.judge import past as past_runs
from pve_corosync.judge import status as status_of
from pve_corosync.ports import journals, lock, master, salt_master
from pve_corosync.ports import watch as kept_watch
from pve_corosync.run import change

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

#: how many past runs a status looks at.
PAST = 20


def __virtual__():
    return __virtualname__


def status(cluster=None, skip=None, brief=False, **kwargs):
    """
    Show every node's quorum and versions, the matrix of all links, the layout in force, and what is wrong.

    cluster
        The cluster's name; needed only if the master has several.

    skip
        Nodes that are not waited for, beside those that the pillar skips: a list, or names with commas
        between.

    brief
        Return the text instead of the data, for an orchestration's output.

    Exit code 0 if every node that is not skipped is quorate with a writable ``/etc/pve``, no finding is an
    error and no link of the layout in force is dead, 1 if not, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.status
    """
    return _guarded("status", kwargs, brief, lambda: _status(cluster, skip), locals())


def plan(
    layout=None, strategy="live", skip=None, force=None, cluster=None, diff=False, brief=False, **kwargs
):
    """
    Show the steps to a layout, and what is refused and why; nothing is changed.

    layout
        A layout of the pillar; default the one that the pillar wants.

    strategy
        ``live`` or ``restart``.

    skip
        Nodes to go on without.

    force
        Codes of findings to go on in spite of.

    cluster
        The cluster's name; needed only if the master has several.

    diff
        Show what changes in each file, too.

    Exit code 0 if the layout can be reached, 1 if the plan is refused, 2 if the cluster or an argument is
    wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.plan degraded
    """
    return _guarded(
        "plan", kwargs, brief, lambda: _plan(layout, strategy, skip, force, cluster, diff), locals()
    )


def apply(
    layout=None,
    test=False,
    strategy="live",
    skip=None,
    force=None,
    cluster=None,
    progress=True,
    brief=False,
    back=True,
    confirm=0,
    **kwargs,
):
    """
    Take the cluster to a layout, step by step, each one read back on every node, and verify it.

    Run again, it does nothing; run again after it stopped half way, it goes on from there.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Show the plan and what changes in each file; write nothing.

    strategy, skip, force, cluster
        As for ``corosync.plan``.

    progress
        Write what happens to standard error while it happens.

    brief
        Return the text instead of the data, for an orchestration's output.

    back
        Where nodes lost their quorum in the run, go back at once to the layout that it came from; the exit
        code is 1 all the same. False leaves the cluster as it is then. Where the master itself is lost in
        the run, the nodes go back, by a timer that each of them keeps ready.

    confirm
        Seconds, at most 3600: without ``salt-run corosync.confirm`` in that time after the last step, the
        nodes go back to the layout before, with a master or without.

    Exit code 0 only if the layout is reached and verified, 1 if not, 2 if the cluster or an argument is
    wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.apply degraded
        salt-run corosync.apply degraded test=True
        salt-run corosync.apply degraded confirm=120
    """

    def work():
        wait = arguments.seconds(confirm, "confirm", 3600) if confirm else 0
        if test:
            report = _plan(layout, strategy, skip, force, cluster, True)
            return report | {"result": "refused" if report["retcode"] else "test"}
        site, request = _request(layout, strategy, skip, force, cluster)
        with site.lock():
            ports = master.Ports(site, bool(progress))
            run = change.Change(request, ports, site.settings, ports.jid, back, wait)
            return run.carry_out(by=site.master.user, pid=os.getpid())

    return _guarded("apply", kwargs, brief, work, locals())


def confirm(cluster=None, skip=None, brief=False, **kwargs):
    """
    Keep what ``corosync.apply LAYOUT confirm=SECONDS`` did: no node goes back any more.

    cluster, skip
        As for ``corosync.status``.

    Exit code 0 if no node goes back, 1 if one could not be told so, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.confirm
    """
    return _guarded("confirm", kwargs, brief, lambda: _confirm(cluster, skip), locals())


def verify(layout=None, cluster=None, skip=None, brief=False, full=False, force=None, **kwargs):  # pylint: disable=too-many-arguments
    """
    Ask every node whether a layout is reached: the exit checklist.

    layout
        A layout of the pillar; default the one that the pillar wants. Where another one is in force, the last
        line is the command that checks that.

    cluster, skip
        As for ``corosync.status``.

    full
        Show what was seen for the items that are true, too; else these are one line.

    force
        Codes of findings that are shown and do not count, as they were forced in the run before.

    Exit code 0 if every item is true, 1 if one is not, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.verify degraded
    """
    return _guarded(
        "verify",
        kwargs,
        brief,
        lambda: _verify(layout, cluster, skip, force) | {"full": bool(full)},
        locals(),
    )


def journal(jid=None, last=10, **kwargs):
    """
    Show the last runs on this master, or everything that one run noted.

    jid
        The job of a run.

    last
        How many runs.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.journal
        salt-run corosync.journal jid=20261123140000000000
    """
    return _guarded("journal", kwargs, False, lambda: _journal(jid, last), locals())


def _guarded(do, unknown, brief, work, given):  # pylint: disable=too-many-arguments
    """
    Run a public function: expected errors become a report, and the exit code is right on both of Salt's ways.
    """
    return salt_master.guarded(do, unknown, FUNCTIONS[do], brief, work, __context__, given)


#: what each public function takes, for the error on an unknown argument.
FUNCTIONS = {
    "status": ("cluster", "skip", "brief"),
    "plan": ("layout", "strategy", "skip", "force", "cluster", "diff", "brief"),
    "apply": (
        "layout",
        "test",
        "strategy",
        "skip",
        "force",
        "cluster",
        "progress",
        "brief",
        "back",
        "confirm",
    ),
    "confirm": ("cluster", "skip", "brief"),
    "verify": ("layout", "cluster", "skip", "brief", "full", "force"),
    "journal": ("jid", "last"),
}


def _status(cluster, skip):
    site = master.Site(salt_master.of(globals()), cluster, skip)
    loaded, _broken = status_of.load(site.pillar)
    site.skip = list(dict.fromkeys([*site.skip, *((loaded or {}).get("skip") or ())]))
    observed, findings = site.see()
    past = [past_runs.row(lines, idle) for lines, idle in _past(site)]
    report = status_of.judge(
        site.name, site.pillar, observed, findings, skip=site.skip, past=past, cluster=cluster
    )
    kept = kept_watch.Kept(site.folder(), site.master.state_dir())
    return report | {"watch": watch.shown((loaded or {}).get("watch"), kept.load(), time.time())}


def _plan(layout, strategy, skip, force, cluster, diff):
    site, request = _request(layout, strategy, skip, force, cluster)
    observed, findings = site.see()
    made, findings = request.plan(observed, findings)
    return verdict.attach(request.planned(made, findings, observed, bool(diff)), request, observed)


def _verify(layout, cluster, skip, force):
    site, request = _request(layout, "live", skip, force, cluster)
    if not (__context__.get(master.ORCHESTRATED) or {}).get("jid"):
        return _checked(site, request)
    ports = master.Ports(site, True)
    ports.note("begun", layout=request.layout["name"], phase="exit checklist", skip=request.skip)
    report = _checked(site, request)
    codes, took = [item["code"] for item in report["findings"]], {"total": ports.passed()}
    ports.note("ended", result=report["result"], seconds=took, summary=report["summary"], codes=codes)
    ports.say(f"exit checklist: {report['summary']}")
    return report


def _checked(site, request):
    observed, findings = site.see()
    asked = [name for name in request.nodes if name in observed["nodes"]]  # no second wait for a silent node
    call = {"primary": phases.wanted_primary(request.layout, request.skip)}
    answers = site.ask(asked, "corosync.exit_facts", call, site.settings["exit_timeout"])
    checklist_exit.attach(observed, *phases.values(request.minions, asked, answers))
    items, borne = request.checklist(observed, full=True)
    findings = ordered(findings + borne)
    ok = checklist.passed(items) and not errors(findings, request.force)
    true = sum(item["ok"] for item in items)
    silent = [name for name in request.nodes if name not in asked]
    said = f"; {', '.join(silent)} could not be asked" if silent else ""
    report = request.head() | {
        "checklist": items,
        "findings": findings,
        "result": "true" if ok else "not true",
        "summary": f"{true} of {len(items)} items of the exit checklist are true{said}",
        "retcode": arguments.OK if ok else arguments.FAILED,
    }
    report = verdict.attach(report, request, observed)
    other = situation.in_force(request.layouts(), observed)
    if other and request.layout["name"] not in other and not report.get("verdict"):
        how = ways.command("verify", other[0], request.skip, cluster=request.cluster_arg)
        report["next"] = [f"{other[0]} is in force: {how}"]
    return report


def _confirm(cluster, skip):
    site = master.Site(salt_master.of(globals()), cluster, skip)
    nodes = [name for name in site.minions if name not in site.skip]
    answers = site.ask(nodes, "corosync.disarm_back", {}, site.settings["gather_timeout"])
    # a node that kept nothing ready answers None, which is no error
    told = {
        minion: event | {"return": {"layout": event.get("return")}}
        for minion, event in answers.items()
        if event.get("success", True) and not event.get("retcode")
    }
    good, bad = phases.values(site.minions, nodes, answers | told)
    findings = [
        finding(
            "phase-failed",
            f"{name} may still go back: {text}",
            data={"node": name, "error": text},
            remedy="the same again: salt-run corosync.confirm",
        )
        for name, text in sorted(bad.items())
    ]
    kept = sorted({row["layout"] for row in good.values()} - {None})
    summary = f"no node goes back to {', '.join(kept)} any more" if kept else "no node was about to go back"
    return {
        "cluster": site.name,
        "nodes": {name: row["layout"] for name, row in good.items()},
        "findings": findings,
        "summary": "not every node could be told" if bad else summary,
        "result": "failed" if bad else "done",
        "retcode": arguments.FAILED if bad else arguments.OK,
    }


def _request(layout, strategy, skip, force, cluster):
    return master.request(salt_master.of(globals()), layout, strategy, skip, force, cluster)


def _journal(jid, last):
    runs, findings, last = [], [], arguments.count(last, "last")
    found = [path for folder in _folders() for path in journals.paths(folder)]
    for path in sorted(found, key=os.path.basename, reverse=True):
        if jid is not None and os.path.basename(path) != f"{jid}.jsonl":
            continue
        if len(runs) >= last:
            break
        if rows := journals.read(path):
            idle = lock.idle(os.path.dirname(path))
            runs.append(past_runs.row(rows, idle) | ({"notes": rows} if jid is not None else {}))
    if jid is not None and not runs:
        raise arguments.RunError(
            finding(
                "argument-bad",
                f"jid={jid}: no such run in {_state_dir()}",
                remedy="salt-run corosync.journal lists them",
            )
        )
    return {"runs": runs, "findings": findings, "result": "ok", "retcode": arguments.OK}


def _past(site):
    """
    Return the lines of the cluster's last runs, the newest first, and whether no run is at work.
    """
    idle = lock.idle(site.folder())
    return [(lines, idle) for path in journals.paths(site.folder())[:PAST] if (lines := journals.read(path))]


def _folders():
    base = _state_dir()
    found = [os.path.join(base, name) for name in (os.listdir(base) if os.path.isdir(base) else ())]
    return [folder for folder in found if os.path.isdir(folder)]


def _state_dir():
    return os.path.join(__opts__["cachedir"], "pve-corosync")
