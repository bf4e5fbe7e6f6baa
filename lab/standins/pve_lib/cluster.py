"""`pvecm`: the commands, in the texts and exit statuses of the real one (PVE/CLI/pvecm.pm)."""

import ipaddress
import json
import os
import subprocess
import sys

from . import certificates, corosync_conf, join
from .common import Die, connect, in_cluster, invalid, options, quorate, run_tool, say

USAGE = """USAGE: pvecm <COMMAND> [ARGS] [OPTIONS]

       pvecm qdevice remove 
       pvecm qdevice setup <address> [OPTIONS]

       pvecm addnode <node> [OPTIONS]
       pvecm apiver 
       pvecm create <clustername> [OPTIONS]
       pvecm delnode <node>

       pvecm add <hostname> [OPTIONS]
       pvecm expected <expected>
       pvecm keygen <filename>
       pvecm mtunnel [<extra-args>] [OPTIONS]
       pvecm nodes 
       pvecm status 
       pvecm updatecerts  [OPTIONS]

       pvecm help [<extra-args>] [OPTIONS]"""  # noqa: W291 - the blanks are the real one's


# As pve-cluster 9.1.6 has it: a function that is not imported.
WITHOUT_NETWORK = (
    "Use of inherited AUTOLOAD for non-method PVE::CLI::pvecm::cfs_read_file() is no longer "
    "allowed at /usr/share/perl5/PVE/CLI/pvecm.pm line 725, <DATA> line 960."
)


def _execute(*command):
    sys.stdout.flush()
    os.execvp(command[0], command)


def status(arguments):
    """Print what the cluster file says, then what corosync's quorum says."""
    options(arguments, {}, "pvecm status")
    in_cluster()
    totem = corosync_conf.load().get("totem", {})
    say("Cluster information\n-------------------")
    shown = {
        "Name:": totem.get("cluster_name", ""),
        "Config Version:": totem.get("config_version", ""),
        "Transport:": totem.get("transport", "knet"),
        "Secure auth:": totem.get("secauth", "off"),
    }
    for label, value in shown.items():
        say(f"{label:<18}{value}")
    say("")
    _execute("corosync-quorumtool", "-siH")


def nodes(arguments):
    """Print the members."""
    options(arguments, {}, "pvecm nodes")
    in_cluster()
    _execute("corosync-quorumtool", "-l")


def expected(arguments):
    """Set the expected votes of the running partition."""
    usage = "pvecm expected <expected>"
    words = () if "--expected" in arguments else ("expected",)
    value = options(arguments, {"expected": False}, usage, words)["expected"]
    if not value.lstrip("-").isdigit():
        raise invalid("expected", f"type check ('integer') failed - got '{value}'", usage)
    if int(value) < 1:
        raise invalid("expected", "value must have a minimum value of 1", usage)
    in_cluster()
    _execute("corosync-quorumtool", "-e", value)


def updatecerts(arguments):
    """Set up files, keys and certificates."""
    found = options(
        arguments,
        {"force": True, "silent": True, "unmerge_known_hosts": True},
        "pvecm updatecerts  [OPTIONS]",
    )
    return certificates.update(found.get("force", False), found.get("silent", False))


def mtunnel(arguments):
    """Answer a peer: is there quorum, and which address has this node in a network?"""
    found = options(
        arguments,
        {"get_migration_ip": True, "migration_network": False, "run_command": True},
        "pvecm mtunnel [<extra-args>] [OPTIONS]",
    )
    if not quorate():
        say("no quorum")
        return 0
    if found.get("get_migration_ip"):
        if "migration_network" not in found:
            raise Die(WITHOUT_NETWORK)
        say(f"ip: '{local_address(found['migration_network'])}'")
        return 0
    if found.get("run_command"):
        return subprocess.run(found.get("extra-args", []), check=False).returncode
    say("tunnel online")
    for line in sys.stdin:
        if line.strip() == "quit":
            break
    return 0


def local_address(network):
    """Return the one address that this node has in a network (CIDR)."""
    problem = "could not get migration ip"
    command = ["ip", "-j", "address", "show", "to", network, "up"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Die(f"{problem}: invalid network '{network}'")
    found = {
        str(ipaddress.ip_address(entry["local"]))
        for link in json.loads(done.stdout or "[]")
        for entry in link.get("addr_info", [])
    }
    if not found:
        raise Die(f"{problem}: no IP address configured on local node for network '{network}'")
    if len(found) > 1:
        raise Die(f"{problem}: multiple, different, IP address configured for network '{network}'")
    return found.pop()


def apiver(arguments):
    """Print the version of the join interface."""
    options(arguments, {}, "pvecm apiver")
    say("1")


COMMANDS = {
    "status": status,
    "nodes": nodes,
    "expected": expected,
    "updatecerts": updatecerts,
    "mtunnel": mtunnel,
    "apiver": apiver,
    "create": join.create,
    "add": join.add,
    "addnode": join.addnode,
    "delnode": join.delnode,
}


def _main(arguments):
    if not arguments:
        raise Die(f"ERROR: no command specified\n{USAGE}")
    if arguments[0] == "help":
        say(USAGE)
        return 0
    if arguments[0] not in COMMANDS:
        raise Die(f"ERROR: unknown command 'pvecm {arguments[0]}'\n{USAGE}")
    connect()
    return COMMANDS[arguments[0]](arguments[1:])


def main(arguments):
    """Run pvecm; returns the exit status."""
    return run_tool(_main, arguments)
