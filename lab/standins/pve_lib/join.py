"""`pvecm create`, `add` (over ssh), `addnode`, `delnode` (PVE/API2/ClusterConfig.pm)."""

import contextlib
import fcntl
import glob
import gzip
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time

from . import certificates, corosync_conf, release
from .common import (
    CONF,
    NODE_NAME,
    PVE,
    Die,
    cfs_lock,
    invalid,
    members,
    need_quorum,
    nodename,
    options,
    quorate,
    read_text,
    remote_node_ip,
    say,
)

LOCK = "/var/lock/pvecm.lock"
LOCK_SECONDS = 10
AUTHKEY, LOCAL = "/etc/corosync/authkey", "/etc/corosync/corosync.conf"
STATE = "/var/lib/pve-cluster"
SSHD = "/etc/ssh/sshd_config"
KNOWN, CLUSTER_KNOWN = "/etc/ssh/ssh_known_hosts", f"{PVE}/priv/known_hosts"
NAME_LENGTH = 15
TOKEN_COEFFICIENT = "125"
QUORUM_SECONDS = 120
LINKS = {f"link{number}": False for number in range(corosync_conf.MAX_LINK + 1)}


def _links(found):
    """Return {number: address} of the options --linkN [address=]IP[,priority=N]."""
    links = {}
    for number in range(corosync_conf.MAX_LINK + 1):
        if f"link{number}" in found:
            links[number] = found[f"link{number}"].split(",")[0].removeprefix("address=")
    return links


def _run(command, problem):
    sys.stdout.flush()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Die(f"{problem}: command '{' '.join(command)}' failed: exit code {done.returncode}")


@contextlib.contextmanager
def _local_lock():
    with open(LOCK, "w", encoding="ascii") as file:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise Die(f"can't lock file '{LOCK}' - got timeout") from None
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def _config_lock():
    """Hold the local lock, and in a cluster of several nodes the cluster's."""
    with _local_lock():
        if len(members().get("nodelist", {})) > 1:
            with cfs_lock("file-corosync_conf"):
                yield
        else:
            yield


def _prepare_ssh():
    text = read_text(SSHD)
    if not re.search(r"^PermitRootLogin yes$", text, re.MULTILINE):
        changed, count = re.subn(
            r"^#?PermitRootLogin.*$", "PermitRootLogin yes", text, count=1, flags=re.MULTILINE
        )
        with open(SSHD, "w", encoding="utf-8") as file:
            file.write(changed if count else f"{text}PermitRootLogin yes\n")
        subprocess.run(["systemctl", "reload", "ssh"], check=False, capture_output=True)
    certificates.ssh_key()
    certificates.folders()
    certificates.link_authorized_keys()


def create(arguments):
    """Make a cluster of this one node."""
    usage = "\npvecm create <clustername> [OPTIONS]"
    known = {**LINKS, "nodeid": False, "votes": False}
    if release.major() > 8:
        known["token_coefficient"] = False
    words = [word for word in arguments if not word.startswith("-")]
    if words and not NODE_NAME.fullmatch(words[0]):
        raise invalid("clustername", "invalid format - value does not look like a valid node name", usage)
    found = options(arguments, known, usage, ("clustername",))
    name = found["clustername"]
    if len(name) > NAME_LENGTH:
        raise invalid("clustername", f"value may only be {NAME_LENGTH} characters long", usage)
    if os.path.exists(CONF):
        raise Die(f"cluster config '{CONF}' already exists")
    with _local_lock():
        _prepare_ssh()
        if not os.path.exists(AUTHKEY):
            _run(["corosync-keygen", "-lk", AUTHKEY], "corosync-keygen failed")
        links = _links(found) or {0: remote_node_ip(nodename())}
        node = {
            "name": nodename(),
            "nodeid": found.get("nodeid", "1"),
            "quorum_votes": found.get("votes", "1"),
            **{f"ring{number}_addr": address for number, address in links.items()},
        }
        totem = {
            "version": "2",
            "secauth": "on",
            "cluster_name": name,
            "config_version": "1",
            "ip_version": "ipv4-6",
            "link_mode": "passive",
            **_token(found),
            "interface": [{"linknumber": str(number)} for number in links],
        }
        say(f"Writing corosync config to {CONF}")
        corosync_conf.save(
            {
                "logging": {"debug": "off", "to_syslog": "yes"},
                "nodelist": {"node": [node]},
                "quorum": {"provider": "corosync_votequorum"},
                "totem": totem,
            },
            bump=False,
        )
        certificates.files(force=False)
        _share_known_hosts()
        say("Restart corosync and cluster filesystem")
        _run(["systemctl", "restart", "corosync", "pve-cluster"], "restart failed")


def _token(found):
    """Return the totem keys that only PVE 9 writes."""
    return (
        {}
        if release.major() < 9
        else {"token_coefficient": found.get("token_coefficient", TOKEN_COEFFICIENT)}
    )


