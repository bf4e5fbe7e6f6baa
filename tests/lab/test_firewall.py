"""The firewall between the nodes, with packets really sent; and the probe that finds a filtered port."""

import json
import threading

import pytest

from lab.cluster import wait_for
from lab.state import MASTER

PEERS = {"pve1": "198.51.101.10", "pve2": "198.51.102.10"}
#: an address that is neither a node's nor the master's own
STRANGER = "198.51.100.66"
PORTS = list(range(5405, 5413))

LISTEN = """
import collections, json, select, socket, sys, time
address, seconds = sys.argv[1], float(sys.argv[2])
sockets = {}
for port in range(5405, 5413):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((address, port)); sockets[s] = port
seen, end = {}, time.monotonic() + seconds
while time.monotonic() < end:
    for s in select.select(list(sockets), [], [], 0.1)[0]:
        data, source = s.recvfrom(99)
        if data == b"end":
            end = 0
        else:
            seen.setdefault(source[0], []).append(sockets[s])
print(json.dumps(seen))
"""

SEND = """
import socket, sys
source, target, ports = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((source, 0))
for port in ports:
    s.sendto(sys.argv[4].encode(), (target, int(port)))
"""

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[2], 22), 1.5, (sys.argv[1], 0)).close()
except OSError:
    sys.exit(1)
"""

CLUSTER_FW = """\
[OPTIONS]
enable: 1

[IPSET management] # who may log in
192.0.2.7 # mine

[RULES]
IN SSH(ACCEPT) -source 192.0.2.7 # mine
"""


@pytest.fixture
def cluster(lab):
    """The two nodes without a firewall, and an address of a stranger on the master's machine."""
    lab.exec(MASTER, ["ip", "address", "add", f"{STRANGER}/24", "dev", "public0"], check=True)
    yield lab
    lab.exec(MASTER, ["ip", "address", "delete", f"{STRANGER}/24", "dev", "public0"], check=True)
    lab.exec("pve1", ["rm", "-f", "/etc/pve/firewall/cluster.fw"], check=True)
    lab.salt("pve*", "pve_firewall.remove", check=True)
    for node in lab.nodes:  # backups; a reset for them alone would take longer than the test
        lab.exec(node, ["rm", "-rf", "/var/lib/pve-corosync"], check=True)


def apply_sls(lab):
    """Apply firewall.sls on both nodes; return ``{node: result of its one state}``."""
    done = lab.salt(
        "--out=json", "--static", "-t", "60", "pve*", "state.apply", "corosync.firewall", check=True
    )
    found = {node: list(states.values()) for node, states in json.loads(done.stdout).items()}
    assert sorted(found) == ["pve1", "pve2"] and all(len(states) == 1 for states in found.values()), done
    return {node: states[0] for node, states in found.items()}


def send(lab, machine, source, target, ports, word="x"):
    lab.exec(machine, ["python3", "-c", SEND, source, target, ",".join(map(str, ports)), word], check=True)


def received(lab):
    """Send to all ports of pve1 as a stranger and as a peer; return ``{source: [ports that arrived]}``."""
    heard = {}
    thread = threading.Thread(
        target=lambda: heard.update(
            done=lab.exec("pve1", ["python3", "-c", LISTEN, PEERS["pve1"], "20"], timeout=40)
        )
    )
    thread.start()
    try:
        wait_for(
            lambda: f"{PEERS['pve1']}:5412" in lab.exec("pve1", ["ss", "-Hunl"]).stdout,
            20,
            every=0.2,
            what="the listener",
        )
        send(lab, MASTER, STRANGER, PEERS["pve1"], PORTS)
        send(lab, "pve2", PEERS["pve2"], PEERS["pve1"], PORTS)
        send(lab, "pve2", PEERS["pve2"], PEERS["pve1"], PORTS[-1:], "end")
    finally:
        thread.join(60)
    assert heard["done"].returncode == 0, heard
    return {source: sorted(ports) for source, ports in json.loads(heard["done"].stdout).items()}


def ssh_opens(lab, machine, source, target="pve1"):
    """Tell whether a connection to a node's sshd is accepted."""
    return lab.exec(machine, ["python3", "-c", CONNECT, source, PEERS[target]]).returncode == 0


def whole(lab):
    """Insist that corosync's links and Salt are as they were."""
    done = lab.salt("--out=json", "--static", "pve*", "test.ping", check=True)
    assert json.loads(done.stdout) == {"pve1": True, "pve2": True}, done
    for node in lab.nodes:
        said = lab.exec(node, ["corosync-cfgtool", "-s"]).stdout
        assert said.count(":\tconnected") == 1 and "disconnected" not in said, said
        assert lab.quorate(node) and lab.writable(node)


def rings(lab):
    return {
        lab.exec(node, ["corosync-quorumtool", "-s"]).stdout.split("Ring ID:")[1].split()[0]
        for node in lab.nodes
    }


def test_peers_get_through_and_strangers_do_not(cluster):
    assert received(cluster) == {STRANGER: PORTS, PEERS["pve2"]: PORTS}  # nothing is filtered yet
    assert ssh_opens(cluster, MASTER, STRANGER)
    before = rings(cluster)

    done = apply_sls(cluster)
    assert all(row["result"] is True and row["changes"] for row in done.values()), done
    assert received(cluster) == {PEERS["pve2"]: PORTS}
    told = json.loads(cluster.salt("--out=json", "--static", "pve1", "pve_firewall.state").stdout)["pve1"]
    assert told["backend"] == "nftables" and told["persistent"]
    assert told["dropped"]["corosync from strangers"] == len(PORTS)
    assert not ssh_opens(cluster, MASTER, STRANGER)
    assert ssh_opens(cluster, "pve2", PEERS["pve2"])
    assert ssh_opens(cluster, MASTER, "198.51.100.10")  # the pillar names it in management
    whole(cluster)
    assert rings(cluster) == before

    again = apply_sls(cluster)
    assert all(row["result"] is True and row["changes"] == {} for row in again.values()), again


