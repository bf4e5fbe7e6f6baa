"""Which links are tested before a layout is used, and what the test says."""

import _rules_world as world
from pve_corosync import show
from pve_corosync.plan import planner
from pve_corosync.run import probe_links

NODES = ("pve1", "pve2")


def observed(vrack_up=True, nodes=2):
    found = {name: world.facts(name, nodes) for name in sorted(world.VRACK)[:nodes]}
    for facts in found.values():
        for links in facts["links"].values():
            links[0]["connected"] = vrack_up
    return {"nodes": found, "silent": []}


def fresh(layout="degraded", nodes=2, **kwargs):
    return probe_links.fresh(world.layout(layout, nodes), observed(nodes=nodes), **kwargs)


def told(links, shut=(), silent=(), nodes=NODES):
    """Answers of all nodes; ``shut``: (link, from, to) where nothing arrives; ``silent``: (link, node)."""
    results = {}
    for key in links:
        for node in nodes:
            peers = {}
            for peer in nodes:
                if peer != node:
                    out, back = (key, node, peer) not in shut, (key, peer, node) not in shut
                    both = out and back
                    peers[peer] = {
                        "in": back,
                        "out": both,
                        "latency_us": 300 if both else None,
                        "mtu": 1500 if both else None,
                        "answers": 3 if both else 0,
                    }
            answer = {"busy": "", "peers": peers}
            results.setdefault(key, {})[node] = {"error": "no address"} if (key, node) in silent else answer
    return results


def test_links_that_every_daemon_has_are_not_tested():
    assert fresh("nominal") == {}
    links = fresh()
    assert {key: link["port"] for key, link in links.items()} == {"0 public": 5405, "1 vrack": 5406}
    assert links["0 public"]["addresses"] == {name: world.PUBLIC[name] for name in NODES}


def test_a_link_that_one_daemon_lacks_is_tested():
    seen = observed()
    seen["nodes"]["pve2"]["runtime"]["nodes"]["pve2"]["addresses"] = {}
    assert list(probe_links.fresh(world.layout(), seen)) == ["0 vrack"]
    seen["nodes"]["pve2"]["runtime"] = None
    assert list(probe_links.fresh(world.layout(), seen)) == ["0 vrack"]
    assert probe_links.fresh(world.layout(), seen, skip=["pve2"]) == {}


def test_links_that_steps_pass_through_are_tested():
    seen = observed()
    steps = planner.plan(world.layout("degraded"), seen)["steps"]
    assert steps
    links = probe_links.fresh(world.layout("degraded"), seen, steps)
    assert {"0 public", "1 vrack"} < set(links)
    passing = set(links) - {"0 public", "1 vrack"}
    assert all(links[key]["port"] == 5405 + links[key]["link"] for key in passing)


def test_the_port_of_the_layout_is_used():
    layout = world.layout("degraded")
    layout["links"][1]["options"]["mcastport"] = "6000"
    links = probe_links.fresh(layout, observed())
    assert links["1 vrack"]["port"] == 6000 and links["0 public"]["port"] == 5405


def test_all_is_well():
    links = fresh()
    verdict = probe_links.judge(links, observed(), told(links))
    assert verdict["findings"] == [] and verdict["untested"] == []
    assert verdict["summary"].startswith(
        "link 0 public: open both ways, 0.3 ms, MTU 1500; link 1 vrack: open"
    )
    assert len(verdict["ways"]) == 4 and all(row["arrives"] for row in verdict["ways"])


def test_a_filtered_port_is_an_error():
    links = fresh()
    verdict = probe_links.judge(links, observed(), told(links, shut=[("0 public", "pve1", "pve2")]))
    (problem,) = verdict["findings"]
    assert (problem["code"], problem["severity"]) == ("port-filtered", "error")
    assert problem["data"] == {"link": 0, "port": 5405, "nodes": ["pve1", "pve2"]}
    assert "link 0 public: nothing arrives from pve1 to pve2" in verdict["summary"]


def test_a_network_that_is_down_anyway_is_borne_where_another_link_carries():
    links, both = fresh(), [("1 vrack", *NODES), ("1 vrack", *reversed(NODES))]
    verdict = probe_links.judge(links, observed(vrack_up=False), told(links, shut=both))
    assert [(f["code"], f["severity"]) for f in verdict["findings"]] == [("port-filtered", "warning")] * 2
    assert "vrack is down between them now" in verdict["findings"][0]["text"]
    # the same while the network is up: its port is filtered
    verdict = probe_links.judge(links, observed(), told(links, shut=both))
    assert {f["severity"] for f in verdict["findings"]} == {"error"}
    # and with no other way for the two nodes it is not borne
    shut = both + [("0 public", *NODES)]
    verdict = probe_links.judge(links, observed(vrack_up=False), told(links, shut=shut))
    assert [f["severity"] for f in verdict["findings"]] == ["error"] * 3


