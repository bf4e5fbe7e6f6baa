"""
Tell the master of every change of links, quorum, members and versions, within a second.

Each look costs the node less than a millisecond (``corosync_look.look``). An event goes out on each change,
again every ``again`` seconds while something is wrong, and every ``alive`` seconds in any case, so that a
master that was away hears of the cluster soon. An event is a hint to look, and no proof of anything: whoever
acts asks the nodes. ``docs/watch.md`` has the events.

.. code-block:: yaml

    beacons:
      corosync:
        - interval: 1
        - again: 10      # optional
        - alive: 60      # optional

The state ``corosync.watch`` brings it to the nodes. It uses ``__salt__`` only: a beacon cannot import what
was synced before the minion was restarted.

.. versionadded:: 0.2.0
"""

import json
import logging
import os
import time

log = logging.getLogger(__name__)

__virtualname__ = "corosync"

LOOK = "corosync_look.look"
AGAIN_S, ALIVE_S = 10, 60
#: what Salt itself takes from the configuration of any beacon.
SALTS = {"interval", "enabled", "disable_during_state_run", "run_once", "beacon_module", "_beacon_name"}
OWN = {"again": AGAIN_S, "alive": ALIVE_S}
#: a version of the local file that is not the daemon's is normal while a change is carried out.
VERSION_GRACE_S = 30

#: after a longer time without a look, the answers that came in it are not known.
GAP_S = 3
#: what a look tells for this file alone; an event has no use of it.
COUNTS = ("downs", "pongs", "dead_for")
#: since when links are dead or alive, for who asks this node (``corosync.facts``, ``corosync_look.look``).
NOTE = "/run/pve-corosync/watch.json"

_SEEN = {}


def __virtual__():
    return __virtualname__


