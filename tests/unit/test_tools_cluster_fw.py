import pytest
from hypothesis import given
from hypothesis import strategies as st
from pve_corosync.tools import cluster_fw as fw

NETWORKS = {
    "vrack": {"pve1": "10.66.0.1", "pve2": "10.66.0.2"},
    "public": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"},
}

THEIRS = b"""\
# my firewall
[OPTIONS]

enable: 1
policy_in: DROP

[IPSET Management] # admins

192.0.2.0/24
10.66.0.0/24 # the vRack
!192.0.2.66

[RULES]

IN SSH(ACCEPT) -source 192.0.2.7 -log nolog # mine
|IN ACCEPT -p udp -dport 5405

[group web]

IN HTTP(ACCEPT)
"""

RULES = [
    "IN ACCEPT -source +pve-corosync -p udp -dport 5405:5412 -log nolog # pve-corosync",
    "IN ACCEPT -source +pve-corosync -p tcp -dport 22 -log nolog # pve-corosync",
    "IN DROP -p udp -dport 5405:5412 -log nolog # pve-corosync",
]


WRITTEN_BY_PVE = b"""[OPTIONS]

enable: 1
policy_in: DROP

[IPSET pve-corosync] # pve-corosync

10.66.0.1 # pve-corosync: pve1 on vrack
10.66.0.2 # pve-corosync: pve2 on vrack

[RULES]

IN ACCEPT -source +pve-corosync -p udp -dport 5405:5412 -log nolog # pve-corosync
IN DROP -p udp -dport 5405:5412 -log nolog # pve-corosync

"""


def test_a_file_that_pve_wrote_anew_in_its_own_order_is_the_same():
    ours = b"""[IPSET pve-corosync] # pve-corosync
10.66.0.2 # pve-corosync: pve2 on vrack
10.66.0.1  # pve-corosync: pve1 on vrack

[RULES]
IN ACCEPT -p udp -dport 5405:5412 -source +pve-corosync -log nolog # pve-corosync
IN DROP -p udp -dport 5405:5412 -log nolog # pve-corosync
[OPTIONS]
policy_in: DROP
enable: 1
"""
    assert fw.same(ours, WRITTEN_BY_PVE)
    lines = ours.splitlines(keepends=True)
    swapped = b"".join([*lines[:5], lines[6], lines[5], *lines[7:]])
    assert not fw.same(swapped, WRITTEN_BY_PVE), "the order of rules counts"
    for old, new in (
        (b"enable: 1", b"enable: 0"),
        (b"10.66.0.2 ", b"10.66.0.3 "),
        (b" # pve-corosync\n", b"\n"),
    ):
        assert not fw.same(ours.replace(old, new), WRITTEN_BY_PVE)
    assert not fw.same(b"", WRITTEN_BY_PVE) and fw.same(b"", b"\n")


def test_a_new_file_has_both_sets_and_the_rules():
    assert fw.cluster_fw(b"", NETWORKS).decode() == "\n".join(
        [
            "[IPSET pve-corosync] # pve-corosync",
            "198.51.100.10 # pve-corosync: pve1 on public",
            "203.0.113.20 # pve-corosync: pve2 on public",
            "10.66.0.1 # pve-corosync: pve1 on vrack",
            "10.66.0.2 # pve-corosync: pve2 on vrack",
            "",
            "[IPSET management] # pve-corosync",
            "198.51.100.10 # pve-corosync: pve1 on public",
            "203.0.113.20 # pve-corosync: pve2 on public",
            "10.66.0.1 # pve-corosync: pve1 on vrack",
            "10.66.0.2 # pve-corosync: pve2 on vrack",
            "",
            "# pve-corosync: made the next section",
            "[RULES]",
            *RULES,
            "",
            "",
        ]
    )


