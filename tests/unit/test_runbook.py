"""docs/runbook.md: every command of it exists, and each orchestration takes the pillar that it is given."""

import ast
import json
import pathlib
import re
import shlex

import pytest
from test_commands_exist import SIDES, exists

REPO = pathlib.Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
MASTERS = {"saltutil"}  # what Salt brings


def accepted():
    """The pillar keys of each orchestration, from the states of the master."""
    body = ast.parse((REPO / "_states" / "corosync_orch.py").read_text()).body
    values = {node.targets[0].id: node.value for node in body if isinstance(node, ast.Assign)}
    common = ast.literal_eval(values["COMMON"])
    table = {}
    for key, value in zip(values["PILLAR"].keys, values["PILLAR"].values):
        text = (
            ast.unparse(value)
            .replace("*COMMON", ", ".join(map(repr, common)))
            .replace("COMMON", repr(common))
        )
        table[key.value] = ast.literal_eval(text)
    return table


def test_every_situation_begins_with_a_command():
    assert len(SECTIONS) == 7
    for name, text in SECTIONS.items():
        assert re.search(r"^    salt", text, re.M), name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_exists(command):
    words = shlex.split(command)
    if words[0] == "salt-run" and words[1] == "state.orchestrate":
        name = words[2].removeprefix("orch.")
        assert (REPO / "states" / "orch" / f"{name}.sls").is_file()
        given = json.loads(words[3].removeprefix("pillar=")) if len(words) > 3 else {}
        assert set(given) <= set(accepted()[name])
        return
    side = "_runners" if words[0] == "salt-run" else "_modules"
    call = next(word for word in words[1:] if re.fullmatch(r"[a-z_]+\.[a-z_]+", word))
    module, function = call.split(".")
    assert module in MASTERS or exists(side, module, function), command
    assert module in MASTERS or module in SIDES[side]


def test_every_line_of_the_table_leads_somewhere():
    for name in re.findall(r"\]\(#(.+?)\) \|", PAGE):
        assert name in {title.lower().replace(" ", "-") for title in SECTIONS}


def test_the_way_out_is_one_command():
    (command,) = re.findall(r"^    (.+)$", SECTIONS["Quorum lost"], re.M)
    assert command == "salt-run state.orchestrate orch.failover"


def test_each_command_is_typed_in_the_lab():
    """``typed(lab, "Card lost", 0)`` in a test of tests/lab types the first command of that section."""
    lab = "".join(path.read_text() for path in (REPO / "tests" / "lab").glob("test_*.py"))
    done = {(name, int(number)) for name, number in re.findall(r'\btyped\(\w+, "([^"]+)", (\d)', lab)}
    page = {
        (name, number)
        for name, text in SECTIONS.items()
        for number in range(len(re.findall(r"^    (.+)$", text, re.M)))
    }
    assert done == page
