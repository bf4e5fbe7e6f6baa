"""Joining and leaving through a fake pvecm that says what the real one said (captures add*, del*, j-*)."""

import hashlib
import json
import os
import time

import pytest
from _corosync_world import Node, conf
from pve_corosync.run import join
from salt.exceptions import CommandExecutionError, SaltInvocationError

OK = """copy corosync auth key
stopping pve-cluster service
backup old database to '/var/lib/pve-cluster/backup/config-1795426571.sql.gz'
waiting for quorum...OK
(re)generate node files
generate new node certificate
merge authorized SSH keys
generated new node certificate, restart pveproxy and pvedaemon services
successfully added node 'pve1' to cluster."""
#: (standard output, standard error, words of the error); every one of them ended with exit code 0.
FAILURES = {
    "add-badip": (
        "detected the following error(s):\n* link0: cannot use IP '10.66.0.99', not found on local node!\n",
        "Check if node may join a cluster failed!",
        "cannot use IP '10.66.0.99'.*may join a cluster failed",
    ),
    "add-noprep": ("", "unable to copy ssh ID: exit code 1", "unable to copy ssh ID"),
    "add-linkmismatch": (
        "corosync: link 1 specified for new node doesn't exist in cluster config",
        "unable to add node: command failed (ssh qve1 -o BatchMode=yes pvecm addnode qve3)",
        "link 1 specified for new node.*unable to add node",
    ),
    "add2-onelink": (
        "cluster has 2 links, but only 1 given at /usr/share/perl5/PVE/API2/ClusterConfig.pm line 375,",
        "unable to add node: command failed",
        "cluster has 2 links, but only 1 given",
    ),
    "add-nossh": ("", "EOF while reading password", "EOF while reading password"),
    "silent": ("", "", "it said nothing"),
    "other": ("successfully added node 'pve2' to cluster.", "", "did not add pve1"),
}
LINKS = {"0": "10.66.0.1"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    world = Node(tmp_path, monkeypatch)
    world.path = tmp_path
    return world


@pytest.fixture
def fresh(node):
    """The node as it is after an installation: no configuration, no key, corosync off."""
    for path in (node.local, node.cluster, node.root / "etc/corosync/authkey"):
        path.unlink()
    node.daemon(running=False)
    return node


def pvecm(node, out="", err="", after="", code=0):
    (node.path / "out").write_text(out)
    (node.path / "err").write_text(err)
    node.tool("pvecm", f'cat "$WORLD/out"; cat "$WORLD/err" >&2\n{after}\nexit {code}')


def joins(node, text=conf(6)):
    (node.path / "conf").write_text(text)
    state = node.daemon()
    state.update(running=True, version=6)
    (node.path / "next.json").write_text(json.dumps(state))
    return (
        'cp "$WORLD/conf" "$WORLD/root/etc/pve/corosync.conf"; cp "$WORLD/conf" '
        '"$WORLD/root/etc/corosync/corosync.conf"; cp "$WORLD/next.json" "$WORLD/corosync.json"; '
        # the real tool leaves the key so (pve-real.md)
        'echo key >"$WORLD/root/etc/corosync/authkey"; chmod 0644 "$WORLD/root/etc/corosync/authkey"'
    )


def test_add_believes_the_last_line_and_what_is_there(fresh):
    pvecm(fresh, OK, after=joins(fresh))
    told = fresh.salt["pvecm.add"]("10.66.0.2", LINKS)
    assert told["node"] == "pve1" and told["version"] == 6 and told["links"] == {0: "10.66.0.1"}
    assert fresh.calls("pvecm") == ["pvecm add 10.66.0.2 --use_ssh --link0 10.66.0.1"]
    assert (fresh.root / "etc/corosync/authkey").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("name", FAILURES)
def test_add_sees_through_exit_code_0(fresh, name):
    out, err, words = FAILURES[name]
    pvecm(fresh, out, err)
    with pytest.raises(CommandExecutionError, match=f"(?s){words}"):
        fresh.salt["pvecm.add"]("10.66.0.2", LINKS)


def test_add_does_not_believe_pvecm_where_the_file_has_other_links(fresh):
    pvecm(fresh, OK, after=joins(fresh, conf(6, {0: {"pve1": "10.66.0.77", "pve2": "10.66.0.2"}})))
    with pytest.raises(CommandExecutionError, match="says that pve1 was added, but: the cluster file gives"):
        fresh.salt["pvecm.add"]("10.66.0.2", LINKS)


def test_a_node_with_a_past_does_not_join(node):
    pvecm(node, OK)
    node.file("etc/pve/nodes/pve1/qemu-server/100.conf", "memory: 1\n")
    told = node.salt["pvecm.joinable"]()
    text = "; ".join(told["reasons"])
    for word in (
        "corosync.conf exists",
        "authkey exists",
        "corosync runs",
        "guest pve1/qemu-server/100.conf",
    ):
        assert word in text
    with pytest.raises(CommandExecutionError, match="cannot join"):
        node.salt["pvecm.add"]("10.66.0.2", LINKS)
    assert node.calls("pvecm") == []


@pytest.mark.parametrize("hung", ["file", "folder"])
def test_beside_a_hung_etc_pve_nothing_is_begun(fresh, hung):
    """A call into it never comes back, so none is made by the minion itself."""
    pvecm(fresh, OK)
    if hung == "file":
        os.mkfifo(fresh.cluster)  # a reader of it blocks
    else:
        fresh.mount()
        fresh.tool("test", "sleep 20")
    for function, given in (("pvecm.joinable", ()), ("pvecm.add", ("10.66.0.2", LINKS))):
        start = time.monotonic()
        with pytest.raises(CommandExecutionError, match="did not answer within .* s: pmxcfs hangs"):
            fresh.salt[function](*given)
        assert time.monotonic() - start < 15
    assert fresh.calls("pvecm") == [] and not fresh.local.exists()


def test_add_checks_what_it_is_given(fresh):
    pvecm(fresh, OK)
    for host, links in (
        ("pve2", LINKS),
        ("10.66.0.2", {}),
        ("10.66.0.2", {"0": "127.0.0.1"}),
        ("-oX", LINKS),
        ("10.66.0.2", {-1: "10.66.0.1"}),
        ("10.66.0.2", {"8": "10.66.0.1"}),
        ("10.66.0.2", {"x": "10.66.0.1"}),
        ("10.66.0.2", {True: "10.66.0.1"}),
    ):
        with pytest.raises(SaltInvocationError):
            fresh.salt["pvecm.add"](host, links)
    assert fresh.calls("pvecm") == []


ONE = conf(6).replace(conf(6)[conf(6).index("  node {\n    name: pve2") : conf(6).index("}\n\nquorum")], "")


def test_delnode_of_a_dead_node(node):
    node.tool("corosync-quorumtool", "exit 1")
    (node.path / "conf").write_text(ONE)
    state = dict(node.daemon(), version=6)
    (node.path / "next.json").write_text(json.dumps(state))
    pvecm(
        node,
        "Killing node 2\n",
        "Could not kill node (error = CS_ERR_NOT_EXIST)",
        'cp "$WORLD/conf" "$WORLD/root/etc/pve/corosync.conf"; cp "$WORLD/next.json" "$WORLD/corosync.json"',
    )
    told = node.salt["pvecm.delnode"]("pve2")
    assert told["changed"] and told["version"] == 6 and "Killing node 2" in told["text"]
    assert node.salt["pvecm.delnode"]("pve2")["changed"] is False
    assert len(node.calls("pvecm")) == 1


def test_delnode_never_stops_a_node_that_runs(node):
    pvecm(node)
    with pytest.raises(CommandExecutionError, match="is a member now"):
        node.salt["pvecm.delnode"]("pve2")
    with pytest.raises(SaltInvocationError, match="this node"):
        node.salt["pvecm.delnode"]("pve1")
    with pytest.raises(SaltInvocationError, match="node's name"):
        node.salt["pvecm.delnode"]("pve2; reboot")
    node.mount(writable=False)
    node.daemon(quorate=False)
    with pytest.raises(CommandExecutionError, match="not quorate"):
        node.salt["pvecm.delnode"]("pve2")
    assert node.calls("pvecm") == []


def test_delnode_that_did_nothing_is_an_error(node):
    node.tool("corosync-quorumtool", "exit 1")
    pvecm(node, "", "cluster not ready - no quorum?", code=255)
    with pytest.raises(CommandExecutionError, match="no quorum.*still has"):
        node.salt["pvecm.delnode"]("pve2")


def test_keys_are_carried_once_and_checked(node):
    pvecm(node)
    node.file("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa AAAAhost root@pve1\n")
    told = node.salt["pvecm.identity"]()
    assert told["public"].startswith("ssh-rsa ") and told["public"].endswith("root@pve1")
    assert told == node.salt["pvecm.identity"]() and told["host_key"] == "ssh-rsa AAAAhost"
    authorized = node.file("root/.ssh/authorized_keys", "ssh-rsa AAAAother root@pve2")
    assert node.salt["pvecm.admit"](told["public"]) is True
    assert authorized.read_text() == f"ssh-rsa AAAAother root@pve2\n{told['public']}\n"
    assert node.salt["pvecm.admit"](told["public"]) is False
    known = node.file("root/.ssh/known_hosts", "10.66.0.2 ssh-rsa AAAAold\n10.66.0.9 ssh-rsa AAAAnine\n")
    assert node.salt["pvecm.know"]("10.66.0.2", "ssh-rsa AAAAnew") is True
    assert known.read_text() == "10.66.0.9 ssh-rsa AAAAnine\n10.66.0.2 ssh-rsa AAAAnew\n"
    assert node.salt["pvecm.know"]("10.66.0.2", "ssh-rsa AAAAnew") is False
    for bad in ("ssh-rsa AAAA\nssh-rsa BBBB", 'command="x" ssh-rsa AAAA', ""):
        with pytest.raises(SaltInvocationError):
            node.salt["pvecm.admit"](bad)


def test_guests_are_listed_with_their_digests(node):
    pvecm(node)
    node.file("etc/pve/nodes/pve2/qemu-server/100.conf", "memory: 1\n")
    node.file("etc/pve/nodes/pve1/lxc/101.conf", "memory: 2\n")
    node.file("etc/pve/nodes/pve1/pve-ssl.pem", "x")
    before = node.salt["pvecm.guests"]()
    assert sorted(before) == ["pve1/lxc/101.conf", "pve2/qemu-server/100.conf"]
    assert join.guests_changed(before, node.salt["pvecm.guests"](), "pve2") == []
    node.file("etc/pve/nodes/pve1/lxc/101.conf", "memory: 3\n")
    found = join.guests_changed(before, node.salt["pvecm.guests"](), "pve2")
    assert found[0]["data"]["paths"] == ["pve1/lxc/101.conf"]


# ---- a join that was cut off

KEY = b"the key of the cluster"
DIGEST = hashlib.sha256(KEY).hexdigest()
DATABASE = "var/lib/pve-cluster/config.db"


@pytest.fixture
def half(node):
    """The key and the file of the cluster have come, the database is the one of the installation."""
    pvecm(node, OK)
    key = node.root / "etc/corosync/authkey"
    key.chmod(0o600)
    key.write_bytes(KEY)
    node.cluster.unlink()
    node.file(DATABASE, "db")
    node.file("etc/pve/nodes/pve1/qemu-server/.keep", "")
    node.daemon(running=False)
    node.tool("systemctl", "exit 0")
    return node


def test_what_a_cut_off_join_left_is_told_from_a_node_with_a_past(half):
    assert half.salt["pvecm.joinable"]()["half"] is True
    half.file("etc/pve/nodes/pve1/qemu-server/100.conf", "memory: 1\n")
    assert half.salt["pvecm.joinable"]()["half"] is False, "guests that no cluster file explains are its own"
    half.cluster.write_text(conf(6))
    assert half.salt["pvecm.joinable"]()["half"] is True


def test_where_only_key_and_file_came_they_go_again(half):
    assert half.salt["pvecm.resume"](DIGEST) == {"joined": False}
    assert not (half.root / "etc/corosync/authkey").exists() and not half.local.exists()
    assert half.calls("systemctl") == [
        "systemctl start pve-cluster",
        "systemctl stop corosync",
        "systemctl start pve-cluster",
    ]
    assert [r for r in half.salt["pvecm.joinable"]()["reasons"] if "exists" in r] == []


@pytest.mark.parametrize("retired", [True, False])
def test_where_the_database_went_or_has_the_file_the_services_are_started(half, retired):
    if retired:
        (half.root / DATABASE).unlink()
    else:
        half.cluster.write_text(conf(6))
    half.daemon(running=True)
    half.mount()
    assert half.salt["pvecm.resume"](DIGEST) == {"joined": True}
    assert half.calls("systemctl")[-1] == "systemctl start corosync pve-cluster"
    assert (half.root / "etc/corosync/authkey").exists() and half.local.exists()
    half.daemon(quorate=False)
    with pytest.raises(CommandExecutionError, match="does not come to its end.*rm -f /etc/corosync"):
        half.salt["pvecm.resume"](DIGEST, timeout=0.5)


def test_with_another_key_nothing_is_touched(half):
    with pytest.raises(CommandExecutionError, match="nothing was done"):
        half.salt["pvecm.resume"](hashlib.sha256(b"other").hexdigest())
    assert half.calls("systemctl") == [] and half.local.exists()
    half.file("etc/pve/nodes/pve1/qemu-server/100.conf", "memory: 1\n")
    with pytest.raises(CommandExecutionError, match="guests of its own"):
        half.salt["pvecm.resume"](DIGEST)
    assert half.local.exists()


def test_add_passes_id_and_votes_and_reads_the_id_back(fresh):
    pvecm(fresh, OK, after=joins(fresh))
    assert fresh.salt["pvecm.add"]("10.66.0.2", LINKS, nodeid=1, votes=2)["version"] == 6
    assert fresh.calls("pvecm") == ["pvecm add 10.66.0.2 --use_ssh --link0 10.66.0.1 --nodeid 1 --votes 2"]


def test_add_sees_that_pve_gave_another_id(fresh):
    pvecm(fresh, OK, after=joins(fresh))
    with pytest.raises(CommandExecutionError, match="gives pve1 the id 1, wanted 3"):
        fresh.salt["pvecm.add"]("10.66.0.2", LINKS, nodeid=3)
    with pytest.raises(SaltInvocationError, match="nodeid"):
        fresh.salt["pvecm.add"]("10.66.0.2", LINKS, nodeid="1; reboot")
