"""What an operator asks of a run: arguments, the master's settings, the choice of the cluster."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from pve_corosync.findings import finding

#: Master config ``pve_corosync``: key -> (default, what it is). All times are seconds.
SETTINGS = {
    "minions": ("*", "glob over the accepted keys that can be nodes of a cluster"),
    "gather_timeout": (5, "how long every gathering waits for a silent node"),
    "stage_timeout": (15, "how long the nodes may take to check the files of all steps"),
    "step_margin": (3, "how long an answer may take beyond the deadline of its step"),
    "answer_grace": (
        5,
        "how long a step waits for the last answers after the others have come, before it asks again",
    ),
    "outcome_patience": (30, "how long a node that lost the master in a step is asked for its outcome"),
    "verify_timeout": (10, "how long the exit checklist may take to come true"),
    "exit_timeout": (
        30,
        "how long the nodes may take to gather the rest of the exit checklist, ssh among it",
    ),
    "phase_timeout": (20, "how long the nodes may take for one question of the phases after the links"),
    "certs_timeout": (100, "how long the nodes may take to make certificates"),
    "services_timeout": (120, "how long the nodes may take to reload their services"),
    "replication_timeout": (
        150,
        "how long one replication job is waited for; one that is at work then is left running",
    ),
    "replication_budget": (580, "how long all replication jobs of a node together may take"),
    "ha_timeout": (200, "how long HA may take to be released, or to be in service again"),
}


#: how long the tools of a node may take to tell its facts, in seconds, and how much sooner than the wait for
#: them (gather_timeout) that has to be: Salt starts a process for the call, and the answer has its way back.
FACTS_S, FACTS_MARGIN_S = 3.0, 2.0


def facts_timeout(gather_timeout: float) -> float:
    """Return how long the tools of a node may take, where its facts are waited for so long."""
    return min(FACTS_S, max(gather_timeout / 2, gather_timeout - FACTS_MARGIN_S))


#: how long a node that takes a dead run's lock over waits for a step of that run to end, in seconds.
TAKE_OVER_S = 60.0

#: Exit codes of the runner functions.
OK, FAILED, USAGE = 0, 1, 2


class RunError(Exception):
    """A run that cannot start or go on; ``findings`` says why, ``retcode`` is the exit code."""

    def __init__(self, findings, retcode: int = USAGE):
        self.findings = [findings] if isinstance(findings, dict) else list(findings)
        self.retcode = retcode
        super().__init__("\n".join(item["text"] for item in self.findings))


def names(value, what: str) -> list[str]:
    """Return a list of names from what an operator types.

    :param value: None, ``"a,b"``, or a list of names.
    :param what: the argument's name, for the error.
    :raises RunError: any other type.
    """
    if value is None or value is False:
        return []
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, int)) for item in value):
        raise RunError(
            finding(
                "argument-bad",
                f"{what}={value!r}: allowed: a list, or names with commas between",
                data={"argument": what, "value": str(value)},
                remedy=f"write {what}=name,name",
            )
        )
    return list(dict.fromkeys(str(item).strip() for item in value if str(item).strip()))


#: what both a shell and Salt, which reads an argument as YAML, take for the text that it is.
_PLAIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9_.-]*|[1-9][0-9]{0,17})")
_YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n", "none")


def typed(text) -> str:
    """Return a name as it is to stand in a command line that an operator copies.

    :param text: any name: of a layout or a cluster, from a pillar.
    """
    text = str(text)
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    # Salt reads nothing as YAML that has a # in it
    return shlex.quote(json.dumps(text, ensure_ascii=False).replace("#", r"\u0023"))


def choice(value, what: str, allowed: tuple):
    """Return a value if it is one of the allowed ones.

    :raises RunError: it is not.
    """
    if value not in allowed or (isinstance(value, bool) != isinstance(allowed[0], bool)):
        said = ", ".join(str(item) for item in allowed)
        raise RunError(
            finding(
                "argument-bad",
                f"{what}={value!r}; allowed: {said}",
                data={"argument": what, "value": str(value), "allowed": [str(a) for a in allowed]},
                remedy=f"write {what}={allowed[0]}",
            )
        )
    return value


def count(value, what: str) -> int:
    """Return a number that an operator typed, 1 or more.

    :raises RunError: it is none.
    """
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
        raise RunError(
            finding(
                "argument-bad",
                f"{what}={value!r}; allowed: a number, 1 or more",
                data={"argument": what, "value": str(value)},
                remedy=f"write {what}=10",
            )
        )
    return int(value)


def seconds(value, what: str, most: int):
    """Return a time that an operator typed.

    :param value: a number, or its text. :param what: the argument's name, for the error.
    :param most: the highest value allowed.
    :raises RunError: no number, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not 0 < number <= most:
        raise RunError(
            finding(
                "argument-bad",
                f"{what}={value!r}; allowed: seconds, above 0 to {most}",
                data={"argument": what, "value": str(value)},
                remedy=f"write {what}=150",
            )
        )
    return number


# ---- every public argument ---------------------------------------------------------------------------------

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,4096}")


def _line(value):
    return isinstance(value, str) and bool(_LINE.fullmatch(value)) and bool(value.strip())


