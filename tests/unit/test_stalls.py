"""What a failure of a test with real daemons says of the machine (tests/stalls.py, tests/conftest.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stalls import Watch

TESTS = Path(__file__).resolve().parents[1]


def test_what_the_machine_lost_is_the_most_within_ten_seconds():
    now = [100.0]
    late = iter([0.0, 3.0, 0.05, 1.0, 20.0, 1.5])

    def sleep(seconds):
        now[0] += seconds + next(late)

    watch = Watch(clock=lambda: now[0], sleep=sleep)
    assert watch.lost(100.0) == 0.0
    for _ in range(4):
        watch.look()
    assert watch.lost(100.0) == pytest.approx(4.0), "twice within ten seconds; what is below a tenth is none"
    assert watch.lost(103.5) == pytest.approx(1.0), "what was over before a test began is not its own"
    watch.look()
    watch.look()
    assert watch.lost(100.0) == pytest.approx(21.5)


#: the hooks as they are, for a folder of its own, on a machine that lost so many seconds
CASE = """
import importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("conftest_of_all", {conftest!r})
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
ours.FOLDERS = [{folder}]
ours.WATCH.lost = lambda since: 12.0
pytest_runtest_setup = ours.pytest_runtest_setup
pytest_runtest_makereport = ours.pytest_runtest_makereport
"""
TEST = """
def test_it():
    assert {good}
"""


@pytest.mark.parametrize(
    ("folder", "good", "told"),
    [
        pytest.param("Path(__file__).parent", False, True, id="a failure shows it"),
        pytest.param("Path(__file__).parent", True, False, id="what passes does not"),
        pytest.param("Path('/elsewhere')", False, False, id="nor what has no real daemons"),
    ],
)
def test_a_failure_shows_what_the_machine_lost(tmp_path, folder, good, told):
    conftest = CASE.format(conftest=str(TESTS / "conftest.py"), folder=folder)
    (tmp_path / "conftest.py").write_text(conftest, encoding="ascii")
    (tmp_path / "test_it.py").write_text(TEST.format(good=good), encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--rootdir={tmp_path}", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (not good), done.stdout
    assert ("lost 12.0 s of 10, load " in done.stdout) == told, done.stdout
