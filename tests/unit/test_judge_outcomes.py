"""judge.outcomes: what the outcomes of a step mean."""

import json

import pytest
from pve_corosync.judge import outcomes


def answer(value, retcode=0, success=True):
    return {"return": value, "retcode": retcode, "success": success}


STEP = {
    "number": 2,
    "act": "local",
    "version": 6,
    "text": "add link 2",
    "deadline_s": 20,
    "wait": {"connected": {2: [["pve1", "pve2"]]}, "quorate": True, "writable": False},
}


def outcome(ok=True, version=6, connected=True, quorate=True, **more):
    return {
        "number": 2,
        "ok": ok,
        "error": "",
        "missing": [],
        "seconds": {"quorate": 0.5},
        "seen": {"version": version, "connected": {2: {"pve2": connected}}, "quorate": quorate},
    } | more


def test_a_good_outcome_lacks_nothing():
    assert outcomes.unmet("pve1", STEP, outcome()) == []


@pytest.mark.parametrize(
    "bad, words",
    [
        (outcome(version=5), "runs version 5, not 6"),
        (outcome(connected=False), "link 2 to pve2 not connected"),
        (outcome(quorate=False), "not quorate"),
        (outcome(ok=False, error="corosync refused it"), "corosync refused it"),
        (outcome(ok=False), "without a reason"),
        (outcome(seen={}), "runs version None"),
    ],
)
def test_the_evidence_counts_and_not_ok_alone(bad, words):
    assert words in "; ".join(outcomes.unmet("pve1", STEP, bad))
    (item,) = outcomes.judge(STEP, {"pve1": bad}, ["pve1"])
    assert item["code"] == "step-failed" and item["data"]["node"] == "pve1"


def test_a_new_link_that_does_not_connect_may_be_filtered_on_the_way():
    (item,) = outcomes.judge(STEP | {"add": [2]}, {"pve1": outcome(connected=False)}, ["pve1"])
    assert "UDP 5407" in item["remedy"] and "corosync.probe " in item["remedy"]
    own = "totem {\n  config_version: 6\n  interface {\n    linknumber: 2\n    mcastport: 6000\n  }\n}\n"
    added = STEP | {"add": [2], "conf": own}
    (item,) = outcomes.judge(added, {"pve1": outcome(connected=False)}, ["pve1"], layout="degraded")
    assert "UDP 6000 " in item["remedy"] and "salt-run corosync.probe degraded names" in item["remedy"]
    (item,) = outcomes.judge(STEP | {"add": []}, {"pve1": outcome(connected=False)}, ["pve1"])
    assert item["remedy"] == ""


def test_a_pair_of_other_nodes_is_not_asked_of_a_node():
    step = STEP | {"wait": {"connected": {"2": [["pve2", "pve3"]]}, "quorate": True}}
    assert outcomes.unmet("pve1", step, outcome(connected=False)) == []


def test_a_restart_writes_first_and_the_file_counts():
    written = outcome(seen={"file_version": 6}, phase="files")
    assert outcomes.unmet("pve1", STEP, written, "files") == []
    assert "version 4" in outcomes.unmet("pve1", STEP, outcome(seen={"file_version": 4}), "files")[0]


def test_judge_names_nodes_without_outcome_and_with_an_error():
    items = outcomes.judge(STEP, {"pve2": "Traceback\nCommandExecutionError: not staged"}, ["pve1", "pve2"])
    assert [(item["code"], item["data"]["node"]) for item in items] == [
        ("step-unanswered", "pve1"),
        ("step-failed", "pve2"),
    ]
    assert items[1]["text"].endswith("pve2: CommandExecutionError: not staged")


@pytest.mark.parametrize(
    "value, expected",
    [
        (outcome(), True),
        (outcome(number=1), False),
        (outcome(phase="files"), False),
        (None, False),
        ("x", False),
        ({"number": 2}, False),
    ],
)
def test_what_is_an_outcome_is_returned(value, expected):
    assert outcomes.outcome(value, 2) == (value if expected else None)


EVIL = "bad\x1b[2J\x1b]0;title\x07 word\x9b"


def test_the_texts_of_an_outcome_are_cleaned():
    told = outcomes.outcome(outcome(ok=False, error=EVIL, missing=[EVIL], notes=[EVIL], log=[EVIL]), 2)
    assert [told["error"], told["missing"], told["notes"], told["log"]] == ["bad word", *[["bad word"]] * 3]


@pytest.mark.parametrize("told", [outcome(ok=False, error=EVIL), f"Traceback\n{EVIL}"])
def test_what_failed_in_a_step_is_told_without_control_characters(told):
    (item,) = outcomes.judge(STEP, {"pve1": told}, ["pve1"])
    assert "bad word" in item["text"] and not set("\x1b\x07\x9b") & set(item["text"] + str(item["data"]))
    assert "x1b" not in repr(item)


def test_a_round_says_what_it_does():
    step = {"act": "restart", "version": 8, "text": "put layout nominal into every local file, restart"}
    assert outcomes.round_text(step, "files") == "version 8 into every local file, no daemon yet"
    assert outcomes.round_text(step, "restart") == "restart corosync and wait until it is back"
    assert outcomes.round_text(step | {"act": "local", "text": "add link 1"}, "") == "add link 1"


