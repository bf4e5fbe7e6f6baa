"""Highstate that finds nothing to do: a node proves it by itself, and asks nobody; else it asks as before."""

import json

import pytest
from _corosync_world import VRACK
from _pve_world import put
from _two_nodes import INTERFACES, members

LINKS = {"1": ["pve1", {"0": VRACK["pve1"]}], "2": ["pve2", {"0": VRACK["pve2"]}]}


@pytest.fixture
def quiet(pair):
    """Nothing to do, and all nodes were looked at once."""
    put(pair.one.pve / ".members", members())
    assert pair.state("corosync.ring_layout", "links")["result"] is True
    assert asked(pair)
    return pair


def asked(pair):
    """Whether the other node was asked since the last time."""
    before, pair.seen = getattr(pair, "seen", 0), len(pair.one.calls("ssh "))
    return pair.seen > before


def test_a_key_that_changed_is_compared_again(quiet):
    for node in quiet.both:
        node.file("etc/corosync/authkey", "another key").chmod(0o400)
    for times in range(2):
        assert quiet.state("corosync.ring_layout", "links")["result"] is True
        assert asked(quiet) is (times == 0)


@pytest.mark.parametrize("test", [False, True])
def test_nobody_is_asked_where_nothing_is_to_do(quiet, test):
    ret = quiet.state("corosync.ring_layout", "links", test=test)
    assert ret == {"name": "links", "changes": {}, "result": True, "comment": "reached already, version 5"}
    assert not asked(quiet)


def test_by_hand_all_nodes_are_asked(quiet):
    assert quiet.call("corosync.apply")["result"] == "already"
    assert asked(quiet)


def test_a_look_at_all_nodes_is_remembered_until_the_membership_changes(quiet):
    """After a live change the daemon still has the versions of the last change of membership."""
    quiet.one.daemon(announced=4)
    for times in range(3):
        assert quiet.state("corosync.ring_layout", "links")["result"] is True
        assert asked(quiet) is (times == 0)
    for change in ({"announced": 3}, {"ring": "1.2a"}):
        for node in quiet.both:
            node.daemon(**change)
        assert quiet.state("corosync.ring_layout", "links")["result"] is True
        assert asked(quiet), change
    assert quiet.state("corosync.ring_layout", "links")["result"] is True
    assert not asked(quiet)


def test_a_dry_run_remembers_nothing(quiet):
    quiet.one.daemon(announced=4)
    note = quiet.one.root / "var/lib/pve-corosync/proof.json"
    note.unlink()
    quiet.state("corosync.ring_layout", "links", test=True)
    assert asked(quiet) and not note.exists()


def test_what_was_proved_is_not_proved_again(quiet, monkeypatch):
    assert quiet.state("corosync.ring_layout", "links")["result"] is True
    kept = quiet.one.root / "var/lib/pve-corosync/proved.json"
    mark = kept.read_text()
    kept.write_text(mark.replace('"mark": "', '"mark": "0'))
    quiet.state("corosync.ring_layout", "links", test=True)
    assert kept.read_text() != mark, "a dry run notes nothing"
    for content in ("", "{", "[]", '"x"', '{"mark": null}'):
        kept.write_text(content)
        assert quiet.state("corosync.ring_layout", "links")["result"] is True
        assert kept.read_text() == mark
    monkeypatch.setattr("pve_corosync.run.proof.proof", lambda *_args: ["it was proved again"])
    assert quiet.call("corosync.proved")["unproved"] == []
    quiet.pillar["layouts"]["spare"] = dict(quiet.pillar["layouts"]["nominal"])
    assert quiet.call("corosync.proved")["unproved"] == ["it was proved again"]


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '"x"', '{"version": 5}'])
def test_a_note_that_is_garbage_proves_nothing(quiet, note):
    quiet.one.daemon(announced=4)
    quiet.one.file("var/lib/pve-corosync/proof.json", note)
    assert quiet.state("corosync.ring_layout", "links")["result"] is True
    assert asked(quiet)


def deviations():
    yield "another layout", lambda pair: pair.pillar.update(layout="degraded")
    yield "a node is skipped", lambda pair: pair.pillar.update(skip=["pve2"])
    yield "local file", lambda pair: put(pair.one.local, pair.one.local.read_text() + "\n")
    yield "cluster file", lambda pair: put(pair.one.cluster, pair.one.cluster.read_text() + "\n")
    yield "version", lambda pair: pair.one.daemon(version=4)
    yield "dead link", lambda pair: pair.one.daemon(dead_links=[0])
    yield (
        "link too many",
        lambda pair: pair.one.daemon(
            nodes={key: [name, links | {"1": f"10.9.9.{key}"}] for key, (name, links) in LINKS.items()}
        ),
    )
    yield "no quorum", lambda pair: pair.one.daemon(quorate=False)
    yield "/etc/pve", lambda pair: (pair.one.pve / "local").unlink()
    yield (
        "peer offline",
        lambda pair: put(
            pair.one.pve / ".members",
            json.dumps(json.loads(members()) | {"nodelist": {"pve1": {"id": 1, "online": 1}}}),
        ),
    )


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in deviations()])
def test_what_this_node_cannot_prove_is_not_proved(quiet, change):
    assert quiet.call("corosync.proved")["unproved"] == []
    change(quiet)
    assert quiet.call("corosync.proved")["unproved"] != []
    assert not asked(quiet)


def test_a_pillar_that_is_wrong_is_told_as_before(quiet):
    quiet.pillar["layouts"]["nominal"]["primary"] = "nowhere"
    assert "nowhere" in quiet.call("corosync.proved")["unproved"][0]
    ret = quiet.state("corosync.ring_layout", "links")
    assert ret["result"] is False and "nowhere" in ret["comment"]


def test_the_files_of_the_world_are_the_ones_that_are_proved(quiet):
    """The cases above would prove nothing in a world whose file is not the goal."""
    assert INTERFACES in quiet.one.local.read_text()
