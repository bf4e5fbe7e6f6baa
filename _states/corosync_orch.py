"""
The phases of an orchestration: functions of the runner ``corosync``, as states of the master.

A state that calls a runner through ``salt.runner`` reports a change at each run, knows nothing of
``test=True``, and shows a failure as Python data. These states report what was done, show the plan and the
diffs in a test run and write nothing, and say a failure once, as the runner says it. All phases of one
orchestration are one run in the journal.

:depends: the runner ``corosync``, on the master; ``salt-run saltutil.sync_all`` brings both

.. code-block:: yaml

    links:
      corosync_run.phase:
        - function: apply
        - arguments: {layout: degraded}
        - orchestration: failover

.. versionadded:: 0.1.0
"""

import json
import logging
import os
import shlex

import salt.config
import salt.loader
import salt.pillar
import salt.utils.user
from pve_corosync import arguments as checks
from pve_corosync import show_tables
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync_run"

#: what the pillar of each orchestration may have.
COMMON = ("layout", "skip", "force", "cluster")
PILLAR = {
    "failover": (*COMMON, "strategy", "replication_timeout"),
    "nominal": (*COMMON, "strategy", "replication_timeout"),
    "restart": COMMON,
    "rebuild": ("node", "cluster"),
    "add": ("node", "cluster"),
    "remove": ("node", "force", "cluster"),
}
#: functions that can tell what they would do; the checklist only asks.
DRY = ("apply", "move_primary", "restart", "rebuild", "remove", "many")
ASKS = ("verify", "probe")
#: what leaves everything as it was; a replication that ran is no change of the configuration.
SAME = ("already", "true", "planned")
NO_CHANGE = ("replicate", "verify", "probe")


class _Once(logging.Filter):
    """
    Keeps a report out of the log that stands in the comment of its state: Salt logs the comment of a failed
    state as an error (salt/state.py format_log), and a terminal shows both.
    """

    def __init__(self, report):
        super().__init__()
        self.report = report

    def filter(self, record):
        """
        Tell whether a record is to be logged.
        """
        return record.msg != self.report


def __virtual__():
    if "saltutil.runner" in __salt__:
        return __virtualname__
    return (False, "the execution module saltutil is not there")


def phase(name, function, orchestration, arguments=None):
    """
    Call a function of the runner ``corosync``, on the master.

    name
        Any text.

    function
        The function's name, without ``corosync.``.

    orchestration
        ``failover``, ``nominal``, ``restart``, ``rebuild``, ``add`` or ``remove``: for the keys that its
        pillar may have, and the command that does the rest.

    arguments
        What the function is given.

    With ``test=True`` the plan and the diffs are shown, and nothing is written. Phases that could not be
    planned before those in front of them are done say so.

    .. code-block:: yaml

        links:
          corosync_run.phase:
            - function: apply
            - arguments: {layout: degraded}
            - orchestration: failover
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        checks.checked("state.phase", locals())
        checks.choice(orchestration, "orchestration", tuple(PILLAR))
    except checks.RunError as exc:
        return ret | {"comment": show_tables.for_state(f"{exc}. Nothing was done")}
    given = _given()
    unknown = sorted(set(given) - set(PILLAR[orchestration]))
    if unknown:
        keys, allowed = ", ".join(map(repr, unknown)), ", ".join(PILLAR[orchestration])
        text = f"orch.{orchestration} knows no pillar key {keys}; allowed: {allowed}. Nothing was done"
        return ret | {"comment": show_tables.for_state(text)}
    test = bool(__opts__["test"])
    if test and __context__.get("corosync_run.open"):
        return ret | {
            "result": None,
            "comment": "would follow; it is planned when the phases before it are done",
        }
    if test and function not in DRY + ASKS:
        return ret | {"result": True, "comment": "a test run does not ask for it"}
    call = dict(arguments or {}, brief=True, __run=_run(orchestration, given, test))
    if test and function in DRY:
        call["test"] = True
    report = _called(function, call)
    ret["comment"] = report["report"]
    if report["retcode"]:
        logging.getLogger("salt.state").addFilter(_Once(report["report"]))
        return ret
    ret["result"] = True
    if report["result"] == "test":
        __context__["corosync_run.open"] = True
        ret["result"] = None
    if report["result"] not in SAME and function not in NO_CHANGE:
        ret["changes"] = {key: report[key] for key in ("steps", "diffs") if report.get(key)}
    return ret


def _called(function, call):
    """
    Return the short report of a function of the runner; of one that broke, what it said, in one line.
    """
    runners = salt.loader.runner(_master(), context={})
    try:
        run = runners[f"corosync.{function}"]
    except KeyError as exc:
        why = f"the master lacks the runner corosync ({exc})\n  salt-run saltutil.sync_all"
        return {"retcode": 1, "result": "failed", "report": show_tables.for_state(why)}
    try:
        return run(**call)
    except CommandExecutionError as exc:
        return {"retcode": 1, "result": "failed", "report": show_tables.for_state(str(exc))}


def _master():
    """
    Return the options of the master.

    The loader is asked, and not ``saltutil.runner``: that gathers the grains of the master once more
    (``SyncClientMixin.mminion``), which takes 10 s where DNS is dead, and loads every runner that there is.
    What it does besides, events and the job cache, the orchestration has and the journal does.
    """
    if "master_job_cache" in __opts__:
        return __opts__
    return salt.config.master_config(os.path.join(os.path.dirname(__opts__["conf_file"]), "master"))


def _run(orchestration, given, test):
    """
    Return the name that all phases share in the journal, none in a test, and the command that does the rest.
    """
    command = f"salt-run state.orchestrate orch.{orchestration}"
    if given:
        command += f" pillar={shlex.quote(json.dumps(given, sort_keys=True, default=str))}"
    jid = globals().get("__orchestration_jid__")
    run = {"command": command, "user": salt.utils.user.get_specific_user()}
    return run | ({"jid": jid} if jid and not test else {})


def _given():
    """
    Return what the operator put into the pillar of this orchestration: what the master's own pillar lacks.
    """
    if "corosync_run.given" not in __context__:
        # with the pillar that is compiled already in it, the options would give the operator's keys again
        opts = {key: value for key, value in __opts__.items() if key != "pillar"}
        compiled = salt.pillar.get_pillar(opts, dict(__grains__), opts["id"], pillarenv=opts.get("pillarenv"))
        own = compiled.compile_pillar()
        merged = dict(__pillar__)
        __context__["corosync_run.given"] = {
            key: value for key, value in merged.items() if key not in own and key != "_errors"
        }
    return __context__["corosync_run.given"]
