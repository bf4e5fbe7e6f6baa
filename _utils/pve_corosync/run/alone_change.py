"""A run to a layout from one node: the same as that of the master, and what only a node alone does.

That is its share of the degraded path, and the start of its own stopped daemon. Pure but for the ports of
``run.change``, and four more (``ports.node``): ``locked()`` holds the locks, ``lost()`` tells that they are
gone, ``idle()`` gathers once nobody else is at work, ``start()`` starts the daemon.
"""

from __future__ import annotations

from pve_corosync.findings import errors, finding, ordered, refusal
from pve_corosync.judge import checklist, situation
from pve_corosync.judge import outcomes as step_outcomes
from pve_corosync.run import alone, change, revive, task

#: how long a started daemon may take until it can be asked.
START_S = 20.0
#: how often the file is put in place again because the others took a newer one before the start.
ROUNDS = 3


class LockHeld(Exception):
    """Another run works on the links; ``finding`` says which."""

    def __init__(self, item):
        self.finding = item
        super().__init__(item["text"])


def bare(steps):
    """Return steps as a report has them: without the files."""
    return [{key: value for key, value in step.items() if key != "conf"} for step in steps]


class AloneChange(change.Change):
    """One run to a layout from one node.

    :param request: a ``run.alone.Request``. :param ports: see the module.
    :param settings: what ``arguments.settings`` returns.
    :param degraded: without quorum, or where nodes are cut off: do this node's share of the degraded path.
    :param test: only tell what would be done.
    :param patience: seconds to wait for the quorum after this node's share.
    """

    seen_from = {"on_node": True}

    def __init__(self, request, ports, settings, degraded=False, test=False, patience=0.0):  # pylint: disable=too-many-arguments
        super().__init__(request, ports, settings, ports.jid, back=False)
        self.own, self.degraded, self.test, self.patience = request.own, degraded, test, patience
        self.by = f"corosync.apply on {self.own}"
        self.report |= {"node": self.own, "steps": [], "diffs": {}, "path": "none"}
        #: what was there before anything was changed.
        self.before = None

    def _work(self):
        """Look, decide which way it is, and go it."""
        self.observed, findings = self.ports.gather()
        result = self._way(findings)
        report = self.report
        if report["done"] and result == "already":
            result = "reached"
        if self.before:
            report["diffs"] = alone.changed(self.before, self.observed)
        if result not in task.GOOD:
            report["state"] = situation.state_now(self.observed)
            report["matrix"] = situation.matrix(self.observed)
        return result

    def _way(self, findings):
        if not self._facts()["runtime"]:
            return self._revive(findings)
        if alone.quorate(self._facts()):
            return self._through_cluster(findings)
        if self.degraded:
            return self._own_part(findings)
        item = alone.no_quorum(self.request, self.observed)
        return self._end("refused", "not quorate, nothing was touched", [*findings, item])

    def _facts(self):
        return self.observed["nodes"][self.own]

    def _end(self, result, summary, findings):
        self.report |= {"summary": summary, "findings": ordered(findings)}
        return result

    def _look_again(self):
        self.observed, findings = self.ports.gather()
        return findings

    # -- quorate ---------------------------------------------------------------------------------------------

    def _through_cluster(self, findings):
        """The whole change through the cluster file, as the one node that holds the lock."""
        made, found = self.request.plan(self.observed, findings)
        if self.test:
            return self._told_only(made, found)
        true = checklist.passed(self.request.checklist(self.observed)[0])
        if not made["steps"] and not errors(found, self.request.force) and true:
            return self._end("already", f"reached already, version {made['from_version']}", found)
        try:
            with self.ports.locked():
                return self._locked()
        except LockHeld as exc:
            return self._end("failed", "nothing was changed", [exc.finding])

    def _told_only(self, made, found):
        """Tell what a run would do."""
        part = alone.majority_part(self.request, self.observed, found) if self.degraded else None
        if part and not errors(part["findings"], self.request.force):
            return self._told_part(part)
        self.report |= self.request.planned(made, found, self.observed, diff=True)
        if self.report["retcode"]:
            return "refused"
        if self.report["steps"]:
            return "test"
        items, borne = self.request.checklist(self.observed)
        if checklist.passed(items):
            return "already"
        self.report |= alone.judged(self.report, items, borne)
        self.report["summary"] = "nothing to change, and the exit checklist is not true"
        return "failed"

    def _locked(self):
        """Look again, now that nobody else changes anything, and carry out the plan of what is seen."""
        self.observed, findings = self.ports.idle()
        self.before = self.before or self.observed
        found = self.request.plan(self.observed, findings)[1]
        part = alone.majority_part(self.request, self.observed, found) if self.degraded else None
        return self._majority_part(part) if part else self._planned(findings)

    def _planned(self, findings):
        self.txn = self.jid
        result = super()._planned(findings)
        if result == "refused" and self.report["done"]:
            self.report["summary"] = "this node's part is done, the rest is refused"
            return "failed"
        return result

    def _probe(self, made):
        return ""  # a test of a port needs a listener on every node, and only the master can start those

    def _in_service(self):
        return ""  # HA of the whole cluster is put in service by the master; the status tells what is left

    def _guarded_steps(self, made):
        try:
            # no quorum is lost by them, so HA needs nothing; the other nodes save their own /etc/pve
            return self._save_halves([self.own]) or self._stage(made) or self._steps(made)
        finally:
            self._give_back()

    def _round(self, step, writer, phase, nodes):
        if self.ports.lost():
            text, data = f"before step {step['number']}", {"node": self.own}
            return {}, [finding("lock-lost", text, data=data, remedy="run the same again")]
        call = {"txn": self.txn, "step": step, "writer": writer, "phase": phase}
        wait = step_outcomes.step_wait(step, self.settings)
        answers = self.ports.ask(nodes, "corosync.step", call, wait)
        told = {name: answers.get(self.request.minions[name]) for name in nodes}
        outcomes = {
            name: step_outcomes.told(answer["return"], step["number"], phase)
            for name, answer in told.items()
            if answer and answer["return"] is not None
        }
        return outcomes, step_outcomes.judge(step, outcomes, nodes, phase)

    def _step_row(self, step, phase, nodes, failed, start):
        bad = {item["data"]["node"]: item["text"] for item in failed}
        return self.add_row(step["text"], nodes, bad, start)

    def _verify(self, already=False):
        """Ask the exit checklist, as far as this node can see."""
        result = super()._verify(already)
        rows, found = self._own_rows()
        self.report["checklist"] = [*self.report["checklist"], *rows]
        self.report["findings"] = ordered([*self.report["findings"], *found])
        if result == "failed":
            self.report["summary"] = "the exit checklist is not true"
            self._explain([])
            return result
        version = (self._facts()["local"] or {}).get("version")
        how = "reached already" if result == "already" else "reached, and verified as far as one node can see"
        self.report["summary"] = f"{how}, version {version}"
        return result

    def _explain(self, failed):
        """Say what failed, and how to go on; a run from one node keeps the state that it saw last."""
        if failed:
            self._look_again()
        self.report["findings"] = ordered([*failed, *self.report["findings"]])
        again, on_master = self.request.command_again("apply"), self.request.on_master()
        self.report["next"] = [f"go on: {again}", f"on the master: {on_master}"]

    # -- a share of the degraded path ------------------------------------------------------------------------

    def _majority_part(self, part):
        """The quorate nodes' share, through the cluster file; and the rest, once the nodes that are cut off
        have done theirs."""
        step = part["step"]
        if errors(part["findings"], self.request.force):
            return self._end("refused", refusal(part["findings"], self.request.force), part["findings"])
        self.touched, self.txn = True, f"{self.jid}-part"
        failed = self._guarded_steps({"steps": [step]}) if step else []
        if failed:
            return self._part_failed(part["summary"], failed, step)

        def joined():
            found = self._look_again()
            return found, errors(self.request.plan(self.observed, found)[1], self.request.force)

        found, open_yet = task.until(self.ports, self.patience, joined, lambda seen: not seen[1], pause=1.0)
        if open_yet:
            return self._part_done(part)
        self.ports.say(f"{', '.join(part['cut'])} joined")
        return self._planned(found)

    def _own_part(self, findings):
        """This node's share of the degraded path; the rest follows if the quorum comes back."""
        part = alone.own_part(self.request, self.observed)
        part["findings"] = ordered([*findings, *part["findings"]])
        step = part["step"]
        if errors(part["findings"], self.request.force):
            return self._end("refused", refusal(part["findings"], self.request.force), part["findings"])
        if self.test:
            return self._told_part(part)
        self.before = self.before or self.observed
        failed = self._here(f"{self.jid}-part", step) if step else []
        if failed:
            return self._part_failed(part["summary"], failed, step)
        missing = self._waited(quorate=True, writable=True, deadline=self.patience)
        found = self._look_again()
        if missing:
            return self._part_done(part, missing)
        self.ports.say("the quorum is back")
        return self._through_cluster(found)

    def _told_part(self, part):
        """Tell of a share of the degraded path that would be done."""
        self.report |= {"steps": bare([part["step"]] if part["step"] else []), "diffs": part["diffs"]}
        return self._end("test" if part["step"] else "waiting", part["summary"], part["findings"])

    def _part_failed(self, summary, failed, step):
        self._look_again()
        self.report["steps"] = bare([step])
        return self._end("failed", f"{summary}: failed", failed)

    def _part_done(self, part, missing=()):
        """Tell of a share of the degraded path that is done, while others have not done theirs."""
        cut, said = ", ".join(part["cut"]), f": {'; '.join(missing)}" if missing else ""
        item = finding(
            "part-done",
            f"{part['summary']}; after {self.patience:g} s {cut} did not join{said}",
            data={"node": self.own},
            remedy=f"on {cut}: {self.request.command_again('apply', degraded=True)}",
        )
        items, borne = self.request.checklist(self.observed)
        rows, found = self._own_rows()
        self.report["steps"] = bare([part["step"]] if part["step"] else [])
        self.report["checklist"] = [*items, *rows]
        return self._end("waiting", part["summary"], [*part["findings"], item, *borne, *found])

    # -- corosync stopped ------------------------------------------------------------------------------------

    def _revive(self, findings):
        """Start this node's corosync, if it is stopped and that is safe; else say what is in the way."""
        stranger = alone.not_member(self.request, self._facts())
        if stranger:
            return self._end("refused", "in no cluster, nothing was touched", [stranger])
        if not revive.is_stopped(self._facts()):
            item = revive.unreadable(self.own, self._facts())
            return self._end("refused", "corosync cannot be asked, nothing was touched", [*findings, item])
        step, why = revive.revival(self.request, self.observed)
        if step is None:
            return self._not_started(findings, why)
        if self.test:
            return self._start_told(findings, step)
        self.before = self.observed
        step, failed, why = self._start(step)
        findings = self._look_again()
        if why:
            return self._not_started(findings, why)
        if failed:
            self.report["steps"] = bare([step])
            return self._end("failed", step["text"], failed)
        result = self._started(findings)
        self.report["steps"] = [*bare([step]), *self.report["steps"]]
        return result

    def _start(self, step):
        """Put the file in place and start the daemon; return ``(step, findings, why it was not started)``.

        A peer may take a newer file meanwhile; then that one is put in place.
        """
        for turn in range(ROUNDS):
            failed = self._here(f"{self.jid}-start{turn}", step, "files")
            if failed:
                return step, failed, []
            self._look_again()
            if self._facts()["runtime"]:
                return step, [], []  # somebody else has started it
            again, why = revive.revival(self.request, self.observed)
            if again is None:
                return step, [], why
            if again["conf"] == step["conf"]:
                return step, self._start_daemon(step), []
            step = again
        return step, [], ["the other nodes' file changed each time"]

    def _start_daemon(self, step):
        begun, error = self.ports.passed(), self.ports.start()
        missing = [error] if error else self._waited(version=step["version"], deadline=START_S)
        failed = self._failure(step, "; ".join(missing)) if missing else []
        self.add_row(step["text"], [self.own], {self.own: item["text"] for item in failed}, begun)
        if not failed:
            self._waited(quorate=True, writable=True, deadline=self.patience)
        return failed

    def _started(self, findings):
        """Go on to the layout with a daemon that runs again."""
        if alone.quorate(self._facts()):
            return self._through_cluster(findings)
        if self.degraded:
            return self._own_part(findings)
        item = alone.no_quorum(self.request, self.observed)
        return self._end("waiting", "corosync was started, the quorum is not back", [*findings, item])

    def _start_told(self, findings, step):
        """Tell of a start that would be done, and of what would follow it."""
        then = revive.expected(self.request, self.observed, step)
        made, found = self.request.plan(then, findings) if then else ({"steps": []}, findings)
        self.report["steps"] = bare([step, *made["steps"]])
        self.report["diffs"] = revive.diffs(self.request, self.observed, step, made["steps"])
        return self._end("test", step["text"] + "".join(f", {row['text']}" for row in made["steps"]), found)

    def _not_started(self, findings, why):
        item, self.report["next"] = revive.advice(self.request, self.observed, why)
        summary = "corosync does not run here, and was not started"
        return self._end("refused", summary, [*findings, item])

    # -- this node only --------------------------------------------------------------------------------------

    def _here(self, txn, step, phase=""):
        """Do a step that concerns this node alone, or of a start only the file; return findings."""
        start, self.txn, self.touched = self.ports.passed(), txn, True
        try:
            failed = self._save_halves([self.own]) or self._stage({"steps": [step]}, [self.own])
            if not failed:
                answer = self._value("corosync.step", txn=txn, step=step, writer="", phase=phase)
                told = answer if isinstance(answer, dict) else {"ok": False, "error": answer}
                failed = [] if told["ok"] else self._failure(step, told["error"])
        finally:
            self._give_back([self.own])
        if failed or not phase:
            self._step_row(step, phase, [self.own], failed, start)
        return failed

    def _failure(self, step, why):
        return [finding("step-failed", f"{step['text']}: {why}", data={"node": self.own})]

    def _waited(self, **what):
        """Wait on this node, and return what is missing at the end."""
        answer = self._value("corosync.wait", **what)
        return answer["missing"] if isinstance(answer, dict) else [answer]

    def _value(self, function, **kwarg):
        """Return what a function of this node returned, or its error's text."""
        return self.ports.ask([self.own], function, kwarg, 0)[self.request.minions[self.own]]["return"]

    def _own_rows(self):
        """Return what this node can see of the exit checklist beyond the links, and findings on it."""
        address = self.request.layout["primary"]["addresses"][self.own]
        told = self._value("pve_certs.facts", address=address)
        wrong = told["problems"] if isinstance(told, dict) else [f"certificate: {told}"]
        return alone.own_rows(self.request, self._facts(), wrong)
