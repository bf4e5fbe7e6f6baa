"""The search over link maps: the ways that the design names, and small cases against a plain search."""

import itertools

import pytest
from pve_corosync.plan import search

NETS = "vpw"


def sig(net, nodes="ab", port="", transport="udp"):
    return (tuple((node, f"{net}.{node}") for node in nodes), port, transport)


def links(text, nodes="ab"):
    """``"0v 1p"`` as a link map."""
    return {int(word[0]): sig(word[1], nodes) for word in text.split()}


def show(path):
    return (
        None
        if path is None
        else [" ".join(f"{n}{s[0][0][1][0]}" for n, s in sorted(state.items())) for state in path]
    )


def find(current, goal, dead="", nodes="ab", heal=None):
    """Search with every node on `current` and the networks in `dead` carrying nothing."""
    start, end = links(current, nodes), links(goal, nodes)
    pairs = list(itertools.combinations(nodes, 2))
    sets = {s[0] for s in [*start.values(), *end.values()]} - {sig(net, nodes)[0] for net in dead}
    carries = {pair: sets for pair in pairs}
    connected = {pair: {n for n, s in start.items() if s[0] in sets} for pair in pairs}
    if heal is None:
        heal = not all(connected.values())
    return search.search({node: start for node in nodes}, end, connected, carries, heal)


@pytest.mark.parametrize("dead", ["", "v"])
@pytest.mark.parametrize("nodes", ["ab", "abc"])
def test_the_way_of_the_design(dead, nodes):
    assert show(find("0v", "0p 1v", dead, nodes)) == ["0v 2p", "1v 2p", "0p 1v 2p", "0p 1v"]


@pytest.mark.parametrize(
    "current, goal, dead, way",
    [
        ("0v", "0v", "", ["0v"]),  # one step levels the copies
        ("0v", "0v 1p", "", ["0v 1p"]),
        ("0v 1p", "0v", "", ["0v"]),
        ("0v 1p", "0v", "p", ["0v"]),
        ("0p 1v", "0v", "", ["1v", "0v 1v", "0v"]),
        ("0p 1v", "0v", "p", ["1v", "0v 1v", "0v"]),
        ("0v 1p", "0p 1v", "", ["0v 2p", "1v 2p", "0p 1v 2p", "0p 1v"]),
        ("0v 2p", "0p 1v", "", ["1v 2p", "0p 1v 2p", "0p 1v"]),
        ("1v 2p", "0p 1v", "v", ["0p 1v 2p", "0p 1v"]),
    ],
)
def test_ways(current, goal, dead, way):
    assert show(find(current, goal, dead)) == way


def test_a_goal_over_dead_networks_has_no_way():
    assert find("0p 1v", "0v", "v") is None


def test_no_free_number_has_no_way():
    networks = "abcdefgh"
    full = " ".join(f"{n}{net}" for n, net in enumerate(networks))
    turned = " ".join(f"{n}{net}" for n, net in enumerate("bcdefgha"))
    assert find(full, turned) is None


def test_seven_links_turn_within_the_budget():
    full = " ".join(f"{n}{net}" for n, net in enumerate("abcdefg"))
    turned = " ".join(f"{n}{net}" for n, net in enumerate("bcdefga"))
    way = find(full, turned)
    assert show(way)[-1] == turned
    assert broken(links(full), way, links(turned), {sig(n)[0] for n in "abcdefg"}) == []


def test_a_port_in_use_waits_for_its_owner():
    start = {0: sig("v")}
    goal = {0: sig("p"), 1: sig("v", port="5405")}  # 5405 of v is link 0's until that is gone
    sets = {sig("v")[0], sig("p")[0]}
    way = search.search({n: start for n in "ab"}, goal, {("a", "b"): {0}}, {("a", "b"): sets})
    assert way[-1] == goal
    for state in way:
        ports = [(s[0], search.port_of(n, s)) for n, s in state.items()]
        assert len(set(ports)) == len(ports)
    assert broken(start, way, goal, sets) == []


def test_another_port_is_another_link():
    start, goal = {0: sig("v")}, {0: sig("v", port="5500")}
    sets = {sig("v")[0]}
    way = search.search({n: start for n in "ab"}, goal, {("a", "b"): {0}}, {("a", "b"): sets})
    assert [sorted(state) for state in way] == [[0, 1], [1], [0, 1], [0]]


def test_nodes_with_different_links_meet_again():
    # a has taken the second step of the way, b has not
    current = {"a": links("1v 2p"), "b": links("0v 2p")}
    carries = {("a", "b"): {sig("v")[0], sig("p")[0]}}
    way = search.search(current, links("0p 1v"), {("a", "b"): {2}}, carries)
    assert show(way)[-1] == "0p 1v"
    assert all(2 in state for state in way[:-1])


