"""`pvecm updatecerts`: folders, keys, certificates and ssh files of this node (PVE/Cluster/Setup.pm)."""

import errno
import os
import subprocess
import sys
import tempfile
import time
import uuid

from .common import PVE, Die, cfs_lock, mounted, nodename, quorate, read_text, remote_node_ip, say, write_text

WAIT_SECONDS = float(os.environ.get("LAB_UPDATECERTS_SECONDS", "80"))
TIMEOUT = (
    "got timeout when trying to ensure cluster certificates and base file hierarchy is set up - "
    "no quorum (yet) or hung pmxcfs?"
)
SSH = "/root/.ssh"
ROOT_KEYS = f"{SSH}/authorized_keys"
CLUSTER_KEYS = f"{PVE}/priv/authorized_keys"
FOLDERS = ("priv", "priv/acme", "priv/lock", "nodes", "ha", "sdn", "firewall", "mapping", "virtual-guest")
NODE_FOLDERS = ("", "/lxc", "/qemu-server", "/openvz", "/priv")
CA_KEY, CA_CERTIFICATE = f"{PVE}/priv/pve-root-ca.key", f"{PVE}/pve-root-ca.pem"
KEY_BITS = "2048"
CA_DAYS, NODE_DAYS = "3650", "730"


def update(force=False, silent=False):
    """Set everything up; returns the exit status."""
    show = Lines(silent)
    ssh_key(silent)
    if not _wait(show):
        if silent:
            print(TIMEOUT, file=sys.stderr)
            return 0
        raise Die(TIMEOUT, errno.EINTR)
    files(force, show.before_fork, show.forked, show.last)
    return 0


def files(force, show=lambda text: None, forked=lambda: None, last=None):
    """Make what is missing, and the certificate anew by force; the functions show each step."""
    show("(re)generate node files")
    folders()
    link_authorized_keys()
    made = _keys()
    if force:
        show("generate new node certificate")
    made |= node_certificate(force)
    if made:
        forked()
    (last or show)("merge authorized SSH keys")
    merge_authorized_keys()
    known_hosts()


class Lines:
    """The tool's child ends without flushing: into a pipe, only lines before a later fork survive."""

    def __init__(self, silent):
        self.silent, self.terminal = silent, sys.stdout.isatty()
        self.waiting = []

    def before_fork(self, text):
        """Print, or keep until the next fork."""
        if self.terminal and not self.silent:
            say(text)
        else:
            self.waiting.append(text)

    def forked(self):
        """Another program was run: what was printed before it gets out."""
        for text in self.waiting if not self.silent and not self.terminal else ():
            say(text)
        self.waiting = []

    def last(self, text):
        """Print after the last fork: seen on a terminal only."""
        if self.terminal and not self.silent:
            say(text)


def _wait(show):
    until = time.monotonic() + WAIT_SECONDS
    told = time.monotonic()
    while not (mounted() and quorate()):
        if time.monotonic() > until:
            return False
        if time.monotonic() - told >= 5:
            show.last("waiting for pmxcfs mount to appear and get quorate...")
            told = time.monotonic()
        time.sleep(0.1)
    return True


