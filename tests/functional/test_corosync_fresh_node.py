"""A freshly installed node asks the master for its rebuild, and tells what comes of it."""

import json
import re
import sys
import threading
import time

import pytest
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


def asked(pair, answer, test=False, answer_wait=None, again=None, **kwargs):
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
    if again is not None:
        sys.modules[state.__module__].ASK_AGAIN = again
    return events, state("links", **kwargs)


def join(pair):
    for path in (pair.one.local, pair.one.cluster):
        put(path, conf(5, extra=INTERFACES))
    put(pair.one.root / "etc/corosync/authkey", "the-secret-of-the-cluster", 0o400)
    pair.one.daemon(running=True)


def test_a_fresh_node_asks_the_master_and_goes_on_when_it_has_joined(pair):
    reinstalled(pair)
    events, ret = asked(pair, lambda: join(pair), test=True)
    assert events == [] and ret["result"] is None and set(ret["changes"]) == {"rebuild"}, ret
    events, ret = asked(pair, lambda: join(pair))
    ((tag, data),) = events
    assert (tag, data["node"], data["cluster"]) == ("corosync/prod/rebuild/pve1", "pve1", "prod")
    assert re.fullmatch("[0-9a-f]{32}", data["nonce"])
    assert ret["result"] is True and set(ret["changes"]) == {"rebuild"}, ret


@pytest.mark.parametrize(("end", "wait"), [("rebuilt", 60), ("failed", 60), (None, 3)])
def test_a_node_that_is_quorate_waits_for_the_end_of_the_masters_work(pair, end, wait):
    """It goes on then in any case: what is not right is its own highstate's. A master may die meanwhile."""
    reinstalled(pair)
    later = threading.Timer(4, lambda: pair.call("corosync.hear_rebuild", end, "") if end else None)

    def begin():
        pair.call("corosync.hear_rebuild", "begun")
        join(pair)
        later.start()

    ret = asked(pair, begin, rebuild=wait)[1]
    assert pair.call("corosync.rebuild_heard")["result"] == (end or "begun")
    later.join()
    assert ret["result"] is True and set(ret["changes"]) == {"rebuild"}, ret


def test_a_node_wants_to_be_rebuilt_only_if_it_asked_and_only_once(pair):
    reinstalled(pair)
    assert pair.call("corosync.rebuild_wanted", "0" * 32)["wanted"] is False
    nonce = pair.call("corosync.ask_rebuild", "pve1")
    yes = {"wanted": True, "text": "", "node": "pve1"}
    assert pair.call("corosync.rebuild_wanted", nonce) == yes
    assert pair.call("corosync.rebuild_wanted", nonce)["wanted"] is False, "a yes is given once"


def test_an_event_that_somebody_else_sent_keeps_no_node_from_its_rebuild(pair):
    """It came first, and the node's own one is passed over: the node is asked, and says what it wants."""
    reinstalled(pair)
    pair.call("corosync.ask_rebuild", "pve1")
    assert pair.call("corosync.rebuild_wanted", "0" * 32) == {"wanted": True, "text": "", "node": "pve1"}


def test_a_node_in_use_does_not_want_to_be_rebuilt(pair):
    nonce = pair.call("corosync.ask_rebuild")
    told = pair.call("corosync.rebuild_wanted", nonce)
    assert told["wanted"] is False and "not freshly installed" in told["text"]


def test_what_a_node_asked_for_long_ago_is_forgotten(pair):
    reinstalled(pair)
    nonce = pair.call("corosync.ask_rebuild")
    kept = pair.one.root / "run/pve-corosync/rebuild-asked.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"time": time.time() - 601}))
    assert "ago" in pair.call("corosync.rebuild_wanted", nonce)["text"]


def test_a_question_without_an_answer_is_asked_again(pair):
    """Each with a nonce of its own; a flood of others' events may hide one."""
    reinstalled(pair)
    events, ret = asked(pair, lambda: None, again=0.0, rebuild=3)
    assert len({data["nonce"] for _, data in events}) == len(events) > 1, ret


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
