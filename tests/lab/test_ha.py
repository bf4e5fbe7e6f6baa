"""The order in which HA is released and put in service again around a restart, as its programs record it."""

import json

import pytest
from phases import calls, failing, guest, orchestrate, run

from lab.cluster import wait_for


@pytest.fixture(params=["new", "old"])
def cluster(lab, request):
    """Two nodes with a resource of HA on pve1, its watchdog open; by the texts of new and of old versions."""
    lab.wait_minions()
    if request.param == "old":
        for node in lab.nodes:
            lab.write(node, "/etc/lab-ha", "old\n")
            lab.exec(node, ["systemctl", "restart", "pve-ha-lrm", "pve-ha-crm"], check=True)
    guest(lab, ran=False)
    lab.exec("pve1", ["ha-manager", "add", "vm:100", "--state", "started"], check=True)
    wait_for(
        lambda: lab.exec("pve1", ["test", "-e", "/run/watchdog-mux.active/lrm"]).returncode == 0,
        30,
        what="the LRM of pve1 to open the watchdog",
    )
    lab.old = request.param == "old"
    return lab


def events(lab):
    """Return what both nodes' HA programs did since the test began, in one order (the nodes share a
    clock)."""
    return [
        f"{node} {what}"
        for _, node, what in sorted((at, node, what) for node in lab.nodes for at, what in calls(lab, node))
    ]


def armed(lab):
    """Return the nodes that say that their watchdog may be open; all of them while one does not answer."""
    told = json.loads(lab.salt("--out=json", "--static", "pve*", "ha_manager.facts").stdout)
    silent = set(lab.nodes) - {node for node, row in told.items() if isinstance(row, dict)}
    return silent or {node for node, row in told.items() if row["armed"]}


def since(lab, mark):
    return events(lab)[mark:]


def test_a_restart_releases_ha_first_and_puts_it_in_service_again(cluster):
    mark = len(events(cluster))
    code, said = orchestrate(cluster, "restart")
    assert code == 0, said
    seen = since(cluster, mark)
    assert not [text for text in seen if "FENCE" in text]
    wait_for(
        lambda: cluster.exec("pve1", ["test", "-e", "/run/watchdog-mux.active/lrm"]).returncode == 0,
        30,
        what="the watchdog to be open again",
    )
    if cluster.old:
        order = [
            max(seen.index(f"{node} {unit} stop") for node in cluster.nodes)
            for unit in ("pve-ha-lrm", "pve-ha-crm")
        ]
        assert max(seen.index(f"{node} pve-ha-lrm stop") for node in cluster.nodes) < min(
            seen.index(f"{node} pve-ha-crm stop") for node in cluster.nodes
        ), seen
        back = [
            seen.index(f"{node} {unit} start")
            for unit in ("pve-ha-crm", "pve-ha-lrm")
            for node in cluster.nodes
        ]
        assert max(order) < min(back) and max(back[:2]) < min(back[2:]), seen
    else:
        disarm = seen.index("pve1 ha-manager crm-command disarm-ha freeze")
        closed = seen.index("pve1 watchdog closed lrm")
        arm = seen.index("pve1 ha-manager crm-command arm-ha")
        assert disarm < closed < arm, seen
        assert not [text for text in seen if text.endswith(("stop", "start"))]


def test_a_live_failover_leaves_ha_alone(cluster):
    mark = len(events(cluster))
    cluster.cut("vrack")
    code, said = orchestrate(cluster, "failover")
    assert code == 0, said
    seen = since(cluster, mark)
    touched = [
        text for text in seen if "crm-command" in text or text.endswith(("stop", "start")) or "FENCE" in text
    ]
    assert not touched


