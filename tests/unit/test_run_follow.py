"""run.follow: the phases after the links as sequences, against nodes that answer what the test says."""

import pytest
import simulation
from pve_corosync import arguments, show
from pve_corosync.findings import finding
from pve_corosync.run import follow
from pve_corosync.run.request import Request
from test_run_change import pillar

NODES = ("pve1", "pve2")
SETTINGS = arguments.settings({"verify_timeout": 1})
VRACK = {name: simulation.address("vrack", number) for number, name in enumerate(NODES, 1)}
PUBLIC = {name: simulation.address("public", number) for number, name in enumerate(NODES, 1)}


class Nodes:
    """The ports of a phase; every node has a name, an address that its pmxcfs publishes, and services."""

    jid = "1"

    def __init__(self, layout="degraded", **request):
        self.request = Request(pillar(), layout, **request)
        self.clock, self.calls, self.notes, self.said = 0.0, [], [], []
        self.published, self.hosts = dict(VRACK), {name: dict(VRACK) for name in NODES}
        self.due, self.errors, self.stale = set(), {}, set()
        self.links, self.datacenter, self.jobs, self.left = True, {}, {}, None
        self.login_ports = [51000, 51002]  # that of the test before the job, and the job's own

    def passed(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds

    def say(self, text):
        self.said.append(text)

    def note(self, event, tag="run", **data):
        self.notes.append(event)

    def gather(self):
        self.clock += 0.2
        row = {name: {"id": 1, "ip": ip} for name, ip in self.published.items()}
        facts = {
            name: {
                "node": name,
                "time": 100.0,
                "undo": self.left if name == "pve1" else None,
                "pmxcfs": {"mounted": True, "writable": True, "members": {"nodelist": row}},
            }
            for name in NODES
        }
        return {"nodes": facts, "silent": []}, []

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):
        self.calls.append((function, list(nodes), kwarg))
        answers = {}
        for name in nodes:
            error = self.errors.get((function, name))
            value = error or getattr(self, function.replace(".", "_"))(name, **kwarg)
            answers[name] = {"return": value, "retcode": int(bool(error)), "success": not error}
        return answers

    def pve_node_names(self, name, addresses, test=False):
        changed = self.hosts[name] != addresses
        if not test:
            self.hosts[name] = dict(addresses)
        return {"changed": changed, "diff": "-old\n+new" if changed else ""}

    def pve_node_migration_network(self, name):
        return self.datacenter.get(name, {"set": {}, "networks": {}, "problems": []})

    def pve_node_restart_pve_cluster(self, name, address, timeout):
        assert self.hosts[name][name] == address
        self.published[name] = address
        self.due.add(name)
        return {"changed": True}

    def corosync_primary_gate(self, name, addresses, timeout):
        missing = [f".members has the old address of {peer}" for peer in addresses if name in self.stale]
        return {"ok": not missing, "seen": {}, "missing": missing, "seconds": 0.1}

    def corosync_refresh_services(self, name, always):
        due = name in self.due or always
        self.due.discard(name)
        return {"due": "yes" if due else "", "done": {"tasks": {"gone": []}, "services": {}} if due else None}

    def pvesr_run_all(self, name, targets, timeout, budget):
        return self.jobs.get(name, {"ok": True, "jobs": {}, "failed": {}, "skipped": {}})

    def pvesr_accepted(self, name, since):
        assert since == 100.0
        return [{"from": PUBLIC["pve1"], "port": port} for port in self.login_ports]

    def names(self):
        return [(function.split(".")[1], nodes) for function, nodes, _ in self.calls]


LEFT = {
    "txn": "7",
    "since": 1.0,
    "undo": [{"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA again"}],
}
#: phase -> the function of a node with which it fails.
FAILING = {
    "move_primary": "pve_node.names",
    "update_certs": "pve_certs.update",
    "reload_services": "corosync.refresh_services",
    "replicate": "pvesr.run_all",
}


