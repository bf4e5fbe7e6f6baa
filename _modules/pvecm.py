"""
``pvecm``, the cluster tool of Proxmox VE: what it says about quorum and members, and its certificates.

``pvecm expected`` is left out on purpose. It is refused as soon as more than one vote is visible, every
reload of the configuration undoes it, and a lone node that it makes quorate becomes HA master and may start
services a second time that still run elsewhere. A change of links restores quorum without it. ``pvecm
create`` is left out too; ``add`` and ``delnode``, which a rebuild needs, are in ``pvecm_nodes.py``.

Exit codes of ``pvecm`` are errno values of the moment (2 is both "no quorum" and "not in a cluster"), so its
texts are read, and what it did is read back.

:depends: pvecm (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import hashlib
import socket

import salt.utils.path
from pve_corosync.node import children
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, pve
from salt.exceptions import CommandExecutionError

__virtualname__ = "pvecm"

#: a perl tool waits 10 s for a pmxcfs that was stopped a moment ago (IPCC.xs, measured 10.3 s).
READ_TIMEOUT = 20.0
#: it gives up by itself after 80 s; the first run makes an RSA key of 4096 bits.
UPDATE_TIMEOUT = 95.0


def __virtual__():
    if salt.utils.path.which("pvecm"):
        return __virtualname__
    return (False, "pvecm is not installed: this is not a Proxmox VE node (package pve-cluster)")


def status():
    """
    Return what ``pvecm status`` says.

    Returns ``{"state", "cluster": {"name", "version", "transport", "secauth"}, "quorum": {…}}``. ``state`` is
    ``quorate``, ``no-quorum``, ``not-in-cluster``, ``corosync-stopped`` or ``pmxcfs-stopped``; the cluster
    part comes from the cluster file, quorum from the running daemon. Raises CommandExecutionError for
    anything else.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pvecm.status
    """
    return _parsed(pve.pvecm_status, ["pvecm", "status"])


def nodes():
    """
    Return the members of this node's partition: ``{"state", "nodes": {nodeid: {"name", "votes", "local",
    …}}}``.

    A node that cannot be seen is not in it; ``state`` is ``ok`` without quorum too.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pvecm.nodes
    """
    return _parsed(pve.pvecm_nodes, ["pvecm", "nodes"])


def updatecerts(force=False):
    """
    Run ``pvecm updatecerts`` on this node and return which of its files are there, and which changed.

    force
        Make a new node certificate, with the address that the node's name has now; pveproxy must be reloaded
        afterwards. Without it, a certificate that exists stays as it is.

    Refused without quorum, where the tool would block for 80 s. Its output is lost when it is not on a
    terminal (measured), so the files are compared before and after.

    Returns ``{"seconds": float, "present": {file: bool}, "changed": [file]}``. Raises CommandExecutionError
    if the tool fails, or a file is missing afterwards.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pvecm.updatecerts force=true
    """
    shell.check("pvecm.updatecerts", locals())
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"{why}; pvecm updatecerts would wait for it for 80 s")
    names = _files_of(socket.gethostname().split(".")[0])
    before = _digests(names)
    argv = ["pvecm", "updatecerts"] + (["--force"] if force else [])
    result = children.run(argv, timeout=UPDATE_TIMEOUT)
    if result["late"] or result["rc"]:
        raise CommandExecutionError(f"{' '.join(argv)}: {children.complaint(result)}")
    after = _digests(names)
    missing = [name for name in names if after[name] is None]
    if missing:
        raise CommandExecutionError(
            f"{' '.join(argv)} ended well, but these do not exist: {', '.join(missing)}"
        )
    return {
        "seconds": round(result["seconds"], 3),
        "present": {name: after[name] is not None for name in names},
        "changed": [name for name in names if before[name] != after[name]],
    }


def _files_of(node):
    return [f"nodes/{node}/pve-ssl.pem", f"nodes/{node}/ssh_known_hosts"]


def _digests(names):
    texts = __salt__["pmxcfs.files"](*names)
    return {
        n: None if text is None else hashlib.sha256(text.encode("latin-1")).digest()
        for n, text in texts.items()
    }


def _parsed(parse, argv):
    result = children.run(argv, timeout=READ_TIMEOUT)
    if result["late"]:
        raise CommandExecutionError(
            f"{' '.join(argv)} did not end within {READ_TIMEOUT:g} s: is pmxcfs hanging?"
        )
    try:
        return parse(children.text(result), children.text(result, "err"), result["rc"])
    except corosync.OutputError as exc:
        raise CommandExecutionError(str(exc)) from None
