# The cluster, and the layout of its links that highstate holds and that orch.nominal returns to.
include:
  - corosync.nodes
  - corosync.nominal
  - corosync.degraded
  - corosync.firewall

corosync:
  cluster_name: prod
  layout: nominal
