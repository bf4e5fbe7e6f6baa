"""Our parser against the real one: ``corosync -t`` is asked about generated files."""

import re
import resource
import subprocess

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pve_corosync import conf
from pve_corosync.conf import grammar

CHECKS = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))

BASE = """\
nodelist {
  node {
    name: pve1
    nodeid: 1
    ring0_addr: 127.0.0.1
  }
}
totem {
  cluster_name: prod
  config_version: 5
  interface {
    linknumber: 0
  }
  version: 2
}
"""


def corosync(data, folder):
    """Return (accepted by the parser, line of its complaint); later checks of ``-t`` do not count."""
    path = folder / "x.conf"
    path.write_bytes(data)
    ran = subprocess.run(
        ["corosync", "-t", "-c", str(path)],
        capture_output=True,
        timeout=20,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    said = (ran.stderr + ran.stdout).decode("latin-1")
    assume("is not found in /etc/" not in said)  # a user or group of this machine, no matter of grammar
    if ran.returncode in (-6, 134):
        assert "Assertion" in said, said
        return False, None
    match = re.search(r"^parser error: .*?x\.conf:(\d+): ", said, re.MULTILINE)
    if match:
        return False, int(match[1])
    assert "Can't format parser error" not in said, said
    return True, None


def agree(data, folder):
    """Assert that our parser and corosync's say the same, on the same line, and nothing is lost."""
    accepted, line = corosync(data, folder)
    tree = grammar.Tree(data.decode("latin-1"))
    ours = tree.problems[0]["line"] if tree.problems else None
    assert (not tree.problems) == accepted, (data, tree.problems, line)
    if line is not None:
        assert ours == line, (data, tree.problems)
    if accepted:
        assert conf.parse(data).dump() == data
    else:
        with pytest.raises(conf.ConfError):
            conf.parse(data)


blanks = st.sampled_from(["", "", " ", "  ", "\t", " \t "])
names = st.one_of(
    st.sampled_from(
        [
            "totem",
            "token",
            "debug",
            "nodeid",
            "name",
            "a",
            "ab",
            "abc",
            "a b",
            "config_version",
            "x/y",
            "a.b",
            "interface",
            "linknumber",
            "é",
            "ring0_addr",
            "knet_link_priority",
            "x" * 240,
            "x" * 255,
        ]
    ),
    st.text("abz09._/:-{}# \t", max_size=6),
)
values = st.one_of(
    st.sampled_from(
        [
            "",
            "1",
            "0",
            "-1",
            "+7",
            "256",
            "65536",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "abc",
            "1 # x",
            "yes",
            "no",
            "ipv4",
            "none",
            "aes256",
            "foo}",
            "a{b",
            "1:2",
            "10.0.0.1",
            "\v5",
            "5\v",
            "é",
            "\xa0",
        ]
    ),
    st.text("019 -+:}#\tax", max_size=6),
)
ends = st.sampled_from(["\n", "\n", "\n", "\r\n", " \n", "\t \r\n", "\r\r\n"])
KEYS = [
    "totem.token",
    "totem.config_version",
    "totem.ip_version",
    "totem.crypto_cipher",
    "totem.crypto_hash",
    "totem.crypto_model",
    "totem.knet_compression_model",
    "totem.knet_compression_level",
    "quorum.two_node",
    "quorum.expected_votes",
    "quorum.provider",
    "quorum.device.votes",
    "quorum.device.master_wins",
    "system.sched_rr",
    "system.qb_ipc_type",
    "system.move_to_root_cgroup",
    "uidgid.uid",
    "uidgid.gid",
    "uidgid.other",
    "totem.interface.linknumber",
    "totem.interface.mcastport",
    "totem.interface.ttl",
    "totem.interface.knet_link_priority",
    "totem.interface.knet_transport",
    "totem.interface.other",
    "totem.interface.member.memberaddr",
    "totem.interface.member.other",
    "nodelist.node.nodeid",
    "nodelist.node.quorum_votes",
    "nodelist.node.name",
    "nodelist.x",
    "logging.debug",
    "logging.logger_subsys.subsys",
    "logging.logger_subsys.debug",
    "logging.logging_daemon.name",
    "logging.logging_daemon.subsys",
    "resources.watchdog_timeout",
    "resources.system.poll_period",
    "other.token",
]


@st.composite
def key_value(draw):
    return draw(blanks) + draw(names) + draw(blanks) + ":" + draw(blanks) + draw(values)


@st.composite
def soup(draw):
    """Lines of all kinds in any order."""
    line = st.one_of(
        key_value(),
        st.builds("{}{} {{{}".format, blanks, names, blanks),
        st.builds("{}}}{}".format, blanks, blanks),
        st.builds("{}#{}".format, blanks, values),
        blanks,
        st.text("ab:{}# \t", max_size=8),
    )
    text = "".join(draw(line) + draw(ends) for _ in range(draw(st.integers(0, 8))))
    return text if draw(st.booleans()) else text.rstrip("\r\n")


@st.composite
def sections(draw):
    """Nested sections as they should be, with keys of every type and values of every kind."""
    out = []
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)):
        *path, last = key.split(".")
        pad = draw(blanks)
        out += [f"{pad}{name}{draw(st.sampled_from([' ', '', '  ', ':']))}{{" for name in path]
        out.append(f"{pad}{last}{draw(blanks)}:{draw(blanks)}{draw(values)}")
        out += [f"{pad}}}"] * len(path)
    return "".join(line + draw(ends) for line in out)


