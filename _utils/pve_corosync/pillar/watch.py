"""The pillar `corosync:watch`: whether the cluster is watched, and what the watch may do by itself."""

from __future__ import annotations

from pve_corosync import link_options
from pve_corosync.pillar.problems import Problems

PLACE = "corosync:watch"
#: key -> (default, least, most) of the whole numbers; all but the last are seconds.
NUMBERS = {
    "hold": (5, 1, 40),
    "primary_hold": (30, 5, 3600),
    "healthy_for": (600, 10, 604800),
    "at_most": (3, 1, 100),
}
HOMES = ("ask", "auto")
KEYS = ("failover", "home", *NUMBERS)


def check(out: Problems, given, layouts: dict) -> dict | None:
    """Return the policy of the watch, None where the cluster is not watched.

    :param out: takes the problems. :param given: the value of the key; None, False: not watched; ``{}``:
        watched, and only told.
    :param layouts: those of the pillar, by name.
    :returns: ``{"failover": layout or None, "home": "ask" or "auto", "hold": s, "primary_hold": s,
        "healthy_for": s, "at_most": number in 24 hours}``.
    """
    if given is None or given is False:
        return None
    good = {"failover": None, "home": "ask"} | {key: row[0] for key, row in NUMBERS.items()}
    if given == {} or not out.mapping(given, PLACE, "a mapping with " + ", ".join(KEYS)):
        return good
    out.keys(given, KEYS, PLACE)
    _failover(out, given.get("failover"), layouts, good)
    home = given.get("home", "ask")
    if home in HOMES:
        good["home"] = home
    else:
        out.add("watch-value", f"{PLACE}:home", f"{home!r} is no way home", ", ".join(HOMES), value=str(home))
    for key, (default, least, most) in NUMBERS.items():
        number = link_options.whole(given.get(key, default))
        if number is not None and least <= number <= most:
            good[key] = number
            continue
        out.add(
            "watch-value",
            f"{PLACE}:{key}",
            f"{given[key]!r} is not usable",
            f"a whole number from {least} to {most}" + ("" if key == "at_most" else ", in seconds"),
            value=str(given[key]),
        )
    return good


def _failover(out, name, layouts, good):
    if name is None:
        return
    if isinstance(name, str) and name in layouts:
        good["failover"] = name
        return
    allowed = ", ".join(sorted(layouts)) or "a layout of corosync:layouts"
    out.add(
        "watch-value", f"{PLACE}:failover", f"{name!r} is no layout of the pillar", allowed, value=str(name)
    )
