"""Where the readers of corosync.conf (corosync, PVE, pmxcfs) refuse a file or read it in different ways."""

from __future__ import annotations

import re

try:
    from ring_grammar import U64, Tree, problem
except ImportError:
    from saltext.pve_corosync.utils.ring_grammar import U64, Tree, problem

# pmxcfs, cfs-utils.c: the first match in the file counts, in a comment too
_VERSION = re.compile(rb"config_version\s*:\s*(\d+)")


def pmxcfs_version(data: bytes) -> int:
    """Return the config_version that pmxcfs sees in a file; 0 if it sees none, and then ignores the file."""
    match = _VERSION.search(data if isinstance(data, bytes) else data.encode("latin-1"))
    return min(int(match[1]), U64[1]) if match else 0


def lint(data: bytes) -> list:
    """Return everything that any reader of a file would refuse, or read in another way than the others."""
    return Tree(data if isinstance(data, str) else data.decode("latin-1")).problems
