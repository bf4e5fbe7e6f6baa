"""A test that failed while the machine stood still is run again, once, and the run says so.

Tests with real daemons bear real deadlines: three seconds of Corosync's token, of a node's look, of Salt's
ping. A virtual machine that its host pauses, for long or again and again, breaks all of them at once,
whatever the code does: such a failure is no fact about the code. One without a stall stands, and so does
the second one.
"""

import os
import time
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from stalls import WINDOW_S, Watch

#: the tests with real daemons
FOLDERS = [Path(__file__).parent / name for name in ("contract", "integration", "lab")]
#: a machine that loses less in ten seconds leaves the shortest deadlines, three seconds, some room
LOST_S = 2.0

WATCH = Watch()


def pytest_runtest_protocol(item, nextitem):
    """Run a test of FOLDERS; once more where it failed while the machine stood still."""
    if not set(FOLDERS) & set(item.path.parents):
        return None
    WATCH.start()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = _run(item, nextitem)
    for report in [report for report in reports if report.failed and report.lost > LOST_S][:1]:
        told = f"run again: the machine stood still for {report.lost:.1f} s; before: {report.said}"
        item.warn(pytest.PytestWarning(told))
        reports = _run(item, nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run(item, nextitem):
    """Return the reports of a test; one of a failure has what the machine lost, and shows it."""
    begin = time.monotonic()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in [report for report in reports if report.failed]:
        report.lost, report.said = WATCH.lost(begin), _crash(report)
        if hasattr(report.longrepr, "addsection"):
            load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
            report.longrepr.addsection("machine", f"lost {report.lost:.1f} s of {WINDOW_S:.0f}, load {load}")
    return reports


def _crash(report):
    """Return what a failed report says in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else report.longreprtext).strip().partition("\n")[0]
