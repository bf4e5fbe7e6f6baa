"""
The cluster as a whole: its status, a plan, a run to a layout, the exit checklist.

Every function asks all nodes at once, with deadlines of its own: a node that is down costs exactly the wait. A run
(``corosync.apply``) is planned from what all nodes report, checked on all nodes, carried out step by step with one
round trip each, journalled, and verified at its end. Progress goes to standard error, reports to standard output.

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

import contextlib
import fcntl
import json
import logging
import os
import re
import sys
import time

import salt.client
import salt.utils.event
import salt.utils.files
import salt.utils.jid
import salt.utils.minions
from salt.exceptions import CommandExecutionError, SaltClientError

try:
    import ring_layout
    import ring_plan
    import ring_rules
    import ring_run
    import ring_sequence
    import ring_show
    import ring_verify
    from ring_finding import errors, finding, ordered
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import (
        ring_layout,
        ring_plan,
        ring_rules,
        ring_run,
        ring_sequence,
        ring_show,
        ring_verify,
    )
    from saltext.pve_corosync.utils.ring_finding import errors, finding, ordered

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

OUTPUTTER = "corosync_table"


def __virtual__():
    return __virtualname__


def status(cluster=None, skip=None, brief=False, **kwargs):
    """
    Show every node's quorum and versions, the matrix of all links, the layout in force, and what is wrong.

    cluster
        The cluster's name; needed only if the master has several.

    skip
        Nodes that are not waited for: a list, or names with commas between.

    brief
        Return the text instead of the data, for an orchestration's output.

    Exit code 0 if every node is quorate with a writable ``/etc/pve`` and no finding is an error, 1 if not, 2 if the
    cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.status
    """
    return _guarded("status", kwargs, brief, lambda: _status(cluster, skip))


def plan(layout=None, strategy="live", skip=None, force=None, cluster=None, diff=False, brief=False, **kwargs):
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

    Exit code 0 if the layout can be reached, 1 if the plan is refused, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.plan degraded
    """
    return _guarded("plan", kwargs, brief, lambda: _plan(layout, strategy, skip, force, cluster, diff))


