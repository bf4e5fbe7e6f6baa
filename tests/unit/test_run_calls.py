"""The call of one node's function: what comes back is plain data, or the text of an error."""

import types

import pytest
from pve_corosync.run import calls


def ask(value, **more):
    ports = types.SimpleNamespace(ask=lambda *_: {"m1": {"return": value}})
    request = types.SimpleNamespace(minions={"pve1": "m1"})
    return calls.Calls.ask(types.SimpleNamespace(ports=ports, request=request), "pve1", "x.y", **more)


def test_what_a_node_returns_has_no_control_characters():
    assert ask({"log": ["a\x1b[2Jb"], 1: None}) == {"log": ["ab"], 1: None}
    assert ask(True) is True


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Traceback\na\x1b]0;title\x07b\x9b", "ab"),
        ({"log": {1, 2}}, "its answer cannot be used: log: 'set'; allowed: plain data"),
    ],
)
def test_an_error_has_none_either(value, text):
    assert ask(value, quiet=True) == text
    with pytest.raises(calls.Failed, match=f"^pve1: {text}$"):
        ask(value)
