"""What a node may have the master do by an event: the reactor's file, and the runner that it starts."""

import json
import pathlib

import pytest
import salt.config
import salt.loader
import salt.template
from _pve_world import REPO
from _two_nodes import PILLAR
from pve_corosync.ports import master


class Refused(Exception):
    """The report says that nothing was done."""


@pytest.fixture
def opts(tmp_path):
    found = salt.config.DEFAULT_MASTER_OPTS.copy()
    found.update(
        cachedir=str(tmp_path),
        pki_dir=str(tmp_path / "pki"),
        __role="master",
        id="master_master",
        extension_modules=str(tmp_path / "extmods"),
        runner_dirs=[str(REPO / "_runners")],
        utils_dirs=[str(REPO / "_utils")],
        renderer="jinja|yaml",
        renderer_blacklist=[],
        renderer_whitelist=[],
    )
    accepted = tmp_path / "pki/minions"
    accepted.mkdir(parents=True)
    for name in ("pve1", "pve2", "pve2.example", "other"):
        (accepted / name).write_text("a public key\n")
    return found


NONCE = "6f1ed002ab5595859014ebf0951522d9"


def ask(opts, minion, node, pillar, told=None, nonce=NONCE, wanted=True, name=None):  # pylint: disable=too-many-arguments
    """Call the runner; return what it had rebuilt. name: as which node the minion says that it wants it."""
    context, rebuilt = {}, []
    runners = salt.loader.runner(opts, context=context)

    def rebuild(*args, **kwargs):
        assert context[master.ASKED], "it gives way to an operator"
        rebuilt.append((args, kwargs))
        return {"result": "rebuilt", "report": "pve2 is a member", "retcode": 0}

    def execute(tgt, fun, tgt_type, timeout, kwarg):
        if fun == "corosync.rebuild_wanted":
            assert kwarg == {"nonce": nonce} and not rebuilt
            return (
                {tgt[0]: {"wanted": wanted, "text": "it says so", "node": name}} if wanted is not None else {}
            )
        if told is None:
            raise OSError("no bus")
        told.append((tgt, fun, tgt_type, kwarg["result"], kwarg["text"]))

    runners._dict["pillar.show_pillar"] = lambda _minion: pillar
    runners._dict["corosync.rebuild"] = rebuild
    runners._dict["salt.execute"] = execute
    try:
        report = runners["corosync.rebuild_asked"](minion, node, nonce)
        if report["result"] == "refused":
            assert report["retcode"] and context["retcode"] == report["retcode"]
            raise Refused(report["findings"][0]["text"])
    finally:
        assert len(rebuilt) < 2 and master.ASKED not in context
    return rebuilt


def test_a_node_that_asks_for_itself_is_rebuilt(opts):
    pillar = json.loads(json.dumps(PILLAR))
    pillar["nodes"]["pve2"]["minion"] = "pve2.example"
    rebuilt = ask(opts, "pve2.example", "pve2", {"corosync": pillar})
    assert rebuilt == [(("pve2",), {"cluster": "prod", "progress": False, "brief": True})]


def test_the_minion_that_asked_is_told_and_nobody_else(opts):
    told, call = [], (["pve2"], "corosync.hear_rebuild", "list")
    ask(opts, "pve2", "pve2", {"corosync": PILLAR}, told)
    assert told == [(*call, "begun", ""), (*call, "rebuilt", "pve2 is a member")]
    told.clear()
    forget(opts)
    with pytest.raises(Refused):
        ask(opts, "pve2", "pve1", {"corosync": PILLAR}, told)
    (row,) = told
    assert row[:4] == (*call, "refused") and "its pillar allows pve2" in row[4]


def forget(opts):
    """As if the last event was long ago."""
    for stamp in (pathlib.Path(opts["cachedir"]) / "pve-corosync-asked").iterdir():
        stamp.unlink()


