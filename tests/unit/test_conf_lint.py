"""Each way in which the readers of corosync.conf differ is found, in its line, with the reader that minds."""

import pytest
from pve_corosync import conf
from test_conf import ODD, PVE

TWO = conf.render(
    "prod",
    {"pve1": {"nodeid": 1}, "pve2": {"nodeid": 2}},
    {
        0: {
            "addresses": {"pve1": "10.66.0.1", "pve2": "10.66.0.2"},
            "options": {"knet_link_priority": "2"},
        },
        1: {"addresses": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}},
    },
    5,
)


def found(data):
    return {(entry["reader"], entry["line"]) for entry in conf.lint(data)}


@pytest.mark.parametrize(
    "data",
    [
        PVE,
        TWO,
        PVE.replace(b"\n", b"\r\n"),
        PVE.replace(b"  ", b"\t"),
        PVE.rstrip(),
        b"# a comment with # and { and :\n\n" + PVE,
        PVE.replace(b": ", b":   "),
        PVE.replace(b"  debug: off", b"  debug: on\n  debug: off"),
        PVE.replace(b"  debug: off", b"  x: 1\n  y {\n    z: }\n  }"),
        PVE + b"# config_version: 9\n",
        PVE.replace(b": 5\n", b": 005\n"),
        "# é\n".encode() + PVE,
    ],
)
def test_what_all_read_alike_has_no_problem(data):
    assert conf.lint(data) == []
    assert conf.lint(data.decode("latin-1")) == []


@pytest.mark.parametrize(
    "old, new, wanted",
    [
        # words: where PVE's words are not corosync's
        (b"debug: off", b"debug:off", {("PVE", 2)}),
        (b"debug: off", b"debug : off", {("PVE", 2)}),
        (b"debug: off", b"debug: on and off", {("PVE", 2)}),
        (b"debug: off", b"debug: off # x", {("PVE", 2)}),
        (b"debug: off", b"debug: off#x", {("PVE", 2)}),
        (b"debug: off", b"debug:", {("PVE", 2)}),
        (b"debug: off", b"de bug: off", {("corosync", 2), ("PVE", 2)}),
        (b"debug: off", b": off", {("PVE", 2)}),
        (b"logging {", b"logging{", {("PVE", 1)}),
        (b"logging {", b"logging: {", {("PVE", 1)}),
        # corosync alone
        (b"debug: off", b"debug: of{f", {("corosync", 2)}),
        (b"debug: off", b"debug off", {("corosync", 2)}),
        (b"debug: off", b"debug: " + b"x" * 502, {("corosync", 2)}),
        (b"debug: off", b"debug: " + b"x" * 1900, {("corosync", 2)}),
        (b"debug: off", b"debug: " + b"x" * 600 + b"\n  y : 1", {("corosync", 2), ("PVE", 3)}),
        (b"logging {", b"logging\n{", {("corosync", 1), ("corosync", 2)}),
        (b"logging {", b"foo { b: c }\nlogging {", {("corosync", 1)}),
        (b"  secauth: on\n", b"  secauth: on\n  token: 3000 # ms\n", {("corosync", 34), ("PVE", 34)}),
        (b"  version: 2\n}", b"  version: 2\n", {("corosync", 36)}),
        (b"nodeid: 2", b"nodeid: two", {("corosync", 15)}),
        (b"nodeid: 2", b"nodeid: 0", {("corosync", 13)}),
        (b"    nodeid: 2\n", b"", {("corosync", 13)}),
        (b"nodeid: 2", b"nodeid: 1", {("corosync", None)}),
        (b"  version: 2", b"  version: 3", {("corosync", 34)}),
        (b"  version: 2\n", b"", {("corosync", None)}),
        (b"link_mode: passive", b"link_mode: foo", {("corosync", 32)}),
        (b"link_mode: passive", b"transport: foo", {("corosync", 32)}),
        (b"    ring0_addr: 10.66.0.2\n", b"", {("corosync", 13)}),
        (
            b"ring0_addr: 10.66.0.2",
            b"ring0_addr: 10.66.0.2\n    ring1_addr: 10.1.0.2",
            {("corosync", 7), ("PVE", None)},
        ),
        (
            b"ring0_addr: 10.66.0.2",
            b"ring0_addr: 10.66.0.2\n    ring8_addr: 10.1.0.2",
            {("corosync", 18), ("corosync", 7)},
        ),
        (b"ring0_addr: 10.66.0.2", b"ring0_addr: 10.66.0.2\n    link1_addr: 10.1.0.2", {("corosync", 18)}),
        (b"ring0_addr: 10.66.0.2", b"ring0_addr:", {("corosync", 17), ("PVE", 17)}),
        (b"    name: pve1\n", b"    a {\n    }\n    name: pve1\n", {("corosync", 8)}),
        # sections
        (b"quorum {", b"quorum {\n}\nquorum {", {("PVE", 23)}),
        (b"  provider", b"  device: 1\n  device {\n  }\n  provider", {("PVE", 23)}),
        (b"quorum {", b"totem.interface {\n}\nquorum {", {("PVE", 21)}),
        (b"    linknumber: 0\n", b"", {("PVE", 28)}),
        (b"    linknumber: 0\n", b"    ringnumber: 1\n", {("PVE", 28)}),
        (b"    linknumber: 0\n", b"    linknumber: 00\n", {("PVE", 28)}),
        (b"  ip_version", b"  interface {\n    linknumber: 0\n  }\n  ip_version", {("PVE", 31)}),
        (b"  ip_version", b"  interface {\n    linknumber: 3\n  }\n  ip_version", {("PVE", 31)}),
        (
            b"  ip_version",
            b"  interface {\n    linknumber: 3\n    bindnetaddr: 10.0.0.0\n  }\n  ip_version",
            {("PVE", 31), ("corosync", 31)},
        ),
        (b"name: pve2", b"name: pve1", {("PVE", None)}),
        # the version
        (b"  config_version: 5\n", b"", {("pmxcfs", None)}),
        (b"config_version: 5", b"config_version: -5", {("pmxcfs", 27)}),
        (b"config_version: 5", b"config_version: five", {("corosync", 27), ("pmxcfs", 27)}),
        (b"config_version: 5", b"config_version: 18446744073709551616", {("corosync", 27)}),
        (b"config_version: 5", b"config_version: 4\n  config_version: 5", {("pmxcfs", 27)}),
        (b"logging {", b"# config_version: 9\nlogging {", {("pmxcfs", 1)}),
        (b"logging {", b"# config_version: 5\nlogging {", {("pmxcfs", 1)}),
        (b"logging {", b"# config_version\n:7\nlogging {", {("corosync", 2), ("pmxcfs", 1), ("PVE", 2)}),
        # bytes
        (b"logging {", b"# caf\xe9\nlogging {", {("pmxcfs", 1)}),
        (b"cluster_name: prod", b"cluster_name: prod\xa0", {("corosync", 26), ("pmxcfs", 26)}),
        (b"logging {", b"\xef\xbb\xbflogging {", {("corosync", 2), ("corosync", 3)}),
        (b"debug: off", b"debug: off\0", {("corosync", 2)}),
    ],
)
def test_each_difference_is_found_in_its_line(old, new, wanted):
    data = PVE.replace(old, new, 1)
    assert data != PVE
    problems = conf.lint(data)
    assert {(entry["reader"], entry["line"]) for entry in problems} == wanted, problems
    assert all(entry["text"] for entry in problems)


