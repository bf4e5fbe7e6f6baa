"""
The layout of the links, worked on from one node: by highstate, or by hand on a day without a master.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name). A quorate node makes the
whole change through the cluster file, step by step, under a lock that only one node of the cluster can hold;
the others are asked over PVE's own ssh, with commands that only read, so that each step is read back on every
pair. A node without quorum does its own part of the degraded path, and only if that is asked for.

The wanted layout comes from the pillar key ``corosync``. Without a master it is read from this node's
``/srv/pillar``:

.. code-block:: bash

    salt-call --local corosync.status
    salt-call --local corosync.plan degraded
    salt-call --local corosync.apply degraded degraded=True

:depends: corosync, ssh, pmxcfs (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import time

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.node import locks
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.ports import node
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import alone, alone_change
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "corosync"

#: seconds to wait for another node's run: a dead one holds the lock for 120 s.
LOCK_WAIT = 300
#: seconds that the quorum is waited for after this node's part of the degraded path.
PATIENCE = 30

__outputter__ = {"plan": "corosync_table", "apply": "corosync_table"}


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def plan(layout=None, degraded=False, skip=None, force=None, pillar=None):
    """
    Show what ``corosync.apply`` would do from this node, and what is refused and why; nothing is changed.

    layout
        A layout of the pillar; default the one that the pillar wants.

    degraded
        Without quorum, or with it where nodes are cut off: plan this node's part of the degraded path.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of: lists, or names with commas
        between.

    pillar
        What the pillar key ``corosync`` is to be in this call; default what this minion has. salt-ssh, which
        gives a node no pillar, brings the master's so.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.plan degraded
    """
    shell.check("corosync.plan", locals())
    return _guarded("plan", lambda: _job(layout, skip, force, degraded, test=True, pillar=pillar))


def apply(
    layout=None,
    test=False,
    degraded=False,
    skip=None,
    force=None,
    wait=LOCK_WAIT,
    patience=PATIENCE,
    progress=False,
    takes_over=(),
    pillar=None,
):  # pylint: disable=too-many-arguments
    """
    Take the cluster to a layout from this node, and return the report.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Only tell what would change, with the diffs.

    degraded
        Without quorum, nothing is touched; with this, this node's part of the degraded path is done: a link
        is added to its own local file. The other nodes do theirs by the same command, and the node that sees
        the quorum come back within ``patience`` finishes the change for all. A quorate node that others are
        cut off from adds the link through the cluster file; they take that file over by the same command.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of: lists, or names with commas
        between.

    wait
        Seconds to wait while another node works on the links.

    patience
        Seconds to wait for the quorum after this node's part of the degraded path.

    progress
        Tell the steps on standard error.

    takes_over
        Names of runs that are known to be dead: their locks on the nodes are no obstacle.

    pillar
        What the pillar key ``corosync`` is to be in this call; default what this minion has. salt-ssh, which
        gives a node no pillar, brings the master's so.

    ``result`` is ``already`` (nothing to do), ``reached``, ``test``, ``waiting`` (this node's part is done,
    the quorum is not back), ``refused`` or ``failed``; the last three set the exit code.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.apply
        salt-call --local corosync.apply degraded degraded=True progress=True
    """
    shell.check("corosync.apply", locals())
    return _guarded(
        "apply",
        lambda: _job(layout, skip, force, degraded, bool(test), wait, patience, progress, takes_over, pillar),
    )


def _guarded(do, work):
    try:
        report = work()
    except (arguments.RunError, layouts.LayoutError) as exc:
        report = {
            "findings": exc.findings,
            "result": "refused",
            "summary": "refused, nothing was changed",
            "retcode": getattr(exc, "retcode", arguments.USAGE),
        } | getattr(exc, "report", {})
    except locks.LockError as exc:
        raise CommandExecutionError(f"the lock of the cluster: {exc}; nothing was changed") from exc
    except planner.PlanError as exc:
        raise CommandExecutionError(str(exc)) from exc
    if report["retcode"]:
        __context__["retcode"] = report["retcode"]
    return {"do": do, **report}


def _seconds(value, what):
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds < float("inf"):
        raise SaltInvocationError(f"{what}={value!r}: seconds are needed, 0 or more; nothing was done")
    return seconds


def _job(layout, skip, force, degraded, test, wait=0, patience=0, progress=False, takes_over=(), pillar=None):  # pylint: disable=too-many-arguments
    """
    Return the report of one call of ``plan`` or ``apply``.
    """
    host = __salt__["corosync.node_name"]()
    skip, force = arguments.names(skip, "skip"), arguments.names(force, "force")
    own = shell.pillar(__pillar__, pillar)
    request = alone.Request(own, __opts__.get("id"), host, layout, skip=skip, force=force)
    wait, patience = _seconds(wait, "wait"), min(_seconds(patience, "patience"), 600.0)
    ports = node.Ports(
        request,
        __salt__,
        (CommandExecutionError, SaltInvocationError),
        jid=time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f"-{request.own}",
        wait=wait,
        progress=bool(progress),
        over=takes_over,
        root=(__opts__.get("pve_corosync") or {}).get("root"),
    )
    run = alone_change.AloneChange(request, ports, arguments.settings(None), bool(degraded), test, patience)
    return run.carry_out()
