"""
What a node keeps about a run on its own disk: the run lock, and the outcome of every step.

This file does I/O on purpose (local disk only). The run lock is ``/run/pve-corosync/run.json``, gone after a
boot; the outcomes are ``/var/lib/pve-corosync/outcomes/<run>-<number>.json`` and stay, so that a node that
lost the master in the middle of a step can tell later how it ended.
"""

import contextlib
import fcntl
import math
import os
import re
import time

from pve_corosync import conf
from pve_corosync.codes.words import ACTS
from pve_corosync.node import files

RUN_FILE = f"{files.RUN_DIR}/run.json"
OUTCOMES_KEPT = 50
MAX_TTL = 24 * 3600.0

PHASES = ("", "files", "restart")


class BadArgument(ValueError):
    """
    A value that no call can work with; the text names it and what is allowed.
    """


class Busy(Exception):
    """
    Another run, or another call, holds this node.
    """


def checked_txn(txn):
    """
    Return the name of a run as str; raise BadArgument if it could not be part of a file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(txn)):
        raise BadArgument(f"txn {txn!r}: letters, digits, '.', '_', '-' are allowed, at most 64")
    return str(txn)


def checked_seconds(value, what):
    """
    Return a number of seconds as float.
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 <= seconds < math.inf:
        raise BadArgument(f"{what} {value!r}: seconds are needed, 0 or more")
    return seconds


def checked_number(number):
    """
    Return the number of a step as int.
    """
    if isinstance(number, bool) or not re.fullmatch(r"[0-9]{1,4}", str(number)):
        raise BadArgument(f"number {number!r}: a number from 0 to 9999 is needed")
    return int(number)


def checked_phase(phase):
    """
    Return the phase of a restart step.
    """
    if phase not in PHASES:
        raise BadArgument(f"phase {phase!r}: allowed are {', '.join(map(repr, PHASES))}")
    return phase


def checked_conf(text):
    """
    Return the bytes of a configuration that crossed Salt as text with one character per byte.
    """
    try:
        return text.encode("latin-1")
    except (AttributeError, UnicodeEncodeError):
        raise BadArgument("conf: text with one character per byte (latin-1) is needed") from None


def version_of(text):
    """
    Return the totem.config_version of a configuration's text; None if corosync could not read one in it.
    """
    try:
        document = conf.parse(text)
    except conf.ConfError:
        return None
    return document.version or None


def check_step(entry):
    """
    Raise BadArgument with everything that is wrong with a step of a plan.
    """
    if not isinstance(entry, dict):
        raise BadArgument(f"step: a mapping is needed, not {type(entry).__name__}")
    wrong = [f"step has no {key!r}" for key in ("number", "act", "version", "conf") if entry.get(key) is None]
    known = entry.get("starts_from") or []
    if not isinstance(known, (list, tuple)) or not all(isinstance(digest, str) for digest in known):
        wrong.append(f"starts_from {known!r}: a list of digests is needed")
    if entry.get("deadline_s") is not None:
        checked_seconds(entry["deadline_s"], "deadline_s")
    if "act" in entry and entry["act"] not in ACTS:
        wrong.append(f"act {entry['act']!r}: allowed are {', '.join(ACTS)}")
    if not wrong:
        checked_number(entry["number"])
        checked_conf(entry["conf"])
        has = version_of(entry["conf"])
        if str(has) != str(entry["version"]):
            wrong.append(f"version {entry['version']!r}, but totem.config_version of its conf is {has}")
    if wrong:
        raise BadArgument("; ".join(wrong))


class Edited(Exception):
    """
    A file is not what the plan saw; the text names it, and what to do.
    """


def refuse_edited(path, data, known):
    """
    Raise :class:`Edited` if a file was changed by somebody else since the plan was made.

    :param path: of the file.
    :param data: its bytes, None if there is none: nothing is lost then.
    :param known: digests of what the plan saw, and of what the run itself writes; none: it says nothing.
    """
    if known and data is not None and files.sha256(data) not in known:
        raise Edited(
            f"{path} was changed by somebody else since the plan was made, and stays as it is: look at it,"
            " then run the same command again, which plans from what is there"
        )


@contextlib.contextmanager
def locked(root, name, wait):
    """
    Hold a lock file of the run directory (``run`` or ``step``) for the block; raise Busy after ``wait``
    seconds.
    """
    folder = files.under(root, files.RUN_DIR)
    files.ensure_folder(folder)
    end = time.monotonic() + wait
    with open(os.path.join(folder, f"{name}.lock"), "ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Busy(f"{folder}/{name}.lock was held by another call for {wait:g} s") from None
                time.sleep(0.1)
        yield


def is_locked(root, name):
    """
    Tell whether another call holds a lock file of the run directory now.
    """
    return files.is_locked(os.path.join(files.under(root, files.RUN_DIR), f"{name}.lock"))


def holder(root):
    """
    Return the run that holds this node, ``{"txn", "by", "since", "until", "ttl", "checked"}``, or None.
    """
    run = files.read_json(_run_file(root))
    return run if run and run["until"] > time.time() else None


def refuse_other(root, txn, dead=()):
    """
    Raise Busy if a run other than ``txn`` and the ``dead`` ones holds this node.
    """
    run = holder(root)
    if run and run["txn"] != txn and run["txn"] not in dead:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run["since"]))
        raise Busy(
            f"this node is being changed by run {run['txn']} (by {run['by'] or 'unknown'}, since {since}):"
            f" wait for it, or give its lock back with corosync.finish {run['txn']}"
        )


def take(root, txn, by, ttl, checked, dead=()):
    """
    Take the run lock for ``ttl`` seconds, also from the ``dead`` runs; ``checked`` are the digests of the
    configurations that passed.
    """
    refuse_other(root, txn, dead)
    now, ttl = time.time(), min(float(ttl), MAX_TTL)
    run = {"txn": txn, "by": str(by), "since": now, "until": now + ttl, "ttl": ttl, "checked": list(checked)}
    files.write_json(_run_file(root), run)


def renew(root, run):
    """
    Let the lock of a run last for its ``ttl`` from now on.
    """
    files.write_json(_run_file(root), dict(run, until=time.time() + run["ttl"]))


def give_back(root, txn):
    """
    Drop the run lock if ``txn`` holds it, and return whether it did.
    """
    run = files.read_json(_run_file(root))
    if not run or run.get("txn") != txn:
        return False
    os.unlink(_run_file(root))
    return True


def outcome(root, txn, number, phase=""):
    """
    Return a stored outcome, or None; link numbers are int again, which JSON does not keep.
    """
    record = files.read_json(_outcome_file(root, txn, number, phase))
    connected = ((record or {}).get("seen") or {}).get("connected")
    if connected:
        record["seen"]["connected"] = {int(link): peers for link, peers in connected.items()}
    return record


def keep_outcome(root, txn, number, phase, record):
    """
    Store an outcome, and drop all but the newest 50.
    """
    path = _outcome_file(root, txn, number, phase)
    folder = os.path.dirname(path)
    files.ensure_folder(folder)
    files.write_json(path, record)
    files.keep_newest(folder, ".json", OUTCOMES_KEPT, path)


def _run_file(root):
    return files.under(root, RUN_FILE)


def _outcome_file(root, txn, number, phase):
    half = ".files" if phase == "files" else ""
    return files.under(root, f"{files.STATE_DIR}/outcomes/{txn}-{number}{half}.json")
