"""The pillar's schema: every problem at once, each with place, value, allowed values and next action."""

import copy

import pytest
from _rules_world import codes, pillar, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from pve_corosync.pillar import layouts


def put(path, value, data=None):
    """Return the good pillar with one place set; ``path`` holds keys, the last may be new."""
    data = data or pillar()
    *head, last = path
    at = data
    for key in head:
        at = at[key]
    at[last] = value
    return data


def drop(*path):
    data = pillar()
    *head, last = path
    at = data
    for key in head:
        at = at[key]
    del at[last]
    return data


NOMINAL = ("layouts", "nominal")
LINK0 = NOMINAL + ("links", 0)
# what is wrong: the pillar, the codes of all findings, the place of one, something its text or remedy says
CASES = {
    "nothing": (None, ["pillar-missing"], "corosync", "cluster_name"),
    "empty": ({}, ["pillar-missing"], "corosync", "nodes"),
    "a list": ([1], ["pillar-type"], "corosync", "[1]"),
    "masked": ("**********", ["pillar-masked"], "corosync", "pillar.raw"),
    "unknown key": (put(("layot",), 1), ["pillar-unknown-key"], "corosync:layot", "'layout'"),
    "unknown key, no near one": (put(("zzz",), 1), ["pillar-unknown-key"], "corosync:zzz", "drop 'zzz'"),
    "no cluster name": (drop("cluster_name"), ["pillar-missing"], "corosync:cluster_name", "pvecm status"),
    "cluster name a number": (put(("cluster_name",), 12), ["pillar-type"], "corosync:cluster_name", "'12'"),
    "cluster name masked": (
        put(("cluster_name",), "*****"),
        ["pillar-masked"],
        "corosync:cluster_name",
        "raw",
    ),
    "cluster name with a blank": (
        put(("cluster_name",), "a b"),
        ["cluster-name-bad"],
        "corosync:cluster_name",
        "a b",
    ),
    "cluster name with a brace": (
        put(("cluster_name",), "a{"),
        ["cluster-name-bad"],
        "corosync:cluster_name",
        "a{",
    ),
    "cluster name too long": (
        put(("cluster_name",), "a" * 257),
        ["cluster-name-bad"],
        "corosync:cluster_name",
        "aaa",
    ),
    "cluster name not PVE's": (
        put(("cluster_name",), "prod_1"),
        ["cluster-name-odd"],
        "corosync:cluster_name",
        "prod_1",
    ),
    "no nodes": (
        put(("nodes",), {}),
        ["network-unknown", "pillar-missing"],
        "corosync:nodes",
        "missing or empty",
    ),
    "nodes a list": (put(("nodes",), ["pve1"]), ["network-unknown", "pillar-type"], "corosync:nodes", "pve1"),
    "node name": (
        put(("nodes", "pve_3"), {"nodeid": 3, "addresses": {"vrack": "10.66.0.3", "public": "192.0.2.3"}}),
        ["node-name-bad"],
        "corosync:nodes:pve_3",
        "pve_3",
    ),
    "node name a number": (
        put(("nodes", 3), {"nodeid": 3, "addresses": {"vrack": "10.66.0.3", "public": "192.0.2.3"}}),
        ["node-name-bad"],
        "corosync:nodes:3",
        "as text",
    ),
    "node name ends with a hyphen": (
        put(("nodes", "pve-"), {"nodeid": 3, "addresses": {"vrack": "10.66.0.3", "public": "192.0.2.3"}}),
        ["node-name-bad"],
        "corosync:nodes:pve-",
        "pvecm nodes",
    ),
    "node empty": (put(("nodes", "pve2"), None), ["pillar-missing"], "corosync:nodes:pve2", "nodeid"),
    "node key": (
        put(("nodes", "pve2", "adresses"), {}),
        ["pillar-unknown-key"],
        "corosync:nodes:pve2:adresses",
        "rename 'adresses' to 'addresses'",
    ),
    "no nodeid": (
        drop("nodes", "pve2", "nodeid"),
        ["pillar-missing"],
        "corosync:nodes:pve2:nodeid",
        "1 to 65535",
    ),
    "nodeid 0": (
        put(("nodes", "pve2", "nodeid"), 0),
        ["nodeid-bad"],
        "corosync:nodes:pve2:nodeid",
        "0 is no nodeid",
    ),
    "nodeid 65536": (
        put(("nodes", "pve2", "nodeid"), 65536),
        ["nodeid-bad"],
        "corosync:nodes:pve2:nodeid",
        "65536",
    ),
    "nodeid yes": (
        put(("nodes", "pve2", "nodeid"), True),
        ["nodeid-bad"],
        "corosync:nodes:pve2:nodeid",
        "True",
    ),
    "nodeid text": (
        put(("nodes", "pve2", "nodeid"), "two"),
        ["nodeid-bad"],
        "corosync:nodes:pve2:nodeid",
        "'two'",
    ),
    "nodeid twice": (
        put(("nodes", "pve2", "nodeid"), "1"),
        ["nodeid-duplicate"],
        "corosync:nodes:pve2:nodeid",
        "corosync:nodes:pve1:nodeid",
    ),
    "minion empty": (
        put(("nodes", "pve2", "minion"), ""),
        ["pillar-type"],
        "corosync:nodes:pve2:minion",
        "salt-key",
    ),
    "minion with a quote": (
        put(("nodes", "pve2", "minion"), "pve2'; reboot #"),
        ["pillar-type"],
        "corosync:nodes:pve2:minion",
        "letters, digits, - _ . @ + = :",
    ),
    "minion that is many": (
        put(("nodes", "pve2", "minion"), "pve*"),
        ["pillar-type"],
        "corosync:nodes:pve2:minion",
        "no minion id",
    ),
    "minion twice": (
        put(("nodes", "pve2", "minion"), "pve1"),
        ["minion-duplicate"],
        "corosync:nodes:pve2:minion",
        "corosync:nodes:pve1:minion",
    ),
    "no addresses": (
        drop("nodes", "pve2", "addresses"),
        ["address-missing", "pillar-missing"],
        "corosync:nodes:pve2:addresses",
        "network: IP",
    ),
    "address missing": (
        drop("nodes", "pve2", "addresses", "vrack"),
        ["address-missing"],
        "corosync:nodes:pve2:addresses:vrack",
        "add corosync:nodes:pve2:addresses:vrack",
    ),
    "address empty": (
        put(("nodes", "pve2", "addresses", "vrack"), None),
        ["address-missing"],
        "corosync:nodes:pve2:addresses:vrack",
        "is empty",
    ),
    "address with prefix": (
        put(("nodes", "pve2", "addresses", "vrack"), "10.66.0.2/24"),
        ["address-bad"],
        "corosync:nodes:pve2:addresses:vrack",
        "10.66.0.2/24",
    ),
    "address a number": (
        put(("nodes", "pve2", "addresses", "vrack"), 10.66),
        ["address-bad"],
        "corosync:nodes:pve2:addresses:vrack",
        "10.66",
    ),
    "address a name": (
        put(("nodes", "pve2", "addresses", "vrack"), "pve2.example.com"),
        ["address-host-name"],
        "corosync:nodes:pve2:addresses:vrack",
        "DNS",
    ),
    "address loopback": (
        put(("nodes", "pve2", "addresses", "vrack"), "127.0.1.1"),
        ["address-unusable"],
        "corosync:nodes:pve2:addresses:vrack",
        "loopback",
    ),
    "address twice": (
        put(("nodes", "pve2", "addresses", "vrack"), "10.66.0.1"),
        ["address-duplicate"],
        "corosync:nodes:pve2:addresses:vrack",
        "corosync:nodes:pve1:addresses:vrack",
    ),
    "address twice, mapped": (
        put(("nodes", "pve2", "addresses", "vrack"), "::ffff:10.66.0.1"),
        ["address-duplicate"],
        "corosync:nodes:pve2:addresses:vrack",
        "10.66.0.1",
    ),
    "address twice on one node": (
        put(("nodes", "pve2", "addresses", "public"), "10.66.0.2"),
        ["address-shared"],
        "corosync:nodes:pve2:addresses:public",
        "corosync:nodes:pve2:addresses:vrack",
    ),
    "families": (
        put(("nodes", "pve2", "addresses", "vrack"), "fd00::2"),
        ["family-mixed"],
        "corosync:layouts:nominal:links:0:network",
        "pve1 ipv4, pve2 ipv6",
    ),
    "network name": (
        put(("nodes", "pve2", "addresses", "a b"), "10.9.0.1"),
        ["pillar-type"],
        "corosync:nodes:pve2:addresses:a b",
        "a b",
    ),
    "no layouts": (
        put(("layouts",), {}),
        ["layout-unknown", "pillar-missing"],
        "corosync:layouts",
        "missing",
    ),
    "layout empty": (put(NOMINAL, None), ["pillar-missing"], "corosync:layouts:nominal", "links"),
    "layout key": (
        put(NOMINAL + ("lnks",), {}),
        ["pillar-unknown-key"],
        "corosync:layouts:nominal:lnks",
        "'links'",
    ),
    "no links": (put(NOMINAL + ("links",), {}), ["link-count"], "corosync:layouts:nominal:links", "1 to 8"),
    "links missing": (
        drop(*NOMINAL, "links"),
        ["pillar-missing"],
        "corosync:layouts:nominal:links",
        "missing",
    ),
    "link number": (
        put(NOMINAL + ("links", 8), {"network": "public"}),
        ["link-number-bad"],
        "corosync:layouts:nominal:links:8",
        "0 to 7",
    ),
    "link number below 0": (
        put(NOMINAL + ("links", -1), {"network": "public"}),
        ["link-number-bad"],
        "corosync:layouts:nominal:links:-1",
        "0 to 7",
    ),
    "link number text": (
        put(NOMINAL + ("links", "a"), {"network": "public"}),
        ["link-number-bad"],
        "corosync:layouts:nominal:links:a",
        "'a'",
    ),
    "link number twice": (
        put(NOMINAL + ("links", "0"), {"network": "public"}),
        ["link-number-duplicate"],
        "corosync:layouts:nominal:links:0",
        "renumber",
    ),
    "no link 0": (
        put(NOMINAL + ("links",), {1: {"network": "vrack"}}),
        ["ring0-missing"],
        "corosync:layouts:nominal:links",
        "number 0",
    ),
    "link empty": (put(LINK0, None), ["pillar-missing"], "corosync:layouts:nominal:links:0", "network"),
    "link without network": (
        put(LINK0, {"priority": 1}),
        ["pillar-missing"],
        "corosync:layouts:nominal:links:0:network",
        "public, vrack",
    ),
    "unknown network": (
        put(LINK0 + ("network",), "vrak"),
        ["network-unknown"],
        "corosync:layouts:nominal:links:0:network",
        "'vrack'",
    ),
    "network twice": (
        put(NOMINAL + ("links", 1), {"network": "vrack"}),
        ["network-twice"],
        "corosync:layouts:nominal:links:1:network",
        "corosync:layouts:nominal:links:0",
    ),
    "unknown option": (
        put(LINK0 + ("piority",), 1),
        ["option-unknown"],
        "corosync:layouts:nominal:links:0:piority",
        "'priority'",
    ),
    "option range": (
        put(LINK0 + ("priority",), 256),
        ["option-range"],
        "corosync:layouts:nominal:links:0:priority",
        "0 to 255",
    ),
    "option pair": (
        put(LINK0 + ("ping_interval",), 200),
        ["option-pair"],
        "corosync:layouts:nominal:links:0",
        "ping_timeout",
    ),
    "option zero": (
        put(LINK0 + ("priority",), "0"),
        ["option-priority-zero"],
        "corosync:layouts:nominal:links:0:priority",
        "1",
    ),
    "option sctp": (
        put(LINK0 + ("transport",), "sctp"),
        ["option-deprecated"],
        "corosync:layouts:nominal:links:0:transport",
        "udp",
    ),
    "option timers": (
        put(LINK0, {"network": "vrack", "ping_interval": 900, "ping_timeout": 800}),
        ["option-timeout-short"],
        "corosync:layouts:nominal:links:0",
        "1800",
    ),
    "port shared": (
        put(
            NOMINAL + ("links",),
            {0: {"network": "vrack"}, 1: {"network": "public", "port": 5405}},
            put(("nodes", "pve2", "addresses", "public"), "10.66.0.2"),
        ),
        ["address-shared", "option-port-shared"],
        "corosync:layouts:nominal:links:1:port",
        "5405",
    ),
    "no primary": (
        drop(*NOMINAL, "primary"),
        ["pillar-missing"],
        "corosync:layouts:nominal:primary",
        "public, vrack",
    ),
    "unknown primary": (
        put(NOMINAL + ("primary",), "publik"),
        ["network-unknown"],
        "corosync:layouts:nominal:primary",
        "'public'",
    ),
    "no layout wanted": (drop("layout"), ["pillar-missing"], "corosync:layout", "degraded, nominal"),
    "unknown layout": (put(("layout",), "nominl"), ["layout-unknown"], "corosync:layout", "'nominal'"),
    "skip no list": (put(("skip",), "pve1"), ["pillar-type"], "corosync:skip", "[pve1]"),
    "skip unknown": (put(("skip",), ["pve9"]), ["skip-unknown"], "corosync:skip", "pve9"),
    "fast ping text": (put(("fast_ping",), "on"), ["pillar-type"], "corosync:fast_ping", "'on'"),
    "fast ping range": (
        put(("fast_ping",), {"ping_interval": 50, "ping_timeout": 400}),
        ["option-range"],
        "corosync:fast_ping:ping_interval",
        "200",
    ),
    "firewall empty value": (put(("firewall",), None), ["pillar-missing"], "corosync:firewall", "management"),
    "firewall text": (put(("firewall",), "on"), ["pillar-type"], "corosync:firewall", "'on'"),
    "firewall key": (
        put(("firewall",), {"managment": []}),
        ["pillar-unknown-key"],
        "corosync:firewall:managment",
        "'management'",
    ),
    "firewall ssh": (put(("firewall",), {"ssh": True}), ["firewall-value"], "corosync:firewall:ssh", "open"),
    "firewall management no list": (
        put(("firewall",), {"management": "192.0.2.0/24"}),
        ["pillar-type"],
        "corosync:firewall:management",
        "[192.0.2.0/24]",
    ),
    "firewall management, all wrong at once": (
        put(("firewall",), {"management": ["192.0.2.0/33", 7, None, "::/0", "192.0.2.1"], "ssh": "closed"}),
        ["firewall-value"],
        "corosync:firewall:management:3",
        "'::/0' is everything",
    ),
    "fast ping key": (
        put(("fast_ping",), {"ping_interval": 200, "ping_timeout": 400, "pings": 1}),
        ["pillar-unknown-key"],
        "corosync:fast_ping:pings",
        "ping_interval",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_problem(case):
    data, expected, place, said = CASES[case]
    found = problems(data)
    assert codes(found) == expected
    first = next(item for item in found if item["data"]["place"] == place)
    assert first["text"].startswith(f"{place}: ")
    assert said in first["text"] + " -> " + first["remedy"]
    assert all(item["remedy"] for item in found)


@pytest.mark.parametrize(
    "case",
    [
        name
        for name, row in CASES.items()
        if not {
            "address-shared",
            "cluster-name-odd",
            "option-priority-zero",
            "option-deprecated",
            "option-timeout-short",
        }
        & set(row[1])
    ],
)
def test_load_raises_with_the_findings(case):
    with pytest.raises(layouts.LayoutError) as caught:
        layouts.load(CASES[case][0])
    assert codes(caught.value.findings) == CASES[case][1]
    assert all(item["text"] in str(caught.value) for item in caught.value.findings)


def test_a_good_pillar_has_no_finding():
    for nodes in (1, 2, 3):
        assert problems(pillar(nodes)) == []


def test_all_problems_at_once():
    data = pillar()
    data["nodes"]["pve2"] = {"nodeid": 1, "addresses": {"vrack": "10.66.0.1", "public": "x.example"}}
    data["layouts"]["nominal"]["links"]["0"] = {"network": "nope", "priority": 999}
    data["layouts"]["degraded"]["primary"] = "vrak"
    data["layout"] = "other"
    assert codes(problems(data)) == [
        "address-duplicate",
        "address-host-name",
        "layout-unknown",
        "link-number-duplicate",
        "network-unknown",
        "nodeid-duplicate",
        "option-range",
    ]


def test_the_same_missing_address_is_told_once():
    data = drop("nodes", "pve2", "addresses", "vrack")
    assert [item["code"] for item in problems(data)] == ["address-missing"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(data, path=()):
    yield path
    for key, value in data.items() if isinstance(data, dict) else ():
        yield from places(value, path + (key,))


FIREWALL = {"management": ["192.0.2.0/24"], "ssh": "peers"}


@settings(deadline=None)
@given(st.sampled_from(sorted(places(pillar() | {"firewall": FIREWALL}), key=str)), JUNK)
def test_junk_anywhere_gives_findings_and_never_another_exception(path, junk):
    data = copy.deepcopy(pillar() | {"firewall": FIREWALL})
    if path:
        at = data
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = junk
    else:
        data = junk
    found = problems(data)
    if any(item["severity"] == "error" for item in found):
        with pytest.raises(layouts.LayoutError):
            layouts.load(data)
    else:
        for name in layouts.load(data)["layouts"]:
            layouts.resolve(layouts.load(data), name)
