"""Nodes for the contract suites: real corosync daemons in namespaces of this machine.

A node is a process that holds its own mount, network, host name and process namespaces, and takes
everything in them with it when it ends. Its /etc, /root, /run, /usr, /var/lib and /var/log are layers in
memory over this machine's, so that nothing of the machine is written; between them are the files of a real
Proxmox VE, where LAB_PVE names the folder that they are in. Its /dev is its own, with a /dev/log that takes
what is said. There are two networks, vRack (10.66.0.0/24, link 0) and public (198.51.100.0/24): bridges in
a network namespace of their own, without a way out.
"""

import os
import platform
import re
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
STANDINS = REPO / "lab/standins"
PROGRAMS = {
    "pmxcfs": "LAB_PMXCFS",
    "pvecm": "LAB_PVECM",
    "pvesr": "LAB_PVESR",
    "ha-manager": "LAB_HA_MANAGER",
}
NETWORKS = {"vrack": ("10.66.0", 24), "public": ("198.51.100", 24)}
WAIT_SECONDS = 30
# A namespace has no systemd: this stands for it where a program starts or stops one of the two daemons.
SYSTEMCTL = r"""#!/bin/sh
verb=$1; shift
names=
# pve-cluster is ordered before corosync.
case " $* " in *" pve-cluster "*) names=pmxcfs ;; esac
case " $* " in *" corosync "*) names="$names corosync" ;; esac
for name in $names; do
    case $verb in
        is-active) pgrep -x $name >/dev/null; exit ;;
        stop | restart)
            pkill -x $name
            for _ in $(seq 200); do pgrep -x $name >/dev/null || break; sleep 0.1; done ;;
    esac
    case $verb in start | restart) pgrep -x $name >/dev/null || $name >/dev/null 2>&1 || exit 1 ;; esac
done
"""
HOLDER = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
for folder in /etc /root /var/lib /var/log /usr; do
    mkdir -p /mnt$folder/upper /mnt$folder/work
    lower=$folder
    if [ -n "$2" ] && [ -d "$2$folder" ]; then lower=$2$folder:$folder; fi
    mount -t overlay overlay -o lowerdir=$lower,upperdir=/mnt$folder/upper,workdir=/mnt$folder/work $folder
done
mkdir /mnt/dev
mount -t tmpfs -o mode=755 tmpfs /mnt/dev
for name in null zero full random urandom tty fuse; do
    if [ -e /dev/$name ]; then
        touch /mnt/dev/$name
        mount --bind /dev/$name /mnt/dev/$name
    fi
done
mkdir /mnt/dev/shm /mnt/dev/pts
mount -t tmpfs tmpfs /mnt/dev/shm
mount --bind /dev/pts /mnt/dev/pts
ln -s pts/ptmx /mnt/dev/ptmx
ln -s /proc/self/fd /mnt/dev/fd
mount --move /mnt/dev /dev
mkdir -p /run/lock /run/sshd
hostname "$1"
ip link set lo up
echo ready
# As the first process of the node the shell takes in what daemons leave behind.
while :; do sleep 3600; done
"""
# What Perl's Sys::Syslog cannot do without.
SYSLOG = """
import os, socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/dev/log")
os.chmod("/dev/log", 0o666)
while True:
    print(listener.recv(65536).decode(errors="replace"), flush=True)
"""
PVE = os.environ.get("LAB_PVE", "")


def program(name):
    """Return the file that is checked: the real program if the environment names one, else the stand-in."""
    given = os.environ.get(PROGRAMS.get(name, ""))
    if not given and PVE and (Path(PVE) / "usr/bin" / name).is_file():
        given = f"{PVE}/usr/bin/{name}"
    path = Path(given) if given else STANDINS / name
    if not path.is_file():
        raise FileNotFoundError(f"{PROGRAMS.get(name, name)} names {path}, and there is no such file")
    return path


def pve_major():
    """Return which Proxmox VE is built on this machine's Debian: 8 on Debian 12, 9 on Debian 13."""
    return {"12": 8, "13": 9}[platform.freedesktop_os_release()["VERSION_ID"]]


