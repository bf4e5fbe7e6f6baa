"""A run of the whole cluster to a layout, as a sequence: plan, stage, carry out step by step, verify.

Pure but for its ports: asking nodes, noting, telling, and the clock come in as one object, so that the
sequence can be driven by a test as well as by the runner. The ports:

* ``gather() -> (observed, findings)``;
* ``ask(nodes, function, kwarg, wait, heard=None, grace=None) -> {minion id: return event}``:
  ``heard(node, event)`` at once; gives up ``wait`` seconds after the call, or ``grace`` seconds after the
  last answer if some have come;
* ``note(event, tag="run", **data)``: one line of the journal;
* ``say(text)``: one line of progress;
* ``over``: names of runs of this master for this cluster that are no longer alive;
* ``came_from() -> names of the layouts that the last run began with, if it ended half-way``;
* ``passed() -> seconds since the start``; ``sleep(seconds)``.
"""

from __future__ import annotations

import contextlib
import traceback

from pve_corosync import arguments, show
from pve_corosync.findings import errors, finding, ordered
from pve_corosync.judge import checklist, evidence, past, situation, verdict, ways
from pve_corosync.judge import outcomes as step_outcomes
from pve_corosync.plan import words
from pve_corosync.run import ha_guard, merge, preflight, step_trip, takeover, task, way_back

#: what the names of a run's second attempt and of its way back end in.
AGAIN, BACK = "-again", "-back"
#: what keeps a run that is to be confirmed.
CONFIRM = "salt-run corosync.confirm"
#: after a start of corosync its links count as dead for 1 to 2 s.
START_S = 3.0


