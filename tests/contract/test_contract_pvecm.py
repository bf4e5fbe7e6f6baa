"""Contract of pvecm: texts, exit statuses and files (LAB_PVECM=/path checks a real one)."""

import os
import re
import threading
import time

import pytest
from contract_nodes import wait_for

# The real one waits 80 s for quorum; the stand-in is told to wait less.
LIMIT = 80 if os.environ.get("LAB_PVECM") else 3
DOWN = (
    "ipcc_send_rec[1] failed: Connection refused\nipcc_send_rec[2] failed: Connection refused\n"
    "ipcc_send_rec[3] failed: Connection refused\nUnable to load access control list: Connection refused\n"
)
ALONE = "Error: Corosync config '/etc/pve/corosync.conf' does not exist - is this node part of a cluster?\n"
TIMEOUT = (
    "got timeout when trying to ensure cluster certificates and base file hierarchy is set up - "
    "no quorum (yet) or hung pmxcfs?\n"
)
HEADER = """Cluster information
-------------------
Name:             prod
Config Version:   1
Transport:        knet
Secure auth:      on

"""
STATUS = (
    HEADER
    + """Quorum information
------------------
Date:             DATE
Quorum provider:  corosync_votequorum
Nodes:            {nodes}
Node ID:          0x00000001
Ring ID:          RING
Quorate:          {quorate}

Votequorum information
----------------------
Expected votes:   {expected}
Highest expected: {expected}
Total votes:      {nodes}
Quorum:           {quorum}
Flags:            {flags}

Membership information
----------------------
    Nodeid      Votes Name
0x00000001          1 10.66.0.1 (local)
"""
)
OTHER = "0x00000002          1 10.66.0.2\n"
MEMBERS = """
Membership information
----------------------
    Nodeid      Votes Name
         1          1 pve1 (local)
"""


@pytest.fixture(autouse=True)
def programs(cluster):
    """Install what is checked."""
    for node in cluster.nodes:
        node.install()
        if "sshd" not in node.daemons:
            node.start_sshd()


@pytest.fixture
def cut(pve1, pve2):
    """A cluster that has lost its quorum."""
    pve1.link("vrack", False)
    for node in (pve1, pve2):
        wait_for(lambda node=node: not node.quorate(), f"{node.name} has lost quorum")


def pvecm(node, *words):
    """Run pvecm; returns (status, stdout, stderr) with what changes made equal."""
    done = node.run("env", f"LAB_UPDATECERTS_SECONDS={LIMIT}", "pvecm", *words)
    text = re.sub(r"(?m)^(Date: +).*$", r"\1DATE", done.stdout)
    return done.returncode, re.sub(r"(?m)^(Ring ID: +)[0-9a-f]+\.[0-9a-f]+$", r"\1RING", text), done.stderr


def names(node):
    """Return the alternative names of the node's certificate."""
    text = node.ok(
        "openssl",
        "x509",
        "-in",
        f"/etc/pve/nodes/{node.name}/pve-ssl.pem",
        "-noout",
        "-ext",
        "subjectAltName",
    )
    return {word.strip() for word in text.splitlines()[1].split(",")}


def test_status_and_nodes_while_quorate(pve1):
    assert pvecm(pve1, "status") == (
        0,
        STATUS.format(nodes=2, quorate="Yes", expected=2, quorum="2  ", flags="Quorate ") + OTHER,
        "",
    )
    assert pvecm(pve1, "nodes") == (0, MEMBERS + "         2          1 pve2\n", "")


def test_status_nodes_and_expected_without_quorum(pve1, cut):
    assert pvecm(pve1, "status") == (
        2,
        STATUS.format(nodes=1, quorate="No", expected=2, quorum="2 Activity blocked", flags=""),
        "",
    )
    assert pvecm(pve1, "nodes") == (0, MEMBERS, "")
    assert pvecm(pve1, "expected", "1") == (0, "", "")
    assert pvecm(pve1, "status") == (
        0,
        STATUS.format(nodes=1, quorate="Yes", expected=1, quorum="1  ", flags="Quorate "),
        "",
    )
    assert pvecm(pve1, "expected", "2") == (1, "", "Unable to set expected votes: CS_ERR_INVALID_PARAM\n")
    wait_for(lambda: pve1.run("touch", "/etc/pve/probe").returncode == 0, "/etc/pve is writable", 10)


