# The private network is gone on some node: names and replication go over the public one. The private one stays listed,
# and carries the cluster's own traffic again as soon as it is back, as the higher priority wins. Where the public network
# flaps, `token: 10000` beside `links` waits longer before a node counts as gone, in this layout alone.
corosync:
  layouts:
    degraded:
      links:
        0: {network: public}
        1: {network: vrack, priority: 10}
      primary: public
