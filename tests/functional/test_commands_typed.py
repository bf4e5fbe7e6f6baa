"""Commands to copy: what the shell and Salt make of a name in them is that name."""

import shlex

import pytest
import salt.utils.args
from pve_corosync import arguments
from pve_corosync.judge import ways

NAMES = [
    "prod",
    "a.b",
    "a_b",
    "it's",
    'a"b',
    "a\\nb",
    "a\nb",
    "a\tb",
    "a b",
    "$(reboot)",
    "`id`",
    "a;b",
    "-x",
    "#a",
    "1 #a",
    "[#",
]
NAMES += [
    "123",
    "0123",
    "1e3",
    "0x10",
    "1_000",
    "true",
    "No",
    "null",
    "~",
    "[a",
    "a: b",
    "a,b",
    "ä",
    "'",
    "%s",
    "*",
]
NAMES += ["2026-11-26", "a=b", "=", "!x", "&a", "\u2028", "{}", "@x", "1.5", "12345678901234567890"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_comes_back_as_it_was(name):
    words = shlex.split(f"{arguments.typed(name)} cluster={arguments.typed(name)}")
    args, kwargs = salt.utils.args.parse_input(words, condition=False)
    assert (str(args[0]), str(kwargs["cluster"])) == (name, name)


def test_plain_names_are_typed_plainly():
    command = ways.command("apply", "degraded", ["pve1", "pve2"], cluster="prod-1")
    assert command == "salt-run corosync.apply degraded skip=pve1,pve2 cluster=prod-1"