def reload_fails(node):
    """Tell whether `corosync-cfgtool -R` has an exit code: from corosync 3.1.9 on it is always 0."""
    found = re.search(r"version '(\d+)\.(\d+)\.(\d+)", node.ok("corosync", "-v"))
    return tuple(map(int, found.groups())) < (3, 1, 9)


def wait_for(test, what, seconds=WAIT_SECONDS):
    """Ask again until a test holds and return its answer; fail by name when it does not in time."""
    until = time.monotonic() + seconds
    while True:
        answer = test()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def sh(*command, **options):
    """Run a command of this machine and fail with its output."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout


class Node:
    """One node; `number` is its nodeid and the last byte of its addresses."""

    def __init__(self, cluster, name, number):
        self.cluster, self.name, self.number = cluster, name, number
        self.addresses = {net: f"{prefix}.{number}" for net, (prefix, _) in NETWORKS.items()}
        self.daemons = {}
        self.holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--uts",
                "--net",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                HOLDER,
                "holder",
                name,
                PVE,
            ],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            # unshare complains there about a signal mask when its child is killed.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"the namespaces of {name} could not be made")
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text(
            encoding="ascii"
        )
        self.pid = int(children.split()[0])
        self.start("syslog", "/usr/bin/python3", "-I", "-c", SYSLOG)

    def inside(self, *command):
        """Return a command line that runs in the node."""
        return [
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "--uts",
            "--net",
            "--ipc",
            "--pid",
            "--",
            *map(str, command),
        ]

    def run(self, *command, timeout=120, **options):
        """Run a command in the node; returns subprocess.CompletedProcess with text."""
        return subprocess.run(
            self.inside(*command),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,
        )

    def ok(self, *command, **options):
        """Run a command that must work, and return what it printed."""
        done = self.run(*command, **options)
        assert done.returncode == 0, f"{self.name}: {' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done.stdout

    def python(self, code, *args):
        """Run Python in the node; returns what it printed, an OSError as its name, such as `EACCES`."""
        code = textwrap.dedent(code)
        wrapped = (
            "import errno, os, sys, time\ntry:\n"
            + textwrap.indent(code, "    ")
            + "\nexcept OSError as error:\n    print(errno.errorcode[error.errno])\n"
        )
        return self.ok("/usr/bin/python3", "-I", "-c", wrapped, *args).strip()

    def write(self, path, text, mode=0o644):
        """Write a file in the node's own layers (not in /etc/pve)."""
        done = subprocess.run(
            self.inside(
                "sh",
                "-c",
                'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"',
                "sh",
                path,
                f"{mode:o}",
            ),
            input=text.encode(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def read(self, path):
        """Return a file's text."""
        return self.ok("cat", path)

    def exists(self, path):
        """Tell whether a path is there."""
        return self.run("test", "-e", path).returncode == 0

    def start(self, name, *command):
        """Start a daemon in the foreground, its output in log(name)."""
        self.stop(name)
        log = open(self.cluster.folder / f"{self.name}-{name}.log", "ab")  # noqa: SIM115 - the daemon keeps it
        with log:
            self.daemons[name] = subprocess.Popen(
                self.inside(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def log(self, name):
        """Return what a daemon has written so far."""
        path = self.cluster.folder / f"{self.name}-{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def signal(self, name, sign="TERM"):
        """Send a signal to a daemon itself (its nsenter passes none on)."""
        process = self.daemons[name]
        children = (
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        )
        for child in children:
            subprocess.run(["kill", f"-{sign}", child], check=False)
        if sign != "STOP":
            # nsenter stops when its child does.
            process.send_signal(signal.SIGCONT)

    def stop(self, name, sign="TERM", seconds=15):
        """End a daemon; returns its exit status, or None when it does not run."""
        process = self.daemons.get(name)
        if process is None:
            return None
        if process.poll() is None:
            self.signal(name, sign)
            process.wait(timeout=seconds)
        del self.daemons[name]
        return process.returncode

    def ended(self, name):
        """Return the exit status of a daemon that has ended by itself, else None."""
        return self.daemons[name].poll()

    def install(self):
        """Put the programs that are checked where ssh and each other find them."""
        for name in PROGRAMS:
            if program(name) != Path(PVE or "/none", "usr/bin", name):
                self.ok("ln", "-sf", program(name), f"/usr/bin/{name}")
        # Proxmox VE's Perl looks for programs in /sbin:/bin:/usr/sbin:/usr/bin, and nowhere else.
        self.ok("rm", "-f", "/usr/bin/systemctl", "/usr/local/bin/systemctl")
        self.write("/usr/bin/systemctl", SYSTEMCTL, 0o755)

    def start_sshd(self):
        """Give the node keys of its own, and let the other nodes' root in."""
        self.ok(
            "sh",
            "-c",
            "rm -f /etc/ssh/ssh_host_*; rm -rf /root/.ssh; mkdir -m 700 /root/.ssh;"
            " ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/ssh_host_rsa_key;"
            f" ssh-keygen -q -t rsa -b 2048 -N '' -C root@{self.name} -f /root/.ssh/id_rsa;"
            " cp /root/.ssh/id_rsa.pub /root/.ssh/authorized_keys",
        )
        self.write(
            "/etc/ssh/sshd_config",
            "PermitRootLogin yes\nHostKey /etc/ssh/ssh_host_rsa_key\nUsePAM no\nUseDNS no\n",
        )
        self.start("sshd", shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e")

    # The two daemons

    def start_corosync(self):
        """Start corosync, without realtime priority (lab/seed.py says why), and wait until it answers."""
        self.start("corosync", "setpriv", "--bounding-set=-sys_nice", "corosync", "-f")
        wait_for(
            lambda: self.run("corosync-cmapctl", "-g", "totem.config_version").returncode == 0,
            f"corosync of {self.name} answers",
        )

    def start_pmxcfs(self, *options, wait=True):
        """Start the cluster file system, and wait until it is mounted."""
        self.start("pmxcfs", program("pmxcfs"), "-f", *options)
        if wait:
            wait_for(self.mounted, f"/etc/pve is mounted on {self.name}: {self.log('pmxcfs')[-2000:]}")

    def mounted(self):
        """Tell whether /etc/pve is a mount and alive."""
        return (
            self.run("stat", "/etc/pve/local").returncode == 0
            or self.run("readlink", "/etc/pve/local").returncode == 0
        )

    def quorate(self):
        """Tell what PVE asks: whether /etc/pve/local is writable."""
        return self.run("stat", "-c", "%A", "/etc/pve/local").stdout.startswith("lrwx")

    def link(self, network, up):
        """Cut a network from this node, or connect it again."""
        self.ok("ip", "link", "set", network, "up" if up else "down")

    def close(self):
        """End the node with everything in it."""
        if self.holder.poll() is None:
            subprocess.run(["kill", "-KILL", str(self.pid)], check=False)
            self.holder.wait(timeout=10)
        for process in self.daemons.values():
            process.send_signal(signal.SIGCONT)
            process.wait(timeout=10)
        self.holder.stdout.close()


class Cluster:
    """Nodes pve1, pve2, … and the networks between them."""

    def __init__(self, folder, count=2, name="prod"):
        self.folder, self.name = Path(folder), name
        self.authkey = os.urandom(256)
        self.nodes = []
        self.switch = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.switch.stdout.readline()
        try:
            for network in NETWORKS:
                self._switch("ip", "link", "add", network, "type", "bridge", "forward_delay", "0")
                self._switch("ip", "link", "set", network, "up")
            for number in range(1, count + 1):
                self.nodes.append(Node(self, f"pve{number}", number))
                self._connect(self.nodes[-1])
            for node in self.nodes:
                self.configure(node)
        except BaseException:
            self.close()
            raise

    def _switch(self, *command):
        sh("nsenter", "--target", self.switch.pid, "--net", *command)

    def _connect(self, node):
        for network, (_, width) in NETWORKS.items():
            port = f"{network[:3]}{node.number}"
            self._switch(
                "ip", "link", "add", port, "type", "veth", "peer", "name", network, "netns", node.pid
            )
            self._switch("ip", "link", "set", port, "master", network, "up")
            node.ok("ip", "address", "add", f"{node.addresses[network]}/{width}", "dev", network)
            node.link(network, True)

    def configure(self, node, primary="public", version=1):
        """Give a node the first state of its files: hosts, key, corosync.conf; nothing in /etc/pve."""
        node.write("/etc/hosts", "127.0.0.1 localhost\n" + self.hosts(primary))
        node.write("/etc/corosync/corosync.conf", self.conf(version))
        done = subprocess.run(
            node.inside("sh", "-c", "cat >/etc/corosync/authkey && chmod 400 /etc/corosync/authkey"),
            input=self.authkey,
            check=False,
        )
        assert done.returncode == 0
        node.ok("mkdir", "-p", "/etc/pve", "/var/log/corosync")

    def hosts(self, network):
        """Return the lines of /etc/hosts that name the nodes by a network."""
        return "".join(f"{node.addresses[network]} {node.name}\n" for node in self.nodes)

    def conf(self, version=1, extra=""):
        """Return a corosync.conf with link 0 on vRack; `extra` is put at its end."""
        nodes = "".join(
            f"  node {{\n    name: {node.name}\n    nodeid: {node.number}\n    quorum_votes: 1\n"
            f"    ring0_addr: {node.addresses['vrack']}\n  }}\n"
            for node in self.nodes
        )
        return (
            f"logging {{\n  debug: off\n  to_syslog: no\n  to_stderr: yes\n}}\n\nnodelist {{\n{nodes}}}\n\n"
            "quorum {\n  provider: corosync_votequorum\n}\n\n"
            f"totem {{\n  cluster_name: {self.name}\n  config_version: {version}\n  interface {{\n"
            "    linknumber: 0\n  }\n  ip_version: ipv4-6\n  link_mode: passive\n  secauth: on\n"
            f"  token: 1000\n  version: 2\n}}\n\n{extra}"
        )

    def start(self):
        """Start corosync and pmxcfs everywhere, and wait for quorum."""
        for node in self.nodes:
            node.start_corosync()
        for node in self.nodes:
            node.start_pmxcfs()
        self.wait_healthy()

    def wait_healthy(self):
        """Wait until every node is quorate, sees all members with their addresses, and may write."""
        for node in self.nodes:
            wait_for(
                lambda node=node: (
                    node.quorate()
                    and node.read("/etc/pve/.members").count('"ip"') == len(self.nodes)
                    and '"online": 0' not in node.read("/etc/pve/.members")
                ),
                f"{node.name} is quorate and sees all: {node.log('pmxcfs')[-2000:]}",
            )
            wait_for(
                lambda node=node: (
                    node.python(
                        "os.close(os.open('/etc/pve/.probe' + sys.argv[1], os.O_CREAT))\n"
                        "os.unlink('/etc/pve/.probe' + sys.argv[1])",
                        node.name,
                    )
                    == ""
                ),
                f"{node.name} may write",
            )

    def close(self):
        """End everything."""
        for node in self.nodes:
            node.close()
        self.switch.terminate()
        self.switch.wait(timeout=10)
        self.switch.stdout.close()


def have_tools():
    """Return the programs that the suites need and this machine lacks."""
    return [
        name for name in ("corosync", "unshare", "nsenter", "ip", "sshd", "openssl") if not shutil.which(name)
    ]
