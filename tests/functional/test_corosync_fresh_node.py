"""A freshly installed node asks the master for its rebuild, and tells what comes of it."""

import sys
import time

import salt.loader
from _corosync_world import conf
from _pve_world import put
from _two_nodes import INTERFACES


def test_a_fresh_node_is_told_how_to_join(pair):
    reinstalled(pair)
    ret = pair.state("corosync.ring_layout", "links")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert """orch.rebuild pillar='{"node": "pve1"}'""" in ret["comment"]
    assert "there is no master" in ret["comment"]


def reinstalled(pair):
    pair.one.daemon(running=False)
    for path in (pair.one.local, pair.one.cluster, pair.one.root / "etc/corosync/authkey"):
        path.unlink()


def asked(pair, answer, test=False, answer_wait=None, **kwargs):
    """Run the state with a master that is there; return the events and the result."""
    opts, events = pair.opts(test), []
    functions = salt.loader.minion_mods(opts)

    def send(tag, data):
        events.append((tag, data))
        answer()
        return True

    functions._dict["event.send"] = send
    states = salt.loader.states(opts, functions, salt.loader.utils(opts), {})
    state = states["corosync.ring_layout"]
    if answer_wait is not None:
        sys.modules[state.__module__].ANSWER_WAIT = answer_wait
    return events, state("links", **kwargs)


def test_a_fresh_node_asks_the_master_and_goes_on_when_it_has_joined(pair):
    reinstalled(pair)

    def join():
        for path in (pair.one.local, pair.one.cluster):
            put(path, conf(5, extra=INTERFACES))
        put(pair.one.root / "etc/corosync/authkey", "the-secret-of-the-cluster", 0o400)
        pair.one.daemon(running=True)

    events, ret = asked(pair, join, test=True)
    assert events == [] and ret["result"] is None and set(ret["changes"]) == {"rebuild"}, ret
    events, ret = asked(pair, join)
    assert events == [("corosync/prod/rebuild/pve1", {"node": "pve1", "cluster": "prod"})]
    assert ret["result"] is True and set(ret["changes"]) == {"rebuild"}, ret


def test_a_fresh_node_that_nobody_brings_back_fails_with_the_command(pair):
    reinstalled(pair)
    events, ret = asked(pair, lambda: None, rebuild=0.5)
    assert len(events) == 1 and (ret["result"], ret["changes"]) == (False, {})
    assert "did not join within 0.5 s" in ret["comment"] and "orch.rebuild" in ret["comment"]
    assert asked(pair, lambda: None, rebuild=0)[0] == []


def test_a_fresh_node_tells_what_the_master_answers(pair):
    """A refusal ends the wait at once; an older answer is none."""
    reinstalled(pair)
    assert pair.call("corosync.rebuild_heard") is None
    assert pair.call("corosync.hear_rebuild", "failed", "of yesterday") is True
    begin = time.monotonic()
    ret = asked(pair, lambda: pair.call("corosync.hear_rebuild", "refused", "pve1 is not empty"))[1]
    assert (ret["result"], ret["changes"]) == (False, {}) and time.monotonic() - begin < 60
    assert "it says: refused\npve1 is not empty" in ret["comment"] and "orch.rebuild" in ret["comment"]
    assert pair.call("corosync.rebuild_heard")["result"] == "refused"
    ret = asked(pair, lambda: pair.call("corosync.hear_rebuild", "begun"), rebuild=0.1)[1]
    assert "did not join within 0.1 s" in ret["comment"]


def test_a_master_that_never_answers_is_not_waited_for_to_the_end(pair):
    """Where it has answered, the wait goes on for as long as the join may take."""
    reinstalled(pair)
    begin = time.monotonic()
    ret = asked(pair, lambda: None, answer_wait=0.5)[1]
    assert ret["result"] is False and time.monotonic() - begin < 60
    assert "nothing answered within 0.5 s: is its reactor configured" in ret["comment"]
    ret = asked(pair, lambda: pair.call("corosync.hear_rebuild", "begun"), answer_wait=0.5, rebuild=3)[1]
    assert "did not join within 3 s" in ret["comment"]
