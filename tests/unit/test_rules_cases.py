"""Files that people have: what the rules say of them, and that the plan cures what it can."""

import _cases
import pytest
from pve_corosync import conf
from pve_corosync.findings import errors
from pve_corosync.plan import planner
from pve_corosync.rules import every

VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}
PUBLIC = {"pve1": "198.51.101.10", "pve2": "198.51.102.10"}
NODES = {name: {"vrack": VRACK[name], "public": PUBLIC[name]} for name in VRACK}
CARDS = {name: {"eno2": VRACK[name] + "/24", "eno1": PUBLIC[name] + "/24"} for name in VRACK}


def whole(goal, seen, **arguments):
    found = every.check(goal, seen, **arguments)
    assert errors(found) == [], _cases.says(errors(found))
    made = planner.plan(goal, seen)
    assert errors(made["findings"]) == [], _cases.says(errors(made["findings"]))
    return found, made


@pytest.mark.parametrize("dead", [(), (0,), (0, 1)], ids=["alive", "vrack cut", "all cut"])
@pytest.mark.parametrize("links", [{0: "vrack", 1: "public"}, {0: "public", 1: "vrack"}, {0: "vrack"}])
def test_the_two_blocks_of_one_link_are_written_anew(dead, links):
    seen = _cases.world(_cases.text("two-rings-of-pve5"), CARDS)
    if dead:
        _cases.cut(seen, *dead)
    wanted = _cases.goal(NODES, links)
    found = every.check(wanted, seen, force=["primary-dead", "no-network-alive"])
    assert errors(found) == [], _cases.says(errors(found))
    for step in planner.plan(wanted, seen)["steps"]:
        assert conf.lint(step["conf"]) == []
        assert "ringnumber" not in step["conf"] and "bindnetaddr" not in step["conf"]


def test_pve_takes_the_two_blocks_for_two_links():
    """PVE/Corosync.pm takes ringnumber where there is no linknumber; its verify_conf has no objection."""
    told = [item["text"] for item in conf.lint(_cases.text("two-rings-of-pve5"))]
    assert told == [
        "interface block for link 0 in the eyes of corosync, for link 1 in those of PVE: set linknumber"
    ]


def test_of_two_equal_blocks_one_stays():
    text = _cases.text("one-address-for-both")
    twice = text.replace("  interface {\n", "  interface {\n    linknumber: 0\n  }\n  interface {\n", 1)
    document = conf.parse(twice)
    assert not document.is_plain(0)
    document.set_options(0, {})
    assert document.text == text


def test_a_section_in_an_interface_block_goes():
    text = _cases.text("one-address-for-both")
    block = "    linknumber: 0\n"
    nested = text.replace(
        block, block + "    knet_transport: udp\n    member {\n      memberaddr: a\n    }\n"
    )
    assert any("aborts" in item["text"] for item in conf.lint(nested.replace("member", "else")))
    document = conf.parse(nested)
    document.set_options(0, {})
    assert document.text == text