@pytest.mark.parametrize("do", FAILING)
def test_a_phase_that_fails_tells_that_a_dead_run_left_ha_released(do):
    ports = Nodes()
    ports.pve_certs_update = lambda name, force: {"changed": False}
    ports.pve_certs_facts = lambda name: {"problems": [], "address": "x", "certificate": {}, "host_keys": {}}
    ports.errors = {(FAILING[do], "pve1"): "disk full"}
    report = getattr(follow, do)(ports.request, ports, SETTINGS)
    assert report["retcode"] == 1 and "ha-left-released" not in [row["code"] for row in report["findings"]]
    ports.left = LEFT
    report = getattr(follow, do)(ports.request, ports, SETTINGS)
    (item,) = [row for row in report["findings"] if row["code"] == "ha-left-released"]
    assert "run 7 ended before it could undo: arm HA again (pve1)" in item["text"]
    assert item["remedy"] == "the next run does it: salt-run corosync.apply degraded"


def test_a_hung_etc_pve_is_no_lost_quorum(monkeypatch):
    ports = Nodes()
    seen, findings = ports.gather()
    seen["nodes"]["pve2"]["pmxcfs"] = {"state": "hung", "mounted": False, "writable": False}
    monkeypatch.setattr(ports, "gather", lambda: (seen, findings))
    (item,) = follow.update_certs(ports.request, ports, SETTINGS)["findings"]
    assert "pve2: /etc/pve did not answer: pmxcfs hangs" in item["text"] and "quor" not in item["text"]
    assert item["remedy"] == "on pve2: journalctl -u pve-cluster -n 20"


def test_certificates_wait_for_an_etc_pve_that_answers_again(monkeypatch):
    ports = Nodes()
    ports.pve_certs_update = lambda name, force: {"changed": False}
    ports.pve_certs_facts = lambda name: {"problems": [], "address": "x", "certificate": {}, "host_keys": {}}
    healthy, looks = ports.gather, []

    def gather():
        looks.append(1)
        seen, findings = healthy()
        if len(looks) < 3:
            seen["nodes"]["pve2"]["pmxcfs"] = {"state": "hung", "mounted": False, "writable": False}
        return seen, findings

    monkeypatch.setattr(ports, "gather", gather)
    report = follow.update_certs(ports.request, ports, SETTINGS)
    assert len(looks) >= 3 and not [row for row in report["findings"] if "hangs" in row["text"]]


@pytest.mark.parametrize("do", ["update_certs", "replicate"])
def test_what_was_forced_does_not_fail_the_phases_after_the_links(do, monkeypatch):
    ports = Nodes()
    ports.pve_certs_update = lambda name, force: {"changed": False}
    told = {"problems": [], "certificate": {}, "host_key": {}, "known_hosts": {}}
    ports.pve_certs_facts = lambda name: told | {"node": name, "address": PUBLIC[name]}
    seen, found = ports.gather()
    other = finding("code-differs", "pve2 has other code", data={"node": "pve2"})
    monkeypatch.setattr(ports, "gather", lambda: (seen, [*found, other]))
    refused = getattr(follow, do)(ports.request, ports, SETTINGS)
    assert refused["result"] == "refused" and refused["retcode"]
    ports.request.force = ["code-differs"]
    report = getattr(follow, do)(ports.request, ports, SETTINGS)
    assert report["retcode"] == 0, report
    assert "code-differs" in [item["code"] for item in report["findings"]], "and it stays in sight"


def test_a_phase_that_is_done_says_nothing_of_ha():
    ports = Nodes()
    ports.left = LEFT
    report = follow.reload_services(ports.request, ports, SETTINGS)
    assert report["retcode"] == 0 and report["findings"] == []


@pytest.fixture(autouse=True)
def links(monkeypatch):
    """The links are a matter of judge.checklist; here they are ready unless a test says otherwise."""

    def checklist(request, observed, full=False):
        return [{"item": "quorum", "ok": links.ready, "seen": "not quorate", "expected": "x"}], []

    links.ready = True
    monkeypatch.setattr(Request, "checklist", checklist)
    return links


