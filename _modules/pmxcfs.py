"""
The cluster file system of Proxmox VE on this node: is it mounted, may it be written, the cluster file,
``.members``.

Every access to ``/etc/pve`` runs in a child process with a deadline, because a call into pmxcfs can hang for
good while a resync is incomplete; a hung child is left behind and reported.

:depends: pmxcfs (pve-cluster)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module
    below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import logging
import re
import time

import salt.utils.path
from pve_corosync import conf as corosync_conf
from pve_corosync.node import etc_pve, etc_pve_client, etc_pve_lock, pvecm_lock, runs
from pve_corosync.node import files as node_files
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, pve
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "pmxcfs"

#: seconds for a read: it is answered from memory, without the network; once, after a restart of pve-cluster
#: on a busy machine, there was no answer within 3 s.
READ_TIMEOUT = 8.0
#: seconds for a write: both locks (10 s each), then rename, which waits 1 s and for the reload of the
#: partition.
WRITE_TIMEOUT = 60.0
#: how long before the end of a write its child stops to begin again: a rename and the reload take 1 to 2 s.
WRITE_MARGIN = 2.0


def __virtual__():
    if salt.utils.path.which("pmxcfs"):
        return __virtualname__
    return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")


def state(timeout=etc_pve_client.LOOK_TIMEOUT):
    """
    Tell whether ``/etc/pve`` is mounted and whether this node's partition may write to it.

    timeout
        Seconds to wait for its answer, at most 60.

    Returns ``{"mounted": bool, "writable": bool, "said": text, "hung": bool}``; ``hung`` means that it did
    not answer within the time, ``said`` is an error that came in place of an answer. The write test is PVE's
    own: the owner write bit of the link ``/etc/pve/local`` (PVE/Cluster.pm). It follows quorum alone;
    :func:`wait_writable` proves it by a write.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.state
    """
    shell.check("pmxcfs.state", locals())
    return etc_pve_client.look(_path(etc_pve.BASE), min(shell.seconds(timeout, "timeout"), 60.0))


def why_not():
    """
    Return why ``/etc/pve`` cannot be written, "" if it can be: for a function that is about to do something.

    It waits 8 s for an answer, where :func:`state` waits 3 s: after a restart of pve-cluster it may be slow.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.why_not
    """
    return pve.why_not(state(READ_TIMEOUT))


def files(*names):
    """
    Read files of ``/etc/pve`` and return ``{name: text|None}``, one character per byte (latin-1).

    names
        Paths relative to ``/etc/pve``, e.g. ``corosync.conf`` or ``ha/resources.cfg``. Those with key
        material (``priv/``, ``*.key``) are refused.

    Raises CommandExecutionError if ``/etc/pve`` is not mounted, hangs, or a file cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.files corosync.conf datacenter.cfg
    """
    shell.check("pmxcfs.files", locals())
    for name in names:
        if not _may_be_read(name):
            raise SaltInvocationError(
                f"{name!r}: a path relative to /etc/pve is needed, not below priv/, no key"
            )
    return _read(list(names), READ_TIMEOUT)


def _read(names, timeout):
    answer = _request({"do": "read", "names": names}, timeout)
    if not answer["mounted"]:
        raise CommandExecutionError(pve.why_not(answer))
    if answer["errors"]:
        raise CommandExecutionError(
            "; ".join(f"/etc/pve/{n}: {text}" for n, text in answer["errors"].items())
        )
    return answer["files"]


def conf():
    """
    Return the cluster file, ``/etc/pve/corosync.conf``, as ``{"version", "sha256", "text"}``; None if there
    is none.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.conf
    """
    text = files(etc_pve.CONF)[etc_pve.CONF]
    return None if text is None else _described(text)


def members():
    """
    Return ``/etc/pve/.members``: this pmxcfs's view of the nodes, with the address PVE's own ssh goes to.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.members
    """
    text = files(".members")[".members"]
    if text is None:
        raise CommandExecutionError("/etc/pve/.members does not exist: is pmxcfs mounted?")
    try:
        return pve.pmxcfs_members(text)
    except corosync.OutputError as exc:
        raise CommandExecutionError(str(exc)) from None


def wait_writable(timeout=10.0):
    """
    Wait until ``/etc/pve`` is mounted and takes a write, and return the seconds that it took.

    timeout
        Seconds, at most 600.

    A folder of its own below ``priv/lock`` is made and removed: the mode bits follow quorum alone, and for
    more than 5 s after a loss of quorum every write may be answered with EBUSY.

    Raises CommandExecutionError when the time is over.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pmxcfs.wait_writable 20
    """
    shell.check("pmxcfs.wait_writable", locals())
    start = time.monotonic()
    end = start + min(shell.seconds(timeout, "timeout"), 600.0)
    while True:
        base, left = _path(etc_pve.BASE), max(etc_pve_client.LOOK_TIMEOUT, end - time.monotonic())
        why = pve.why_not(etc_pve_client.look(base)) or etc_pve_client.why_no_write(base, left)
        if not why:
            return time.monotonic() - start
        if time.monotonic() >= end:
            raise CommandExecutionError(why)
        time.sleep(0.1)


def write_conf(conf, wait=0.0, timeout=None, known=()):  # pylint: disable=redefined-outer-name
    """
    Replace ``/etc/pve/corosync.conf`` the way PVE does, and return what was seen.

    conf
        The whole file, one character per byte (latin-1). It must pass ``corosync -t``, which is the caller's
        part (``corosync.check``), and its version must be above that of the present cluster file.

    wait
        Seconds to wait for ``/etc/pve`` to become writable first.

    timeout
        Seconds from the call until the write has to be done, the waiting and both locks in it; default 60 for
        the write itself. It may still happen when they are over, which the error says.

    known
        Digests (SHA-256) of which the present file must have one, if there are any; another one means that
        somebody edited it, and it stays.

    Both locks of PVE are held (``/var/lock/pvecm.lock``, then the cluster-wide ``file-corosync_conf``), the
    old bytes go to ``corosync.conf.bak`` and to a backup on local disk, the new ones are read back before and
    after the rename. pmxcfs then writes every node's local file and, 1 s later, reloads the partition once,
    unless the local file has the same bytes already. EBUSY is waited out: pmxcfs has then left its group, and
    joins it again within seconds. The result of that reload is not in the answer: read it
    back.

    Returns ``{"changed": bool, "version": int, "sha256": text, "backup": path|None, "seconds": {…}, "notes":
    [text]}``. Equal bytes are not written again. Raises CommandExecutionError, with the old file in place, if
    anything is in the way.

    CLI Example:

    .. code-block:: bash

        salt-call pmxcfs.write_conf "$(cat /root/corosync.conf.new)"
    """
    shell.check("pmxcfs.write_conf", locals())
    patience = READ_TIMEOUT if timeout is None else max(READ_TIMEOUT, shell.seconds(timeout, "timeout"))
    data, wait = _bytes(conf), shell.seconds(wait, "wait")
    timeout = wait + WRITE_TIMEOUT if timeout is None else shell.seconds(timeout, "timeout")
    end = time.monotonic() + timeout
    told = _described(conf)
    if told["version"] is None:
        raise CommandExecutionError(
            "the new cluster file has no totem.config_version: every edit needs a higher one"
        )
    now = _read([etc_pve.CONF], patience)[etc_pve.CONF]
    answer = {
        "changed": False,
        "version": told["version"],
        "sha256": told["sha256"],
        "backup": None,
        "seconds": {},
        "notes": [],
    }
    if now == conf:
        return answer
    _refuse_edited(now, known)
    _refuse_older(now, told["version"])
    if wait:
        wait_writable(wait)
    if now is not None:
        answer["backup"] = _backup(now)
    left = max(1.0, end - time.monotonic())
    done = _request(
        {
            "do": "replace",
            "name": etc_pve.CONF,
            "lock": etc_pve_lock.CONF_LOCK,
            "data": etc_pve_client.coded(data),
            "expected": None if now is None else etc_pve_client.coded(_bytes(now)),
            "notes": _path(etc_pve_lock.NOTES),
            "lock_file": _path(pvecm_lock.PATH),
            # so that a lock that is held is named before the whole write is late
            "lock_wait": min(10.0, left / 3),
            "timeout": max(0.1, left - WRITE_MARGIN),
        },
        left,
    )
    log.info("cluster file replaced: version %s, sha256 %s", told["version"], told["sha256"])
    answer.update(changed=done["changed"], seconds=done["seconds"], notes=done["notes"])
    return answer


def _path(path):
    return shell.path(__opts__, path)


def _may_be_read(name):
    parts = str(name).split("/")
    return (
        bool(re.fullmatch(r"[A-Za-z0-9._/-]+", str(name)))
        and not {"", ".", "..", "priv"} & set(parts)
        and not parts[-1].endswith(".key")
    )


def _bytes(text):
    return shell.checked(runs.checked_conf, text)


def _described(text):
    return {"version": runs.version_of(text), "sha256": node_files.sha256(_bytes(text)), "text": text}


def _refuse_edited(now, known):
    """
    Refuse to overwrite what somebody else has written since the plan was made.
    """
    try:
        runs.refuse_edited("/etc/pve/corosync.conf", None if now is None else _bytes(now), set(known))
    except runs.Edited as exc:
        error = CommandExecutionError(str(exc))
        error.code = "file-edited"
        raise error from None


def _refuse_older(now, version):
    """
    pmxcfs ignores an older version (dcdb.c), and takes an equal one with other bytes for a newer one.
    """
    if now is None:
        return
    present = max(runs.version_of(now) or 0, corosync_conf.pmxcfs_version(_bytes(now)) or 0)
    if version <= present:
        raise CommandExecutionError(
            f"/etc/pve/corosync.conf has version {present} already, and other bytes than the new file with"
            f" version {version}: plan again with a version above every copy"
        )


def _backup(text):
    folder = _path(f"{node_files.STATE_DIR}/backups")
    try:
        return node_files.keep_backup(folder, "corosync.conf.cluster", _bytes(text))
    except OSError as exc:
        raise CommandExecutionError(
            f"{folder}: no backup of the cluster file could be kept, so it stays: {exc}"
        ) from exc


def _request(request, timeout):
    """
    Have a child process answer a request; see node.etc_pve.
    """
    try:
        return etc_pve_client.ask(request, _path(etc_pve.BASE), timeout)
    except etc_pve_client.NoAnswer as exc:
        text = str(exc)
        if exc.late and request["do"] == "replace":
            text += "; the write may still happen: read the cluster file before the next step"
        raise CommandExecutionError(text) from None