def _openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Die(f"command 'openssl {arguments[0]}' failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def ssh_key(silent=False):
    """Make root's ssh key when there is none."""
    os.makedirs(SSH, mode=0o700, exist_ok=True)
    if not os.path.exists(f"{SSH}/id_rsa"):
        subprocess.run(
            ["ssh-keygen", "-t", "rsa", "-b", "4096", "-N", "", "-f", f"{SSH}/id_rsa"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if silent else None,
        )


def folders():
    """Make the folders of the cluster and of this node."""
    own = [f"nodes/{nodename()}{tail}" for tail in NODE_FOLDERS]
    for name in (*FOLDERS, *own):
        if not os.path.isdir(f"{PVE}/{name}"):
            os.makedirs(f"{PVE}/{name}", exist_ok=True)


def link_authorized_keys():
    """Move root's authorized keys into the cluster file system and leave a link."""
    imported = False
    if not os.path.exists(CLUSTER_KEYS):
        write_text(CLUSTER_KEYS, read_text(ROOT_KEYS) if os.path.isfile(ROOT_KEYS) else "")
        imported = True
    if os.path.islink(ROOT_KEYS):
        return
    if os.path.isfile(ROOT_KEYS):
        os.rename(ROOT_KEYS, f"{ROOT_KEYS}.org")
    os.symlink(CLUSTER_KEYS, ROOT_KEYS)
    if imported and os.path.exists(f"{ROOT_KEYS}.org"):
        os.unlink(f"{ROOT_KEYS}.org")


def merge_authorized_keys():
    """Add this node's own key, once."""
    lines = read_text(CLUSTER_KEYS).splitlines() + read_text(f"{SSH}/id_rsa.pub").splitlines()
    text = "".join(f"{line}\n" for line in dict.fromkeys(lines) if line.strip())
    if text != read_text(CLUSTER_KEYS):
        write_text(CLUSTER_KEYS, text)


def known_hosts():
    """Write this node's own host key where the others look for it."""
    key = read_text("/etc/ssh/ssh_host_rsa_key.pub").split()
    path = f"{PVE}/nodes/{nodename()}/ssh_known_hosts"
    if len(key) >= 2:
        text = f"{nodename()} {key[0]} {key[1]}"
        if read_text(path) != text:
            write_text(path, text)


def _keys():
    """Make the cluster's keys and authority when they are missing; tells whether any was."""
    wanted = (f"{PVE}/priv/authkey.key", f"{PVE}/pve-www.key", CA_KEY, CA_CERTIFICATE)
    if all(os.path.exists(path) for path in wanted):
        return False
    with cfs_lock("standin-authority", quiet=True):
        if not os.path.exists(f"{PVE}/priv/authkey.key"):
            key = _openssl("genrsa", KEY_BITS)
            write_text(f"{PVE}/priv/authkey.key", key)
            write_text(f"{PVE}/authkey.pub", _openssl("rsa", "-pubout", text=key))
        if not os.path.exists(f"{PVE}/pve-www.key"):
            write_text(f"{PVE}/pve-www.key", _openssl("genrsa", KEY_BITS))
        if not os.path.exists(CA_KEY):
            write_text(CA_KEY, _openssl("genrsa", KEY_BITS))
        if not os.path.exists(CA_CERTIFICATE):
            write_text(
                CA_CERTIFICATE,
                _openssl(
                    "req",
                    "-batch",
                    "-days",
                    CA_DAYS,
                    "-new",
                    "-x509",
                    "-nodes",
                    "-key",
                    CA_KEY,
                    "-subj",
                    f"/CN=Proxmox Virtual Environment/OU={uuid.uuid4()}/O=PVE Cluster Manager CA",
                ),
            )
    return True


def node_certificate(force):
    """Make this node's certificate when it is missing, or anew by force; tells whether it was made."""
    folder = f"{PVE}/nodes/{nodename()}"
    key, certificate = f"{folder}/pve-ssl.key", f"{folder}/pve-ssl.pem"
    if os.path.exists(certificate) and os.path.exists(key) and not force:
        return False
    if not os.path.exists(key):
        write_text(key, _openssl("genrsa", KEY_BITS))
    names = f"IP:127.0.0.1,IP:::1,DNS:localhost,IP:{remote_node_ip(nodename())},DNS:{nodename()}"
    with tempfile.TemporaryDirectory() as work:
        extensions = f"{work}/extensions"
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={names}\n")
        request = _openssl(
            "req",
            "-batch",
            "-new",
            "-key",
            key,
            "-subj",
            f"/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={nodename()}",
        )
        text = _openssl(
            "x509",
            "-req",
            "-days",
            NODE_DAYS,
            "-CA",
            CA_CERTIFICATE,
            "-CAkey",
            CA_KEY,
            "-set_serial",
            str(int(time.time() * 1000)),
            "-extfile",
            extensions,
            text=request,
        )
    write_text(certificate, text)
    return True
