"""
What every execution module needs of Salt: where the node's files are, and arguments checked in one way.
"""

from __future__ import annotations

from pve_corosync.node import files, runs
from salt.exceptions import SaltInvocationError


def root(opts: dict) -> str | None:
    """
    Return the directory below which every path of this project lies, for tests; None on a node.

    :param opts: the minion's configuration, ``__opts__``.
    """
    return (opts.get("pve_corosync") or {}).get("root")


def path(opts: dict, name: str) -> str:
    """
    Return a path of the node as it is to be opened.

    :param opts: the minion's configuration, ``__opts__``.
    :param name: an absolute path.
    """
    return files.under(root(opts), name)


def checked(check, *args):
    """
    Return what a check of an argument returns.

    :param check: of :mod:`.node.runs`. :param args: of the check.
    :raises SaltInvocationError: with what is wrong and what is allowed.
    """
    try:
        return check(*args)
    except runs.BadArgument as exc:
        raise SaltInvocationError(str(exc)) from None


def seconds(value, what: str = "timeout", most: float = float("inf")) -> float:
    """
    Return a number of seconds that a caller gave; NaN and infinity are none.

    :param value: what was given.
    :param what: the name of the argument, for the error.
    :param most: more is cut to this.
    :raises SaltInvocationError: it is no number, or below 0.
    """
    return min(checked(runs.checked_seconds, value, what), most)