def test_names_are_needed_from_the_second_link_on():
    assert found(TWO.replace(b"    name: pve2\n", b"")) == {("corosync", 14)}
    assert found(PVE.replace(b"    name: pve2\n", b"")) == set()


def test_a_file_without_interface_blocks_is_read_alike():
    data = TWO.replace(b"  interface {\n    knet_link_priority: 2\n    linknumber: 0\n  }\n", b"")
    assert found(data) == {("PVE", None)}
    assert found(data.replace(b"  interface {\n    linknumber: 1\n  }\n", b"")) == set()


def test_problems_come_in_order_of_lines():
    lines = [entry["line"] for entry in conf.lint(ODD + b"\nquorum {\n}\n")]
    assert len(lines) > 3 and lines == sorted(lines)


def test_an_empty_file_and_rubbish_are_refused():
    assert conf.lint(b"") and conf.lint(b"\0\xff{}:\n" * 3)


@pytest.mark.parametrize(
    "data, version",
    [
        (b"", 0),
        (PVE, 5),
        (b"#config_version:12x\nconfig_version: 9", 12),
        (b"config_version \n : 7", 7),
        (b"config_version: -3", 0),
        (b"my_config_version: 3", 3),
        (b"config_version: 99999999999999999999", 2**64 - 1),
    ],
)
def test_pmxcfs_takes_the_first_version_in_the_text(data, version):
    assert conf.pmxcfs_version(data) == version == conf.pmxcfs_version(data.decode("latin-1"))


@pytest.mark.parametrize("data", [ODD, ODD.replace(b"\n", b"\r\n")])
def test_normalise_settles_what_can_be_settled(data):
    assert conf.lint(data)
    left = [entry["text"] for entry in conf.lint(conf.normalise(data))]
    assert left == ["node 'pve1' has no 'name': with two links or more corosync wants one"]
