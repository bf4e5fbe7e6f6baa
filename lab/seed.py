"""Everything that is written to a machine's disk before its first boot."""

import os
import shutil
import uuid
from pathlib import Path

from lab import host, pve
from lab.network import MASTER_ADDRESS, NETWORKS, VRACK, address, number
from lab.shell import run
from lab.state import MASTER

CLUSTER_NAME = "prod"
# A guest of the first node, and the job that replicates it to the second.
GUEST = (
    "/etc/pve/nodes/{node}/qemu-server/100.conf",
    "name: shop\nmemory: 512\nscsi0: local-zfs:vm-100-disk-0,size=1M\n",
)
JOB = "100-0"
SOURCE = "/srv/pve-corosync"
PILLAR = "/srv/pillar"


class Disk:
    """Write files below the overlay's upper layer of a machine that is not running."""

    def __init__(self, root):
        self.root = Path(root)

    def write(self, path, content, mode=0o644):
        """Write a file, given as text or bytes, with the folders above it."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(mode)

    def copy(self, source, path, mode):
        """Copy a file of the host."""
        self.write(path, Path(source).read_bytes(), mode)

    def unit(self, name):
        """Install and enable a unit of lab/units."""
        units = "/etc/systemd/system"
        self.copy(host.REPO / "lab/units" / f"{name}.service", f"{units}/{name}.service", 0o644)
        self.link(f"{units}/multi-user.target.wants/{name}.service", f"{units}/{name}.service")

    def link(self, path, target):
        """Make a symbolic link, in place of one that is there."""
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def hosts(nodes, network=VRACK):
    """Return /etc/hosts of every machine: the nodes' names on one network, in PVE's form."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{MASTER_ADDRESS} {MASTER}.lab.internal {MASTER} salt"]
    lines += [f"{address(node, network)} {node}.lab.internal {node}" for node in nodes]
    return "\n".join(lines) + "\n"


#: Corosync logs under a spin lock that its own log thread takes too (libqb). A lab has more Corosyncs than
#: the machine has processors: two that wait for that lock with realtime priority kept both processors from
#: everything else, for up to 17 s (perf: 99 % in pthread_spin_lock). Refused that priority, Corosync takes
#: the highest of the usual ones (corosync.conf(5), sched_rr). It would leave its unit's cgroup too, which it
#: does not on a node (move_to_root_cgroup: auto): that is refused as well.
NO_REALTIME = "[Service]\nRestrictRealtime=yes\nProtectControlGroups=yes\n"


def corosync_conf(nodes, network=VRACK, version=1):
    """Return corosync.conf with one link, as PVE's tools write it: keys sorted, two blanks, link blocks."""
    blocks = [
        f"""  node {{
    name: {node}
    nodeid: {number(node)}
    quorum_votes: 1
    ring0_addr: {address(node, network)}
  }}
"""
        for node in nodes
    ]
    return f"""logging {{
  debug: off
  to_syslog: yes
}}

nodelist {{
{"".join(blocks)}}}

quorum {{
  provider: corosync_votequorum
}}

totem {{
  cluster_name: {CLUSTER_NAME}
  config_version: {version}
  interface {{
    linknumber: 0
  }}
  ip_version: ipv4-6
  link_mode: passive
  secauth: on
  version: 2
}}

"""


def nodes_sls(nodes):
    """Return pillar/corosync/nodes.sls for these nodes; pillar/ itself has the one for two."""
    lines = ["# The nodes, by name, and the address of each in every network.", "corosync:", "  nodes:"]
    for node in nodes:
        addresses = ", ".join(f"{network}: {address(node, network)}" for network in NETWORKS)
        lines.append(f"    {node}: {{nodeid: {number(node)}, addresses: {{{addresses}}}}}")
    return "\n".join(lines) + "\n"


def pillar(record, nodes):
    """Return the folder that is the master's pillar: the repository's own for two nodes, a copy for more."""
    shipped = host.REPO / "pillar"
    if len(nodes) == 2:
        return shipped
    copy = record.folder / "pillar"
    shutil.copytree(shipped, copy, dirs_exist_ok=True)
    (copy / "corosync/nodes.sls").write_text(nodes_sls(nodes), encoding="utf-8")
    return copy


