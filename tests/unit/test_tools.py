"""What corosync's tools print, in the forms of 3.1.1 to 3.1.10, and what no tool prints."""

import json
import subprocess

import pytest
from pve_corosync.tools import corosync, pve


@pytest.mark.parametrize(
    "parser, text",
    [
        (corosync.cmap, "totem.token = 1\n"),
        (corosync.cmap, "totem.token (u32) = x\n"),
        (corosync.cmap, "totem.token (u32) =\n"),
        (corosync.quorum, ""),
        (corosync.quorum, "Cannot initialize CMAP service\n"),
        (corosync.quorum, "Quorum information\nQuorate:          Maybe\n"),
        (corosync.quorum, "Quorum information\nQuorate:   Yes\nExpected votes: many\n"),
        (
            corosync.quorum,
            "Quorate: Yes\n\nMembership information\n    Nodeid      Votes Name\nwho knows\n",
        ),
        (corosync.members, ""),
        (corosync.members, "Membership information\n-----\nx\n"),
        (pve.pvecm_status, ""),
        (pve.pvecm_status, "Cluster information\n-----\nName:   x\n"),
        (pve.pvecm_nodes, ""),
        (pve.pmxcfs_members, ""),
        (pve.pmxcfs_members, "[]"),
        (pve.pmxcfs_members, "{}"),
        (pve.pmxcfs_members, '{"nodename": "a", "version": 1, "nodelist": {"a": {}}}'),
        (pve.pvesr_list, "rubbish\n"),
        (pve.pvesr_list, "100-0 local/pve2 */15\n"),
        (pve.pvesr_status, "100-0 Yes local/pve2 now then 1 0 OK\n"),
        (pve.ha_status, ""),
        (pve.ha_status, "quorum OK\nwhat is this\n"),
        (corosync.corosync_version, "bash: corosync: command not found"),
        (corosync.ip_addresses, 'Object "adr" is unknown'),
        (corosync.ip_addresses, '[{"addr_info": []}]'),
        (corosync.ip_addresses, '[{"ifname": "a", "addr_info": [{"local": "x", "prefixlen": 24}]}]'),
        (corosync.ip_addresses, "7"),
    ],
)
def test_what_is_not_understood_is_an_error(parser, text):
    with pytest.raises(corosync.OutputError) as caught:
        parser(text)
    assert ": " in str(caught.value) and isinstance(caught.value, ValueError)


def test_the_line_that_does_not_fit_is_named():
    with pytest.raises(corosync.OutputError, match=r"corosync-cmapctl: does not fit: 'what\? no'"):
        corosync.cmap("a.b (u8) = 1\nwhat? no\n")


@pytest.mark.parametrize(
    "out, err, rc, ok, error",
    [
        ("Reloading corosync.conf...\nDone\n", "", 0, True, ""),
        (
            "Reloading corosync.conf...\n",
            "Could not reload configuration. Error CS_ERR_INVALID_PARAM\n",
            7,
            False,
            "Could not reload configuration. Error CS_ERR_INVALID_PARAM",
        ),
        (
            "Reloading corosync.conf...\n",
            "Could not reload configuration. Error CS_ERR_INVALID_PARAM\n",
            0,
            False,
            "Could not reload configuration. Error CS_ERR_INVALID_PARAM",
        ),
        (
            "Reloading corosync.conf...\nDone\nERROR from reload: x - see syslog for more information\n",
            "Errors in appying config, corosync.conf might not match the running system\n",
            1,
            False,
            "ERROR from reload: x",
        ),
        (
            "Reloading corosync.conf...\n",
            "Could not initialize corosync configuration API error CS_ERR_LIBRARY\n",
            1,
            False,
            "CS_ERR_LIBRARY",
        ),
        ("Reloading corosync.conf...\n", "", 0, False, "did not print Done"),
        ("Reloading corosync.conf...\nDone\n", "", 1, False, "exit code 1"),
        ("", "", 0, False, "did not print Done"),
    ],
)
def test_reload_result(out, err, rc, ok, error):
    seen = corosync.reload_result(out, err, rc)
    assert seen["ok"] == ok and error in seen["error"] and bool(seen["error"]) != ok


