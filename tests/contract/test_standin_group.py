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

        def send(self, _data, _told):
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


def test_whoever_leaves_does_not_wait_for_who_sends(group, monkeypatch):
    """Corosync says TRY_AGAIN to the one for long; the other is the thread that dispatches, quorum too."""
    sending, go_on = threading.Event(), threading.Event()

    class Busy:
        nodeid = 1

        def __init__(self, *_args):
            pass

        def join(self):
            pass

        leave = close = join

        def send(self, _data, _told):
            sending.set()
            assert go_on.wait(20)

    monkeypatch.setattr(group, "Group", Busy)
    member, told = group.Member("pve_dcdb_v1", "dcdb", backend=None), []
    member.open()
    asking = threading.Thread(target=lambda: told.append(member.ask({"act": "mkdir"})))
    asking.start()
    assert sending.wait(10)
    leaving = threading.Thread(target=member.leave)
    leaving.start()
    leaving.join(5)
    late = leaving.is_alive()
    go_on.set()
    asking.join(10)
    leaving.join(10)
    assert not late and told == [-errno.EBUSY]
