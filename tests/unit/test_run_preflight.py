"""run.preflight: a run tests the ports of the links that it adds, where there is time for it."""

import pytest
from pve_corosync.findings import finding
from pve_corosync.run import preflight
from test_run_change import SETTINGS, run, world

PUBLIC_SHUT = {("0 public", "pve1", "pve2")}


def probes(ports):
    return [call for call in ports.calls if call[0] == "pve_probe.links"]


def test_a_planned_run_tests_the_ports_before_anything_is_staged():
    ports = world(dead=())
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("reached", 0), report
    assert [ports.calls[0][0], ports.calls[1][0]] == ["pve_probe.links", "corosync.stage"]
    _function, nodes, kwarg = ports.calls[0]
    assert nodes == ["pve1", "pve2"] and kwarg["links"]["0 public"]["port"] == 5405
    (told,) = [item for item in report["before"] if item["code"] == "link-probed"]
    assert told["severity"] == "info" and "link 0 public: open both ways" in told["text"]


def test_a_filtered_port_refuses_before_anything_is_written_and_can_be_forced():
    ports = world(dead=())
    ports.shut = PUBLIC_SHUT
    report = run(ports)
    assert (report["result"], report["retcode"]) == ("refused", 1)
    assert {call[0] for call in ports.calls} == {"pve_probe.links"} and not ports.locks
    assert "nothing was changed" in report["summary"]
    problem = report["findings"][0]
    assert (problem["code"], problem["data"]["nodes"]) == ("port-filtered", ["pve1", "pve2"])
    assert "on pve2, allow it" in problem["remedy"]

    ports = world(dead=(), force=["port-filtered"])
    ports.shut = PUBLIC_SHUT
    report = run(ports)
    assert report["result"] == "reached"
    assert [item["data"].get("forced") for item in report["before"] if item["severity"] == "error"] == [True]


def test_nodes_that_do_not_tell_do_not_hold_up_the_run():
    ports = world(dead=())
    ports._links = lambda name, txn, links: "'pve_probe.links' is not available."
    report = run(ports)
    assert report["result"] == "reached"
    assert "probe-silent" in [item["code"] for item in report["before"]]


def test_a_network_that_dies_meanwhile_is_no_filter_and_the_run_goes_on():
    ports = world(dead=())
    arrives = ports._links

    def dying(name, txn, links):
        ports.sim.dead, ports.shut = {"vrack"}, {("1 vrack", "pve1", "pve2"), ("1 vrack", "pve2", "pve1")}
        return arrives(name, txn, links)

    ports._links = dying
    report = run(ports)
    assert (report["result"], report["retcode"], report["path"]) == ("reached", 0, "degraded"), report
    assert "port-filtered" in [item["code"] for item in report["first"]["findings"]]
    assert len(probes(ports)) == 1


def test_no_time_is_lost_before_quorum():
    ports = world()
    assert run(ports)["result"] == "reached"
    assert probes(ports) == []


def explain(ports, *texts):
    failed = [finding("step-failed", "x", data={"node": "pve1", "missing": list(texts)})]
    return preflight.after(ports.request, ports, SETTINGS, failed, ports.gather()[0], "1")


@pytest.mark.parametrize("texts", [(), ("not quorate",), ("version 3, not 4",)])
def test_a_step_that_failed_for_another_reason_needs_no_test(texts):
    ports = world()
    assert explain(ports, *texts) == [] and probes(ports) == []


def test_a_link_that_did_not_connect_is_tested_where_its_port_is_free():
    ports = world()
    ports.shut = PUBLIC_SHUT
    found = explain(ports, "link 0 to pve2 not connected")
    assert [item["code"] for item in found] == ["port-filtered"]


def test_a_link_that_corosync_has_is_named_with_the_rule_to_add():
    ports = world(dead=("vrack", "public"), links={0: "public", 1: "vrack"})
    found = explain(ports, "link 0 to pve2 not connected")
    assert probes(ports) == []
    assert [(item["code"], item["data"]["nodes"]) for item in found] == [
        ("port-suspect", ["pve2", "pve1"]),
        ("port-suspect", ["pve1", "pve2"]),
    ]
    assert all("UDP 5405" in item["text"] and "allow it" in item["remedy"] for item in found)
