"""Collects the problems of a pillar, each with its place, so that all are told at once."""

from __future__ import annotations

import difflib

from pve_corosync.findings import finding


class Problems(list):
    """Collects findings that name a place of the pillar."""

    def add(self, code: str, place: str, said: str, allowed: str = "", remedy: str = "", **data) -> None:
        """Add one finding.

        :param place: keys from the top with colons between, e.g. ``corosync:nodes:pve2:nodeid``.
        :param said: what is wrong there, with the bad value.
        :param allowed: the allowed values.
        :param remedy: the next action; the default says to correct the place.
        :param data: more for programs.
        """
        text = f"{place}: {said}" + (f"; allowed: {allowed}" if allowed else "")
        data = {"place": place} | ({"allowed": allowed} if allowed else {}) | data
        self.append(finding(code, text, data=data, remedy=remedy or f"correct {place} in the pillar"))

    def mapping(self, value, place: str, what: str) -> bool:
        """Tell whether a value is a mapping that holds something; if not, say so."""
        if value is None or value == {}:
            self.add("pillar-missing", place, "is missing or empty", what, f"add {place} to the pillar")
            return False
        if isinstance(value, str) and value and not value.strip("*"):
            self.add(
                "pillar-masked",
                place,
                "holds only asterisks, the pillar was masked on its way",
                what,
                "read it through pillar.raw or __pillar__, not through pillar.get",
            )
            return False
        if not isinstance(value, dict):
            self.add("pillar-type", place, f"{value!r} is no mapping", what)
            return False
        return True

    def keys(self, value: dict, known: tuple, place: str, code: str = "pillar-unknown-key") -> None:
        """Add a finding for every key that is not known, with the nearest one that is."""
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"rename {key!r} to {near[0]!r}" if near else f"drop {key!r}"
                self.add(
                    code,
                    f"{place}:{key}",
                    f"unknown key {key!r}",
                    ", ".join(known),
                    f"{hint} in {place}",
                    key=str(key),
                )
