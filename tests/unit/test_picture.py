"""The recorded session of the README, and what draws it."""

import json
import pathlib
import re
import xml.etree.ElementTree as ET

import pytest

from lab import film_it, picture

REPO = pathlib.Path(__file__).resolve().parents[2]
TEXT = "{http://www.w3.org/2000/svg}text"


def cast(*printed, width=20):
    head = {"version": 2, "width": width, "height": 24}
    return "\n".join([json.dumps(head), *(json.dumps([n, "o", data]) for n, data in enumerate(printed))])


def rows(drawn):
    return ["".join(row.itertext()) for row in ET.fromstring(drawn).iter(TEXT)]


def test_the_picture_is_the_one_of_the_recording():
    """After a change: lab/film --draw; after a change of the screens: lab/film."""
    drawn = picture.svg(film_it.CAST.read_text(), film_it.TITLE)
    assert film_it.PICTURE.read_text() == drawn
    assert "docs/session.svg" in (REPO / "README.md").read_text()


def test_the_recording_is_of_the_commands_that_there_are():
    shown = rows(film_it.PICTURE.read_text())
    assert [row.split("# ")[1] for row in shown if picture.PROMPT.match(row)] == list(film_it.COMMANDS)
    told = " ".join(shown)
    for words in ("prod has NO QUORUM", "reached and verified", "changed=3", "has quorum on degraded since"):
        assert words in told, words
    assert "unclosed" not in told
    for command in film_it.COMMANDS:
        kind, name = re.search(r"(corosync|orch)\.(\w+)", command).groups()
        there = REPO / "states/orch" / f"{name}.sls"
        assert there.exists() if kind == "orch" else name in RUNNERS


RUNNERS = {
    name
    for path in (REPO / "_runners").glob("*.py")
    for name in re.findall(r"^def (\w+)", path.read_text(), re.M)
}


def test_colours_are_kept_and_what_is_text_is_escaped():
    drawn = picture.svg(cast("master# ls\r\n\x1b[0;1;31m<a> & b\x1b[0;0m c\r\n", "\x1b[36mx\x1b[0m"), "t & t")
    assert rows(drawn) == ["master# ls", "<a> & b c", "x"]
    red, plain = list(ET.fromstring(drawn).iter(TEXT))[1]
    assert (red.get("fill"), red.get("font-weight")) == (picture.COLOURS[31], "bold")
    assert plain.get("fill") is None and plain.get("font-weight") is None


def test_long_output_is_cut_in_the_middle_and_says_so():
    printed = "m# a\r\n" + "".join(f"{n}\r\n" for n in range(20)) + "m# b\r\nend\r\n"
    shown = rows(picture.svg(cast(printed, width=60), "t", most=8))
    assert shown == [
        "m# a",
        "0",
        "1",
        "2",
        "3",
        "4",
        "… 13 lines are left out here …",
        "18",
        "19",
        "m# b",
        "end",
    ]


def test_a_long_line_goes_on_in_the_next_row_as_on_a_terminal():
    assert rows(picture.svg(cast("12345678901\x1b[31m23456\x1b[0m\r\n", width=10), "t")) == [
        "1234567890",
        "123456",
    ]


def test_orders_to_the_terminal_and_the_noise_of_salt_are_left_out():
    printed = "\x1b[2J\x1b[?25la\x07b\r\nunclosed Runner <salt.runner.Runner object>\r\nold\rnew\r\n"
    assert rows(picture.svg(cast(printed), "t")) == ["ab", "new"]


def test_another_kind_of_recording_is_refused():
    with pytest.raises(ValueError, match="version 1 .*asciicast 2"):
        picture.svg('{"version": 1, "width": 80}\n', "t")
