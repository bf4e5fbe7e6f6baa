"""Contract of pvesr: what it prints, and over which address its ssh goes.

LAB_PVESR checks a real one; its guest's volume tank:vm-100-disk-0 must be there then.
"""

import json
import re
import time

import pytest
from contract_nodes import pve_major, wait_for

SSH = (
    "/usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias=pve2' "
    "-o 'UserKnownHostsFile=/etc/pve/nodes/pve2/ssh_known_hosts' -o 'GlobalKnownHostsFile=none' "
    "root@198.51.100.2"
)
TRYING = "trying to acquire cfs lock 'file-replication_cfg' ...\n" * 9
NO_LOCK = TRYING + "cfs-lock 'file-replication_cfg' error: no quorum!\n"
LIST = "JobID                Target                 Schedule  Rate  Enabled\n"
ROW = "%-10s %-10s %-20s %20s %20s %10s %10s %s\n"
STATUS = ROW % ("JobID", "Enabled", "Target", "LastSync", "NextSync", "Duration", "FailCount", "State")
# Lines of zfs itself, which a stand-in has not.
ZFS = re.compile(r"(full send of|send from|total estimated size|TIME +SENT|\d\d:\d\d:\d\d ).*")


@pytest.fixture(autouse=True)
def replicated(cluster):
    """The guest 100 on pve1 with a job to pve2; names are public, ring0 is vRack."""
    pve1, pve2 = cluster.nodes
    for node in cluster.nodes:
        if "sshd" not in node.daemons:
            node.install()
            node.start_sshd()
            node.ok("pvecm", "updatecerts")
    pve1.ok("rm", "-f", "/etc/pve/datacenter.cfg", "/etc/pve/replication.cfg")
    for node in cluster.nodes:
        node.ok("rm", "-rf", "/var/lib/pve-manager/pve-replication-state.json", "/var/lib/lab-volumes")
    pve1.ok(
        "sh",
        "-c",
        "printf 'memory: 16\nscsi0: tank:vm-100-disk-0,size=4M\n' >/etc/pve/nodes/pve1/qemu-server/100.conf",
    )
    assert pvesr(pve1, "create-local-job", "100-0", "pve2", "--schedule", "*/15") == (0, "", "")
    yield
    if pve2.run("pgrep", "-x", "sshd").returncode:
        pve2.start("sshd", "/usr/sbin/sshd", "-D", "-e")


def pvesr(node, *words):
    """Run pvesr; returns (status, stdout, stderr), without lines of zfs."""
    done = node.run("pvesr", *words)
    return (
        done.returncode,
        "".join(f"{line}\n" for line in done.stdout.splitlines() if not ZFS.fullmatch(line)),
        done.stderr,
    )


def masked(text):
    """Replace times of snapshots by letters in their order."""
    found = list(dict.fromkeys(re.findall(r"(?:__replicate_100-0_|--last_sync )(\d{2,})", text)))
    for number, stamp in enumerate(found):
        text = text.replace(stamp, "ABC"[number])
    return text


def cut(*nodes):
    """Take quorum from both nodes; the public network stays."""
    nodes[0].link("vrack", False)
    for node in nodes:
        wait_for(lambda node=node: not node.quorate(), f"{node.name} has lost quorum")


def accepted(node, since=""):
    """Return the source addresses of the logins that a node's sshd has accepted, after a piece of its log."""
    return re.findall(r"Accepted publickey for root from (\S+)", node.log("sshd")[len(since) :])


def test_first_run_sends_all_and_the_next_what_changed(pve1):
    status, out, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, masked(out), error) == (
        0,
        """start replication job
guest => VM 100, running => 0
volumes => tank:vm-100-disk-0
create snapshot '__replicate_100-0_A__' on tank:vm-100-disk-0
using secure transmission, rate limit: none
full sync 'tank:vm-100-disk-0' (__replicate_100-0_A__)
successfully imported 'tank:vm-100-disk-0'
end replication job
""",
        "",
    )
    time.sleep(1)
    status, out, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, masked(out), error) == (
        0,
        """start replication job
guest => VM 100, running => 0
volumes => tank:vm-100-disk-0
create snapshot '__replicate_100-0_A__' on tank:vm-100-disk-0
using secure transmission, rate limit: none
incremental sync 'tank:vm-100-disk-0' (__replicate_100-0_B__ => __replicate_100-0_A__)
successfully imported 'tank:vm-100-disk-0'
delete previous replication snapshot '__replicate_100-0_B__' on tank:vm-100-disk-0
(remote_finalize_local_job) delete stale replication snapshot '__replicate_100-0_B__' on tank:vm-100-disk-0
end replication job
""",
        "",
    )
    log = pve1.read("/var/log/pve/replicate/100-0").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 100-0: start replication job", log[0])
    assert log[-1].endswith(" 100-0: end replication job")


