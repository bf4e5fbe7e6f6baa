"""What the lab tests of the links share: to a layout, and what the files and daemons are then."""

from phases import run

from lab.cluster import wait_for

PUBLIC = {"pve1": "198.51.101.10", "pve2": "198.51.102.10", "pve3": "198.51.103.10"}
VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2", "pve3": "10.66.0.3"}


def reach(lab, *words):
    """Apply a layout, and insist that it was reached."""
    code, report = run(lab, "corosync.apply", *words)
    assert (code, report["result"]) == (0, "reached"), report
    return report


def files(lab, nodes=None):
    """Return the distinct bytes of all local files and cluster files."""
    return {
        lab.read(node, path)
        for node in nodes or lab.nodes
        for path in ("/etc/corosync/corosync.conf", "/etc/pve/corosync.conf")
    }


def addresses(lab, nodes=None):
    """Return ``{link: {address}}`` of the one file that all nodes have."""
    (text,) = files(lab, nodes)
    found = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if key.startswith("ring") and key.endswith("_addr"):
            found.setdefault(int(key[4]), set()).add(value)
    return found


def version(lab, node):
    said = lab.exec(node, ["corosync-cmapctl", "-g", "totem.config_version"], check=True).stdout
    return int(said.split()[-1])


def cut_off(lab):
    """Cut the vRack of all nodes and wait until the quorum is gone."""
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 40, what="the nodes to lose quorum")


def healthy(lab, nodes=None):
    assert all(lab.quorate(node) and lab.writable(node) for node in nodes or lab.nodes)
