"""The rules: a healthy cluster has no finding; each rule broken once gives its own."""

import _rules_cases_conf  # noqa: F401  the modules fill CASES
import _rules_cases_links  # noqa: F401
import _rules_cases_nodes  # noqa: F401
import _rules_cases_quorum  # noqa: F401
import pytest
from _rules_cases import CASES
from _rules_world import codes, conf, layout, observed, rewrite
from pve_corosync.cluster.cluster import Cluster
from pve_corosync.codes import configuration
from pve_corosync.rules import every


def judged(found):
    return sorted({f"{item['severity']} {item['code']}" for item in found})


@pytest.mark.parametrize("case", CASES)
def test_each_rule_broken_once(case):
    breaker, expected, arguments, name, nodes, said = CASES[case]
    goal, world = layout(name, nodes), observed(nodes)
    breaker(goal, world)
    found = every.check(goal, world, **arguments)
    if name == "degraded":  # it moves the primary network, which this finding tells
        found = [item for item in found if item["code"] != "name-not-primary"]
    assert judged(found) == expected
    if expected:
        assert said in " ".join(item["text"] + " -> " + item["remedy"] for item in found)
    assert all(item["remedy"] and item["text"] for item in found)


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("strategy", every.STRATEGIES)
def test_a_healthy_cluster_has_no_finding(nodes, strategy):
    assert every.check(layout("nominal", nodes), observed(nodes), strategy=strategy) == []


def test_the_way_to_degraded_is_free():
    found = every.check(layout("degraded", 3), observed(3))
    assert codes(found) == ["name-not-primary"]


def test_every_code_of_the_table_is_broken_by_a_case():
    broken = {row.split()[1] for case in CASES.values() for row in case[1]}
    wanted = {row[0] for subject, rows in configuration.TABLE.items() for row in rows if subject != "Pillar"}
    assert wanted - broken == set()


def test_findings_are_plain_data():
    def plain(obj):
        if isinstance(obj, dict):
            return all(isinstance(key, (str, int)) and plain(value) for key, value in obj.items())
        if isinstance(obj, list):
            return all(plain(item) for item in obj)
        return obj is None or type(obj) in (str, int, float, bool)

    for breaker, _, arguments, name, nodes, _ in CASES.values():
        goal, world = layout(name, nodes), observed(nodes)
        breaker(goal, world)
        assert plain(every.check(goal, world, **arguments)), breaker.__name__


def test_many_faults_are_told_at_once():
    goal, world = layout("nominal", 3), observed(3)
    for breaker in ("pvecm_expected", "corosync_stopped", "another_run", "authkey_differs", "copies_clash"):
        CASES[breaker][0](goal, world)
    assert {"run-busy", "corosync-stopped", "authkey-differs", "copies-clash"} <= set(
        codes(every.check(goal, world))
    )


def test_nobody_answers():
    found = every.check(layout(), {"nodes": {}, "silent": ["pve1", "pve2"]})
    assert codes(found) == ["node-silent"]


def test_unknown_strategy():
    with pytest.raises(ValueError, match="'roll'.*live, restart"):
        every.check(layout(), observed(), strategy="roll")


def test_link_numbers_may_be_text_as_json_has_them():
    goal, world = layout("degraded"), observed()
    goal["links"] = {str(number): link for number, link in goal["links"].items()}
    for row in world["nodes"].values():
        for node in row["runtime"]["nodes"].values():
            node["addresses"] = {str(number): a for number, a in node["addresses"].items()}
    assert codes(every.check(goal, world)) == ["name-not-primary"]


def test_the_cut_of_the_story_is_not_refused():
    """vRack down on both nodes, no quorum, the card of one lost: the way to degraded stays open."""
    goal, world = layout("degraded"), observed()
    CASES["split"][0](goal, world)
    CASES["lost_card"][0](goal, world)
    assert [item for item in every.check(goal, world) if item["severity"] == "error"] == []


def test_the_base_is_what_runs_and_the_cluster_file_at_equal_versions():
    world = observed()
    rewrite(world, conf() + "# local\n", which=["local"])
    assert Cluster(layout(), world).base.text == conf()
    rewrite(world, conf(version=6), "pve2", ["local"])
    context = Cluster(layout(), world)
    assert (context.base.version, context.base.where()) == (5, "cluster file of pve1, pve2")
    assert context.highest == 6
    for row in world["nodes"].values():
        row["runtime"] = None
    assert Cluster(layout(), world).base.where() == "local file of pve2"


def test_a_skipped_node_that_answers_counts_for_the_version():
    world = observed(3)
    rewrite(world, conf(nodes=3, version=9), "pve3", ["local"])
    assert Cluster(layout("nominal", 3), world, skip=["pve3"]).highest == 9
