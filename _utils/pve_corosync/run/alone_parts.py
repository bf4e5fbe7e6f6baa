"""The ways of a run from one node that end on it: its share of the degraded path, and a stopped daemon.

The base of the job that the execution module ``corosync`` makes of ``corosync.apply``; Salt comes in by
attributes, so that this file needs none of it. It starts one process itself: ``systemctl start corosync``.
"""

from __future__ import annotations

import time

from pve_corosync.findings import errors, finding, ordered
from pve_corosync.node import children
from pve_corosync.run import alone, revive

#: systemd gives the unit 90 s; and how long a started daemon may take until it can be asked.
START_TIMEOUT, START_S = 100.0, 20.0
#: how often the file is put in place again because the others took a newer one before the start.
ROUNDS = 3
#: the node's run lock outlives a dead run for less time than the cluster's, so that the node can go on
#: itself.
STAGE_TTL = 100


def bare(steps):
    """Return steps as a report has them: without the files."""
    return [{key: value for key, value in step.items() if key != "conf"} for step in steps]


class Parts:
    """
    What a job can do on its own node. The job has ``salt`` (the execution modules), ``failures`` (what they
    raise), ``request``, ``cluster`` (a ``node.peers.Sight``), ``run``, ``patience``, ``degraded``, ``test``,
    ``done`` and ``before``, and ``say``, ``report``, ``carry_out``, ``planned_steps``, ``through_cluster``.
    """

    # -- quorate, and some nodes cut off -------------------------------------------------------------------

    def majority_part(self, part, observed, lock):
        """
        The quorate nodes' share of the degraded path, through the cluster file; and the rest, once the nodes
        that are cut off have done theirs.
        """
        step, found = part["step"], part["findings"]
        if errors(found, self.request.force):
            return self.report(observed, found, "refused", "refused, nothing was changed")
        failed = self.carry_out([step], lock, f"{self.run}-part") if step else []
        end = time.monotonic() + self.patience
        while not failed:
            observed, findings = self.cluster.gather()
            made, seen = self.request.plan(observed, findings)
            if not errors(seen, self.request.force):
                self.say(f"{', '.join(part['cut'])} joined")
                return self.planned_steps(made, seen, observed, lock)
            if time.monotonic() >= end:
                return self.part_done(observed, part)
            time.sleep(1.0)
        observed = self.cluster.gather()[0]
        return self.report(observed, failed, "failed", f"{part['summary']}: failed") | {"steps": bare([step])}

    def told_part(self, observed, part):
        """
        Return the report of a share of the degraded path that would be done.
        """
        step = part["step"]
        report = self.report(observed, part["findings"], "test" if step else "waiting", part["summary"])
        return report | {"steps": bare([step] if step else []), "diffs": part["diffs"]}

    def part_done(self, observed, part, missing=()):
        """
        Return the report of a share of the degraded path that is done, while others have not done theirs.
        """
        again = self.request.command_again("apply", degraded=True)
        said = f": {'; '.join(missing)}" if missing else ""
        item = finding(
            "part-done",
            f"{part['summary']}; after {self.patience:g} s {', '.join(part['cut'])} did not join{said}",
            data={"node": self.request.own},
            remedy=f"on {', '.join(part['cut'])}: {again}",
        )
        items, borne = self.checklist(observed)
        report = self.report(observed, [*part["findings"], item, *borne], "waiting", part["summary"])
        return report | {"steps": bare([part["step"]] if part["step"] else []), "checklist": items}

    # -- not quorate -----------------------------------------------------------------------------------------

    def own_part(self, observed, findings):
        """
        This node's share of the degraded path; the rest follows if the quorum comes back.
        """
        part = alone.own_part(self.request, observed)
        part["findings"] = ordered([*findings, *part["findings"]])
        step = part["step"]
        if errors(part["findings"], self.request.force):
            return self.report(observed, part["findings"], "refused", "refused, nothing was changed")
        if self.test:
            return self.told_part(observed, part)
        self.before = self.before or observed
        failed = self.carry_out_here(f"{self.run}-part", step) if step else []
        if failed:
            observed = self.cluster.gather()[0]
            report = self.report(observed, failed, "failed", f"{part['summary']}: failed")
            return report | {"steps": bare([step])}
        told = self.salt["corosync.wait"](quorate=True, writable=True, deadline=self.patience)
        observed, findings = self.cluster.gather()
        if told["ok"]:
            self.say("the quorum is back")
            return self.through_cluster(observed, findings)
        return self.part_done(observed, part, told["missing"])

    def carry_out_here(self, run, step, note=True):
        """
        Do a step that concerns this node alone, or of a start only the file; return findings.
        """
        start = time.monotonic()
        try:
            told = self.salt["corosync.stage"](
                run, [step], by=f"corosync.apply on {self.request.own}", ttl=STAGE_TTL
            )
            refused = "; ".join(row["text"] for row in told["checks"] if not row["ok"])
            failed = alone.stage_findings({self.request.own: refused})
            if not failed:
                told = self.salt["corosync.step"](run, step, "", "files" if step["act"] == "restart" else "")
                failed = [] if told["ok"] else self.failure(step, told["error"])
        except self.failures as exc:
            failed = self.failure(step, exc)
        finally:
            self.salt["corosync.finish"](run)
        if note or failed:
            self.note(step, failed, start)
        return failed

    def failure(self, step, why):
        return [finding("step-failed", f"{step['text']}: {why}", data={"node": self.request.own})]

    def note(self, step, failed, start):
        """
        Put a step that concerns this node alone into what was done.
        """
        self.done.append(
            {
                "number": len(self.done) + 1,
                "text": step["text"],
                "ok": not failed,
                "seconds": round(time.monotonic() - start, 2),
                "nodes": {self.request.own: failed[0]["text"] if failed else "ok"},
            }
        )

    # -- corosync stopped ------------------------------------------------------------------------------------

    def revive(self, observed, findings):
        """
        Start this node's corosync, if it is stopped and that is safe; else say what is in the way.
        """
        own = observed["nodes"][self.request.own]
        stranger = alone.not_member(self.request, own)
        if stranger:
            return self.report(observed, [stranger], "refused", "in no cluster, nothing was touched")
        if not revive.is_stopped(own):
            found = [*findings, revive.unreadable(self.request.own, own)]
            return self.report(observed, found, "refused", "corosync cannot be asked, nothing was touched")
        step, why = revive.revival(self.request, observed)
        if step is None:
            return self.not_started(observed, findings, why)
        if self.test:
            return self.start_told(observed, findings, step)
        self.before = observed
        for turn in range(ROUNDS):
            failed = self.carry_out_here(f"{self.run}-start{turn}", step, note=False)
            if failed:
                break
            # a peer may have taken a newer file meanwhile
            observed, findings = self.cluster.gather()
            if observed["nodes"][self.request.own]["runtime"]:
                break  # somebody else has started it
            again, why = revive.revival(self.request, observed)
            if again is None:
                return self.not_started(observed, findings, why)
            if again["conf"] == step["conf"]:
                failed = self.start(step)
                break
            step = again
        else:
            return self.not_started(observed, findings, ["the other nodes' file changed each time"])
        observed, findings = self.cluster.gather()
        if failed:
            return self.report(observed, failed, "failed", step["text"]) | {"steps": bare([step])}
        if alone.quorate(observed["nodes"][self.request.own]):
            report = self.through_cluster(observed, findings)
        elif self.degraded:
            report = self.own_part(observed, findings)
        else:
            item, commands = alone.no_quorum(self.request, observed["nodes"][self.request.own])
            summary = "corosync was started, the quorum is not back"
            report = self.report(observed, [*findings, item], "waiting", summary) | {"next": commands}
        return report | {"steps": [*bare([step]), *report["steps"]]}

    def start(self, step):
        """
        Start the unit; one that has been started meanwhile stays as it is. Return findings.
        """
        begun = time.monotonic()
        result = children.run(["systemctl", "start", "corosync.service"], timeout=START_TIMEOUT)
        if result["rc"]:
            failed = self.failure(step, f"systemctl start corosync: {children.complaint(result)}")
        else:
            told = self.salt["corosync.wait"](version=step["version"], deadline=START_S)
            failed = [] if told["ok"] else self.failure(step, "; ".join(told["missing"]))
        self.note(step, failed, begun)
        if not failed:
            self.salt["corosync.wait"](quorate=True, writable=True, deadline=self.patience)
        return failed

    def start_told(self, observed, findings, step):
        """
        Return the report of a start that would be done, and of what would follow it.
        """
        then = revive.expected(self.request, observed, step)
        made, found = self.request.plan(then, findings) if then else ({"steps": []}, findings)
        summary = step["text"] + "".join(f", {row['text']}" for row in made["steps"])
        return self.report(observed, found, "test", summary) | {
            "steps": bare([step, *made["steps"]]),
            "diffs": revive.diffs(self.request, observed, step, made["steps"]),
        }

    def not_started(self, observed, findings, why):
        item, commands = revive.advice(self.request, observed, why)
        summary = "corosync does not run here, and was not started"
        return self.report(observed, [*findings, item], "refused", summary) | {"next": commands}

    # -- what was seen ---------------------------------------------------------------------------------------

    def changed(self, observed):
        """
        Return the difference of the files since before the run, as they were read back.
        """
        return alone.changed(self.before, observed) if self.before else {}

    def checklist(self, observed):
        """
        Return the exit checklist as far as one node can see, and findings on what does not fail a run.
        """
        items, borne = self.request.checklist(observed)
        try:
            address = self.request.layout["primary"]["addresses"][self.request.own]
            wrong = self.salt["pve_certs.facts"](address)["problems"]
        except KeyError:
            wrong = ["certificate: the execution module pve_certs is not there"]
        except self.failures as exc:
            wrong = [f"certificate: {exc}"]
        rows, found = alone.own_rows(self.request, observed["nodes"][self.request.own], wrong)
        return [*items, *rows], [*borne, *found]
