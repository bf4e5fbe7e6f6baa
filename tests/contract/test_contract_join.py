"""Contract of pvecm create, add, addnode and delnode (LAB_PVECM=/path checks a real one)."""

import itertools
import json
import re

import pytest
from contract_nodes import Cluster, pve_major, wait_for

CONF = "/etc/pve/corosync.conf"


@pytest.fixture(scope="module")
def trio(tmp_path_factory):
    """Three nodes; pve1 and pve2 are installed and alone, pve3 too."""
    cluster = Cluster(tmp_path_factory.mktemp("trio"), count=3)
    try:
        for node in cluster.nodes:
            node.install()
            node.start_sshd()
            node.ok("rm", "/etc/corosync/corosync.conf", "/etc/corosync/authkey")
            node.ok("pmxcfs")
            node.ok("pvecm", "updatecerts")
        # Each may log in to the first, as after an ssh-copy-id with a password.
        for node in cluster.nodes[1:]:
            key = node.read("/root/.ssh/id_rsa.pub").strip()
            cluster.nodes[0].ok("sh", "-c", 'echo "$1" >>/etc/pve/priv/authorized_keys', "sh", key)
            node.write("/root/.ssh/config", "StrictHostKeyChecking accept-new\n", 0o600)
        yield cluster
    finally:
        cluster.close()


def pvecm(node, *words):
    """Run pvecm; returns (status, stdout, stderr)."""
    done = node.run("pvecm", *words, timeout=200)
    return done.returncode, done.stdout, done.stderr


def permuted(*words):
    """Return the words in every order, each as one text."""
    return [" ".join(row) for row in itertools.permutations(words)]


def version(node):
    """Return the version that the node's corosync runs with."""
    return node.run("corosync-cmapctl", "-g", "totem.config_version").stdout.rpartition("= ")[2].strip()


def test_1_create_refuses_a_bad_name(trio):
    assert pvecm(trio.nodes[0], "create", "bad name") == (
        255,
        "",
        "400 Parameter verification failed.\n"
        "clustername: invalid format - value does not look like a valid node name"
        "\n\npvecm create <clustername> [OPTIONS]\n",
    )
    assert not trio.nodes[0].exists(CONF)


def test_2_create(trio):
    pve1 = trio.nodes[0]
    status, out, error = pvecm(pve1, "create", "lab3", "--link0", "10.66.0.1")
    assert (status, error) == (0, "")
    assert out.splitlines()[-5:] == [
        "Corosync Cluster Engine Authentication key generator.",
        "Gathering 2048 bits for key from /dev/urandom.",
        "Writing corosync key to /etc/corosync/authkey.",
        f"Writing corosync config to {CONF}",
        "Restart corosync and cluster filesystem",
    ]
    wait_for(
        lambda: "nodelist" in pve1.read("/etc/pve/.members") and pve1.quorate(), "pve1 is a cluster of one"
    )
    assert json.loads(pve1.read("/etc/pve/.members"))["cluster"]["name"] == "lab3"
    assert pve1.read("/etc/corosync/corosync.conf") == pve1.read(CONF)
    # PVE 9 writes it (pve-cluster 9.1), PVE 8 does not
    assert ("token_coefficient: 125" in pve1.read(CONF)) is (pve_major() > 8)
    assert pve1.ok("readlink", "/etc/ssh/ssh_known_hosts").strip() == "/etc/pve/priv/known_hosts"
    assert pvecm(pve1, "create", "lab3", "--link0", "10.66.0.1") == (
        255,
        "",
        f"cluster config '{CONF}' already exists\n",
    )


def test_3_add_fails_with_status_0(trio):
    pve2 = trio.nodes[1]
    assert pvecm(pve2, "add", "pve1", "--use_ssh", "--link0", "10.66.0.99") == (
        0,
        "detected the following error(s):\n* link0: cannot use IP '10.66.0.99', not found on local node!\n\n",
        "Check if node may join a cluster failed!\n",
    )
    assert pvecm(pve2, "add", "pve1", "--link0", "10.66.0.2") == (0, "", "EOF while reading password\n")
    status, out, error = pvecm(
        pve2, "add", "pve1", "--use_ssh", "--link0", "10.66.0.2", "--link1", "198.51.100.2"
    )
    assert (status, out) == (0, "corosync: link 1 specified for new node doesn't exist in cluster config\n")
    # the order of the links is that of a hash of perl (PVE 9)
    command = "ssh pve1 -o BatchMode=yes pvecm addnode pve2 --force 1"
    assert error in [
        f"unable to add node: command failed ({command} {links})\n"
        for links in permuted("--link0 10.66.0.2", "--link1 198.51.100.2")
    ]
    assert not pve2.exists(CONF)


