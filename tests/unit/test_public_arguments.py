"""Every argument of every public function of modules, runners and states is checked in one place, first."""

import ast
import importlib.util
import pathlib

import pytest
from pve_corosync import arguments
from salt.exceptions import SaltInvocationError

REPO = pathlib.Path(__file__).resolve().parents[2]
#: files that import nothing of this project, as a process of Salt's own keeps them; they check themselves.
ALONE = {"_modules/corosync_look.py", "_runners/corosync_heard.py"}

#: kind -> (a good value, values that are none).
VALUES = {
    "flag": (True, ["maybe", "", 1, [], {}]),
    "seconds": (5, ["abc", "", -1, float("nan"), float("inf"), True, [], {}]),
    "number": (1, ["x", "", -1, 1.5, True, [], {}]),
    "name": ("pve1", ["", " ", "a\nb", "\x1b[31m", True, 1.5, [], {}, b"a"]),
    "names": ("pve1", ["a\nb", "", True, 1.5, {}, [[]], ["\x1b"], [None]]),
    "line": ("x", ["", "a\nb", "\x1b[31m", True, 1, [], {}]),
    "text": ("x", [True, 1, [], {}, b"x"]),
    "fingerprint": ("SHA256:" + "a" * 43, ["", "SHA256:", "pve1", "SHA256:" + "a" * 44, 7, True, [], {}]),
    "path": ("/x", ["", "x", "/a\nb", True, 1, [], {}]),
    "mapping": ({"a": "b"}, ["a", 1, True, []]),
    "data": ("{a: b}", ["", " ", 1, True, []]),
    "list": ([], ["a", 1, True, {}]),
    "mode": ("freeze", ["melt", "", 1, [], {}]),
    "phase": ("", ["x", 1, [], {}]),
    "strategy": ("live", ["x", "", 1, [], {}]),
    "ssh": ("open", ["x", "", 1, [], {}]),
    "pattern": ("pve*", ["", "a\nb", 1.5, True, {}]),
}


def functions():
    """Yield (file, prefix of the table, function, its node in the syntax tree) of every public function."""
    for folder in ("_modules", "_runners", "_states"):
        for path in sorted((REPO / folder).glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            virtual = [
                node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__virtualname__"
            ]
            prefix = {"_runners": "runner", "_states": "state"}.get(folder, (virtual or [""])[0])
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{folder}/{path.name}", prefix, node.name.rstrip("_"), node


def named(node):
    args = node.args
    return [arg.arg for arg in args.args + args.kwonlyargs] + ([args.vararg.arg] if args.vararg else [])


FOUND = [row for row in functions() if named(row[3])]
ARGUMENTS = [
    (file, f"{prefix}.{name}", node, arg) for file, prefix, name, node in FOUND for arg in named(node)
]


def kind_of(function, arg):
    return arguments.ARGUMENTS.get(f"{function}.{arg}") or arguments.ARGUMENTS.get(arg)


def test_there_are_functions_and_kinds():
    assert len(ARGUMENTS) > 180
    assert {kind.rstrip("?") for kind in arguments.ARGUMENTS.values()} == set(arguments.KINDS) == set(VALUES)


def test_every_argument_has_a_kind_and_every_kind_an_argument():
    missing = {f"{function}.{arg}" for _, function, _, arg in ARGUMENTS if not kind_of(function, arg)}
    assert missing == set()
    used = {arg for *_, arg in ARGUMENTS} | {f"{function}.{arg}" for _, function, _, arg in ARGUMENTS}
    assert set(arguments.ARGUMENTS) <= used


@pytest.mark.parametrize("file, prefix, name, node", [row for row in FOUND if row[0] not in ALONE])
def test_the_check_is_the_first_thing_that_is_done(file, prefix, name, node):
    """So that the junk of the tests below reaches nothing."""
    first = [
        row for row in node.body if not isinstance(row, ast.Expr) or not isinstance(row.value, ast.Constant)
    ]
    text = "\n".join(map(ast.unparse, first))
    if prefix in ("runner", "state"):
        assert "locals()" in text and ("guarded(" in text or "_phase(" in text or f"{prefix}.{name}" in text)
    else:
        assert ast.unparse(first[0]) == f"shell.check('{prefix}.{name}', locals())"


def module(file):
    spec = importlib.util.spec_from_file_location(file.replace("/", "_").removesuffix(".py"), REPO / file)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.__context__ = {}
    made.__opts__, made.__salt__, made.__pillar__ = {"test": False}, {}, {}
    return made


def call(file, function, node, arg, value):
    """Call a function with good values, and one that is not; return what it refuses it with."""
    given = {other: VALUES[kind_of(function, other).rstrip("?")][0] for other in named(node)}
    given[arg] = value
    loaded = module(file)
    extra = given.pop(node.args.vararg.arg) if node.args.vararg else ()
    if node.args.vararg and arg == node.args.vararg.arg:
        extra = value if isinstance(value, list) else [value]
    try:
        told = getattr(loaded, node.name)(*extra, **given)
    except SaltInvocationError as exc:
        return str(exc)
    if file.startswith("_states"):
        assert (told["result"], told["changes"]) == (False, {})
        return told["comment"]
    assert told["result"] == "refused" and told["retcode"] == loaded.__context__["retcode"] == 2, told
    return told["report"] if "report" in told else "\n".join(item["text"] for item in told["findings"])


@pytest.mark.parametrize(
    "file, function, node, arg",
    [row for row in ARGUMENTS if row[0] != "_runners/corosync_heard.py"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_junk_is_refused_with_what_is_allowed(file, function, node, arg):
    kind = kind_of(function, arg)
    junk = VALUES[kind.rstrip("?")][1] + ([] if kind.endswith("?") else [None])
    if node.args.vararg and arg == node.args.vararg.arg:
        junk = [value for value in junk if value != {} and value != [[]]] + [["a", {}]]
    if file in ALONE:
        junk = [value for value in junk if value != ""]
    for value in junk:
        said = call(file, function, node, arg, value)
        assert f"{arg}=" in said and "allowed: " in said, (arg, value, said)


@pytest.mark.parametrize("kind", VALUES)
def test_good_values_pass(kind):
    names = [name for name, row in arguments.ARGUMENTS.items() if row.rstrip("?") == kind]
    for name in names:
        arguments.checked("x.y", {name: VALUES[kind][0]})
        if arguments.ARGUMENTS[name].endswith("?"):
            arguments.checked("x.y", {name: None})


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(arguments.RunError) as caught:
        arguments.checked(
            "runner.apply", {"layout": [], "test": "x", "confirm": -1, "kwargs": {}, "other": 7}
        )
    assert [item["data"]["argument"] for item in caught.value.findings] == ["layout", "test", "confirm"]
