"""
Bring a reinstalled node back into its cluster.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

from pve_corosync.ports import master, salt_master
from pve_corosync.run import rebuild as rebuild_run
from pve_corosync.run.request import Request

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def rebuild(node=None, test=False, cluster=None, progress=True, brief=False, **kwargs):
    """
    Let a freshly installed node join its cluster again, over the links that are in force.

    node
        The node's name in the pillar. It must be empty: no corosync.conf, no key, no guests.

    test
        Only tell what would be done.

    cluster, progress, brief
        As for ``corosync.apply``.

    The names are set on the node; its old entry is overwritten by ``pvecm add``, or taken out before where
    PVE refuses that (``pvecm delnode``; where the others are not quorate without the node, by their local
    files); the node's ssh key is made known by way of Salt; the node joins with the id and the votes that it
    had; then its certificate and host key are looked at, and the whole exit checklist. Configurations of
    guests are compared before and after. A rebuild that was cut off anywhere is gone on with by the same
    command.

    Exit code 0 if the node is back and the checklist is true (replication jobs to it, which send everything
    anew, are left to their schedule with a warning), 1 if not, 2 if an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.rebuild pve2
        salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'
    """
    return salt_master.guarded(
        "rebuild",
        kwargs,
        ("node", "test", "cluster", "progress", "brief"),
        brief,
        lambda: _rebuild(node, test, cluster, progress),
        __context__,
        locals(),
    )


def _rebuild(node, test, cluster, progress):
    site = master.Site(salt_master.of(globals()), cluster, None)
    request = Request(site.pillar, cluster=cluster)
    with site.lock(gives_way=bool(__context__.get(master.ASKED))):
        ports = master.Ports(site, bool(progress))
        return rebuild_run.Rebuild(request, ports, site.settings, node).carry_out(bool(test))
