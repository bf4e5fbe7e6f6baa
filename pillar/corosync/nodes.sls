# The nodes, by name, and the address of each in every network.
corosync:
  nodes:
    pve1: {nodeid: 1, addresses: {vrack: 10.66.0.1, public: 198.51.101.10}}
    pve2: {nodeid: 2, addresses: {vrack: 10.66.0.2, public: 198.51.102.10}}