@pytest.mark.parametrize("number", [2, 3])
def test_4_add(trio, number):
    pve1, node = trio.nodes[0], trio.nodes[number - 1]
    status, out, error = pvecm(node, "add", "pve1", "--use_ssh", "--link0", f"10.66.0.{number}")
    assert (status, error) == (0, "")
    out = re.sub(r"config-\d+\.sql", "config-N.sql", out)
    assert out == (
        "copy corosync auth key\nstopping pve-cluster service\n"
        "backup old database to '/var/lib/pve-cluster/backup/config-N.sql.gz'\nwaiting for quorum...OK\n"
        "(re)generate node files\ngenerate new node certificate\nmerge authorized SSH keys\n"
        "generated new node certificate, restart pveproxy and pvedaemon services\n"
        f"successfully added node '{node.name}' to cluster.\n"
    )
    assert node.ok("stat", "-c", "%a", "/etc/corosync/authkey").strip() == "644", "PVE 8 and 9 leave it so"
    wait_for(lambda: node.read("/etc/pve/.members").count('"ip"') == number, "all nodes are known")
    assert f"    nodeid: {number}\n    quorum_votes: 1\n    ring0_addr: 10.66.0.{number}\n" in pve1.read(CONF)
    for member in trio.nodes[:number]:
        wait_for(
            lambda member=member: version(member) == str(number), f"{member.name} runs version {number}", 10
        )


def test_5_add_again_is_refused(trio):
    assert pvecm(trio.nodes[2], "add", "pve1", "--use_ssh", "--link0", "10.66.0.3") == (
        0,
        "detected the following error(s):\n* authentication key '/etc/corosync/authkey' already exists\n"
        f"* cluster config '{CONF}' already exists\n"
        "* corosync is already running, is this node already in a cluster?!\n",
        "Check if node may join a cluster failed!\n",
    )


def test_6_addnode_refuses_an_address_in_use(trio):
    assert pvecm(trio.nodes[0], "addnode", "pve9", "--link0", "10.66.0.2", "--apiversion", "1") == (
        255,
        "",
        "corosync: address '10.66.0.2' already used on link ring0_addr by node 'pve2'\n",
    )


def test_6_addnode_gives_the_lowest_free_id_and_an_overwritten_entry_keeps_its_own(trio):
    """pve7 has id 9 and two votes; of the others 1, 2, 3 are taken; no joining node has to be there."""
    pve1 = trio.nodes[0]
    given = ("addnode", "pve7", "--link0", "10.66.0.7", "--apiversion", "1")
    entry = "name: pve7\n    nodeid: 9\n    quorum_votes: 1\n    ring0_addr: 10.66.0.7\n"
    assert pvecm(pve1, *given, "--nodeid", "9", "--votes", "1") == (0, "", "")
    wait_for(lambda: entry in pve1.read(CONF) and pve1.quorate(), "pve7 is listed")
    refused = (255, "", "can't add existing node 'pve7'\n")
    assert pvecm(pve1, *given) == refused
    assert pvecm(pve1, *given, "--force", "1", "--nodeid", "4") == refused
    assert pvecm(pve1, *given, "--force", "1", "--votes", "2") == refused
    assert pvecm(pve1, *given, "--force", "1") == (0, "forcing overwrite of configured node 'pve7'\n", "")
    assert entry in pve1.read(CONF)
    assert pvecm(pve1, "delnode", "pve7")[0] == 0
    assert pvecm(pve1, *given) == (0, "", "")
    assert "name: pve7\n    nodeid: 4\n" in pve1.read(CONF), "without --nodeid the old id is lost"
    assert pvecm(pve1, "delnode", "pve7")[0] == 0


def test_7_delnode(trio):
    pve1, pve2, pve3 = trio.nodes
    before = int(version(pve1))
    wait_for(lambda: all(int(version(node)) == before for node in trio.nodes), "all run one version", 10)
    assert pvecm(pve1, "delnode", "pve1") == (255, "", "Cannot delete myself from cluster!\n")
    assert pvecm(pve1, "delnode", "pve3") == (0, "Killing node 3\n", "")
    wait_for(lambda: pve3.run("pgrep", "-x", "corosync").returncode == 1, "the corosync of pve3 has ended")
    assert pve3.mounted()
    wait_for(lambda: not pve3.quorate(), "pve3 is not quorate")
    for node in (pve1, pve2):
        wait_for(lambda node=node: version(node) == str(before + 1), f"{node.name} runs the next version", 10)
    assert "pve3" not in pve1.read(CONF)
    assert pve1.exists("/etc/pve/nodes/pve3"), "the folder of a deleted node stays"
    assert pvecm(pve1, "delnode", "pve3") == (255, "", "Node/IP: pve3 is not a known host of the cluster.\n")


def test_8_delnode_of_a_node_that_is_off(trio):
    pve1, pve2, _ = trio.nodes
    pve2.ok("systemctl", "stop", "corosync")
    wait_for(lambda: not pve1.quorate(), "pve1 is alone")
    assert pvecm(pve1, "delnode", "pve2") == (255, "", "cluster not ready - no quorum?\n")
    pve1.ok("pvecm", "expected", "1")
    # The mode of /etc/pve/local may be a second old.
    wait_for(pve1.quorate, "pve1 is quorate alone", 10)
    assert pvecm(pve1, "delnode", "pve2") == (
        0,
        "Killing node 2\n",
        "Could not kill node (error = CS_ERR_NOT_EXIST)\n",
    )
