"""corosync.conf: read and change it, check it against every reader, write it in PVE's form.

The one door to the parts: :mod:`.conf.grammar` (corosync's grammar), :mod:`.conf.document` (changes that keep
every other byte), :mod:`.conf.lint` (where corosync, PVE and pmxcfs differ), :mod:`.conf.render` (PVE's form,
diffs).
"""

from __future__ import annotations

from pve_corosync.conf.document import PATH, Document, link_number, parse
from pve_corosync.conf.grammar import ConfError, problem
from pve_corosync.conf.lint import lint, pmxcfs_version
from pve_corosync.conf.render import diff, normalise, render

__all__ = [
    "PATH",
    "ConfError",
    "Document",
    "diff",
    "link_number",
    "lint",
    "normalise",
    "parse",
    "pmxcfs_version",
    "problem",
    "render",
]
