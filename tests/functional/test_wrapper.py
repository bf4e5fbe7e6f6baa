"""The wrappers for salt-ssh through Salt's loader, with what a node answers recorded."""

import json
import types

import pytest
import salt.client.ssh
import salt.config
import salt.loader
from _pve_world import REPO

PILLAR = {"nodes": {"pve1": {}, "pve2": {}}, "layouts": {"nominal": {"links": {0: {"network": "vrack"}}}}}
#: what Salt 3006 prints where the modules came without the package that they import.
WITHOUT = "/x.py:27: DeprecationWarning: 'crypt'\n  import crypt\n'corosync.status' is not available.\n"


@pytest.fixture
def door(monkeypatch):
    """``call(function, pillar, **kwargs)``; ``answer``: what a node prints, ``asked``: what it was asked."""
    it = types.SimpleNamespace(asked=[], answer=("", "", 0), context={"fileclient": None})

    class Single:
        def __init__(self, opts, argv, **_more):
            it.asked.append(argv)

        def cmd_block(self):
            return it.answer

    monkeypatch.setattr(salt.client.ssh, "Single", Single)

    def call(function, pillar=PILLAR, **kwargs):
        opts = salt.config.DEFAULT_MASTER_OPTS.copy()
        opts.update(
            wrapper_dirs=[str(REPO / "_wrapper")],
            id="pve1",
            grains={},
            pillar={"corosync": pillar} if pillar else {},
        )
        functions = types.SimpleNamespace(
            mods={}, minion_opts={}, kwargs={"id_": "pve1", "host": "192.0.2.1"}
        )
        return salt.loader.ssh_wrapper(opts, functions, it.context)[function](**kwargs)

    it.call = call
    return it


def test_the_masters_pillar_goes_along_and_the_report_comes_back(door):
    report = {
        "retcode": 1,
        "verdict": {"text": "lost, type on every node:", "command": "salt-call --local a degraded=True"},
    }
    door.answer = (json.dumps({"local": {"return": report, "retcode": 1, "out": "corosync_table"}}), "", 0)
    told = door.call("corosync.apply", layout="degraded", degraded=True, patience=5, __pub_jid="1")["local"]
    assert told["out"] == "corosync_table" and door.context["retcode"] == 1
    assert told["return"]["verdict"] == {"text": "lost:", "command": "salt-ssh -L pve1,pve2 a degraded=True"}
    ((function, *words),) = door.asked
    given = dict(word.split("=", 1) for word in words)
    assert function == "corosync.apply" and set(given) == {"layout", "degraded", "patience", "pillar"}
    assert json.loads(given["pillar"]) == json.loads(json.dumps(PILLAR))


@pytest.mark.parametrize("function", ["corosync.status", "corosync.plan"])
def test_without_a_pillar_none_is_made_up(door, function):
    door.answer = (json.dumps({"local": {"return": {"retcode": 0}}}), "", 0)
    assert door.call(function, pillar=None) == {"local": {"return": {"retcode": 0}}}
    assert not any(word.startswith("pillar=") for word in door.asked[0]) and door.context["retcode"] == 0


def test_a_node_that_got_no_code_says_which_line_is_missing(door):
    door.answer = ("", WITHOUT, 1)
    told = door.call("corosync.status")["local"]
    assert told["return"].splitlines()[0] == "'corosync.status' is not available."
    assert (
        "  thin_extra_mods: pve_corosync\n" in told["return"]
        and "salt-ssh -t pve1 test.ping" in told["return"]
    )
    assert max(map(len, told["return"].splitlines())) <= 80 and door.context["retcode"] == 1


@pytest.mark.parametrize(
    "answer, said",
    [
        (("", "ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n", 255), "Connection refused"),
        (("", "", 0), "the node gave no answer"),
        (("half a {", "", 0), "half a {"),
    ],
)
def test_no_answer_is_an_error_that_says_why(door, answer, said):
    door.answer = answer
    told = door.call("corosync.status")["local"]
    assert said in told["return"] and "thin_extra_mods" not in told["return"] and door.context["retcode"]
