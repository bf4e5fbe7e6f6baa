"""Findings: one thing wrong or noteworthy each, with a registered code, a text and what to do next.

Every code stands once in :data:`CODES` (built from ``codes.TABLE``), so that the rules, the plan and the
documentation cannot name different things.
"""

from __future__ import annotations

from pve_corosync import codes as code_table

SEVERITIES = ("error", "warning", "info")

#: {code: {"severity", "title", "forceable", "source", "subject"}}
CODES: dict[str, dict] = {}


class UnknownCode(KeyError):
    """A finding was built with a code that no table registers."""


def register(
    code: str, severity: str, title: str, source: str, *, forceable: bool = False, subject: str = "other"
) -> None:
    """Register one finding code, once.

    :param code: kebab-case name, e.g. ``node-silent``.
    :param severity: ``error``, ``warning`` or ``info``, the default of a finding with that code.
    :param title: one sentence for the documentation.
    :param source: where the rule comes from.
    :param forceable: whether an operator may go on in spite of it.
    :param subject: heading under which the documentation lists it.
    :raises ValueError: malformed code or severity, or a second, different registration.
    """
    if not code or code.strip("abcdefghijklmnopqrstuvwxyz0123456789-") or code[0] == "-" or code[-1] == "-":
        raise ValueError(f"finding code {code!r}: not kebab-case; use a-z, 0-9 and single hyphens")
    if severity not in SEVERITIES:
        raise ValueError(f"finding code {code!r}: severity {severity!r}; allowed: {', '.join(SEVERITIES)}")
    row = {
        "severity": severity,
        "title": title,
        "forceable": bool(forceable),
        "source": source,
        "subject": subject,
    }
    if CODES.setdefault(code, row) != row:
        raise ValueError(f"finding code {code!r} is registered twice with different meanings")


def finding(
    code: str,
    text: str,
    *,
    severity: str | None = None,
    data: dict | None = None,
    remedy: str = "",
    forceable: bool | None = None,
) -> dict:
    """Build one finding.

    :param code: a code of :data:`CODES`; severity and forceable default to its registration.
    :param text: what is wrong: the value, its place, the allowed values.
    :param severity: overrides the registered severity.
    :param data: the same for programs, plain types only.
    :param remedy: the next action, a command where there is one.
    :param forceable: overrides the registered one.
    :returns: ``{"code", "severity", "text", "data", "remedy", "forceable"}``.
    :raises UnknownCode: the code is not registered.
    :raises ValueError: unknown severity.
    """
    if code not in CODES:
        raise UnknownCode(f"finding code {code!r} is not registered; add it to code_table.TABLE")
    row = CODES[code]
    severity = row["severity"] if severity is None else severity
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity!r} of {code}; allowed: {', '.join(SEVERITIES)}")
    return {
        "code": code,
        "severity": severity,
        "text": text,
        "data": dict(data or {}),
        "remedy": remedy,
        "forceable": row["forceable"] if forceable is None else bool(forceable),
    }


def errors(findings: list[dict], force=()) -> list[dict]:
    """Return the findings that refuse the work: errors that are not both forceable and forced.

    :param findings: findings, any order.
    :param force: codes that the operator forces; one that is not forceable has no effect.
    """
    force = {force} if isinstance(force, str) else set(force)
    return [f for f in findings if f["severity"] == "error" and not (f["forceable"] and f["code"] in force)]


def check_force(force) -> list[dict]:
    """Return a finding for every forced code that does not exist or cannot be forced.

    :param force: codes that the operator forces.
    """
    force = [force] if isinstance(force, str) else list(force)
    allowed = sorted(code for code, row in CODES.items() if row["forceable"])
    return [
        finding(
            "force-unknown",
            f"force names {code!r}, which "
            + ("cannot be forced" if code in CODES else "is no finding code")
            + f"; allowed: {', '.join(allowed)}",
            data={"value": str(code), "allowed": allowed},
            remedy="drop it from force",
        )
        for code in force
        if code not in allowed
    ]


def ordered(findings: list[dict]) -> list[dict]:
    """Return the findings without duplicates, errors first, otherwise in the order given."""
    seen, unique = set(), []
    for item in findings:
        key = (item["code"], item["text"])
        if key not in seen:
            seen.add(key)
            unique.append(item)
    return sorted(unique, key=lambda f: SEVERITIES.index(f["severity"]))


def docs_table() -> str:
    """Return the Markdown page of all registered codes, by subject."""
    lines = [
        "# Findings",
        "",
        "Every check that this project makes, by subject. An *error* refuses the work; one marked",
        "*forceable* yields to `force=[code]`. Generated by `docs/make_rules.py`;",
        "a unit test keeps it equal.",
        "",
    ]
    subjects: dict[str, list[str]] = {}
    for code, row in CODES.items():
        subjects.setdefault(row["subject"], []).append(code)
    order = list(code_table.TABLE)  # other parts register their own, whatever their order of import
    for subject in sorted(subjects, key=lambda s: (order.index(s) if s in order else len(order), s)):
        codes = subjects[subject] if subject in order else sorted(subjects[subject])
        lines += [
            f"## {subject}",
            "",
            "| code | severity | what it says | source |",
            "| --- | --- | --- | --- |",
        ]
        for code in codes:
            row = CODES[code]
            severity = row["severity"] + (", forceable" if row["forceable"] else "")
            lines.append(f"| `{code}` | {severity} | {row['title']} | {row['source']} |")
        lines.append("")
    return "\n".join(lines)


def _register_table() -> None:
    for subject, rows in code_table.TABLE.items():
        for code, severity, forceable, title, source in rows:
            register(code, severity, title, source, forceable=forceable, subject=subject)


_register_table()
