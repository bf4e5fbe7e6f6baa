"""
Metrics of this node as text, and as a file for the textfile collector of prometheus-node-exporter.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.2.0
"""

import json
import os
import time

import salt.utils.path
from pve_corosync.judge import metrics as metrics_of
from pve_corosync.node import files
from pve_corosync.pillar import layouts as layouts_of_pillar
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"

OUTCOMES = "/var/lib/pve-corosync/outcomes"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def metrics(path=None):
    """
    Return the metrics of this node as OpenMetrics text, or write them to a file.

    path
        A file, for the textfile collector; replaced as a whole, readable for all.

    Returns the text; with a path, the path. Raises CommandExecutionError if it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt pve1 corosync.metrics
        salt pve1 corosync.metrics /var/lib/prometheus/node-exporter/corosync.prom
    """
    shell.check("corosync.metrics", locals())
    layouts, wanted = {}, None
    try:
        loaded = layouts_of_pillar.load(layouts_of_pillar.plain(__pillar__.get("corosync")))
        layouts = {name: layouts_of_pillar.resolve(loaded, name) for name in loaded["layouts"]}
        wanted = loaded["layout"]
    except layouts_of_pillar.LayoutError:
        layouts = {}  # a wrong pillar is told by corosync.status; here its layouts are missing
    text = metrics_of.text(__salt__["corosync.facts"](), layouts, wanted, _last_run(), time.time())
    if path is None:
        return text
    target = files.under(_root(), str(path))
    try:
        files.replace(target, text.encode("utf-8"))
    except OSError as exc:
        raise CommandExecutionError(
            f"{target}: {exc.strerror}; is prometheus-node-exporter installed here?"
        ) from exc
    return str(path)


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")


def _last_run():
    """
    Return time and result of the newest outcome that a step of a run left here; None without any.
    """
    folder = files.under(_root(), OUTCOMES)
    try:
        found = [entry for entry in os.scandir(folder) if entry.name.endswith(".json")]
    except FileNotFoundError:
        return None
    if not found:
        return None
    newest = max(found, key=_time)
    with open(newest.path, encoding="utf-8") as file:
        record = json.load(file)
    return {"time": _time(newest), "ok": bool(record.get("ok"))}


def _time(entry):
    return entry.stat().st_mtime
