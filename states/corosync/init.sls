# Everything that a node needs, in this order: packages and key, the firewall, the links of the layout, and only then
# the names that replication and migration follow.
include:
  - corosync.packages
  - corosync.key
  - corosync.firewall
  - corosync.links
  - corosync.names