def _share_known_hosts():
    key = read_text("/etc/ssh/ssh_host_rsa_key.pub").split()[:2]
    with open(CLUSTER_KNOWN, "w", encoding="utf-8") as file:
        for name in (nodename(), remote_node_ip(nodename())):
            file.write(f"{name} {' '.join(key)}\n")
    if not os.path.islink(KNOWN):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(KNOWN)
        os.symlink(CLUSTER_KNOWN, KNOWN)


def addnode(arguments):
    """Put a node into the cluster file (run on a member, by the one that joins)."""
    usage = "pvecm addnode <node> [OPTIONS]"
    found = options(
        arguments,
        {**LINKS, "apiversion": False, "force": True, "new_node_ip": False, "nodeid": False, "votes": False},
        usage,
        ("node",),
    )
    need_quorum()
    with _config_lock():
        root = corosync_conf.load()
        corosync_conf.verify(root)
        nodes = corosync_conf.nodes(root)
        name, links = found["node"], _links(found)
        _refuse_used(nodes, name, links)
        links = _match_links(corosync_conf.link_numbers(root), links, found)
        nodeid, votes = _identity(nodes, name, found)
        if name in nodes:
            root["nodelist"]["node"].remove(nodes[name])
        for tail in certificates.NODE_FOLDERS:
            os.makedirs(f"{PVE}/nodes/{name}{tail}", exist_ok=True)
        certificates.merge_authorized_keys()
        root["nodelist"]["node"].append(
            {
                "name": name,
                "nodeid": nodeid,
                "quorum_votes": votes,
                **{f"ring{number}_addr": address for number, address in links.items()},
            }
        )
        corosync_conf.save(root)


def _identity(nodes, name, found):
    """Return nodeid and votes: those of the entry that is overwritten, else as given, else the lowest free
    id and one vote."""
    existing, nodeid, votes = nodes.get(name), found.get("nodeid"), found.get("votes")
    if existing is None:
        used = {node["nodeid"] for node in nodes.values()}
        free = next(str(number) for number in range(1, len(used) + 2) if str(number) not in used)
        return nodeid or free, votes or "1"
    had = existing["nodeid"], existing.get("quorum_votes", "0")
    if not found.get("force") or (nodeid or had[0], votes or had[1]) != had:
        raise Die(f"can't add existing node '{name}'")
    say(f"forcing overwrite of configured node '{name}'")
    return had[0], existing.get("quorum_votes", "1")


def _refuse_used(nodes, name, links):
    for other, node in nodes.items():
        for key, value in node.items():
            if other != name and re.fullmatch(r"ring\d_addr", key) and value in links.values():
                raise Die(f"corosync: address '{value}' already used on link {key} by node '{other}'")


def _match_links(existing, links, found):
    fallback, legacy = found.get("new_node_ip"), False
    if not fallback and len(links) == 1 and found.get("apiversion", "0") == "0":
        fallback, links, legacy = next(iter(links.values())), {}, True
    if links:
        for number in range(corosync_conf.MAX_LINK + 1):
            if number in existing and number not in links:
                raise Die(
                    f"corosync: link {number} exists in cluster config but wasn't specified for new node"
                )
            if number in links and number not in existing:
                raise Die(f"corosync: link {number} specified for new node doesn't exist in cluster config")
        return links
    if not fallback:
        raise Die("no links and no fallback ip (new_node_ip) given, cannot join cluster")
    if len(existing) == 1:
        return {existing[0]: fallback}
    if legacy:
        # With its place in the source, as perl says it.
        raise Die(
            f"cluster has {len(existing)} links, but only 1 given at "
            "/usr/share/perl5/PVE/API2/ClusterConfig.pm line 375, <DATA> line 960."
        )
    raise Die(
        "no links given but multiple links found on other nodes, "
        "fallback only supported on single-link clusters"
    )


def add(arguments):
    """Join this node to a cluster over ssh; as with the real one, the exit status says nothing."""
    found = options(
        arguments,
        {**LINKS, "nodeid": False, "votes": False, "force": True, "fingerprint": False, "use_ssh": True},
        "pvecm add <hostname> [OPTIONS]",
        ("hostname",),
    )
    if re.match(rf"{PVE}(/|$)", os.getcwd()):
        raise Die(f"Navigate out of {PVE} before running 'pvecm add', for example by running 'cd'.")
    try:
        if not found.get("use_ssh"):
            raise Die("EOF while reading password")
        _join(found)
    except Die as error:
        sys.stdout.flush()
        print(str(error), file=sys.stderr)


