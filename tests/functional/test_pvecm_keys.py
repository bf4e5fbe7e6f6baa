"""Keys that outlive the disk of a node: found by name, dropped by fingerprint, the rest kept."""

import base64

import pytest
from _corosync_world import Node
from pve_corosync.tools import known_hosts
from salt.exceptions import CommandExecutionError, SaltInvocationError


def blob(text):
    return base64.b64encode(text.encode() * 8).decode()


OLD, NEW, OTHER, HAND = (f"ssh-rsa {blob(name)}" for name in ("old", "new", "other", "hand"))
AUTHORIZED = f"""# of the cluster
{OTHER} root@pve1
{OLD} root@pve2
no-pty,command="echo ssh-rsa x root@pve2" {HAND} backup@desk
{NEW} root@pve2
ssh-ed25519 {blob("ed")} root@pve2
"""
KNOWN = f"pve1,10.66.0.1 {OTHER}\npve2,10.66.0.2 {OLD}\n|1|hash|ed= {OTHER}\n10.66.0.2 {NEW}\n"


def fingerprint(key):
    return known_hosts.fingerprint(key.split()[1])


@pytest.fixture
def node(tmp_path, monkeypatch):
    world = Node(tmp_path, monkeypatch)
    world.authorized = world.file("etc/pve/priv/authorized_keys", AUTHORIZED)
    world.known = world.file("etc/pve/priv/known_hosts", KNOWN)
    world.tool("pvecm", "exit 1")
    return world


def old(node, *names):
    return node.salt["pvecm.old_keys"](
        names or ["pve2", "10.66.0.2"], keys=[fingerprint(NEW)], host_keys=[fingerprint(NEW)]
    )


def test_what_is_of_the_node_and_is_none_of_its_keys_now_is_old(node):
    assert old(node) == {
        "authorized_keys": [
            {"fingerprint": fingerprint(OLD), "type": "ssh-rsa", "name": "root@pve2"},
            {"fingerprint": fingerprint(f"x {blob('ed')}"), "type": "ssh-ed25519", "name": "root@pve2"},
        ],
        "known_hosts": [{"fingerprint": fingerprint(OLD), "type": "ssh-rsa", "name": "pve2,10.66.0.2"}],
    }
    node.known.unlink()
    assert old(node, "pve3") == {"authorized_keys": [], "known_hosts": []}


def test_a_key_is_dropped_by_its_fingerprint_and_nothing_else_is_touched(node):
    told = node.salt["pvecm.drop_key"](fingerprint(OLD))
    assert told == {"dropped": ["/etc/pve/priv/authorized_keys", "/etc/pve/priv/known_hosts"]}
    assert node.authorized.read_text() == AUTHORIZED.replace(f"{OLD} root@pve2\n", "")
    assert node.known.read_text() == KNOWN.replace(f"pve2,10.66.0.2 {OLD}\n", "")
    assert node.salt["pvecm.drop_key"](fingerprint(OLD)) == {"dropped": []}


def test_where_pmxcfs_is_not_mounted_nothing_is_dropped_and_said_so(node):
    (node.pve / "local").unlink()
    with pytest.raises(CommandExecutionError, match="not mounted: systemctl status pve-cluster"):
        node.salt["pvecm.drop_key"](fingerprint(OLD))
    assert node.authorized.read_text() == AUTHORIZED


@pytest.mark.parametrize("bad", ["", "pve2", "SHA256:", None, 7, OLD])
def test_what_is_no_fingerprint_is_refused(node, bad):
    with pytest.raises(SaltInvocationError, match="SHA256:"):
        node.salt["pvecm.drop_key"](bad)


def test_the_key_of_this_node_itself_stays(node):
    node.file("root/.ssh/id_rsa.pub", f"{OTHER} root@pve1\n")
    node.file("etc/ssh/ssh_host_rsa_key.pub", f"{NEW} root@pve1\n")
    for key in (OTHER, NEW):
        with pytest.raises(CommandExecutionError, match="has that key now"):
            node.salt["pvecm.drop_key"](fingerprint(key))
    assert node.authorized.read_text() == AUTHORIZED


def test_a_node_tells_all_its_keys(node):
    node.file("root/.ssh/id_rsa", "x")
    node.file("root/.ssh/id_rsa.pub", f"{NEW} root@pve1\n")
    node.file("root/.ssh/id_ed25519.pub", f"ssh-ed25519 {blob('ed')} root@pve1\n")
    node.file("root/.ssh/notes.pub", "none\n")
    node.file("etc/ssh/ssh_host_rsa_key.pub", f"{OTHER} root@pve1\n")
    told = node.salt["pvecm.identity"]()
    assert told["keys"] == sorted([fingerprint(NEW), fingerprint(f"x {blob('ed')}")])
    assert told["host_keys"] == [fingerprint(OTHER)]
