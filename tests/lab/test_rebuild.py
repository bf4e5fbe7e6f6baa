"""A reinstalled node joins its cluster again, on real daemons."""

import json
import re

import pytest
from highstates import changes, highstate, layout_state, unmet
from links import files
from reinstalled import GUESTS, reinstall, unlike
from runbook import typed

from lab.cluster import wait_for


@pytest.fixture(autouse=True)
def answering(lab):
    lab.wait_minions()


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
    old = lab.exec("pve1", ["sh", "-c", "grep root@pve2 /etc/pve/priv/authorized_keys"], check=True).stdout
    code, said = typed(lab, "One node dead", 2)
    assert code == 0, said
    (key,) = set(re.findall(r"salt pve1 pvecm.drop_key (SHA256:[A-Za-z0-9+/]+)", said))
    lab.salt("pve1", "pvecm.drop_key", key, check=True)
    left = lab.read("pve1", "/etc/pve/priv/authorized_keys")
    assert old not in left and "root@pve2" in left, "the old key is out, the new one is in"
    assert all(map(lab.healthy, lab.nodes)) and len(files(lab)) == 1
    assert lab.exec("pve1", GUESTS, check=True).stdout == before
    assert not unlike(lab, "replication")
    states = highstate(lab, "pve2")["pve2"]
    assert unmet(states) == {}
    assert not any(row["changes"] for row in highstate(lab, "pve2")["pve2"].values())
    lab.reset(force=True)


def test_a_reinstalled_node_comes_back_by_its_own_highstate(lab):
    """It asks the master by an event, the reactor rebuilds it, and the same highstate goes on."""
    conf = "/etc/salt/master.d/reactor.conf"
    lab.exec("master", ["mkdir", "-p", "/etc/salt/master.d"], check=True)
    lab.write("master", conf, "reactor: [{'corosync/*/rebuild/*': ['salt://reactor/rebuild.sls']}]\n")
    lab.exec("master", ["systemctl", "restart", "salt-master"], check=True)
    try:
        lab.wait_minions()
        reinstall(lab, "pve2")
        wait_for(lambda: not lab.quorate("pve1"), 30, what="pve1 to lose quorum")
        tested = layout_state(highstate(lab, "pve2", "test=True")["pve2"])
        assert tested["result"] is None and set(tested["changes"]) == {"rebuild"}, tested
        states = highstate(lab, "pve2")["pve2"]
        assert layout_state(states)["changes"] == tested["changes"], states
        bad = {name: row for name, row in states.items() if row["result"] is not True}
        assert not bad, bad
        assert all(map(lab.healthy, lab.nodes)) and len(files(lab)) == 1
        assert changes(highstate(lab, "pve2")["pve2"]) == {}
    finally:
        lab.exec("master", ["rm", conf], check=True)
        lab.exec("master", ["systemctl", "restart", "salt-master"], check=True)
        lab.wait_minions()
        lab.reset(force=True)