def apply(layout=None, test=False, strategy="live", skip=None, force=None, cluster=None, progress=True, brief=False,
          **kwargs):
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

    Exit code 0 only if the layout is reached and verified, 1 if not, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.apply degraded
        salt-run corosync.apply degraded test=True
    """
    return _guarded("apply", kwargs, brief, lambda: _apply(layout, test, strategy, skip, force, cluster, progress))


def verify(layout=None, cluster=None, skip=None, brief=False, **kwargs):
    """
    Ask every node whether a layout is reached: the exit checklist.

    layout
        A layout of the pillar; default the one that the pillar wants.

    cluster, skip
        As for ``corosync.status``.

    Exit code 0 if every item is true, 1 if one is not, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.verify degraded
    """
    return _guarded("verify", kwargs, brief, lambda: _verify(layout, cluster, skip))


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
    return _guarded("journal", kwargs, False, lambda: _journal(jid, last))


def _guarded(do, unknown, brief, work):
    """
    Run a public function: expected errors become a report, and the exit code is right on both of Salt's ways.

    Salt takes ``__context__`` for an orchestration and the returned ``retcode`` for ``salt-run``, and turns a
    TypeError into success; so failure stands from the start, and is only taken back at the end.
    """
    __context__["retcode"] = ring_run.FAILED
    report = {"do": do}
    try:
        ring_run.unknown_arguments(f"corosync.{do}", unknown, FUNCTIONS[do])
        report |= work()
    except (ring_run.RunError, ring_layout.LayoutError) as exc:
        report |= {"findings": exc.findings, "result": "refused", "summary": "refused, nothing was changed",
                   "retcode": getattr(exc, "retcode", ring_run.USAGE)} | getattr(exc, "report", {})
    except SaltClientError as exc:
        raise CommandExecutionError(f"the Salt master does not take jobs: {exc}") from exc
    except TypeError as exc:
        raise CommandExecutionError(f"corosync.{do} has a defect: {exc!r}") from exc
    if brief:
        report = ring_run.brief(report, ring_show.render(report))
    else:
        report["outputter"] = OUTPUTTER
    __context__["retcode"] = report["retcode"]
    return report


#: what each public function takes, for the error on an unknown argument.
FUNCTIONS = {
    "status": ("cluster", "skip", "brief"),
    "plan": ("layout", "strategy", "skip", "force", "cluster", "diff", "brief"),
    "apply": ("layout", "test", "strategy", "skip", "force", "cluster", "progress", "brief"),
    "verify": ("layout", "cluster", "skip", "brief"),
    "journal": ("jid", "last"),
}


def _status(cluster, skip):
    site = _Site(cluster, skip)
    observed, findings = site.gather()
    rows = {"cluster": site.name, "state": ring_run.state_now(observed), "matrix": ring_run.matrix(observed),
            "in_force": [], "observed": ring_run.without_texts(observed)}
    try:
        loaded = ring_layout.load(site.pillar)
    except ring_layout.LayoutError as exc:
        findings += exc.findings
    else:
        layouts = {name: ring_layout.resolve(loaded, name) for name in loaded["layouts"]}
        rows["in_force"] = ring_run.in_force(layouts, observed)
        rows["wanted"] = loaded["layout"]
        held = [loaded["layout"], *rows["in_force"]] if loaded["layout"] in rows["in_force"] else rows["in_force"]
        findings += ring_rules.check(layouts[(held or [loaded["layout"]])[0]], observed, skip=site.skip)
    findings = ordered(findings)
    bad = bool(errors(findings)) or ring_run.sick(rows["state"])
    return rows | {"findings": findings, "result": "errors" if bad else "ok",
                   "retcode": ring_run.FAILED if bad else ring_run.OK}


def _plan(layout, strategy, skip, force, cluster, diff):
    site, order = _order(layout, strategy, skip, force, cluster)
    observed, findings = site.gather()
    made, findings = order.plan(observed, findings)
    return order.planned(made, findings, observed, bool(diff))


def _verify(layout, cluster, skip):
    site, order = _order(layout, "live", skip, None, cluster)
    observed, findings = site.gather()
    items, borne = order.checklist(observed)
    findings = ordered(findings + borne)
    ok = ring_verify.passed(items) and not errors(findings)
    true = sum(item["ok"] for item in items)
    return order.head() | {"checklist": items, "findings": findings, "result": "true" if ok else "not true",
                           "summary": f"{true} of {len(items)} items of the exit checklist are true",
                           "retcode": ring_run.OK if ok else ring_run.FAILED}


def _apply(layout, test, strategy, skip, force, cluster, progress):
    ring_run.choice(test, "test", (False, True))
    if test:
        report = _plan(layout, strategy, skip, force, cluster, True)
        return report | {"result": "refused" if report["retcode"] else "test"}
    site, order = _order(layout, strategy, skip, force, cluster)
    jid = globals().get("__jid__") or salt.utils.jid.gen_jid(__opts__)
    with _lock(site.folder(), jid):
        ports = _Ports(site, jid, bool(progress))
        run = ring_sequence.Run(order, ports, site.settings, jid)
        return run.carry_out(by=globals().get("__user__") or "", pid=os.getpid())


def _order(layout, strategy, skip, force, cluster):
    """
    Return the cluster and what is asked for; every argument is checked before anything is asked of a node.
    """
    strategy, force = ring_run.choice(strategy, "strategy", ring_plan.STRATEGIES), ring_run.names(force, "force")
    site = _Site(cluster, skip)
    order = ring_sequence.Order(site.pillar, layout, strategy, site.skip, force, cluster)
    site.skip = order.skip
    return site, order


class _Site:
    """
    One cluster: where its pillar is, who its nodes are, and how to ask them.
    """

    def __init__(self, cluster, skip):
        self.settings = ring_run.settings(__opts__.get("pve_corosync"))
        self.skip = ring_run.names(skip, "skip")
        self.name, self.pillar = self._find(cluster)
        self.minions = ring_run.members(self.pillar)
        wrong = [name for name in self.skip if name not in self.minions]
        if wrong:
            raise ring_run.RunError([finding("skip-unknown",
                                             f"skip={name}: no such node; allowed: {', '.join(sorted(self.minions))}",
                                             remedy="correct skip=") for name in wrong])
        self.accepted = _accepted(list(self.minions.values()), "list")

    def _find(self, wanted):
        """
        Return name and pillar of the cluster; the members of a cluster that was found need no further look.
        """
        glob = self.settings["minions"]
        found, covered, broken = {}, set(), []
        for minion in sorted(_accepted(glob, "glob")):
            if minion in covered:
                continue
            pillar = ring_layout.plain(__salt__["pillar.show_pillar"](minion))
            own = pillar.get("corosync")
            if own is not None:
                name = str(own.get("cluster_name")) if isinstance(own, dict) else "?"
                found.setdefault(name, own)
                covered.update(ring_run.members(own).values())
                if wanted is not None and name == str(wanted):
                    break
            elif pillar.get("_errors"):
                broken.append(finding("pillar-render", f"pillar of {minion}: {pillar['_errors'][0]}",
                                      remedy=f"correct it; salt-run pillar.show_pillar {minion}"))
        if broken and not found:
            raise ring_run.RunError(broken)
        name = ring_run.choose_cluster(found, wanted, f"none of the accepted keys {glob!r}")
        return name, found[name]

    def gather(self):
        """
        Return what all nodes report, and the findings on how they answered; skipped nodes are not waited for.
        """
        answers = self.ask(list(self.minions), "corosync.facts", {}, self.settings["gather_timeout"])
        return ring_run.observe(self.minions, answers, self.accepted)

    def ask(self, names, fun, kwarg, wait, heard=None, grace=None):  # pylint: disable=too-many-arguments
        """
        Call a function on nodes at once and return ``{minion: return event}``.
        """
        back = {self.minions[name]: name for name in names}
        reachable = [minion for minion in back if minion in self.accepted]
        optional = {self.minions[name] for name in names if name in self.skip}

        def told(minion, event):
            if heard:
                heard(back[minion], event)

        if not reachable:
            return {}
        return _publish(reachable, fun, kwarg, wait, optional=optional, heard=told, grace=grace)[1]

    def folder(self):
        """
        Return the directory of this cluster on the master: lock and journals.
        """
        return os.path.join(_state_dir(), re.sub(r"[^A-Za-z0-9_-]", "_", self.name))


class _Ports:
    """
    What a run needs from outside: the nodes, the journal, the terminal, the clock (see ``ring_sequence``).
    """

    def __init__(self, site, jid, progress):
        self.site, self.progress = site, progress
        self.begun = time.monotonic()
        self.jid = jid
        self.path = os.path.join(site.folder(), f"{jid}.jsonl")
        self.gather, self.ask, self.sleep = site.gather, site.ask, time.sleep

    def passed(self):
        return round(time.monotonic() - self.begun, 2)

    def say(self, text):
        if self.progress:
            print(ring_show.progress(text, self.passed()), file=sys.stderr, flush=True)

    def note(self, event, tag="run", **data):
        """
        Write one line to the journal of the run, on disk before anything goes on, and fire it as an event.
        """
        row = {"event": event, "time": round(time.time(), 2), "at": self.passed(), "jid": self.jid,
               "cluster": self.site.name} | data
        with salt.utils.files.fopen(self.path, "a") as file:
            file.write(json.dumps(row, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
            bus.fire_event(row, f"corosync/{self.site.name}/run/{self.jid}/{tag}")


def _journal(jid, last):
    runs, findings = [], []
    for path in sorted(_journals(), key=os.path.basename, reverse=True):
        if jid is not None and os.path.basename(path) != f"{jid}.jsonl":
            continue
        if len(runs) >= int(last):
            break
        with salt.utils.files.fopen(path) as file:
            rows = [json.loads(line) for line in file if line.endswith("\n")]
        if rows:
            runs.append(_journal_row(rows) | ({"notes": rows} if jid is not None else {}))
    if jid is not None and not runs:
        raise ring_run.RunError(finding("argument-bad", f"jid={jid}: no such run in {_state_dir()}",
                                        remedy="salt-run corosync.journal lists them"))
    return {"runs": runs, "findings": findings, "result": "ok", "retcode": ring_run.OK}


def _journal_row(rows):
    first, end = rows[0], rows[-1] if rows[-1]["event"] == "ended" else {}
    return {"jid": str(first["jid"]), "cluster": first["cluster"], "layout": first.get("layout", "?"),
            "result": end.get("result", "under way or broken off"), "seconds": (end.get("seconds") or {}).get("total"),
            "begun": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first["time"]))}


def _journals():
    base = _state_dir()
    for folder in os.listdir(base) if os.path.isdir(base) else ():
        if os.path.isdir(os.path.join(base, folder)):
            for name in os.listdir(os.path.join(base, folder)):
                if name.endswith(".jsonl"):
                    yield os.path.join(base, folder, name)


def _state_dir():
    return os.path.join(__opts__["cachedir"], "pve-corosync")


def _accepted(target, kind):
    return set(salt.utils.minions.CkMinions(__opts__).check_minions(target, tgt_type=kind)["minions"])


@contextlib.contextmanager
def _lock(folder, jid):
    """
    Hold the cluster's lock on this master; the kernel gives it back whatever happens to this process.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with salt.utils.files.fopen(os.path.join(folder, "lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ring_run.RunError(ring_run.under_way(file.read()), ring_run.FAILED) from None
        file.seek(0)
        file.truncate()
        json.dump({"jid": str(jid), "pid": os.getpid(), "start": time.time()}, file)
        file.flush()
        yield