@pytest.mark.parametrize(
    "words, outcome",
    [
        (["1"], (1, "", "Unable to set expected votes: CS_ERR_INVALID_PARAM\n")),
        (["2"], (0, "", "")),
        (
            ["0"],
            (
                255,
                "",
                "400 Parameter verification failed.\nexpected: value must have a minimum value of 1\n"
                "pvecm expected <expected>\n",
            ),
        ),
        ([], (255, "", "400 not enough arguments\npvecm expected <expected>\n")),
    ],
)
def test_expected_while_quorate(pve1, words, outcome):
    assert pvecm(pve1, "expected", *words) == outcome


@pytest.mark.parametrize(
    "words, first",
    [([], "ERROR: no command specified"), (["frobnicate"], "ERROR: unknown command 'pvecm frobnicate'")],
)
def test_usage(pve1, words, first):
    status, out, error = pvecm(pve1, *words)
    assert (status, out) == (255, "")
    assert error.splitlines()[:2] == [first, "USAGE: pvecm <COMMAND> [ARGS] [OPTIONS]"]
    assert "       pvecm updatecerts  [OPTIONS]" in error.splitlines()


def test_updatecerts_makes_what_is_missing_once(pve1, pve2, cluster):
    pve1.ok(
        "sh",
        "-c",
        "rm -rf /etc/pve/nodes/* /etc/pve/priv/* /etc/pve/*.pem /etc/pve/*.key /etc/pve/authkey.pub",
    )
    status, out, error = pvecm(pve1, "updatecerts")
    assert (status, out.splitlines()[-1:], error) == (0, ["(re)generate node files"], "")
    for node in cluster.nodes:
        assert pvecm(node, "updatecerts")[0] == 0
        key = node.read("/etc/ssh/ssh_host_rsa_key.pub").split()
        assert node.read(f"/etc/pve/nodes/{node.name}/ssh_known_hosts") == f"{node.name} {key[0]} {key[1]}"
        assert node.ok("readlink", "/root/.ssh/authorized_keys").strip() == "/etc/pve/priv/authorized_keys"
        assert node.read("/root/.ssh/id_rsa.pub") in node.read("/etc/pve/priv/authorized_keys")
        assert names(node) == {
            "IP Address:127.0.0.1",
            "IP Address:0:0:0:0:0:0:0:1",
            "DNS:localhost",
            f"IP Address:{node.addresses['public']}",
            f"DNS:{node.name}",
        }
        assert "OK" in node.ok(
            "openssl",
            "verify",
            "-CAfile",
            "/etc/pve/pve-root-ca.pem",
            f"/etc/pve/nodes/{node.name}/pve-ssl.pem",
        )
    before = pve1.ok("sh", "-c", "sha256sum /etc/pve/*.pem /etc/pve/nodes/pve1/pve-ssl.*")
    # Into a pipe a second run prints nothing at all.
    assert pvecm(pve1, "updatecerts") == (0, "", "")
    assert pvecm(pve1, "updatecerts", "--silent") == (0, "", "")
    assert pve1.ok("sh", "-c", "sha256sum /etc/pve/*.pem /etc/pve/nodes/pve1/pve-ssl.*") == before
    # With these files PVE's own ssh works.
    assert (
        pve1.ok(
            "ssh",
            "-e",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "HostKeyAlias=pve2",
            "-o",
            "UserKnownHostsFile=/etc/pve/nodes/pve2/ssh_known_hosts",
            "-o",
            "GlobalKnownHostsFile=none",
            f"root@{pve2.addresses['public']}",
            "hostname",
        )
        == "pve2\n"
    )


