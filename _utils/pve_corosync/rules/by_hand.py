"""What is to be changed in corosync.conf by hand, and where that is possible as the cluster is now."""

from __future__ import annotations


def change(context, what: str, text=None) -> str:
    """Return the remedy that changes corosync.conf: in ``/etc/pve``, or where that is read-only in each local
    file, which corosync reads.

    :param context: a ``cluster.cluster.Cluster``. :param what: the change, as ``drop totem.token``.
    :param text: the copy that is meant, default the base; another one is replaced anyway.
    """
    if text is not None and context.base and text is not context.base:
        return "nothing, the plan replaces it"
    version = f"with config_version {context.highest + 1}"
    if any(node.writable for node in context.members.values()):
        return f"{what} in /etc/pve/corosync.conf, {version}"
    return (
        f"{what} in /etc/corosync/corosync.conf of every node, {version}, then corosync-cfgtool -R on each "
        "(without quorum /etc/pve is read-only)"
    )
