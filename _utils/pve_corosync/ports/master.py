"""One cluster as the master sees it: who its nodes are, how to ask them all at once, lock and journal of
its runs.

The runner's files share this part. It does not import Salt: what the master offers comes in as a
:class:`Master`, so that a test can be the master as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

from pve_corosync import arguments, show
from pve_corosync.findings import errors, finding, refusal
from pve_corosync.judge import same_pillar, situation, ways
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.ports import alive, find, index, journals, lock
from pve_corosync.report import brief as short
from pve_corosync.run import change, task
from pve_corosync.run.request import Request

#: in a runner's ``__context__``: ``{"jid", "command"}`` of the orchestration that a function is a phase of.
ORCHESTRATED = "corosync_orchestrated"
#: the same: a node asked for this work, and nobody typed it.
ASKED = "corosync_asked"
#: a wait that is longer than this is cut short where the work gives way to an operator's.
LONG_S = 30
GIVES_WAY = "an operator's command goes first: this work has ended here, and can be done again"


#: seconds in which answers are read that came in time, from the moment at which the time is seen to be over.
LAST_LOOK_S = 0.3


class _Wait:
    """How long answers are waited for.

    Whoever was kept from the processor until the time was over has not read what came in it. That is no
    silence: one last look is taken.

    :param wait: seconds for all answers. :param grace: seconds after the last of some answers, or None.
    """

    def __init__(self, wait, grace):
        self.end = self.last = time.monotonic() + wait
        self.grace, self.look = grace, None

    def left(self):
        """Return the seconds that are left, 0 or less when it is over."""
        now = time.monotonic()
        if now < self.end:
            return self.end - now
        self.look = self.look or now + LAST_LOOK_S
        return self.look - now

    def answered(self):
        """Note that an answer came: the others have their grace from now on."""
        if self.grace:
            self.end, self.look = min(self.last, time.monotonic() + self.grace), None


class Master:
    """What a Salt master offers to a runner.

    :param opts: its configuration.
    :param client: function that gives a context manager of a LocalClient.
    :param bus: function that gives a context manager of the event bus, subscribed.
    :param accepted: ``(target, kind) -> {minion id}`` of the accepted keys.
    :param pillar: ``(minion id) -> pillar``.
    :param fire: ``(data, tag)`` sends an event.
    :param jid: the name of the job that the runner is; :param user: who started it.
    :param code: the digest of this project's code here, ``{}`` to compare none.
    """

    def __init__(self, opts, client, bus, accepted, pillar, fire, jid, user="", code=None):  # pylint: disable=too-many-arguments
        self.opts, self.client, self.bus, self.accepted = opts, client, bus, accepted
        self.pillar, self.fire, self.jid, self.user = pillar, fire, str(jid), user
        self.code = code or {}
        #: tells whether an operator waits for the lock of work that gives way.
        self.gives_way = lambda: False

    def state_dir(self) -> str:
        """Return the directory of locks and journals on the master."""
        return os.path.join(self.opts["cachedir"], "pve-corosync")

    def publish(self, ids, fun, kwarg, wait, optional=(), heard=None, grace=None, silent=None):  # pylint: disable=too-many-arguments,too-many-locals
        """Call a function on minions, once, and return ``(jid, {minion: return event}, [minions without an
        answer])``.

        Ends when all but the ``optional`` ones have answered, after ``wait`` seconds, or ``grace`` seconds
        after the last of some answers; Salt's own timeout is no deadline. ``heard(minion, event)`` is
        called at once for every answer.

        A wait that takes long asks the minions whether they still work on the call. One that was restarted,
        or is gone, is not waited for: an event of its own, with ``gone``, says so among the answers.
        ``silent(minions)`` is called whenever they are asked.
        """
        with self.client() as client, self.bus() as bus:
            time_left = _Wait(wait, grace)
            # the bus is subscribed before the publish, so that no answer is lost
            job = client.run_job(list(ids), fun, [], tgt_type="list", kwarg=kwarg, listen=False, timeout=wait)
            jid = (job or {}).get("jid")
            if not jid:
                return None, {}, sorted(ids)
            pending, got, watched = set(ids), {}, alive.Alive(client, jid, fun, silent)
            while pending - set(optional) and (left := time_left.left()) > 0:
                # one subscription for both: the bus drops what it is not asked for
                event = bus.get_event(
                    wait=min(left, watched.left(), 1.0 if wait > LONG_S else left),
                    tag="salt/job/",
                    match_type="startswith",
                    full=True,
                )
                tag, data = (event["tag"], event["data"]) if event else ("", {})
                if tag.startswith(f"salt/job/{jid}/ret/") and data.get("id") in pending:
                    pending.discard(data["id"])
                    got[data["id"]] = data
                    time_left.answered()
                    if heard:
                        heard(data["id"], data)
                watched.told(tag, data)
                gone = watched.ask(pending - set(optional))
                if wait > LONG_S and self.gives_way():
                    gone = dict.fromkeys(pending, GIVES_WAY)
                for minion, text in gone.items():
                    pending.discard(minion)
                    got[minion] = {"id": minion, "return": text, "success": False, "retcode": 1, "gone": True}
        return jid, got, sorted(pending)


class Site:
    """One cluster: where its pillar is, who its nodes are, and how to ask them.

    :param master: a :class:`Master`.
    :param cluster: the cluster's name, or None.
    :param skip: nodes that are not waited for, as an operator types them.
    :raises arguments.RunError: no such cluster, unknown nodes, bad settings.
    """

    def __init__(self, master, cluster, skip):
        self.master = master
        self.settings = arguments.settings(master.opts.get("pve_corosync"))
        self.skip = arguments.names(skip, "skip")
        self.name, self.pillar, self.findings = find.cluster(master, self.settings["minions"], cluster)
        self.minions = arguments.members(self.pillar)
        wrong = [name for name in self.skip if name not in self.minions]
        if wrong:
            raise arguments.RunError(
                [
                    finding(
                        "skip-unknown",
                        f"skip={name}: no such node; allowed: {', '.join(sorted(self.minions))}",
                        remedy="correct skip=",
                    )
                    for name in wrong
                ]
            )
        self.accepted = master.accepted(list(self.minions.values()), "list")
        #: takes one line of progress
        self.say = lambda text: None

    def gather(self):
        """Return what all nodes report, and the findings on how they answered and on the cluster's pillars;
        skipped nodes are not waited for."""
        wait = self.settings["gather_timeout"]
        call = {"timeout": arguments.facts_timeout(wait)}
        answers = self.ask(list(self.minions), "corosync.facts", call, wait)
        code, skip = self.master.code, self.skip
        observed, findings = situation.observe(self.minions, answers, self.accepted, code, skip)
        findings += same_pillar.check(self.minions, observed["nodes"], self.pillar, skip)
        return observed, findings + self.findings

    def ask(self, names, fun, kwarg, wait, heard=None, grace=None):  # pylint: disable=too-many-arguments
        """Call a function on nodes at once and return ``{minion: return event}``."""
        back = {self.minions[name]: name for name in names}
        reachable = [minion for minion in back if minion in self.accepted]
        optional = {self.minions[name] for name in names if name in self.skip}

        def told(minion, event):
            if heard:
                heard(back[minion], event)

        def silent(minions):
            names_of = ", ".join(back[minion] for minion in minions)
            self.say(f"  no answer yet: {names_of}; asking whether {fun} is still at work there")

        if not reachable:
            return {}
        return self.master.publish(
            reachable, fun, kwarg, wait, optional=optional, heard=told, grace=grace, silent=silent
        )[1]

    def folder(self) -> str:
        """Return the directory of this cluster on the master: lock and journals."""
        return os.path.join(self.master.state_dir(), index.folder_name(self.name))

    @contextlib.contextmanager
    def lock(self, gives_way=False):
        """Hold the cluster's lock on this master; the kernel gives it back whatever happens to this
        process.

        :param gives_way: end the work where an operator's command waits for the lock.
        """
        folder = self.folder()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if old_run := self._leave_old_folder():
            raise arguments.RunError(old_run, arguments.FAILED)
        with open(os.path.join(folder, lock.FILE), "a+", encoding="utf-8") as file:
            if not lock.taken(file) and (gives_way or not lock.taken_from_who_gives_way(file, folder)):
                file.seek(0)
                raise arguments.RunError(situation.under_way(file.read()), arguments.FAILED)
            lock.sign(file, self.master.jid, gives_way)
            self.master.gives_way = lock.wanted_by_others(folder) if gives_way else lambda: False
            with lock.deaf_to_hangup():
                yield

    def _leave_old_folder(self):
        """Take over the journals that a version before this one left in a folder that two clusters could
        share; return the finding on a run of such a version that is at work on this cluster, else None."""
        old = os.path.join(self.master.state_dir(), index.old_folder_name(self.name))
        if old == self.folder():
            return None
        if lock.idle(old):
            index.move_journals(self.master.state_dir(), self.name)
            return None
        with open(os.path.join(old, lock.FILE), encoding="utf-8") as file:
            text = file.read()
        under_way = situation.under_way(text)
        journal = os.path.join(old, f"{under_way['data'].get('jid')}.jsonl")
        return under_way if index.cluster_of(journal) == self.name else None

    def see(self):
        """Return what :meth:`gather` does, without the locks of runs that are dead, for who holds no lock:
        none is dead for sure while somebody holds it."""
        over = self.earlier_runs() if not self._leave_old_folder() and lock.idle(self.folder()) else ()
        observed, findings = self.gather()
        return observed, findings + situation.dead_runs(observed, over)[1]

    def earlier_runs(self) -> frozenset:
        """Return the names that runs with a journal here have on the nodes, this one's not among them.

        For who holds the lock, or knows that nobody does: then none of them is alive any more.
        """
        jids = set(index.journals(self.folder())) - {self.master.jid}
        return frozenset(name for jid in jids for name in (jid, f"{jid}{change.AGAIN}"))


class Ports:
    """What a run needs from outside: the nodes, the journal, the terminal, the clock (see
    ``run.change``)."""

    def __init__(self, site, progress):
        self.site, self.progress = site, progress
        self.begun, self.unheard = time.monotonic(), False
        self.jid = site.master.jid
        self.path = os.path.join(site.folder(), f"{self.jid}.jsonl")
        self.gather, self.ask, self.sleep = site.gather, site.ask, time.sleep
        self.gives_way = site.master.gives_way
        site.say = self.say

    @property
    def over(self):
        """The names of runs that are no longer alive, for who holds the cluster's lock."""
        return self.site.earlier_runs()

    def came_from(self):
        """Return the layouts that the last run of this master began with, if it ended half-way: where none is
        in force, that is where the cluster came from."""
        for path in journals.paths(os.path.dirname(self.path)):
            rows = journals.read(path) if path != self.path else []
            planned = [row["origin"] for row in rows if row["event"] == "planned" and "origin" in row]
            if planned:
                return [] if rows[-1].get("result") in task.GOOD else planned[0]
        return []

    def passed(self):
        """Return the seconds since the start."""
        return round(time.monotonic() - self.begun, 2)

    def say(self, text):
        """Write one line of progress to standard error; where that is gone (the terminal was closed, a pipe
        has no reader), the run goes on without."""
        if not self.progress:
            return
        try:
            print(show.progress(text, self.passed()), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.progress = False

    def note(self, event, tag="run", **data):
        """Write one line to the journal of the run, on disk before anything goes on, and fire it as an
        event."""
        row = {
            "event": event,
            "time": round(time.time(), 2),
            "at": self.passed(),
            "jid": self.jid,
            "cluster": self.site.name,
        } | data
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            self.site.master.fire(row, f"corosync/{self.site.name}/run/{self.jid}/{tag}")
        except Exception as exc:  # pylint: disable=broad-except
            # the line is on disk; a master that was killed must not end the run in the middle
            if not self.unheard:
                self.say(f"the master's bus cannot be reached ({exc!r}); the run goes on")
            self.unheard = True
        if self.unheard and event == "ended":
            self.say(f"the report may be lost; it is in the journal: {task.journal_command(self.jid)}")


def request(master, layout, strategy, skip, force, cluster):  # pylint: disable=too-many-arguments
    """Return the cluster and what is asked for; every argument is checked before anything is asked of a
    node."""
    strategy, force = (
        arguments.choice(strategy, "strategy", planner.STRATEGIES),
        arguments.names(force, "force"),
    )
    site = Site(master, cluster, skip)
    try:
        wanted = Request(site.pillar, layout, strategy, site.skip, force, cluster)
    except layouts.LayoutError as exc:
        raise layouts.LayoutError([*errors(site.findings), *exc.findings]) from exc
    site.skip = wanted.skip
    return site, wanted


def guarded(do, unknown, allowed, brief, work, context, given=None):  # pylint: disable=too-many-arguments
    """Run a public function of the runner: expected errors become a report, with the exit code on both of
    Salt's ways.

    Salt takes ``__context__`` for an orchestration and the returned ``retcode`` for ``salt-run``, and turns a
    TypeError into success; so failure stands from the start, and is only taken back at the end.

    :param do: the function's name; :param unknown: arguments that it was given and does not have;
    :param allowed: those that it has; :param work: returns the report.
    :param given: its arguments, as ``locals()`` has them; of none where it is no public function itself.

    ``__run`` among the unknown ones comes from the states ``corosync_run``: ``{"jid", "command", "user"}``.
    All phases of an orchestration are one run in the journal, and ``command`` does the rest.
    """
    context["retcode"] = arguments.FAILED
    context[ORCHESTRATED] = run = unknown.get("__run") or {}
    report = {"do": do}
    try:
        arguments.unknown_arguments(f"corosync.{do}", unknown, allowed)
        arguments.checked(f"runner.{do}", {name: given[name] for name in allowed} if given else {})
        report |= work()
    except (arguments.RunError, layouts.LayoutError) as exc:
        report |= {
            "findings": exc.findings,
            "result": "refused",
            "summary": refusal(exc.findings),
            "retcode": getattr(exc, "retcode", arguments.USAGE),
        } | getattr(exc, "report", {})
    if run:
        report["command"] = run["command"]
    if report.get("cluster") and (given or {}).get("cluster"):
        ways.name_cluster(report, given["cluster"])
    if brief:
        # under an orchestration the diffs stand in the changes of the state
        left = {"brief": True} | ({"diffs": {}, "changes": {}} if run else {})
        report = short.brief(report, show.render(report | left, show.IN_STATE if run else show.WIDTH))
    else:
        report["outputter"] = "corosync_table"
    context["retcode"] = report["retcode"]
    return report
