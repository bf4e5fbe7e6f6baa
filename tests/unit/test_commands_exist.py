"""Commands and functions that texts name exist, on the side of Salt that the command runs on."""

import ast
import pathlib
import re

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("_utils", "_modules", "_runners", "_states")
FILES = sorted(path for folder in FOLDERS for path in (REPO / folder).rglob("*.py"))
#: what is no function: files, packages, keys, beacons
NO_FUNCTION = {
    "corosync": {"conf", "json", "key", "service", "py"},
    "pvesr": {"pm"},
}
RUN = re.compile(r"salt-run (?:-\S+ )*([a-z_]+)\.([a-z_]+)\b")
CALL = re.compile(r"(?<![\w-])salt(?:-call)?(?: -{1,2}\S+)* (?:\S+ )??([a-z_]+)\.([a-z_]+)\b")
BARE = re.compile(r"(?<![\w./<-])(corosync|pvesr)\.([a-z_]+)\b(?![./])")


def functions(folder):
    """``{virtual name: names of its functions}`` of a folder."""
    found = {}
    for path in (REPO / folder).glob("*.py"):
        body = ast.parse(path.read_text()).body
        name = path.stem
        for node in body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__virtualname__":
                name = node.value.value
        names = {node.name for node in body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
        aliases = next(
            (
                ast.literal_eval(node.value)
                for node in body
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__func_alias__"
            ),
            {},
        )
        found.setdefault(name, set()).update(aliases.get(name, name) for name in names)
    return found


SIDES = {folder: functions(folder) for folder in FOLDERS[1:]}


def texts(path):
    """Every string of a file, with a mark where a value is put in."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def exists(side, module, function):
    return function in SIDES[side].get(module, ())


def wrong(text):
    """What a text names that does not exist."""
    text, found = " ".join(text.split()), []
    for pattern, side in ((RUN, "_runners"), (CALL, "_modules")):
        for module, function in pattern.findall(text):
            ours = any(module in names for names in SIDES.values())
            if ours and not exists(side, module, function):
                found.append(f"{side}: {module}.{function}")
    for module, function in BARE.findall(text):
        known = any(exists(side, module, function) for side in SIDES)
        state = (REPO / "states" / module / f"{function}.sls").exists()
        if not known and not state and function not in NO_FUNCTION[module]:
            found.append(f"{module}.{function}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_text_names_exists(path):
    assert [name for text in texts(path) for name in wrong(text)] == []


def test_the_search_finds_what_is_wrong():
    assert wrong("start with: salt-run corosync.facts") == ["_runners: corosync.facts"]
    assert wrong("a file alone: corosync.render") == ["corosync.render"]
    assert wrong("salt-call --local corosync.journal_of_old; salt pve1 pvesr.replicate") == [
        "_modules: corosync.journal_of_old",
        "_modules: pvesr.replicate",
        "corosync.journal_of_old",
        "pvesr.replicate",
    ]
    assert wrong("salt '*' corosync.facts; salt \0 corosync.finish \0; salt-run corosync.status") == []
    assert {"facts", "stage"} <= SIDES["_modules"]["corosync"] and "apply" in SIDES["_runners"]["corosync"]
