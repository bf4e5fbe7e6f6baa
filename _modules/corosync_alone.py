"""
The layout of the links, worked on from one node: by highstate, or by hand on a day without a master.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name). A quorate node makes the
whole change through the cluster file, step by step, under a lock that only one node of the cluster can hold;
the others are asked over PVE's own ssh, with commands that only read, so that each step is read back on every
pair. A node without quorum does its own part of the degraded path, and only if that is asked for.

The wanted layout comes from the pillar key ``corosync``. Without a master it is read from this node's
``/srv/pillar``:

.. code-block:: bash

    salt-call --local corosync.status
    salt-call --local corosync.plan degraded
    salt-call --local corosync.apply degraded degraded=True

:depends: corosync, ssh, pmxcfs (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import sys
import time

import salt.utils.path
from pve_corosync import show
from pve_corosync.findings import errors, finding, ordered
from pve_corosync.node import locks, peers, runs
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.run import alone, alone_parts, checklist
from pve_corosync.run import outcomes as step_outcomes
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

#: seconds to wait for another node's run: a dead one holds the lock for 120 s.
LOCK_WAIT = 300
#: seconds that the quorum is waited for after this node's part of the degraded path.
PATIENCE = 30
VERIFY_S = 10.0

__outputter__ = {"plan": "corosync_table", "apply": "corosync_table"}


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def plan(layout=None, degraded=False, skip=None, force=None):
    """
    Show what ``corosync.apply`` would do from this node, and what is refused and why; nothing is changed.

    layout
        A layout of the pillar; default the one that the pillar wants.

    degraded
        Without quorum, or with it where nodes are cut off: plan this node's part of the degraded path.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of: lists, or names with commas
        between.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.plan degraded
    """
    return _guarded("plan", lambda: _Job(layout, skip, force, degraded, test=True).work())


def apply(
    layout=None,
    test=False,
    degraded=False,
    skip=None,
    force=None,
    wait=LOCK_WAIT,
    patience=PATIENCE,
    progress=False,
):  # pylint: disable=too-many-arguments
    """
    Take the cluster to a layout from this node, and return the report.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Only tell what would change, with the diffs.

    degraded
        Without quorum, nothing is touched; with this, this node's part of the degraded path is done: a link
        is added to its own local file. The other nodes do theirs by the same command, and the node that sees
        the quorum come back within ``patience`` finishes the change for all. A quorate node that others are
        cut off from adds the link through the cluster file; they take that file over by the same command.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of: lists, or names with commas
        between.

    wait
        Seconds to wait while another node works on the links.

    patience
        Seconds to wait for the quorum after this node's part of the degraded path.

    progress
        Tell the steps on standard error.

    ``result`` is ``already`` (nothing to do), ``reached``, ``test``, ``waiting`` (this node's part is done,
    the quorum is not back), ``refused`` or ``failed``; the last three set the exit code.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.apply
        salt-call --local corosync.apply degraded degraded=True progress=True
    """
    return _guarded(
        "apply", lambda: _Job(layout, skip, force, degraded, bool(test), wait, patience, progress).work()
    )


def _guarded(do, work):
    try:
        report = work()
    except (step_outcomes.RunError, layouts.LayoutError) as exc:
        report = {
            "findings": exc.findings,
            "result": "refused",
            "summary": "refused, nothing was changed",
            "retcode": getattr(exc, "retcode", step_outcomes.USAGE),
        }
    except planner.PlanError as exc:
        raise CommandExecutionError(str(exc)) from exc
    if report["retcode"]:
        __context__["retcode"] = report["retcode"]
    return {"do": do, **report}


def _seconds(value, what):
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds < float("inf"):
        raise SaltInvocationError(f"{what}={value!r}: seconds are needed, 0 or more; nothing was done")
    return seconds


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")


def _pillar():
    """
    Return the pillar as plain types: Salt 3008 masks what ``pillar.get`` returns.
    """
    return layouts.plain(__pillar__.get("corosync"))


class _Job(alone_parts.Parts):
    """
    One call of ``plan`` or ``apply``.
    """

    def __init__(self, layout, skip, force, degraded, test, wait=0, patience=0, progress=False):  # pylint: disable=too-many-arguments
        self.salt, self.failures = __salt__, (CommandExecutionError, SaltInvocationError)
        self.node = __salt__["corosync.node_name"]()
        self.request = alone.Request(
            _pillar(),
            __opts__.get("id"),
            self.node,
            layout,
            skip=step_outcomes.names(skip, "skip"),
            force=step_outcomes.names(force, "force"),
        )
        self.cluster = peers.Sight(self.request, __salt__["corosync.facts"], _root())
        self.degraded, self.test, self.progress = bool(degraded), test, bool(progress)
        self.wait, self.patience = _seconds(wait, "wait"), min(_seconds(patience, "patience"), 600.0)
        self.begun = time.monotonic()
        self.run = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f"-{self.request.own}"
        #: what was there before anything was changed.
        self.done, self.before = [], None

    def work(self):
        """
        Look, decide which way it is, and go it.
        """
        self.say(f"{self.request.layout['cluster_name']} -> {self.request.layout['name']}: asking the nodes")
        observed, findings = self.cluster.gather()
        own = observed["nodes"][self.request.own]
        if not own["runtime"]:
            return self.revive(observed, findings)
        if alone.quorate(own):
            return self.through_cluster(observed, findings)
        if not self.degraded:
            item, commands = alone.no_quorum(self.request, own)
            report = self.report(observed, [*findings, item], "refused", "not quorate, nothing was touched")
            return report | {"next": commands}
        return self.own_part(observed, findings)

    # -- quorate ---------------------------------------------------------------------------------------------

    def through_cluster(self, observed, findings):
        """
        The whole change through the cluster file, as the one node that holds the lock.
        """
        made, found = self.request.plan(observed, findings)
        if self.test:
            return self.told_only(made, found, observed)
        if not made["steps"] and not errors(found, self.request.force) and not self.lacking(observed):
            return self.report(observed, found, "already", f"reached already, version {made['from_version']}")
        what = f"layout {self.request.layout['name']}"
        holder = {"node": self.request.own, "run": self.run, "what": what}
        try:
            # one lock for this node, since all its processes are one holder to pmxcfs; one for the cluster
            with (
                runs.locked(_root(), "alone", self.wait),
                locks.Lock(holder, self.wait, _root(), self.say) as lock,
            ):
                return self.locked(lock)
        except runs.Busy:
            return self.report(
                observed,
                [
                    finding(
                        "lock-held", "another run on this node works on the links", remedy="wait for its end"
                    )
                ],
                "failed",
                "nothing was changed",
            )
        except locks.Held as exc:
            item = finding(
                "lock-held",
                f"{exc}; waited {exc.waited:.0f} s",
                data={"holder": exc.holder},
                remedy="wait for its end, then run the same again",
            )
            return self.report(observed, [item], "failed", "nothing was changed")
        except locks.LockError as exc:
            raise CommandExecutionError(f"the lock of the cluster: {exc}; nothing was changed") from exc

    def told_only(self, made, found, observed):
        """
        Return the report of what a run would do.
        """
        part = alone.majority_part(self.request, observed, found) if self.degraded else None
        if part and not errors(part["findings"], self.request.force):
            return self.told_part(observed, part)
        report = self.head() | self.request.planned(made, found, observed, diff=True)
        if report["retcode"] or report["steps"]:
            return report | {"result": "refused" if report["retcode"] else "test"}
        report["result"] = "already"
        if self.lacking(observed):
            items, borne = self.request.checklist(observed)
            report = alone.judged(report, items, borne) | {
                "result": "failed",
                "retcode": step_outcomes.FAILED,
            }
            report["summary"] = "nothing to change, and the exit checklist is not true"
        return report

    def locked(self, lock):
        """
        Look again, now that nobody else changes anything, and carry out the plan of what is seen.
        """
        observed, findings = self.idle()
        self.before = self.before or observed
        made, found = self.request.plan(observed, findings)
        part = alone.majority_part(self.request, observed, found) if self.degraded else None
        if part:
            return self.majority_part(part, observed, lock)
        return self.planned_steps(made, found, observed, lock)

    def planned_steps(self, made, found, observed, lock):
        """
        Carry out a plan that one node can carry out, and verify.
        """
        report = self.head() | self.request.planned(made, found, observed)
        report.pop("next", None)
        if report["retcode"]:
            report |= {"done": self.done, "diffs": self.changed(observed)}
            return (
                report | {"result": "failed", "summary": "this node's part is done, the rest is refused"}
                if (self.done)
                else report
            )
        self.say(report["summary"])
        failed = self.carry_out(made["steps"], lock) if made["steps"] else []
        return self.verified(report, failed)

    def idle(self):
        """
        Gather, until no node is busy with a run of the master, or the time to wait is over.
        """
        end = time.monotonic() + min(self.wait, 120.0)
        while True:
            observed, findings = self.cluster.gather()
            if time.monotonic() >= end or not any(facts.get("busy") for facts in observed["nodes"].values()):
                return observed, findings
            time.sleep(1.0)

    def carry_out(self, steps, lock, run=None):
        """
        Check the files on all nodes, then do one step after the other; return the findings of the first that
        failed.
        """
        run = run or self.run  # outcomes are kept by run and number
        try:
            failed = self.stage(run, steps)
            for step in [] if failed else steps:
                if lock.lost():
                    return [
                        finding("lock-lost", f"before step {step['number']}", remedy="run the same again")
                    ]
                failed = self.step(run, step)
                if failed:
                    return failed
            return failed
        finally:
            __salt__["corosync.finish"](run)

    def stage(self, run, steps):
        """
        Have this node and all others check the files of the steps; return findings.
        """
        try:
            told = __salt__["corosync.stage"](
                run, steps, by=f"corosync.apply on {self.request.own}", ttl=alone_parts.STAGE_TTL
            )
        except CommandExecutionError as exc:
            return alone.stage_findings({self.request.own: str(exc)})
        refused = {self.request.own: "; ".join(row["text"] for row in told["checks"] if not row["ok"])}
        for conf in dict.fromkeys(step["conf"] for step in steps if step["act"] != "publish"):
            for name, text in self.cluster.peers.check(list(self.request.peers), conf).items():
                refused[name] = refused.get(name) or text
        return alone.stage_findings(refused)

    def step(self, run, step):
        """
        Do one step, read it back on every node that takes part, and return findings.
        """
        start = time.monotonic()
        nodes = [name for name in self.request.nodes if name in (step.get("nodes") or self.request.nodes)]
        self.say(f"step {step['number']} {step['act']}: {step['text']}")
        try:
            outcomes = {self.request.own: __salt__["corosync.step"](run, step, self.request.own)}
        except (CommandExecutionError, SaltInvocationError) as exc:
            outcomes = {self.request.own: str(exc)}
        end = start + float(step["deadline_s"])
        pending = [name for name in self.request.peers if name in nodes]
        while pending:
            own = outcomes[self.request.own]
            for name, facts in self.cluster.peers.facts(__salt__["corosync.facts"](), pending).items():
                outcomes[name] = alone.outcome(name, step, facts)
            pending = [name for name in pending if name not in outcomes or not outcomes[name]["ok"]]
            if not isinstance(own, dict) or not own["ok"] or time.monotonic() >= end:
                break
            if pending:
                time.sleep(0.3)
        failed = step_outcomes.judge(step, outcomes, nodes)
        bad = {item["data"]["node"]: item["text"] for item in failed}
        self.done.append(
            {
                "number": len(self.done) + 1,
                "text": step["text"],
                "ok": not failed,
                "seconds": round(time.monotonic() - start, 2),
                "nodes": {name: bad.get(name, "ok") for name in nodes},
            }
        )
        return failed

    # -- reports ---------------------------------------------------------------------------------------------

    def head(self):
        return self.request.head() | {"node": self.request.own}

    def report(self, observed, findings, result, summary):
        """
        Return a report without a plan.
        """
        ok = result in ("already", "reached", "test")
        report = self.head() | {
            "findings": ordered(findings),
            "result": result,
            "summary": summary,
            "steps": [],
            "done": self.done,
            "diffs": self.changed(observed),
            "path": "none",
            "retcode": step_outcomes.OK if ok else step_outcomes.FAILED,
        }
        if self.done and result == "already":
            report["result"] = "reached"
        if not ok:
            report |= {"state": step_outcomes.state_now(observed), "matrix": step_outcomes.matrix(observed)}
        return report

    def lacking(self, observed):
        """
        Tell whether the exit checklist is not true.
        """
        return not checklist.passed(self.request.checklist(observed)[0])

    def verified(self, report, failed):
        """
        Finish a report with the exit checklist, as far as this node can see.
        """
        end = time.monotonic() + VERIFY_S
        observed = self.cluster.gather()[0]
        items, borne = self.request.checklist(observed)
        while not failed and not checklist.passed(items) and time.monotonic() < end:
            time.sleep(0.5)
            observed = self.cluster.gather()[0]
            items, borne = self.request.checklist(observed)
        ok = not failed and checklist.passed(items)
        report = alone.judged(report | {"before": report["findings"], "findings": failed}, items, borne)
        rows, found = self.checklist(observed)
        report |= {"checklist": rows, "findings": ordered([*report["findings"], *found])}
        result = "failed" if not ok else "reached" if self.done else "already"
        version = (observed["nodes"][self.request.own]["local"] or {}).get("version")
        summary = {
            "failed": f"stopped in step {len(self.done)}" if failed else "the exit checklist is not true",
            "reached": f"reached, and verified as far as one node can see, version {version}",
            "already": f"reached already, version {version}",
        }[result]
        report |= {
            "result": result,
            "summary": summary,
            "done": self.done,
            "diffs": self.changed(observed),
            "retcode": step_outcomes.OK if ok else step_outcomes.FAILED,
            "seconds": {"total": round(time.monotonic() - self.begun, 2)},
        }
        if not ok:
            report |= {
                "state": step_outcomes.state_now(observed),
                "matrix": step_outcomes.matrix(observed),
                "next": [
                    f"go on: {self.request.command_again('apply')}",
                    f"on the master: {self.request.on_master()}",
                ],
            }
        log.info("%s: %s", self.request.layout["name"], summary)
        return report

    def say(self, text):
        if self.progress:
            print(show.progress(text, time.monotonic() - self.begun), file=sys.stderr, flush=True)
        log.debug("%s", text)
