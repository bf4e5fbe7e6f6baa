"""docs/screens.md: made by lab/screens, and as narrow as it says."""

import pytest

from lab import screens_it as screens

PAGE = screens.PAGE.read_text(encoding="utf-8")
BLOCKS = [found for found in screens.PART.finditer(PAGE) if found["typed"]]


def test_every_block_of_the_page_is_typed():
    assert len(BLOCKS) == PAGE.count("\n```\n") // 2 > 8
    assert {found["on"] for found in BLOCKS} <= {"master", "pve1", "pve2"}


@pytest.mark.parametrize("found", BLOCKS, ids=lambda found: found["typed"])
def test_no_line_of_a_screen_is_wider_than_a_terminal(found):
    assert max(map(len, found["screen"].splitlines())) <= 80


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "1\n2\n3\n4\n"),
        ("a\n", "1\n2\n3\n4\n"),
        ("a\n…\n", "1\n…\n"),
        ("…\na\nb\n", "…\n3\n4\n"),
        ("a\n…\nb\n", "1\n…\n4\n"),
    ],
)
def test_as_much_is_kept_of_a_screen_as_the_page_had(before, after):
    assert screens.kept("1\n2\n3\n4\n\n", before) == after


def test_a_block_is_replaced_and_a_comment_acted_upon(monkeypatch):
    class Done:
        stdout = "new\n"

    class Lab:
        done = []

        def exec(self, *words, timeout):
            self.done.append(words)
            return Done

        def cut(self, *words):
            self.done.append(("cut", *words))

    monkeypatch.setattr(screens, "recorded", lambda lab: "2026-01-02 (Debian 12, Corosync 3.1.7, Salt 3006)")
    page = "on\n2026-11-26 (Debian 13, Corosync 3.1.9, Salt 3008)\n<!-- lab: cut public master -->\n"
    page += "```\nmaster# salt-run corosync.plan 'a b'\nold\n```\n"
    told = screens.made(Lab(), page)
    assert "Corosync 3.1.7" in told and told.endswith("plan 'a b'\nnew\n```\n"), told
    assert Lab.done == [("cut", "public", "master"), ("master", ["salt-run", "corosync.plan", "a b"])]


def test_what_the_lab_cannot_do_is_named():
    with pytest.raises(screens.LabError, match="no act 'explode'"):
        screens.act(None, ["explode"])
