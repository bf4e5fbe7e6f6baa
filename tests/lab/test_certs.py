"""Certificates and known hosts: read from the nodes' files, after the names moved and when they are wrong."""

import json
import time

import pytest
from phases import PUBLIC, VRACK, codes, failing, heal, orchestrate, run, texts

from lab.cluster import wait_for

OTHER_KEY = "pve2 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7\n"
#: pvecm updatecerts blocks for 80 s without quorum; the refusal comes before it.
AT_ONCE = 30


@pytest.fixture
def cluster(lab):
    """Two nodes whose certificates are of the names on the vRack."""
    lab.wait_minions()
    code, report = run(lab, "corosync.update_certs")
    assert code == 0, report
    return lab


def pem(node):
    return f"/etc/pve/nodes/{node}/pve-ssl.pem"


def sans(lab, node):
    """Return the names and addresses in the certificate of a node, as openssl reads them there."""
    words = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", pem(node)]
    said = lab.exec(node, words, check=True).stdout.splitlines()[-1]
    return {entry.strip().partition(":")[2] for entry in said.split(",")}


def fingerprints(lab):
    words = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in"]
    return {node: lab.exec(node, [*words, pem(node)], check=True).stdout for node in lab.nodes}


def test_a_failover_makes_certificates_of_the_new_addresses_and_a_second_run_none(cluster):
    for node in cluster.nodes:
        assert {node, VRACK[node]} <= sans(cluster, node) and PUBLIC[node] not in sans(cluster, node)
    cluster.cut("vrack")
    code, said = orchestrate(cluster, "failover")
    assert code == 0, said
    for node in cluster.nodes:
        assert {node, PUBLIC[node]} <= sans(cluster, node)
    before = fingerprints(cluster)
    code, report = run(cluster, "corosync.update_certs", "degraded")
    assert (code, report["result"], report["findings"]) == (0, "already", []), report
    assert fingerprints(cluster) == before
    heal(cluster)


def test_a_new_certificate_is_made_only_where_it_is_needed(cluster):
    before = fingerprints(cluster)
    cluster.write("pve2", pem("pve2"), "")
    code, report = run(cluster, "corosync.update_certs")
    assert (code, report["result"]) == (0, "done"), report
    assert report["summary"].startswith("new certificates on pve2;")
    now = fingerprints(cluster)
    assert now["pve1"] == before["pve1"] and now["pve2"] != before["pve2"]
    assert {"pve2", VRACK["pve2"]} <= sans(cluster, "pve2")
    code, report = run(cluster, "corosync.update_certs", "renew=True")
    assert (code, report["result"]) == (0, "done"), report
    assert not set(fingerprints(cluster).values()) & set(now.values())


def test_without_quorum_it_is_refused_at_once(cluster):
    before = fingerprints(cluster)
    cluster.cut("vrack")
    wait_for(lambda: not any(map(cluster.quorate, cluster.nodes)), 40, what="the nodes to lose quorum")
    begun = time.monotonic()
    code, report = run(cluster, "corosync.update_certs")
    assert time.monotonic() - begun < AT_ONCE
    assert (code, report["result"], set(codes(report))) == (1, "refused", {"phase-failed"}), report
    assert "not quorate" in texts(report) and "corosync.apply" in report["findings"][0]["remedy"]
    begun = time.monotonic()
    done = cluster.salt("--out=json", "--static", "pve1", "pve_certs.update")
    assert time.monotonic() - begun < AT_ONCE
    assert "not quorate" in json.loads(done.stdout)["pve1"], done
    cluster.heal()
    wait_for(lambda: all(map(cluster.quorate, cluster.nodes)), 40, what="quorum")
    assert fingerprints(cluster) == before


def test_a_falsified_host_key_of_a_peer_is_found_and_repaired(cluster):
    tool = cluster.exec("pve2", ["which", "pvecm"], check=True).stdout.strip()
    cluster.write("pve1", "/etc/pve/nodes/pve2/ssh_known_hosts", OTHER_KEY)
    code, report = run(cluster, "corosync.verify")
    assert code == 1 and "known hosts" in failing(report), report

    # a pvecm that does nothing, so that the wrong file is still there when all is read back
    cluster.exec("pve2", ["mv", tool, f"{tool}.real"], check=True)
    try:
        cluster.write("pve2", tool, "#!/bin/sh\nexit 0\n")
        cluster.exec("pve2", ["chmod", "755", tool], check=True)
        code, report = run(cluster, "corosync.update_certs")
    finally:
        cluster.exec("pve2", ["mv", f"{tool}.real", tool], check=True)
    assert (code, report["result"]) == (1, "failed"), report
    found = [item for item in report["findings"] if item["code"] == "host-key-differs"]
    assert [item["data"] for item in found] == [{"node": name, "peer": "pve2"} for name in cluster.nodes]
    assert all("on pve2: pvecm updatecerts" in item["remedy"] for item in found)

    code, report = run(cluster, "corosync.update_certs")
    assert code == 0, report
    code, report = run(cluster, "corosync.verify")
    assert "known hosts" not in failing(report), report