def _publish(ids, fun, kwarg, wait, optional=(), heard=None, grace=None):  # pylint: disable=too-many-arguments
    """
    Call a function on minions, once, and return ``(jid, {minion: return event}, [minions without an answer])``.

    Ends when all but the ``optional`` ones have answered, after ``wait`` seconds, or ``grace`` seconds after the last
    of some answers; Salt's own timeout is no deadline. ``heard(minion, event)`` is called at once for every answer.
    """
    with salt.client.get_local_client(mopts=__opts__) as client, salt.utils.event.get_event(
        "master", sock_dir=__opts__["sock_dir"], opts=__opts__, listen=True
    ) as bus:
        end = last = time.monotonic() + wait
        # the bus is subscribed before the publish, so that no answer is lost
        job = client.run_job(list(ids), fun, [], tgt_type="list", kwarg=kwarg, listen=False, timeout=wait)
        jid = (job or {}).get("jid")
        if not jid:
            return None, {}, sorted(ids)
        pending, got = set(ids), {}
        while pending - set(optional) and (left := end - time.monotonic()) > 0:
            event = bus.get_event(wait=left, tag=f"salt/job/{jid}/ret/", match_type="startswith", full=True)
            if event is None:
                break
            data = event["data"]
            if data.get("id") in pending:
                pending.discard(data["id"])
                got[data["id"]] = data
                end = min(last, time.monotonic() + grace) if grace else last
                if heard:
                    heard(data["id"], data)
    return jid, got, sorted(pending)
