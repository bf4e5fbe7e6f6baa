"""Which links are to be tested before a layout is used, and what the test of them says of the layout.

A link is tested if the layout or a step on the way to it has it, and not every running daemon has it already.
A link whose network is down now anyway does not speak against a layout that has another way for those nodes:
that is the case which layouts are there for.
"""

from __future__ import annotations

from pve_corosync import addresses as ip
from pve_corosync import link_options
from pve_corosync.findings import finding
from pve_corosync.run import probe


def fresh(layout: dict, observed: dict, steps=(), skip=()) -> dict[int, dict[str, dict]]:
    """Return the links to test: ``{"2 public": {"link": 2, "network", "port", "addresses": {node: IP}}}``.

    The same number may stand for two networks, one after the other.

    :param layout: what ``pillar.layouts.resolve`` returns. :param observed: gathered facts.
    :param steps: steps of a plan to the layout; their passing links count too.
    :param skip: nodes that take no part.
    """
    nodes = [name for name in layout["nodes"] if name not in skip]
    found = {}
    for key, link in of_layout(layout, skip, steps).items():
        addresses, number = link["addresses"], link["link"]
        if not all(_has(observed, name, number, addresses[name]) for name in nodes):
            found[key] = link
    return found


def dead(layout: dict, observed: dict, skip=(), others=()) -> dict[str, dict]:
    """Return the links of a layout that run and are dead, to be tested beside corosync; as :func:`fresh`.

    Corosync has their port, so the test takes one that no link has, of those that firewalls let through.

    :param layout, observed, skip: as of :func:`fresh`. :param others: links that are tested besides.
    """
    used = {link["port"] for link in others}
    used |= {link_options.port(int(n), link.get("options") or {}) for n, link in layout["links"].items()}
    for facts in observed["nodes"].values():
        blocks = (facts.get("runtime") or {}).get("interfaces") or {}
        used |= {link_options.port(int(number), block or {}) for number, block in blocks.items()}
        rows = (facts.get("links") or {}).values()
        used |= {link_options.DEFAULT_PORT + int(number) for row in rows for number in row}
    highest = link_options.DEFAULT_PORT + link_options.MAX_LINK
    free = [port for port in range(highest, link_options.DEFAULT_PORT - 1, -1) if port not in used]
    found = {}
    for key, link in of_layout(layout, skip).items():
        nodes = sorted(link["addresses"])
        runs = all(_has(observed, name, link["link"], link["addresses"][name]) for name in nodes)
        down = any(_down(observed, link, one, two) for one in nodes for two in nodes if one != two)
        if runs and down and free:
            port = free.pop(0)
            found[f"{key} on UDP {port}"] = link | {"port": port, "own": link["port"]}
    return found


def alive(links: dict, ways: list[dict]) -> list[dict]:
    """Return a finding for each dead link whose network is open on another port.

    :param links: what :func:`dead` returned, perhaps among others. :param ways: those of :func:`judge`.
    """
    return [
        finding(
            "port-suspect",
            f"link {link['link']} ({link['network']}) is dead, and packets arrive both ways on UDP "
            f"{link['port']}: UDP {link['own']} is filtered, or corosync has not noticed yet",
            data={"link": link["link"], "port": link["own"], "nodes": sorted(link["addresses"])},
            remedy=f"on each node: nft list ruleset | grep {link['own']}; salt-run corosync.status",
        )
        for key, link in links.items()
        if "own" in link and all(row["arrives"] for row in ways if row["link"] == key)
    ]


def of_layout(layout: dict, skip=(), steps=()) -> dict[str, dict]:
    """Return the links of a layout and of the steps to it; shape and parameters as of :func:`fresh`."""
    nodes = [name for name in layout["nodes"] if name not in skip]
    wanted = {(int(number), link["network"]) for number, link in layout["links"].items()}
    for step in steps:
        wanted |= {(int(number), network) for number, network in (step.get("links") or {}).items()}
    found = {}
    for number, network in sorted(wanted):
        addresses = layout["networks"].get(network) or {}
        if not all(
            name in addresses for name in nodes
        ):  # a link that is in no layout: its end is all that is left
            continue
        addresses = {name: ip.canonical(addresses[name]) for name in nodes}
        own = layout["links"].get(number) or {}
        options = own.get("options", {}) if own.get("network") == network else {}
        found[f"{number} {network}"] = {
            "link": number,
            "network": network,
            "addresses": addresses,
            "port": link_options.port(number, options),
        }
    return found


