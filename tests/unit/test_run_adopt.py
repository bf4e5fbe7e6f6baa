"""From the answers of a living cluster's minions to its pillar, or to what is in the way."""

import copy

import pytest
from _rules_world import conf, problems
from _rules_world import observed as world_observed
from pve_corosync import arguments
from pve_corosync.run import adopt


def answers(seen):
    return {facts.get("minion") or name: dict(facts, node=name) for name, facts in seen["nodes"].items()}


@pytest.fixture
def told():
    return answers(copy.deepcopy(world_observed()))


def codes(error):
    return [item["code"] for item in error.value.findings]


def test_a_whole_cluster_gives_a_pillar(told):
    pillar, head = adopt.adopt(told, "pve*")
    assert set(pillar["nodes"]) == {facts["node"] for facts in told.values()}
    assert pillar["layout"] == "nominal"
    assert "# Its first plan is empty." in head and all(line.startswith("# ") for line in head)


BLOCK = "  interface {\n    linknumber: 0\n  }\n"
SAID = {
    "no block": ("", None),
    "of PVE 5": ("  interface {\n    bindnetaddr: 10.66.0.1\n    ringnumber: 0\n  }\n", None),
    "ping alone": (BLOCK.replace("  }", "    knet_ping_interval: 300\n  }"), "knet_ping_interval 300"),
    "ping too fast": (
        BLOCK.replace("  }", "    knet_ping_interval: 100\n    knet_ping_timeout: 500\n  }"),
        "knet_ping_timeout 500",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_the_head_tells_what_the_first_plan_would_do(kind):
    block, said = SAID[kind]
    assert BLOCK in conf()
    pillar, head = adopt.adopt(answers(world_observed(text=conf().replace(BLOCK, block))), "pve*")
    text = " ".join(line.removeprefix("# ") for line in head)
    assert problems(pillar) == []
    assert set(pillar["layouts"]["nominal"]["links"][0]) == {"network"}
    if said is None:
        assert "Its first plan is empty." in text
    else:
        assert "Its first plan would: set the options of link 0." in text and said in text


def test_a_host_name_in_force_is_told():
    text = conf().replace("ring0_addr: 10.66.0.1", "ring0_addr: pve1")
    assert "ring0_addr: pve1" in text
    _, head = adopt.adopt(answers(world_observed(text=text)), "pve*")
    said = " ".join(line.removeprefix("# ") for line in head)
    assert "first plan would" in said and "ring0_addr of pve1 is 'pve1', a name" in said


def test_a_node_that_is_missing_is_named(told):
    gone = told.pop(sorted(told)[-1])["node"]
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt(told, "pve*")
    assert codes(error) == ["adopt-silent"] and gone in str(error.value)


def test_everything_in_the_way_is_told_at_once(told):
    names = sorted(told)
    told["web1"] = "'corosync.facts' is not available."
    told["copy"] = dict(told[names[0]], minion="copy")
    told[names[1]] = dict(told[names[1]], runtime=dict(told[names[1]]["runtime"], cluster_name="other"))
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt(told, "*")
    assert codes(error) == ["adopt-error", "adopt-twice", "adopt-several"]
    told = {name: dict(facts, runtime=None) for name, facts in told.items() if name in names}
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt(told, "*")
    assert set(codes(error)) == {"adopt-stopped"}
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt({}, "xx*")
    assert codes(error) == ["adopt-none"] and "xx*" in str(error.value)