def test_quiet_runs_print_nothing(pve1):
    assert pvesr(pve1, "run", "--id", "100-0") == (0, "", "")


def test_ssh_goes_to_the_address_of_the_name(pve1, pve2):
    before = pve2.log("sshd")
    assert pvesr(pve1, "run", "--id", "100-0")[0] == 0
    assert set(accepted(pve2, before)) == {pve1.addresses["public"]}


@pytest.mark.parametrize(
    "line",
    [
        "migration: secure,network=10.66.0.0/24",
        "replication: secure,network=10.66.0.0/24",
        "migration: insecure\nreplication: secure,network=10.66.0.0/24",
    ],
)
def test_a_network_moves_all_but_the_first_question(pve1, pve2, line):
    pve1.ok("sh", "-c", 'echo "$1" >/etc/pve/datacenter.cfg', "sh", line)
    before = pve2.log("sshd")
    status, out, _ = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert status == 0
    over = " over 10.66.0.0/24" if pve_major() > 8 else ""  # as PVE 9.2 and 8.4 print it
    assert f"using secure transmission{over}, rate limit: none\n" in out
    sources = accepted(pve2, before)
    assert sources[0] == pve1.addresses["public"]
    assert set(sources[1:]) == {pve1.addresses["vrack"]}


def test_replication_stands_alone_even_without_a_network(pve1):
    pve1.ok(
        "sh",
        "-c",
        "printf 'migration: secure,network=10.66.0.0/24\nreplication: secure\n' >/etc/pve/datacenter.cfg",
    )
    status, out, _ = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert status == 0
    assert "using secure transmission, rate limit: none\n" in out


def refused(last, volume="tank:vm-100-disk-0"):
    """Return the error of a first connection that was refused; the first sync scans nothing (PVE 8 and 9)."""
    scan = "--scan tank " if last else ""
    command = f"{SSH} -- pvesr prepare-local-job 100-0 {scan}{volume} --last_sync {last}"
    return f"command '{command}' failed: exit code 255"


def test_a_refused_connection_names_command_and_address(pve1, pve2):
    pve2.stop("sshd")
    status, out, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, error) == (255, refused(0) + "\n")
    assert (
        out
        == f"""start replication job
guest => VM 100, running => 0
volumes => tank:vm-100-disk-0
(remote_prepare_local_job) ssh: connect to host 198.51.100.2 port 22: Connection refused
end replication job with error: {refused(0)}
"""
    )
    # Without --id the error is only a warning.
    pve1.ok("rm", "-f", "/var/lib/pve-manager/pve-replication-state.json")
    status, out, error = pvesr(pve1, "run", "--verbose")
    assert (status, error) == (0, f"100-0: got unexpected replication job error - {refused(0)}\n")
    status, out, error = pvesr(pve1, "status")
    assert (status, error) == (0, "")
    row = out.splitlines()[1]
    assert row.startswith("100-0      Yes        local/pve2                              -  ")
    assert row.endswith(f" 1 {refused(0)}")


def test_with_a_network_a_refused_connection_ends_at_the_question(pve1, pve2):
    pve1.ok("sh", "-c", "echo 'migration: secure,network=10.66.0.0/24' >/etc/pve/datacenter.cfg")
    pve2.stop("sshd")
    command = f"{SSH} pvecm mtunnel -migration_network 10.66.0.0/24 -get_migration_ip"
    problem = f"command '{command}' failed: exit code 255"
    status, out, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, error) == (
        255,
        f"ssh: connect to host 198.51.100.2 port 22: Connection refused\n{problem}\n",
    )
    assert out.splitlines()[-1] == f"end replication job with error: {problem}"


