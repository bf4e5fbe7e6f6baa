"""One booted cluster per suite for all lab tests; each test finds it in its first state.

LAB_SUITES names the suites (default: both). On a failure the journals of all machines go to artifacts/.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from pathlib import Path

import pytest

from lab.cluster import Lab, LabError
from lab.node import start_time
from lab.state import all_names

SUITES = os.environ.get("LAB_SUITES", "bookworm trixie").split()
#: the longest files, which are begun first; at the end, one alone would keep a processor waiting.
FIRST = ("test_highstate.py", "test_watch.py", "test_three_nodes.py", "test_failover.py", "test_checklist.py")
ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"


def pytest_collection_modifyitems(items):
    """Order the files by :data:`FIRST`, the rest behind them as they are."""
    order = {Path(__file__).with_name(name): place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(FIRST)))


@pytest.fixture(scope="session")
def lab_prefix():
    """Prefix for the names of this run's labs; labs that a killed test run left are removed first.

    Under a lock, as the tests of both suites run side by side and begin at the same moment.
    """
    with open(Path(tempfile.gettempdir(), "pve-corosync-lab-tests.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in all_names():
            owner = re.fullmatch(r"t(\d+)-.*", name)
            if owner and start_time(int(owner[1])) is None:
                Lab(name).down()
    return f"t{os.getpid()}"


@contextlib.contextmanager
def _booted(lab):
    """The lab, booted; it is taken down also when the boot fails."""
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session", params=SUITES)
def booted_lab(request, lab_prefix):
    """A lab of two nodes and a master, booted once for each suite."""
    with _booted(Lab(f"{lab_prefix}-{request.param}", suite=request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def booted_three(lab_prefix):
    """Three nodes of the suite that the other tests use first."""
    with _booted(Lab(f"{lab_prefix}-three", suite=SUITES[0], nodes=3)) as lab:
        yield lab


@pytest.fixture
def lab(booted_lab, request):
    """The booted lab in its first state: healed, quorate, one link on the vRack, version 1 or above."""
    booted_lab.reset()
    failed = request.session.testsfailed
    yield booted_lab
    if request.session.testsfailed > failed:
        _save_journals(booted_lab, request.node.name)


def _save_journals(lab, test):
    ARTIFACTS.mkdir(exist_ok=True)
    for machine in lab.record.machines():
        try:
            text = lab.exec(machine, ["journalctl", "--no-pager", "-n", "2000", "-o", "short-precise"]).stdout
        except LabError as error:
            text = f"{error}\n"
        (ARTIFACTS / f"{re.sub('[^A-Za-z0-9_.-]', '_', test)}-{machine}.log").write_text(
            text, encoding="utf-8"
        )