def test_updatecerts_takes_a_new_address_only_by_force(pve1, cluster):
    assert pvecm(pve1, "updatecerts")[0] == 0
    pve1.write("/etc/hosts", "127.0.0.1 localhost\n" + cluster.hosts("vrack"))
    pve1.stop("pmxcfs")
    pve1.start_pmxcfs()
    cluster.wait_healthy()
    pvecm(pve1, "updatecerts")
    assert f"IP Address:{pve1.addresses['public']}" in names(pve1)
    assert pvecm(pve1, "updatecerts", "--force") == (
        0,
        "(re)generate node files\ngenerate new node certificate\n",
        "",
    )
    assert f"IP Address:{pve1.addresses['vrack']}" in names(pve1)
    assert f"IP Address:{pve1.addresses['public']}" not in names(pve1)
    assert pvecm(pve1, "updatecerts", "--force", "--silent") == (0, "", "")
    pve1.write("/etc/hosts", "127.0.0.1 localhost\n" + cluster.hosts("public"))
    pve1.stop("pmxcfs")
    pve1.start_pmxcfs()


@pytest.mark.parametrize("words, status", [([], 4), (["--force"], 4), (["--silent"], 0)])
def test_updatecerts_gives_up_without_quorum(pve1, cut, words, status):
    start = time.monotonic()
    assert pvecm(pve1, "updatecerts", *words) == (status, "", TIMEOUT)
    assert time.monotonic() - start >= LIMIT


def test_updatecerts_finishes_when_quorum_returns(pve1, cut, cluster):
    result = []
    thread = threading.Thread(
        target=lambda: result.append(
            pve1.run("env", "LAB_UPDATECERTS_SECONDS=60", "pvecm", "updatecerts").returncode
        )
    )
    thread.start()
    time.sleep(1)
    assert not result
    pve1.link("vrack", True)
    thread.join(60)
    assert result == [0]


def test_mtunnel_answers_with_the_one_address(pve1):
    ask = ("mtunnel", "-get_migration_ip", "-migration_network")
    assert pvecm(pve1, *ask, "10.66.0.0/24") == (0, "ip: '10.66.0.1'\n", "")
    assert pvecm(pve1, *ask, "10.66.0.1/24") == (0, "ip: '10.66.0.1'\n", "")
    assert pvecm(pve1, *ask, "10.77.0.0/24") == (
        255,
        "",
        "could not get migration ip: no IP address configured on local node for network '10.77.0.0/24'\n",
    )
    pve1.ok("ip", "address", "add", "10.66.0.77/24", "dev", "vrack")
    assert pvecm(pve1, *ask, "10.66.0.0/24") == (
        255,
        "",
        "could not get migration ip: multiple, different, IP address configured for network '10.66.0.0/24'\n",
    )
    pve1.ok("ip", "address", "del", "10.66.0.77/24", "dev", "vrack")


def test_mtunnel_without_quorum(pve1, cut):
    assert pvecm(pve1, "mtunnel", "-get_migration_ip", "-migration_network", "10.66.0.0/24") == (
        0,
        "no quorum\n",
        "",
    )


def test_without_corosync(pve1, cluster):
    pve1.stop("corosync")
    wait_for(lambda: not pve1.quorate(), "pmxcfs has noticed", 10)
    assert pvecm(pve1, "status") == (1, HEADER, "Cannot initialize CMAP service\n")
    assert pvecm(pve1, "nodes") == (1, "", "Cannot initialize CMAP service\n")
    assert pvecm(pve1, "expected", "1") == (1, "", "Cannot initialize CMAP service\n")
    pve1.start_corosync()


def test_without_pmxcfs(pve1, cluster):
    pve1.stop("pmxcfs")
    start = time.monotonic()
    assert pvecm(pve1, "status") == (111, "", DOWN)
    assert time.monotonic() - start > 8, "while it may be a restart the first one waits"
    start = time.monotonic()
    for words in (["status"], ["nodes"], ["expected", "2"], ["updatecerts"]):
        assert pvecm(pve1, *words) == (111, "", DOWN)
    assert time.monotonic() - start < 8
    pve1.start_pmxcfs()


def test_on_a_node_without_a_cluster(fresh):
    node = fresh.nodes[0]
    node.install()
    node.ok("rm", "/etc/corosync/corosync.conf")
    node.start_pmxcfs()
    for words in (["status"], ["nodes"], ["expected", "1"]):
        assert pvecm(node, *words) == (2, "", ALONE)
    assert pvecm(node, "updatecerts")[0] == 0
    assert node.exists("/etc/pve/nodes/pve1/pve-ssl.pem")
