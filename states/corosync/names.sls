# Names, PVE's own address and keys follow the primary network, once the links are there.
include:
  - corosync.links

names of the cluster:
  pve_node.primary:
    - require:
      - corosync: links of the cluster

certificate and host key:
  pve_node.trusted:
    - require:
      - pve_node: names of the cluster
