import pathlib

import pytest
from _corosync_world import Node
from salt.exceptions import CommandExecutionError

CAPTURES = pathlib.Path(__file__).resolve().parents[1] / "captures"


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Node(tmp_path, monkeypatch)


def replay(node, capture):
    """Let ``pvecm`` print what the real one printed."""
    head, rest = (CAPTURES / f"{capture}.txt").read_text().split("--stdout--\n")
    out, err = rest.split("--stderr--\n")
    (node.bin.parent / "out").write_text(out)
    (node.bin.parent / "err").write_text(err.replace("--end--\n", ""))
    status = next(line.split()[1] for line in head.splitlines() if line.startswith("exit:"))
    node.tool("pvecm", f'cat "$WORLD/out"; cat "$WORLD/err" >&2; exit {status}')


@pytest.mark.parametrize(
    ("capture", "state", "name"),
    [
        ("q-status", "quorate", "lab2"),
        ("nq-status", "no-quorum", "lab2"),
        ("sa-status", "not-in-cluster", None),
        ("cs-stopped-status", "corosync-stopped", "lab2"),
        ("cfs-stopped-status", "pmxcfs-stopped", None),
    ],
)
def test_status_tells_apart_what_the_exit_code_does_not(node, capture, state, name):
    replay(node, capture)
    told = node.salt["pvecm.status"]()
    assert told["state"] == state
    assert (told["cluster"] or {}).get("name") == name
    assert node.calls("pvecm") == ["pvecm status"]


def test_nodes(node):
    replay(node, "nq-nodes")
    told = node.salt["pvecm.nodes"]()
    assert told["state"] == "ok" and {row["name"] for row in told["nodes"].values()} == {"qve1"}
    replay(node, "sa-nodes")
    assert node.salt["pvecm.nodes"]()["state"] == "not-in-cluster"


def test_an_unknown_failure_is_an_error_with_its_text(node):
    node.tool("pvecm", "echo 'please run as root' >&2; exit 255")
    with pytest.raises(CommandExecutionError, match="please run as root"):
        node.salt["pvecm.status"]()


def test_expected_is_not_offered(node):
    replay(node, "q-status")
    node.salt["pvecm.status"]()
    assert "pvecm.expected" not in node.salt and "pvecm.status" in node.salt


UPDATE = """
mkdir -p "$WORLD/root/etc/pve/nodes/pve1"; cd "$WORLD/root/etc/pve/nodes/pve1"
echo key >ssh_known_hosts
[ -e pve-ssl.pem ] && [ "$2" != --force ] || echo "certificate $$" >pve-ssl.pem
"""


def test_updatecerts_reads_back_what_changed(node):
    node.tool("pvecm", UPDATE)
    files = ["nodes/pve1/pve-ssl.pem", "nodes/pve1/ssh_known_hosts"]
    told = node.salt["pvecm.updatecerts"]()
    assert told["changed"] == files and told["present"] == dict.fromkeys(files, True)
    assert node.salt["pvecm.updatecerts"]()["changed"] == []
    assert node.salt["pvecm.updatecerts"](force=True)["changed"] == files[:1]
    assert node.calls("pvecm") == ["pvecm updatecerts"] * 2 + ["pvecm updatecerts --force"]


@pytest.mark.parametrize(
    ("stat", "words"),
    [
        ("echo a16d", "is not quorate"),
        ("echo 'stat: No such file or directory' >&2; exit 1", "is not mounted"),
        ("echo 'stat: Transport endpoint is not connected' >&2; exit 1", "endpoint is not connected"),
    ],
)
def test_updatecerts_is_refused_where_it_would_block(node, stat, words):
    node.tool("pvecm", UPDATE)
    node.tool("stat", stat)
    with pytest.raises(CommandExecutionError, match=f"{words}.*80 s"):
        node.salt["pvecm.updatecerts"]()
    assert node.calls("pvecm") == []


def test_updatecerts_that_fails_or_does_nothing_is_an_error(node):
    node.tool("pvecm", "exit 0")
    with pytest.raises(CommandExecutionError, match="do not exist: nodes/pve1/pve-ssl.pem"):
        node.salt["pvecm.updatecerts"]()
    node.tool("pvecm", "echo 'got timeout' >&2; exit 4")
    with pytest.raises(CommandExecutionError, match="got timeout"):
        node.salt["pvecm.updatecerts"]()