def seed(record, nodes, root=None):
    """Fill the disks of all nodes and of the master.

    root
        the folder with a real Proxmox VE's files that is below the disks of the nodes, or None
    """
    keys = _ssh_keys(record, nodes)
    authkey = os.urandom(256)
    for machine in [*nodes, MASTER]:
        disk = Disk(record.disk(machine))
        disk.write("/etc/hostname", f"{machine}\n")
        disk.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        disk.write("/etc/hosts", hosts(nodes))
        if machine == MASTER:
            _seed_master(disk)
        else:
            _seed_node(disk, machine, nodes, authkey, keys, root)


def _seed_master(disk):
    for unit in ("corosync", "ssh"):
        disk.link(f"/etc/systemd/system/{unit}.service", "/dev/null")
    disk.unit("salt-master")
    disk.write(
        "/etc/salt/master",
        f"""# The lab's master: file_roots as docs/install.md has it, with the repository as it stands.
id: {MASTER}
interface: {MASTER_ADDRESS}
auto_accept: True
file_roots:
  base: [/srv/salt, {SOURCE}/states]
# A developer's checkout holds what Python compiled.
file_ignore_glob: ['*.pyc', '*/__pycache__/*']
pillar_roots:
  base: [{PILLAR}]
worker_threads: 3
# four labs share two cores in the tests: a node that is late is not silent
pve_corosync:
  gather_timeout: 10
timeout: 5
gather_job_timeout: 4
""",
    )
    disk.write("/srv/salt/top.sls", "base:\n  'pve*':\n    - corosync\n")


def _seed_node(disk, node, nodes, authkey, keys, root):
    conf = corosync_conf(nodes)
    # The second copy of each is what lab-reset goes back to.
    for folder in ("/etc/corosync", "/usr/local/share/lab"):
        disk.write(f"{folder}/corosync.conf", conf)
        disk.write(f"{folder}/authkey", authkey, 0o400)
    disk.write("/usr/local/share/lab/hosts", hosts(nodes))
    disk.copy(host.REPO / "lab/lab-reset", "/usr/local/sbin/lab-reset", 0o755)
    disk.write(
        "/etc/systemd/system/corosync.service.d/pve.conf",
        "[Unit]\nConditionPathExists=/etc/corosync/corosync.conf\n\n[Service]\nPrivateTmp=yes\n",
    )
    disk.write("/etc/systemd/system/corosync.service.d/lab.conf", NO_REALTIME)
    disk.link(
        "/etc/systemd/system/multi-user.target.wants/corosync.service", "/lib/systemd/system/corosync.service"
    )
    disk.write("/etc/pve/.keep", "")
    (disk.root / "etc/pve/.keep").unlink()
    disk.unit("salt-minion")
    pve.seed(disk, root)
    disk.write(
        "/etc/salt/minion",
        f"""master: {MASTER_ADDRESS}
id: {node}
mine_enabled: False
enable_gpu_grains: False
enable_fqdns_grains: False
auth_timeout: 3
acceptance_wait_time: 1
random_reauth_delay: 1
master_tries: -1
return_retry_tries: 30
cache_jobs: True
scheduler_before_connect: True
""",
    )
    disk.write("/root/.ssh/authorized_keys", "".join(keys[name]["root.pub"] for name in nodes), 0o600)
    disk.write("/root/.ssh/id_rsa", keys[node]["root"], 0o600)
    disk.write("/root/.ssh/id_rsa.pub", keys[node]["root.pub"])
    (disk.root / "root").chmod(0o700)
    (disk.root / "root/.ssh").chmod(0o700)
    disk.write("/etc/ssh/ssh_host_rsa_key", keys[node]["host"], 0o600)
    disk.write("/etc/ssh/ssh_host_rsa_key.pub", keys[node]["host.pub"])
    disk.write("/etc/ssh/sshd_config.d/lab.conf", "PermitRootLogin yes\nUseDNS no\nUsePAM no\n")


def _ssh_keys(record, nodes):
    """Make host and root keys of the nodes; returns {node: {"host", "host.pub", "root", "root.pub"}}."""
    folder = record.folder / "keys"
    folder.mkdir(mode=0o700)
    keys = {}
    for node in nodes:
        keys[node] = {}
        for kind in ("host", "root"):
            path = folder / f"{node}-{kind}"
            run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", f"root@{node}", "-f", path])
            keys[node][kind] = path.read_text(encoding="ascii")
            keys[node][f"{kind}.pub"] = path.with_name(f"{path.name}.pub").read_text(encoding="ascii")
    shutil.rmtree(folder)
    return keys
