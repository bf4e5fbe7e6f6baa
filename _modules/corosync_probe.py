"""
Test the port of a link of this cluster from this node, by the node's own name.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import socket

from salt.exceptions import SaltInvocationError

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def probe_link(txn, addresses, port, seconds=2.0):
    """
    Exchange packets with all other nodes on the port of a link that is to be added.

    txn
        The same text on all nodes of this run.

    addresses
        ``{node name: address}`` of all nodes on the link's network.

    port, seconds
        As for ``pve_probe.exchange``, which this calls with the node's own address and its peers'.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.probe_link t1 '{pve1: 198.51.100.10, pve2: 203.0.113.20}' 5406
    """
    node = socket.gethostname().split(".")[0]
    if node not in addresses:
        raise SaltInvocationError(f"addresses has no entry for this node, {node}; it has {', '.join(sorted(addresses))}")
    peers = {name: address for name, address in addresses.items() if name != node}
    return __salt__["pve_probe.exchange"](txn, addresses[node], peers, port, seconds)