def move(ports, **more):
    return follow.move_primary(ports.request, ports, SETTINGS, **more)


def test_names_first_then_one_node_after_the_other_behind_a_gate_then_services():
    ports = Nodes()
    report = move(ports)
    assert (report["result"], report["retcode"]) == ("done", 0), report
    assert ports.published == PUBLIC
    acts = [row for row in ports.names() if row[0] != "migration_network"]
    assert acts == [
        ("names", ["pve1", "pve2"]),
        ("names", ["pve1", "pve2"]),
        ("restart_pve_cluster", ["pve1"]),
        ("primary_gate", ["pve1", "pve2"]),
        ("restart_pve_cluster", ["pve2"]),
        ("primary_gate", ["pve1", "pve2"]),
        ("refresh_services", ["pve1", "pve2"]),
    ]


def test_where_nothing_is_to_do_nothing_is_restarted():
    ports = Nodes("nominal")
    assert move(ports)["result"] == "already"
    assert not [row for row in ports.names() if row[0].startswith("restart")]


def test_services_that_were_left_open_are_refreshed_by_the_next_run():
    ports = Nodes()
    move(ports, services=False)
    assert ports.due == set(NODES)
    report = move(ports)
    assert report["result"] == "done" and not ports.due


def test_a_test_run_tells_the_change_and_makes_none():
    ports = Nodes()
    report = move(ports, test=True)
    assert (report["result"], report["changes"]["restart"]) == ("test", ["pve1", "pve2"])
    assert ports.published == VRACK and ports.hosts["pve1"] == VRACK
    assert "  +new" in show.render(report)


def test_one_node_that_refuses_keeps_all_as_they_are():
    ports = Nodes()
    ports.errors["pve_node.names", "pve2"] = "ERROR: 203.0.113.2 is on no interface of this node"
    report = move(ports)
    assert (report["result"], report["retcode"]) == ("refused", 1)
    assert ports.hosts["pve1"] == VRACK
    assert "pve2: 203.0.113.2 is on no interface" in report["findings"][0]["text"]


def test_a_gate_that_stays_shut_stops_before_the_next_node():
    ports = Nodes()
    ports.stale = {"pve2"}
    report = move(ports)
    assert report["result"] == "failed"
    assert [row["code"] for row in report["findings"]] == ["members-stale"]
    assert ports.published == {"pve1": PUBLIC["pve1"], "pve2": VRACK["pve2"]}
    text = "\n".join(show.render(report))
    assert "still open: primary network, certificates, services, replication, exit checklist" in text
    assert "go on:   salt-run corosync.move_primary degraded" in text


def test_links_that_are_not_ready_refuse_and_can_be_forced(links):
    links.ready = False
    ports = Nodes()
    report = move(ports)
    assert (report["result"], report["findings"][0]["code"]) == ("refused", "links-not-ready")
    assert "corosync.apply degraded" in report["findings"][0]["remedy"]
    report = move(Nodes(force=["links-not-ready"]))
    assert report["result"] == "done"
    assert report["findings"][0]["data"]["forced"]


def test_a_network_in_datacenter_cfg_warns_and_does_not_stop():
    ports = Nodes()
    ports.datacenter = {
        name: {
            "networks": {"10.66.0.0/24": {"used_by": "migration", "addresses": [VRACK[name]]}},
            "problems": [],
        }
        for name in NODES
    }
    report = move(ports)
    assert report["result"] == "done"
    (row,) = report["findings"]
    assert (row["code"], row["severity"]) == ("datacenter-network-elsewhere", "warning")
    assert f"pve1 {VRACK['pve1']}, pve2 {VRACK['pve2']}" in row["text"]


def test_a_node_that_does_not_tell_of_datacenter_cfg_is_named():
    ports = Nodes()
    ports.errors["pve_node.migration_network", "pve2"] = "ERROR: /etc/pve is not mounted"
    report = move(ports)
    assert (report["result"], report["retcode"]) == ("done", 0)
    (row,) = report["findings"]
    assert (row["code"], row["severity"], row["data"]["node"]) == ("datacenter-unread", "warning", "pve2")
    assert "/etc/pve is not mounted" in row["text"]