@given(st.one_of(soup(), sections()))
@example("{\n").via("no name")
@example(" : 3000\n").via("no key")
@example("totem {\n: 1\n :: 1\n}\n").via("no key in a section")
@example("totem: {\n}\n").via("a colon before the brace")
@example("totem {\n  token: 1\n").via("not closed")
@example("}\n").via("closed too often")
@example("totem {\n#" + "x" * 509 + "\n}\n").via("510 characters")
@example("totem {\n#" + "x" * 510 + "\n}\n").via("511 characters")
@example("#" + "x" * 509).via("510 characters, no line end")
@example("#" + "x" * 510).via("511 characters, no line end")
@example("#" + "x" * 508 + "\r\n").via("511 with a carriage return")
@example("#" + "x" * 509 + "\r\n").via("512 with a carriage return")
@example("ab: 1\n").via("path of two characters")
@example("totem {\nconfig_version: abc\n}\n").via("abort before 3.1.10")
@example("totem {\nconfig_version: -1\n}\n").via("wraps around")
@example("\xef\xbb\xbftotem {\n}\n").via("byte order mark, no key in it")
@example("\xef\xbb\xbftotem {\ntoken: 1\n}\n").via("byte order mark")
@example("logging {\nlogger_subsys {\nsubsys: a b\n}\n}\n").via("name checked at the end")
@example("logging {\nlogger_subsys {\n}\n}\n").via("no subsys")
@example("a\0b: 1\n").via("NUL")
@example("abc: 1\0x").via("NUL in the last line")
@example("\0\ntotem {\n}\n").via("NUL first")
@example("").via("empty")
@CHECKS
def test_our_parser_agrees(tmp_path_factory, text):
    agree(text.encode("latin-1"), tmp_path_factory.mktemp("oracle"))


@given(st.data())
@CHECKS
def test_our_parser_agrees_on_a_damaged_file(tmp_path_factory, data):
    lines = BASE.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        place = data.draw(st.integers(0, len(line)))
        cut = data.draw(st.integers(0, 3))
        lines[at] = line[:place] + data.draw(st.text("{}: \t#x9\r\n\xa0", max_size=3)) + line[place + cut :]
    agree("".join(lines).encode("latin-1"), tmp_path_factory.mktemp("oracle"))


@given(st.binary(max_size=1200))
@settings(deadline=None, max_examples=100)
def test_cut_into_lines_nothing_is_lost(data):
    assert "".join(grammar.split_lines(data.decode("latin-1"))).encode("latin-1") == data


addresses = st.sampled_from(["127.0.0.1", "127.0.0.2", "127.0.0.9"])


@st.composite
def styled(draw):
    """A valid file in somebody's style: indentation, line ends, comments, blank lines."""
    unit, eol = draw(st.sampled_from(["  ", "\t", "    ", ""])), draw(st.sampled_from(["\n", "\r\n"]))
    out = []
    for line in BASE.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for _ in range(draw(st.integers(0, 1))):
            out.append(draw(st.sampled_from(["", "# a comment", "   # totem {", "\t"])))
        out.append(unit * depth + line.lstrip())
    return (eol.join(out) + draw(st.sampled_from([eol, "", eol + eol]))).encode()


@given(styled(), st.integers(1, 7), addresses, st.integers(6, 99))
@settings(CHECKS, max_examples=60)
def test_an_edit_is_accepted_touches_its_lines_only_and_can_be_taken_back(
    tmp_path_factory, data, link, address, new
):
    document = conf.parse(data)
    document.set_link(link, {"pve1": address}, {"knet_ping_interval": "200", "knet_ping_timeout": "400"})
    document.set_version(new)
    document.set("totem.token", 4000)
    edited = document.dump()
    accepted, line = corosync(edited, tmp_path_factory.mktemp("oracle"))
    assert accepted, (edited, line)
    old, after = data.split(b"\n"), edited.split(b"\n")
    kept = [entry for entry in old if b"config_version" not in entry]
    rest = iter(after)
    assert all(entry in rest for entry in kept), "an untouched line changed or moved"
    assert len(after) == len(old) + 7
    assert document.links()[link] == {
        "addresses": {"pve1": address},
        "interface": True,
        "options": {"knet_ping_interval": "200", "knet_ping_timeout": "400"},
    }
    again = document.copy()
    again.set_link(link, {"pve1": address}, {"knet_ping_timeout": 400, "knet_ping_interval": 200})
    again.set_version(new)
    again.set("totem.token", "4000")
    assert again.dump() == edited
    document.remove_link(link)
    document.remove("totem.token")
    document.set_version(5)
    assert document.dump() == data
