"""judge.phases: what follows the links, decided from answers."""

import pytest
from pve_corosync.judge import phases

LAYOUT = {
    "name": "degraded",
    "cluster_name": "prod",
    "nodes": {"pve2": {"nodeid": 2, "minion": "m2"}, "pve1": {"nodeid": 1, "minion": "m1"}},
    "links": {
        0: {
            "network": "public",
            "addresses": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"},
            "options": {},
        }
    },
    "primary": {"network": "public", "addresses": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}},
}
MINIONS = {"pve1": "m1", "pve2": "m2"}


def members(**ips):
    return {"nodename": "x", "nodelist": {name: {"id": 1, "online": 1, "ip": ip} for name, ip in ips.items()}}


def observed(pve1, pve2):
    return {
        "nodes": {"pve1": {"pmxcfs": {"members": pve1}}, "pve2": {"pmxcfs": {"members": pve2}}},
        "silent": [],
    }


def test_answers_are_told_from_errors():
    answers = {
        "m1": {"return": {"changed": True}, "success": True, "retcode": 0},
        "m2": {"return": "ERROR: 10.0.0.1 is on no interface", "success": False, "retcode": 1},
    }
    good, bad = phases.values(MINIONS, ["pve1", "pve2"], answers)
    assert (good, bad) == ({"pve1": {"changed": True}}, {"pve2": "10.0.0.1 is on no interface"})
    assert phases.values(MINIONS, ["pve1"], {}) == ({}, {"pve1": "no answer within the time"})


def test_answers_and_errors_have_no_control_characters():
    answers = {
        "m1": {"return": {"log": ["a\x1b[2Jb"]}, "success": True, "retcode": 0},
        "m2": {"return": "Traceback\nERROR: a\x1b]0;title\x07b\x9b", "success": False, "retcode": 1},
    }
    good, bad = phases.values(MINIONS, ["pve1", "pve2"], answers)
    assert (good, bad) == ({"pve1": {"log": ["ab"]}}, {"pve2": "ab"})


def test_an_answer_that_is_no_plain_data_is_an_error_of_that_node_alone():
    answers = {"m1": {"return": {"log": b"x"}}, "m2": {"return": {"changed": True}}}
    good, bad = phases.values(MINIONS, ["pve1", "pve2"], answers)
    assert good == {"pve2": {"changed": True}}
    assert bad == {"pve1": "its answer cannot be used: log: 'bytes'; allowed: plain data"}


def test_a_list_is_an_answer_too():
    answers = {"m1": {"return": [], "success": True, "retcode": 0}}
    assert phases.values(MINIONS, ["pve1"], answers) == ({"pve1": []}, {})


def test_movers_are_the_nodes_whose_own_pmxcfs_has_another_address():
    here = members(pve1="198.51.100.10", pve2="10.66.0.2")
    # pve1 still shows the old address of pve2: that is pve2's to tell
    assert phases.movers(LAYOUT, observed(here, members(pve2="203.0.113.20"))) == []
    assert phases.movers(LAYOUT, observed(here, here)) == ["pve2"]
    old = members(pve1="10.66.0.1", pve2="10.66.0.2")
    assert phases.movers(LAYOUT, observed(old, old)) == ["pve1", "pve2"]
    assert phases.movers(LAYOUT, observed(old, old), skip=["pve1"]) == ["pve2"]
    assert phases.movers(LAYOUT, observed(None, here)) == ["pve1", "pve2"]


def test_host_keys_are_held_against_the_node_itself():
    def told(own, **known):
        return {
            "host_key": {"fingerprint": own},
            "known_hosts": {
                peer: {"present": bool(key), "fingerprints": [key]} for peer, key in known.items()
            },
        }

    good = {"pve1": told("A", pve1="A", pve2="B"), "pve2": told("B", pve1="A", pve2="B")}
    assert phases.host_key_problems(good) == {}
    bad = {"pve1": told("A", pve1="A", pve2="C"), "pve2": told("B", pve1="", pve2="B")}
    assert sorted(phases.host_key_problems(bad)) == [("pve1", "pve2"), ("pve2", "pve1")]


@pytest.mark.parametrize(
    "firewall, cluster, due",
    [
        ({"active": True, "since": 5}, {"active": True, "since": 9}, True),
        ({"active": True, "since": 9}, {"active": True, "since": 5}, False),
        ({"active": False, "since": 5}, {"active": True, "since": 9}, False),
        (None, {"active": True, "since": 9}, False),
    ],
)
def test_services_are_due_when_pve_firewall_is_older_than_pve_cluster(firewall, cluster, due):
    assert bool(phases.services_due({"pve-firewall": firewall, "pve-cluster": cluster})) is due