def job(**more):
    return {
        "target": "pve2",
        "ok": True,
        "error": "",
        "seconds": 1.0,
        "log": [],
        "path": {"address": PUBLIC["pve2"], "source": "members", "network": None},
        "probe": {
            "ok": True,
            "connection": {"from": PUBLIC["pve1"], "from_port": 51000, "to": PUBLIC["pve2"]},
        },
        "seen": {"addresses": [PUBLIC["pve2"]]},
    } | more


def replicate(told, **more):
    ports = Nodes()
    vars(ports).update(more)
    ports.jobs["pve1"] = {"ok": True, "jobs": {}, "failed": {}, "skipped": {}} | told
    return follow.replicate(ports.request, ports, SETTINGS)


def test_a_job_with_all_its_witnesses_is_done():
    report = replicate({"jobs": {"100-0": job()}})
    assert (report["result"], report["findings"]) == ("done", [])
    assert report["jobs"][0]["logins"] == 1


def test_a_job_that_failed_is_named_with_its_error():
    report = replicate(
        {"jobs": {"100-0": job(ok=False, error="timed out")}, "failed": {"100-0": "timed out"}}
    )
    assert (report["result"], report["retcode"]) == ("failed", 1)
    assert [row["text"] for row in report["findings"]] == ["job 100-0 on pve1: timed out"]
    assert report["open"] == ["replication", "exit checklist"]


def test_a_job_that_the_peers_sshd_knows_nothing_of_is_unproven():
    # the only login is that of the test before it
    report = replicate({"jobs": {"100-0": job(seen={"addresses": []})}}, login_ports=[51000])
    assert [(row["code"], row["severity"]) for row in report["findings"]] == [
        ("replication-unproven", "warning")
    ]
    assert report["retcode"] == 0


def test_a_job_at_work_is_no_failure_and_said_so():
    told = job(ok=False, running=True, error="still running after 150 s, as process 7")
    report = replicate({"jobs": {"100-0": told}, "running": {"100-0": told["error"]}})
    assert (report["result"], report["retcode"]) == ("done", 0)
    (row,) = report["findings"]
    assert (row["code"], row["severity"]) == ("replication-running", "warning")
    assert "corosync.verify degraded" in row["remedy"]
    assert report["summary"] == f"100-0 pve1 -> pve2 over {PUBLIC['pve2']}, still running"


def test_a_replication_network_is_a_witness_of_its_own():
    way = {"address": PUBLIC["pve2"], "source": "members", "network": "10.66.0.0/24"}
    datacenter = {
        name: {"networks": {"10.66.0.0/24": {"addresses": [VRACK[name]]}}, "problems": []} for name in NODES
    }
    went = [PUBLIC["pve2"], VRACK["pve2"]]
    report = replicate({"jobs": {"100-0": job(path=way, seen={"addresses": went})}}, datacenter=datacenter)
    assert (report["result"], report["findings"]) == ("done", [])
    assert report["summary"] == f"100-0 pve1 -> pve2 over {VRACK['pve2']}"
    report = replicate(
        {"jobs": {"100-0": job(path=way, seen={"addresses": [*went, "192.0.2.9"]})}}, datacenter=datacenter
    )
    assert [row["code"] for row in report["findings"]] == ["replication-astray"]


def test_the_wait_for_a_job_is_a_setting_and_an_argument():
    ports = Nodes()
    follow.replicate(ports.request, ports, arguments.settings({"replication_timeout": 300}))
    follow.replicate(ports.request, ports, SETTINGS, timeout=900)
    asked = [kwarg for function, _, kwarg in ports.calls if function == "pvesr.run_all"]
    assert [(row["timeout"], row["budget"]) for row in asked] == [(300, 580), (900, 900)]


def test_no_job_at_all_is_no_failure():
    assert replicate({})["result"] == "already"