def _join(found):
    host, links = found["hostname"], _links(found)
    _assert_joinable(links, found.get("force", False))
    _prepare_ssh()
    copied = subprocess.run(
        ["ssh-copy-id", "-i", "/root/.ssh/id_rsa", f"root@{host}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if copied.returncode:
        raise Die(f"unable to copy ssh ID: exit code {copied.returncode}")
    command = ["ssh", host, "-o", "BatchMode=yes", "pvecm", "addnode", nodename(), "--force", "1"]
    for name in ("nodeid", "votes"):
        command += [f"--{name}", found[name]] if name in found else []
    # perl walks through a hash, so that the order differs from run to run
    for number in random.sample(sorted(links), len(links)):
        command += [f"--link{number}", links[number]]
    if not links:
        address = remote_node_ip(nodename())
        command += ["--new_node_ip", address]
        say(f"No cluster network links passed explicitly, fallback to local node IP '{address}'")
    # The member's own errors reach the terminal by way of stdout.
    if subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False).returncode:
        raise Die(f"unable to add node: command failed ({' '.join(command)})")
    say("copy corosync auth key")
    _finish(_fetch(host, AUTHKEY), _fetch(host, CONF))


def _fetch(host, path):
    done = subprocess.run(
        ["ssh", "-l", "root", "-o", "BatchMode=yes", host, "cat", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise Die(f"can't rsync data from host '{host}'")
    return done.stdout


def _assert_joinable(links, force):
    errors = []
    if os.path.exists(AUTHKEY):
        errors.append(f"authentication key '{AUTHKEY}' already exists")
    if os.path.exists(CONF):
        errors.append(f"cluster config '{CONF}' already exists")
    if glob.glob(f"{PVE}/nodes/*/qemu-server/*.conf") or glob.glob(f"{PVE}/nodes/*/lxc/*.conf"):
        errors.append("this host already contains virtual guests")
    if subprocess.run(["systemctl", "is-active", "-q", "corosync"], check=False).returncode == 0:
        errors.append("corosync is already running, is this node already in a cluster?!")
    done = subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
    own = {entry["local"] for link in json.loads(done.stdout) for entry in link["addr_info"]}
    errors += [
        f"link{number}: cannot use IP '{address}', not found on local node!\n"
        for number, address in sorted(links.items())
        if address not in own
    ]
    if errors:
        say("warning: ignore the following errors:" if force else "detected the following error(s):")
        for error in errors:
            say(f"* {error}")
        if not force:
            raise Die("Check if node may join a cluster failed!")


def _finish(authkey, conf):
    os.makedirs(os.path.dirname(LOCAL), exist_ok=True)
    with open(AUTHKEY, "wb") as file:  # mode 0644, as the real one leaves it (PVE 8 and 9)
        file.write(authkey)
    with open(LOCAL, "wb") as file:
        file.write(conf)
    say("stopping pve-cluster service")
    _run(["systemctl", "stop", "pve-cluster"], "can't stop pve-cluster service")
    _retire_database()
    _run(["systemctl", "start", "corosync", "pve-cluster"], "starting pve-cluster failed")
    until = time.monotonic() + QUORUM_SECONDS
    if not quorate():
        print("waiting for quorum...", end="", flush=True)
        while not quorate():
            if time.monotonic() > until:
                raise Die(f"\nno quorum after {QUORUM_SECONDS} s")
            time.sleep(0.5)
        say("OK")
    certificates.files(force=True, show=say)
    say("generated new node certificate, restart pveproxy and pvedaemon services")
    _run(["systemctl", "reload-or-restart", "pvedaemon", "pveproxy"], "restart failed")
    say(f"successfully added node '{nodename()}' to cluster.")


def _retire_database():
    backup = f"{STATE}/backup/config-{int(time.time())}.sql.gz"
    say(f"backup old database to '{backup}'")
    os.makedirs(os.path.dirname(backup), mode=0o755, exist_ok=True)
    connection = sqlite3.connect(f"{STATE}/config.db")
    with gzip.open(backup, "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in connection.iterdump())
    connection.close()
    for path in glob.glob(f"{STATE}/config.db*"):
        os.unlink(path)


def delnode(arguments):
    """Take a node out of the cluster."""
    name = options(arguments, {}, "pvecm delnode <node>", ("node",))["node"]
    if name == nodename():
        raise Die("Cannot delete myself from cluster!")
    need_quorum()
    with _config_lock():
        root = corosync_conf.load()
        found = next(
            (
                node
                for label, node in corosync_conf.nodes(root).items()
                if name in (label, node.get("ring0_addr"), node.get("ring1_addr"))
            ),
            None,
        )
        if found is None:
            raise Die(f"Node/IP: {name} is not a known host of the cluster.")
        # It may be off already.
        sys.stdout.flush()
        subprocess.run(["corosync-cfgtool", "-k", found["nodeid"]], stdin=subprocess.DEVNULL, check=False)
        root["nodelist"]["node"].remove(found)
        corosync_conf.save(root)
