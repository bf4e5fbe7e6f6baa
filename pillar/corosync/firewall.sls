# From where ssh to the nodes stays possible, besides the nodes themselves: here the machine of the Salt master. Without
# `management`, ssh is left as it is; [] is for the nodes only.
corosync:
  firewall:
    management: [198.51.100.10]
