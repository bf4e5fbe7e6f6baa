# What every node of the cluster gets; `salt 'pve*' state.apply` runs it.
base:
  'pve*':
    - corosync
