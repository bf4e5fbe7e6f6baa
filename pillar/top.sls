base:
  'pve*':
    - corosync
