"""From the answers of a living cluster's minions to its pillar, or to what is in the way."""

import copy

import pytest
import ring_adopt
import ring_run
from _rules_world import observed as world_observed


def answers(seen):
    return {facts.get("minion") or name: dict(facts, node=name) for name, facts in seen["nodes"].items()}


@pytest.fixture
def told():
    return answers(copy.deepcopy(world_observed()))


def codes(error):
    return [item["code"] for item in error.value.findings]


def test_a_whole_cluster_gives_a_pillar(told):
    pillar = ring_adopt.pillar(told, "pve*")
    assert set(pillar["nodes"]) == {facts["node"] for facts in told.values()}
    assert pillar["layout"] == "nominal"


def test_a_node_that_is_missing_is_named(told):
    gone = told.pop(sorted(told)[-1])["node"]
    with pytest.raises(ring_run.RunError) as error:
        ring_adopt.pillar(told, "pve*")
    assert codes(error) == ["adopt-silent"] and gone in str(error.value)


def test_everything_in_the_way_is_told_at_once(told):
    names = sorted(told)
    told["web1"] = "'corosync.facts' is not available."
    told["copy"] = dict(told[names[0]], minion="copy")
    told[names[1]] = dict(told[names[1]], runtime=dict(told[names[1]]["runtime"], cluster_name="other"))
    with pytest.raises(ring_run.RunError) as error:
        ring_adopt.pillar(told, "*")
    assert codes(error) == ["adopt-error", "adopt-twice", "adopt-several"]
    told = {name: dict(facts, runtime=None) for name, facts in told.items() if name in names}
    with pytest.raises(ring_run.RunError) as error:
        ring_adopt.pillar(told, "*")
    assert set(codes(error)) == {"adopt-stopped"}
    with pytest.raises(ring_run.RunError) as error:
        ring_adopt.pillar({}, "xx*")
    assert codes(error) == ["adopt-none"] and "xx*" in str(error.value)
