"""The stand-in's own group: what is sent at a bad moment has an answer, and waits for none for ever."""

import errno
import sys
import threading

import pytest
from contract_nodes import STANDINS


@pytest.fixture
def group(monkeypatch):
    """Its module, which loads corosync's libraries."""
    monkeypatch.setattr(sys, "path", [str(STANDINS), *sys.path])
    from pmxcfs_lib import group as module  # pylint: disable=import-outside-toplevel

    return module


def test_nothing_is_sent_by_a_connection_that_has_not_joined_yet(group, monkeypatch):
    """Corosync drops such a message without a word: whoever asked would wait for ever."""
    joining, go_on = threading.Event(), threading.Event()

    class Slow:
        nodeid = 1

        def __init__(self, *_args):
            self.joined = False

        def join(self):
            joining.set()
            assert go_on.wait(10)
            self.joined = True

        def send(self, _data):
            assert self.joined, "it would be lost"

    monkeypatch.setattr(group, "Group", Slow)
    member = group.Member("pve_dcdb_v1", "dcdb", backend=None)
    opening = threading.Thread(target=member.open)
    opening.start()
    assert joining.wait(10)
    assert member.ask({"act": "mkdir"}) == -errno.EBUSY
    go_on.set()
    opening.join()
    member.send({"act": "mkdir"})
