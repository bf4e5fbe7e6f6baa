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
from pve_corosync.ports import index, lock, master, salt_master
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

    def work(self):
        """
        Return the end of the report.
        """
        end = time.monotonic() + LOOK_S
        while True:
            self.times.setdefault("first_look", time.time())
            self.times["last_look"] = time.time()
            found = self._ask()
            self.state["paused_until"] = self.kept.load()["paused_until"]
            decision, state = decision_of.decide(
                found, self.policy, self.layouts, self.home, self.state, time.time()
            )
            self.state |= state
            if self.state["suspect"]:
                self.times["dead_since"] = self.state["suspect"]["since"]
            _say(self.site, self.state, decision)
            again = decision["again_in"]
            waits = decision["do"] == "wait" and again <= WAIT_S and time.monotonic() + again < end
            self._keep(None if again is None else time.time() + again)
            if not waits:
                break
            time.sleep(again)
        done = {"result": decision["code"], "summary": decision["text"], "decision": decision}
        if decision["do"] in decision_of.ACTS:
            self.times["decided"] = time.time()
            done |= self._act(decision, found)
        return done

    def _ask(self):
        """
        Ask all nodes, of a suspicion only what is quickly told, and return what ``judge.watch.decide`` takes.
        """
        site, names = self.site, self.request.nodes
        runs, quick = index.journals(site.folder()), None
        if self.state["suspect"] and self.seen and self.seen["runs"] == runs:
            quick = watch_seen.again(self.seen["answers"], self._answers("corosync_look.look", LOOK))
        answers = quick or self._answers()
        told = watch_seen.facts(answers)
        observed, findings = situation.observe(site.minions, told, site.accepted, site.master.code, site.skip)
        findings += site.findings
        self.seen = {"answers": answers, "observed": observed, "findings": findings, "runs": runs}
        by_name = {name: answers.get(self.request.minions[name]) for name in names}
        preferred = [self.home, self.policy["failover"]]
        idle = lock.idle(site.folder())
        over = (
            site.earlier_runs() if idle else ()
        )  # a run of this master that was killed holds the nodes still
        return watch_seen.seen(self.layouts, preferred, names, by_name, not idle, over)

    def _answers(self, function="corosync.watch_facts", call=None):
        wait = self.site.settings["gather_timeout"]
        call = call or {"timeout": arguments.facts_timeout(wait)}
        return self.site.ask(list(self.site.minions), function, call, wait)

    def _keep(self, due):
        self.kept.save(self.state)
        self.kept.note([self.request.minions[name] for name in self.request.nodes], due, time.time())

    def _act(self, decision, found):
        """
        Take the cluster to the layout: the links at once, then the whole way of the orchestration.
        """
        request = Request(self.site.pillar, decision["layout"], cluster=self.site.name)
        refused = self._ha(request, found)
        steps = {} if refused else self._way(request)
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

    def _way(self, request):
        steps = {"links": self._links(request)}
        self.times["links"] = time.time()
        if steps["links"]["retcode"] == arguments.OK:
            run = {"layout": request.layout["name"], "cluster": self.site.name}
            steps["way"] = kept_watch.orchestrate(__opts__["conf_file"], "orch.failover", run)
            self.times["way"] = time.time()
        return steps

    def _links(self, request):
        """
        Do what ``corosync.apply`` does, in this process and from what the last look saw: each second counts.
        """

        def work():
            with self.site.lock():
                ports = master.Ports(self.site, False)
                seen = self._still_true(ports)
                run = change.Change(request, ports, self.site.settings, ports.jid, seen=seen)
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
