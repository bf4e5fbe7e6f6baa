"""corosync.conf as a document: what is read, what an edit touches, what is refused."""

import pytest
from pve_corosync import conf

PVE = b"""\
logging {
  debug: off
  to_syslog: yes
}

nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 10.66.0.1
  }
  node {
    name: pve2
    nodeid: 2
    quorum_votes: 1
    ring0_addr: 10.66.0.2
  }
}

quorum {
  provider: corosync_votequorum
}

totem {
  cluster_name: prod
  config_version: 5
  interface {
    linknumber: 0
  }
  ip_version: ipv4-6
  link_mode: passive
  secauth: on
  version: 2
}

"""
VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}
PUBLIC = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}
FAST = {"knet_ping_interval": "200", "knet_ping_timeout": "400"}


def changed(before, document):
    """Return the lines that went and the lines that came, sorted."""
    lines = conf.diff(before, document.dump()).splitlines()[2:]
    return [sorted(line[1:] for line in lines if line.startswith(sign)) for sign in "-+"]


def test_what_is_read():
    document = conf.parse(PVE)
    assert (document.version, document.cluster_name) == (5, "prod")
    assert document.nodes() == {
        "pve1": {"nodeid": 1, "votes": 1, "addresses": {0: "10.66.0.1"}},
        "pve2": {"nodeid": 2, "votes": 1, "addresses": {0: "10.66.0.2"}},
    }
    assert document.links() == {0: {"addresses": VRACK, "options": {}, "interface": True}}
    assert document.get("quorum.provider") == "corosync_votequorum"
    assert document.get("nodelist.node.1.name") == "pve2"
    assert document.get("totem.interface.0.linknumber") == "0"
    assert document.get("totem.token") is None and document.get("nodelist.node.9.name", "x") == "x"
    assert document.text.encode() == document.dump() == PVE
    assert conf.parse(document.text).dump() == PVE


def test_a_link_is_added_as_pve_would_write_it_and_removed_without_a_trace():
    document = conf.parse(PVE)
    document.set_link(2, PUBLIC, FAST)
    assert document.dump() == conf.normalise(document.dump())
    assert changed(PVE, document) == [
        [],
        [
            "    knet_ping_interval: 200",
            "    knet_ping_timeout: 400",
            "    linknumber: 2",
            "    ring2_addr: 198.51.100.10",
            "    ring2_addr: 203.0.113.20",
            "  interface {",
            "  }",
        ],
    ]
    assert document.links()[2] == {"addresses": PUBLIC, "options": FAST, "interface": True}
    assert conf.lint(document.dump()) == []
    document.remove_link(2)
    assert document.dump() == PVE


def test_links_stay_in_order_whatever_the_order_of_the_edits():
    one, other = conf.parse(PVE), conf.parse(PVE)
    for document, order in ((one, (1, 2, 3)), (other, (3, "1", "2"))):
        for link in order:
            document.set_link(link, {node: f"10.{link}.0.{at}" for at, node in enumerate(VRACK)}, {})
    assert one.dump() == other.dump() == conf.normalise(one.dump())


def test_an_existing_link_gets_exactly_these_addresses_and_options():
    document = conf.parse(PVE)
    document.set_link(0, VRACK, {**FAST, "knet_link_priority": 10})
    before = document.dump()
    document.set_link(0, {**VRACK, "pve2": "10.66.0.9"}, {"knet_link_priority": "20"})
    assert changed(before, document) == [
        [
            "    knet_link_priority: 10",
            "    knet_ping_interval: 200",
            "    knet_ping_timeout: 400",
            "    ring0_addr: 10.66.0.2",
        ],
        ["    knet_link_priority: 20", "    ring0_addr: 10.66.0.9"],
    ]
    assert document.links()[0]["options"] == {"knet_link_priority": "20"}
    document.set_options(0, {})
    document.set_link("0", VRACK, {})
    assert document.dump() == PVE


