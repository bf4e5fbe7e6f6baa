"""The timers have one home: rules and plan ask the same of one cluster."""

import pytest
from _rules_world import VRACK
from pve_corosync import conf
from pve_corosync.cluster import cluster, timers

ADDRESSES = VRACK | {"pve4": "10.66.0.4", "pve5": "10.66.0.5"}


def stopped(totem):
    """Five nodes whose corosync does not run, and their layout."""
    rows = {name: {"nodeid": number} for number, name in enumerate(ADDRESSES, 1)}
    text = conf.render("prod", rows, {0: {"addresses": ADDRESSES, "options": {}}}, 5, totem).decode()
    layout = {
        "name": "nominal",
        "cluster_name": "prod",
        "nodes": {name: row | {"minion": name} for name, row in rows.items()},
        "links": {0: {"network": "vrack", "addresses": ADDRESSES, "options": {}}},
    }
    facts = {"local": {"version": 5, "text": text}, "runtime": None}
    return layout, {"nodes": {name: dict(facts) for name in ADDRESSES}, "silent": []}


@pytest.mark.parametrize(
    "totem, wanted",
    [
        ({}, (4950, 5940)),
        ({"token": 10000}, (11950, 14340)),
        ({"token_coefficient": 125}, (3375, 4050)),
        ({"token": 10000, "token_coefficient": 0, "consensus": 20000}, (10000, 20000)),
    ],
)
def test_five_stopped_nodes_have_one_token(totem, wanted):
    layout, observed = stopped(totem)
    seen = cluster.Cluster(layout, observed)
    assert (seen.token(), seen.consensus()) == wanted


def test_what_runs_counts_more_than_the_file():
    assert timers.running([{"token": 3000}, None, {"token": 10000}], "token") == 10000
    assert timers.running([], "token") == 0
    assert timers.token({"token": "0"}, 2) == 3000
