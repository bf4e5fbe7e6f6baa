"""The test of a link's port inside a run: before anything is staged, and after a new link did not connect.

While all nodes see each other there is time for it: a filtered port is found before anything is changed. In a
cluster that fell apart no time is lost before quorum; there a link that does not connect is explained
afterwards.
"""

from __future__ import annotations

import re

from pve_corosync.findings import errors, finding
from pve_corosync.judge import phases
from pve_corosync.run import probe, probe_links

#: seconds in which Corosync notices that a node is gone whose link is down (token and consensus).
NOTICE = 10.0
_LINK = re.compile(r"\blink (\d+) to \S+ not connected")


def asked(links: dict) -> dict:
    """Return the argument ``links`` of ``pve_probe.links``.

    :param links: what ``run.probe_links.fresh`` returned.
    """
    return {key: {"port": link["port"], "addresses": link["addresses"]} for key, link in links.items()}


def results(links: dict, nodes: list[str], good: dict, bad: dict) -> dict:
    """Return ``{link: {node: answer of pve_probe.links for it}}``.

    :param good: ``{node: what pve_probe.links returned}``. :param bad: ``{node: error}``.
    """
    return {
        key: {name: {"error": bad[name]} if name in bad else good[name]["links"].get(key) for name in nodes}
        for key in links
    }


def measure(request, ports, settings, links: dict, jid: str) -> tuple[dict, dict]:
    """Have all nodes test links at once, and return ``results`` and ``heard`` of ``run.probe_links.judge``.

    :param request: a ``run.request.Request``; :param ports: see there. :param settings: the master's.
    :param links: what ``run.probe_links.fresh`` returned. :param jid: the name of the run.
    """
    heard: dict[str, float] = {}
    answers = ports.ask(
        request.nodes,
        "pve_probe.links",
        {"txn": jid, "links": asked(links)},
        probe.WINDOW + settings["gather_timeout"],
        heard=lambda name, _event: heard.setdefault(name, ports.passed()),
    )
    good, bad = phases.values(request.minions, request.nodes, answers)
    return results(links, request.nodes, good, bad), heard


def before(request, ports, settings, made: dict, observed: dict, jid: str) -> tuple[list[dict], dict | None]:
    """Test the links that a plan adds, if all nodes see each other.

    Returns the findings, and the facts gathered afterwards if something did not arrive: a network that has
    just died looks like a filter, until Corosync notices.

    :param made: the plan. The other parameters as for :func:`measure`.
    """
    if made["path"] != "planned":
        return [], None
    links = probe_links.fresh(request.layout, observed, made["steps"], request.skip)
    if not links:
        return [], None
    ports.say(f"testing the ports of {len(links)} new links: {', '.join(links)}")
    told, later = measure(request, ports, settings, links, jid), None
    verdict = probe_links.judge(links, observed, *told)
    if errors(verdict["findings"], request.force):
        later = _after_silence(request, ports)
        verdict = probe_links.judge(links, later, *told)
    ports.note("probed", summary=verdict["summary"], ways=verdict["ways"])
    ports.say(verdict["summary"])
    for item in verdict["findings"]:
        if item["severity"] == "error" and not errors([item], request.force):
            item["data"]["forced"] = True
    return [
        *verdict["findings"],
        finding("link-probed", verdict["summary"], data={"links": list(links)}),
    ], later


def _after_silence(request, ports):
    """
    Return the facts after packets did not arrive; while a running link is down, wait for what becomes of the
    membership.
    """
    end = ports.passed() + NOTICE
    while True:
        observed = ports.gather()[0]
        connected = [
            link.get("connected")
            for facts in observed["nodes"].values()
            for rows in (facts.get("links") or {}).values()
            for link in rows.values()
        ]
        if all(connected) or request.plan(observed, [])[0]["path"] == "degraded" or ports.passed() >= end:
            return observed
        ports.sleep(0.5)


def after(request, ports, settings, failed: list[dict], observed: dict, jid: str) -> list[dict]:
    """Explain a link that did not connect in a step, with a test of its port where that is possible.

    :param failed: the findings on the step. :param observed: facts gathered after it. The other parameters as
        for :func:`measure`.
    """
    texts = [text for item in failed for text in item["data"].get("missing") or ()]
    numbers = {int(number) for text in texts for number in _LINK.findall(text)}
    if not numbers:
        return []
    links = probe_links.fresh(request.layout, observed, (), request.skip)
    links = {key: link for key, link in links.items() if link["link"] in numbers}
    found = []
    if links:
        ports.say(f"testing the ports of {', '.join(links)}")
        told = measure(request, ports, settings, links, jid)
        found += probe_links.judge(links, observed, *told)["findings"]
    tested = {link["link"] for link in links.values()}
    for key, link in probe_links.of_layout(request.layout, request.skip).items():
        if link["link"] in numbers - tested:
            found += _suspects(key, link, observed)
    return found


def _suspects(key, link, observed):
    addresses, port = link["addresses"], link["port"]
    for one in sorted(addresses):
        rows = (observed["nodes"].get(one) or {}).get("links") or {}
        for two in sorted(addresses):
            row = {int(number): state for number, state in (rows.get(two) or {}).items()}.get(link["link"])
            if one == two or not row or row.get("connected"):
                continue
            yield finding(
                "port-suspect",
                f"link {key} does not connect {one} with {two}: UDP {port} from {addresses[two]} to"
                f" {addresses[one]} is filtered, or the network between them is down",
                data={"link": link["link"], "port": port, "nodes": [two, one]},
                remedy=probe.rule_to_add(one, addresses[two], port),
            )