ODD = b"""\
# config of the year 2019
totem {
\tversion:\t2
\t# the version, raise it
\tconfig_version: 7
\tcluster_name :   prod \t
\tinterface {
\t\tringnumber: 0
\t\tbindnetaddr: 10.66.0.0
\t}
\t# second link
\tinterface {
\t\tlinknumber: 1
\t\tmcastport: 5555
\t}
}

nodelist {
\tnode {
\t\tring0_addr: pve1
\t\tring1_addr: 10.1.0.1
\t\tnodeid: 1
\t}

\tnode {
\t\tname: pve2
\t\tnodeid: 2
\t\tquorum_votes: 3
\t\tring1_addr: 10.1.0.2
\t\tring0_addr: 10.66.0.2
\t}
}
quorum{
\tprovider:corosync_votequorum
}"""


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_a_handwritten_file_keeps_its_style(eol):
    data = ODD.replace(b"\n", eol)
    document = conf.parse(data)
    assert document.nodes() == {
        "pve1": {"nodeid": 1, "votes": 1, "addresses": {0: "pve1", 1: "10.1.0.1"}},
        "pve2": {"nodeid": 2, "votes": 3, "addresses": {0: "10.66.0.2", 1: "10.1.0.2"}},
    }
    assert document.links()[1]["options"] == {"mcastport": "5555"}
    assert document.links()[0]["options"] == {"ringnumber": "0", "bindnetaddr": "10.66.0.0"}
    document.set("totem.cluster_name", "test")
    document.set("quorum.provider", "x")
    document.set("quorum.two_node", 1)
    document.set_version(8)
    document.set_link(0, {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}, {"knet_link_priority": 1})
    document.set_link(2, {"pve1": "10.2.0.1", "pve2": "10.2.0.2"}, {})
    expected = (
        ODD.replace(b"cluster_name :   prod \t", b"cluster_name :   test \t")
        .replace(b"version: 7", b"version: 8")
        .replace(b"votequorum\n}", b"votequorum\n\ttwo_node: 1\n}")
        .replace(b":corosync_votequorum", b":x")
        .replace(b"ring0_addr: pve1", b"ring0_addr: 10.66.0.1")
        .replace(
            b"\t\tringnumber: 0\n\t\tbindnetaddr: 10.66.0.0\n",
            b"\t\tknet_link_priority: 1\n\t\tlinknumber: 0\n",
        )
        .replace(b"mcastport: 5555\n\t}\n", b"mcastport: 5555\n\t}\n\tinterface {\n\t\tlinknumber: 2\n\t}\n")
        .replace(b"\t\tnodeid: 1\n", b"\t\tnodeid: 1\n\t\tname: pve1\n\t\tring2_addr: 10.2.0.1\n")
        .replace(b"ring0_addr: 10.66.0.2\n", b"ring0_addr: 10.66.0.2\n\t\tring2_addr: 10.2.0.2\n")
    )
    assert document.dump() == expected.replace(b"\n", eol)


def test_merged_and_repeated_parts_are_read_as_corosync_reads_them():
    data = PVE + (
        b"totem {\n token: 1000\n token: 2000\n interface {\n mcastport: 7\n }\n"
        b" interface {\n linknumber: 0\n"
        b" mcastport: 8\n knet_link_priority: 3\n }\n}\nnodelist {\n node {\n ring0_addr: 10.9.9.9\n }\n}\n"
    )
    document = conf.parse(data)
    assert document.get("totem.token") == "2000"
    assert document.links()[0]["options"] == {"mcastport": "8", "knet_link_priority": "3"}
    assert document.nodes()["pve1"]["addresses"] == {0: "10.9.9.9"}
    assert document.get("nodelist.node.0.ring0_addr") == "10.9.9.9"
    document.set("totem.token", 3000)
    assert document.get("totem.token") == "3000" and b"token: 1000" in document.dump()
    document.set_options(0, {"mcastport": 8})
    assert document.links()[0]["options"] == {"mcastport": "8"}
    document.remove("totem.token")
    assert document.get("totem.token") is None and b"token" not in document.dump()
    merged = conf.parse(conf.normalise(document.dump()))
    assert merged.nodes() == document.nodes() and merged.links() == document.links()
    assert conf.lint(merged.dump()) == []