CMAP = """\
config.reload_in_progress (u8) = 0
config.reload_status (i32) = 1
internal_configuration.service.0.name (str) = corosync_cmap
nodelist.local_node_pos (u32) = 1
nodelist.node.0.name (str) = pve1
nodelist.node.0.nodeid (u32) = 1
nodelist.node.0.ring0_addr (str) = 10.66.0.1
nodelist.node.10.nodeid (u32) = 7
nodelist.node.10.ring0_addr (str) = 10.66.0.7
nodelist.node.1.name (str) = pve2
nodelist.node.1.nodeid (u32) = 2
nodelist.node.1.ring0_addr (str) = 10.66.0.2
nodelist.node.1.ring2_addr (str) = 203.0.113.20
runtime.config.totem.consensus (u32) = 3600
runtime.config.totem.interface.0.knet_ping_interval (u32) = 750
runtime.config.totem.token (u32) = 3000
runtime.members.2.config_version (u64) = 4
runtime.members.2.ip (str) = r(0) ip(10.66.0.2)\x20
runtime.members.2.status (str) = joined
some.binary (bin)
some.double (dbl) = 0.500000
some.empty (str) =\x20
totem.cluster_name (str) = prod
totem.config_version (u64) = 18446744073709551615
totem.interface.0.knet_link_priority (u8) = 10
totem.interface.0.knet_ping_interval (u32) = 600
totem.interface.2.knet_transport (str) = udp
"""
STATS = """\
stats.knet.handle.tx_crypt_packets (u64) = 12
stats.knet.node1.link0.connected (u8) = 1
stats.knet.node1.link0.down_count (u32) = 2
stats.knet.node1.link0.enabled (u8) = 1
stats.knet.node1.link0.latency_ave (u32) = 180
stats.knet.node1.link0.mtu (u32) = 1397
stats.knet.node1.link2.connected (u8) = 0
stats.knet.node1.link2.enabled (u8) = 1
stats.knet.node2.link0.connected (u8) = 1
stats.knet.node9.link0.connected (u8) = 0
stats.srp.time_since_token_last_received (u64) = 3
"""


def test_cmap_values_have_their_types():
    seen = corosync.cmap(CMAP)
    assert seen["totem.config_version"] == 2**64 - 1 and seen["config.reload_status"] == 1
    assert seen["some.binary"] is None and seen["some.double"] == 0.5 and seen["some.empty"] == ""
    assert seen["runtime.members.2.ip"] == "r(0) ip(10.66.0.2) "
    assert corosync.cmap("") == {} and corosync.cmap("a.b (str) =") == {"a.b": ""}
    assert len(seen) == len(CMAP.splitlines())


def test_runtime():
    assert corosync.runtime(corosync.cmap(CMAP)) == {
        "version": 2**64 - 1,
        "cluster_name": "prod",
        "reload_status": 1,
        "nodeid": 2,
        "token": 3000,
        "consensus": 3600,
        "members": {2: ["10.66.0.2"]},
        "joined": {2: {"status": "joined", "version": 4}},
        "nodes": {
            "pve1": {"nodeid": 1, "addresses": {0: "10.66.0.1"}},
            "pve2": {"nodeid": 2, "addresses": {0: "10.66.0.2", 2: "203.0.113.20"}},
            "10.66.0.7": {"nodeid": 7, "addresses": {0: "10.66.0.7"}},
        },
        "interfaces": {
            0: {"knet_link_priority": "10", "knet_ping_interval": "750"},
            2: {"knet_transport": "udp"},
        },
    }


def test_runtime_after_a_refused_reload_and_of_nothing():
    found = corosync.cmap(
        CMAP.replace("nodelist.local_node_pos (u32) = 1\n", "runtime.votequorum.this_node_id (u32) = 2\n")
    )
    assert corosync.runtime(found)["nodeid"] == 2
    assert corosync.runtime({}) == {
        "version": 0,
        "cluster_name": None,
        "reload_status": None,
        "nodeid": None,
        "token": None,
        "consensus": None,
        "members": {},
        "joined": {},
        "nodes": {},
        "interfaces": {},
    }


def test_link_stats_are_of_other_nodes_by_name():
    running = corosync.runtime(corosync.cmap(CMAP))
    none = {"mtu": None, "latency_us": None, "down_count": None}
    assert corosync.link_stats(corosync.cmap(STATS), running) == {
        "pve1": {
            0: {"connected": True, "enabled": True, "mtu": 1397, "latency_us": 180, "down_count": 2},
            2: {"connected": False, "enabled": True, **none},
        },
        "#9": {0: {"connected": False, "enabled": False, **none}},
    }