def validate(config):
    """
    Tell whether the configuration can be used: ``(bool, text)``, every problem in the text.
    """
    if not isinstance(config, list):
        return False, "beacons: corosync: must be a list, for example: - interval: 1"
    problems, seen = [], {}
    for row in config:
        if not isinstance(row, dict):
            problems.append(f"{row!r} is no 'key: value'")
            continue
        seen.update(row)
    for key, value in seen.items():
        if key in OWN:
            number = not isinstance(value, bool) and isinstance(value, (int, float))
            if not number or not 1 <= value <= 86400:
                problems.append(f"{key}: {value!r} is no number of seconds from 1 to 86400")
        elif key not in SALTS:
            problems.append(f"{key}: no such key; allowed: interval, {', '.join(sorted(OWN))}")
    if problems:
        return False, "beacons: corosync: " + "; ".join(problems)
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Look once and return the events: none or one.
    """
    options = dict(OWN)
    for row in config:
        options.update({key: value for key, value in row.items() if key in OWN})
    found, now = __salt__[LOOK](counts=True), time.monotonic()
    if found["state"] == "busy":
        return []
    booted = time.clock_gettime(time.CLOCK_BOOTTIME)
    pongs = _heard(found, booted)
    found = {key: value for key, value in found.items() if key not in COUNTS}
    kind, changes = _news(found, now, options)
    dead, alive = _since(found, pongs, booted)
    if kind or _SEEN.get("noted") != (dead, alive):
        _keep_note(booted, dead, alive)
    if kind is None:
        return []
    return [{"tag": kind, "changes": changes, "wrong": _SEEN["wrong"], "look": found, "time": time.time()}]


def _news(found, now, options):
    """
    Return the kind of the event and what changed; None for no event. What was seen is kept for the next look.
    """
    before, said = _SEEN.get("look"), _SEEN.get("said", now)
    wrong = _wrong(found, now)
    had = _SEEN.get("wrong", [])
    _SEEN.update(look=found, wrong=wrong)
    if before is None:
        kind, changes = "begin", []
    else:
        changes = _changes(before, found)
        if changes or bool(wrong) != bool(had):
            kind = "change"
        elif wrong and now - said >= options["again"]:
            kind = "still"
        elif now - said >= options["alive"]:
            kind = "alive"
        else:
            kind = None
    if kind:
        _SEEN["said"] = now
    return kind, changes


def _heard(found, now):
    """
    Return ``{node: {link: the first look that saw its count of answered pings}}``, in seconds since the boot.

    The last answer came before that look, and the first ping without one was sent an interval after it at the
    latest.
    """
    looked, rows = _SEEN.get("looked", now), {}
    before = _SEEN.get("heard", {}) if now - looked <= GAP_S else {}  # this node may have stood still
    for node, links in (found.get("pongs") or {}).items():
        rows[node] = {}
        for link, count in links.items():
            known = before.get(node, {}).get(link)
            rows[node][link] = known if known and known[0] == count else (count, now)
    _SEEN.update(heard=rows, looked=now)
    return {node: {link: at for link, (_count, at) in links.items()} for node, links in rows.items()}


def _since(found, heard, now):
    """
    Return since when links are dead, and since when alive: each ``{node: {link: seconds since the boot}}``.
    """
    dead, alive = {}, {}
    before = _SEEN.get("since", ({}, {}))
    for node, links in (found.get("links") or {}).items():
        for link, up in links.items():
            kept = before[0 if up is False else 1].get(node, {}).get(link)
            if up:
                alive.setdefault(node, {})[link] = now if kept is None else kept
            else:
                last = heard.get(node, {}).get(link)
                dead.setdefault(node, {})[link] = _dead_since(found, link, kept, last, now)
    _SEEN["since"] = (dead, alive)
    return dead, alive


def _dead_since(found, link, kept, last, now):
    """
    Return since when a link is dead for sure: the latest that its first unanswered ping can have been sent.

    kept
        What was returned at the look before, None at the first.
    last
        The first look that saw its count of answered pings, None if that is not known.
    """
    if kept is not None and (last is None or last < now):
        return kept
    # knet waits for its timeout before it calls a link dead: it was so before this look
    by_knet = now - (found.get("silent") or {}).get(link, 0) if kept is None else now
    interval = (found.get("interval") or {}).get(link)
    return by_knet if last is None or interval is None else min(by_knet, last + interval)


def _keep_note(now, dead, alive):
    """
    Write since when links are dead or alive; without it the master only waits longer.
    """
    path = os.path.join(_root() or "/", NOTE.lstrip("/"))
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump({"at": now, "dead": dead, "alive": alive}, file)
        os.replace(f"{path}.new", path)
        _SEEN["noted"] = (dead, alive)
    except OSError as exc:
        log.warning("%s cannot be written: %s", path, exc.strerror)


def _root():
    return (__opts__.get("pve_corosync") or {}).get("root")


def _changes(before, found):
    """
    Return what is different between two looks, one text each.
    """
    if before["state"] != found["state"]:
        return [f"corosync is {found['state']}, was {before['state']}"]
    if found["state"] != "running":
        return []
    told = []
    if before["quorate"] != found["quorate"]:
        told.append("quorum is back" if found["quorate"] else "quorum is lost")
    told += [f"{name} joined" for name in found["members"] if name not in before["members"]]
    told += [f"{name} left" for name in before["members"] if name not in found["members"]]
    for key, text in (("version", "the running version"), ("local", "the local file's version")):
        if before[key] != found[key]:
            told.append(f"{text} is {found[key]}, was {before[key]}")
    was, now = _links(before), _links(found)
    for place in sorted(set(was) | set(now)):
        if was.get(place) != now.get(place):
            words = {True: "connected", False: "dead", None: "gone"}
            told.append(f"link {place[1]} to {place[0]} is {words[now.get(place)]}")
    return told


def _links(found):
    return {(node, link): up for node, links in found["links"].items() for link, up in links.items()}


def _wrong(found, now):
    """
    Return what is not as it should be, one text each.
    """
    if found["state"] != "running":
        return [f"corosync is {found['state']}"]
    told = [] if found["quorate"] else ["no quorum"]
    told += [f"{name} is no member" for name in found["nodes"] if name not in found["members"]]
    told += [f"link {link} to {node} is dead" for (node, link), up in sorted(_links(found).items()) if not up]
    if found["local"] == found["version"]:
        _SEEN.pop("drift", None)
    elif now - _SEEN.setdefault("drift", now) >= VERSION_GRACE_S:
        told.append(f"the daemon runs version {found['version']}, the local file has {found['local']}")
    return told
