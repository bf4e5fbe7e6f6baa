"""The reference, built by Sphinx: without a warning, and with every function that can be called."""

import ast
import html
import pathlib
import re
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = REPO / "docs" / "make_reference.py"
#: what Salt calls by itself, and nobody writes.
HOOKS = {"mod_watch", "mod_init", "mod_aggregate"}


def public_functions(kind):
    """Return the names of all public functions of a kind, read from its files."""
    found = set()
    for path in (REPO / f"_{kind}").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found.add(node.name.rstrip("_"))
    return found - HOOKS


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The folder with ``html`` and ``man``; a warning of Sphinx is an error of the script."""
    folder = tmp_path_factory.mktemp("reference")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("kind", ["modules", "runners", "states", "beacons", "wrapper"])
def test_every_function_is_in_the_pages_and_in_the_manual(reference, kind):
    written = html.unescape("".join(path.read_text() for path in (reference / "html" / kind).glob("*.html")))
    anchors = {name.split(".")[2] for name in re.findall(r'id="(%s\.\w+\.\w+)"' % kind, written)}
    assert anchors == public_functions(kind)
    manual = (reference / "man" / f"pve-corosync-{kind}.7").read_text().replace("\\", "")
    assert [name for name in sorted(anchors) if f".{name}(" not in manual] == []


def test_functions_of_several_files_stand_on_one_page_under_what_is_typed(reference):
    page = html.unescape((reference / "html/runners/corosync.html").read_text())
    text = re.sub(r"<[^>]+>", "", page)
    for call in ("corosync.status(", "corosync.move_primary(", "corosync.report("):
        assert call in text


def test_a_warning_of_sphinx_is_an_error(tmp_path):
    """A copy with one damaged docstring is refused, and the page is named."""
    for name in ("docs", "_modules", "_runners", "_states", "_beacons", "_wrapper", "_utils/pve_corosync"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs/make_reference.py").write_text(SCRIPT.read_text())
    (tmp_path / "_utils/pve_corosync/__init__.py").write_text('__version__ = "1"\n')
    for kind in ("_modules", "_runners", "_states", "_beacons", "_wrapper"):
        (tmp_path / kind / "x.py").write_text(
            '"""Good."""\n\n\ndef f():\n    """\n    Bad:\n      - a\n    b\n    """\n'
        )
    done = subprocess.run(
        [sys.executable, "docs/make_reference.py", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "modules/x.rst" in done.stderr
