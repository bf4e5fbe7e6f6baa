import json
import subprocess

import pytest
from pve_corosync.tools import nft
from pve_corosync.tools.cluster_fw import FirewallError

PEERS = ["10.66.0.1", "10.66.0.2", "10.66.0.3", "198.51.100.10", "2001:db8::1"]
MANAGEMENT = ["192.0.2.0/24", "192.0.2.7", "2001:db8:1::/48"]


def load(*texts):
    """Load texts in turn with the real nft in a network namespace of its own, and list the table."""
    script = "\n".join(f"nft -c -f - <<'E' && nft -f - <<'E'\n{text}E\n{text}E" for text in texts)
    script += "\nnft -j list table inet pve_corosync 2>/dev/null || true"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout


@pytest.mark.parametrize("ssh", ["peers", "open"])
def test_nft_takes_the_text_and_lists_what_is_wanted(ssh):
    output = load(nft.text(["10.9.9.9"], ssh="open"), nft.text(PEERS, MANAGEMENT, ssh))
    assert nft.listed(output) == nft.wanted(PEERS, MANAGEMENT, ssh)
    counters = {"corosync from strangers": 0} | ({"ssh from strangers": 0} if ssh == "peers" else {})
    assert nft.counters(output) == counters


def test_no_management_at_all_is_the_nodes_only():
    output = load(nft.text(PEERS, [], "peers"))
    assert nft.listed(output) == nft.wanted(PEERS, [], "peers")
    assert (nft.listed(output)["ssh"], nft.listed(output)["management"]) == ("peers", [])


@pytest.mark.parametrize(
    "ports, ranges",
    [
        ([5405, 5412], [[5405, 5412]]),
        ([6000, 5000, 6000], [[5000, 5000], [5405, 5412], [6000, 6000]]),
        ([5413, 5404], [[5404, 5413]]),
    ],
)
def test_a_port_of_its_own_is_open_to_peers_and_closed_to_others(ports, ranges):
    output = load(nft.text(PEERS, ssh="open", ports=ports))
    assert nft.listed(output) == nft.wanted(PEERS, ssh="open", ports=ports)
    assert nft.listed(output)["ports"] == ranges


def test_removal_works_with_and_without_a_table():
    assert load(nft.removal()) == ""
    assert nft.listed(load(nft.text(PEERS, ssh="open"), nft.removal())) is None


def test_wanted_merges_and_orders():
    assert nft.wanted(PEERS, MANAGEMENT) == {
        "peers": ["10.66.0.1", "10.66.0.2/31", "198.51.100.10", "2001:db8::1"],
        "management": ["192.0.2.0/24", "2001:db8:1::/48"],
        "ssh": "peers",
        "ports": [[5405, 5412]],
    }
    assert nft.wanted(PEERS, MANAGEMENT, "open")["management"] == []


@pytest.mark.parametrize(
    "peers, management, ssh, word",
    [
        (["x"], MANAGEMENT, "peers", "'x' is no address"),
        ([], MANAGEMENT, "peers", "no address of any node"),
        (PEERS, MANAGEMENT, "closed", "allowed: peers, open"),
    ],
)
def test_refused(peers, management, ssh, word):
    with pytest.raises(FirewallError, match=word):
        nft.text(peers, management, ssh)


def test_listed_of_other_things():
    assert nft.listed("") is None
    assert nft.listed(json.dumps({"nftables": [{"table": {"name": "pve_corosync"}}]})) is None


def test_unit_names_the_file_and_follows_nftables(tmp_path):
    path = tmp_path / nft.UNIT
    path.write_text(nft.unit())
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert [line for line in done.stderr.splitlines() if nft.UNIT in line] == []
    assert f"ExecStart=/usr/sbin/nft -f {nft.NFT_FILE}" in path.read_text()
    assert "ReloadPropagatedFrom=nftables.service" in path.read_text()
