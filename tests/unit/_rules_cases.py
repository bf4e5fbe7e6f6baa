"""How a case of the rules is written: one fault in a healthy cluster, and the findings it must give."""

import copy

from _rules_world import rewrite

#: name of the case -> the case, filled by :func:`breaks`
CASES = {}


def breaks(*expected, strategy="live", skip=(), force=(), name="nominal", nodes=2, said=""):
    """Register a case: it breaks (layout, world) in place; ``expected`` are "severity code" texts."""

    def register(function):
        arguments = {"strategy": strategy, "skip": skip, "force": force}
        assert function.__name__ not in CASES
        CASES[function.__name__] = (function, sorted(expected), arguments, name, nodes, said)
        return function

    return register


def everywhere(world, key, value):
    for row in world["nodes"].values():
        row[key] = copy.deepcopy(value)


def two(addresses):
    return {name: addresses[name] for name in ("pve1", "pve2")}


def edit(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def all_files(world, text, version=None):
    rewrite(world, text, version=version)
