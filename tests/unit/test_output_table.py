"""The outputter: what it prints has no control character but Salt's own colours."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from _output import corosync_table  # noqa: E402

EVIL = "a\x1b[2J\x1b]0;title\x07\x00b\nc"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (EVIL, "ab\nc"),
        ([EVIL], "['a\\x1b[2J\\x1b]0;title\\x07\\x00b\\nc']"),
        ({"pve1": EVIL, f"pve2{EVIL}": 5}, "pve1:\nab\nc\npve2ab\nc:\n5"),
        ({"local": {"do": "x", "summary": "a\x1b[2Jb"}}, "corosync.x: ab"),
    ],
)
@pytest.mark.parametrize("synced", [True, False])
def test_control_characters_are_taken_out_of_everything(monkeypatch, data, expected, synced):
    monkeypatch.setattr(
        corosync_table, "__opts__", {"color": False, "extension_modules": "/x"}, raising=False
    )
    if not synced:
        monkeypatch.setattr(corosync_table, "show", None)
    assert corosync_table.output(data) == expected


def test_salts_own_colours_stay(monkeypatch):
    monkeypatch.setattr(corosync_table, "__opts__", {"color": True}, raising=False)
    told = corosync_table.output({"do": "x", "summary": "\x1b[2JNO QUORUM"})
    assert "\x1b[2J" not in told and "NO QUORUM" in told and told.count("\x1b") >= 2
