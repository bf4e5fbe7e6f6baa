"""What a node knows of its cluster (group `pve_kvstore_v1`), and the virtual files made of it (status.c)."""

import json
import os
import time

from . import log
from .corosynclib import CorosyncError
from .group import Member

GROUP, DOMAIN = "pve_kvstore_v1", "status"
# The files whose changes .version counts.
OBSERVED = """
    corosync.conf corosync.conf.new storage.cfg user.cfg domains.cfg notifications.cfg
    priv/notifications.cfg priv/shadow.cfg priv/acme/plugins.cfg priv/tfa.cfg priv/token.cfg
    datacenter.cfg vzdump.cron vzdump.conf jobs.cfg ha/crm_commands ha/manager_status ha/resources.cfg
    ha/rules.cfg ha/groups.cfg ha/fence.cfg status.cfg replication.cfg ceph.conf sdn/vnets.cfg
    sdn/zones.cfg sdn/controllers.cfg sdn/subnets.cfg sdn/ipams.cfg virtual-guest/cpu-models.conf
    firewall/cluster.fw mapping/directory.cfg mapping/pci.cfg mapping/usb.cfg
""".split()


class Status:
    """Quorum, the nodes and their addresses; `nodename` and `address` are this node's, fixed at its start."""

    def __init__(self, nodename, address):
        self.nodename, self.address = nodename, address
        self.member = None
        self.start = int(time.time())
        self.quorate = False
        self.version = 0
        self.cluster = None
        self.addresses = {}
        self.key_versions = {}
        self.changes = dict.fromkeys(OBSERVED, 1)
        self.entries = [
            {
                "uid": 1,
                "time": self.start,
                "pri": 6,
                "tag": "cluster",
                "pid": os.getpid(),
                "node": nodename,
                "user": "root",
                "msg": "starting cluster log",
            }
        ]

    def join(self):
        """Return the member that replicates this."""
        self.member = Member(GROUP, DOMAIN, self)
        return self.member

    def set_quorate(self, quorate, quiet=False):
        """Note a change of quorum."""
        if quorate != self.quorate and not quiet:
            log.notice(DOMAIN, "node has quorum" if quorate else "node lost quorum")
        self.quorate = quorate

    def file_changed(self, path):
        """Count a change of an observed file."""
        path = path.strip("/")
        if path in self.changes:
            self.changes[path] += 1

    def read_map(self, runtime):
        """Take names and ids of the nodes from corosync's runtime configuration."""
        try:
            version = runtime.get("totem.config_version")
        except CorosyncError as error:
            log.critical("confdb", f"cmap_get totem.config_version failed {error}")
            version = 0
        found = {}
        try:
            name = runtime.get("totem.cluster_name")
            for key in runtime.keys("nodelist.node."):
                _, _, position, item = key.split(".", 3)
                found.setdefault(int(position), {})[item] = runtime.get(key)
        except CorosyncError as error:
            log.critical("confdb", f"cmap_get failed {error}")
            return
        old = self.cluster["nodes"] if self.cluster else {}
        nodes = {}
        for _, node in sorted(found.items()):
            label, nodeid = node.get("name", node.get("ring0_addr")), node.get("nodeid")
            if label and nodeid:
                nodes[nodeid] = {"name": label, "online": old.get(nodeid, {}).get("online", 0)}
        self.cluster = {"name": name, "version": version, "nodes": nodes}
        self.version += 1
        log.notice(DOMAIN, f"update cluster info (cluster name  {name}, version = {version})")

    # For the group

    def members_changed(self, members):
        """Nodes are online when they are members of this group."""
        if not self.cluster:
            return
        present = {nodeid for nodeid, _ in members}
        for nodeid, node in self.cluster["nodes"].items():
            node["online"] = int(nodeid in present)
        self.version += 1

    def state(self):
        """Return the cluster log."""
        return json.dumps(self.entries).encode()

    def compare(self, _member, states):
        """Merge the logs; nobody is behind here."""
        merged = {
            (entry["node"], entry["time"], entry["uid"]): entry
            for state in states.values()
            for entry in json.loads(state)
        }
        self.entries = sorted(merged.values(), key=lambda entry: (-entry["time"], entry["node"]))[:50]
        return list(states)

    def synced(self, member):
        """Tell everybody the address that the own name had when this process started."""
        member.send({"key": "nodeip"}, self.address.encode())

    def deliver(self, _member, sender, header, payload):
        """Note a value of another node (or the own one)."""
        node = self.cluster and self.cluster["nodes"].get(sender[0])
        if node:
            self.key_versions[header["key"]] = self.key_versions.get(header["key"], 0) + 1
            if header["key"] == "nodeip" and self.addresses.get(node["name"]) != payload.decode():
                self.addresses[node["name"]] = payload.decode()
                self.version += 1
        return 0

    # The virtual files

    def members_file(self):
        """Return `.members`."""
        lines = ["{", f'"nodename": "{self.nodename}",']
        cluster = self.cluster
        if not cluster or not cluster["nodes"]:
            return "\n".join([*lines, f'"version": {self.version}', "}", ""])
        nodes = []
        for nodeid, node in cluster["nodes"].items():
            address = self.addresses.get(node["name"])
            tail = f', "ip": "{address}"' if address else ""
            nodes.append(f'  "{node["name"]}": {{ "id": {nodeid}, "online": {node["online"]}{tail}}}')
        lines += [
            f'"version": {self.version},',
            f'"cluster": {{ "name": "{cluster["name"]}", "version": {cluster["version"]}, '
            f'"nodes": {len(nodes)}, "quorate": {int(self.quorate)} }},',
            '"nodelist": {',
            ",\n".join(nodes),
            "  }",
            "}",
            "",
        ]
        return "\n".join(lines)

    def version_file(self, guests_version):
        """Return `.version`."""
        counters = {"starttime": self.start, "clinfo": self.version, "vmlist": guests_version, **self.changes}
        lines = [
            "{",
            *(f'"{key}": {value},' for key, value in counters.items()),
            '"kvstore": {',
            f'"{self.nodename}": {{',
        ]
        lines.append(",\n".join(f'"{key}": {value}' for key, value in self.key_versions.items()) + "}")
        return "\n".join([*lines, "}", "}", ""])

    @staticmethod
    def guests_file(version, guests):
        """Return `.vmlist`."""
        if not guests:
            return f'{{\n"version": {version}\n\n}}\n'
        rows = ",\n".join(
            f'"{number}": {{ "node": "{node}", "type": "{kind}", "version": {version} }}'
            for number, (node, kind) in sorted(guests.items())
        )
        return f'{{\n"version": {version},\n"ids": {{\n{rows}}}\n\n}}\n'

    def log_file(self):
        """Return `.clusterlog`."""
        rows = ",\n".join(json.dumps(entry) for entry in self.entries[:50])
        return '{\n"data": [\n' + rows + "\n]\n}\n"
