# On a Proxmox VE node all of them are there; nothing is installed or refreshed then.
corosync packages:
  pkg.installed:
    - pkgs: [corosync, iproute2, openssh-client]
    - refresh: False
