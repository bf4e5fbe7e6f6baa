import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from _pve_world import World
from salt.exceptions import CommandExecutionError, SaltInvocationError

LIST = """\
JobID                Target                 Schedule  Rate  Enabled
100-0                local/pve2                 */15     -      yes
101-0                local/pve2                 */15     -       no
102-0                local/pve3                 */15     -      yes
"""
STATUS = """\
JobID      Enabled    Target                           LastSync             NextSync   Duration  FailCount State
100-0      Yes        local/pve2            2026-11-23_09:33:04  2026-11-23_09:45:00   3.118999          0 OK
101-0      No         local/pve2                              -              pending          -          0 OK
102-0      Yes        local/pve3            2026-11-23_09:33:04  2026-11-23_09:45:00   3.118999          0 OK
"""  # noqa: E501
MEMBERS = """{
"nodename": "pve1", "version": 14,
"cluster": { "name": "prod", "version": 5, "nodes": 3, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "198.51.100.10"},
  "pve2": { "id": 2, "online": 1, "ip": "203.0.113.20"},
  "pve3": { "id": 3, "online": 0}
  }
}
"""


@pytest.fixture
def node(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    world.mount()
    world.path = tmp_path
    world.file("etc/pve/.members", MEMBERS)
    world.file("etc/pve/nodes/pve2/ssh_known_hosts", "pve2 ssh-rsa AAAA")
    (tmp_path / "list").write_text(LIST)
    (tmp_path / "status").write_text(STATUS)
    world.file("var/log/pve/replicate/100-0", "2026-11-23 09:00:00 100-0: old log\n")
    world.tool("ssh", 'echo "198.51.100.10 51000 203.0.113.20 22"')
    world.tool("getent", 'echo "192.0.2.33     STREAM $2"')
    world.tool(
        "pvesr",
        """
        case "$1" in
            list) cat "$WORLD/list" ;;
            status) cat "$WORLD/status" ;;
            run) shift
                 [ ! -x "$WORLD/job" ] || exec "$WORLD/job"
                 cd "$WORLD/root/var/log/pve/replicate"
                 echo "2026-11-23 10:00:00 100-0: end replication job" >100-0
                 echo "end replication job" ;;
        esac
        """,
    )
    return world


def test_list_and_status_are_data(node):
    assert node.salt["pvesr.list"]()["102-0"]["target"] == "pve3"
    assert node.salt["pvesr.status"]()["100-0"]["fail_count"] == 0


def test_status_is_refused_without_quorum_instead_of_blocking(node):
    node.mount(writable=False)
    with pytest.raises(CommandExecutionError, match="needs quorum"):
        node.salt["pvesr.status"]()
    assert node.calls("pvesr") == []
    assert "100-0" in node.salt["pvesr.list"]()


def test_a_tool_that_fails_is_quoted(node):
    node.tool("pvesr", "echo 'Unable to load access control list: Connection refused' >&2; exit 111")
    for name in ("pvesr.list", "pvesr.status"):
        with pytest.raises(CommandExecutionError, match="Connection refused"):
            node.salt[name]()


def test_path_comes_from_members_and_else_from_the_resolver(node):
    node.file("etc/pve/datacenter.cfg", "migration: secure,network=10.66.0.0/24\n")
    assert node.salt["pvesr.path"]("pve2") == {
        "target": "pve2",
        "address": "203.0.113.20",
        "source": "members",
        "network": "10.66.0.0/24",
        "known_hosts": True,
    }
    told = node.salt["pvesr.path"]("pve3")
    assert (told["address"], told["source"], told["known_hosts"]) == ("192.0.2.33", "resolver", False)
    with pytest.raises(CommandExecutionError, match="pve9 is no node"):
        node.salt["pvesr.path"]("pve9")
    with pytest.raises(SaltInvocationError, match="no node name"):
        node.salt["pvesr.path"]("../x")


def test_probe_uses_the_options_of_pve_and_returns_the_evidence_of_the_peer(node):
    told = node.salt["pvesr.probe"]("pve2")
    assert told["ok"] and told["connection"] == {
        "from": "198.51.100.10",
        "from_port": 51000,
        "to": "203.0.113.20",
        "to_port": 22,
    }
    (call,) = node.calls("ssh")
    known = node.pve / "nodes/pve2/ssh_known_hosts"
    assert (
        call == f"ssh -e none -o BatchMode=yes -o HostKeyAlias=pve2 -o UserKnownHostsFile={known}"
        " -o GlobalKnownHostsFile=none -o ConnectTimeout=5 root@203.0.113.20 -- printenv SSH_CONNECTION"
    )


def test_probe_names_the_error(node):
    node.tool("ssh", "echo 'ssh: connect to host 203.0.113.20 port 22: Connection timed out' >&2; exit 255")
    told = node.salt["pvesr.probe"]("pve2")
    assert not told["ok"] and told["connection"] is None and "timed out" in told["error"]
    node.tool("ssh", "echo hello")
    assert "SSH_CONNECTION" in node.salt["pvesr.probe"]("pve2")["error"]


def test_run_returns_the_log_that_the_job_wrote(node):
    told = node.salt["pvesr.run"]("100-0")
    assert told["ok"] and told["error"] == "" and not told["late"]
    assert told["log"] == ["2026-11-23 10:00:00 100-0: end replication job"]
    assert told["path"]["address"] == "203.0.113.20" and told["probe"]["ok"]
    assert node.calls("pvesr run") == ["pvesr run --id 100-0 --verbose"]


def test_run_sees_the_socket_of_a_real_ssh_process(real_proc):
    node = real_proc
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        job = node.path / "job"
        job.write_text(
            "#!/usr/bin/env python3\nimport os, sys\nos.execvp('python3', ['ssh', '-c', 'import socket,"
            f" time; s = socket.create_connection((\"127.0.0.1\", {port})); time.sleep(0.6)',\n  '-o',"
            " 'HostKeyAlias=pve2', 'root@127.0.0.1'])\n"
        )
        job.chmod(0o755)
        told = node.salt["pvesr.run"]("100-0", check=False)
    assert told["ok"], told
    assert told["seen"]["addresses"] == ["127.0.0.1"]
    assert {s["remote_port"] for s in told["seen"]["sockets"]} == {port}
    assert told["log"] == []


def test_run_does_not_start_a_job_towards_a_dead_address(node):
    node.tool("ssh", "echo 'ssh: connect to host 203.0.113.20 port 22: Connection timed out' >&2; exit 255")
    told = node.salt["pvesr.run"]("100-0")
    assert not told["ok"] and "203.0.113.20" in told["error"] and "timed out" in told["error"]
    assert node.calls("pvesr run") == []


#: what a job starts: a process whose command line is that of PVE's ssh, and that holds a connection.
SSH = (
    "import socket, sys, time; "
    "s = socket.create_connection((sys.argv[1], int(sys.argv[2]))) if sys.argv[2] != '0' else None; "
    "open(sys.argv[3], 'w').write('up'); time.sleep(60)"
)


def ssh_child(port, mark):
    return (
        f"exec -a ssh '{sys.executable}' -c \"{SSH}\" 127.0.0.1 {port} '{mark}' -o HostKeyAlias=pve2"
        " root@127.0.0.1"
    )


def pids(node):
    return [int(text) for text in (node.path / "pids").read_text().split()]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def until(what):
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def real_proc(node):
    """Let the node see the processes of this machine; end those of its jobs afterwards."""
    (node.root / "proc").rmdir()
    (node.root / "proc").symlink_to("/proc")
    yield node
    if (node.path / "pids").exists():
        for pid in filter(alive, pids(node)):
            os.kill(pid, signal.SIGKILL)


def long_job(node, port, traps=""):
    """A pvesr that waits for its children: an ssh with a connection to that port, or with none for 0."""
    job = node.path / "job"
    child = ssh_child(port, node.path / "up")
    job.write_text(
        f"#!/bin/bash\n{traps}\n({child}) &\necho $$ $! >'{node.path}/pids'\n"
        "wait $!; wait $!\necho 'end replication job'\n"
    )
    job.chmod(0o755)


def test_a_job_that_works_when_the_wait_ends_is_left_running_with_all_that_it_started(real_proc):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        long_job(real_proc, port)
        told = real_proc.salt["pvesr.run"]("100-0", timeout=2, check=False)
        assert (told["ok"], told["running"], told["late"]) == (False, True, False), told
        job, ssh = pids(real_proc)
        assert alive(job) and alive(ssh)
        assert os.getsid(job) == os.getsid(ssh) == job != os.getsid(0)
        assert told["error"].startswith(f"still running after 2 s, as process {job}")
        assert "127.0.0.1 (ESTABLISHED)" in told["error"] and told["seen"]["addresses"] == ["127.0.0.1"]
        # its output goes to a file that stays: no broken pipe ends it
        for number in (1, 2):
            assert "pipe" not in os.readlink(f"/proc/{job}/fd/{number}")


def test_a_job_at_a_standstill_is_ended_with_all_that_it_started(real_proc):
    long_job(real_proc, 0)
    told = real_proc.salt["pvesr.run"]("100-0", timeout=1.5, check=False)
    assert (told["ok"], told["running"], told["late"]) == (False, False, True), told
    assert "at a standstill" in told["error"] and "no connection seen" in told["error"]
    assert not any(map(alive, pids(real_proc)))


def test_what_does_not_heed_the_first_signal_gets_the_second(real_proc, monkeypatch):
    from pve_corosync.node import replication_job

    monkeypatch.setattr(replication_job, "TERM_WAIT", 0.5)
    long_job(real_proc, 0, traps="trap '' TERM")
    told = real_proc.salt["pvesr.run"]("100-0", timeout=1.5, check=False)
    assert told["late"] and not any(map(alive, pids(real_proc)))


def test_a_job_that_writes_its_log_is_at_work(real_proc):
    long_job(real_proc, 0)
    text = (real_proc.path / "job").read_text()
    log = real_proc.root / "var/log/pve/replicate/100-0"
    (real_proc.path / "job").write_text(text.replace("wait $!;", f"echo more >'{log}'; wait $!;"))
    told = real_proc.salt["pvesr.run"]("100-0", timeout=1.5, check=False)
    assert told["running"] and all(map(alive, pids(real_proc)))


def test_the_ssh_of_others_is_no_witness(real_proc):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, mark = server.getsockname()[1], real_proc.path / "other-up"
        with subprocess.Popen(["bash", "-c", ssh_child(port, mark)], start_new_session=True) as other:
            try:
                until(mark.exists)
                told = real_proc.salt["pvesr.run"]("100-0", check=False)
            finally:
                other.kill()
    assert told["ok"] and told["seen"] == {"addresses": [], "sockets": []}, told


def test_who_holds_the_lock_is_named(real_proc):
    (real_proc.path / "job").write_text(
        "#!/bin/sh\necho \"can't lock file '/var/lock/pvesr.lck' - got timeout\" >&2\nexit 255\n"
    )
    (real_proc.path / "job").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, mark = server.getsockname()[1], real_proc.path / "other-up"
        script = real_proc.path / "pvesr"
        script.write_text(f"({ssh_child(port, mark)}) & echo $! >'{real_proc.path}/pids'; wait")
        with subprocess.Popen(["bash", script], start_new_session=True) as other:
            try:
                until(mark.exists)
                (pid,) = pids(real_proc)
                told = real_proc.salt["pvesr.run"]("100-0", check=False)
            finally:
                os.killpg(other.pid, signal.SIGKILL)
    assert f"ssh (process {pid}) is at 127.0.0.1 (ESTABLISHED) towards pve2" in told["error"], told
    assert f"kill {pid}" in told["error"]


def test_a_job_that_is_left_running_holds_up_the_others(real_proc):
    with socket.create_server(("127.0.0.1", 0)) as server:
        long_job(real_proc, server.getsockname()[1])
        told = real_proc.salt["pvesr.run_all"](timeout=1.5)
    assert told["ok"] and told["failed"] == {} and sorted(told["jobs"]) == ["100-0"], told
    assert sorted(told["running"]) == ["100-0", "102-0"]
    assert "job 100-0 still runs" in told["running"]["102-0"]


def test_run_quotes_the_reason_of_ssh(node):
    (node.path / "job").write_text(
        "#!/bin/sh\necho '(remote_prepare_local_job) ssh: connect to host 203.0.113.20 port 22: Connection"
        " refused'\necho \"command 'ssh' failed: exit code 255\" >&2\nexit 255\n"
    )
    (node.path / "job").chmod(0o755)
    told = node.salt["pvesr.run"]("100-0")
    assert told["error"].startswith("ssh: connect to host 203.0.113.20 port 22: Connection refused; command")


def test_run_of_what_does_not_exist(node):
    with pytest.raises(CommandExecutionError, match="there are: 100-0, 101-0, 102-0"):
        node.salt["pvesr.run"]("999-0")
    with pytest.raises(SaltInvocationError, match="id like 100-0"):
        node.salt["pvesr.run"]("--mail")


def test_run_all_names_the_failed_and_the_left_out(node):
    told = node.salt["pvesr.run_all"]()
    assert (
        told["ok"] and sorted(told["jobs"]) == ["100-0", "102-0"] and told["skipped"] == {"101-0": "disabled"}
    )
    (node.path / "status").write_text(STATUS.replace("101-0      No ", "101-0      Yes"))
    node.tool(
        "ssh",
        """
        case "$*" in *pve2*)
            echo 'ssh: connect to host 203.0.113.20 port 22: No route to host' >&2
            exit 255 ;;
        esac
        echo "198.51.100.10 51000 192.0.2.33 22"
    """,
    )
    told = node.salt["pvesr.run_all"]()
    assert not told["ok"] and sorted(told["failed"]) == ["100-0", "101-0"] and told["jobs"]["102-0"]["ok"]
    assert "No route to host" in told["failed"]["101-0"]
    assert len([call for call in node.calls("ssh") if "pve2" in call]) == 2  # one in each run_all
    told = node.salt["pvesr.run_all"](targets=["pve3"])
    assert told["ok"] and sorted(told["jobs"]) == ["102-0"] and "100-0" in told["skipped"]


def test_accepted_filters_time_source_and_user(node):
    lines = [
        json.dumps(
            {
                "MESSAGE": f"Accepted publickey for {user} from {ip} port 5000 ssh2: RSA SHA256:x",
                "__REALTIME_TIMESTAMP": str(when * 1_000_000),
            }
        )
        for when, user, ip in (
            (100, "root", "10.66.0.1"),
            (200, "root", "198.51.100.10"),
            (201, "alice", "10.66.0.1"),
        )
    ]
    (node.path / "journal").write_text("\n".join(lines))
    node.tool("journalctl", 'cat "$WORLD/journal"')
    assert [login["from"] for login in node.salt["pvesr.accepted"](150)] == ["198.51.100.10"]
    assert node.salt["pvesr.accepted"](50, source="10.66.0.1")[0]["time"] == 100
    assert node.salt["pvesr.accepted"](50, user="alice")[0]["user"] == "alice"
    assert node.calls("journalctl")[0] == "journalctl --no-pager -o json --since @150 -t sshd -t sshd-session"
    node.tool("journalctl", "exit 1")
    assert node.salt["pvesr.accepted"](0) == []
    with pytest.raises(SaltInvocationError, match="allowed: seconds"):
        node.salt["pvesr.accepted"]("yesterday")
