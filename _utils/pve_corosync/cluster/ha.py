"""HA and its watchdog: what the facts of all nodes say, and what must happen before a plan that may lose
quorum.

Facts: a node with an open watchdog resets itself about 60 s after its last renewal without quorum
(watchdog-mux.c, LRM.pm; renewals are up to 10 s apart); ``/run/watchdog-mux.active`` exists while any client
holds it open; ``crm-command disarm-ha`` exists from pve-ha-manager 5.1.3 on and needs quorum; without it all
LRMs are stopped first, then the CRMs (the other order ends in a reset); an LRM with running services does not
let go without quorum.
"""

from __future__ import annotations

import json
import re

#: seconds without quorum after which an armed node may reset itself.
FENCE_AFTER = 60
#: what is left of it in the worst case: a renewal may be 10 s old, and 5 s are kept in reserve.
SAFE_LOSS = 45
#: seconds after which a status in /etc/pve counts as old (Status.pm).
STALE_AFTER = 30
DISARM_SINCE = (5, 1, 3)

#: the two resource types that PVE has (PVE/HA/Resources/PVE{VM,CT}.pm).
_SECTION = re.compile(r"^(vm|ct):\s*(\S+)\s*$")


def disarm_supported(version: str, usage: str = "") -> bool:
    """Tell whether ``ha-manager crm-command disarm-ha`` exists.

    :param version: version of the package pve-ha-manager as dpkg-query prints it, ``""`` if unknown.
    :param usage: output of ``ha-manager help``, used where the version is unknown.
    """
    numbers = re.match(r"(?:\d+:)?(\d+)\.(\d+)(?:\.(\d+))?", version.strip())
    if numbers:
        return tuple(int(part or 0) for part in numbers.groups()) >= DISARM_SINCE
    return re.search(r"\bdisarm-ha\b", usage) is not None


def resources(text: str) -> dict[str, str]:
    """Return the HA resources that are managed: ``{"vm:100": "started"}``, without those in state
    ``ignored``.

    :param text: ``/etc/pve/ha/resources.cfg``, ``""`` if there is none.
    """
    found, current = {}, None
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section and not line[0].isspace():
            current = f"{section[1]}:{section[2]}"
            found[current] = "started"  # the default of PVE
        elif current and line.split()[:1] == ["state"] and len(line.split()) > 1:
            found[current] = line.split()[1]
    return {name: state for name, state in found.items() if state != "ignored"}


def lrm_active(text: str | None, now: float) -> bool:
    """Tell whether an LRM says of itself that it is active, which is when it holds a watchdog.

    :param text: its ``/etc/pve/nodes/NODE/lrm_status``, JSON with ``state`` and ``timestamp``; None without.
    :param now: the time; a status that is older than 30 s tells nothing (Status.pm).
    """
    try:
        told = json.loads(text or "{}")
        fresh = abs(now - float(told.get("timestamp") or 0)) <= STALE_AFTER
        return told.get("state") in ("active", "lost_agent_lock") and fresh
    except (ValueError, TypeError, AttributeError):
        return False


def holders(status: dict, node: str) -> list[str]:
    """Return what ``ha-manager status`` says of a node's watchdog being open, as texts.

    :param status: what ``tools.ha_status`` returned: before 5.1.3 it names no watchdog, and the state
        of an LRM or of the master decides. :param node: the node.
    """
    found, lrm, master = [], status["lrms"].get(node), status["master"]
    if lrm and (lrm["watchdog"] or lrm["status"]) == "active":
        found.append(f"LRM of {node} active")
    if master and (master["node"], master["status"]) == (node, "active"):
        if status["fencing"] in (None, "armed", "disarming"):
            found.append(f"CRM of {node} is the active master")
    return found


def describe(facts: dict) -> str:
    """Return one line about HA on one node.

    :param facts: ``{"configured", "armed", "lrm", "crm", "watchdog", …}`` of ``ha_manager.facts``.
    """
    if facts["armed"]:
        told = "; ".join(facts.get("witnesses") or ["the watchdog is open"])
        return f"armed: {told} (LRM {facts['lrm']}, CRM {facts['crm']})"
    if facts["configured"]:
        return (
            f"standby: resources are configured, the watchdog is closed (LRM {facts['lrm']}, CRM"
            f" {facts['crm']})"
        )
    if facts["configured"] is None:
        return "unknown: /etc/pve/ha/resources.cfg could not be read; the watchdog is closed"
    return "unused: no resource is configured, the watchdog is closed"


