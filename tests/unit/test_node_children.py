import os
import time

from pve_corosync.node import children


def test_children_run_at_the_same_time():
    start = time.monotonic()
    told = children.run_all({"a": ["sleep", "1"], "b": ["sleep", "1"], "c": ["echo", "x"]}, timeout=5)
    assert time.monotonic() - start < 1.9
    assert {key: result["rc"] for key, result in told.items()} == {"a": 0, "b": 0, "c": 0}
    assert children.text(told["c"]) == "x\n"
    assert told["a"]["seconds"] >= 1 > told["c"]["seconds"]


def test_output_and_exit_code_are_exact():
    told = children.run(["sh", "-c", "printf 'a\\377'; printf 'b \\n\\n' >&2; exit 3"])
    assert (told["rc"], told["out"], told["err"], told["late"]) == (3, b"a\xff", b"b \n\n", False)
    assert children.text(told) == "a\xff"
    assert children.complaint(told) == "b"
    assert children.complaint(children.run(["sh", "-c", "exit 4"])) == "exit code 4, no text"
    assert children.run(["sh", "-c", "kill -9 $$"])["rc"] == -9


def test_standard_input_is_given_or_empty():
    assert children.run(["cat"], data=b"x" * 60000)["out"] == b"x" * 60000
    assert children.run(["cat"])["out"] == b""
    assert children.run(["true"], data=b"x")["rc"] == 0


def test_large_output_does_not_block():
    assert len(children.run(["head", "-c", "3000000", "/dev/zero"])["out"]) == 3000000


def test_a_program_that_is_not_there_is_an_answer():
    told = children.run_all({"a": ["no-such-tool"], "b": ["/no/such/tool"], "c": ["true"]})
    assert [told[key]["rc"] for key in "abc"] == [127, 127, 0]
    assert children.complaint(told["a"]) == "no-such-tool: No such file or directory"


def test_a_late_child_is_killed_and_told():
    start = time.monotonic()
    told = children.run_all({"a": ["sh", "-c", "echo begun; exec sleep 60"], "b": ["echo", "x"]}, timeout=0.3)
    assert time.monotonic() - start < 2.5
    assert told["a"]["late"] and told["a"]["rc"] is None and told["a"]["out"] == b"begun\n"
    assert children.complaint(told["a"]) == "no answer in time"
    assert told["b"]["rc"] == 0 and not told["b"]["late"]


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_the_caller():
    start = time.monotonic()
    told = children.run(["sh", "-c", "sleep 3 & echo x"], timeout=0.3)
    assert time.monotonic() - start < 2.5
    assert told["rc"] == 0 and told["out"] == b"x\n" and not told["late"]


def test_the_system_directories_are_always_searched(tmp_path):
    env = children.environment({"PATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"})
    assert env["LC_ALL"] == "C"
    assert env["PATH"].split(os.pathsep)[0] == str(tmp_path) and "/usr/sbin" in env["PATH"]
    assert children.environment({"PATH": "/usr/sbin"})["PATH"].count("/usr/sbin") == 1
    assert children.environment({})["PATH"].startswith("/usr/local/sbin")


def test_what_a_child_said_at_the_last_moment_is_taken():
    """It was an exit code of 0 without a text: /etc/pve was then called unmounted."""
    child = children._start(["echo", "x"], children.environment(), None)
    child.wait(timeout=10)
    result = {"rc": None, "out": b"", "err": b"", "late": False, "seconds": 0.0}
    children._end(child, result, 0.0, 0.0, kill=True)
    assert (result["rc"], result["out"], result["late"]) == (0, b"x\n", False)
