"""
Write the reference of modules, states, runners and beacons from the docstrings, as HTML and as man pages:

    python3 docs/make_reference.py build/reference

Needs Sphinx, and no Salt: the sources are read and not imported. A page is what Salt makes of several files,
one virtual name; a function is there under the name that one types. Warnings are errors.
"""

import ast
import pathlib
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {
    "modules": ("Execution modules", "asked of a node: salt pve1 MODULE.FUNCTION"),
    "runners": ("Runners", "asked of the master: salt-run RUNNER.FUNCTION"),
    "states": ("States", "for SLS files"),
    "beacons": ("Beacons", "the watch on a node"),
    "wrapper": ("Wrappers of salt-ssh", "asked of a node over ssh: salt-ssh pve1 MODULE.FUNCTION"),
}
#: what Salt calls by itself in a state.
HOOKS = {"mod_watch", "mod_init", "mod_aggregate"}
CONF = """\
project = "pve-corosync"
version = release = {version!r}
html_theme = "alabaster"
html_theme_options = {{"page_width": "1100px"}}
html_copy_source = False
add_module_names = False
man_pages = [
    (f"{{kind}}/index", f"pve-corosync-{{kind}}", text, "", 7)
    for kind, text in {titles!r}.items()
]
"""


def constant(tree, name, default):
    """Return the value of a constant of a parsed file, the default if the file does not set it."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            return ast.literal_eval(node.value)
    return default


def heading(text, line):
    """Return a heading of reStructuredText."""
    return f"{text}\n{line * len(text)}\n"


def pages(kind):
    """Return ``{virtual name: [(file, its syntax tree)]}`` of a kind."""
    found = {}
    for path in sorted((ROOT / f"_{kind}").glob("*.py")):
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found.setdefault(constant(tree, "__virtualname__", path.stem), []).append((path, tree))
    return found


def function(name, node):
    """Return the entry of one function."""
    arguments = ast.unparse(node.args)
    body = textwrap.indent(ast.get_docstring(node) or "", "    ")
    return f".. py:function:: {name}({arguments})\n\n{body}\n"


def page(kind, name, files):
    """Return the page of one virtual name: what each of its files says of itself, and its functions."""
    parts = [heading(name, "="), f".. index:: single: {name}; of {kind}\n"]
    parts.append(f".. py:currentmodule:: {kind}\n")
    for path, tree in files:
        if len(files) > 1:
            parts.append(heading(path.stem, "-"))
        parts.append((ast.get_docstring(tree) or "") + "\n")
        aliases = constant(tree, "__func_alias__", {})
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public and node.name not in HOOKS:
                parts.append(function(f"{name}.{aliases.get(node.name, node.name)}", node))
    return "\n".join(parts)


def sources(folder):
    """Write the sources of the reference into a folder."""
    version = constant(
        ast.parse((ROOT / "_utils/pve_corosync/__init__.py").read_text(encoding="utf-8")), "__version__", None
    )
    titles = {kind: f"pve-corosync: {title.lower()}, {text}" for kind, (title, text) in KINDS.items()}
    (folder / "conf.py").write_text(CONF.format(version=version, titles=titles), encoding="utf-8")
    tree = [heading("pve-corosync", "="), ".. toctree::\n   :maxdepth: 2\n"]
    for kind, (title, text) in KINDS.items():
        tree.append(f"   {kind}/index")
        (folder / kind).mkdir()
        index = [heading(title, "="), f"{text[0].upper()}{text[1:]}.\n", ".. toctree::\n   :maxdepth: 1\n"]
        for name, files in pages(kind).items():
            index.append(f"   {name}")
            (folder / kind / f"{name}.rst").write_text(page(kind, name, files), encoding="utf-8")
        (folder / kind / "index.rst").write_text("\n".join(index) + "\n", encoding="utf-8")
    (folder / "index.rst").write_text("\n".join(tree) + "\n", encoding="utf-8")


def build(target):
    """Build ``target/html`` and ``target/man``; raise CalledProcessError where Sphinx has a warning."""
    with tempfile.TemporaryDirectory() as made:
        source = pathlib.Path(made, "source")
        source.mkdir()
        sources(source)
        for builder in ("html", "man"):
            subprocess.run(
                [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder]
                + ["-d", f"{made}/trees", str(source), str(pathlib.Path(target, builder))],
                check=True,
            )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python3 docs/make_reference.py FOLDER")
    build(sys.argv[1])
