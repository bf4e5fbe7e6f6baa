"""What every Salt file of the tree keeps to, read from the source."""

import ast
import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder in ("_modules", "_runners", "_states", "_beacons", "_output", "_wrapper")
    for path in (REPO / folder).glob("*.py")
    if path.name != "__init__.py"
)
UTILS = sorted(path for path in (REPO / "_utils" / "pve_corosync").rglob("*.py") if path.read_text())
#: what Salt calls by itself; nobody types it.
HOOKS = {"beacon", "validate", "close", "output", "mod_watch", "mod_init", "mod_aggregate"}
#: Salt's own argument for the function of a state; it has no CLI.
NO_CLI = {"_states", "_output"}


def ids(path):
    return f"{path.parent.name}/{path.name}"


def public_functions(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in HOOKS:
            yield node


def test_no_function_is_defined_twice_under_one_name():
    """Salt joins files of one virtual name; of two functions with one name, the file listing would decide."""
    found = {}
    for path in FILES:
        name = next(
            (
                node.value.value
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.Assign)
                and node.targets[0].id == "__virtualname__"
                and isinstance(node.value, ast.Constant)
            ),
            path.stem,
        )
        for node in public_functions(path):
            found.setdefault((path.parent.name, name, node.name), []).append(path.name)
    assert {key: files for key, files in found.items() if len(files) > 1} == {}


def test_there_are_files_to_look_at():
    assert {"_modules", "_runners"} <= {path.parent.name for path in FILES}
    assert len(UTILS) > 10


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_public_function_tells_how_it_is_called(path):
    for node in public_functions(path):
        told = ast.get_docstring(node) or ""
        assert told, f"{path}: {node.name} has no docstring"
        if path.parent.name not in NO_CLI:
            assert "CLI Example:" in told and ".. code-block:: bash" in told, f"{path}: {node.name}"
            name = path.parent.name.strip("_")
            example = told.split(".. code-block:: bash", 1)[1]
            assert node.name.rstrip("_") in example, (
                f"{path}: the {name} example of {node.name} calls something else"
            )


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_pillar_get_is_not_used(path):
    """Salt 3008 gives asterisks for it outside of Jinja."""
    strings = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert "pillar.get" not in strings


@pytest.mark.parametrize("path", FILES + UTILS, ids=ids)
def test_no_shell_and_no_swallowed_error(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                given = getattr(keyword.value, "value", None)
                assert not (keyword.arg in ("shell", "python_shell") and given is True), (
                    f"{path}:{node.lineno}"
                )
        if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
            broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            assert not broad, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", UTILS, ids=ids)
def test_the_core_does_not_import_salt(path):
    if path.match("ports/salt_*.py"):
        return  # what a runner gets from its master: Salt itself is what it adapts
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] == "salt"], f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES + UTILS, ids=ids)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) < 600


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_the_tree_is_as_the_linter_wants_it(words):
    """The rules are in pyproject.toml."""
    ruff = [sys.executable, "-m", "ruff", *words, "--quiet", "--no-cache", "."]
    done = subprocess.run(ruff, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