def guard(expected_loss_s: float, ha: dict, quorate: bool, seen=(), cut=()) -> dict:
    """Decide what must happen to HA around a plan.

    :param expected_loss_s: seconds without quorum that the plan expects; 0 for a live plan.
    :param ha: ``{node: facts of ha_manager.facts, or None for a node that gave none}``.
    :param quorate: whether all nodes are quorate now.
    :param seen: nodes whose watchdog was seen open otherwise, also without facts of ``ha_manager.facts``.
    :param cut: the nodes without quorum, where others have it.
    :returns: ``{"action": "none"|"disarm"|"stop"|"refuse", "text", "sequence"}``. ``sequence`` is a list of
        ``{"when": "before"|"after", "function", "nodes": [names], "kwargs": {}, "text"}``: each entry runs on
        its nodes at once and must be done on all of them before the next; those of ``after`` run when the
        work is over, also when it failed, and only once all nodes are members again.
    """
    armed = sorted({node for node, facts in ha.items() if facts and facts["armed"]}.union(seen))
    unknown = sorted(node for node, facts in ha.items() if facts is None)
    used = sorted(node for node, facts in ha.items() if facts and facts["configured"] is not False)
    if expected_loss_s <= 0:
        return _answer("none", _live_text(armed, quorate))
    if not armed and not used and len(unknown) < len(ha):  # what is configured is the same on all nodes
        return _answer(
            "none",
            "HA is not in use: no watchdog is open and no resource is configured, so"
            f" {expected_loss_s:g} s without quorum fence nobody",
        )
    if not quorate:
        return _without_quorum(expected_loss_s, ha, armed, unknown, cut)
    if not armed and not unknown:
        return _answer(
            "none",
            "HA resources are configured, but no watchdog is open on any node:"
            f" {expected_loss_s:g} s without quorum fence nobody",
        )
    risk = (
        f"the plan may be without quorum for {expected_loss_s:g} s, and an armed node resets itself after"
        f" {FENCE_AFTER} s ({SAFE_LOSS} s are safe); armed: {', '.join(armed) or 'unknown'}"
    )
    known = {node: facts for node, facts in ha.items() if facts}
    if known and all(facts["disarm_supported"] for facts in known.values()):
        return _answer("disarm", f"{risk}; HA is disarmed first and armed again at the end", _disarm(known))
    if unknown:
        return _answer(
            "refuse",
            f"{risk}; {', '.join(unknown)} did not tell its HA state, and its LRM cannot be"
            " stopped: use the live strategy, or bring the node back first",
        )
    return _answer(
        "stop",
        f"{risk}; this version cannot disarm, so all LRMs are stopped, then the CRMs, and started"
        " again at the end",
        _stop(known),
    )


def _answer(action, text, sequence=()):
    return {"action": action, "text": text, "sequence": list(sequence)}


def _live_text(armed, quorate):
    if not armed:
        return "the plan expects no loss of quorum: HA needs nothing"
    if quorate:
        return (
            f"the plan expects no loss of quorum: HA stays armed ({', '.join(armed)}) and needs nothing; a"
            f" loss would have to last {SAFE_LOSS} s to fence a node"
        )
    return (
        f"quorum is lost already with the watchdog open on {', '.join(armed)}: nothing can be disarmed"
        " without quorum, and the plan brings it back at once, so it is carried out without delay"
        f" ({FENCE_AFTER} s in all)"
    )


def _without_quorum(expected_loss_s, ha, armed, unknown, cut):
    lost = f"{', '.join(cut)} has no quorum" if cut else "there is no quorum"
    if armed:
        # A part with quorum could disarm for itself, but the cluster is disarmed only once every LRM has let
        # go, and the one that is cut off does not learn of it (LRM.pm, Status.pm).
        return _answer(
            "refuse",
            f"{lost}, and the watchdog is open on {', '.join(armed)}: HA cannot be released while a node is"
            f" without quorum, and {expected_loss_s:g} s more may reset a node. Use the live strategy now",
        )
    known = {node: facts for node, facts in ha.items() if facts}
    if not known:
        return _answer(
            "refuse",
            f"{lost}, and no node told its HA state: its LRM and CRM cannot be stopped first. Sync the"
            " modules (saltutil.sync_all), or use the live strategy",
        )
    text = (
        f"{lost}: LRM and CRM are stopped first, and started when all nodes are in one membership,"
        " because a part of the nodes that gets quorum first would fence the others"
    )
    if unknown:
        text += f"; {', '.join(unknown)} did not answer: keep it off, or it may be fenced"
    return _answer("stop", text, _stop(known, quorate=False))


def _disarm(known):
    nodes = sorted(known)
    crms = [node for node in nodes if known[node]["crm"] == "active"] or nodes
    return [
        _entry(
            "before", "disarm", crms[:1], "disarm HA for the whole cluster, services frozen", mode="freeze"
        ),
        _entry("before", "wait_released", nodes, "wait until the watchdog is closed"),
        _entry("after", "arm", crms[:1], "arm HA again for the whole cluster"),
    ]


def _stop(known, quorate=True):
    """
    LRMs before CRMs; back in the reverse order, and LRM first where quorum was lost, as PVE documents it.
    """
    lrms = sorted(node for node, facts in known.items() if facts["lrm"] == "active")
    crms = sorted(node for node, facts in known.items() if facts["crm"] == "active")
    sequence = [
        _entry("before", "stop_lrm", lrms, "stop the LRM and wait until it ended"),
        _entry("before", "stop_crm", crms, "stop the CRM and wait until the watchdog is closed"),
    ]
    back = [
        _entry("after", "start_crm", crms, "start the CRM"),
        _entry("after", "start_lrm", lrms, "start the LRM"),
    ]
    sequence += back if quorate else back[::-1]
    return [entry for entry in sequence if entry["nodes"]]


def _entry(when, function, nodes, text, **kwargs):
    return {
        "when": when,
        "function": f"ha_manager.{function}",
        "nodes": nodes,
        "kwargs": kwargs,
        "text": text,
    }