def test_a_false_name_in_an_event_refuses_nothing(opts):
    """Somebody sent it in the node's name, with another node in it: what the node says counts."""
    told = []
    rebuilt = ask(opts, "pve2", "pve1", {"corosync": PILLAR}, told, name="pve2")
    assert rebuilt[0][0] == ("pve2",) and [row[3] for row in told] == ["begun", "rebuilt"]


@pytest.mark.parametrize("wanted", [False, None])
def test_what_a_node_did_not_ask_for_is_not_done(opts, wanted):
    """An event that another minion sent in its name: the node says so, or says nothing."""
    told = []
    with pytest.raises(Refused, match="does not want to be rebuilt.*nothing was done"):
        ask(opts, "pve2", "pve2", {"corosync": PILLAR}, told, wanted=wanted)
    assert told == []


@pytest.mark.parametrize("nonce", [None, "", "x" * 32, ["6f"], NONCE + "\n"])
def test_an_event_without_a_nonce_asks_nobody(opts, nonce):
    told = []
    with pytest.raises(Refused, match="nonce"):
        ask(opts, "pve2", "pve2", {"corosync": PILLAR}, told, nonce=nonce, wanted=True)
    assert told == []


def test_a_flood_of_events_asks_nobody(opts):
    with pytest.raises(Refused):
        ask(opts, "pve2", "pve2", {"corosync": PILLAR}, wanted=False)
    with pytest.raises(Refused, match="less than 2 s ago"):
        ask(opts, "pve2", "pve2", {"corosync": PILLAR}, wanted=True)
    assert ask(opts, "pve1", "pve1", {"corosync": PILLAR})[0][0] == ("pve1",), "another minion is not held up"


def test_names_that_events_make_up_ask_nobody_and_leave_nothing(opts):
    for number in range(20):
        with pytest.raises(Refused, match="has no accepted key"):
            ask(opts, f"ghost{number}", "pve2", {"corosync": PILLAR}, wanted=None)
    assert not (pathlib.Path(opts["cachedir"]) / "pve-corosync-asked").exists()


@pytest.mark.parametrize(
    "minion, node, text",
    [
        ("pve1", "pve2", "its pillar allows pve1"),
        ("other", "pve2", "its pillar allows none"),
        ("pve1", "pve9", "its pillar allows pve1"),
        ("pve1", ["pve1"], "allowed: a name"),
    ],
)
def test_a_minion_that_asks_for_another_node_is_refused(opts, minion, node, text):
    with pytest.raises(Refused, match=text):
        ask(opts, minion, node, {"corosync": PILLAR})


def test_a_minion_without_the_pillar_is_refused(opts):
    with pytest.raises(Refused, match="nothing was done"):
        ask(opts, "pve1", "pve1", {})


def rendered(opts, data):
    rend = salt.loader.render(opts, {})
    path = str(REPO / "states/reactor/rebuild.sls")
    return salt.template.compile_template(path, rend, "jinja|yaml", [], [], tag="t", data=data)


def test_the_reactor_names_the_sender_as_the_master_knows_it(opts):
    data = {"node": "pve2", "id": "pve1", "minion": "pve1", "nonce": NONCE}
    (call,) = rendered(opts, {"id": "pve2", "data": data}).values()
    args = [{"minion": "pve2"}, {"node": "pve2"}, {"nonce": NONCE}]
    assert call == {"runner.corosync.rebuild_asked": [{"args": args}]}


def test_the_reactor_lets_no_text_out_of_its_place(opts):
    odd = "pve2\n- evil: {{ 1 }}"
    (call,) = rendered(opts, {"id": "pve2", "data": {"node": odd}}).values()
    assert call["runner.corosync.rebuild_asked"][0]["args"][1] == {"node": odd}


@pytest.mark.parametrize("data", [{}, {"id": "pve2"}, {"data": {"node": "pve2"}}, {"id": "pve2", "data": {}}])
def test_an_event_without_sender_or_node_starts_nothing(opts, data):
    assert not rendered(opts, data)
