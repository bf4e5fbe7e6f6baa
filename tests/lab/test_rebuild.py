"""A reinstalled node joins its cluster again, on real daemons."""

import json

import pytest
from highstates import changes, highstate, layout_state, texts

from lab.cluster import wait_for
from lab.network import PUBLIC, address

REINSTALL = """
systemctl stop pve-ha-lrm pve-ha-crm pvestatd pvedaemon pveproxy pve-firewall corosync pve-cluster
rm -rf /etc/corosync/corosync.conf /etc/corosync/authkey /var/lib/pve-cluster/* /root/.ssh
rm -rf /var/lib/pve-corosync
rm -rf /run/pve-corosync /etc/ssh/ssh_host_rsa_key*
ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/ssh_host_rsa_key
sed -i '/ pve[0-9]/d' /etc/hosts
echo "$1 $2.lab $2" >>/etc/hosts
systemctl restart ssh
systemctl start pve-cluster pvestatd pvedaemon pveproxy pve-ha-lrm pve-ha-crm pve-firewall
"""
GUESTS = ["sh", "-c", "sha256sum /etc/pve/nodes/*/qemu-server/*.conf"]


def reinstall(lab, node):
    """Leave what a new installation has: the node's name on its public address, other keys, no cluster."""
    lab.exec(node, ["sh", "-s", address(node, PUBLIC), node], stdin=REINSTALL, check=True)


def unlike(lab, *known):
    """Return the items of the exit checklist that are not true, but for those that are known."""
    report = json.loads(lab.salt_run("--out=json", "corosync.verify").stdout)
    return {
        item["item"]: item["seen"]
        for item in report["checklist"]
        if not item["ok"] and item["item"] not in known
    }


@pytest.fixture(autouse=True)
def synced(request):
    """The lab with the modules of this tree."""
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").sync()


def test_a_reinstalled_node_joins_again_and_guests_stay(lab):
    """
    Same name, empty disk, other keys, the names of an installation: back by one command, over the links in
    force, with the guests untouched.
    """
    for guest in ("/etc/pve/nodes/pve1/qemu-server/1100.conf", "/etc/pve/nodes/pve2/qemu-server/1200.conf"):
        lab.write("pve1", guest, "memory: 64\n")
    before = lab.exec("pve1", GUESTS, check=True).stdout
    refused = lab.salt_run("--out=json", "corosync.rebuild", "pve2", "progress=False")
    assert json.loads(refused.stdout)["result"] == "already", "a healthy member is left alone"
    reinstall(lab, "pve2")
    wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
    asked = lab.salt(
        *("--out=json", "--static", "pve2", "state.single", "corosync.ring_layout"),
        *("name=links of the cluster", "rebuild=3"),
    )
    row = layout_state(json.loads(asked.stdout)["pve2"])
    assert row["result"] is False and "is its reactor configured" in row["comment"]
    assert "orch.rebuild" in row["comment"]
    done = lab.salt_run("state.orchestrate", "orch.rebuild", 'pillar={"node": "pve2"}', timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(map(lab.healthy, lab.nodes)) and len(texts(lab)) == 1
    assert lab.exec("pve1", GUESTS, check=True).stdout == before
    assert not unlike(lab, "replication")
    states = highstate(lab, "pve2")["pve2"]
    assert all(row["result"] is True for row in states.values()), states
    assert not any(row["changes"] for row in highstate(lab, "pve2")["pve2"].values())
    lab.reset(force=True)


def test_a_reinstalled_node_comes_back_by_its_own_highstate(lab):
    """It asks the master by an event, the reactor rebuilds it, and the same highstate goes on."""
    conf = "/etc/salt/master.d/reactor.conf"
    lab.exec("master", ["mkdir", "-p", "/etc/salt/master.d"], check=True)
    lab.write("master", conf, "reactor: [{'corosync/*/rebuild/*': ['salt://reactor/rebuild.sls']}]\n")
    lab.exec("master", ["systemctl", "restart", "salt-master"], check=True)
    try:
        lab.sync()
        reinstall(lab, "pve2")
        wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
        tested = layout_state(highstate(lab, "pve2", "test=True")["pve2"])
        assert tested["result"] is None and set(tested["changes"]) == {"rebuild"}, tested
        states = highstate(lab, "pve2")["pve2"]
        assert layout_state(states)["changes"] == tested["changes"], states
        assert all(row["result"] is True for row in states.values()), states
        assert all(map(lab.healthy, lab.nodes)) and len(texts(lab)) == 1
        assert changes(highstate(lab, "pve2")["pve2"]) == {}
    finally:
        lab.exec("master", ["rm", conf], check=True)
        lab.exec("master", ["systemctl", "restart", "salt-master"], check=True)
        lab.sync()
        lab.reset(force=True)


def test_of_three_nodes_two_stay_quorate_and_take_the_third_back(three):
    """Its entry is overwritten, so that it has its nodeid again, and the others never lose quorum."""
    three.sync()
    three.exec("pve1", ["pvesr", "run", "--id", "100-0"], check=True)  # its schedule would have by then
    three.write("pve1", "/etc/pve/nodes/pve3/qemu-server/1300.conf", "memory: 64\n")
    before = three.exec("pve1", GUESTS, check=True).stdout
    reinstall(three, "pve3")
    wait_for(lambda: three.members("pve1") == [1, 2], 30, what="pve3 to be gone")
    told = json.loads(three.salt_run("--out=json", "corosync.rebuild", "pve3", "test=True").stdout)
    assert "its entry is overwritten" in told["summary"] and three.members("pve1") == [1, 2], told
    losses = ["journalctl", "--no-pager", "-o", "cat", "-u", "pve-cluster", "--grep", "node lost quorum"]
    lost = three.exec("pve1", losses).stdout
    done = three.salt_run("state.orchestrate", "orch.rebuild", 'pillar={"node": "pve3"}', timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(map(three.healthy, three.nodes)) and len(texts(three)) == 1
    assert {node: three.members(node) for node in three.nodes} == dict.fromkeys(three.nodes, [1, 2, 3])
    assert three.exec("pve1", losses).stdout == lost
    assert three.exec("pve1", GUESTS, check=True).stdout == before
    assert not unlike(three)
    states = highstate(three, "pve3")["pve3"]
    assert all(row["result"] is True for row in states.values()), states
    assert changes(highstate(three, "pve3")["pve3"]) == {}