def test_a_node_that_goes_by_its_address_keeps_its_name_when_that_changes():
    data = PVE.replace(b"    name: pve1\n", b"").replace(b"    name: pve2\n", b"")
    same, other, gone = conf.parse(data), conf.parse(data), conf.parse(data)
    same.set_link(0, {"10.66.0.1": "10.66.0.1", "10.66.0.2": "10.66.0.2"}, {})
    assert same.dump() == data
    other.set_link(0, {"10.66.0.1": "10.67.0.1", "10.66.0.2": "10.66.0.2"}, {})
    assert other.nodes()["10.66.0.1"]["addresses"] == {0: "10.67.0.1"} and "10.66.0.2" in other.nodes()
    assert changed(data, other) == [
        ["    ring0_addr: 10.66.0.1"],
        ["    name: 10.66.0.1", "    ring0_addr: 10.67.0.1"],
    ]
    gone.remove_link(0)
    assert list(gone.nodes()) == ["10.66.0.1", "10.66.0.2"]


def test_nodes_come_and_go():
    document = conf.parse(PVE)
    document.set_link(1, PUBLIC, {})
    before = document.dump()
    document.add_node("pve15", 15, {"0": "10.66.0.15", 1: "192.0.2.15"}, votes=2)
    assert list(document.nodes()) == ["pve1", "pve15", "pve2"]
    assert document.nodes()["pve15"] == {
        "nodeid": 15,
        "votes": 2,
        "addresses": {0: "10.66.0.15", 1: "192.0.2.15"},
    }
    assert document.dump() == conf.normalise(document.dump())
    document.remove_node("pve15")
    document.remove_node("nobody")
    assert document.dump() == before


def test_every_config_version_line_follows():
    data = PVE.replace(b"  config_version: 5\n", b"  config_version: 5\n  config_version: 6\n")
    document = conf.parse(data)
    document.set_version(9)
    assert document.dump().count(b"config_version: 9") == 2 and conf.pmxcfs_version(document.dump()) == 9


def test_sections_that_are_missing_are_made():
    document = conf.parse(b"")
    assert (
        document.dump() == b"" and document.version == 0 and document.nodes() == {} and document.links() == {}
    )
    document.set("quorum.device.net.host", "10.0.0.9")
    document.set_version(1)
    document.add_node("a", 1, {0: "10.0.0.1"})
    document.set_link(0, {"a": "10.0.0.1"}, {})
    assert document.get("quorum.device.net.host") == "10.0.0.9"
    assert document.nodes() == {"a": {"nodeid": 1, "votes": 1, "addresses": {0: "10.0.0.1"}}}
    assert conf.parse(b"totem {\n}").version == 0
    open_end = conf.parse(b"totem {\r\n}")
    open_end.set("quorum.votes", 1)
    assert open_end.dump() == b"totem {\r\n}\r\n\r\nquorum {\r\n  votes: 1\r\n}\r\n"


