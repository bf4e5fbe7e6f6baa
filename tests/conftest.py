"""A test with real daemons that fails shows how the machine was meanwhile: what it lost, and its load.

Such tests bear real deadlines: three seconds of Corosync's token, of a node's look, of Salt's ping. Where the
machine lost as much (stalls.py), the first question is what held its processors.
"""

import os
from pathlib import Path

import pytest
from stalls import WINDOW_S, Watch

#: the tests with real daemons
FOLDERS = [Path(__file__).parent / name for name in ("contract", "integration", "lab")]

WATCH = Watch()
BEGUN = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Look from the first test of FOLDERS on."""
    item.stash[BEGUN] = WATCH.clock()
    if set(FOLDERS) & set(item.path.parents):
        WATCH.start()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Add a section to the report of a failure."""
    report = yield
    if report.failed and WATCH.running and hasattr(report.longrepr, "addsection"):
        load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
        lost = WATCH.lost(item.stash[BEGUN])
        report.longrepr.addsection("machine", f"lost {lost:.1f} s of {WINDOW_S:.0f}, load {load}")
    return report
