"""The exit checklist: what is to be seen when a layout is reached, item by item.

Each item is one small function that returns ``(ok, seen, expected)``, or None if its facts were not gathered.
Those that look beyond corosync are in ``judge.checklist_exit``.
"""

from __future__ import annotations

from itertools import permutations

from pve_corosync import addresses as ip
from pve_corosync import link_options
from pve_corosync.cluster import copies
from pve_corosync.cluster.export import member_address
from pve_corosync.judge import checklist_exit


def checklist(layout: dict, observed: dict, items=None, skip=()) -> list[dict]:
    """Return the exit checklist of a layout.

    :param layout: what ``pillar.layouts.resolve`` returns.
    :param observed: ``{"nodes": {name: facts}, "silent": [name]}``.
    :param items: names of the items wanted, in any order; None takes all of :data:`ITEMS`.
    :param skip: nodes that the work went on without; they are not looked at.
    :returns: ``[{"item", "ok": bool, "seen": text, "expected": text}]`` in the order of :data:`ITEMS`. One
        whose facts were not gathered is not ok if it was asked for by name, and left out otherwise.
    :raises ValueError: unknown item.
    """
    wanted = list(ITEMS) if items is None else [items] if isinstance(items, str) else list(items)
    unknown = [name for name in wanted if name not in ITEMS]
    if unknown:
        raise ValueError(f"checklist items {unknown}: unknown; allowed: {', '.join(ITEMS)}")
    world = _World(layout, observed, skip)
    out = []
    for name, check in ITEMS.items():
        if name not in wanted:
            continue
        result = check(world)
        if result is None and items is None:
            continue
        ok, seen, expected = result or (False, "not asked for", "facts of this item")
        out.append({"item": name, "ok": bool(ok), "seen": seen, "expected": expected})
    return out


def passed(rows: list[dict]) -> bool:
    """Tell whether a checklist holds something and all of it is ok."""
    return bool(rows) and all(row["ok"] for row in rows)


class _World:
    def __init__(self, layout, observed, skip):
        skip = [skip] if isinstance(skip, str) else list(skip)
        self.layout = layout
        self.links = {int(number): link for number, link in layout["links"].items()}
        self.names = [name for name in layout["nodes"] if name not in skip]
        answers = observed.get("nodes") or {}
        self.nodes = {name: answers[name] for name in self.names if name in answers}
        self.missing = [name for name in self.names if name not in self.nodes]
        #: of those that answered, with an error in place of facts.
        self.refusals = observed.get("refusals") or {}

    def each(self, want: str, judge):
        """Judge every node; ``judge(name, facts)`` returns "" or what is wrong with it."""
        wrong = self.unasked()
        for name, facts in self.nodes.items():
            said = judge(name, facts)
            wrong += [f"{name}: {said}"] if said else []
        good = len(self.names) - len({text.split(":")[0] for text in wrong})
        return not wrong and bool(self.names), "; ".join(wrong) or f"so on {good} nodes", want

    def unasked(self) -> list[str]:
        """Return what is to be said of the nodes that told nothing: that alone, and nothing of the item."""
        return [f"{name}: {self.refusals.get(name, 'no answer')}" for name in self.missing]

    def seen(self, told: str, same: bool) -> str:
        """Return what was seen, with the nodes that did not answer behind it.

        :param told: of those that did. :param same: they are as they should be, which needs no words then.
        """
        return "; ".join([*([] if self.missing and same else [told]), *self.unasked()])

    def runtime_links(self, facts: dict) -> dict[int, dict[str, str]]:
        """Return link number to {node: canonical address} of a runtime."""
        out: dict[int, dict[str, str]] = {}
        for name, row in ((facts.get("runtime") or {}).get("nodes") or {}).items():
            for number, address in (row.get("addresses") or {}).items():
                out.setdefault(int(number), {})[name] = ip.canonical(address)
        return out


def answers(world):
    """Every node answered."""
    return (
        not world.missing and bool(world.names),
        "; ".join(world.unasked()) if world.missing else f"{len(world.nodes)} answers",
        f"{len(world.names)} answers",
    )


def links_connected(world):
    """Every link of the layout is connected on every pair, in both directions."""
    down, seen = [], 0
    for one, two in permutations(world.names, 2):
        if one in world.missing:
            continue
        rows = {int(k): v for k, v in (world.nodes[one].get("links") or {}).get(two, {}).items()}
        for number in sorted(world.links):
            if (rows.get(number) or {}).get("connected") is True:
                seen += 1
            else:
                down.append(f"link {number} {one}->{two}")
    total = len(world.links) * len(world.names) * (len(world.names) - 1)
    told = ("not connected: " + ", ".join(down)) if down else f"{seen} connected"
    return (
        not down and not world.missing,
        world.seen(told, not down),
        f"{total} directions connected ({len(world.links)} links)",
    )


def links_exact(world):
    """No node has a link that the layout does not have, nor lacks one."""
    want = sorted(world.links)

    def judge(_, facts):
        if not facts.get("runtime"):
            return "no runtime"
        have = set(world.runtime_links(facts))
        seen = {int(number) for rows in (facts.get("links") or {}).values() for number in rows}
        if sorted(have) == want and seen <= have:
            return ""
        return f"links {_join(sorted(have | seen)) or 'none'}" + (
            f", of them {_join(sorted(set(want) - have))} not in the nodelist" if set(want) - have else ""
        )

    return world.each(f"links {_join(want)}, no other", judge)