QUORUM = """\
Quorum information
------------------
Date:             Mon Nov 23 09:14:20 2026
Quorum provider:  corosync_votequorum
Nodes:            2
Node ID:          {node}
Ring ID:          a.1e
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      3
Quorum:           2 \x20
Flags:            2Node Quorate WaitForAll Qdevice\x20

Membership information
----------------------
{rows}"""


@pytest.mark.parametrize(
    "node, rows",
    [
        (
            "10",
            "    Nodeid      Votes    Qdevice Name\n        10          1    A,V,NMW pve1 (local)\n"
            "        11          1         NR 10.66.0.2\n         0          1            Qdevice\n",
        ),
        (
            "0x0000000a",
            "    Nodeid      Votes    Qdevice Name\n0x0000000a          1    A,V,NMW 10.66.0.1 (local)\n"
            "0x0000000b          1  NA,NV,NMW 10.66.0.2, 198.51.100.2\n"
            "0x00000000          1            Qdevice (votes 1)\n",
        ),
    ],
)
def test_quorum_decimal_and_hexadecimal_with_a_qdevice(node, rows):
    assert corosync.quorum(QUORUM.format(node=node, rows=rows)) == {
        "quorate": True,
        "ring_id": "a.1e",
        "expected": 3,
        "highest_expected": 3,
        "total": 3,
        "quorum": 2,
        "flags": ["2Node", "Quorate", "WaitForAll", "Qdevice"],
        "members": [10, 11],
        "nodeid": 10,
        "votes": {10: 1, 11: 1},
        "qdevice_votes": 1,
    }


def test_members_with_and_without_a_qdevice():
    head = "\nMembership information\n----------------------\n    Nodeid      Votes Name\n"
    assert corosync.members(head + "         1          1 pve1 (local)\n         2          0 \n") == {
        1: {"name": "pve1", "votes": 1, "local": True, "qdevice": None},
        2: {"name": "", "votes": 0, "local": False, "qdevice": None},
    }
    seen = corosync.members(
        head + "         1          1    A,V,NMW pve1 (local)\n         2          1         NR pve2\n"
        "         0          0            Qdevice (votes 1)\n"
    )
    assert {node: row["qdevice"] for node, row in seen.items()} == {1: "A,V,NMW", 2: "NR"}
    assert [row["name"] for row in seen.values()] == ["pve1", "pve2"]


def test_quorum_without_votequorum():
    seen = corosync.quorum(
        "Quorum information\n------------------\nDate:             x\nQuorum provider:  y\n"
        "Nodes:            1\nNode ID:          1\nRing ID:          1e\nQuorate:          No\n"
    )
    assert seen["expected"] is None and seen["quorate"] is False and seen["members"] == []


def test_version_and_check_of_the_installed_corosync(tmp_path):
    def ran(*words):
        done = subprocess.run(["corosync", *words], capture_output=True, text=True, timeout=20, check=False)
        return done.returncode, done.stdout, done.stderr

    assert corosync.corosync_version(ran("-v")[1]).startswith("3.")
    good = tmp_path / "good.conf"
    good.write_text(
        "totem {\n version: 2\n interface {\n  bindnetaddr: 127.0.0.1\n }\n}\nnodelist {\n node {\n"
        "  nodeid: 1\n  name: a\n  ring0_addr: 127.0.0.1\n }\n}\n"
    )
    seen = corosync.check_result(*ran("-t", "-c", str(good)))
    assert seen["ok"] and seen["errors"] == [] and "bindnetaddr" in seen["warnings"][0]
    assert not seen["not_local"]
    good.write_text(good.read_text().replace("ring0_addr", "ring1_addr"))
    seen = corosync.check_result(*ran("-t", "-c", str(good)))
    assert not seen["ok"] and seen["not_local"] and len(seen["errors"]) == 1
    bad = tmp_path / "bad.conf"
    bad.write_text("totem {\n version two\n}\n")
    seen = corosync.check_result(*ran("-t", "-c", str(bad)))
    assert not seen["ok"] and seen["line"] == 2 and "Line is not" in seen["errors"][0]
    assert not seen["not_local"]
    bad.write_text("totem {\n version: 2\n}\nnodelist {\n node {\n  ring0_addr: 127.0.0.1\n }\n}\n")
    seen = corosync.check_result(*ran("-t", "-c", str(bad)))
    assert (
        not seen["ok"] and seen["line"] is None and "nodeid" in seen["errors"][0] and len(seen["errors"]) == 1
    )


