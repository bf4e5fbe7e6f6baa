"""What tests with real daemons do when the machine under them stands still (tests/conftest.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stalls import Watch

TESTS = Path(__file__).resolve().parents[1]

#: the hook as it is, for a folder of its own, on a machine that lost so many seconds
CASE = """
import importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("conftest_of_all", {conftest!r})
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
ours.FOLDERS = [Path(__file__).parent]
ours.WATCH.start = lambda: None
ours.WATCH.lost = lambda since: {lost}
pytest_runtest_protocol = ours.pytest_runtest_protocol
"""
#: a test that fails in its first runs
TEST = """
from pathlib import Path
def test_it(tmp_path):
    runs = Path(__file__).with_name("runs")
    runs.write_text((runs.read_text() if runs.exists() else "") + "x")
    assert len(runs.read_text()) > {bad}, "the word of a failure"
"""


def test_what_the_machine_lost_is_the_most_within_ten_seconds():
    now = [100.0]
    late = iter([0.0, 3.0, 0.05, 1.0, 20.0, 1.5])

    def sleep(seconds):
        now[0] += seconds + next(late)

    watch = Watch(clock=lambda: now[0], sleep=sleep)
    assert watch.lost(100.0) == 0.0
    for _ in range(4):
        watch.look()
    assert watch.lost(100.0) == pytest.approx(4.0), (
        "twice within ten seconds, and what is below a tenth is none"
    )
    assert watch.lost(103.5) == pytest.approx(1.0), "what was over before a test began is not its own"
    watch.look()
    watch.look()
    assert watch.lost(100.0) == pytest.approx(21.5)


@pytest.mark.parametrize(
    ("lost", "bad", "runs", "code"),
    [
        pytest.param(12.0, 1, 2, 0, id="a failure in a stall is tried once more"),
        pytest.param(12.0, 9, 2, 1, id="the second failure stands"),
        pytest.param(0.4, 1, 1, 1, id="a failure without a stall stands"),
        pytest.param(12.0, 0, 1, 0, id="what passes runs once"),
    ],
)
def test_a_failure_while_the_machine_stood_still_is_run_again_and_told(tmp_path, lost, bad, runs, code):
    (tmp_path / "conftest.py").write_text(
        CASE.format(conftest=str(TESTS / "conftest.py"), lost=lost), encoding="ascii"
    )
    (tmp_path / "test_it.py").write_text(TEST.format(bad=bad), encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--rootdir={tmp_path}", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert (tmp_path / "runs").read_text(encoding="ascii") == "x" * runs
    again = "run again: the machine stood still for 12.0 s; before: " in done.stdout
    assert again == (runs == 2), done.stdout
    assert ("the word of a failure" in done.stdout) == (again or bool(code)), done.stdout
    assert (f"lost {lost:.1f} s of 10, load " in done.stdout) == bool(code), done.stdout
