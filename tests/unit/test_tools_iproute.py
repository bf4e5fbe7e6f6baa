"""Routes of dead links: which are asked, and what of the answer counts."""

import pytest
from _rules_world import facts
from pve_corosync.tools import iproute


def test_only_dead_links_are_asked():
    told = facts("pve1")
    assert iproute.dead_ways(told["runtime"], told["links"]) == []
    told["links"]["pve2"][0]["connected"] = False
    (way,) = iproute.dead_ways(told["runtime"], told["links"])
    assert way == {"peer": "pve2", "link": 0, "from": "10.66.0.1", "to": "10.66.0.2"}
    assert iproute.command(way) == ["ip", "-j", "route", "get", "10.66.0.2", "from", "10.66.0.1"]
    assert iproute.dead_ways(told["runtime"] | {"nodeid": 9}, told["links"]) == []


@pytest.mark.parametrize(
    "text, wanted",
    [
        ('[{"dst":"10.66.0.2","from":"10.66.0.1","dev":"wg0","flags":[],"uid":0,"cache":[]}]', "wg0"),
        ("", None),
        ("[]", None),
        ("[7]", None),
        ('[{"dev": 7}]', None),
        ("RTNETLINK answers: Network is unreachable", None),
    ],
)
def test_the_interface_of_a_route(text, wanted):
    assert iproute.device(text) == wanted


def test_a_route_over_another_card_is_elsewhere():
    way = {"peer": "pve2", "link": 0, "from": "10.66.0.1", "to": "10.66.0.2"}
    own = {"10.66.0.1": ("eno2", "10.66.0.1/24")}
    assert iproute.elsewhere([way | {"dev": "wg0"}], own) == [way | {"dev": "wg0", "card": "eno2"}]
    assert iproute.elsewhere([way | {"dev": "eno2"}, way | {"dev": None}], own) == []
    assert iproute.elsewhere([way | {"dev": "eno1"}], {"10.66.0.1": ("lo", "10.66.0.1/32")}) == []
    assert iproute.elsewhere([way | {"dev": "wg0"}], {}) == []
