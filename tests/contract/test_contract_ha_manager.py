"""Contract of ha-manager: texts, commands, and who holds the watchdog.

LAB_HA_MANAGER or LAB_PVE checks a real one, with the real pve-ha-lrm, pve-ha-crm and watchdog-mux in the path
beside it; watchdog-mux needs a /dev/watchdog.
"""

import re
import time

import pytest
from contract_nodes import STANDINS, program, wait_for

DATE = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
REAL = program("ha-manager") != STANDINS / "ha-manager"
ACTIVE = "/run/watchdog-mux.active"
TRYING = "trying to acquire cfs lock 'domain-ha' ...\n"


def start(node, kind):
    """Start one of the two daemons of HA."""
    command = ["pve-ha-" + kind, "start", "--debug"] if REAL else ["ha-manager", "--lab-daemon", kind]
    node.start(kind, *command)


@pytest.fixture(autouse=True)
def ready(cluster):
    """Both daemons run on both nodes, and nothing is configured."""
    first = cluster.nodes[0]
    for node in cluster.nodes:
        if "lrm" not in node.daemons:
            node.install()
            node.ok("pvecm", "updatecerts")
            if REAL:
                node.start("watchdog-mux", "watchdog-mux")
    first.ok(
        "sh",
        "-c",
        "rm -f /etc/pve/ha/*; rmdir /etc/pve/priv/lock/* 2>/dev/null; "
        "echo 'memory: 16' >/etc/pve/nodes/pve1/qemu-server/100.conf",
    )
    for node in cluster.nodes:
        node.ok("rm", "-f", "/etc/lab-ha")
        for kind in ("crm", "lrm"):
            if kind not in node.daemons or node.ended(kind) is not None:
                start(node, kind)
    for node in cluster.nodes:
        # an LRM that has had services holds its watchdog for 60 more rounds; without services it ends at once
        if node.exists(ACTIVE):
            node.stop("lrm", seconds=90)
            start(node, "lrm")
    wait_for(lambda: not any(node.exists(ACTIVE) for node in cluster.nodes), "no watchdog is held", 60)


def ha(node, *words):
    """Run ha-manager; returns (status, stdout with its dates masked, stderr)."""
    done = node.run("ha-manager", *words)
    return done.returncode, re.sub(DATE, "DATE", done.stdout), done.stderr


def shows(node, text):
    """Wait until the status has a line."""
    wait_for(lambda: text in ha(node, "status")[1].splitlines(), f"{text!r} in {ha(node, 'status')[1]!r}", 60)


def armed(node):
    """Make a service, and wait for the LRM of its node to hold the watchdog."""
    assert ha(node, "add", "vm:100", "--state", "started") == (0, "", "")
    shows(node, "lrm pve1 (active, watchdog active, DATE)")
    wait_for(lambda: node.exists(ACTIVE), "the watchdog is held", 30)


def test_nothing_configured(pve1):
    assert ha(pve1, "status") == (0, "quorum OK\nfencing standby (CRM watchdog standby)\n", "")


def test_a_service_makes_a_master_and_arms_its_node(pve1, pve2):
    armed(pve1)
    shows(pve2, "lrm pve2 (idle, watchdog standby, DATE)")
    shows(pve2, "service vm:100 (pve1, started)")
    lines = ha(pve2, "status")[1].splitlines()
    assert lines[0] == "quorum OK"
    assert re.fullmatch(r"master pve[12] \(active, DATE\)", lines[1])
    assert lines[2] == "fencing armed (CRM watchdog active)"
    assert [line.split(" (")[0] for line in lines[3:]] == ["lrm pve1", "lrm pve2", "service vm:100"]
    assert ha(pve1, "remove", "vm:100") == (0, "", "")
    wait_for(
        lambda: not any("service" in line for line in ha(pve1, "status")[1].splitlines()),
        "no service is shown",
    )
    # The LRM stays active for 60 idle rounds, more than a minute (pve-ha-manager 4.0.7 and 5.2.0).
    time.sleep(15)
    shows(pve1, "lrm pve1 (active, watchdog active, DATE)")
    assert pve1.exists(ACTIVE)


