"""A node as a new installation leaves it, and what the checklist says of its cluster."""

import json

from lab.network import PUBLIC, address

REINSTALL = """
systemctl stop pve-ha-lrm pve-ha-crm pvestatd pvedaemon pveproxy pve-firewall corosync pve-cluster
rm -rf /etc/corosync/corosync.conf /etc/corosync/authkey /var/lib/pve-cluster/* /root/.ssh
rm -rf /var/lib/pve-corosync
rm -rf /run/pve-corosync /etc/ssh/ssh_host_rsa_key*
ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/ssh_host_rsa_key
sed -i '/ pve[0-9]/d' /etc/hosts
echo "$1 $2.lab $2" >>/etc/hosts
systemctl restart ssh
systemctl start pve-cluster pvestatd pvedaemon pveproxy pve-ha-lrm pve-ha-crm pve-firewall
"""
GUESTS = ["sh", "-c", "sha256sum /etc/pve/nodes/*/qemu-server/*.conf"]


def reinstall(lab, node):
    """Leave what a new installation has: the node's name on its public address, other keys, no cluster."""
    lab.exec(node, ["sh", "-s", address(node, PUBLIC), node], stdin=REINSTALL, check=True)


def unlike(lab, *known):
    """Return the items of the exit checklist that are not true, but for those that are known."""
    report = json.loads(lab.salt_run("--out=json", "corosync.verify").stdout)
    return {
        item["item"]: item["seen"]
        for item in report["checklist"]
        if not item["ok"] and item["item"] not in known
    }
