"""The nftables table with real packets: peers get through, strangers do not, the administrator stays in."""

import json
import subprocess
import sys

import pytest
from _spaces import Spaces
from pve_corosync.tools import nft

NODE = "198.18.1.1"
HOSTS = {"node": f"{NODE}/24", "peer": "198.18.2.2/24", "stranger": "198.18.3.3/24", "admin": "198.18.4.4/24"}

LISTEN = """
import select, socket, sys
sockets = {}
for port in (5404, 5405, 5408, 5412, 5413):
    s = socket.socket(2, 2); s.bind(("0.0.0.0", port)); sockets[s] = port
for port in (22, 8006):
    s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(("0.0.0.0", port)); s.listen(); sockets[s] = port
print("ready", flush=True)
kept = []
for _ in range(60):
    for s in select.select(list(sockets), [], [], 0.5)[0]:
        if s.type == 2:
            data, source = s.recvfrom(99)
            s.sendto(data, source)
        else:
            kept.append(s.accept()[0])
"""

ASK = """
import json, socket, sys
node, answers = sys.argv[1], {}
for port in (5404, 5405, 5408, 5412, 5413):
    s = socket.socket(2, 2); s.settimeout(0.4); s.connect((node, port)); s.send(b"x")
    try: answers[port] = s.recv(9) == b"x"
    except OSError: answers[port] = False
for port in (22, 8006):
    s = socket.socket(); s.settimeout(0.4)
    answers[port] = s.connect_ex((node, port)) == 0
print(json.dumps(answers))
"""

OPEN = {"5404": True, "5405": True, "5408": True, "5412": True, "5413": True, "22": True, "8006": True}
CLOSED = dict(OPEN, **{"5405": False, "5408": False, "5412": False})


@pytest.fixture(scope="module")
def net():
    with Spaces("fwp", HOSTS) as spaces:
        yield spaces


@pytest.fixture
def node(net):
    listener = net.python("node", LISTEN)
    assert listener.stdout.readline() == "ready\n"
    yield net
    listener.kill()
    listener.communicate()
    net.run("node", "nft", "flush", "ruleset")


def ask(net, name):
    process = net.python(name, ASK, NODE)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    return json.loads(out)


def test_without_the_table_everybody_gets_through(node):
    assert ask(node, "stranger") == OPEN


def test_peers_and_administrators_get_through_and_strangers_do_not(node):
    node.nft("node", nft.text([NODE, "198.18.2.2"], ["198.18.4.0/24"]))
    assert ask(node, "peer") == OPEN
    assert ask(node, "stranger") == dict(CLOSED, **{"22": False})
    assert ask(node, "admin") == CLOSED
    dropped = nft.counters(node.run("node", "nft", "-j", "list", "table", "inet", "pve_corosync").stdout)
    assert dropped["corosync from strangers"] == 6 and dropped["ssh from strangers"] >= 1


def test_ssh_left_open_is_open(node):
    node.nft("node", nft.text([NODE, "198.18.2.2"], ssh="open"))
    assert ask(node, "stranger") == CLOSED


def test_a_session_that_runs_survives_the_closing(node):
    code = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 22), 2); print('up', flush=True);"
        " sys.stdin.readline(); s.settimeout(2); s.send(b'x' * 5000); import fcntl, struct, termios, time;"
        " time.sleep(0.5); left = struct.unpack('i', fcntl.ioctl(s, termios.TIOCOUTQ, b'0000'))[0];"
        " print(left, flush=True)"
    )
    session = subprocess.Popen(
        ["ip", "netns", "exec", node.space("stranger"), sys.executable, "-c", code, NODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert session.stdout.readline() == "up\n"
    node.nft("node", nft.text([NODE, "198.18.2.2"], ["198.18.4.0/24"]))
    out, _err = session.communicate("go\n", timeout=10)
    assert out == "0\n"  # every byte was acknowledged
    assert ask(node, "stranger")["22"] is False
