"""What the lab needs from the machine it runs on."""

import os
import shutil
import tempfile
from pathlib import Path

from lab.shell import LabError, note, run

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "ssh-keygen": "openssh-client",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HOME = Path(os.environ.get("LAB_HOME", "/var/lib/pve-corosync-lab"))
CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/pve-corosync-lab"))
REPO = Path(__file__).resolve().parent.parent


def require_root():
    """Refuse early: every act of the lab needs root."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab has to run as root, as it mounts file systems and makes network namespaces: "
            "put sudo in front"
        )


def prepare():
    """Install missing programs and check every kernel feature; raise LabError with the first that lacks."""
    require_root()
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    install_missing()
    if not Path("/dev/fuse").exists():
        load("fuse")
    if not Path("/dev/fuse").exists():
        raise LabError("/dev/fuse is missing: load the kernel module fuse (modprobe fuse), /etc/pve needs it")
    if not Path("/proc/self/ns/net").exists():
        raise LabError("this kernel has no network namespaces (CONFIG_NET_NS)")
    if cgroup_root() is None:
        raise LabError("no cgroup2 hierarchy is mounted below /sys/fs/cgroup: the nodes' systemd needs one")
    probe_overlay()


def install_missing():
    """Install with apt-get what is not there; nothing is touched when all of it is."""
    lacking = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not KEYRING.exists():
        lacking.append("debian-archive-keyring")
    if not lacking:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"please install {', '.join(lacking)}: this machine has no apt-get to do it with")
    note(f"installing {', '.join(lacking)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "-qq", "update"], timeout=300, env=env)
    run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", *lacking], timeout=600, env=env)


def load(module):
    """Load a kernel module, on machines that have modules; whether it helped is for the caller to see."""
    if shutil.which("modprobe"):
        run(["modprobe", module], check=False)


def probe_overlay():
    """Mount a small overlay where the nodes' disks will be, in a mount namespace of its own."""
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix=".probe-") as folder:
        for part in ("lower", "upper", "work", "root"):
            Path(folder, part).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        argv = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/root"]
        if run(argv, check=False).returncode:
            load("overlay")
            if run(argv, check=False).returncode:
                raise LabError(
                    f"no overlay can be mounted in {HOME}: the kernel lacks overlayfs, or that folder is "
                    "on a file system that cannot carry one (name another with LAB_HOME=/folder)"
                )


def cgroup_root():
    """Return the folder where cgroup2 is mounted (also on hybrid hosts), or None."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            left, right = line.rstrip().split(" - ", 1)
            where = left.split()[4]
            if right.startswith("cgroup2 ") and where.startswith("/sys/fs/cgroup"):
                return Path(where)
    return None
