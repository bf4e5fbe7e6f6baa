"""
What this node can prove of its cluster by itself, for a highstate that finds nothing to do.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.2.0
"""

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.cluster import memory
from pve_corosync.node import proofs
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import alone
from pve_corosync.run import proof as proof_of
from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def prove(layout=None):
    """
    Tell what this node cannot prove by itself of a layout, from facts that are gathered now; nobody is asked.

    layout
        A layout of the pillar; default the one that the pillar wants.

    What was proved is remembered, so that ``corosync.proved`` has less to do. Returns what that returns.

    CLI Example:

    .. code-block:: bash

        salt-call corosync.prove
    """
    shell.check("corosync.prove", locals())
    facts, noted = __salt__["corosync.facts"](), proofs.look(shell.root(__opts__))
    version = (facts["runtime"] or {}).get("version")
    told = {"unproved": [], "version": version, "note": memory.note(facts)}
    try:
        pillar = layouts.plain(__pillar__.get("corosync"))
        request = alone.Request(pillar, __opts__.get("id"), facts["node"], layout)
        if request.skip:
            return told | {"unproved": [f"the pillar skips {', '.join(request.skip)}"]}
        told["unproved"] = proof_of.proof(facts, request.layout, request.own, noted)
    except (arguments.RunError, layouts.LayoutError) as exc:
        return told | {"unproved": [str(exc)]}
    if not told["unproved"] and not __opts__.get("test"):
        mark = memory.mark(facts, pillar, __opts__.get("id"), layout, noted)
        proofs.keep_proved(shell.root(__opts__), mark)
    return told


def keep_proof(note):
    """
    Remember a look at all nodes that found nothing to do, for ``corosync.proved``.

    note
        The one that ``corosync.proved`` returned before that look.

    CLI Example:

    .. code-block:: bash

        salt-call corosync.keep_proof "$(salt-call --out=json corosync.proved | jq .local.note)"
    """
    shell.check("corosync.keep_proof", locals())
    if not isinstance(note, dict):
        raise CommandExecutionError(f"note={note!r}: a mapping is needed; nothing was kept")
    proofs.keep_look(shell.root(__opts__), note)