def test_a_changed_host_key_is_refused(pve1, pve2):
    good = pve1.read("/etc/pve/nodes/pve2/ssh_known_hosts")
    other = pve1.read("/etc/pve/nodes/pve1/ssh_known_hosts").replace("pve1 ", "pve2 ")
    pve1.ok("sh", "-c", 'printf %s "$1" >/etc/pve/nodes/pve2/ssh_known_hosts', "sh", other)
    status, out, _ = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    pve1.ok("sh", "-c", 'printf %s "$1" >/etc/pve/nodes/pve2/ssh_known_hosts', "sh", good)
    assert status == 255
    assert "(remote_prepare_local_job) @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n" in out
    assert "(remote_prepare_local_job) Host key verification failed.\n" in out


def test_status_after_success_and_on_the_other_node(pve1, pve2):
    assert pvesr(pve1, "status") == (
        0,
        STATUS + ROW % ("100-0", "Yes", "local/pve2", "-", "pending", "-", 0, "OK"),
        "",
    )
    assert pvesr(pve1, "run", "--id", "100-0")[0] == 0
    status, out, error = pvesr(pve1, "status")
    assert (status, error) == (0, "")
    assert re.fullmatch(
        re.escape(STATUS) + r"100-0      Yes        local/pve2 +\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d +"
        r"\d{4}-\d\d-\d\d_\d\d:(00|15|30|45):00 +\d+\.\d+ +0 OK\n",
        out,
    )
    assert pvesr(pve2, "status") == (0, STATUS, "")
    entry = json.loads(pve1.read("/var/lib/pve-manager/pve-replication-state.json"))["100"]["local/pve2"]
    assert entry["fail_count"] == 0 and entry["last_node"] == "pve1" and entry["last_sync"] > 0


def test_list_enable_disable_read(pve1, pve2):
    row = "100-0                local/pve2                 */15     -      yes\n"
    assert pvesr(pve1, "list") == pvesr(pve2, "list") == (0, LIST + row, "")
    assert pvesr(pve1, "disable", "100-0") == (0, "", "")
    assert pvesr(pve1, "list") == (0, LIST + row.replace("yes", " no"), "")
    assert pvesr(pve1, "run", "--id", "100-0", "--verbose") == (255, "", "job '100-0' is disabled\n")
    assert pvesr(pve1, "enable", "100-0") == (0, "", "")
    job = json.loads(pve1.ok("pvesr", "read", "100-0"))
    assert {key: job[key] for key in ("guest", "id", "jobnum", "schedule", "source", "target", "type")} == {
        "guest": 100,
        "id": "100-0",
        "jobnum": 0,
        "schedule": "*/15",
        "source": "pve1",
        "target": "pve2",
        "type": "local",
    }


def test_jobs_that_cannot_run(pve1, pve2):
    assert pvesr(pve1, "run", "--id", "999-0", "--verbose") == (255, "", "no such job '999-0'\n")
    assert pvesr(pve2, "run", "--id", "100-0", "--verbose") == (255, "", "guest '100' is not on local node\n")


def test_without_quorum_it_replicates_but_shows_no_status(pve1, pve2):
    cut(pve1, pve2)
    assert pvesr(pve1, "list")[0] == 0
    status, out, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, error) == (0, "")
    assert out.endswith("end replication job\n")
    start = time.monotonic()
    assert pvesr(pve1, "status") == (13, "", NO_LOCK)
    assert time.monotonic() - start > 8
    assert pvesr(pve1, "run") == (13, "", NO_LOCK)
    assert pvesr(pve1, "disable", "100-0") == (13, "", NO_LOCK)


def test_with_a_network_a_peer_without_quorum_gives_no_address(pve1, pve2):
    pve1.ok("sh", "-c", "echo 'migration: secure,network=10.66.0.0/24' >/etc/pve/datacenter.cfg")
    cut(pve1, pve2)
    status, _, error = pvesr(pve1, "run", "--id", "100-0", "--verbose")
    assert (status, error) == (255, "failed to get ip for node 'pve2' in network '10.66.0.0/24'\n")