@pytest.mark.parametrize(
    "act, wanted",
    [
        (lambda d: d.set("totem.token", "abc"), "whole number"),
        (lambda d: d.set("totem.token", "4000 ms"), "one word"),
        (lambda d: d.set("totem.cluster_name", "a{b"), "one word"),
        (lambda d: d.set("totem.cluster_name", "a#b"), "one word"),
        (lambda d: d.set("totem.cluster_name", ""), "one word"),
        (lambda d: d.set("totem.cluster_name", "x\n}"), "one word"),
        (lambda d: d.set("totem.cluster_name", "x" * 500), "510"),
        (lambda d: d.set("totem.cluster_name", None), "must be text"),
        (lambda d: d.set("totem.token", True), "must be text"),
        (lambda d: d.set("totem.to ken", 1), "no key"),
        (lambda d: d.set("token", 1), "not the path"),
        (lambda d: d.set("totem.interface.0.mcastport", 1), "functions for them"),
        (lambda d: d.set("nodelist.node.0.nodeid", 1), "functions for them"),
        (lambda d: d.remove("nodelist.node"), "functions for them"),
        (lambda d: d.set("quorum.provider.x", 1), "is a key"),
        (lambda d: d.set_version(0), "from 1"),
        (lambda d: d.set_version(2**64), "from 1"),
        (lambda d: d.set_version("6"), "from 1"),
        (lambda d: d.set_version(True), "from 1"),
        (lambda d: d.set_link(8, PUBLIC, {}), "0 to 7"),
        (lambda d: d.set_link(-1, PUBLIC, {}), "0 to 7"),
        (lambda d: d.set_link(True, PUBLIC, {}), "0 to 7"),
        (lambda d: d.set_link(1, {"pve1": "10.0.0.1"}, {}), "no address for node 'pve2'"),
        (lambda d: d.set_link(1, {**PUBLIC, "pve3": "10.0.0.1"}, {}), "'pve3' is not in the file"),
        (lambda d: d.set_link(1, {**PUBLIC, "pve2": "a b"}, {}), "one word"),
        (lambda d: d.set_link(1, PUBLIC, {"knet_link_priority": 256}), "0 to 255"),
        (lambda d: d.set_link(1, PUBLIC, {"linknumber": 2}), "no option"),
        (lambda d: d.set_link(0, PUBLIC, {"knet_link_priority": "x"}), "0 to 255"),
        (lambda d: d.set_options(0, {"mcastport": 65536}), "65535"),
        (lambda d: d.add_node("pve1", 3, {0: "10.0.0.3"}), "in the file already"),
        (lambda d: d.add_node("pve3", 2, {0: "10.0.0.3"}), "that of node 'pve2'"),
        (lambda d: d.add_node("pve3", 0, {0: "10.0.0.3"}), "nodeid 0"),
        (lambda d: d.add_node("pve3", 3, {1: "10.0.0.3"}), "the file has [0]"),
        (lambda d: d.add_node("pve3", 3, {}), "no address"),
        (lambda d: d.add_node("pve 3", 3, {0: "10.0.0.3"}), "one word"),
    ],
)
def test_a_refused_change_leaves_everything_as_it_was(act, wanted):
    document = conf.parse(PVE)
    with pytest.raises(conf.ConfError) as caught:
        act(document)
    assert wanted in str(caught.value), caught.value
    assert all(set(entry) == {"line", "text", "reader"} for entry in caught.value.problems)
    assert document.dump() == PVE


def test_all_that_is_wrong_with_a_call_is_said_at_once():
    with pytest.raises(conf.ConfError) as caught:
        conf.parse(PVE).add_node("pve1", 2, {3: "x"})
    assert len(caught.value.problems) == 3


def test_all_that_is_wrong_with_a_file_is_said_at_once_with_its_line():
    data = (
        PVE.replace(b"debug: off", b"debug off")
        .replace(b"nodeid: 2", b"nodeid: two")
        .replace(b": 5\n", b": abc\n")
    )
    with pytest.raises(conf.ConfError) as caught:
        conf.parse(data, "/etc/pve/corosync.conf")
    assert [entry["line"] for entry in caught.value.problems] == [2, 15, 27]
    assert "/etc/pve/corosync.conf:15: " in str(caught.value)


def test_a_copy_is_independent():
    document = conf.parse(PVE)
    other = document.copy()
    other.set_version(6)
    assert document.version == 5 and other.version == 6