def test_only_one_network_reaches_the_third_node():
    nodes = "abc"
    start, goal = links("0v", nodes), links("0p 1v", nodes)
    v, p = sig("v", nodes)[0], sig("p", nodes)[0]
    carries = {("a", "b"): {v}, ("a", "c"): {p}, ("b", "c"): {v, p}}
    connected = {("a", "b"): {0}, ("a", "c"): set(), ("b", "c"): {0}}
    way = search.search({n: start for n in nodes}, goal, connected, carries, heal=True)
    assert way[0].items() >= start.items()
    for old, new in zip([start, *way], way):
        kept = {n: s for n, s in old.items() if new.get(n) == s}
        for pair, sets in carries.items():
            if any(s[0] in sets for s in old.values()) and (old is not start or connected[pair]):
                assert any(s[0] in sets for s in kept.values())
    assert way[-1] == goal


# -- every small case against a search that knows nothing of bits, slots and costs
# ---------------------------------


def broken(start, way, goal, alive):
    """What a way breaks, by the rules as they are written."""
    return [(old, new) for old, new in zip([start, *way], way) if not allowed(old, new, goal, alive)]


def allowed(old, new, goal, alive):
    """One reload of nodes that all have `old`, seen as dicts."""
    if not new or any(n in new and new[n] != s for n, s in old.items()):
        return False
    kept = {n: s for n, s in old.items() if n in new}
    gone = [n for n in old if n not in new]
    if not any(s[0] in alive for s in old.values()):
        return True
    if not any(s[0] in alive for s in kept.values()):
        return False
    wanted = {s[0] for s in goal.values()} & alive
    if gone and not (wanted <= {s[0] for s in old.values()} and wanted <= {s[0] for s in new.values()}):
        return False
    return not (
        any(n not in goal for n in gone) and any(s[0] in alive and old.get(n) != s for n, s in goal.items())
    )


def shortest(start, goal, alive, numbers, nets):
    """Length of the shortest way through all link maps over these numbers and networks."""
    every = [
        {n: sig(net) for n, net in zip(numbers, choice) if net}
        for choice in itertools.product(["", *nets], repeat=len(numbers))
    ]
    level, seen, length = [start], [start], 0
    while level:
        length += 1
        following = [m for m in every if m not in seen and any(allowed(old, m, goal, alive) for old in level)]
        if goal in following or (length == 1 and start == goal):
            return length
        seen += following
        level = following
    return None


def maps(nets, numbers, ring0):
    """All link maps without a network twice."""
    result = []
    for choice in itertools.product(["", *nets], repeat=len(numbers)):
        used = [net for net in choice if net]
        if used and len(set(used)) == len(used) and (choice[0] or not ring0):
            result.append(" ".join(f"{n}{net}" for n, net in zip(numbers, choice) if net))
    return result


@pytest.mark.parametrize("dead", ["", "v", "p"])
def test_no_shorter_way_exists(dead):
    alive = {sig(net)[0] for net in "vp" if net not in dead}
    for current in maps("vp", (0, 1), ring0=False) + ["0v 1v", "0p 1v 2p", "0v 2p"]:
        for goal in maps("vp", (0, 1), ring0=True):
            start, end = links(current), links(goal)
            if not any(s[0] in alive for s in start.values()):
                continue  # cut off: the first step follows other rules
            way = find(current, goal, dead)
            found = shortest(start, end, alive, (0, 1, 2, 3), "vp")
            if way is None:
                assert found is None, (current, goal)
                continue
            assert broken(start, way, end, alive) == [], (current, goal)
            assert len(way) == found, (current, goal, show(way))


@pytest.mark.parametrize("dead", ["", "v", "p", "w"])
@pytest.mark.parametrize("nodes", ["ab", "abc"])
def test_every_pair_of_layouts_over_three_networks(dead, nodes):
    alive = {sig(net, nodes)[0] for net in NETS if net not in dead}
    for current in maps(NETS, (0, 1, 2), ring0=True):
        for goal in maps(NETS, (0, 1, 2), ring0=True):
            start, end = links(current, nodes), links(goal, nodes)
            way = find(current, goal, dead, nodes)
            reachable = any(s[0] in alive for s in end.values())
            talking = any(s[0] in alive for s in start.values())
            assert (way is not None) == (reachable or not talking), (current, goal)
            if way is None:
                continue
            assert way[-1] == end
            assert broken(start, way, end, alive) == [], (current, goal)
            if start.get(0) == end.get(0):
                assert all(0 in state for state in way), (current, goal)
            if not talking and reachable:
                assert way[0].items() >= start.items() and any(s[0] in alive for s in way[0].values())


def test_a_number_about_which_nodes_disagree_is_cleared_though_the_goal_is_not_there_yet():
    current = {"a": links("0p 3p", "abc"), "b": links("0v 3p", "abc"), "c": links("3p", "abc")}
    sets = {sig("v", "abc")[0], sig("p", "abc")[0]}
    pairs = list(itertools.combinations("abc", 2))
    way = search.search(current, links("0v", "abc"), {p: {3} for p in pairs}, {p: sets for p in pairs})
    assert way and 0 not in way[0] and 3 in way[0] and way[-1] == links("0v", "abc")
