"""
Groups of nodes whose links contradict each other: those off the main one first give up what is in the way.

They are cut off anyway, and keep each other connected on the way. What they may not do is meet the others
half way: a group that is to go on by itself would then take steps that nodes it talks with do not take.
"""

from pve_corosync.plan import search


def align(view, groups, connected, carries):
    """
    Return ``(path, prelude)``: link maps for all nodes, and ``(nodes, links)`` that groups take before.

    view
        ``cluster.topology.Topology``.
    groups
        Lists of nodes that are linked with each other, and with no other group.
    connected, carries
        As :func:`.plan.search.search` takes them.

    The path is None where a group cannot be brought along by reloads.
    """
    main = max(groups, key=lambda g: (any(map(view.quorate, g)), len(g), _newest(view, g)))
    aligned = dict(view.current)
    taken = {n for links in view.current.values() for n in links} | set(view.goal)
    free = [n for n in range(search.MAX_LINKS) if n not in taken]
    free.sort(key=lambda number: number in view.elsewhere)
    target = _agreed(view, main)
    prelude = []
    for group in groups:
        if group == main:
            continue
        steps = _steps(view, group, target, free, aligned, connected, carries)
        if steps is None:
            return None, []
        prelude += [(group, links) for links in steps]
        aligned.update({n: steps[-1] for n in group})
    talking = {p: v if set(main).issuperset(p) else _meet(view, p, aligned) for p, v in connected.items()}
    path = search.search(aligned, view.goal, talking, carries, True, avoid=view.elsewhere)
    return path, prelude


def _newest(view, group):
    return max(view.members[n].version for n in group)


def _agreed(view, group):
    """The links that a group runs in one and the same way, where it runs them."""
    seen = {}
    for node in group:
        for number, sig in view.current[node].items():
            seen.setdefault(number, set()).add(sig)
    return {n: min(sigs) for n, sigs in seen.items() if len(sigs) == 1}


def _steps(view, group, target, free, aligned, connected, carries):
    """The link maps that bring one group to links that fit the main one's; None if there are none."""
    inner = {p: v for p, v in carries.items() if set(group).issuperset(p)}
    talk = {p: connected[p] for p in inner}
    mine = {n: view.current[n] for n in group}
    fit = {n: sig for n, sig in target.items() if all(m.get(n, sig) == sig for m in mine.values())}
    others = [links for n, links in aligned.items() if n not in group]
    kept = {n: s for n, s in _agreed(view, group).items() if all(m.get(n, s) == s for m in others)}
    for wanted in (kept | fit, kept):  # at once, or when all that is in the way has gone
        path = search.search(mine, wanted, talk, inner) if wanted else None
        if path is not None and _keeps_off(view, group, path, aligned):
            return path
    if not free:
        return None
    number = free.pop(0)  # one that nobody else takes: nobody is met on it
    sets = [sig[0] for sig in sorted({*view.goal.values(), *(s for m in mine.values() for s in m.values())})]
    for addresses in dict.fromkeys(sets):
        path = search.search(mine, kept | {number: (addresses, "", "udp")}, talk, inner)
        if path is not None and _keeps_off(view, group, path, aligned):
            return path
    return None


def _keeps_off(view, group, path, aligned):
    """Whether a group that takes these steps meets nobody else before the last one."""
    others = [n for n in view.running if n not in group]
    for links in [None, *path[:-1]]:
        maps = aligned if links is None else aligned | {n: links for n in group}
        if any(_meet(view, _pair(a, b), maps) for a in group for b in others):
            return False
    return True


def _meet(view, pair, maps):
    """Links that connect a pair with these link maps, as far as can be expected."""
    one, two = (maps.get(node, {}) for node in pair)
    return {n for n, sig in one.items() if two.get(n) == sig and sig[0] in view.carries[pair]}


def _pair(one, two):
    return (one, two) if one < two else (two, one)