def _whole(value):
    return (
        not isinstance(value, bool)
        and isinstance(value, (int, str))
        and bool(re.fullmatch("[0-9]{1,20}", str(value)))
    )


def _time(value):
    try:
        return not isinstance(value, bool) and 0 <= float(value) < float("inf")
    except (TypeError, ValueError):
        return False


def _name(value):
    return _line(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else False


def _names(value):
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return _line(str(value))
    return isinstance(value, (list, tuple)) and all(map(_name, value))


#: what an argument may be: kind -> (test, words for the error).
KINDS = {
    "flag": (lambda value: isinstance(value, bool), "True, False"),
    "seconds": (_time, "seconds, 0 or more"),
    "number": (_whole, "a whole number, 0 or more"),
    "name": (_name, "a name, one line of text"),
    "names": (_names, "a list of names, or names with commas between"),
    "line": (_line, "one line of text"),
    "text": (lambda value: isinstance(value, str), "text"),
    "fingerprint": (
        lambda value: isinstance(value, str) and bool(_FINGERPRINT.fullmatch(value)),
        "SHA256: and 43 characters, as ssh-keygen -lf prints it",
    ),
    "path": (lambda value: _line(value) and value.startswith("/"), "an absolute path"),
    "mapping": (lambda value: isinstance(value, Mapping), "a mapping"),
    "data": (
        lambda value: isinstance(value, Mapping) or (isinstance(value, str) and bool(value.strip())),
        "a mapping, or its text as JSON or YAML",
    ),
    "list": (lambda value: isinstance(value, (list, tuple)), "a list"),
    "mode": (lambda value: value in ("freeze", "ignore"), "freeze, ignore"),
    "phase": (lambda value: value in ("", "files", "restart"), "'', files, restart"),
    "strategy": (lambda value: value in ("live", "restart"), "live, restart"),
    "ssh": (lambda value: value in ("peers", "open"), "peers, open"),
    "pattern": (lambda value: _line(value) or _names(value), "a pattern of minion ids, or a list of them"),
}

#: Every argument of every public function, by its name alone or with the function in front: the kind. With a
#: ? behind it None is the same as not given.
ARGUMENTS = {
    "addresses": "mapping",
    "always": "flag",
    "arguments": "mapping?",
    "at_once": "number",
    "back": "flag",
    "brief": "flag",
    "budget": "seconds",
    "by": "text",
    "check": "flag",
    "cluster": "name?",
    "clusters": "names",
    "conf": "text",
    "confirm": "seconds?",
    "connected": "mapping?",
    "counts": "flag",
    "deadline": "seconds",
    "degraded": "flag",
    "diff": "flag",
    "entries": "list",
    "fingerprint": "fingerprint",
    "force": "names?",
    "full": "flag",
    "function": "line",
    "given": "mapping?",
    "gone": "list",
    "host": "line",
    "host_keys": "list",
    "jid": "name?",
    "job": "line",
    "key": "line",
    "keys": "list",
    "kind": "text",
    "known": "list",
    "last": "number",
    "layout": "name?",
    "links": "mapping",
    "local": "line",
    "look": "flag",
    "management": "names?",
    "minion": "name",
    "mode": "mode",
    "name": "name",
    "names": "names",
    "networks": "mapping?",
    "node": "name",
    "nodeid": "number?",
    "nonce": "line",
    "note": "mapping",
    "number": "number",
    "orchestration": "line",
    "out": "line?",
    "path": "path",
    "patience": "seconds",
    "pattern": "path",
    "pause": "seconds?",
    "peers": "mapping",
    "phase": "phase",
    "pillar": "mapping",
    "port": "number",
    "ports": "list?",
    "primary": "mapping",
    "progress": "flag",
    "public": "line",
    "quiet": "seconds",
    "quorate": "flag",
    "rebuild": "seconds",
    "renew": "flag?",
    "result": "text",
    "resume": "flag",
    "run": "name?",
    "seconds": "seconds",
    "services": "flag",
    "since": "seconds",
    "skip": "names?",
    "source": "line?",
    "ssh": "ssh?",
    "step": "mapping",
    "steps": "list",
    "strategy": "strategy",
    "takes_over": "list",
    "target": "line",
    "targets": "names?",
    "test": "flag",
    "text": "text",
    "tgt": "pattern?",
    "tgt_type": "line",
    "timeout": "seconds",
    "ttl": "seconds",
    "txn": "name",
    "up": "flag",
    "user": "line",
    "version": "number?",
    "votes": "number?",
    "wait": "seconds",
    "writable": "flag",
    "writer": "text",
    "wrong": "flag",
    # the same word for something else
    "corosync.apply.pillar": "data?",
    "corosync.arm_back.confirm": "flag",
    "corosync.ask_rebuild.node": "name?",
    "corosync.disarm_back.txn": "name?",
    "corosync.metrics.path": "path?",
    "corosync.node_name.conf": "text?",
    "corosync.plan.pillar": "data?",
    "corosync.stage.back": "mapping?",
    "corosync.status.pillar": "data?",
    "pmxcfs.write_conf.timeout": "seconds?",
    "pve_certs.facts.address": "line?",
    "pve_certs.update.force": "flag?",
    "pve_node.migration_network.primary": "line?",
    "pve_node.restart_pve_cluster.address": "line",
    "pvecm.updatecerts.force": "flag",
    "runner.replicate.timeout": "seconds?",
    "runner.watch_look.minion": "name?",
    "runner.rebuild_asked.nonce": "line?",
}


def checked(function: str, given: Mapping) -> None:
    """Refuse public arguments that are not what they must be, all at once, before anything is done.

    :param function: ``module.function``; ``runner.function`` of the runner.
    :param given: ``{argument: value}``; what is no argument of the table is left alone, as in ``locals()``.
    :raises RunError: one finding an argument, with its value and what is allowed.
    """
    wrong = []
    for name, value in given.items():
        kind = ARGUMENTS.get(f"{function}.{name}") or ARGUMENTS.get(name)
        if kind is None or (value is None and kind.endswith("?")):
            continue
        good, words = KINDS[kind.rstrip("?")]
        if not good(value):
            wrong.append(
                finding(
                    "argument-bad",
                    f"{name}={value!r}; allowed: {words}",
                    data={"argument": name, "value": str(value)},
                    remedy=f"write {name}= as allowed; nothing was done",
                )
            )
    if wrong:
        raise RunError(wrong)


def unknown_arguments(function: str, given, allowed) -> None:
    """Refuse arguments that a function does not have; Salt's own ``__pub_*`` are none.

    :param function: the function's name, for the error.
    :param given: names that were given beyond the known ones.
    :param allowed: names that it has.
    :raises RunError: one finding an argument.
    """
    bad = [key for key in given if not str(key).startswith("__")]
    if bad:
        raise RunError(
            [
                finding(
                    "argument-unknown",
                    f"{function} has no argument {key!r}; allowed: {', '.join(allowed)}",
                    data={"argument": str(key), "allowed": list(allowed)},
                    remedy="nothing was done; correct the argument and run it again",
                )
                for key in bad
            ]
        )


def settings(raw) -> dict:
    """Return the settings of the master, defaults filled in.

    :param raw: the value of the master config key ``pve_corosync``, or None.
    :raises RunError: unknown keys or bad values, all at once.
    """
    raw = {} if raw is None else raw
    found = {key: default for key, (default, _) in SETTINGS.items()}
    if not isinstance(raw, Mapping):
        raise RunError(
            finding(
                "setting-bad",
                f"pve_corosync: {raw!r} is no mapping; allowed: {', '.join(SETTINGS)}",
                remedy="correct pve_corosync in the master's configuration",
            )
        )
    wrong = []
    for key, value in raw.items():
        if key not in SETTINGS:
            wrong.append(f"pve_corosync:{key}: unknown key; allowed: {', '.join(SETTINGS)}")
        elif key == "minions":
            if isinstance(value, str) and value:
                found[key] = value
            else:
                wrong.append(f"pve_corosync:minions: {value!r}; allowed: a glob such as 'pve*'")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 600:
            wrong.append(f"pve_corosync:{key}: {value!r}; allowed: seconds, above 0 to 600")
        else:
            found[key] = value
    if wrong:
        raise RunError(
            [
                finding("setting-bad", text, remedy="correct it in the master's configuration")
                for text in wrong
            ]
        )
    return found


def members(pillar) -> dict[str, str]:
    """Return ``{node: minion}`` of a pillar ``corosync`` that may be wrong in other places.

    :param pillar: the value of the pillar key ``corosync``, plain types.
    """
    nodes = pillar.get("nodes") if isinstance(pillar, dict) else None
    if not isinstance(nodes, dict):
        return {}
    return {
        str(name): str(row.get("minion") or name) if isinstance(row, dict) else str(name)
        for name, row in nodes.items()
    }


def choose_cluster(found: dict, wanted, looked_at: str) -> str:
    """Return the name of the cluster to work on.

    :param found: ``{cluster name: anything}``, all clusters that were seen.
    :param wanted: the name that the operator gave, or None.
    :param looked_at: what was searched, for the error.
    :raises RunError: none, several, or not the wanted one.
    """
    known = sorted(found)
    listed = ", ".join(known)
    if not known:
        raise RunError(
            finding(
                "cluster-none",
                f"no cluster: {looked_at} has the pillar `corosync`",
                remedy="give the nodes the pillar `corosync` (pillar/ holds an example), accept their "
                "keys (salt-key -L), then: salt-run corosync.status",
            )
        )
    if wanted is not None and str(wanted) not in found:
        raise RunError(
            finding(
                "cluster-unknown",
                f"cluster {str(wanted)!r} is in no pillar; known: {listed}",
                data={"value": str(wanted), "allowed": known},
                remedy=f"add cluster={typed(known[0])}",
            )
        )
    if wanted is None and len(known) > 1:
        raise RunError(
            finding(
                "cluster-several",
                f"more than one cluster: {listed}",
                data={"allowed": known},
                remedy=f"name one: cluster={typed(known[0])}",
            )
        )
    return known[0] if wanted is None else str(wanted)
