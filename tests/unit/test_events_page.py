"""docs/events.md names every event that the code fires, and no other."""

import ast
import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs/events.md").read_text(encoding="utf-8")
CODE = [*(REPO / "_utils/pve_corosync").rglob("*.py"), *(REPO / "_runners").glob("*.py")]
#: what stands for a number or a text in the names of events.
HOLES = {"number": "N", "step['number']": "N", "text": "PART"}


def name_of(node):
    """The name of an event as the page has it, None where it is made elsewhere."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else HOLES[ast.unparse(part.value)]
            for part in node.values
        ]
        return "".join(parts)
    return None


def fired():
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if called == "note" and (name := name_of(node.args[0])):
                    yield name


def test_every_event_of_a_run_is_on_the_page():
    table = PAGE.split("## Of a run", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) - {"event"} == set(fired())


def test_the_reactor_of_the_page_is_there():
    for name in re.findall(r"salt://(\S+\.sls)", PAGE):
        assert (REPO / "states" / name).is_file()
