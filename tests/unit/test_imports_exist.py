"""What a Salt file takes from a module of the package is there: else only its call would tell."""

import ast
import importlib
import pathlib

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(
    path for folder in ("_modules", "_runners", "_states") for path in (REPO / folder).glob("corosync*.py")
)


def missing(tree):
    """Names ``module.name`` that a file uses of modules of the package and that are not there."""
    modules, found = {}, set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pve_corosync"):
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
                except ModuleNotFoundError:
                    continue  # a name of a module, not a module: the import itself fails without it
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if not hasattr(modules[node.value.id], node.attr):
                found.add(f"{node.value.id}.{node.attr}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_file_uses_of_the_package_is_there(path):
    assert missing(ast.parse(path.read_text())) == set()


def test_the_search_finds_what_is_missing():
    assert missing(ast.parse("from pve_corosync.run import change\nchange.NoSuchThing()")) == {
        "change.NoSuchThing"
    }
