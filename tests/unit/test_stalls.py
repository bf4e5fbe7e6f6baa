"""What the lab's tests do when the machine under them stands still (tests/lab/stalls.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[1] / "lab"
sys.path.append(str(LAB))
from stalls import Watch  # noqa: E402

#: a test that fails the first time it runs, or always, on a machine that stood still for so many seconds
CASE = """
from pathlib import Path
import stalls
stalls.HERE = Path(__file__).parent
stalls.WATCH.start = lambda: None
stalls.WATCH.longest = lambda since: {stall}
from stalls import pytest_runtest_protocol
"""
TEST = """
from pathlib import Path
def test_it(tmp_path):
    runs = Path(__file__).with_name("runs")
    runs.write_text((runs.read_text() if runs.exists() else "") + "x")
    assert len(runs.read_text()) > {bad}, "the word of a failure"
"""


def test_a_wake_that_comes_late_is_a_stall_from_its_end_on():
    now = [100.0]
    late = iter([0.0, 3.0, 0.05])

    def sleep(seconds):
        now[0] += seconds + next(late)

    watch = Watch(clock=lambda: now[0], sleep=sleep)
    for _ in range(3):
        watch.look()
    assert watch.longest(100.0) == pytest.approx(3.0)
    assert watch.longest(103.3) == 0.0, "what was over before a test began is not its own"


@pytest.mark.parametrize(
    ("stall", "bad", "runs", "code"),
    [
        pytest.param(12.0, 1, 2, 0, id="a failure in a stall is tried once more"),
        pytest.param(12.0, 9, 2, 1, id="the second failure stands"),
        pytest.param(0.4, 1, 1, 1, id="a failure without a stall stands"),
        pytest.param(12.0, 0, 1, 0, id="what passes runs once"),
    ],
)
def test_a_failure_while_the_machine_stood_still_is_run_again_and_told(tmp_path, stall, bad, runs, code):
    (tmp_path / "conftest.py").write_text(CASE.format(stall=stall), encoding="ascii")
    (tmp_path / "test_it.py").write_text(TEST.format(bad=bad), encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--rootdir={tmp_path}", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(LAB), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
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
    assert (f"longest stall {stall:.1f} s, load " in done.stdout) == bool(code), done.stdout
