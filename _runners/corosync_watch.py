"""
The watch of a cluster on the master: a look that an event asked for, and what an operator says to it.

Part of the runner ``corosync`` (Salt joins the files of one virtual name). The decision is in
``pve_corosync.judge.watch``; ``docs/watch.md`` has the rules, the events and the pillar.

.. versionadded:: 0.2.0
"""

import functools
import os
import time

from pve_corosync import arguments
from pve_corosync.findings import errors, finding
from pve_corosync.judge import situation, watch_seen
from pve_corosync.judge import watch as decision_of
from pve_corosync.pillar import layouts as layouts_of_pillar
from pve_corosync.ports import index, journals, lock, master, salt_master
from pve_corosync.ports import watch as kept_watch
from pve_corosync.run import change
from pve_corosync.run.request import Request

__virtualname__ = "corosync"

#: a look waits for the next one itself up to this; beyond, the next event begins it.
WAIT_S = 45
#: and it ends after this, whatever there is to wait for.
LOOK_S = 120
#: the same answer is told again after this.
SAID_S = 300
#: the quick question of a second look: a minion needs none of this project's other code for it.
LOOK = {"patience": 1.0, "counts": True}
#: a question reaches a node's daemon no sooner than this, in seconds: it is sent before the hold is over.
LEAD_S = 0.1
#: so long a node's lock is held at most by a run that is gone (``corosync.stage``, ttl).
HELD_S = 900
PAUSE_MOST_S = 7 * 86400


def __virtual__():
    return __virtualname__


def watch(cluster=None, pause=None, resume=False, **kwargs):
    """
    Show what the watch of a cluster does, let it do nothing for a time, or let it go on.

    cluster
        The cluster's name; needed only if the master has several.

    pause
        Seconds for which it only looks away, for maintenance; up to 7 days.

    resume
        Let it go on at once.

    Exit code 0; 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.watch
        salt-run corosync.watch pause=3600
        salt-run corosync.watch resume=True
    """
    work = lambda: _watch(cluster, pause, resume)  # noqa: E731
    allowed = ("cluster", "pause", "resume")
    return salt_master.guarded("watch", kwargs, allowed, False, work, __context__, locals())


def watch_look(minion=None, cluster=None, **kwargs):
    """
    Look at a cluster now, and do what its watch allows; the reactor starts this as a process of its own.

    minion
        A minion of the cluster, as an event named it; its pillar says which cluster that is.

    cluster
        The cluster's name, in place of a minion.

    One process looks at a cluster at a time; another one ends at once. Exit code 0 unless an act failed; 2
    if the minion or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.watch_look pve1
    """

    def work():
        found = salt_master.of(globals())
        found.pillar = functools.cache(found.pillar)  # once for the name, and not again for the cluster
        return _look(found, _name_of(found, minion) if minion is not None else cluster)

    allowed = ("minion", "cluster")
    return salt_master.guarded("watch_look", kwargs, allowed, False, work, __context__, locals())


def _name_of(found, minion):
    """
    Return the name of the cluster whose node this minion is; an event may name any.
    """
    if str(minion) not in found.accepted([str(minion)], "list"):
        raise _wrong(minion, "has no accepted key")
    pillar = (layouts_of_pillar.plain(found.pillar(str(minion))) or {}).get("corosync")
    if not isinstance(pillar, dict) or str(minion) not in arguments.members(pillar).values():
        raise _wrong(minion, "is no node of a cluster")
    return str(pillar.get("cluster_name"))


def _wrong(minion, why):
    item = finding(
        "argument-bad",
        f"minion={minion!r} {why}: nothing was done",
        data={"argument": "minion", "value": str(minion)},
        remedy="name a node's minion: salt-key -l acc",
    )
    return arguments.RunError(item)


def _site(found, cluster):
    site = master.Site(found, cluster, None)
    return site, kept_watch.Kept(site.folder(), site.master.state_dir())


def _request(site):
    request = Request(site.pillar, cluster=site.name)
    site.skip = request.skip
    return request


def _watch(cluster, pause, resume):
    site, kept = _site(salt_master.of(globals()), cluster)
    request = _request(site)
    if pause is not None:
        kept.pause(time.time() + arguments.seconds(pause, "pause", PAUSE_MOST_S))
    elif resume:
        kept.pause(0.0)
    told = decision_of.shown(request.loaded["watch"], kept.load(), time.time())
    return {
        "cluster": site.name,
        "watch": told,
        "findings": [],
        "result": "ok",
        "summary": told["text"],
        "retcode": arguments.OK,
    }


def _look(found, cluster):
    site, kept = _site(found, cluster)
    try:
        request = _request(site)
    except layouts_of_pillar.LayoutError as exc:
        _tell_of_pillar(site, kept, exc.findings)
        raise
    report = {"cluster": site.name, "findings": [], "retcode": arguments.OK}
    if request.loaded["watch"] is None:
        text = "the pillar has no corosync:watch: nothing was looked at"
        return report | {"result": "off", "summary": text}
    with kept.lock() as free:
        if not free:
            return report | {"result": "already", "summary": "another process looks at this cluster"}
        return report | Look(site, request, kept).work()


