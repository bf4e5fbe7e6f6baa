"""The picture of docs/architecture.md: which room of the package may use which, and where I/O is done."""

import ast
import pathlib

import pytest

CORE = pathlib.Path(__file__).resolve().parents[2] / "_utils" / "pve_corosync"
#: bottom up: a room uses the rooms before it. "" are the files beside the rooms.
ORDER = (
    "codes",
    "",
    "conf",
    "tools",
    "pillar",
    "cluster",
    "rules",
    "plan",
    "judge",
    "report",
    "run",
    "ports",
)
ALLOWED = {room: set(ORDER[:place]) for place, room in enumerate(ORDER)} | {
    "node": {"codes", "", "conf", "tools", "cluster"},
    "ports": set(ORDER[:-1]) | {"node"},
}
IO = {"fcntl", "os", "pathlib", "select", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile"}
FILES = sorted(CORE.rglob("*.py"))


def room(path):
    return path.parent.name if path.parent != CORE else ""


def imported(path):
    """Yield what a file imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows():
    """``{"file uses room.file"}`` of every import that goes up, or beside."""
    found = set()
    for path in FILES:
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != CORE.name:
                continue
            there = parts[1] if (CORE / parts[1]).is_dir() else ""
            if there != room(path) and there not in ALLOWED[room(path)]:
                found.add(f"{path.relative_to(CORE)} uses {'.'.join(parts[1:3])}")
    return found


def test_there_are_rooms():
    assert {room(path) for path in FILES} == set(ALLOWED)


def test_no_room_uses_one_above_it():
    assert arrows() == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_only_node_and_ports_do_io(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert room(path) in ("node", "ports") or not tops & IO
    assert room(path) == "ports" or "salt" not in tops