def test_a_reload_after_the_last_start_of_pve_cluster_is_a_look():
    units = {"pve-firewall": {"active": True, "since": 5}, "pve-cluster": {"active": True, "since": 9}}
    assert phases.services_due(units, 9) == ""
    assert phases.services_due(units, 7) != ""


def job(**more):
    return {
        "target": "pve2",
        "ok": True,
        "error": "",
        "seconds": 2.0,
        "path": {"address": "203.0.113.20", "source": "members", "network": None},
        "probe": {
            "ok": True,
            "connection": {"from": "198.51.100.10", "from_port": 51000, "to": "203.0.113.20"},
        },
        "seen": {"addresses": ["203.0.113.20"], "sockets": []},
        "log": ["a", "end replication job"],
    } | more


PRIMARY = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}


def test_a_job_that_went_to_the_primary_address_has_no_problem():
    assert phases.job_problems(PRIMARY, job()) == []
    assert phases.job_problems(PRIMARY, job(probe=None, seen=None)) == []


@pytest.mark.parametrize(
    "more, words",
    [
        ({"path": {"address": "10.66.0.2", "source": "members"}}, "goes to 10.66.0.2 (members)"),
        ({"probe": {"connection": {"from": "x", "to": "10.66.0.2"}}}, "took the ssh at 10.66.0.2"),
        ({"seen": {"addresses": ["10.66.0.2", "203.0.113.20"]}}, "connected to 10.66.0.2"),
    ],
)
def test_each_witness_that_speaks_against_it_is_named(more, words):
    (text,) = phases.job_problems(PRIMARY, job(**more))
    assert words in text


def test_a_replication_network_may_lead_the_data_elsewhere():
    way = {"address": "203.0.113.20", "source": "members", "network": "10.66.0.0/24"}
    there = job(path=way, seen={"addresses": ["10.66.0.2", "203.0.113.20"]})
    assert phases.job_problems(PRIMARY, there, "10.66.0.2") == []
    row = phases.job_row("pve1", "100-0", there, [], {"pve1": "10.66.0.1", "pve2": "10.66.0.2"})
    assert (row["data"], row["network"]) == ("10.66.0.2", "10.66.0.0/24")
    (text,) = phases.job_problems(PRIMARY, there, "10.66.0.9")
    assert "connected to 10.66.0.2, not to 10.66.0.9 or 203.0.113.20" in text
    (text,) = phases.job_problems(PRIMARY, there)
    assert "pve2 did not tell its one address there" in text


def test_the_proof_counts_the_logins_from_where_the_job_came():
    logins = [
        {"from": "198.51.100.10", "port": 51000},  # the test before it
        {"from": "10.66.0.1", "port": 40000},
        {"from": "198.51.100.10", "port": 51002},
    ]
    row = phases.job_row("pve1", "100-0", job(), logins)
    assert (row["logins"], row["members"], row["sockets"]) == (1, "203.0.113.20", ["203.0.113.20"])
    row = phases.job_row("pve1", "100-0", job(), logins, {"pve1": "10.66.0.1"})
    assert row["logins"] == 2
    row = phases.job_row("pve1", "100-0", job(), logins[:1])
    assert row["logins"] == 0 and not phases.unproven(row)  # its connection was seen
    row = phases.job_row("pve1", "100-0", job(seen=None), logins[:1])
    assert phases.unproven(row)
    assert row["log"] == ["end replication job"]
    assert phases.job_row("pve1", "100-0", job(probe=None), logins)["logins"] == 0


def test_what_is_open_after_a_phase():
    assert phases.after("replicate") == ["replication", "exit checklist"]
    assert phases.after("probe") == []


def test_problems_of_datacenter_cfg_become_findings():
    problem = {
        "code": "datacenter-network-none",
        "severity": "error",
        "text": "datacenter.cfg: the network 192.0.2.0/24 matches nothing",
        "data": {"network": "192.0.2.0/24"},
        "remedy": "take it out",
    }
    (row,) = phases.datacenter_findings({"pve1": {"problems": [problem]}, "pve2": {"problems": []}})
    assert (row["code"], row["data"]["node"]) == ("datacenter-network-none", "pve1")
    assert row["text"].startswith("pve1: datacenter.cfg")
