"""The timers of totem as corosync computes them: one home for whoever asks.

Source: corosync 3.1.7 ``exec/totemconfig.c`` (totem_volatile_config_read) and corosync.conf(5).
"""

from __future__ import annotations

from pve_corosync.link_options import whole

DEFAULT_TOKEN = 3000  # ms, corosync >= 3.1.0
DEFAULT_COEFFICIENT = 650  # ms for each node above two


def token(totem: dict, nodes: int) -> int:
    """Return the token timeout in ms: the file's, and the coefficient for each node above two.

    :param totem: keys of the section to text or numbers.
    :param nodes: how many the nodelist has.
    """
    given, coefficient = whole(totem.get("token")), whole(totem.get("token_coefficient"))
    base = given or DEFAULT_TOKEN  # 0 stands for the default
    return base + (DEFAULT_COEFFICIENT if coefficient is None else coefficient) * max(0, nodes - 2)


def consensus(totem: dict, token_ms: int) -> int:
    """Return the consensus timeout in ms: the file's, else 1.2 times the token.

    :param totem: keys of the section to text or numbers. :param token_ms: what :func:`token` returned.
    """
    return whole(totem.get("consensus")) or token_ms * 6 // 5


def running(runtimes, key: str) -> int:
    """Return the longest ``token`` or ``consensus`` in ms that a daemon has, 0 if none tells it.

    :param runtimes: what ``tools.corosync.runtime`` returned, for each node. :param key: the timer.
    """
    return max((int(runtime.get(key) or 0) for runtime in runtimes if runtime), default=0)
