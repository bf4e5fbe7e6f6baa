"""What a tool prints may be garbled: a parser says so with OutputError, and with nothing else."""

import json
import random

import pytest
import test_tools
from pve_corosync.tools import corosync, pve
from test_tools_captures import FOLDER, read

ROUNDS = 1500
BITS = ("²", "٣", "x1", "", "-1", "0x", "9" * 30, "\0", "\t", "{", "}", ":", '"', "null", "[]", "NaN")
IP = json.dumps(
    [
        {
            "ifname": "eno1",
            "mtu": 1500,
            "master": "vmbr0",
            "link": "eno2",
            "linkinfo": {"info_kind": "vlan"},
            "addr_info": [{"local": "10.66.0.1", "prefixlen": 24}],
        },
        {"ifname": "vmbr0", "addr_info": []},
    ]
)
OTHERS = ("7", "null", "[7]", '[{"ifname": 7, "addr_info": 1}]', '[{"ifname": [], "link": {}}]', '{"": {}}')


def _everything_of(text):
    found = corosync.cmap(text)
    corosync.link_stats(found, corosync.runtime(found))


PARSERS = {
    "cmap": _everything_of,
    "quorum": corosync.quorum,
    "members": corosync.members,
    "version": corosync.corosync_version,
    "check": lambda text: corosync.check_result(8, text, text),
    "reload": lambda text: corosync.reload_result(text, text, 0),
    "addresses": corosync.ip_addresses,
    "cards": corosync.ip_cards,
    "pvecm status": pve.pvecm_status,
    "pvecm nodes": pve.pvecm_nodes,
    ".members": pve.pmxcfs_members,
    "pvesr list": pve.pvesr_list,
    "pvesr status": pve.pvesr_status,
    "ha-manager status": pve.ha_status,
}


def seeds():
    told = [read(path)[2] for path in sorted(FOLDER.glob("*.txt"))]
    told += [value for value in vars(test_tools).values() if isinstance(value, str) and "\n" in value]
    return [text for text in dict.fromkeys(told) if text] + [IP, *OTHERS]


def garbled(text, chance):
    """One to three small changes of a text."""
    for _ in range(chance.randint(1, 3)):
        lines = text.split("\n")
        at = chance.randrange(len(lines))
        line, kind = lines[at], chance.randrange(4)
        place = chance.randrange(len(line) + 1)
        if kind == 0:
            line = line[:place] + chance.choice(BITS) + line[place + chance.randint(0, 4) :]
        elif kind == 1:
            words = line.split(" ")
            words[chance.randrange(len(words))] = chance.choice(BITS)
            line = " ".join(words)
        elif kind == 2:
            digits = [spot for spot, sign in enumerate(line) if sign.isdigit()]
            spot = chance.choice(digits) if digits else 0
            line = line[:spot] + chance.choice(BITS) + line[spot + 1 :]
        else:
            lines.insert(chance.randrange(len(lines)), line)
        lines[at] = line
        text = "\n".join(lines)
    return text


@pytest.mark.parametrize("name", PARSERS)
def test_a_garbled_text_is_an_output_error_or_is_read(name):
    chance, texts, broken = random.Random(name), seeds(), set()
    for number in range(ROUNDS):
        text = garbled(texts[number % len(texts)], chance)
        try:
            PARSERS[name](text)
        except corosync.OutputError:
            continue
        except Exception as exc:  # pylint: disable=broad-except
            broken.add(f"{type(exc).__name__}: {exc}")
    assert not broken


@pytest.mark.parametrize(
    "parser, text",
    [
        (corosync.quorum, "Quorum information\nQuorate:   Yes\nExpected votes: ²\n"),
        (corosync.quorum, "Quorum information\nNode ID:   x1\nQuorate:   Yes\n"),
        (pve.pvecm_status, "Cluster information\nConfig Version:   ²\n"),
    ],
)
def test_numbers_that_are_none(parser, text):
    with pytest.raises(corosync.OutputError):
        parser(text)


def test_a_version_that_is_no_number_loses_the_version_alone():
    text = "totem.config_version (str) = x\ntotem.cluster_name (str) = prod\n"
    found = corosync.runtime(corosync.cmap(text))
    assert (found["version"], found["cluster_name"]) == (0, "prod")
