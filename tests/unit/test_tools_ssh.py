import json
import pathlib
import socket

import pytest
from pve_corosync.tools import ssh as rep

REFUSED = """\
start replication job
guest => VM 100, running => 0
(remote_prepare_local_job) ssh: connect to host 198.51.102.20 port 22: Connection refused
end replication job with error: command '/usr/bin/ssh -e none' failed: exit code 255
"""


def test_ssh_command_is_the_one_of_pve():
    command = rep.ssh_command("qve2", "198.51.102.20", ["pvesr", "prepare-local-job"])
    assert (
        " ".join(command) == "ssh -e none -o BatchMode=yes -o HostKeyAlias=qve2"
        " -o UserKnownHostsFile=/etc/pve/nodes/qve2/ssh_known_hosts -o GlobalKnownHostsFile=none"
        " root@198.51.102.20 -- pvesr prepare-local-job"
    )
    short = rep.ssh_command("qve2", "2001:db8::2", ["true"], known_hosts=False, connect_timeout=5)
    assert "ConnectTimeout=5" in short and not [part for part in short if "KnownHosts" in part]


def test_ssh_target_of_a_running_process():
    line = "\0".join(["/usr/bin/ssh"] + rep.ssh_command("pve2", "10.0.0.2", ["x"])[1:]).encode() + b"\0"
    assert rep.ssh_target(line) == {"node": "pve2", "address": "10.0.0.2"}


@pytest.mark.parametrize(
    "line", [b"", b"ssh\0root@10.0.0.2\0", b"sshd\0-o\0HostKeyAlias=x\0root@1\0", b"bash\0"]
)
def test_ssh_target_of_others(line):
    assert rep.ssh_target(line) is None


def test_sockets_of_a_real_connection():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        text = pathlib.Path("/proc/self/net/tcp").read_text()
        mine = [s for s in rep.sockets(text) if s["local_port"] == client.getsockname()[1]]
        assert [(s["local"], s["remote"], s["remote_port"], s["state"]) for s in mine] == [
            ("127.0.0.1", "127.0.0.1", server.getsockname()[1], "ESTABLISHED")
        ]
        assert mine[0]["inode"] in pathlib.Path(f"/proc/self/fd/{client.fileno()}").readlink().name


def test_sockets_of_ipv6_and_of_mapped_ipv4():
    row = "   0: {}:D431 {}:0016 01 00000000:00000000 00:00000000 00000000     0        0 4242 1\n"
    plain = "B80D0120000000000000000002000000"
    mapped = "0000000000000000FFFF00000142A80A".replace("0142A80A", "0100420A")
    told = rep.sockets("header\n" + row.format(plain, plain) + row.format(mapped, mapped))
    assert [s["remote"] for s in told] == ["2001:db8::2", "10.66.0.1"]
    assert told[0]["remote_port"] == 22 and told[0]["inode"] == "4242"


def test_accepted_finds_logins_only():
    def entry(message, usec):
        return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": str(usec)})

    text = "\n".join(
        [
            entry("Accepted publickey for root from 198.51.100.10 port 51234 ssh2: RSA SHA256:x", 2_500_000),
            entry("Accepted publickey for root from 10.66.0.1 port 51230 ssh2: RSA SHA256:x", 1_000_000),
            entry("Failed publickey for root from 10.66.0.9 port 1 ssh2", 1),
            entry([65, 66], 1),
            "no json",
            "[]",
        ]
    )
    assert rep.accepted(text) == [
        {"time": 1.0, "user": "root", "method": "publickey", "from": "10.66.0.1", "port": 51230},
        {"time": 2.5, "user": "root", "method": "publickey", "from": "198.51.100.10", "port": 51234},
    ]


def test_connection():
    assert rep.connection("10.66.0.1 51000 10.66.0.2 22\n") == {
        "from": "10.66.0.1",
        "from_port": 51000,
        "to": "10.66.0.2",
        "to_port": 22,
    }
    assert rep.connection("") is None and rep.connection("a b c d") is None


@pytest.mark.parametrize(
    "stdout, stderr, rc, expected",
    [
        (
            REFUSED,
            "command 'ssh' failed: exit code 255\n",
            255,
            (
                "ssh: connect to host 198.51.102.20 port 22: Connection refused; command 'ssh' failed: exit"
                " code 255"
            ),
        ),
        ("", "job '100-0' is disabled\n", 255, "job '100-0' is disabled"),
        (
            "",
            "trying to acquire lock...\ncan't lock file '/var/lock/pvesr.lck' - got timeout\n",
            255,
            "can't lock file '/var/lock/pvesr.lck' - got timeout",
        ),
        ("start replication job\n", "", 9, "start replication job"),
        ("", "", 13, "exit code 13, no text"),
    ],
)
def test_reason(stdout, stderr, rc, expected):
    assert rep.reason(stdout, stderr, rc) == expected
