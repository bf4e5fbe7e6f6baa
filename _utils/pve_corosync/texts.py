"""Texts of other machines, fit for a terminal and a journal. Pure."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]|\x1b\[[0-9;?]*[ -/]*[@-~]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-_])")


def clean(text: str) -> str:
    """Return a text without escape sequences and other control characters; line ends and tabs stay.

    :param text: of another machine.
    """
    return _CONTROL.sub("", _ESCAPE.sub("", text))
