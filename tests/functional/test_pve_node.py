import json
import os

import pytest
from _pve_world import World
from salt.exceptions import CommandExecutionError, SaltInvocationError

HOSTS = """\
127.0.0.1 localhost
# the cluster
10.66.0.1 pve1.example pve1 # vRack
10.66.0.2 pve2.example pve2
192.0.2.1 backup
"""
ADDRESSES = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}


def members(pve1="10.66.0.1", pve2="10.66.0.2"):
    return json.dumps(
        {
            "nodename": "pve1",
            "version": 3,
            "cluster": {"name": "prod", "version": 5, "nodes": 2, "quorate": 1},
            "nodelist": {
                "pve1": {"id": 1, "online": 1, "ip": pve1},
                "pve2": {"id": 2, "online": 1, "ip": pve2},
            },
        }
    )


@pytest.fixture
def node(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    world.mount()
    world.path = tmp_path
    world.hosts = world.file("etc/hosts", HOSTS)
    world.file("etc/pve/.members", members())
    world.units(
        corosync="active",
        pve_cluster="active",
        pve_firewall="active",
        pvestatd="active",
        pvedaemon="active",
        pveproxy="active",
    )
    interfaces = [
        {"ifname": "eth0", "addr_info": [{"local": "10.66.0.1", "prefixlen": 24}]},
        {"ifname": "eth1", "addr_info": [{"local": "198.51.100.10", "prefixlen": 24}]},
    ]
    (tmp_path / "ip").write_text(json.dumps(interfaces))
    world.tool("ip", 'cat "$WORLD/ip"')
    # the resolver, reduced to the files of this node: every address with that name, in order
    world.tool(
        "getent",
        """
        sed 's/#.*//' "$WORLD/root/etc/hosts" | while read -r address names; do
            for name in $names; do [ "$name" != "$2" ] || echo "$address STREAM $2"; done
        done
        """,
    )
    return world


def test_names_moves_only_the_cluster_and_reads_it_back(node):
    node.hosts.chmod(0o640)
    told = node.salt["pve_node.names"](ADDRESSES)
    text = node.hosts.read_text()
    assert "127.0.0.1 localhost" in text and "192.0.2.1 backup" in text and "# the cluster" in text
    assert told["changed"] and told["own"] == {
        "name": "pve1",
        "address": "198.51.100.10",
        "interface": "eth1",
        "resolved": ["198.51.100.10"],
    }
    assert "-10.66.0.1 pve1.example pve1 # vRack" in told["diff"] and "203.0.113.20" in told["diff"]
    assert open(told["backup"], encoding="utf-8").read() == HOSTS
    assert node.hosts.stat().st_mode & 0o777 == 0o640


def test_names_twice_writes_once(node):
    node.salt["pve_node.names"](ADDRESSES)
    before = node.hosts.stat().st_ino
    told = node.salt["pve_node.names"](ADDRESSES)
    assert (told["changed"], told["diff"], told["backup"]) == (False, "", None)
    assert node.hosts.stat().st_ino == before


def test_names_test_writes_nothing(node):
    told = node.salt["pve_node.names"](ADDRESSES, test=True)
    assert told["changed"] and told["diff"] and told["backup"] is None
    assert node.hosts.read_text() == HOSTS


def test_names_puts_the_old_file_back_when_the_name_resolves_elsewhere(node):
    node.tool("getent", "echo 203.0.113.9 STREAM pve1")
    with pytest.raises(
        CommandExecutionError, match="would take 203.0.113.9 and not 198.51.100.10.*as it was before"
    ):
        node.salt["pve_node.names"](ADDRESSES)
    assert node.hosts.read_text() == HOSTS


@pytest.mark.parametrize("said, word", [("echo 127.0.1.1 STREAM pve1", "loopback"), ("exit 2", "no address")])
def test_names_puts_the_old_file_back_when_pmxcfs_could_not_start(node, said, word):
    node.tool("getent", said)
    with pytest.raises(CommandExecutionError, match=word):
        node.salt["pve_node.names"](ADDRESSES)
    assert node.hosts.read_text() == HOSTS


def test_names_refuses_an_address_that_is_not_here_before_writing(node):
    with pytest.raises(CommandExecutionError, match="198.51.100.99 is on no interface"):
        node.salt["pve_node.names"](dict(ADDRESSES, pve1="198.51.100.99"))
    assert node.hosts.read_text() == HOSTS


@pytest.mark.parametrize(
    "addresses, word",
    [
        ({"pve2": "203.0.113.20"}, "no entry for this node, pve1"),
        ({"pve1": "nonsense", "pve2": "127.0.0.2"}, "nonsense.*127.0.0.2 is a loopback"),
        ({}, "mapping"),
    ],
)
def test_names_checks_what_it_is_given(node, addresses, word):
    with pytest.raises(SaltInvocationError, match=word):
        node.salt["pve_node.names"](addresses)


def test_names_warns_of_cloud_init(node):
    node.hosts.write_text("# Your system has configured 'manage_etc_hosts' as True.\n" + HOSTS)
    assert "cloud-init" in node.salt["pve_node.names"](ADDRESSES)["notes"][0]


def moved(node):
    node.salt["pve_node.names"](ADDRESSES)
    node.hook(
        "on-start",
        f"""[ "$1" != pve-cluster ] || cat >"$WORLD/root/etc/pve/.members" <<E
{members("198.51.100.10")}
E
""",
    )


def test_restart_waits_for_the_new_address(node):
    moved(node)
    told = node.salt["pve_node.restart_pve_cluster"]("198.51.100.10", timeout=10)
    assert told["changed"] and told["seen"] == {"pve1": "198.51.100.10"}
    assert list(told["seconds"]) == ["restart", "mounted", "writable", "members"]
    assert node.salt["pve_node.restart_pve_cluster"]("198.51.100.10")["changed"] is False
    assert node.calls("systemctl restart") == ["systemctl restart pve-cluster.service"]
    node.salt["pve_node.restart_pve_cluster"]("198.51.100.10", always=True, timeout=5)
    assert len(node.calls("systemctl restart")) == 2


def test_restart_is_refused_where_it_would_harm(node):
    restart = node.salt["pve_node.restart_pve_cluster"]
    with pytest.raises(CommandExecutionError, match="would take 10.66.0.1"):
        restart("198.51.100.10")
    moved(node)
    node.units(corosync="inactive")
    with pytest.raises(CommandExecutionError, match="corosync does not run"):
        restart("198.51.100.10")
    node.units(corosync="active")
    node.mount(writable=False)
    with pytest.raises(CommandExecutionError, match="not quorate.*before a restart"):
        restart("198.51.100.10")
    assert node.calls("systemctl restart") == []


def test_restart_that_does_not_come_back_quotes_the_journal(node):
    node.salt["pve_node.names"](ADDRESSES)
    node.tool("journalctl", "echo '[main] crit: Unable to resolve node name'")
    with pytest.raises(
        CommandExecutionError, match=r"10.66.0.1 for pve1, 198.51.100.10 wanted.*Unable to resolve"
    ):
        node.salt["pve_node.restart_pve_cluster"]("198.51.100.10", timeout=0.5)
    (node.path / "restart-fails").write_text("Job for pve-cluster.service failed.")
    with pytest.raises(CommandExecutionError, match="did not start again: Job for pve-cluster"):
        node.salt["pve_node.restart_pve_cluster"]("198.51.100.10", timeout=5)


def test_wait_members_tells_what_is_missing(node):
    told = node.salt["pve_node.wait_members"](ADDRESSES, timeout=0.3)
    assert (
        not told["ok"]
        and len(told["missing"]) == 2
        and "10.66.0.2 for pve2, 203.0.113.20 wanted" in told["missing"][1]
    )
    node.file("etc/pve/.members", members(*ADDRESSES.values()))
    told = node.salt["pve_node.wait_members"](ADDRESSES, timeout=0)
    assert told["ok"] and told["seen"] == ADDRESSES and told["missing"] == []
    assert node.salt["pve_node.members"]() == {"own": "pve1", "nodes": ADDRESSES, "quorate": True}


def test_reload_services_reloads_and_restarts_nothing(node):
    told = node.salt["pve_node.reload_services"]()
    assert {name: entry["done"] for name, entry in told["services"].items()} == {
        "pve-firewall": "reloaded",
        "pvestatd": "reloaded",
        "pvedaemon": "reloaded",
        "pveproxy": "reloaded",
    }
    assert told["failed"] == [] and all(e["active"] and e["pid_kept"] for e in told["services"].values())
    assert node.calls("systemctl re") == [
        "systemctl reload-or-restart pve-firewall.service",
        "systemctl reload-or-restart pvestatd.service",
        "systemctl reload-or-restart pvedaemon.service",
        "systemctl reload-or-restart pveproxy.service",
    ]


def test_reload_services_without_quorum_touches_the_firewall_only(node):
    node.mount(writable=False)
    node.units(pvestatd="inactive")
    (node.path / "units/pvedaemon").unlink()
    told = node.salt["pve_node.reload_services"]()["services"]
    assert told["pve-firewall"]["done"] == "reloaded"
    assert "not quorate" in told["pveproxy"]["why"] and told["pvestatd"]["why"] == "does not run (inactive)"
    assert told["pvedaemon"] == {
        "done": "left alone",
        "why": "not installed",
        "active": False,
        "pid_kept": False,
    }
    assert node.calls("systemctl reload") == ["systemctl reload-or-restart pve-firewall.service"]


def started(node, **monotonic):
    """Let systemd tell these times of start, in microseconds since boot."""
    for name, since in monotonic.items():
        (node.path / f"since-{name.replace('_', '-')}").write_text(str(since))


def test_a_reload_of_pve_firewall_counts_as_a_look(node):
    node.file("proc/sys/kernel/random/boot_id", "boot-1\n")
    due = node.salt["pve_node.services_due"]
    started(node, pve_firewall=5, pve_cluster=4)
    assert due() == ""
    started(node, pve_cluster=9)
    assert "pve-firewall has not looked" in due()
    node.salt["pve_node.reload_services"]()
    assert due() == ""
    started(node, pve_cluster=11)
    assert due()
    node.salt["pve_node.reload_services"]()
    node.file("proc/sys/kernel/random/boot_id", "boot-2\n")  # the same number says nothing after a boot
    assert due()


def test_a_reload_that_failed_is_no_look(node):
    started(node, pve_firewall=5, pve_cluster=9)
    (node.path / "reload-or-restart-fails").write_text("no")
    assert "pve-firewall" in node.salt["pve_node.reload_services"]()["failed"]
    assert node.salt["pve_node.services_due"]()


def test_reload_services_names_what_fails_and_the_tasks(node):
    def task(pid):
        node.file(f"proc/{pid}/cmdline", f"task UPID:pve1:{pid}:vzdump:100:root@pam:\0")

    task(10)
    task(11)
    node.file("proc/12/cmdline", "pvedaemon worker\0")
    node.hook(
        "on-start",
        '[ "$1" != pvestatd ] || { rm -r "$WORLD/root/proc/11"; echo failed >"$WORLD/units/pvestatd"; }',
    )
    told = node.salt["pve_node.reload_services"]()
    assert told["failed"] == ["pvestatd"]
    assert told["tasks"] == {
        "before": ["UPID:pve1:10:vzdump:100:root@pam:", "UPID:pve1:11:vzdump:100:root@pam:"],
        "after": ["UPID:pve1:10:vzdump:100:root@pam:"],
        "gone": ["UPID:pve1:11:vzdump:100:root@pam:"],
    }


def test_a_defect_is_not_taken_for_a_module_that_is_not_there(node):
    read = node.salt["corosync.exit_facts"].__globals__["_read"]
    assert "is not available" not in read(lambda: {}["ip"])[1] and "'ip'" in read(lambda: {}["ip"])[1]
    lacks = {}  # what the loader has of a module that is not there
    assert read(lambda: lacks["pvesr.status"]()) == (None, "pvesr.status is not available on this node")


def test_migration_network_is_looked_up_as_pve_does(node):
    assert node.salt["pve_node.migration_network"]() == {"set": {}, "networks": {}, "problems": []}
    node.file(
        "etc/pve/datacenter.cfg", "migration: secure,network=10.66.0.0/24\nreplication: network=10.0.0\n"
    )
    told = node.salt["pve_node.migration_network"]("198.51.100.10")
    assert told["networks"]["10.66.0.0/24"] == {"used_by": "migration", "addresses": ["10.66.0.1"]}
    assert [problem["code"] for problem in told["problems"]] == [
        "datacenter-network-elsewhere",
        "datacenter-network-bad",
    ]
    assert "ip -j address show up" in node.calls("ip")


def test_no_file_is_left_behind(node):
    node.salt["pve_node.names"](ADDRESSES)
    assert [name for name in os.listdir(node.root / "etc") if name.startswith(".hosts")] == []
