"""A name server that answers nobody: Salt waits 10 s for it, unless the master knows its own IPv6 address."""

import contextlib

import pytest

from lab.seed import MASTER

# Notes each question (name and type), and answers none.
DEAF = r"""
import socket
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind(("127.0.0.9", 53))
print("listening", flush=True)
while True:
    data, at, labels = asked.recv(512), 12, []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    print(".".join(labels), int.from_bytes(data[at + 1 : at + 3], "big"), flush=True)
"""
SEEN, RESOLV = "/run/deaf.log", "/etc/resolv.conf"
IPV6 = 28


@contextlib.contextmanager
def deaf_dns(lab):
    """The master has a name server that hears everything, for the block."""
    lab.write(MASTER, "/root/deaf.py", DEAF)
    lab.write(MASTER, RESOLV, "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n")
    hosts = lab.read(MASTER, "/etc/hosts")
    listen = f"python3 /root/deaf.py >>{SEEN}"
    lab.exec(MASTER, ["systemd-run", "--unit=deaf", "sh", "-c", f"exec {listen}"], check=True)
    lab.exec(MASTER, ["sh", "-c", f"until grep -q listening {SEEN}; do sleep 0.1; done"], check=True)
    try:
        yield
    finally:
        lab.write(MASTER, "/etc/hosts", hosts)
        lab.exec(MASTER, ["systemctl", "stop", "deaf"], check=True)
        lab.exec(MASTER, ["rm", "-f", RESOLV, SEEN, "/root/deaf.py"], check=True)


def asked(lab):
    """The questions since the last call."""
    lines = lab.exec(MASTER, ["cat", SEEN], check=True).stdout.splitlines()
    lab.exec(MASTER, ["truncate", "--size=0", SEEN], check=True)
    return [line for line in lines if line != "listening"]


def ran(lab, *words):
    """Run a command on the master, and return what it asked the name server."""
    done = lab.salt_run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return asked(lab)


@pytest.mark.parametrize(
    "words",
    [("corosync.status",), ("state.orchestrate", "orch.failover", "test=True")],
    ids=["status", "failover"],
)
def test_with_the_masters_name_in_its_hosts_file_nothing_is_asked_of_a_dead_name_server(lab, words):
    name = lab.exec(MASTER, ["hostname", "-f"], check=True).stdout.strip()
    with deaf_dns(lab):
        assert f"{name} {IPV6}" in ran(lab, *words), "Salt looks up the IPv6 address of its own name"
        lab.write(MASTER, "/etc/hosts", lab.read(MASTER, "/etc/hosts") + f"::1 {name}\n")
        assert ran(lab, *words) == []
