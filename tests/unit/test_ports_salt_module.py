import pathlib
import re

import pytest
from pve_corosync.ports import salt_module as module
from salt.exceptions import SaltInvocationError

MODULES = sorted((pathlib.Path(__file__).resolve().parents[2] / "_modules").glob("*.py"))


@pytest.mark.parametrize("value", [float("nan"), "nan", float("inf"), "inf", -1, "x", None, True, [], {}])
def test_what_is_no_time_is_refused(value):
    """A wait until NaN seconds are over never ends: no comparison with NaN is true."""
    with pytest.raises(SaltInvocationError, match="timeout .*seconds are needed"):
        module.seconds(value, most=60)


def test_more_than_the_most_is_cut():
    assert module.seconds("5", most=60) == 5 and module.seconds(1e9, most=60) == 60 and module.seconds(0) == 0


def test_paths():
    assert module.root({}) is None and module.path({}, "/etc/x") == "/etc/x"
    opts = {"pve_corosync": {"root": "/tmp/r"}}
    assert module.root(opts) == "/tmp/r" and module.path(opts, "/etc/x") == "/tmp/r/etc/x"


def test_a_pillar_that_was_brought_along_wins():
    own = {"corosync": {"layout": "a"}}
    assert module.pillar(own) == {"layout": "a"} and module.pillar({}) is None
    assert module.pillar(own, {"layout": "b"}) == module.pillar(own, '{"layout": "b"}') == {"layout": "b"}
    with pytest.raises(SaltInvocationError, match="pillar='{no.*nothing was done"):
        module.pillar(own, "{no")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_checks_seconds_by_itself(path):
    """Seven did, and four of them took NaN."""
    if path.name == "corosync_alone.py":  # through Salt and by hand alike, it says the same of its own words
        assert "not 0 <= seconds < float" in path.read_text()
        return
    assert not re.search(r"def _seconds|min\(float\((value|seconds)", path.read_text())
