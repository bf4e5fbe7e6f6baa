# Corosync's UDP ports and ssh: open between the nodes on every network of the pillar, closed to everyone else; through
# cluster.fw where PVE's firewall is on, else by a table of nftables of our own.
# Optional in the pillar: corosync:firewall: {management: [CIDR, …], ssh: peers|open}. `management` is from where ssh
# stays possible besides the nodes, [] for them alone; without it, ssh from others is left as it is.
# A table that was changed goes back by itself if the master does not answer after it; with the pillar
# `corosync_confirm: 120`, unless somebody says  salt 'pve*' pve_firewall.confirm  within that many seconds.
corosync-firewall:
  pve_firewall.managed: []