def test_render_makes_the_file_that_pve_would_write():
    nodes = {"pve2": {"nodeid": 2}, "pve1": {"nodeid": 1, "votes": 1}}
    links = {"0": {"addresses": VRACK, "options": {}}}
    assert conf.render("prod", nodes, links, 5) == PVE
    more = conf.render(
        "prod",
        nodes,
        {**links, 1: {"addresses": PUBLIC, "options": FAST}},
        5,
        totem={"token": 4000, "secauth": None, "crypto_cipher": "aes256", "crypto_hash": "sha256"},
    )
    assert conf.lint(more) == [] and conf.normalise(more) == more
    document = conf.parse(more)
    assert document.get("totem.secauth") is None and document.get("totem.token") == "4000"
    assert document.links()[1] == {"addresses": PUBLIC, "options": FAST, "interface": True}


@pytest.mark.parametrize(
    "name, nodes, links",
    [
        ("a b", {"n": {"nodeid": 1}}, {0: {"addresses": {"n": "10.0.0.1"}}}),
        ("a", {"n": {"nodeid": 1}}, {9: {"addresses": {"n": "10.0.0.1"}}}),
        (
            "a",
            {"n": {"nodeid": 1}, "m": {"nodeid": 1}},
            {0: {"addresses": {"n": "10.0.0.1", "m": "10.0.0.2"}}},
        ),
        ("a", {"n": {"nodeid": 1}, "m": {"nodeid": 2}}, {0: {"addresses": {"n": "10.0.0.1"}}}),
        ("a", {"n": {"nodeid": 1}}, {}),
    ],
)
def test_render_refuses_what_cannot_be(name, nodes, links):
    with pytest.raises(conf.ConfError):
        conf.render(name, nodes, links, 1)


def test_normalise_brings_an_odd_file_into_pves_form():
    new = conf.normalise(ODD)
    assert conf.normalise(new) == new
    before, after = conf.parse(ODD), conf.parse(new)
    assert after.nodes() == before.nodes() and after.version == 7 and after.cluster_name == "prod"
    assert after.links()[0] == {
        "addresses": before.links()[0]["addresses"],
        "interface": True,
        "options": {"bindnetaddr": "10.66.0.0"},
    }
    assert b"#" not in new and b"quorum {\n  provider: corosync_votequorum\n}\n\n" in new


def test_normalise_adds_the_interface_blocks_that_are_missing():
    data = PVE.replace(b"  interface {\n    linknumber: 0\n  }\n", b"")
    assert conf.normalise(data) == PVE


@pytest.mark.parametrize(
    "old, new, wanted",
    [
        (b"cluster_name: prod", b"cluster_name: my cluster", "one word"),
        (b"cluster_name: prod", b"cluster_name:", "one word"),
        (b"cluster_name: prod", b"cluster_name: prod#1", "one word"),
        (b"name: pve2", b"name: pve1", "same name"),
        (b"    name: pve1", b"    x {\n    }\n    name: pve1", "no place"),
        (b"quorum {", b"uidgid {\n uid: 0\n}\nuidgid {\n gid: 0\n}\nquorum {", "second section 'uidgid'"),
        (b"  provider", b"  a.b: 1\n  provider", "key 'a.b'"),
        (b"  provider", b"  device: 1\n  device {\n  }\n  provider", "key 'device'"),
    ],
)
def test_normalise_refuses_what_it_would_have_to_change(old, new, wanted):
    with pytest.raises(conf.ConfError, match=wanted):
        conf.normalise(PVE.replace(old, new, 1))


def test_diff():
    document = conf.parse(PVE)
    document.set_version(6)
    text = conf.diff(PVE, document.dump(), "x")
    assert text.startswith("--- x (old)\n+++ x (new)\n@@ ")
    assert "\n-  config_version: 5\n+  config_version: 6\n" in text and text.endswith("\n")
    assert conf.diff(PVE, PVE) == ""
    assert "\\ No newline at end of file\n" in conf.diff(PVE, PVE.rstrip(b"\n"))
    assert conf.diff(b"", b"a\n").splitlines()[-1] == "+a"
    assert conf.diff("caf\xe9\n", b"caf\xe9\n") == ""
