# All is well: the private network carries the cluster, its names and its replication.
corosync:
  layouts:
    nominal:
      links:
        0: {network: vrack}
      primary: vrack