def test_check_result_of_an_abort_and_of_silence():
    seen = corosync.check_result(
        -6, "", "corosync: coroparse.c:1477: main_config_parser_cb: Assertion `x' failed.\n"
    )
    assert not seen["ok"] and "config_version" in seen["errors"][-1]
    assert corosync.check_result(8, "", "")["errors"] == ["corosync -t ended with exit code 8"]


def test_ip_addresses_are_canonical():
    text = (
        '[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},'
        '{},{"ifname":"eth0","operstate":"DOWN",'
        '"addr_info":[{"local":"10.66.0.1","prefixlen":24},'
        '{"local":"FD00:0::1","prefixlen":64},{"broadcast":"x"}]},'
        '{"ifname":"eth1"}]'
    )
    assert corosync.ip_addresses(text) == {
        "lo": ["127.0.0.1/8"],
        "eth0": ["10.66.0.1/24", "fd00::1/64"],
        "eth1": [],
    }
    assert corosync.ip_addresses("[]\n") == {} == corosync.ip_addresses("")


def test_ip_cards_are_found_below_bridges_bonds_and_vlans():
    """A veth pair of a guest's firewall names each other, and an empty bridge is on nothing."""
    rows = [
        {"ifname": "eno1", "master": "bond0"},
        {"ifname": "eno2", "master": "bond0"},
        {"ifname": "bond0", "master": "vmbr0"},
        {"ifname": "vmbr0"},
        {"ifname": "vrack", "link": "bond0"},
        {"ifname": "fwpr100p0", "link": "fwln100i0", "master": "vmbr0"},
        {"ifname": "fwln100i0", "link": "fwpr100p0", "master": "fwbr100i0"},
        {"ifname": "fwbr100i0"},
        {"ifname": "vmbr9"},
        {},
        {"ifname": "veth0", "link_index": 7, "link_netnsid": 0},
    ]
    found = corosync.ip_cards(json.dumps(rows))
    assert found["vmbr0"] == found["vrack"] == ["eno1", "eno2"]
    assert (found["vmbr9"], found["veth0"], found["fwbr100i0"]) == (["vmbr9"], ["veth0"], ["fwbr100i0"])
    assert corosync.ip_cards("") == {}


def test_ip_cards_guests_taps_and_veths_are_none():
    rows = [
        {"ifname": "eno1", "master": "vmbr0"},
        {"ifname": "tap100i0", "master": "vmbr0", "linkinfo": {"info_kind": "tun"}},
        {"ifname": "veth101i0", "master": "vmbr0", "link_index": 2},
        {"ifname": "fwpr102p0", "link": "fwln102i0", "master": "vmbr0"},
        {"ifname": "fwln102i0", "link": "fwpr102p0", "master": "fwbr102i0"},
        {"ifname": "vmbr0", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "vmbr1", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "tap103i0", "master": "vmbr1"},
    ]
    found = corosync.ip_cards(json.dumps(rows))
    assert (found["vmbr0"], found["vmbr1"]) == (["eno1"], ["vmbr1"])


@pytest.mark.parametrize(
    "cards, wanted", [(["eno1"], (["eno1"], ["eno1"])), (["eno1", "eno2"], (["vmbr0"], ["vlan66"]))]
)
def test_ip_cards_of_open_vswitch(cards, wanted):
    """Every port has the datapath as master: with one card all end there, with two nobody can tell."""
    kind = {"linkinfo": {"info_kind": "openvswitch"}}
    rows = [{"ifname": name, "master": "ovs-system"} for name in [*cards, "tap100i0"]]
    rows += [{"ifname": name} | kind for name in ("ovs-system", "vmbr0", "vlan66")]
    found = corosync.ip_cards(json.dumps(rows))
    assert (found["vmbr0"], found["vlan66"]) == wanted