def test_disarm_and_arm(pve1, pve2):
    armed(pve1)
    assert ha(pve2, "crm-command", "disarm-ha", "freeze") == (0, "", "")
    shows(pve1, "fencing disarmed, resource mode: freeze (CRM watchdog released)")
    wait_for(lambda: not pve1.exists(ACTIVE) and not pve2.exists(ACTIVE), "no watchdog is held", 30)
    assert re.search(
        r"(?m)^master pve[12] \(active, DATE\) - disarmed, resource mode: freeze$", ha(pve1, "status")[1]
    )
    assert "lrm pve1 (disarm mode, watchdog released, DATE)" in ha(pve1, "status")[1].splitlines()
    assert ha(pve1, "crm-command", "arm-ha") == (0, "", "")
    shows(pve1, "fencing armed (CRM watchdog active)")
    shows(pve1, "lrm pve1 (active, watchdog active, DATE)")


def test_disarm_needs_a_mode(pve1):
    status, out, error = ha(pve1, "crm-command", "disarm-ha")
    assert (status, out) == (255, "")
    assert "400 not enough arguments" in error


def test_maintenance_of_a_node(pve1, pve2):
    armed(pve1)
    assert ha(pve1, "crm-command", "node-maintenance", "enable", "pve2") == (0, "", "")
    shows(pve1, "lrm pve2 (maintenance mode, watchdog standby, DATE)")
    assert ha(pve1, "crm-command", "node-maintenance", "disable", "pve2") == (0, "", "")
    shows(pve1, "lrm pve2 (idle, watchdog standby, DATE)")


def test_a_stopped_lrm_lets_go_of_the_watchdog(pve1, pve2):
    armed(pve1)
    assert pve1.stop("lrm", seconds=90) == 0
    pve1.stop("crm", seconds=60)
    pve2.stop("crm", seconds=60)
    for node in (pve1, pve2):
        wait_for(lambda node=node: not node.exists(ACTIVE), f"{node.name} holds no watchdog", 30)


def test_without_quorum_an_armed_node_stays_armed(pve1, pve2, cluster):
    armed(pve1)
    pve1.link("vrack", False)
    for node in (pve1, pve2):
        wait_for(lambda node=node: not node.quorate(), f"{node.name} has lost quorum")
    status, out, _ = ha(pve1, "status")
    assert (status, out.splitlines()[0]) == (0, "quorum No quorum on node 'pve1'!")
    begun = time.monotonic()
    status, out, error = ha(pve1, "set", "vm:100", "--state", "stopped")
    assert (status, out) == (13, "")
    # 8 or 9 times, by how long each try took (5.2.0)
    assert error.replace(TRYING, "") == (
        "update resources config failed: cfs-lock 'domain-ha' error: no quorum!\n"
    )
    assert error.count(TRYING) in (8, 9)
    assert time.monotonic() - begun > 8
    assert pve1.exists(ACTIVE)
    pve1.signal("lrm")
    time.sleep(3)
    assert pve1.ended("lrm") is None, (
        "it does not end while it holds the watchdog and nobody can freeze its services"
    )
    assert pve1.exists(ACTIVE)
    pve1.link("vrack", True)
    cluster.wait_healthy()
    wait_for(lambda: pve1.ended("lrm") is not None, "with quorum it ends", 60)
    assert not (pve1.ended("lrm") or 0)


def test_the_daemons_live_through_a_restart_of_pmxcfs(pve1, cluster):
    """What they see meanwhile is ENOTCONN from a mount without a server (pve-ha-manager 5.2.0)."""
    armed(pve1)
    pve1.stop("pmxcfs", sign="KILL")
    time.sleep(3)
    assert pve1.python("os.lstat('/etc/pve/local')") == "ENOTCONN"
    assert pve1.ended("lrm") is None and pve1.ended("crm") is None
    pve1.start_pmxcfs()
    cluster.wait_healthy()
    shows(pve1, "lrm pve1 (active, watchdog active, DATE)")
    assert pve1.ended("lrm") is None and pve1.ended("crm") is None


def test_without_pmxcfs(pve1):
    pve1.stop("pmxcfs")
    status, out, error = ha(pve1, "status")
    pve1.start_pmxcfs()
    assert (status, out) == (111, "")
    assert error.endswith("Unable to load access control list: Connection refused\n")
