"""
SSH keys of a node that outlive its disk: what still lets the old installation in, and how it goes.

Part of the execution module ``pvecm`` (Salt joins the files of one virtual name). PVE merges root's key of
every node into ``/etc/pve/priv/authorized_keys``, and never takes one out: neither ``pvecm delnode`` nor
``pvecm add`` of the reinstalled node does.

:depends: pvecm (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.2.0
"""

import glob

import salt.utils.path
from pve_corosync.node import etc_pve, etc_pve_client, etc_pve_lock, files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import known_hosts, pve
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pvecm"

AUTHORIZED, KNOWN = "priv/authorized_keys", "priv/known_hosts"
#: folders of this node's own public keys: root's, and those of its sshd.
OWN_KEYS, HOST_KEYS = "/root/.ssh/*.pub", "/etc/ssh/ssh_host_*_key.pub"
#: PVE itself takes no lock for these files; this one keeps two calls of ours apart.
LOCK = "pve-corosync-keys"
READ_TIMEOUT, WRITE_TIMEOUT = 5.0, 20.0


def __virtual__():
    if salt.utils.path.which("pvecm"):
        return __virtualname__
    return (False, "pvecm is not installed: this is not a Proxmox VE node (package pve-cluster)")


def old_keys(names, keys, host_keys):
    """
    Return the keys in the cluster's files that a node had before it was reinstalled.

    names
        The node's name, and its addresses.

    keys, host_keys
        Fingerprints (``SHA256:…``) of the keys that root has there now, and that its sshd has.

    Returns ``{"authorized_keys": [row], "known_hosts": [row]}``, a row is ``{"fingerprint", "type",
    "name"}``: of root's keys those with the comment ``root@NODE``, of hosts' keys those under any of the
    names.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvecm.old_keys '[pve2, 10.66.0.2]' keys='["SHA256:…"]' host_keys='["SHA256:…"]'
    """
    shell.check("pvecm.old_keys", locals())
    for what, value in (("names", names), ("keys", keys), ("host_keys", host_keys)):
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
            raise SaltInvocationError(f"{what}={value!r}: a list of texts is needed")
    if not names:
        raise SaltInvocationError("names=[]: the name of a node is needed")
    texts = _texts()
    return {
        "authorized_keys": known_hosts.of_root(texts[AUTHORIZED] or "", names[0], keys),
        "known_hosts": known_hosts.of_host(texts[KNOWN] or "", names, host_keys),
    }


def drop_key(fingerprint):
    """
    Take one ssh key out of ``/etc/pve/priv/authorized_keys`` and ``known_hosts``, and return where it was.

    fingerprint
        ``SHA256:…``, as ``ssh-keygen -lf FILE`` and the finding ``rebuild-old-key`` print it. A key that this
        node itself has now is refused.

    Returns ``{"dropped": [path]}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvecm.drop_key SHA256:7ZnRkE2B0iNbhZ0Jd0ZzP1lqEq2mV8v8kqk4xJ1hT9E
    """
    shell.check("pvecm.drop_key", locals())
    if fingerprint in own_keys(OWN_KEYS) + own_keys(HOST_KEYS):
        raise CommandExecutionError(f"this node has that key now: {fingerprint} stays")
    dropped = []
    for name, text in _texts().items():
        left = known_hosts.without(text or "", fingerprint)
        if text and left != text:
            _replace(name, text, left)
            dropped.append(f"{etc_pve.BASE}/{name}")
    return {"dropped": dropped}


def own_keys(pattern):
    """
    Return the fingerprints of the public keys in files of this node.

    pattern
        The files, e.g. ``/root/.ssh/*.pub``; what is no public key is left out.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.own_keys '/root/.ssh/*.pub'
    """
    shell.check("pvecm.own_keys", locals())
    read = (files.read(path) or b"" for path in glob.glob(shell.path(__opts__, pattern)))
    keys = (known_hosts.public_key(data.decode("latin-1")) for data in read)
    return sorted({key["fingerprint"] for key in keys if key})


def _texts():
    """
    Return ``{name below /etc/pve: text, None if there is no such file}``.
    """
    answer = _asked({"do": "read", "names": [AUTHORIZED, KNOWN]}, READ_TIMEOUT)
    for name, text in answer["errors"].items():
        raise CommandExecutionError(f"{etc_pve.BASE}/{name}: {text}")
    if not answer["mounted"]:
        raise CommandExecutionError(pve.why_not(answer))
    return answer["files"]


def _replace(name, old, new):
    request = {
        "do": "replace",
        "name": name,
        "data": etc_pve_client.coded(new.encode("latin-1")),
        "expected": etc_pve_client.coded(old.encode("latin-1")),
        "lock": LOCK,
        "notes": shell.path(__opts__, etc_pve_lock.NOTES),
        "timeout": WRITE_TIMEOUT - 2,
    }
    _asked(request, WRITE_TIMEOUT)


def _asked(request, timeout):
    try:
        return etc_pve_client.ask(request, shell.path(__opts__, etc_pve.BASE), timeout)
    except etc_pve_client.NoAnswer as exc:
        raise CommandExecutionError(str(exc)) from None