class Change(task.Task):
    """One run to a layout.

    :param request: a :class:`Request`.
    :param ports: see the module.
    :param settings: what ``arguments.settings`` returns.
    :param jid: the name of the run, on the nodes too.
    :param back: plan to the layout that the run came from where it ends with less quorum than it began with.
    :param confirm: seconds in which the run is to be confirmed after its last step, or the nodes go back; 0
        without.
    :param seen: what ``ports.gather`` returned a moment ago, if that is known: the first look is this.
    :param still: ``({minion: return event of corosync.stage, with a look}) -> findings``, asked before the
        first step: with findings the run ends, and nothing was changed.
    """

    #: for the verdict: where the report is read.
    seen_from: dict = {}

    def __init__(self, request, ports, settings, jid, back=True, confirm=0, seen=None, still=None):  # pylint: disable=too-many-arguments
        super().__init__(request, ports, settings, jid=str(jid))
        self.jid, self.by = str(jid), f"corosync.apply, job {jid}"
        self.back, self.confirm, self.seen, self.still = back, confirm, seen, still
        #: why the run is not wanted any more, as ``still`` found.
        self.unwanted = []
        self.txn, self.path = self.jid, ""
        self.carried, self.starts, self.observed = [], {}, None
        self.touched, self.unarmed, self.failed, self.failed_in = False, [], [], None
        self.saved = {}
        #: what the run began with: facts, and layouts in force; a second attempt keeps them.
        self.first, self.origin = None, []
        #: the nodes whose quorum this run could cost
        self.bore = set()

    def carry_out(self, **about) -> dict:
        """Gather, plan, stage, carry out the steps, verify, and return the report.

        The nodes' locks are given back and the journal is closed whatever happens.

        :param about: more for the first line of the journal.
        """
        layout = self.request.layout
        how = {"strategy": self.request.strategy, "skip": self.request.skip, "force": self.request.force}
        asked = f"asking {len(self.request.minions)} nodes, at most {self.settings['gather_timeout']:g} s"
        self.ports.say(f"{layout['cluster_name']} -> {layout['name']}: {asked}")
        report = self.run(self._work, **how, **about)
        if report["retcode"] and self.observed:
            verdict.attach(report, self.request, self.observed, **self.seen_from)
        return report

    def _work(self):
        result = self._attempt()
        if result == "failed" and self._changed_meanwhile():
            # The nodes keep the outcomes of a run by its name and number, so the second attempt has a name of
            # its own.
            self.ports.say("a network died meanwhile: planning again for what is there now")
            self.ports.note("planning again", findings=self.report["findings"])
            self.report["first"] = {key: self.report[key] for key in ("summary", "findings")}
            self.txn, self.carried, self.starts, self.failed = f"{self.jid}{AGAIN}", [], {}, []
            result = self._attempt()
        if result == "failed" and self.back and self.touched:
            self._go_back()
        return result

    def _go_back(self):
        """Plan to the layout that the run came from, if nodes lost their quorum in it, and tell of it.

        The run has failed all the same: its layout is not reached.
        """
        lost = evidence.lost_quorum(self.bore, self.observed)
        home = self._home()
        if not lost or not home:
            return
        said = f"{', '.join(lost)} lost quorum in this run"
        self.ports.say(f"{said}: going back to {home}")
        self.ports.note("going back", layout=home, lost=lost)
        way = Change(self.request.toward(home), self.ports, self.settings, f"{self.jid}{BACK}", back=False)
        way.by, way.touched = self.by, True
        result = way._attempt()  # pylint: disable=protected-access
        told = way.report | {"findings": ordered(way.report["findings"])}
        kept = ("layout", "summary", "findings", "done", "steps", "path")
        self.report["back"] = {key: told[key] for key in kept if key in told} | {"result": result}
        self.observed, self.unarmed = way.observed, self.unarmed + way.unarmed
        good = result in task.GOOD
        text = f"{said}; it went back to {home}" if good else f"{said}, and the way back to {home} failed"
        command = ways.command("apply", home, **way.request.how())
        item = finding(
            "went-back" if good else "back-failed",
            text + ("" if good else f": {told.get('summary', result)}"),
            data={"layout": home, "lost": lost},
            remedy=f"look why: {self.request.command_again('plan')}" if good else f"the same: {command}",
        )
        self.report["findings"] = ordered([item, *self.report["findings"]])
        self.report["summary"] = f"{self.report['summary']}; " + text.partition("; ")[2] if good else text
        self._tell_state()

    def broken(self, exc):
        """Return the error for a run that the master itself could not go on with, its report in it: what the
        operator has to do must not be lost behind a traceback."""
        if not self.touched:
            return exc
        with contextlib.suppress(Exception):
            self.ports.note("broken off", error=traceback.format_exc())
        broken = finding(
            "run-broken",
            f"the run was broken off on the master: {exc!r}; its journal: {task.journal_command(self.jid)}",
            remedy=f"repair what it names, then: {self.request.command_again('apply')}",
        )
        self.report["summary"] = "broken off" + ("; HA is not in service again" if self.unarmed else "")
        self.report["findings"] = ordered(self.unarmed + [broken] + self.report["findings"])
        error = arguments.RunError(self.report["findings"], arguments.FAILED)
        error.report = self.report | {"result": "failed", "retcode": arguments.FAILED}
        return error

    def _fell_apart(self):
        """Tell whether a plan for a whole cluster failed, and the nodes now need one for pieces of it."""
        if self.path != "planned":
            return False
        made, _findings = self.request.plan(self.observed, [])
        return made["path"] == "degraded" and bool(made["steps"])

    def _changed_meanwhile(self):
        """Tell whether the plan was one for a network that has died since, and there is one without it.

        That is so where the cluster fell apart, and where a step lacks nothing but links of a network that
        carried before the run, and that nothing depends on now.
        """
        if self._fell_apart():
            return True
        links = evidence.only_links(self.failed)
        made, findings = self.request.plan(self.observed, [])
        if not links or self.path != "planned" or errors(findings, self.request.force):
            return False
        dead = evidence.dead_networks(self.request.layout, self.first, self.observed)
        return links <= {n for n, network in self.failed_in["links"].items() if network in dead}

    def _attempt(self):
        return self._planned(self._look())

    def _planned(self, findings):
        """Plan from what was seen last, and carry the plan out; return the result."""
        request = self.request
        self.report["seconds"]["gathered"] = self.ports.passed()
        made, findings = request.plan(self.observed, findings)
        if self.first is None:
            self.first, self.bore = self.observed, evidence.bearing(self.observed, made["partitions"])
            self.origin = situation.in_force(request.layouts(), self.observed) or self.ports.came_from()
        planned = request.planned(made, findings, self.observed)
        planned.pop("next", None)
        self.report |= planned
        if planned["retcode"]:
            self.tell_released(self.observed)
            return "refused"
        if not made["steps"]:
            return self._in_service() or self._verify(already=True)
        self.path = made["path"]
        self.ports.note(
            "planned",
            path=made["path"],
            steps=planned["steps"],
            partitions=made["partitions"],
            origin=self.origin,
            findings=self.report["findings"],
            state=situation.state_now(self.observed),
            diffs=words.diffs(made, self.observed),
        )
        self.ports.say(planned["summary"])
        stopped = self._probe(made)
        if stopped:
            return stopped
        self.touched = True
        failed = self._guarded_steps(made)
        if self.unwanted:
            self.report["findings"] = ordered(self.unwanted + self.report["findings"])
            return past.WITHDRAWN
        if situation.sick(situation.state_now(self.observed), request.skip):
            self.report["seconds"] |= step_outcomes.quorum_seconds(self.starts, self.carried)
        result = "failed" if failed else self._verify()
        self.report["findings"] = ordered(self.report["findings"] + merge.lost(request, self.saved))
        if self.unarmed:
            result, self.report["summary"] = "failed", f"{self.report['summary']}; HA is not in service again"
        if result == "failed":
            self._explain(failed + self.unarmed)
        return result

    def _probe(self, made):
        """Test the ports of the links that a plan adds; return the result that ends the run here, or ""."""
        request = self.request
        probed, later = preflight.before(request, self.ports, self.settings, made, self.observed, self.jid)
        self.report["findings"] = ordered(self.report["findings"] + probed)
        self.observed = later or self.observed
        if later and self._fell_apart():
            self.report["summary"] = "a network died before anything was changed"
            return "failed"
        if errors(probed, request.force):
            self.report["summary"] = "a port of a new link is filtered, nothing was changed"
            return "refused"
        return ""

    def _in_service(self):
        """Put in service what a dead run has left released; return "failed" where that did not go."""
        guard = ha_guard.HaGuard(self.request, self.ports, self.settings, self.report)
        if not guard.inherit(self.observed):
            return ""
        self.touched, self.unarmed = True, guard.after()
        self.report["findings"] = ordered(self.unarmed + self.report["findings"])
        self.report["summary"] = "the layout is reached; HA is not in service again"
        return "failed" if self.unarmed else ""

    def _guarded_steps(self, made):
        """Stage the steps and carry them out, HA released around them where that must be; return the
        findings of what failed."""
        guard = ha_guard.HaGuard(self.request, self.ports, self.settings, self.report)
        guard.inherit(self.observed)
        failed = ["not done"]
        try:
            failed = (
                self._save_halves()
                or self._stage(made)
                or self.unwanted
                or guard.before(made["expected_loss_s"], self.observed)
                or self._steps(made)
            )
            return failed
        finally:
            try:
                self.unarmed += guard.after()
            finally:
                self._give_back(confirm=0 if failed or not self._home() else self.confirm)

    def _save_halves(self, nodes=None):
        """Save every node's /etc/pve before parts that are quorate apart meet; return the findings."""
        if not merge.needed(self.report["findings"]):
            return []
        failed, self.saved = merge.save(self.request, self.ports, self.txn, nodes or self.request.nodes)
        if failed:
            self.report["summary"] = "a node could not save its /etc/pve, nothing was changed"
        return failed

    def _look(self):
        """Gather the facts, take over from dead runs, and return the findings.

        This run holds the cluster's lock on the master, so a run that has its journal here is over, however
        it ended; so is the first attempt of this one. A step of it that a node still carries out is waited
        for, and the facts are gathered again: the plan must start from what that step left.
        """
        own = {self.jid.removesuffix(BACK) + end for end in ("", AGAIN)} - {self.txn}
        over = set(self.ports.over) | (own if self.touched else set())
        self.observed, findings = self.seen or self.ports.gather()
        self.seen = None
        held, dead = situation.dead_runs(self.observed, over)
        if not held:
            return findings
        failed = self._take_over(held)
        self.observed, findings = self.ports.gather()
        return findings + dead + failed

    def _take_over(self, held):
        """Take the locks of dead runs and give them back; return the findings.

        :param held: ``{node: run}``.
        """
        call = {"txn": self.txn, "by": self.by}
        failed = takeover.take_over(self.ports, self.request, self.settings, held, call)
        self._give_back(sorted(held))
        return failed

    def _give_back(self, nodes=None, confirm=0):
        """Give the nodes' locks back; one that stays is taken over by the next run.

        :param confirm: seconds in which the run is to be confirmed, else no way back is kept ready any more.
        """
        call, wait = {"txn": self.txn}, self.settings["gather_timeout"]
        if confirm:
            call["confirm"] = confirm
            self.report["confirm"] = {"seconds": confirm, "layout": self._home(), "command": CONFIRM}
            self.ports.say(f"back to {self._home()} in {confirm:g} s, unless: {CONFIRM}")
        try:
            self.ports.ask(nodes or self.request.nodes, "corosync.finish", call, wait)
        except Exception as exc:  # pylint: disable=broad-except
            self.ports.say(f"the nodes' locks could not be given back: {exc!r}")

    def _stage(self, made, nodes=None):
        """Have every node check the files of all steps and take its lock; return the findings.

        :param nodes: those that take part; default all.
        """
        nodes = {name: self.request.minions[name] for name in nodes or self.request.nodes}
        call = {"txn": self.txn, "steps": made["steps"], "by": self.by} | self._way_back(made)
        call |= {"look": True} if self.still else {}
        wait = self.settings["stage_timeout"]
        answers = self.ports.ask(list(nodes), "corosync.stage", call, wait)
        failed = step_outcomes.stage_problems(answers, nodes) or self._not_ready(answers, nodes)
        self.report["seconds"]["staged"] = self.ports.passed()
        self.ports.note("staged", ok=not failed, findings=failed)
        self.ports.say(
            "the files of all steps are refused" if failed else "all nodes accept the files of all steps"
        )
        if failed:
            self.report["summary"] = "a node refused, nothing was changed"
        elif self.still:
            self.unwanted, self.still = self.still(answers), None
            if self.unwanted:
                self.report["summary"] = f"{self.unwanted[0]['text']}; nothing was changed"
        return failed

    def _home(self):
        """Return the layout to go back to, None where the run has none: it keeps its layout, or had no
        quorum to lose."""
        names = [name for name in self.origin if name != self.request.layout["name"]]
        wanted = self.confirm or (self.back and self.bore)
        return names[0] if names and wanted else None

    def _way_back(self, made):
        """Return what the nodes keep ready for the case that this master is lost, as an argument of
        ``corosync.stage``."""
        if not self._home():
            return {}
        patience = self.settings["outcome_patience"]
        quiet = way_back.quiet(
            made["steps"], lambda step: step_outcomes.step_wait(step, self.settings), patience
        )
        way = {"layout": self._home(), "pillar": self.request.pillar, "quiet": quiet}
        return {"back": way | {"confirm": bool(self.confirm)}}

    def _not_ready(self, answers, nodes):
        """Return the findings on nodes that keep no way back ready; they stop a run to be confirmed."""
        told = {
            name: (step_outcomes.staged(answers[minion])[0] or {}).get("back")
            for name, minion in nodes.items()
        }
        found = [
            finding(
                "back-not-ready",
                f"{name}: {text}",
                severity="error" if self.confirm else "warning",
                data={"node": name},
                remedy=f"on {name}: systemctl status pve-corosync-back.timer",
            )
            for name, text in told.items()
            if text
        ]
        self.report["findings"] += [] if self.confirm else found
        return found if self.confirm else []

    def _steps(self, made):
        """Carry out the steps one after the other; return the findings of the first that failed."""
        latest = situation.latest_of_facts(self.observed)
        count = len(made["steps"])
        for step in made["steps"]:
            writer = situation.choose_writer(step.get("writers") or self.request.nodes, latest)
            for phase, nodes in step_outcomes.rounds(step, self.request.nodes):
                failed = self._step(step, writer, phase, nodes, count)
                self.failed, self.failed_in = failed, step
                if failed and not self._true_now(step, phase, nodes):
                    self.report["summary"] = f"stopped in step {step['number']} of {count}"
                    return failed
                latest |= step_outcomes.latest_of_outcomes(self.carried[-1]["outcomes"])
        return []

    def _step(self, step, writer, phase, nodes, count):
        """Carry out one round of a step, and note it; return the findings of what failed."""
        number, start = step["number"], self.ports.passed()
        self.starts.setdefault(number, start)
        where = "" if nodes == self.request.nodes else f" on {', '.join(nodes)}"
        most = f"waits for {show.waits(step.get('wait') or {})}, at most {step.get('deadline_s') or 20:g} s"
        said = step_outcomes.round_text(step, phase)
        self.ports.say(f"step {number}/{count} {step['act']}{where}: {said} ({most})")
        self.ports.note(
            f"step {number} begun",
            tag=number,
            act=step["act"],
            phase=phase,
            writer=writer,
            nodes=nodes,
            version=step["version"],
            text=step["text"],
        )
        outcomes, failed = self._round(step, writer, phase, nodes)
        row = self._step_row(step, phase, nodes, failed, start)
        self.carried.append({"number": number, "outcomes": outcomes})
        self.ports.note(f"step {number} ended", tag=number, outcomes=outcomes, **row)
        return failed

    def _round(self, step, writer, phase, nodes):
        """Have the nodes do one round of a step; return ``({node: outcome}, findings)``."""
        trip = step_trip.StepTrip(self.ports, self.settings, self.txn, step, writer, phase, nodes)
        outcomes = trip.outcomes()
        return outcomes, step_outcomes.judge(step, outcomes, nodes, phase, self.request.layout["name"])

    def _true_now(self, step, phase, nodes):
        """Tell whether a step that failed is done, by what the nodes show now: a node that came late was
        waited for in vain by the others, and what is true at the end counts."""
        self.observed = self.ports.gather()[0]
        facts = self.observed["nodes"]
        outcomes = {name: evidence.outcome(name, step, facts[name], phase) for name in nodes if name in facts}
        late = evidence.only_late(self.failed, self.carried[-1]["outcomes"])
        if not late or step_outcomes.judge(step, outcomes, nodes, phase):
            return False
        self.ports.say(f"step {step['number']} is done, as the nodes show now")
        row = self.report["done"][-1] | {"ok": True, "late": self.report["done"][-1]["nodes"]}
        self.report["done"][-1] = row | {"nodes": dict.fromkeys(nodes, "ok")}
        self.carried[-1]["outcomes"] = outcomes
        self.ports.note(f"step {step['number']} is done after all", tag=step["number"], outcomes=outcomes)
        return True

    def _step_row(self, step, phase, nodes, failed, start):
        bad = {item["data"]["node"]: item["text"] for item in failed}
        text = step["text"] + (f" ({phase})" if phase else "")
        return self.add_row(text, nodes, bad, start, number=step["number"])

    def _verify(self, already=False):
        """Ask the exit checklist until it is true or its time is over; return the result of the run."""
        first = self.observed
        if not already:
            self.observed = self.ports.gather()[0]
        items, findings = self._until_true(START_S if already and self._lost() else None)
        if not already:
            # what was found before the run describes a state that is gone
            self.report["before"], self.report["findings"] = self.report["findings"], []
        self.report["findings"] = ordered(self.report["findings"] + findings)
        ok = checklist.passed(items)
        self.report["checklist"] = items
        self.report["rings"] = step_outcomes.rings(first, self.carried, self.observed)
        self.report["seconds"]["verified"] = self.ports.passed()
        self.ports.note("verified", ok=ok, items=items, state=situation.state_now(self.observed))
        if ok and already and "first" not in self.report:
            self.report["summary"] = (
                f"reached already, nothing was changed, version {self.report['from_version']}"
            )
            return "already"
        if ok:
            self.report["summary"] = step_outcomes.reached(self.report["seconds"], self.report["rings"])
            return "reached"
        bad = [item["item"] for item in items if not item["ok"]]
        done = "nothing was changed" if already else "the steps are done"
        self.report["summary"] = f"{done}, the exit checklist is not true"
        remedy = "see the checklist for what is seen and expected"
        self.report["findings"] = ordered(
            self.report["findings"]
            + [
                finding(
                    "layout-not-reached",
                    f"not true: {', '.join(bad) or 'nothing could be asked'}",
                    data={"items": bad},
                    remedy=remedy + ("" if already else "; the same command goes on"),
                )
            ]
        )
        return "failed"

    def _lost(self):
        """Tell whether the quorum is lost; where no step brings it back, nothing else is worth the wait."""
        told = verdict.of_request(self.request, self.observed, self.report["findings"])
        return told["kind"] in verdict.DIRE

    def _until_true(self, patience=None):
        """Ask the exit checklist of what was seen last, and look again until it is true or its time is over;
        return the items and what they bear."""
        told = self.request.checklist(self.observed)

        def look():
            self.observed = self.ports.gather()[0]
            return self.request.checklist(self.observed)

        if checklist.passed(told[0]):
            return told
        self.ports.sleep(0.5)
        left = (self.settings["verify_timeout"] if patience is None else patience) - 0.5
        return task.until(self.ports, left, look, lambda seen: checklist.passed(seen[0]))

    def _explain(self, failed):
        """Put what happened, the state that the cluster is in now, and how to go on into the report."""
        if failed:
            self.ports.say("asking the nodes for the state now")
            self.observed = self.ports.gather()[0]
            failed = failed + preflight.after(
                self.request, self.ports, self.settings, failed, self.observed, self.txn
            )
        self.report["findings"] = ordered(failed + self.report["findings"])
        self._tell_state()

    def _tell_state(self):
        self.report["state"] = situation.state_now(self.observed)
        self.report["matrix"] = situation.matrix(self.observed)
        self.report["next"] = ways.next_commands(
            self.request.layout["name"], self.origin, **self.request.how()
        )
