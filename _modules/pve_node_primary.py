"""
Hold the primary network on this node: its names, the address that PVE's own tools use for it, and what the
other nodes know it by.

Part of the execution module ``pve_node`` (Salt joins the files of one virtual name). It is what highstate
calls; the runner moves all nodes in one go with the functions beneath it.

:depends: pmxcfs (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import contextlib
import os
import time

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.node import files, locks
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import alone
from salt.exceptions import CommandExecutionError

__virtualname__ = "pve_node"

WAIT = 300
REFRESHED = "refreshed"
#: a certificate was asked for, and the services have not been reloaded since.
DUE = f"{files.STATE_DIR}/services-due"


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def hold_primary(layout=None, test=False, wait=WAIT):
    """
    Make this node's names and its address in ``/etc/pve/.members`` those of a layout's primary network.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Only tell what would change.

    wait
        Seconds to wait for other nodes: only one node of the cluster restarts its pve-cluster at a time.

    The names come first (``pve_node.names``). If ``.members`` shows another address of this node, its
    pve-cluster is restarted and read back, and the services that keep addresses are refreshed. Without quorum
    nothing is touched.

    The services are refreshed too if an earlier run did not come to it.

    Returns ``{"changes": {"hosts": diff, "members": {"old", "new"}, "services": {"old", "new"}}, "notes":
    [text], "failed": text}``; ``failed`` says what went wrong after something was changed. Raises
    CommandExecutionError with what is in the way if nothing was.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_node.hold_primary test=true
    """
    shell.check("pve_node.hold_primary", locals())
    request = _request(layout)
    addresses = request.layout["primary"]["addresses"]
    told = __salt__["pve_node.names"](addresses, test=True)
    wanted = told["own"]["address"]
    seen = __salt__["pve_node.members"]()["nodes"].get(request.own)
    changes = {"hosts": told["diff"]} if told["changed"] else {}
    if seen != wanted:
        changes["members"] = {"old": seen, "new": wanted}
    due = __salt__["pve_node.services_due"]()
    if due and "members" not in changes:  # a restart has them refreshed anyway
        changes["services"] = {"old": due, "new": REFRESHED}
    answer = {"changes": changes, "notes": list(told["notes"]), "failed": ""}
    if not changes or test:
        return answer
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"{why}, so the names stay as they are; first: {request.on_master()}")
    done = {}
    try:
        if set(changes) - {"services"}:
            _move(request, addresses, changes, done, wait)
        __salt__["corosync.refresh_services"](always="members" in changes)
        done.update(changes)
    except CommandExecutionError as exc:
        if not done:
            raise
        answer["failed"] = str(exc)
        __context__["retcode"] = 1
    return answer | {"changes": done}


def hold_trust(layout=None, test=False):
    """
    Make this node's certificate cover its name and address, and its host key be known to the other nodes.

    layout
        A layout of the pillar, for the address that ``test`` expects; default the one that the pillar wants.

    test
        Only tell what would change, with the address that ``pve_node.hold_primary`` would give to this node.

    ``pvecm updatecerts`` writes both, and only if something is missing. With a new certificate the services
    are reloaded; a run that is cut off before that leaves a note, and the next one does it.

    Returns ``{"changes": {"problems": {"old": [text], "new": []}, "fingerprint": {"old", "new"}, "services":
    {"old", "new"}}, "failed": text}``. Raises CommandExecutionError if nothing was changed.

    CLI Example:

    .. code-block:: bash

        salt pve1 pve_node.hold_trust test=true
    """
    shell.check("pve_node.hold_trust", locals())
    wanted = _request(layout) if test and __pillar__.get("corosync") else None
    facts = __salt__["pve_certs.facts"](wanted.layout["primary"]["addresses"][wanted.own] if wanted else None)
    wrong = _own_problems(facts)
    mark = files.under(_root(), DUE)
    due = os.path.exists(mark)
    changes = {"problems": {"old": wrong, "new": []}} if wrong else {}
    if due or any(text.startswith("certificate") for text in wrong):
        changes["services"] = {"old": "the certificate of before", "new": REFRESHED}
    if test or not changes:
        return {"changes": changes, "failed": ""}
    done, failed = {}, ""
    try:
        if wrong:
            files.ensure_folder(os.path.dirname(mark))
            files.replace(mark, b"pveproxy is to be reloaded\n")
            told = __salt__["pve_certs.update"]()
            done["problems"] = changes["problems"]
            if told["changed"]:
                done["fingerprint"] = {"old": told["before"], "new": told["after"]}
            due = due or told["changed"]
        if due:
            __salt__["corosync.refresh_services"](always=True)
            done["services"] = {"old": "the certificate of before", "new": REFRESHED}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark)
    except CommandExecutionError as exc:
        if not done:
            raise
        failed = str(exc)
        __context__["retcode"] = 1
    return {"changes": done, "failed": failed}


def _own_problems(facts):
    """
    Return what this node itself can put right; another node's host key file is that node's part.
    """
    own = facts["known_hosts"].get(facts["node"]) or {}
    problems = [text for text in facts["problems"] if text.startswith("certificate")]
    return problems + ([own["why"]] if own and not own["ok"] else [])


def _move(request, addresses, changes, done, wait):
    """
    Move names and address under the lock of the cluster; ``done`` gets what was changed, as it is done.
    """
    run = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    holder = {"node": request.own, "what": "primary network", "run": run}
    try:
        with locks.Lock(holder, wait, _root()):
            if "hosts" in changes:
                __salt__["pve_node.names"](addresses)
                done["hosts"] = changes["hosts"]
            if "members" in changes:
                __salt__["pve_node.restart_pve_cluster"](changes["members"]["new"])
                done["members"] = changes["members"]
    except (locks.Held, locks.LockError) as exc:
        raise CommandExecutionError(f"{exc}; nothing was changed") from exc


def _root():
    return shell.root(__opts__)


def _request(layout):
    pillar = layouts.plain(__pillar__.get("corosync"))
    try:
        return alone.Request(pillar, __opts__.get("id"), __salt__["corosync.node_name"](), layout)
    except (arguments.RunError, layouts.LayoutError) as exc:
        raise CommandExecutionError(str(exc)) from exc