def test_others_lines_stay_in_place_and_their_set_is_used():
    text = fw.cluster_fw(THEIRS, NETWORKS).decode()
    lines = text.splitlines()
    theirs = [line for line in THEIRS.decode().splitlines() if line]
    assert [line for line in lines if line in theirs] == theirs
    assert text.lower().count("[ipset management]") == 1 and text.count("[RULES]") == 1
    at = lines.index("[RULES]")
    assert lines[at + 1 : at + 4] == RULES
    at = lines.index("[IPSET Management] # admins")
    # the vRack is in the set already, as a CIDR
    assert lines[at + 1 : at + 4] == [
        "198.51.100.10 # pve-corosync: pve1 on public",
        "203.0.113.20 # pve-corosync: pve2 on public",
        "",
    ]


def test_ssh_is_dropped_for_all_but_nodes_and_management_behind_what_lets_these_in():
    text = fw.cluster_fw(THEIRS, NETWORKS, ["192.0.2.7"], close_ssh=True).decode()
    lines = text.splitlines()
    at = lines.index("[RULES]")
    assert lines[at + 1 : at + 6] == [
        *RULES[:2],
        "IN ACCEPT -source +pve-corosync-ssh -p tcp -dport 22 -log nolog # pve-corosync",
        RULES[2],
        "IN DROP -p tcp -dport 22 -log nolog # pve-corosync",
    ]
    at = lines.index("[IPSET pve-corosync-ssh] # pve-corosync")
    assert lines[at + 1 : at + 3] == ["192.0.2.7 # pve-corosync: management", ""]
    assert fw.cluster_fw(text.encode(), NETWORKS, ["192.0.2.7"], close_ssh=True) == text.encode()
    assert fw.remove(text.encode()) == THEIRS
    # nobody but the nodes: no set, and no rule about one
    text = fw.cluster_fw(THEIRS, NETWORKS, [], close_ssh=True).decode()
    assert "pve-corosync-ssh" not in text and "IN DROP -p tcp -dport 22" in text


def test_a_port_of_its_own_is_in_the_rules():
    text = fw.cluster_fw(b"", NETWORKS, ports=[5405, 6000]).decode()
    assert text.count("-dport 5405:5412,6000 ") == 2


def test_what_pve_does_by_itself_is_told():
    def codes(data, running=True, nftables=False):
        return [item["code"] for item in fw.notes(fw.options(data), running, nftables)]

    assert codes(b"") == []
    assert codes(THEIRS) == ["firewall-local-network"]
    named = THEIRS + b"[ALIASES]\n\nlocal_network 198.51.100.0/28\n"
    assert codes(named) == [] and fw.options(named)["local_network"] == "198.51.100.0/28"
    assert codes(named, running=False, nftables=True) == ["firewall-idle", "firewall-accepts-everyone"]
    assert fw.options(THEIRS)["ssh"] == ["IN SSH(ACCEPT) -source 192.0.2.7 -log nolog # mine"]
    assert fw.options(fw.cluster_fw(b"", NETWORKS))["ssh"] == []


@pytest.mark.parametrize(
    "data", [b"", THEIRS, b"# only a comment\n", b"[RULES]\n", b"[OPTIONS]\nenable: 0\n\n\n", b"\n\n"]
)
def test_twice_is_once_and_removal_gives_the_old_bytes(data):
    once = fw.cluster_fw(data, NETWORKS, ["192.0.2.128/25"])
    assert fw.cluster_fw(once, NETWORKS, ["192.0.2.128/25"]) == once
    assert fw.remove(once) == data
    assert fw.options(once)["ours"] and not fw.options(data)["ours"]


LINES = st.sampled_from(
    [
        "",
        "# note",
        "[OPTIONS]",
        "[RULES]",
        "[rules]",
        "[IPSET management]",
        "[ipset other] # x",
        "[ALIASES]",
        "[group web]",
        "enable: 1",
        "IN ACCEPT -p icmp",
        "IN SSH(ACCEPT) # about pve-corosync nodes",
        "10.66.0.1",
        "!10.0.0.0/8 # no",
        "|OUT DROP",
    ]
)