def _tell_of_pillar(site, kept, findings):
    """
    Send an event on a pillar that is wrong: nobody reads what this process prints.
    """
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    told = finding("watch-pillar", f"{findings[0]['text']}{more}", remedy=findings[0]["remedy"])
    with kept.lock() as free:
        if not free:
            return
        state = kept.load()
        answer = {key: told[key] for key in ("code", "severity", "text", "remedy")}
        _say(site, state, {"do": "nothing", "layout": None, "again_in": None} | answer)
        kept.save(state)


def _say(site, state, decision):
    """
    Send an answer as an event, unless it is the one of the look before; the state remembers it.
    """
    before, now = state.get("said") or {}, time.time()
    if before.get("code") == decision["code"] and now - before["time"] < SAID_S:
        return
    state["said"] = {key: decision[key] for key in ("code", "text", "remedy")} | {"time": now}
    _fire(site, decision["code"], decision)


def _fire(site, tag, data):
    site.master.fire({"cluster": site.name, "time": time.time()} | data, f"corosync/{site.name}/watch/{tag}")


class Look:
    """
    Looks at one cluster, one after the other, up to a decision that is not to wait.
    """

    def __init__(self, site, request, kept):
        self.site, self.request, self.kept = site, request, kept
        self.policy, self.layouts = request.loaded["watch"], request.layouts()
        self.home = request.loaded["layout"]
        self.state = kept.load()
        #: when what happened, in seconds of the epoch
        self.times = {"process": kept_watch.process_began()}
        #: what the last look saw, for the next one and for the run that it starts
        self.seen = None
        #: the decision of a second look that came with the staging of a run, and the suspicion that had one
        self.decided, self.tried = None, None

    def work(self):
        """
        Return the end of the report.
        """
        end = time.monotonic() + LOOK_S
        while True:
            self.times.setdefault("first_look", time.time())
            found = self._ask()
            decision = self._decide(found)
            again = decision["again_in"]
            waits = decision["do"] == "wait" and again <= WAIT_S and time.monotonic() + again < end
            self._keep(None if again is None else time.time() + again)
            if not waits:
                break
            run = self._run_at_once(again, found)
            time.sleep(max(0.0, again - LEAD_S) if run else again)
            if run and (done := self._act_at_once(run)):
                return done
        done = {"result": decision["code"], "summary": decision["text"], "decision": decision}
        if decision["do"] in decision_of.ACTS:
            done |= self._act(decision, found)
        return done

    def _decide(self, found):
        self.state["paused_until"] = self.kept.load()["paused_until"]
        now = time.time()
        decision, state = decision_of.decide(found, self.policy, self.layouts, self.home, self.state, now)
        self.state |= state
        if self.state["suspect"]:
            self.times["dead_since"] = self.state["suspect"]["since"]
        if decision["do"] in decision_of.ACTS:
            self.times["decided"] = now
        _say(self.site, self.state, decision)
        return decision

    def _ask(self):
        """
        Ask all nodes, of a suspicion only what is quickly told, and return what ``judge.watch.decide`` takes.
        """
        site, self.times["last_look"] = self.site, time.time()
        runs, quick = index.journals(site.folder()), None
        if self.state["suspect"] and self.seen and self.seen["runs"] == runs:
            quick = watch_seen.again(self.seen["answers"], self._answers("corosync_look.look", LOOK))
        answers = quick or self._answers()
        told = watch_seen.facts(answers)
        observed, findings = situation.observe(site.minions, told, site.accepted, site.master.code, site.skip)
        findings += site.findings
        self.seen = {"answers": answers, "observed": observed, "findings": findings, "runs": runs}
        return self._found(answers, not lock.idle(site.folder()))

    def _found(self, answers, locked):
        by_name = {name: answers.get(self.request.minions[name]) for name in self.request.nodes}
        preferred = [self.home, self.policy["failover"]]
        # a run of this master that was killed holds the nodes still
        over = () if locked else self.site.earlier_runs()
        return watch_seen.seen(self.layouts, preferred, self.request.nodes, by_name, locked, over)

    def _answers(self, function="corosync.watch_facts", call=None):
        wait = self.site.settings["gather_timeout"]
        call = call or {"timeout": arguments.facts_timeout(wait)}
        return self.site.ask(list(self.site.minions), function, call, wait)

    def _keep(self, due):
        self.kept.save(self.state)
        self.kept.note([self.request.minions[name] for name in self.request.nodes], due, time.time())

    def _run_at_once(self, again, found):
        """
        Return the request of the run that begins if the next look is the one to act upon, None if it is not.

        The look goes with the staging of that run then, which puts nothing in force: one question in place of
        two, between the end of the hold and the first step.
        """
        suspect = self.state["suspect"]
        if not suspect or suspect.get("due", float("inf")) > time.time() + again + LEAD_S:
            return None
        if self.tried == suspect["first"]:  # once for a suspicion: after that it looks before it stages
            return None
        request = Request(self.site.pillar, self.policy["failover"], cluster=self.site.name)
        made, findings = request.plan(self.seen["observed"], self.seen["findings"])
        refused = errors(findings) or not made["steps"] or self._ha(request, found)
        return None if refused else request

    def _act_at_once(self, request):
        """
        Stage a run and look again with that; return the end of the report, None where the look says no.
        """
        self.decided, self.times["last_look"] = None, time.time()
        self.tried = self.state["suspect"]["first"]
        links = self._links(request, self._still)
        if self.decided is None:
            journals.forget_withdrawn(self.site.folder(), HELD_S)
            return None
        done = {"result": self.decided["code"], "summary": self.decided["text"], "decision": self.decided}
        return done | self._ended(self.decided, [], self._rest(request, links))

    def _still(self, answers):
        """
        Decide from the looks that came with the staging of a run; return why it is not wanted, as findings.
        """
        time.sleep(max(0.0, self.state["suspect"]["due"] - time.time()))  # staged sooner than LEAD_S
        looks = {minion: event | {"return": event["return"].get("look")} for minion, event in answers.items()}
        again = watch_seen.again(self.seen["answers"], looks)
        if again is None:
            return [finding("watch-second-look", "the first look is no longer true: all is asked again")]
        decision = self._decide(self._found(again, False))
        if decision["do"] not in decision_of.ACTS:
            return [finding(decision["code"], decision["text"], remedy=decision["remedy"])]
        self.decided = decision
        self._keep(None)
        return []

    def _act(self, decision, found):
        """
        Take the cluster to the layout: the links at once, then the whole way of the orchestration.
        """
        request = Request(self.site.pillar, decision["layout"], cluster=self.site.name)
        refused = self._ha(request, found)
        steps = {} if refused else self._rest(request, self._links(request))
        return self._ended(decision, refused, steps)

    def _ended(self, decision, refused, steps):
        """
        Keep and tell how it ended, and return the end of the report.
        """
        links_ok = steps.get("links", {}).get("retcode") == arguments.OK
        ok = links_ok and steps.get("way", {}).get("retcode") == arguments.OK
        findings = refused or [] if ok else [*(refused or []), self._failed(decision, steps)]
        self.state |= decision_of.after(self.state, decision, ok, links_ok, time.time())
        goal, self.state["times"] = self.state["goal"], self._times()
        self._keep(goal["next"] if goal else time.time())
        text = f"{decision['do']} to {decision['layout']}: {'done' if ok else 'not done'}"
        report = {
            "summary": text,
            "findings": findings,
            "steps": steps,
            "times": self._times(),
            "retcode": arguments.OK if ok else arguments.FAILED,
        }
        _fire(self.site, "ended", {"ok": ok, "decision": decision} | report)
        return report

    def _times(self):
        return {name: round(at, 2) for name, at in self.times.items() if at is not None}

    def _ha(self, request, found):
        """
        Return why HA does not allow it, as findings.
        """
        made, findings = request.plan(self.seen["observed"], [])
        if errors(findings):
            return []  # the run says so itself, with all that it knows
        refused = decision_of.ha_refuses(made["expected_loss_s"], found, self.state, time.time())
        return [refused] if refused else []

    def _rest(self, request, links):
        """
        Go the whole way after the links, where these are there.
        """
        steps = {"links": links}
        self.times["links"] = time.time()
        if steps["links"]["retcode"] == arguments.OK:
            run = {"layout": request.layout["name"], "cluster": self.site.name}
            steps["way"] = kept_watch.orchestrate(__opts__["conf_file"], "orch.failover", run)
            self.times["way"] = time.time()
        return steps

    def _links(self, request, still=None):
        """
        Do what ``corosync.apply`` does, in this process and from what the last look saw: each second counts.
        """

        def work():
            with self.site.lock():
                ports = master.Ports(self.site, False)
                seen = self._still_true(ports)
                run = change.Change(request, ports, self.site.settings, ports.jid, seen=seen, still=still)
                return run.carry_out(by=self.site.master.user or "watch", pid=os.getpid())

        told = salt_master.guarded("apply", {}, (), True, work, {})
        return {"retcode": told["retcode"], "report": told["report"], "jid": self.site.master.jid}

    def _still_true(self, ports):
        """
        Return what the last look saw, None if a run began after it: then the run asks again.
        """
        seen = self.seen
        same = index.journals(self.site.folder()) == seen["runs"]
        return (seen["observed"], seen["findings"]) if same else None

    @staticmethod
    def _failed(decision, steps):
        last = next((row for row in reversed(steps.values()) if row["retcode"] != arguments.OK), {})
        why = situation.last_line(last.get("report") or "see the journal")
        return finding(
            "watch-refused",
            f"to layout {decision['layout']}: {why}",
            remedy="salt-run corosync.journal; it is tried again by itself",
        )
