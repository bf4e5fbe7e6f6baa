"""/etc/hosts: reading names, moving them, and leaving everything else."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pve_corosync.tools import hosts

PVE = b"""\
127.0.0.1 localhost.localdomain localhost
10.66.0.1 pve1.example.com pve1
10.66.0.2\tpve2.example.com pve2   # the other one

# The following lines are desirable for IPv6 capable hosts
::1     ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
"""
PUBLIC = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}


def moved(text, **where):
    data = text if isinstance(text, bytes) else text.encode()
    new = hosts.move(data, where)
    assert hosts.move(new, where) == new, "not idempotent"
    return new.decode()


def test_an_installer_file_changes_two_addresses_only_and_back():
    new = hosts.move(PVE, PUBLIC)
    assert new == PVE.replace(b"10.66.0.1 ", b"198.51.100.10 ").replace(b"10.66.0.2\t", b"203.0.113.20\t")
    assert hosts.names(new, PUBLIC) == {name: [address] for name, address in PUBLIC.items()}
    assert hosts.move(new, {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}) == PVE


def test_what_is_right_stays_byte_for_byte():
    odd = b"  10.66.0.1\t\tpve1   PVE1.example.com \t# x\r\n\r\nnonsense pve1\r\n# 9.9.9.9 pve1"
    assert hosts.move(odd, {"pve1": "10.66.0.1"}) == odd


@pytest.mark.parametrize(
    "before, after",
    [
        # Debian's line for the own name, with and without the full form
        (
            "127.0.0.1 localhost\n127.0.1.1 pve1.example.com pve1\n",
            "127.0.0.1 localhost\n10.0.0.1 pve1.example.com pve1\n",
        ),
        ("127.0.1.1 pve1\n10.0.0.1 pve1\n", "10.0.0.1 pve1\n"),
        ("127.0.1.1 pve1.example.com pve1\n10.0.0.1 pve1\n", "10.0.0.1 pve1.example.com pve1\n"),
        ("127.0.1.1 pve1.example.com\n10.0.0.1 pve1\n", "10.0.0.1 pve1.example.com pve1\n"),
        ("127.0.1.1 pve1.example.com # own\n", "10.0.0.1 pve1.example.com pve1 # own\n"),
        ("127.0.0.1 localhost pve1\n", "127.0.0.1 localhost\n10.0.0.1 pve1\n"),
        # aliases stay on the old address, full forms go along
        ("10.66.0.1 pve1.example.com pve1 other\n", "10.66.0.1 other\n10.0.0.1 pve1.example.com pve1\n"),
        ("10.66.0.1\tother pve1 pve1.a.b # c\n", "10.66.0.1\tother # c\n10.0.0.1\tpve1 pve1.a.b\n"),
        ("10.66.0.1 pve1-vrack pve10 pve1\n", "10.66.0.1 pve1-vrack pve10\n10.0.0.1 pve1\n"),
        # a full form that stands alone belongs to its address
        (
            "10.66.0.1 pve1.vrack.example\n198.51.100.9 pve1\n",
            "10.66.0.1 pve1.vrack.example\n10.0.0.1 pve1\n",
        ),
        # duplicates: one address is left, and the first place that is not loopback
        ("10.66.0.1 pve1\n10.67.0.1 pve1\n", "10.0.0.1 pve1\n"),
        ("10.66.0.1 pve1 # a\n10.0.0.1 pve1 # b\n", "# a\n10.0.0.1 pve1 # b\n"),
        ("10.0.0.1 pve1\n10.66.0.1 x pve1 y\n", "10.0.0.1 pve1\n10.66.0.1 x y\n"),
        ("10.0.0.1 pve1\n10.66.0.1 pve1.example.com pve1\n", "10.0.0.1 pve1.example.com pve1\n"),
        ("10.66.0.1 pve1 pve1\n", "10.0.0.1 pve1 pve1\n"),
        # IPv6, case, tabs
        ("fd00::1 pve1\n10.66.0.1 pve1\n", "10.0.0.1 pve1\n"),
        ("::1 localhost PVE1\n", "::1 localhost\n10.0.0.1 PVE1\n"),
        ("fe80::1%eth0 pve1\n", "10.0.0.1 pve1\n"),
        ("10.66.0.1 PVE1.Example.com Pve1\n", "10.0.0.1 PVE1.Example.com Pve1\n"),
        # names in comments are no names
        (
            "# 10.66.0.1 pve1\n10.66.0.1 db # pve1\n",
            "# 10.66.0.1 pve1\n10.66.0.1 db # pve1\n10.0.0.1 pve1\n",
        ),
        ("10.66.0.1 pve1#pve1\n", "10.0.0.1 pve1#pve1\n"),
        # line ends and the missing last one
        ("10.66.0.1 pve1\r\n10.66.0.9 x\r\n", "10.0.0.1 pve1\r\n10.66.0.9 x\r\n"),
        ("10.66.0.1 x pve1\r\n", "10.66.0.1 x\r\n10.0.0.1 pve1\r\n"),
        ("10.66.0.9 x", "10.66.0.9 x\n10.0.0.1 pve1"),
        ("10.66.0.9 x\r\n10.66.0.1 x pve1", "10.66.0.9 x\r\n10.66.0.1 x\r\n10.0.0.1 pve1"),
        ("10.0.0.1 pve1\n10.66.0.1 pve1", "10.0.0.1 pve1"),
        ("", "10.0.0.1 pve1\n"),
        ("10.0.0.1\n", "10.0.0.1\n10.0.0.1 pve1\n"),
    ],
)
def test_move(before, after):
    assert moved(before, pve1="10.0.0.1") == after


def test_two_names_on_one_line_part():
    assert (
        moved("10.66.0.1 pve1 pve2 x\n", **PUBLIC) == "10.66.0.1 x\n203.0.113.20 pve2\n198.51.100.10 pve1\n"
    )
    assert moved("10.66.0.1 pve1 pve2\n", **PUBLIC) == "203.0.113.20 pve2\n198.51.100.10 pve1\n"


def test_a_move_to_ipv6_is_canonical_and_seen_as_such():
    assert moved("fd00:0:0::0001 pve1\n", pve1="fd00::1") == "fd00:0:0::0001 pve1\n"
    assert moved("10.66.0.1 pve1\n", pve1="FD00:0::2") == "fd00::2 pve1\n"


def test_bytes_that_are_no_utf8_stay():
    assert (
        hosts.move(b"# caf\xe9\xa0\n10.66.0.1 pve1\n", {"pve1": "10.0.0.1"})
        == b"# caf\xe9\xa0\n10.0.0.1 pve1\n"
    )


def test_names_in_file_order_without_repeats():
    text = b"127.0.1.1 a\n10.0.0.1 b A\nx a\n10.0.0.1 a\n# 9.9.9.9 a\n10.0.0.2 a.b\n"
    assert hosts.names(text, ["a", "A", "c"]) == {
        "a": ["127.0.1.1", "10.0.0.1"],
        "A": ["127.0.1.1", "10.0.0.1"],
        "c": [],
    }


def test_parse():
    assert hosts.parse(PVE)[1:3] == [
        {"line": 2, "address": "10.66.0.1", "names": ["pve1.example.com", "pve1"]},
        {"line": 3, "address": "10.66.0.2", "names": ["pve2.example.com", "pve2"]},
    ]
    assert hosts.parse(b"# x\n\n10.0.0.1\nabc def\n") == []


def test_all_that_cannot_be_is_named_at_once():
    with pytest.raises(hosts.HostsError) as caught:
        hosts.move(
            PVE, {"pve1": "127.0.1.1", "p 2": "10.0.0.1", "pve3": "vrack", "pve4": "::1", "a.b": "10.0.0.2"}
        )
    assert all(
        part in str(caught.value) for part in ("127.0.1.1", "loopback", "'p 2'", "vrack", "::1", "'a.b'")
    )


word = st.sampled_from(["pve1", "pve2", "pve1.example.com", "PVE2.b", "other", "pve1-x", "localhost"])
address = st.sampled_from(
    ["127.0.0.1", "127.0.1.1", "10.66.0.1", "10.66.0.2", "198.51.100.10", "::1", "fd00::1", "bad"]
)
line = st.builds(
    "{}{}{}{}".format,
    address,
    st.sampled_from([" ", "\t", "  \t"]),
    st.lists(word, max_size=4).map(" ".join),
    st.sampled_from(["", " # pve1", "#x", "  "]),
)


@given(
    st.lists(st.one_of(line, st.sampled_from(["", "# 10.0.0.1 pve2"])), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
@settings(deadline=None)
def test_every_file_ends_with_one_address_a_name_and_keeps_the_rest(lines, eol, closed):
    data = (eol.join(lines) + (eol if closed and lines else "")).encode()
    new = hosts.move(data, PUBLIC)
    assert hosts.names(new, PUBLIC) == {name: [where] for name, where in PUBLIC.items()}
    assert hosts.move(new, PUBLIC) == new
    assert new.count(b"\r\n") == (new.count(b"\n") if b"\r\n" in data else 0)

    def others(text):
        return [
            (entry["address"], name)
            for entry in hosts.parse(text)
            for name in entry["names"]
            if not re.match(r"pve[12](\.|$)", name, re.IGNORECASE)
        ]

    def comments(text):
        return [part.partition(b"#")[2].rstrip() for part in text.splitlines() if b"#" in part]

    assert others(new) == others(data)
    assert comments(new) == comments(data)
    assert b"pve1" not in b"".join(re.findall(rb"(?m)^127\.[^#\n]*[\t ]pve1(?=[\s#])[^\n]*", new))
