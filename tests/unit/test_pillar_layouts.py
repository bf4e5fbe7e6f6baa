"""Plain copies, loading and resolving."""

import json

import pytest
from _rules_world import PUBLIC, VRACK, layout, pillar
from pve_corosync.pillar import layouts


class Masked(dict):
    """Like Salt 3008's: a dict whose text form is asterisks, with masked values inside."""

    def __repr__(self):
        return "**********"

    __str__ = __repr__


class MaskedList(list):
    def __repr__(self):
        return "**********"


class Text(str):
    def __repr__(self):
        return "**********"

    __str__ = __repr__


class Number(int):
    def __repr__(self):
        return "**********"


def masked(obj):
    if isinstance(obj, dict):
        return Masked({key: masked(value) for key, value in obj.items()})
    if isinstance(obj, list):
        return MaskedList(masked(item) for item in obj)
    return Text(obj) if isinstance(obj, str) else Number(obj) if isinstance(obj, int) else obj


def types(obj):
    found = {type(obj)}
    for item in [*obj, *obj.values()] if isinstance(obj, dict) else obj if isinstance(obj, list) else ():
        found |= types(item)
    return found


def test_plain_takes_every_mask_off():
    data = pillar() | {"skip": ["pve1"], "extra": (True, None, 1.5, {"a"})}
    bare = layouts.plain(masked(data))
    assert types(bare) <= {dict, list, str, int, float, bool, type(None)}
    assert bare == data | {"extra": [True, None, 1.5, ["a"]]}
    assert "***" not in json.dumps(bare) + repr(bare)


def test_plain_copies():
    data = pillar()
    layouts.plain(data)["nodes"]["pve1"]["addresses"]["vrack"] = "x"
    assert data == pillar()


def test_load_takes_a_masked_pillar():
    assert layouts.load(masked(pillar())) == layouts.load(pillar())


def test_load():
    data = pillar() | {"skip": ["pve2"], "fast_ping": {"ping_interval": "300", "ping_timeout": 600}}
    data["nodes"]["pve1"] |= {"nodeid": "1", "minion": "a.example"}
    data["layouts"]["degraded"]["links"] = {
        "0": {"network": "public"},
        1: {
            "network": "vrack",
            "priority": "010",
            "ping_interval": 200,
            "ping_timeout": 400,
            "ping_precision": 1,
            "pong_count": 1,
            "transport": "udp",
            "port": 6000,
        },
    }
    cluster = layouts.load(data)
    assert cluster["nodes"]["pve1"] == {
        "nodeid": 1,
        "minion": "a.example",
        "addresses": {"vrack": VRACK["pve1"], "public": PUBLIC["pve1"]},
    }
    assert cluster["nodes"]["pve2"]["minion"] == "pve2"
    assert cluster["layouts"]["degraded"]["links"] == {
        0: {"network": "public", "options": {}},
        1: {
            "network": "vrack",
            "options": {
                "knet_link_priority": "10",
                "knet_ping_interval": "200",
                "knet_ping_timeout": "400",
                "knet_ping_precision": "1",
                "knet_pong_count": "1",
                "knet_transport": "udp",
                "mcastport": "6000",
            },
        },
    }
    assert cluster["skip"] == ["pve2"]
    assert cluster["fast_ping"] == {"ping_interval": 300, "ping_timeout": 600}
    assert cluster["firewall"] == {"management": None, "ssh": "peers"}


def test_load_of_the_firewall():
    given = {"management": ["192.0.2.9/24", "2001:db8::7/128", "203.0.113.5"]}
    assert layouts.load(masked(pillar() | {"firewall": given}))["firewall"] == {
        "management": ["192.0.2.0/24", "2001:db8::7", "203.0.113.5"],
        "ssh": "peers",
    }
    loaded = layouts.load(pillar() | {"firewall": {"ssh": "open"}})
    assert loaded["firewall"] == {"management": None, "ssh": "open"}


@pytest.mark.parametrize(
    "given, loaded", [(None, {"ping_interval": 200, "ping_timeout": 400}), (False, {}), ({}, {})]
)
def test_fast_ping_has_a_default_and_can_be_turned_off(given, loaded):
    data = pillar() if given is None else pillar() | {"fast_ping": given}
    assert layouts.load(data)["fast_ping"] == loaded


def test_resolve_takes_the_wanted_layout():
    assert layout(None)["name"] == "nominal"


def test_resolve():
    two = {"pve1", "pve2"}
    vrack = {name: VRACK[name] for name in two}
    public = {name: PUBLIC[name] for name in two}
    assert layout("degraded") == {
        "name": "degraded",
        "cluster_name": "prod",
        "nodes": {"pve1": {"nodeid": 1, "minion": "pve1"}, "pve2": {"nodeid": 2, "minion": "pve2"}},
        "links": {
            0: {"network": "public", "addresses": public, "options": {}},
            1: {"network": "vrack", "addresses": vrack, "options": {"knet_link_priority": "10"}},
        },
        "primary": {"network": "public", "addresses": public},
        "networks": {"public": public, "vrack": vrack},
        "totem": {},
    }


def test_resolve_writes_addresses_in_one_spelling():
    data = pillar()
    data["nodes"]["pve1"]["addresses"]["vrack"] = "FD00:0::1"
    data["nodes"]["pve2"]["addresses"]["vrack"] = "fd00:0:0:0::0002"
    assert layouts.resolve(layouts.load(data))["links"][0]["addresses"] == {
        "pve1": "fd00::1",
        "pve2": "fd00::2",
    }


def test_resolve_refuses_an_unknown_layout():
    with pytest.raises(layouts.LayoutError, match="'normal'.*degraded, nominal") as caught:
        layout("normal")
    assert [item["code"] for item in caught.value.findings] == ["layout-unknown"]
