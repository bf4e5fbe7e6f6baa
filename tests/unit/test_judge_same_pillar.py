"""judge.same_pillar: a node that has an older pillar is told, though the master compiles one pillar only."""

import collections

import msgpack
import pytest
from pve_corosync.findings import errors
from pve_corosync.judge import same_pillar
from pve_corosync.ports import master

PILLAR = {"cluster_name": "prod", "nodes": {"pve1": {}, "pve2": {"minion": "two"}}, "skip": ["x", 1, None]}
MINIONS = {"pve1": "pve1", "pve2": "two", "pve3": "three"}
SAME = same_pillar.digest(PILLAR)


def test_order_and_transport_make_no_other_digest():
    turned = collections.OrderedDict((key, PILLAR[key]) for key in reversed(PILLAR))
    sent = msgpack.unpackb(msgpack.packb(PILLAR | {"layouts": {0: (1, 2)}}), strict_map_key=False)
    assert same_pillar.digest(turned) == SAME
    assert same_pillar.digest(sent) == same_pillar.digest(PILLAR | {"layouts": {0: (1, 2)}}) != SAME
    assert same_pillar.digest(None) == "" != same_pillar.digest({})


@pytest.mark.parametrize("other", [{"skip": ["x", None, 1]}, {"cluster_name": "\udc80"}, {"nodes": {1: {}}}])
def test_every_value_counts(other):
    assert same_pillar.digest(PILLAR | other) != SAME


def test_a_node_with_an_older_pillar_is_told_with_the_refresh():
    nodes = {"pve1": {"pillar": SAME}, "pve2": {"pillar": "old"}, "pve3": {}}
    (item,) = same_pillar.check(MINIONS, nodes, PILLAR)
    assert item["text"] == "pve2 has another pillar `corosync` than the master makes now"
    assert item["remedy"].startswith("salt two saltutil.refresh_pillar;") and errors([item]) == []
    assert same_pillar.check(MINIONS, nodes, PILLAR, skip=["pve2"]) == []
    (item,) = same_pillar.check(MINIONS, nodes | {"pve3": {"pillar": ""}}, PILLAR)
    assert item["data"]["nodes"] == ["pve2", "pve3"]
    assert item["remedy"].startswith("salt -L two,three saltutil.refresh_pillar;")


def test_a_node_without_a_pillar_is_told():
    (item,) = same_pillar.check(MINIONS, {"pve2": {"pillar": ""}}, PILLAR)
    assert item["text"] == "pve2 has no pillar `corosync`, and the master makes one now"


def test_whoever_asks_all_nodes_is_told(tmp_path):
    facts = {"node": "pve1", "runtime": None, "links": {}, "pmxcfs": {"mounted": False, "writable": False}}
    pillar = {"cluster_name": "prod", "nodes": {"pve1": {}}}
    site = master.Site(
        master.Master(
            {"cachedir": str(tmp_path)},
            client=None,
            bus=None,
            accepted=lambda target, kind: {"pve1"},
            pillar=lambda minion: {"corosync": pillar},
            fire=None,
            jid="1",
        ),
        None,
        None,
    )
    for theirs, codes in ((same_pillar.digest(pillar), []), ("old", ["pillar-differs"])):
        answer = {"pve1": {"return": facts | {"pillar": theirs}}}
        site.ask = lambda *_, answer=answer: answer
        assert [item["code"] for item in site.gather()[1]] == codes
