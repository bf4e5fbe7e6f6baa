import collections
import os
import pathlib
import re
import subprocess

import pytest
import salt.loader
import salt.utils.yaml
from _pve_world import REPO, World
from pve_corosync.node import etc_pve_client
from pve_corosync.tools import nft
from salt.exceptions import CommandExecutionError, SaltInvocationError

NETWORKS = {
    "vrack": {"pve1": "10.66.0.1", "pve2": "10.66.0.2"},
    "public": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"},
}
MANAGEMENT = ["192.0.2.0/24"]
PEERS = ["10.66.0.1", "10.66.0.2", "198.51.100.10", "203.0.113.20"]
CLUSTER_FW = "[OPTIONS]\nenable: 1\n\n[RULES]\nIN SSH(ACCEPT) -source 192.0.2.7 # mine\n"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node whose ``nft`` is the real one, in a network namespace of its own."""
    world = World(tmp_path, monkeypatch)
    monkeypatch.setattr("socket.gethostname", lambda: "pve1")
    world.mount()
    world.units(pve_firewall="inactive")
    world.file("etc/systemd/system/multi-user.target.wants/x", "")
    systemctl = world.bin / "systemctl"
    systemctl.rename(world.bin / "systemctl.units")
    world.tool(
        "systemctl",
        """
        wants="$WORLD/root/etc/systemd/system/multi-user.target.wants"
        case "$1" in
            enable) ln -sf x "$wants/$3" ;;
            disable) rm -f "$wants/$3" ;;
            daemon-reload) ;;
            *) exec "$WORLD/bin/systemctl.units" "$@" ;;
        esac
        """,
    )
    world.path_units = tmp_path / "units"
    space = f"pvefw-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    world.tool("nft", f'exec ip netns exec {space} /usr/sbin/nft "$@"')
    world.tool("pve-firewall", "echo 'Status: enabled/running'")
    yield world
    subprocess.run(["ip", "netns", "delete", space], check=True)


def apply(node, **kwargs):
    return node.salt["pve_firewall.apply"](NETWORKS, **{"management": MANAGEMENT, **kwargs})


def test_nftables_is_loaded_kept_and_read_back(node):
    done = apply(node)
    wanted = nft.wanted(PEERS, MANAGEMENT)
    assert (
        done["backend"] == "nftables" and done["changed"] and done["seen"] == wanted and done["notes"] == []
    )
    kept = pathlib.Path(node.root / "etc/pve-corosync/firewall.nft")
    assert kept.read_text() == nft.text(PEERS, MANAGEMENT)
    assert "ExecStart=" in (node.root / f"etc/systemd/system/{nft.UNIT}").read_text()
    told = node.salt["pve_firewall.state"]()
    assert told["nft"] == wanted and told["persistent"] and told["dropped"]["ssh from strangers"] == 0
    assert apply(node)["changed"] is False


def test_test_changes_nothing(node):
    done = apply(node, test=True)
    assert done["changed"] and "+table inet pve_corosync {" in done["diff"] and done["seen"] is None
    told = node.salt["pve_firewall.state"]()
    assert told["nft"] is None and not told["persistent"]
    assert not (node.root / "etc/pve-corosync").exists()


def test_a_table_that_was_flushed_is_loaded_again(node):
    apply(node)
    subprocess.run([node.bin / "nft", "flush", "ruleset"], check=True)
    done = apply(node)
    assert done["changed"] and done["diff"] == "" and done["seen"]["peers"]


def test_rules_that_nft_refuses_leave_the_old_ones(node):
    apply(node)
    before = node.salt["pve_firewall.state"]()["nft"]
    real = (node.bin / "nft").read_text()
    node.tool(
        "nft", 'case "$*" in "-c -f -") echo "Error: no" >&2; exit 1 ;; esac\n' + real.split("\n", 2)[2]
    )
    with pytest.raises(CommandExecutionError, match="Error: no"):
        node.salt["pve_firewall.apply"](dict(NETWORKS, third={"pve1": "10.67.0.1"}), management=MANAGEMENT)
    assert node.salt["pve_firewall.state"]()["nft"] == before
    assert "10.67.0.1" not in (node.root / "etc/pve-corosync/firewall.nft").read_text()


def test_nobody_is_locked_out_who_was_not_meant_to_be(node):
    done = apply(node, management=None)
    assert done["ssh"] == "open" and done["seen"]["ssh"] == "open" and "left as it is" in done["notes"][0]
    # what was once named is not remembered: only the pillar closes ssh
    assert apply(node)["seen"]["ssh"] == "peers"
    subprocess.run([node.bin / "nft", "flush", "ruleset"], check=True)
    done = apply(node, management=None)
    assert done["changed"] and done["seen"]["ssh"] == "open" and done["seen"]["management"] == []


@pytest.mark.parametrize("fault", ["unmounted", "unreadable"])
def test_a_cluster_fw_that_cannot_be_read_changes_nothing(node, fault):
    apply(node)
    before = node.salt["pve_firewall.state"]()["nft"]
    if fault == "unmounted":
        (node.pve / "local").unlink()
    else:
        (node.pve / "firewall/cluster.fw").mkdir(parents=True)
    with pytest.raises(CommandExecutionError, match="cannot be read, so it is not known.*pve-cluster"):
        apply(node, ssh="open")
    with pytest.raises(CommandExecutionError, match="nothing was changed"):
        node.salt["pve_firewall.remove"]()
    ret = states(node)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert ret["result"] is False and ret["changes"] == {} and "nothing was changed" in ret["comment"]
    listing = subprocess.run(
        [node.bin / "nft", "-j", "list", "table", "inet", nft.TABLE], capture_output=True, text=True
    )
    assert nft.listed(listing.stdout) == before
    assert (node.root / "etc/pve-corosync/firewall.nft").exists()


def test_cluster_fw_is_used_where_pve_firewall_runs(node):
    node.file("etc/pve/firewall/cluster.fw", CLUSTER_FW)
    (node.path_units / "pve-firewall").write_text("active")
    done = apply(node)
    text = (node.pve / "firewall/cluster.fw").read_text()
    assert (
        done["backend"] == "pve-firewall"
        and done["changed"]
        and "IN SSH(ACCEPT) -source 192.0.2.7 # mine" in text
    )
    assert "192.0.2.0/24 # pve-corosync: management" in text and "-dport 5405:5412" in text
    assert done["seen"]["service"] == "Status: enabled/running" and done["seen"]["cluster_fw"]["ours"]
    assert done["ssh"] == "peers" and "IN DROP -p tcp -dport 22" in text
    assert any("IN SSH(ACCEPT) -source 192.0.2.7" in note for note in done["notes"]), done["notes"]
    assert apply(node)["changed"] is False
    # without management ssh is up to the file's own rules and its policy
    done = apply(node, management=None)
    assert done["ssh"] == "policy DROP of cluster.fw" and "left as it is" in done["notes"][0]
    assert "IN DROP -p tcp" not in (node.pve / "firewall/cluster.fw").read_text()
    assert os.listdir(node.pve / "firewall") == ["cluster.fw"] and os.listdir(node.pve / "priv/lock") == []
    assert node.salt["pve_firewall.remove"](test=True)["removed"] == ["firewall/cluster.fw"]
    node.salt["pve_firewall.remove"]()
    assert (node.pve / "firewall/cluster.fw").read_text() == CLUSTER_FW
    assert node.salt["pve_firewall.remove"]()["changed"] is False


def written_anew(text):
    """Return cluster.fw as PVE writes it: its sections, options and sets sorted, each line of a rule kept."""
    head, *parts = re.split(r"^(?=\[)", text, flags=re.M)
    assert not head.strip("\n")
    fresh = []
    for part in sorted(parts):
        header, *rows = [line for line in part.splitlines() if line.strip()]
        fresh += [header, "", *(rows if header.startswith("[RULES]") else sorted(rows, reverse=True)), ""]
    return "\n".join(line for line in fresh if not line.startswith("#")) + "\n"


def test_a_cluster_fw_that_pve_wrote_anew_in_its_own_order_is_no_change(node):
    path = node.file("etc/pve/firewall/cluster.fw", CLUSTER_FW)
    (node.path_units / "pve-firewall").write_text("active")
    apply(node)
    fresh = written_anew(path.read_text())
    assert fresh != path.read_text()
    path.write_text(fresh)
    for test in (True, False):
        done = apply(node, test=test)
        assert (done["changed"], done["diff"]) == (False, ""), done
    ret = states(node)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert path.read_text() == fresh


def test_of_two_nodes_that_write_the_same_cluster_fw_one_reports_the_change(node, monkeypatch):
    """Both have read the old file; the other one is faster."""
    path = node.file("etc/pve/firewall/cluster.fw", CLUSTER_FW)
    (node.path_units / "pve-firewall").write_text("active")
    assert apply(node)["changed"]
    theirs, real, written = path.read_text(), etc_pve_client.ask, []

    def slow(request, *args):
        if request["do"] == "replace":
            path.write_text(theirs)
            written.append(path.stat().st_ino)
        return real(request, *args)

    monkeypatch.setattr(etc_pve_client, "ask", slow)
    path.write_text(CLUSTER_FW)
    done = apply(node)
    assert done["changed"] is False and done["seen"]["cluster_fw"]["ours"]
    path.write_text(CLUSTER_FW)
    ret = states(node)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert (ret["result"], ret["changes"]) == (True, {}), ret
    assert path.read_text() == theirs and written == [path.stat().st_ino] * 2, "it was not written again"


def test_turning_pve_firewall_on_takes_the_table_out(node):
    apply(node)
    node.file("etc/pve/firewall/cluster.fw", CLUSTER_FW)
    assert [item["code"] for item in node.salt["pve_firewall.state"]()["findings"]] == [
        "firewall-idle",
        "firewall-local-network",
    ]
    (node.path_units / "pve-firewall").write_text("active")
    node.file("etc/pve/nodes/pve1/host.fw", "[OPTIONS]\nnftables: 1\n")
    done = apply(node)
    assert any("was removed" in note for note in done["notes"])
    assert "firewall-accepts-everyone" in [item["code"] for item in done["findings"]]
    assert any("proxmox-firewall" in note for note in done["notes"])
    assert (
        node.salt["pve_firewall.state"]()["nft"] is None
        and not (node.root / "etc/pve-corosync/firewall.nft").exists()
    )


def test_what_cannot_be_edited_safely_stays(node):
    node.file("etc/pve/firewall/cluster.fw", "oops\n" + CLUSTER_FW)
    (node.path_units / "pve-firewall").write_text("active")
    with pytest.raises(SaltInvocationError, match="before the first"):
        apply(node)
    with pytest.raises(SaltInvocationError, match="networks"):
        node.salt["pve_firewall.apply"](["x"])
    assert (node.pve / "firewall/cluster.fw").read_text() == "oops\n" + CLUSTER_FW


def test_remove_takes_table_file_and_unit(node):
    apply(node)
    done = node.salt["pve_firewall.remove"]()
    assert done["changed"] and nft.NFT_FILE in done["removed"]
    told = node.salt["pve_firewall.state"]()
    assert told["nft"] is None and not told["persistent"]
    assert not (node.root / f"etc/systemd/system/{nft.UNIT}").exists()
    assert not (node.root / "etc/pve-corosync").exists()


def states(node, test=False):
    opts = dict(node.salt.opts, test=test, states_dirs=[str(REPO / "_states")])
    return salt.loader.states(opts, node.salt, {}, {})


def test_state_tells_then_changes_then_has_nothing_to_do(node):
    ret = states(node, test=True)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert ret["result"] is None and ret["changes"]
    ret = states(node)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert ret["result"] is True and ret["changes"] and "read back" in ret["comment"]
    ret = states(node)["pve_firewall.managed"]("x", NETWORKS, management=MANAGEMENT)
    assert ret["result"] is True and ret["changes"] == {}
    ret = states(node)["pve_firewall.managed"]("x", {"vrack": {"pve1": "nonsense"}})
    assert ret["result"] is False and "nonsense" in ret["comment"]
    assert states(node, test=True)["pve_firewall.absent"]("x")["result"] is None
    assert states(node)["pve_firewall.absent"]("x")["changes"]["removed"]
    assert states(node)["pve_firewall.absent"]("x")["changes"] == {}


def give_pillar(node, firewall, **options):
    """Give the node a pillar with what the operator wrote below ``firewall``."""
    pillar = {
        "cluster_name": "prod",
        "nodes": {
            name: {"nodeid": number, "addresses": {network: row[name] for network, row in NETWORKS.items()}}
            for number, name in enumerate(("pve1", "pve2"), 1)
        },
        "layouts": {"nominal": {"links": {0: {"network": "vrack", **options}}, "primary": "vrack"}},
        "layout": "nominal",
        "firewall": firewall,
    }
    node.salt["pve_firewall.apply"].__globals__["__pillar__"] = {"corosync": pillar}


def run_sls(node):
    """Return the result of the one state that firewall.sls holds."""
    rows = salt.utils.yaml.safe_load((REPO / "states/corosync/firewall.sls").read_text())
    ((name, row),) = rows.items()
    ((function, arguments),) = row.items()
    return states(node)[function](name, **{key: value for row in arguments for key, value in row.items()})


def test_the_sls_takes_networks_and_firewall_from_the_pillar(node):
    give_pillar(node, {"management": ["192.0.2.9/24"]})
    ret = run_sls(node)
    assert ret["result"] is True, ret
    assert node.salt["pve_firewall.state"]()["nft"] == nft.wanted(PEERS, MANAGEMENT)
    assert run_sls(node)["changes"] == {}
    give_pillar(node, {"ssh": "open"})
    assert run_sls(node)["result"] is True
    assert node.salt["pve_firewall.state"]()["nft"] == nft.wanted(PEERS, ssh="open")


def test_without_management_in_the_pillar_the_sls_leaves_ssh_alone_and_says_so(node):
    give_pillar(node, {})
    ret = run_sls(node)
    assert ret["result"] is True and "ssh from others is left as it is" in ret["comment"], ret
    assert node.salt["pve_firewall.state"]()["nft"] == nft.wanted(PEERS, ssh="open")
    give_pillar(node, {"management": []})
    ret = run_sls(node)
    assert "left as it is" not in ret["comment"]
    assert node.salt["pve_firewall.state"]()["nft"] == nft.wanted(PEERS, [])


def test_the_port_of_a_link_of_the_pillar_is_open(node):
    give_pillar(node, {"management": []}, port=6000)
    run_sls(node)
    assert node.salt["pve_firewall.state"]()["nft"]["ports"] == [[5405, 5412], [6000, 6000]]
    node.file("etc/pve/firewall/cluster.fw", CLUSTER_FW)
    (node.path_units / "pve-firewall").write_text("active")
    run_sls(node)
    assert "-dport 5405:5412,6000 " in (node.pve / "firewall/cluster.fw").read_text()


def test_a_pillar_with_an_error_changes_nothing(node):
    give_pillar(node, {"management": ["everywhere"], "ssh": "shut"})
    ret = run_sls(node)
    assert ret["result"] is False and ret["changes"] == {}
    assert "corosync:firewall:management:0: 'everywhere'" in ret["comment"]
    assert "corosync:firewall:ssh: 'shut'" in ret["comment"]
    assert node.salt["pve_firewall.state"]()["nft"] is None


@pytest.fixture
def mastered(node, monkeypatch):
    """The node has a master, which answers unless ``$WORLD/deaf`` exists; ``systemd-run`` is noted."""
    node.tool("systemd-run", 'test ! -e "$WORLD/no-systemd" || { echo "no bus" >&2; exit 1; }')
    salt = node.salt
    sent = []

    def send(tag, data):
        sent.append(tag)
        if (node.bin.parent / "deaf").exists():
            raise OSError("no answer")
        return True

    assert "pve_firewall.apply" in salt  # loads the file
    scope = salt._dict["pve_firewall.apply"].__globals__
    monkeypatch.setitem(scope, "__salt__", collections.ChainMap({"event.send": send}, salt))
    monkeypatch.setitem(scope, "__opts__", {**scope["__opts__"], "file_client": "remote"})
    node.sent = sent
    return node


def kept_text(node):
    path = node.root / "etc/pve-corosync/firewall.nft"
    return path.read_text() if path.exists() else None


def armed(node):
    return (node.root / "run/pve-corosync/undo/firewall.json").exists()


def test_a_table_stays_when_the_master_answers_after_it(mastered):
    assert apply(mastered)["changed"]
    (call,) = mastered.calls("systemd-run")
    assert "--unit=pve-corosync-firewall-undo --on-active=60" in call
    assert call.endswith("--local pve_firewall.undo_change")
    assert mastered.sent == ["corosync/firewall/loaded"] and not armed(mastered)
    assert mastered.calls("systemctl stop pve-corosync-firewall-undo.timer")
    assert apply(mastered)["changed"] is False and len(mastered.calls("systemd-run")) == 1


def test_a_table_that_keeps_the_master_out_goes_back(mastered):
    apply(mastered)
    before = kept_text(mastered)
    (mastered.bin.parent / "deaf").touch()
    with pytest.raises(CommandExecutionError, match="undoes itself within 60 s"):
        apply(mastered, management=["203.0.113.0/24"])
    assert armed(mastered) and kept_text(mastered) != before
    assert mastered.salt["pve_firewall.undo_change"]() is True  # the timer
    assert kept_text(mastered) == before and not armed(mastered)
    assert mastered.salt["pve_firewall.state"]()["nft"]["management"] == MANAGEMENT
    assert mastered.salt["pve_firewall.undo_change"]() is False, "only once"


def test_the_first_table_of_all_goes_back_to_none(mastered):
    (mastered.bin.parent / "deaf").touch()
    with pytest.raises(CommandExecutionError):
        apply(mastered)
    mastered.salt["pve_firewall.undo_change"]()
    told = mastered.salt["pve_firewall.state"]()
    assert told["nft"] is None and not told["persistent"] and kept_text(mastered) is None


def test_with_confirm_somebody_has_to_say_so(mastered):
    done = apply(mastered, confirm=120)
    assert "undoes itself in 120 s unless" in done["notes"][0] and armed(mastered)
    assert "--on-active=120" in mastered.calls("systemd-run")[0] and mastered.sent == []
    # a further change keeps the first state as the one to return to
    apply(mastered, confirm=120, management=["203.0.113.0/24"])
    mastered.salt["pve_firewall.undo_change"]()
    assert kept_text(mastered) is None
    apply(mastered, confirm=120)
    assert mastered.salt["pve_firewall.confirm"]() is True and not armed(mastered)
    assert mastered.salt["pve_firewall.undo_change"]() is False and kept_text(mastered)
    assert mastered.salt["pve_firewall.confirm"]() is False


def test_without_a_timer_nothing_is_changed(mastered):
    (mastered.bin.parent / "no-systemd").touch()
    with pytest.raises(CommandExecutionError, match="nothing was changed: systemd-run: .*no bus"):
        apply(mastered)
    assert kept_text(mastered) is None


@pytest.mark.parametrize("confirm", [0, "soon", True, 10**6])
def test_odd_seconds_are_refused(node, confirm):
    with pytest.raises(SaltInvocationError, match="allowed: seconds"):
        apply(node, confirm=confirm)