def judge(links: dict, observed: dict, results: dict, heard: dict | None = None) -> dict:
    """Return ``{"findings", "ways", "untested": [link], "summary": text}`` of a test.

    ``ways`` has a row for each direction: ``{"link", "port", "from", "to", "arrives": bool or None,
    "latency_us", "mtu"}``. ``untested`` leaves out what could not be tested because its network is down now.

    :param links: what :func:`fresh` returned. :param observed: gathered facts.
    :param results: ``{link: {node: what pve_probe.links returned for it there, or None}}``.
    :param heard: ``{node: seconds}``, when its answer came in: how long it tested is in the answer, so this
        tells whether two nodes tested at the same time at all.
    """
    results, findings = _at_the_same_time(links, results, heard or {})
    ways = [row for key, link in links.items() for row in _ways(key, link, results.get(key) or {})]
    untested = []
    for key, link in links.items():
        for problem in probe.problems(link["link"], link["port"], link["addresses"], results.get(key) or {}):
            findings.append(_borne(key, link, ways, observed, problem))
        open_questions = [row for row in ways if row["link"] == key and row["arrives"] is None]
        if any(not _down(observed, link, row["from"], row["to"]) for row in open_questions):
            untested.append(key)
    return {
        "findings": findings,
        "ways": ways,
        "untested": untested,
        "summary": "; ".join(_summary(key, ways) for key in links),
    }


def _at_the_same_time(links, results, heard):
    """
    Return the results without those of nodes that tested one after the other, and a finding on each pair of
    these. What arrived on any link shows that two nodes did test together.
    """
    spans: dict[str, tuple[float, float]] = {}
    together, pairs = set(), set()
    for rows in results.values():
        for node, row in rows.items():
            if row and node in heard and row.get("seconds"):
                spans[node] = (heard[node] - row["seconds"], heard[node])
            for peer, told in ((row or {}).get("peers") or {}).items():
                pairs.add(frozenset((node, peer)))
                if told["in"] or told["out"]:
                    together.add(frozenset((node, peer)))
    apart = {
        pair
        for pair in pairs - together
        if pair <= set(spans)
        and min(spans[node][1] for node in pair) - max(spans[node][0] for node in pair) < probe.OVERLAP
    }
    if not apart:
        return results, []
    kept = {
        key: {
            node: row
            and row
            | {
                "peers": {
                    peer: told
                    for peer, told in (row.get("peers") or {}).items()
                    if frozenset((node, peer)) not in apart
                }
            }
            for node, row in rows.items()
        }
        for key, rows in results.items()
    }
    findings = [
        finding(
            "probe-silent",
            f"{' and '.join(sorted(pair))} did not test at the same time, so nothing is known of the way"
            " between them",
            data={"nodes": sorted(pair)},
            remedy="one of their minions began late: the same command again",
        )
        for pair in sorted(apart, key=sorted)
    ]
    return kept, findings


def _borne(key, link, ways, observed, problem):
    """
    Return a problem, as a warning if the network was down before and the two nodes have another way.
    """
    if problem["code"] != "port-filtered":
        return problem
    one, two = problem["data"]["nodes"]
    if not (_down(observed, link, one, two) and _carried(key, ways, {one, two})):
        return problem
    text = f"{problem['text']}; {link['network']} is down between them now, another link carries"
    return problem | {"severity": "warning", "text": text}


def _carried(key, ways, pair):
    """
    Tell whether another tested link passes both ways between two nodes.
    """
    seen: dict[str, list] = {}
    for row in ways:
        if row["link"] != key and {row["from"], row["to"]} == pair:
            seen.setdefault(row["link"], []).append(row["arrives"])
    return any(all(arrives) for arrives in seen.values())


def _has(observed, node, number, address):
    runtime = (observed["nodes"].get(node) or {}).get("runtime") or {}
    own = ((runtime.get("nodes") or {}).get(node) or {}).get("addresses") or {}
    have = own.get(number, own.get(str(number)))
    return have is not None and ip.canonical(have) == address


def _down(observed, link, one, two):
    """
    Tell whether a running link over the same addresses is not connected between two nodes.
    """
    for node, peer in ((one, two), (two, one)):
        facts = observed["nodes"].get(node) or {}
        for number, state in ((facts.get("links") or {}).get(peer) or {}).items():
            same = all(_has(observed, name, int(number), link["addresses"][name]) for name in (one, two))
            if same and not state.get("connected"):
                return True
    return False


def _ways(key, link, results):
    for one in sorted(link["addresses"]):
        for two in sorted(link["addresses"]):
            if one == two:
                continue
            sent, got = (
                ((results.get(node) or {}).get("peers") or {}).get(peer)
                for node, peer in ((one, two), (two, one))
            )
            tested = sent is not None and got is not None
            yield {
                "link": key,
                "port": link["port"],
                "from": one,
                "to": two,
                "arrives": got["in"] if tested else None,
                "latency_us": sent["latency_us"] if tested else None,
                "mtu": sent["mtu"] if tested else None,
            }


def _summary(key, ways):
    ways = [row for row in ways if row["link"] == key]
    shut = [f"{row['from']} to {row['to']}" for row in ways if row["arrives"] is False]
    passed = [row for row in ways if row["arrives"]]
    if shut:
        return f"link {key}: nothing arrives from {', '.join(shut)}"
    if not passed:
        return f"link {key}: not tested"
    latency = max((row["latency_us"] for row in passed if row["latency_us"] is not None), default=None)
    mtu = min((row["mtu"] for row in passed if row["mtu"]), default=None)
    return (
        f"link {key}: open "
        + ("both ways" if len(passed) == len(ways) else "where it was tested")
        + (f", {latency / 1000:.1f} ms" if latency is not None else "")
        + (f", MTU {mtu}" if mtu else "")
    )