def test_what_could_not_be_tested_is_named():
    links = fresh()
    verdict = probe_links.judge(links, observed(), told(links, silent=[("1 vrack", "pve2")]))
    (problem,) = verdict["findings"]
    assert problem["code"] == "probe-silent" and "no address" in problem["text"]
    assert verdict["untested"] == ["1 vrack"] and "link 1 vrack: not tested" in verdict["summary"]
    verdict = probe_links.judge(links, observed(vrack_up=False), told(links, silent=[("1 vrack", "pve2")]))
    assert verdict["untested"] == []  # its card is gone: that is what the layout is for
    verdict = probe_links.judge(links, observed(), {})
    assert verdict["untested"] == ["0 public", "1 vrack"] and len(verdict["findings"]) == 4


def test_three_nodes_have_six_ways_a_link():
    names = sorted(world.VRACK)
    links = fresh(nodes=3)
    results = told(links, shut=[("0 public", "pve3", "pve1")], nodes=names)
    verdict = probe_links.judge(links, observed(nodes=3), results)
    assert len(verdict["ways"]) == 12
    assert [f["data"]["nodes"] for f in verdict["findings"]] == [["pve3", "pve1"]]
    lines = show.ways_table(verdict["ways"])
    assert lines[0].split() == ["link", "UDP", "from", "to", "arrives", "latency", "MTU"]
    (shut,) = [line for line in lines if "NO" in line.split()]
    assert shut.split()[:6] == ["0", "public", "5405", "pve3", "pve1", "NO"]


def silence(links, *seconds):
    """Answers of two nodes to which nothing came, each with how long it tested."""
    results = told(links, shut=[(key, one, two) for key in links for one in NODES for two in NODES])
    for rows in results.values():
        for node, length in zip(NODES, seconds):
            rows[node]["seconds"] = length
    return results


def test_nodes_that_did_not_test_at_the_same_time_are_untested_and_not_filtered():
    links = fresh()
    results = silence(links, 4.0, 4.0)
    # pve2 began when pve1 had just ended
    verdict = probe_links.judge(links, observed(), results, {"pve1": 4.1, "pve2": 8.0})
    assert [item["code"] for item in verdict["findings"]] == ["probe-silent"]
    assert "pve1 and pve2 did not test at the same time" in verdict["findings"][0]["text"]
    assert verdict["untested"] == list(links) and {way["arrives"] for way in verdict["ways"]} == {None}
    # a second apart: silence is a filter
    verdict = probe_links.judge(links, observed(), results, {"pve1": 4.1, "pve2": 5.1})
    assert {item["code"] for item in verdict["findings"]} == {"port-filtered"} and not verdict["untested"]


def test_what_arrives_on_one_link_shows_that_both_tested():
    links = fresh()
    results = silence(links, 4.0, 4.0)
    results["1 vrack"] = told(links)["1 vrack"]
    verdict = probe_links.judge(links, observed(), results, {"pve1": 4.1, "pve2": 9.0})
    assert {item["code"] for item in verdict["findings"]} == {"port-filtered"}
    assert {item["data"]["link"] for item in verdict["findings"]} == {0}


def test_a_dead_link_of_the_layout_is_tested_on_a_port_that_no_link_has():
    layout = world.layout("nominal")
    assert probe_links.dead(layout, observed()) == {}
    links = probe_links.dead(layout, observed(vrack_up=False))
    assert list(links) == ["0 vrack on UDP 5412"] and links["0 vrack on UDP 5412"]["port"] == 5412
    taken = [{"port": 5412}]
    assert list(probe_links.dead(layout, observed(vrack_up=False), others=taken)) == ["0 vrack on UDP 5411"]


def test_a_network_that_is_open_beside_a_dead_link_leaves_the_port():
    seen = observed(vrack_up=False)
    links = probe_links.dead(world.layout("nominal"), seen)
    (key,) = links
    verdict = probe_links.judge(links, seen, told(links))
    (item,) = probe_links.alive(links, verdict["ways"])
    assert item["code"] == "port-suspect" and "UDP 5405 is filtered" in item["text"]
    shut = {(key, "pve1", "pve2"), (key, "pve2", "pve1")}
    verdict = probe_links.judge(links, seen, told(links, shut))
    assert probe_links.alive(links, verdict["ways"]) == [] and verdict["findings"]