@given(st.lists(LINES, max_size=12))
def test_any_file_comes_back_to_the_byte(lines):
    data = "".join(f"{line}\n" for line in ["[OPTIONS]"] + lines).encode()
    once = fw.cluster_fw(data, NETWORKS)
    assert fw.remove(once) == data
    assert fw.cluster_fw(once, NETWORKS) == once
    ours = fw.cluster_fw(b"", NETWORKS).decode().splitlines()
    kept = [line for line in once.decode().splitlines() if line and line not in ours]
    assert kept == [line for line in data.decode().splitlines() if line and line not in ours]


def test_a_changed_address_replaces_the_old_one():
    moved = dict(NETWORKS, public={"pve1": "198.51.100.77", "pve2": "203.0.113.20"})
    text = fw.cluster_fw(fw.cluster_fw(THEIRS, NETWORKS), moved).decode()
    assert "198.51.100.10" not in text and text.count("198.51.100.77") == 2


def test_a_file_that_pve_wrote_anew_settles_and_goes():
    # PVE sorts, puts a blank line after each header, and drops comments on lines of their own
    pve = "\n".join(
        [
            "[OPTIONS]",
            "",
            "enable: 1",
            "",
            "[IPSET management] # pve-corosync",
            "",
            "10.66.0.1 # pve-corosync: pve1 on vrack",
            "",
            "[IPSET pve-corosync] # pve-corosync",
            "",
            "10.66.0.1 # pve-corosync: pve1 on vrack",
            "",
            "[RULES]",
            "",
            *RULES,
            "",
            "",
        ]
    ).encode()
    once = fw.cluster_fw(pve, NETWORKS)
    assert fw.cluster_fw(once, NETWORKS) == once
    assert fw.remove(once) == b"[OPTIONS]\n\nenable: 1\n\n[RULES]\n\n\n"


def test_what_others_put_into_a_section_of_ours_stays():
    text = fw.cluster_fw(b"", NETWORKS).replace(b"[RULES]\n", b"[RULES]\nIN PING(ACCEPT)\n")
    text = text.replace(
        b"[IPSET management] # pve-corosync\n", b"[IPSET management] # pve-corosync\n192.0.2.1\n"
    )
    left = fw.remove(text)
    assert (
        b"[RULES]\nIN PING(ACCEPT)\n" in left
        and b"192.0.2.1\n" in left
        and b"[IPSET pve-corosync]" not in left
    )
    assert fw.cluster_fw(text, NETWORKS).count(b"IN PING") == 1


@pytest.mark.parametrize(
    "data, networks, management, word",
    [
        (b"enable: 1\n[RULES]\n", NETWORKS, (), "line 1.*before the first"),
        (b"", {"vrack": {"pve1": "nonsense"}}, (), "'nonsense' is no address"),
        (b"", {}, (), "no address of any node"),
        (b"", NETWORKS, ["0.0.0.0/0"], "everything"),
    ],
)
def test_refused(data, networks, management, word):
    with pytest.raises(fw.FirewallError, match=word):
        fw.cluster_fw(data, networks, management)


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", (False, "DROP")),
        (THEIRS, (True, "DROP")),
        (b"[OPTIONS]\nENABLE: 0\npolicy_in: accept\n", (False, "ACCEPT")),
        (b"[RULES]\nenable: 1\n", (False, "DROP")),
    ],
)
def test_options(data, expected):
    told = fw.options(data)
    assert (told["enabled"], told["policy_in"]) == expected


def test_utf8_comments_are_not_cut():
    data = "# \u00c5ngstr\u00f6m [RULES]\n[OPTIONS]\nenable: 1\n".encode()
    assert fw.remove(fw.cluster_fw(data, NETWORKS)) == data


def test_windows_line_ends_and_a_missing_newline():
    data = b"[OPTIONS]\r\nenable: 1\r\n[RULES]\r\nIN ACCEPT -p icmp"
    once = fw.cluster_fw(data, NETWORKS)
    assert fw.remove(once) == data + b"\n"