def addresses(world):
    """The runtime of each node has the layout's addresses."""
    want = {
        number: {name: ip.canonical(a) for name, a in link["addresses"].items()}
        for number, link in world.links.items()
    }

    def judge(_, facts):
        have = world.runtime_links(facts)
        wrong = [
            f"link {number} of {name} is {have.get(number, {}).get(name, 'missing')}, not {address}"
            for number, row in sorted(want.items())
            for name, address in sorted(row.items())
            if have.get(number, {}).get(name) != address
        ]
        return ", ".join(wrong)

    return world.each("the addresses of the layout in every runtime", judge)


def options(world):
    """The local file of each node gives every link the layout's options."""
    want = {number: dict(link["options"]) for number, link in world.links.items()}

    def judge(_, facts):
        view = copies.read(facts["local"]["text"])[0] if facts.get("local") else None
        if view is None:
            return "local file missing or not readable"
        have = {
            number: {
                key: value
                for key, value in view["interfaces"].get(number, {}).items()
                if key in link_options.PILLAR_NAMES
            }
            for number in want
        }
        wrong = [
            f"link {number} has {have[number] or 'no options'}"
            for number in sorted(want)
            if have[number] != want[number]
        ]
        wrong += [
            f"totem.{key} is {view['totem'].get(key, 'not set')}, not {value or 'unset'}"
            for key, value in (world.layout.get("totem") or {}).items()
            if view["totem"].get(key) != value
        ]
        return ", ".join(wrong)

    return world.each("the options of the layout in every local file", judge)


def quorum(world):
    """Each node is quorate, with all votes of the nodelist and all nodes as members."""
    ids = sorted(row["nodeid"] for name, row in world.layout["nodes"].items() if name in world.names)

    def judge(_, facts):
        have = facts.get("quorum") or {}
        view = copies.read(facts["local"]["text"])[0] if facts.get("local") else None
        votes = sum(row["votes"] for row in view["nodes"]) if view and not view["qdevice"] else None
        wrong = [] if have.get("quorate") is True else ["not quorate"]
        if votes is not None and have.get("expected") != votes:
            wrong.append(f"expected votes {have.get('expected')}, nodelist {votes}")
        if view and view["qdevice"] and not have.get("qdevice_votes", 1):
            wrong.append("the quorum device gives no vote")
        members = sorted(have.get("members") or [])
        if not set(ids) <= set(members):
            wrong.append(f"members {_join(members) or 'none'}")
        return ", ".join(wrong)

    return world.each(f"quorate, expected votes as in the nodelist, members {_join(ids)}", judge)


def one_ring(world):
    """All nodes are in one membership."""
    rings = {}
    for name, facts in world.nodes.items():
        ring = (facts.get("quorum") or {}).get("ring_id")
        rings.setdefault(ring, []).append(name)
    told = "; ".join(f"{ring or 'no ring id'} on {', '.join(names)}" for ring, names in rings.items())
    same = len(rings) < 2 and None not in rings
    return same and bool(rings) and not world.missing, world.seen(told, same), "the same ring id on all nodes"


def versions(world):
    """Local file, cluster file and runtime have one version on all nodes."""
    seen = {}
    for name, facts in world.nodes.items():
        for key, told in (("local", "local file"), ("cluster_file", "cluster file"), ("runtime", "runtime")):
            seen.setdefault((facts.get(key) or {}).get("version"), []).append(f"{told} of {name}")
    same = len(seen) < 2 and None not in seen
    if same and seen and not world.missing:
        return True, f"version {next(iter(seen))}", "one version everywhere"
    told = "; ".join(
        f"{'none' if version is None else version}: {', '.join(places)}"
        for version, places in sorted(seen.items(), key=lambda row: (row[0] is None, row[0] or 0))
    )
    return False, world.seen(told, same), "one version everywhere"


def same_bytes(world):
    """Local file and cluster file hold the same bytes on all nodes."""
    seen = {}
    for name, facts in world.nodes.items():
        for key, told in (("local", "local file"), ("cluster_file", "cluster file")):
            seen.setdefault((facts.get(key) or {}).get("sha256"), []).append(f"{told} of {name}")
    told = "; ".join(f"{(sha or 'missing')[:8]}: {', '.join(places)}" for sha, places in seen.items())
    same = len(seen) < 2 and None not in seen
    return same and bool(seen) and not world.missing, world.seen(told, same), "one sha256 everywhere"


def cluster_file_system(world):
    """/etc/pve is mounted and writable on each node."""

    def judge(_, facts):
        state = facts.get("pmxcfs") or {}
        wrong = [name for name in ("mounted", "writable") if state.get(name) is not True]
        return ", ".join(f"not {name}" for name in wrong)

    return world.each("/etc/pve mounted and writable", judge)


def primary(world):
    """`.members` of each node shows the primary address of every node."""
    want = {
        name: ip.canonical(address)
        for name, address in world.layout["primary"]["addresses"].items()
        if name in world.names
    }

    def judge(_, facts):
        members = (facts.get("pmxcfs") or {}).get("members")
        return ", ".join(
            f"{name} is {member_address(members, name) or 'missing'}, not {address}"
            for name, address in sorted(want.items())
            if member_address(members, name) != address
        )

    return world.each(f"primary network {world.layout['primary']['network']} in .members", judge)


def _join(items) -> str:
    return ", ".join(str(item) for item in items)


#: name of the item: its function; the order is the one of the checklist
ITEMS = {
    "answers": answers,
    "links connected": links_connected,
    "links exact": links_exact,
    "addresses": addresses,
    "options": options,
    "quorum": quorum,
    "one ring": one_ring,
    "versions": versions,
    "same bytes": same_bytes,
    "cluster file system": cluster_file_system,
    "primary": primary,
    **checklist_exit.ITEMS,
}
#: the items of the links alone, required before the primary network is moved
LINK_ITEMS = tuple(name for name in ITEMS if name != "primary" and name not in checklist_exit.ITEMS)
