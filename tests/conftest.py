"""For all tests: what fails while the machine stands still is run again (stalls.py)."""

from stalls import pytest_runtest_protocol  # noqa: F401 (a hook)