def test_ha_is_in_service_again_after_a_restart_that_failed(cluster):
    mark = len(events(cluster))
    cluster.exec("pve2", ["mkdir", "-p", "/run/systemd/system/corosync.service.d"], check=True)
    drop_in = "/run/systemd/system/corosync.service.d/late.conf"
    cluster.write(
        "pve2",
        drop_in,
        "[Service]\nExecStartPre=/bin/sh -c 'test -e /run/once || { touch /run/once; exit 1; }'\n"
        "Restart=on-failure\nRestartSec=1\n",
    )
    cluster.exec("pve2", ["systemctl", "daemon-reload"], check=True)
    try:
        code, report = run(cluster, "corosync.restart")
    finally:
        cluster.exec("pve2", ["rm", "-f", drop_in, "/run/once"])
        cluster.exec("pve2", ["systemctl", "daemon-reload"])
    assert (code, report["result"]) == (1, "failed"), report
    seen = since(cluster, mark)
    last = "pve1 ha-manager crm-command arm-ha" if not cluster.old else "pve1 pve-ha-lrm start"
    assert last in seen, seen
    code, report = run(cluster, "corosync.verify")
    assert "HA" not in failing(report), report


@pytest.mark.parametrize("cluster", ["old"], indirect=True)
def test_one_crm_that_does_not_start_again_leaves_no_lrm_stopped(cluster):
    drop_in = "/run/systemd/system/pve-ha-crm.service.d/refused.conf"
    cluster.exec("pve2", ["mkdir", "-p", drop_in.rpartition("/")[0]], check=True)
    cluster.write("pve2", drop_in, "[Service]\nExecStartPre=/bin/false\nRestart=no\n")
    cluster.exec("pve2", ["systemctl", "daemon-reload"], check=True)
    try:
        code, report = run(cluster, "corosync.restart")
    finally:
        cluster.exec("pve2", ["rm", "-f", drop_in])
        cluster.exec("pve2", ["systemctl", "daemon-reload"])
    assert (code, report["result"]) == (1, "failed"), report
    (row,) = [item for item in report["findings"] if item["code"] == "ha-not-in-service"]
    assert row["remedy"] == "salt -L pve2 ha_manager.start_crm", row
    for node in cluster.nodes:
        lrm = cluster.exec(node, ["systemctl", "is-active", "pve-ha-lrm"]).stdout.strip()
        assert lrm == "active", (node, report)
    assert not [text for text in events(cluster) if "FENCE" in text]
    # the command that the finding names does the rest
    cluster.exec("pve2", ["systemctl", "reset-failed", "pve-ha-crm"])
    cluster.exec("pve2", ["systemctl", "start", "pve-ha-crm"], check=True)


@pytest.mark.parametrize("cluster", ["new"], indirect=True)
def test_without_quorum_a_restart_waits_for_the_fence_and_ha_starts_last(cluster):
    """
    While a watchdog is open nothing may cost more time; after the nodes were reset, LRM and CRM are stopped
    first and started when both nodes are in one membership, so that neither fences the other.
    """
    cluster.cut("vrack")
    wait_for(lambda: not any(map(cluster.quorate, cluster.nodes)), 40, what="the nodes to lose quorum")
    before = cluster.read("pve1", "/etc/corosync/corosync.conf")
    code, report = run(cluster, "corosync.apply", "degraded", "strategy=restart")
    assert code == 1 and report["summary"] == "HA is in the way, nothing was changed", report
    (row,) = [item for item in report["findings"] if item["severity"] == "error"]
    assert "the watchdog is open on pve1" in row["text"] and "live strategy" in row["text"]
    assert cluster.read("pve1", "/etc/corosync/corosync.conf") == before

    for node in cluster.nodes:
        cluster.crash(node)
    for node in cluster.nodes:
        cluster.boot(node)
    # what the LRM last wrote counts for 30 s; a real reset takes longer than that
    wait_for(lambda: not armed(cluster), 60, every=2, what="the status from before the crash to be old")
    mark = len(events(cluster))
    code, report = run(cluster, "corosync.apply", "degraded", "strategy=restart")
    assert (code, report["result"]) == (0, "reached"), report
    seen = since(cluster, mark)
    assert not [text for text in seen if "FENCE" in text or "crm-command" in text]
    units = [f"{node} {unit}" for node in cluster.nodes for unit in ("pve-ha-lrm", "pve-ha-crm")]
    stopped = [seen.index(f"{unit} stop") for unit in units]
    started = [seen.index(f"{unit} start") for unit in units]
    assert max(stopped) < min(started), seen