def test_rounds():
    nodes = ["a", "b", "c"]
    assert outcomes.rounds({"act": "cluster"}, nodes) == [("", nodes)]
    assert outcomes.rounds({"act": "local", "nodes": ["c", "a"]}, nodes) == [("", ["a", "c"])]
    assert outcomes.rounds({"act": "restart", "mode": "together"}, nodes) == [
        ("files", nodes),
        ("restart", nodes),
    ]
    assert outcomes.rounds({"act": "restart", "mode": "rolling"}, nodes) == [
        ("files", nodes),
        ("restart", ["a"]),
        ("restart", ["b"]),
        ("restart", ["c"]),
    ]


def test_stage_problems():
    checks = {"ok": False, "checks": [{"ok": False, "text": "bad token"}, {"ok": False, "text": "bad token"}]}
    answers = {
        "m1": answer({"ok": True, "checks": []}),
        "m2": answer(checks),
        "m3": answer("error: held", 1, False),
    }
    items = outcomes.stage_problems(answers, {"a": "m1", "b": "m2", "c": "m3", "d": "m4"})
    assert [item["data"]["node"] for item in items] == ["b", "c", "d"]
    assert (
        "b: bad token;" in items[0]["text"] and "held" in items[1]["text"] and "no answer" in items[2]["text"]
    )


STAGED = {
    "ok": False,
    "checks": [{"version": 6, "sha256": "0", "ok": False, "text": "bad", "code": "file-edited"}],
    "back": "no timer",
}
ODD = (None, [], {}, "", "x", -1, 0, True, False, 3.5, b"x", ["x"], {"x": 1}, [None], ["x", {"ok": 1}], ...)


@pytest.mark.parametrize(
    "path", [(), *[(key,) for key in STAGED], *[("checks", 0, k) for k in STAGED["checks"][0]]]
)
def test_no_answer_of_stage_is_a_traceback_and_none_costs_another_node(path):
    for value in ODD:
        for ok in (True, False):
            told = json.loads(json.dumps(STAGED | {"ok": ok}))
            inner = told
            for key in path[:-1]:
                inner = inner[key]
            if path and value is ...:
                del inner[path[-1]]
            elif path:
                inner[path[-1]] = value
            else:
                told = value
            answers = {"m1": answer({"ok": True, "checks": [], "back": ""}), "m2": answer(told)}
            items = outcomes.stage_problems(answers, {"pve1": "m1", "pve2": "m2"})
            assert {item["data"]["node"] for item in items} <= {"pve2"}, (path, value)
            if not items:
                assert isinstance(outcomes.staged(answers["m2"])[0].get("back") or "", str)


@pytest.mark.parametrize(
    "bad", [{"back": [1]}, {"back": {"x": 1}}, {"checks": 5}, {"checks": [5]}, {"ok": "yes"}]
)
def test_an_answer_of_stage_that_has_not_its_shape_is_a_refusal(bad):
    (item,) = outcomes.stage_problems({"m1": answer({"ok": True, "checks": []} | bad)}, {"pve1": "m1"})
    assert item["code"] == "stage-failed" and f"its answer cannot be used: {next(iter(bad))}" in item["text"]


def test_what_stage_says_has_no_control_characters():
    told = {"ok": True, "checks": [], "back": "a\x1b[2Jb"}
    assert outcomes.staged(answer(told))[0]["back"] == "ab"
    (item,) = outcomes.stage_problems(
        {"m1": answer(told | {"ok": False, "checks": [{"ok": False, "text": "a\x1b[2Jb"}]})}, {"pve1": "m1"}
    )
    assert item["text"].startswith("pve1: ab;") and item["data"]["error"] == "ab"


def test_quorum_seconds_take_the_slowest_node_of_the_first_step_that_tells():
    rows = [
        {"number": 1, "outcomes": {"a": {"seconds": {}}, "b": {"seconds": {"quorate": 0.2}}}},
        {"number": 2, "outcomes": {"a": {"seconds": {"quorate": 0.3}}, "b": {"seconds": {"quorate": 0.9}}}},
        {"number": 3, "outcomes": {"a": {"seconds": {"quorate": 0.1, "writable": 1}}, "b": "an error"}},
    ]
    assert outcomes.quorum_seconds({1: 0.5, 2: 1.0, 3: 2.0}, rows) == {"quorate": 1.9, "writable": 3.0}


def test_rings_in_the_order_seen():
    def seen(ring):
        return {"nodes": {"a": {"quorum": {"ring_id": ring}}, "b": {"quorum": None}}}

    steps = [{"outcomes": {"a": {"seen": {"ring_id": "1.2"}}, "b": "error", "c": {"seen": {}}}}]
    assert outcomes.rings(seen("1.1"), steps, seen("1.2")) == ["1.1", "1.2"]
    assert outcomes.rings(seen("1.2"), steps, seen("1.2")) == ["1.2"]
    assert "kept" in outcomes.reached({"verified": 1.0}, ["1.2"])
    assert outcomes.reached({"verified": 1.0, "quorate": 0.5}, ["1.1", "1.2"]) == (
        "reached and verified, quorate after 0.5 s, all in 1.0 s"
    )
