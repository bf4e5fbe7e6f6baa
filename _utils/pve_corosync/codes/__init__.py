"""Every finding code, in one table: :data:`CODES`.

The rows stand in :mod:`.codes.configuration`, :mod:`.codes.work` and :mod:`.codes.watch`, by subject. One
row: code, severity, forceable, what it says, source. The versions that the sources were read in: corosync
3.1.7 to 3.1.10, kronosnet 1.25, pve-cluster 8.1 to 9.1, pcs 0.12.3, crmsh 5.1.
"""

from __future__ import annotations

import re

from pve_corosync.codes import configuration, watch, work
from pve_corosync.codes.words import SEVERITIES

#: ``{subject: rows}`` in the order of the documentation.
TABLE = configuration.TABLE | work.TABLE | watch.TABLE
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def check(table: dict) -> list[str]:
    """Return what is wrong with a table of codes, in words.

    :param table: ``{subject: [(code, severity, forceable, title, source)]}``.
    """
    problems, seen = [], set()
    for code, severity, *_rest in (row for rows in table.values() for row in rows):
        if not _KEBAB.fullmatch(code):
            problems.append(f"finding code {code!r}: not kebab-case; use a-z, 0-9 and single hyphens")
        if severity not in SEVERITIES:
            problems.append(f"finding code {code!r}: severity {severity!r}; allowed: {', '.join(SEVERITIES)}")
        if code in seen:
            problems.append(f"finding code {code!r} stands in the table twice")
        seen.add(code)
    return problems


#: ``{code: {"severity", "title", "forceable", "source", "subject"}}``
CODES = {
    code: {
        "severity": severity,
        "title": title,
        "forceable": forceable,
        "source": source,
        "subject": subject,
    }
    for subject, rows in TABLE.items()
    for code, severity, forceable, title, source in rows
}
