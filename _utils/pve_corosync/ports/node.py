"""The ports of a run from one node: its own Salt functions here, the others asked over PVE's ssh.

The same as ``ports.master.Ports`` for a run of all nodes (see ``run.change``). A node never writes to another
one, so what is asked of a peer here only reads: whether its corosync takes a file, and what it shows after a
step.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time

from pve_corosync import show
from pve_corosync.findings import finding
from pve_corosync.judge import evidence, situation
from pve_corosync.node import children, locks, peers, runs
from pve_corosync.run import alone, alone_change

log = logging.getLogger(__name__)

#: the node's run lock outlives a dead run for less time than the cluster's, so that the node can go on
#: itself.
STAGE_TTL = 100
#: systemd gives the unit 90 s.
START_TIMEOUT = 100.0
#: how long a run of the master on another node is waited for, at most.
IDLE_S = 120.0
PAUSE_S = 0.3


class Sight:
    """The cluster as one node can see it.

    :param request: a ``run.alone.Request``.
    :param facts: function that returns this node's facts.
    :param root: for tests.
    """

    def __init__(self, request, facts, root=None):
        self.request, self.own_facts = request, facts
        self.peers = peers.Peers(request.peers, request.layout["networks"], root)

    def gather(self, own=None) -> tuple[dict, list]:
        """Return ``({"nodes": {name: facts}, "silent": [name]}, findings on who answered)``.

        :param own: this node's facts, if they are known already.
        """
        own = own or self.own_facts()
        minions = {name: self.request.minions[name] for name in self.request.nodes}
        answers = {minions[name]: {"return": facts} for name, facts in self.peers.facts(own).items()}
        answers[minions[self.request.own]] = {"return": own}
        observed, findings = situation.observe(minions, answers)
        return observed, findings + alone.unreachable(self.peers.why)


class Ports:
    """What a run from one node needs: the nodes, the locks, progress, the clock.

    :param request: a ``run.alone.Request``.
    :param functions: ``__salt__``. :param failures: what those raise on purpose.
    :param jid: the name of the run. :param wait: seconds to wait while another node works on the links.
    :param progress: tell the steps on standard error. :param root: for tests.
    :param over: names of runs that are known to be dead; their locks on nodes are no obstacle.
    """

    def __init__(self, request, functions, failures, jid, wait=0.0, progress=False, root=None, over=()):  # pylint: disable=too-many-arguments
        self.request, self.functions, self.failures = request, functions, failures
        self.jid, self.wait, self.progress, self.root = jid, wait, progress, root
        self.sight = Sight(request, functions["corosync.facts"], root)
        self.over, self.sleep = frozenset(over), time.sleep
        self.begun, self.lock = time.monotonic(), None

    def gather(self):
        """Return what this node can see of all, without the locks of dead runs, and findings."""
        observed, findings = self.sight.gather()
        return observed, findings + situation.dead_runs(observed, self.over)[1]

    def came_from(self):
        """A node keeps no journal of runs, so where the last one came from is not known."""
        return []

    def passed(self):
        """Return the seconds since the start."""
        return round(time.monotonic() - self.begun, 2)

    def say(self, text):
        """Write one line of progress to standard error."""
        if self.progress:
            print(show.progress(text, self.passed()), file=sys.stderr, flush=True)
        log.debug("%s", text)

    def note(self, event, tag="run", **data):
        """Put one line into the minion's log: a node keeps the outcomes of its steps, and no journal."""
        log.info("run %s (%s): %s %s", self.jid, tag, event, data)

    def idle(self):
        """Gather until no node is busy with a run of the master, or the time to wait is over."""
        end = time.monotonic() + min(self.wait, IDLE_S)
        while True:
            observed, findings = self.gather()
            busy = [facts["busy"]["txn"] for facts in observed["nodes"].values() if facts.get("busy")]
            if time.monotonic() >= end or not set(busy) - self.over:
                return observed, findings
            time.sleep(1.0)

    @contextlib.contextmanager
    def locked(self):
        """Hold this node's lock, since all its processes are one holder to pmxcfs, and the cluster's.

        :raises run.alone_change.LockHeld: somebody else works on the links.
        """
        what = f"layout {self.request.layout['name']}"
        holder = {"node": self.request.own, "run": self.jid, "what": what}
        remedy = "wait for its end, then run the same again"
        try:
            with (
                runs.locked(self.root, "alone", self.wait),
                locks.Lock(holder, self.wait, self.root, self.say) as self.lock,
            ):
                yield
        except runs.Busy:
            text = "another run on this node works on the links"
            raise alone_change.LockHeld(finding("lock-held", text, remedy=remedy)) from None
        except locks.Held as exc:
            text, data = f"{exc}; waited {exc.waited:.0f} s", {"holder": exc.holder}
            raise alone_change.LockHeld(finding("lock-held", text, data=data, remedy=remedy)) from None
        finally:
            self.lock = None

    def lost(self) -> bool:
        """Tell whether the lock of the cluster is not this node's any more."""
        return bool(self.lock and self.lock.lost())

    def start(self) -> str:
        """Start the unit of corosync; one that runs stays as it is. Return what went wrong, or ""."""
        result = children.run(["systemctl", "start", "corosync.service"], timeout=START_TIMEOUT)
        return f"systemctl start corosync: {children.complaint(result)}" if result["rc"] else ""

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):  # pylint: disable=too-many-arguments,unused-argument
        """Call a function here, have the other nodes' part of it read, and return ``{minion: return
        event}``."""
        answers = {}
        if self.request.own in nodes:
            answers[self.request.own] = self._here(function, kwarg)
        others = [name for name in nodes if name != self.request.own]
        if others:
            own = answers.get(self.request.own) or {}
            answers |= getattr(self, "_" + function.replace(".", "_"))(others, own.get("return"), **kwarg)
        for name, answer in answers.items() if heard else ():
            heard(name, answer)
        return {self.request.minions[name]: answer for name, answer in answers.items()}

    def _here(self, function, kwarg):
        if function == "corosync.stage":
            kwarg = {**kwarg, "ttl": STAGE_TTL, "takes_over": sorted(self.over)}
        error = f"the execution module {function.partition('.')[0]} is not there"
        try:
            if function in self.functions:
                return _good(self.functions[function](**kwarg))
        except self.failures as exc:
            error = str(exc)
        return {"return": error, "retcode": 1, "success": False}

    def _corosync_stage(self, names, _own, steps, **_more):
        """Have each peer's corosync check the files."""
        refused = dict.fromkeys(names, "")
        for text in dict.fromkeys(step["conf"] for step in steps if step["act"] != "publish"):
            for name, said in self.sight.peers.check(names, text).items():
                refused[name] = refused[name] or said
        return {
            name: _good({"ok": not said, "checks": [{"ok": not said, "text": said}]})
            for name, said in refused.items()
        }

    def _corosync_step(self, names, own, step, **_more):
        """Look at the peers until they show a step, or its time is over, or it failed here."""
        end, told, pending = time.monotonic() + float(step["deadline_s"]), {}, names
        while pending:
            seen = self.sight.peers.facts(self.functions["corosync.facts"](), pending)
            told |= {name: evidence.outcome(name, step, facts) for name, facts in seen.items()}
            pending = [name for name in pending if not (told.get(name) or {}).get("ok")]
            if not isinstance(own, dict) or not own["ok"] or time.monotonic() >= end:
                break
            if pending:
                time.sleep(PAUSE_S)
        return {name: _good(outcome) for name, outcome in told.items()}

    def _corosync_finish(self, names, _own, **_more):
        """A peer holds nothing of a run from here."""
        return {name: _good(True) for name in names}


def _good(value):
    return {"return": value, "retcode": 0, "success": True}
