"""corosync.conf: read and change it, check it against every reader, write it in PVE's form.

The one door to the parts: :mod:`ring_grammar` (corosync's grammar), :mod:`ring_document` (changes that keep
every other byte), :mod:`ring_lint` (where corosync, PVE and pmxcfs differ), :mod:`ring_render` (PVE's form,
diffs).
"""

from __future__ import annotations

try:
    from ring_document import PATH, Document, link_number, parse
    from ring_grammar import ConfError, problem
    from ring_lint import lint, pmxcfs_version
    from ring_render import diff, normalise, render
except ImportError:
    from saltext.pve_corosync.utils.ring_document import PATH, Document, link_number, parse
    from saltext.pve_corosync.utils.ring_grammar import ConfError, problem
    from saltext.pve_corosync.utils.ring_lint import lint, pmxcfs_version
    from saltext.pve_corosync.utils.ring_render import diff, normalise, render

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