def test_replication_schedules_with_blanks_rates_and_errors_over_several_lines():
    head = "JobID                Target                 Schedule  Rate  Enabled\n"
    assert pve.pvesr_list(
        head + "100-0                local/pve2           mon..fri 22:30    10      yes\n"
    ) == {"100-0": {"target": "pve2", "schedule": "mon..fri 22:30", "rate": "10", "enabled": True}}
    head = (
        "JobID      Enabled    Target                           "
        "LastSync             NextSync   Duration  FailCount State\n"
    )
    seen = pve.pvesr_status(
        head + "100-0      Yes        local/pve2            "
        "2026-11-23_09:34:03  2026-11-23_09:39:08   7.1e-05         12 "
        "command 'ssh' failed\nsecond line: 7\n\n101-2      "
        "Yes        local/pve3                              -"
        "              pending          -          0 SYNCING\n"
    )
    assert (
        seen["100-0"]["state"] == "command 'ssh' failed\nsecond line: 7" and seen["100-0"]["fail_count"] == 12
    )
    assert seen["101-2"] == {
        "enabled": True,
        "target": "pve3",
        "last_sync": None,
        "next_sync": "pending",
        "duration_s": None,
        "fail_count": 0,
        "state": "SYNCING",
    }


@pytest.mark.parametrize(
    "text, armed, certain",
    [
        # before pve-ha-manager 5.1.3
        (
            "master pve1 (active, Tue Nov 18 10:00:00 2025)\nlrm pve1 (active, Tue Nov 18 10:00:02 2025)\n",
            True,
            True,
        ),
        (
            "master pve1 (idle, Tue Nov  8 10:00:00 2025)\nlrm pve1 (idle, Tue Nov  8 10:00:02 2025)\n",
            False,
            True,
        ),
        (
            "master pve1 (idle, Tue Nov  8 10:00:00 2025)\n"
            "lrm pve1 (maintenance mode, Tue Nov  8 10:00:02 2025)\n",
            True,
            True,
        ),
        ("master pve1 (old timestamp - dead?, Tue Nov 18 10:00:00 2025)\n", True, False),
        ("", False, True),
        # from it on
        (
            "master pve1 (active, Tue Nov 18 10:00:00 2025) - disarmed, "
            "resource mode: freeze - static load CRS\n"
            "fencing disarmed, resource mode: freeze (CRM watchdog released)\n"
            "lrm pve1 (disarm mode, watchdog released, Tue Nov 18 10:00:02 2025)\n",
            False,
            True,
        ),
        ("fencing disarming, resource mode: ignore (CRM watchdog active)\n", True, True),
        (
            "fencing standby (CRM watchdog standby)\nlrm pve1 (idle, "
            "watchdog active, Tue Nov 18 10:00:02 2025)\n",
            True,
            True,
        ),
        ("fencing standby (CRM watchdog standby)\nlrm pve1 (unable to read lrm status)\n", True, False),
        (
            "fencing standby (CRM watchdog standby)\nlrm pve1 (detected time drift!, watchdog standby, "
            "Tue Nov 18 10:00:02 2025)\n",
            True,
            False,
        ),
    ],
)
def test_who_may_hold_a_watchdog(text, armed, certain):
    seen = pve.ha_status("quorum OK\n" + text + "service vm:100 (pve1, request_stop)\n")
    assert (seen["armed"], seen["certain"]) == (armed, certain)
    assert seen["services"] == {"vm:100": {"node": "pve1", "state": "request_stop"}} and seen["configured"]


def test_ha_lines_in_detail():
    seen = pve.ha_status(
        "quorum No quorum on node 'pve1'!\nmaster pve1 (active, "
        "Tue Nov 18 10:00:00 2025) - disarmed, resource mode: freeze\n"
        "fencing disarmed, resource mode: freeze (CRM watchdog released)\n"
        "lrm pve1 (disarm mode, watchdog released, Tue Nov 18 10:00:02 2025)\n"
    )
    assert seen["quorate"] is False and seen["fencing"] == "disarmed" and seen["resource_mode"] == "freeze"
    assert seen["master"] == {"node": "pve1", "status": "active", "time": "Tue Nov 18 10:00:00 2025"}
    assert seen["lrms"] == {
        "pve1": {"status": "disarm mode", "watchdog": "released", "time": "Tue Nov 18 10:00:02 2025"}
    }


@pytest.mark.parametrize(
    "text, state",
    [
        ("Cannot initialize CMAP service", "corosync-stopped"),
        ("Cannot initialize QUORUM service", "corosync-stopped"),
        ("pve configuration filesystem (pmxcfs) not mounted", "pmxcfs-stopped"),
        ("cluster not ready - no quorum?", "no-quorum"),
        ("please run as root", ""),
    ],
)
def test_pve_state(text, state):
    assert pve.pve_state(text) == state
