# Everything that a node needs, in this order: packages, the firewall, the links of the layout, the key that a join
# brings, and only then the names that replication and migration follow.
include:
  - corosync.packages
  - corosync.firewall
  - corosync.links
  - corosync.key
  - corosync.names
