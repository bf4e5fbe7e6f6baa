"""Parts of the sentences of a verdict. Pure."""

from __future__ import annotations


def lasting(seconds: float) -> str:
    """Return a time that is over, in its greatest unit of which there are two."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} s"


def joined(words) -> str:
    """Return names as a list of a sentence: ``pve1, pve2 and pve3``."""
    words = list(words)
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def verb(words, one: str, more: str) -> str:
    """Return the verb that goes with names: one, or more."""
    return one if len(list(words)) == 1 else more


def apart(pairs) -> str:
    """Return ``pve1 and pve2 do not reach each other``; one node that all pairs have in common is named
    first."""
    shared = set(pairs[0]).intersection(*pairs)
    nodes = sorted({node for pair in pairs for node in pair})
    if len(pairs) == 1:
        return f"{joined(pairs[0])} do not reach each other"
    if len(shared) == 1:
        (one,) = shared
        return f"{one} does not reach {joined([node for node in nodes if node != one])}"
    if len(pairs) == len(nodes) * (len(nodes) - 1) // 2:
        return f"{joined(nodes)} do not reach each other"
    return "no connection " + ", ".join("-".join(pair) for pair in pairs)
