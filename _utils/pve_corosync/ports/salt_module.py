"""
What every execution module needs of Salt: where the node's files are, and arguments checked in one way.
"""

from __future__ import annotations

import json

from pve_corosync import arguments
from pve_corosync.node import files, runs
from pve_corosync.pillar import layouts
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


def pillar(own: dict, given=None):
    """
    Return the pillar ``corosync`` of a call as plain types: Salt 3008 masks what ``pillar.get`` returns.

    :param own: what this minion has, ``__pillar__``.
    :param given: the value of its key ``corosync`` as the caller brought it, also as JSON; it wins.
    :raises SaltInvocationError: what was given is no JSON.
    """
    if given is None:
        return layouts.plain(own.get("corosync"))
    if not isinstance(given, str):
        return layouts.plain(given)
    try:
        return json.loads(given)
    except ValueError as exc:
        raise SaltInvocationError(
            f"pillar={given[:40]!r}: the value of the pillar key corosync is needed, as YAML or JSON "
            f"({exc}); nothing was done"
        ) from None


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


def check(function: str, given: dict) -> None:
    """
    Refuse arguments of a public function that are not what they must be: the first thing that it does.

    :param function: ``module.function``. :param given: ``locals()``.
    :raises SaltInvocationError: with each bad value and what is allowed.
    """
    try:
        arguments.checked(function, given)
    except arguments.RunError as exc:
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
