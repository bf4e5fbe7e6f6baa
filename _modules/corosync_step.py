"""
Carry out one step of a plan on this node.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name). A step waits here, on
the node, for its own effect and returns the evidence, so that the master needs one round trip a step. The
outcome is kept on disk: a node that loses the master in the middle finishes the step, and the master asks for
the outcome again.

:depends: corosync
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import os
import re
import time

import salt.utils.path
from pve_corosync.node import children, files, runs
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

#: pmxcfs writes the local files and has the partition reloaded 1 s later; after this long it did not happen
#: here.
RELOAD_OVERDUE = 2.5
#: how long beyond the step's deadline a write or a restart under way is waited for. The runner asks for the
#: outcome for 33 s after the deadline (``arguments``: step_margin, outcome_patience), and what follows, the
#: last looks and the journal of a failed step, takes up to AFTER_S of them. What is late goes on, and the
#: outcome says so.
LATE_S = 15.0
AFTER_S = 14.0


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def step(txn, step, writer="", phase=""):  # pylint: disable=redefined-outer-name
    """
    Carry out one step of a staged run on this node, wait for its effect, and return the outcome.

    txn
        The run, as given to ``corosync.stage``.

    step
        The step as the plan has it: ``number``, ``act``, ``version``, ``conf``, ``wait``, ``deadline_s``,
        ``remove``. ``act`` is ``local`` (write the local file, reload the partition), ``cluster`` (the writer
        replaces the cluster file, pmxcfs distributes and reloads), ``publish`` (the writer puts the bytes of
        the local files into the cluster file, nothing reloads) or ``restart``.

    writer
        The corosync name of the node that writes the cluster file.

    phase
        For ``restart``: ``files`` writes the local file only, ``restart`` restarts corosync. May be in the
        step too.

    Returns ``{"node", "txn", "number", "act", "ok", "error", "seen", "missing", "notes", "backups", "log",
    "started", "seconds"}``; ``seconds`` count from the start of this call. Asked again for the same step, it
    returns the stored outcome and does nothing. Raises CommandExecutionError, before anything is written, if
    the run is not staged here.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.step run1 '{"number": 1, "act": "local", "version": 6, "conf": "…"}' pve1
    """
    shell.check("corosync.step", locals())
    txn = shell.checked(runs.checked_txn, txn)
    shell.checked(runs.check_step, step)
    number = shell.checked(runs.checked_number, step["number"])
    phase = shell.checked(runs.checked_phase, phase or step.get("phase", ""))
    if step["act"] == "restart" and not phase:
        raise SaltInvocationError("act restart: phase 'files' or 'restart' is needed")
    budget = min(float(step.get("deadline_s") or 20.0), 600.0)
    try:
        with runs.locked(_root(), "step", budget + LATE_S):
            # a repeated call waits for the first one, and then finds its outcome
            stored = runs.outcome(_root(), txn, number, phase)
            if stored is not None:
                return stored
            known = _require_stage(txn, step["conf"])
            work = _Work(txn, step, str(writer), phase, budget)
            work.known = known
            work.carry_out()
            _keep(work.outcome)
            return work.outcome
    except runs.Busy as exc:
        raise CommandExecutionError(str(exc)) from None


def _keep(outcome):
    """
    Keep an outcome on disk; it is told too where the disk does not take it, as the step is done.
    """
    try:
        runs.keep_outcome(_root(), outcome["txn"], outcome["number"], outcome["phase"], outcome)
    except OSError as exc:
        outcome["notes"].append(f"the outcome could not be kept: {exc.filename}: {exc.strerror}")


def _require_stage(txn, conf):
    """
    Refuse a step of a run that is not staged here, renew the lock, and check a configuration that was not
    checked; return the digests of all that this run writes.
    """
    digest = files.sha256(runs.checked_conf(conf))
    with runs.locked(_root(), "run", 10.0):
        runs.refuse_other(_root(), txn)
        run = runs.holder(_root())
        if not run:
            raise CommandExecutionError(f"run {txn} is not staged on this node: call corosync.stage first")
        if digest not in run["checked"]:
            told = __salt__["corosync.check"](conf)
            if not told["ok"]:
                raise CommandExecutionError(
                    f"corosync -t refuses the configuration of this step: {told['text']}"
                )
            run["checked"].append(digest)
        runs.renew(_root(), run)
        return set(run["checked"])


class _Work:
    """
    One step while it is carried out: its clock, and the outcome as it fills.
    """

    def __init__(self, txn, step, writer, phase, budget):  # pylint: disable=redefined-outer-name,too-many-arguments
        self.step, self.phase = step, phase
        self.data = runs.checked_conf(step["conf"])
        self.version = int(step["version"])
        self.clock = time.monotonic()
        self.known = set()
        self.end = self.clock + budget
        self.node = __salt__["corosync.node_name"](step["conf"])
        self.is_writer = bool(writer) and writer == self.node
        self.outcome = {
            "node": self.node,
            "txn": txn,
            "number": int(step["number"]),
            "act": step["act"],
            "phase": phase,
            "ok": False,
            "error": "",
            "seen": {},
            "missing": [],
            "notes": [],
            "backups": [],
            "log": [],
            "started": time.time(),
            "seconds": {},
        }

    def carry_out(self):
        """
        Act and wait; whatever goes wrong on the way becomes the outcome's error.
        """
        act = self.step["act"]
        try:
            if act == "restart":
                self.restart_files() if self.phase == "files" else self.restart()
            else:
                {"local": self.local, "cluster": self.cluster, "publish": self.publish}[act]()
        except runs.Edited as exc:
            self.outcome["code"] = "file-edited"
            self.fail(str(exc))
        except OSError as exc:
            self.fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
        except CommandExecutionError as exc:
            if getattr(exc, "code", None):
                self.outcome["code"] = exc.code
            self.fail(str(exc))
        result = self.outcome
        if result["missing"] and not result["error"]:
            result["error"] = f"not seen within {self.end - self.clock:g} s: " + "; ".join(result["missing"])
        result["ok"] = not result["error"]
        result["seconds"]["total"] = round(self.passed(), 3)
        if not result["ok"]:
            result["log"] = _journal(result["started"])
            log.error("step %s of %s (%s): %s", result["number"], result["txn"], act, result["error"])

    def local(self):
        """
        Write the local file, reload this partition, wait. A refused file is taken back.
        """
        before = self.write_local()
        refusals = self.reload_until_seen()
        if refusals is None:
            self.wait()
            return
        self.look()
        if not refusals:
            self.fail(f"the running corosync did not take version {self.version}: {self.last_reload}")
            return
        self.take_back(before, refusals)

    def cluster(self):
        """
        The writer replaces the cluster file; every node waits until its own daemon runs the version.
        """
        before = files.read(_local_conf())
        if before not in (None, self.data):
            self.back_up(before)  # pmxcfs is about to replace it
        if self.is_writer:
            self.write_cluster()
        arrived = None
        while self.left() > 0 and not self.runs():
            if arrived is None and files.read(_local_conf()) == self.data:
                arrived = time.monotonic()
                self.note_time("write")
            if arrived is not None and time.monotonic() - arrived > RELOAD_OVERDUE:
                told = __salt__["corosync.reload"](timeout=max(1.0, self.left()))
                self.note_time("reload")
                said = "" if told["accepted"] else f": {told['text']}"
                self.outcome["notes"].append(
                    f"pmxcfs wrote the local file but no reload came: reloaded here{said}"
                )
                arrived = float("inf")
            time.sleep(0.1)
        self.wait()
        if not self.outcome["missing"] and files.read(_local_conf()) != self.data:
            self.fail(
                f"{_local_conf()} does not hold the bytes of the cluster file: see journalctl -u pve-cluster"
            )

    def publish(self):
        """
        The writer puts the bytes into the cluster file; the others wait until they see them there.
        """
        if self.is_writer:
            self.write_cluster()
        while True:
            try:
                present = __salt__["pmxcfs.conf"]()
                has = f"has version {present['version']}" if present else "does not exist"
            except CommandExecutionError as exc:
                present, has = None, f"could not be read ({exc})"  # it may stand still for some seconds
            if present and present["text"] == self.step["conf"]:
                break
            if self.left() <= 0:
                self.outcome["missing"].append(f"/etc/pve/corosync.conf {has}, version {self.version} wanted")
                break
            time.sleep(0.2)
        self.note_time("publish")
        missing = list(self.outcome["missing"])
        self.wait()
        self.outcome["missing"] = missing + self.outcome["missing"]

    def restart_files(self):
        """
        Write the local file only: no daemon may start before every node has it.
        """
        self.write_local()
        self.outcome["seen"] = {"file_version": runs.version_of(self.step["conf"])}

    def restart(self):
        """
        Restart corosync on the file that the phase before has written, and wait.
        """
        if files.read(_local_conf()) != self.data:
            raise CommandExecutionError(
                f"{_local_conf()} does not hold version {self.version} of this step: run phase files on every"
                " node first; a daemon that starts with an older file than its peers exits"
            )
        limit = self.left() + self.late()
        result = children.run(["systemctl", "restart", "corosync"], timeout=limit)
        self.note_time("restart")
        if result["late"]:
            raise CommandExecutionError(
                f"systemctl restart corosync did not end within {limit:.0f} s, and goes on: see journalctl -u"
                " corosync"
            )
        if result["rc"]:
            raise CommandExecutionError(f"systemctl restart corosync: {children.complaint(result)}")
        self.end = max(self.end, time.monotonic() + 1.0)
        while True:
            self.wait(limit=2.0)
            state = __salt__["corosync.unit"]()["state"]
            if not self.outcome["missing"] or state not in ("active", "activating") or self.left() <= 0:
                break
        if state not in ("active", "activating"):
            self.fail(
                f"corosync is {state} after the restart. It exits when a peer announces a higher"
                " config_version: compare the local files of all nodes, write the newest here, then start it"
            )

    def write_local(self):
        """
        Replace the local file, with a backup, and return the bytes it had; refuse to go back in versions.
        """
        path = _local_conf()
        before = files.read(path)
        if before == self.data:
            self.note_time("write")
            return before
        self.refuse_edited(path, before)
        has = None if before is None else runs.version_of(before.decode("latin-1"))
        if has is not None and has >= self.version:
            raise CommandExecutionError(
                f"{path} has version {has}, with other bytes than version {self.version} of this step: plan"
                " again with a version above every copy"
            )
        if before is not None:
            self.back_up(before)
        files.ensure_folder(os.path.dirname(path), 0o755)
        files.replace(path, self.data)
        self.note_time("write")
        return before

    def refuse_edited(self, path, data):
        """
        Refuse to overwrite what somebody else has written since the plan was made.
        """
        runs.refuse_edited(path, data, self.may_replace())

    def may_replace(self):
        """
        Return the digests of what the plan saw and of what this run writes; none if the step does not say.
        """
        seen = set(self.step.get("starts_from") or ())
        return seen | self.known if seen else set()

    def back_up(self, before):
        """
        Keep the local file's bytes.
        """
        folder = _path(f"{files.STATE_DIR}/backups")
        self.outcome["backups"].append(files.keep_backup(folder, "corosync.conf.local", before))

    def write_cluster(self):
        """
        Replace the cluster file as PVE does; its own bytes are kept too.
        """
        told = __salt__["pmxcfs.write_conf"](
            self.step["conf"],
            wait=max(0.0, self.left()),
            timeout=self.left() + self.late(),
            known=sorted(self.may_replace()),
        )
        self.note_time("write")
        if told["backup"]:
            self.outcome["backups"].append(told["backup"])
        self.outcome["notes"] += told["notes"]
        if not told["changed"]:
            self.outcome["notes"].append("the cluster file had these bytes already")

    def reload_until_seen(self):
        """
        Reload, and again if the version does not show; return None once it runs, else the refusals seen.

        A peer's reload can come before this node's file is written, or after it, so a look decides, and a
        first refusal is not final.
        """
        refusals = []
        for _attempt in range(3):
            told = __salt__["corosync.reload"](timeout=min(30.0, max(1.0, self.left())))
            self.last_reload = told["text"] or "the reload was accepted"
            self.note_time("reload")
            pause = time.monotonic() + (0.25 if told["refused"] else 1.0 if told["running"] else 0.0)
            while True:
                if self.runs():
                    if told["text"]:
                        self.outcome["notes"].append(f"the version runs, but the reload said: {told['text']}")
                    return None
                if time.monotonic() >= pause or self.left() <= 0:
                    break
                time.sleep(0.05)
            if not told["running"]:
                self.last_reload += ". The new file is in place: systemctl start corosync"
                return []
            if told["refused"]:
                refusals.append(told["text"])
            if len(refusals) > 1 or self.left() <= 0:
                break
        return refusals

    def take_back(self, before, refusals):
        """
        Put the previous local file back after a refused reload, which leaves cmap damaged until a good one.
        """
        text = f"corosync refused version {self.version} ({refusals[-1]})"
        if before is None:
            self.fail(f"{text}; there was no local file before, so the refused one stays: plan again")
            return
        files.replace(_local_conf(), before)
        told = __salt__["corosync.reload"](timeout=max(1.0, self.left()) + self.late())
        self.note_time("taken_back")
        self.look()
        has = runs.version_of(before.decode("latin-1"))
        again = "reloaded" if told["accepted"] else f"its reload failed too ({told['text']})"
        self.fail(
            f"{text}; the previous file, version {has}, is back and {again}."
            " Peers may run the refused version: gather the facts and plan again"
        )

    def wait(self, limit=600.0):
        """
        Wait for what the step names, as far as this node is concerned.
        """
        wanted = self.step.get("wait") or {}
        offset = self.passed()
        told = __salt__["corosync.wait"](
            version=self.version,
            connected=self.peers(wanted.get("connected") or {}),
            gone=self.removed(),
            quorate=bool(wanted.get("quorate")),
            writable=bool(wanted.get("writable")),
            deadline=max(0.0, min(limit, self.left())),
        )
        self.outcome["seen"] = told["seen"]
        self.outcome["missing"] = told["missing"]
        for part, seconds in told["seconds"].items():
            self.outcome["seconds"].setdefault(part, round(offset + seconds, 3))

    def look(self):
        """
        Note what is there now, without waiting.
        """
        self.outcome["seen"] = __salt__["corosync.wait"](deadline=0)["seen"]

    def peers(self, connected):
        """
        Turn ``{link: [[a, b]]}`` into ``{link: [the other end]}`` for the pairs with this node.
        """
        found = {}
        for link, pairs in connected.items():
            others = [b if a == self.node else a for a, b in pairs if self.node in (a, b)]
            if others:
                found[int(link)] = others
        return found

    def removed(self):
        return [] if self.step["act"] == "publish" else [int(link) for link in self.step.get("remove") or ()]

    def runs(self):
        """
        Tell whether the running daemon has this step's version, and note when it first had.
        """
        if __salt__["corosync.running_version"]() != self.version:
            return False
        self.note_time("version")
        return True

    def passed(self):
        return time.monotonic() - self.clock

    def left(self):
        return self.end - time.monotonic()

    def late(self):
        """
        Return how long beyond the deadline something under way is waited for: less in a short step.
        """
        return min(LATE_S, 2.0 + self.end - self.clock)

    def note_time(self, part):
        self.outcome["seconds"].setdefault(part, round(self.passed(), 3))

    def fail(self, text):
        self.outcome["error"] = "; ".join(filter(None, (self.outcome["error"], text)))


def _root():
    return shell.root(__opts__)


def _path(path):
    return shell.path(__opts__, path)


def _local_conf():
    return _path(files.LOCAL_CONF)


def _journal(since):
    """
    Return the lines of corosync's journal that tell of a refusal since a time, for a failed outcome.
    """
    argv = ["journalctl", "-t", "corosync", f"--since=@{int(since)}", "-o", "cat", "--no-pager", "-n", "200"]
    result = children.run(argv, timeout=5.0)
    telling = re.compile(
        r"unable|not changed|cannot|can't|not valid|error|exiting|refus|different", re.IGNORECASE
    )
    lines = [line.strip() for line in children.text(result).splitlines() if telling.search(line)]
    return list(dict.fromkeys(lines))[-10:]
