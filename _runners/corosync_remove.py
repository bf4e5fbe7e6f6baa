"""
Take a node out of its cluster for good.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

from pve_corosync.ports import master, salt_master
from pve_corosync.run import remove as remove_run

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def remove(node=None, test=False, force=None, cluster=None, progress=True, brief=False, **kwargs):
    """
    Take a node that is off out of the cluster, and read back on every other node that it is gone.

    node
        The node's name in the pillar, or in corosync where the pillar does not have it any more.

    test
        Only tell what would be done.

    force
        Codes to go on in spite of: ``remove-guests``, ``remove-replication``, ``remove-qdevice``.

    cluster, progress, brief
        As for ``corosync.apply``.

    Refused while the node runs corosync, has guests, or is the target of replication jobs, and without quorum
    (``pvecm delnode`` needs it). Its folder below ``/etc/pve/nodes`` stays; keys of it that still let in are
    named with the command that takes them out. Then take it out of the pillar.

    Exit code 0 if the node is out, 1 if not, 2 if an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.remove pve3
        salt-run state.orchestrate orch.remove pillar='{"node": "pve3"}'
    """
    return salt_master.guarded(
        "remove",
        kwargs,
        ("node", "test", "force", "cluster", "progress", "brief"),
        brief,
        lambda: _remove(node, test, force, cluster, progress),
        __context__,
        locals(),
    )


def _remove(node, test, force, cluster, progress):
    site, request = master.request(salt_master.of(globals()), None, "live", None, force, cluster)
    with site.lock():
        ports = master.Ports(site, bool(progress))
        return remove_run.Remove(request, ports, site.settings, node).carry_out(bool(test))
