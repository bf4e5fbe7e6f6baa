"""Keeps the real file of this name away: the simulated cluster is all in ``corosync.py``."""

__virtualname__ = "corosync"


def __virtual__():
    return (False, "the simulated cluster takes its place")
