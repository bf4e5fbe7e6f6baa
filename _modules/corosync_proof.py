"""
What this node can prove of its cluster by itself, for a highstate that finds nothing to do.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.2.0
"""

import logging
import os

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.node import files
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import alone
from pve_corosync.run import proof as proof_of
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

NOTE = f"{files.STATE_DIR}/proof.json"


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def proved(layout=None):
    """
    Tell whether this node can prove by itself that a layout is in force and nothing is to be done; nobody is
    asked.

    layout
        A layout of the pillar; default the one that the pillar wants.

    Returns ``{"unproved": [text], "version", "note"}``; the note is for ``corosync.keep_proof``. A pillar
    that is wrong is not proved, and left to ``corosync.apply`` to tell.

    CLI Example:

    .. code-block:: bash

        salt-call corosync.proved
    """
    shell.check("corosync.proved", locals())
    facts = __salt__["corosync.facts"]()
    version = (facts["runtime"] or {}).get("version")
    told = {"unproved": [], "version": version, "note": proof_of.note(facts)}
    try:
        pillar = layouts.plain(__pillar__.get("corosync"))
        request = alone.Request(pillar, __opts__.get("id"), facts["node"], layout)
        if request.skip:
            return told | {"unproved": [f"the pillar skips {', '.join(request.skip)}"]}
        return told | {
            "unproved": proof_of.proof(facts, request.layout, request.own, files.read_json(_note()))
        }
    except (arguments.RunError, layouts.LayoutError) as exc:
        return told | {"unproved": [str(exc)]}


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
    try:
        files.ensure_folder(os.path.dirname(_note()))
        files.write_json(_note(), note)
    except OSError as exc:  # the next highstate asks the other nodes again
        log.warning("%s: %s", _note(), exc)


def _note():
    return files.under((__opts__.get("pve_corosync") or {}).get("root"), NOTE)