def test_pve_firewall_is_given_rules_and_keeps_those_of_others(cluster):
    cluster.exec("pve1", ["mkdir", "-p", "/etc/pve/firewall"], check=True)
    cluster.write("pve1", "/etc/pve/firewall/cluster.fw", CLUSTER_FW)
    done = apply_sls(cluster)
    assert all(
        row["result"] is True and row["comment"].startswith("pve-firewall") for row in done.values()
    ), done
    texts = {node: cluster.read(node, "/etc/pve/firewall/cluster.fw") for node in cluster.nodes}
    assert texts["pve1"] == texts["pve2"]
    lines = texts["pve1"].splitlines()
    assert [line for line in lines if "pve-corosync" not in line and line] == [
        line for line in CLUSTER_FW.splitlines() if line
    ]
    management = lines[lines.index("[IPSET management] # who may log in") + 1 : lines.index("[RULES]")]
    for address in (*PEERS.values(), "10.66.0.1", "10.66.0.2"):
        assert any(line.startswith(f"{address} ") for line in management), management
    rules = lines[lines.index("[RULES]") + 1 :]
    assert rules[0].startswith("IN ACCEPT -source +pve-corosync -p udp -dport 5405:5412")
    ours = [line.split(" -log")[0] for line in rules[:5]]
    assert ours[2:] == [
        "IN ACCEPT -source +pve-corosync-ssh -p tcp -dport 22",
        "IN DROP -p udp -dport 5405:5412",
        "IN DROP -p tcp -dport 22",
    ]
    assert lines[lines.index("[IPSET pve-corosync-ssh] # pve-corosync") + 1].startswith("198.51.100.10 ")
    assert rules[-1] == "IN SSH(ACCEPT) -source 192.0.2.7 # mine"
    assert cluster.exec("pve2", ["nft", "list", "ruleset"]).stdout == ""  # one firewall, not two
    again = apply_sls(cluster)
    assert all(row["result"] is True and row["changes"] == {} for row in again.values()), again
    whole(cluster)
    cluster.salt("pve1", "pve_firewall.remove", check=True)
    assert cluster.read("pve2", "/etc/pve/firewall/cluster.fw") == CLUSTER_FW


def probe(lab):
    """Return exit code and report; where a minion began late on a busy machine, of the same command again."""
    for _ in range(3):
        done = lab.salt_run("--out=json", "corosync.probe", "degraded")
        report = json.loads(done.stdout)
        if "probe-silent" not in [item["code"] for item in report["findings"]]:
            break
    return done.returncode, report


def test_a_filtered_port_is_found_and_its_rule_opens_it(cluster):
    apply_sls(cluster)
    code, report = probe(cluster)
    assert (code, report["findings"]) == (0, []), report
    assert {way["link"] for way in report["ways"]} >= {"0 public", "1 vrack"}
    assert all(way["arrives"] and way["mtu"] == 1500 and way["latency_us"] > 0 for way in report["ways"])

    rules = (
        "table inet shut { chain in { type filter hook input priority 0; "
        "udp dport 5405 iifname public0 drop; }; }"
    )
    cluster.exec("pve2", ["nft", "-f", "-"], stdin=rules, check=True)
    code, report = probe(cluster)
    assert (code, report["result"]) == (1, "failed"), report
    (problem,) = report["findings"]
    assert (problem["code"], problem["data"]) == (
        "port-filtered",
        {"link": 0, "port": 5405, "nodes": ["pve1", "pve2"]},
    )
    rule = f"ip saddr {PEERS['pve1']} udp dport 5405 accept"
    assert f"'{rule}'" in problem["remedy"] and "on pve2" in problem["remedy"]
    assert {(way["from"], way["to"]) for way in report["ways"] if not way["arrives"]} == {("pve1", "pve2")}
    assert cluster.salt_run("corosync.probe", "degraded", "force=port-filtered").returncode == 0

    cluster.exec("pve2", ["nft", "insert", "rule", "inet", "shut", "in", *rule.split()], check=True)
    code, report = probe(cluster)
    assert (code, report["findings"]) == (0, []), report
    cluster.exec("pve2", ["nft", "delete", "table", "inet", "shut"], check=True)


def test_a_network_that_is_down_does_not_speak_against_the_failover(cluster):
    cluster.cut("vrack")
    wait_for(lambda: not any(map(cluster.quorate, cluster.nodes)), 40, what="the nodes to lose quorum")
    code, report = probe(cluster)
    assert (code, report["result"]) == (0, "done"), report
    assert {
        (item["code"], item["severity"]) for item in report["findings"] if item["code"] == "port-filtered"
    } == {("port-filtered", "warning")}
    assert {way["arrives"] for way in report["ways"] if way["link"] == "0 public"} == {True}
    assert {way["arrives"] for way in report["ways"] if way["link"] == "1 vrack"} == {False}
    cluster.heal()
    wait_for(lambda: all(map(cluster.quorate, cluster.nodes)), 40, what="quorum")
