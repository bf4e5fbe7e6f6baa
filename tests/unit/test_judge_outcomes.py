"""judge.outcomes: arguments, answers, outcomes, and what the report says of them."""

import json

import pytest
from pve_corosync.judge import outcomes
from pve_corosync.judge.outcomes import RunError


def answer(value, retcode=0, success=True):
    return {"return": value, "retcode": retcode, "success": success}


def facts(name="pve1", **more):
    return {
        "node": name,
        "runtime": {
            "version": 5,
            "reload_status": 1,
            "nodes": {
                "pve1": {"nodeid": 1, "addresses": {0: "10.66.0.1"}},
                "pve2": {"nodeid": 2, "addresses": {0: "10.66.0.2"}},
            },
        },
        "quorum": {"quorate": True, "total": 2, "expected": 2},
        "pmxcfs": {"mounted": True, "writable": True},
        "local": {"version": 5, "text": "secret"},
        "cluster_file": None,
        "corosync": {"state": "active"},
        "ha": {"armed": False},
        "links": {"pve2" if name == "pve1" else "pve1": {0: {"connected": True, "enabled": True}}},
    } | more


LAYOUT = {
    "name": "degraded",
    "nodes": {"pve1": {}, "pve2": {}},
    "primary": {"network": "public"},
    "links": {
        0: {"network": "public", "addresses": {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}},
        1: {"network": "vrack", "addresses": {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}},
    },
}


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, []),
        ("", []),
        (False, []),
        ("pve1, pve2,", ["pve1", "pve2"]),
        (["pve1", "pve1"], ["pve1"]),
        (7, ["7"]),
        (("a", "b"), ["a", "b"]),
    ],
)
def test_names(value, expected):
    assert outcomes.names(value, "skip") == expected


@pytest.mark.parametrize("value", [{"a": 1}, True, [["a"]], [None]])
def test_names_refuses_other_types(value):
    with pytest.raises(RunError, match="skip="):
        outcomes.names(value, "skip")


@pytest.mark.parametrize("value", ["fast", None, 1, "Live"])
def test_choice_names_the_allowed_ones(value):
    with pytest.raises(RunError, match="allowed: live, restart"):
        outcomes.choice(value, "strategy", ("live", "restart"))


def test_choice_does_not_take_numbers_for_truth():
    assert outcomes.choice(True, "test", (False, True)) is True
    with pytest.raises(RunError):
        outcomes.choice(1, "test", (False, True))


@pytest.mark.parametrize("value", ["abc", 0, -1, None, True, 1.5, "1e3", ""])
def test_count_names_what_is_allowed(value):
    with pytest.raises(RunError, match="last=.* allowed: a number, 1 or more"):
        outcomes.count(value, "last")
    assert outcomes.count("7", "last") == outcomes.count(7, "last") == 7


def test_unknown_arguments_are_all_named_and_salts_own_are_not():
    outcomes.unknown_arguments("corosync.apply", {"__pub_jid": 1}, ("layout",))
    with pytest.raises(RunError) as caught:
        outcomes.unknown_arguments("corosync.apply", {"skp": 1, "frce": 2}, ("layout", "skip"))
    assert [item["data"]["argument"] for item in caught.value.findings] == ["skp", "frce"]
    assert caught.value.retcode == 2


def test_settings_have_defaults_and_take_values():
    assert outcomes.settings(None)["gather_timeout"] == 5
    assert outcomes.settings({"gather_timeout": 2.5, "minions": "pve*"}) == outcomes.settings(None) | {
        "gather_timeout": 2.5,
        "minions": "pve*",
    }


def test_settings_report_every_bad_value():
    with pytest.raises(RunError) as caught:
        outcomes.settings(
            {
                "gather_timout": 3,
                "stage_timeout": 0,
                "step_margin": "3",
                "minions": "",
                "verify_timeout": True,
                "outcome_patience": 601,
            }
        )
    assert len(caught.value.findings) == 6


def test_settings_must_be_a_mapping():
    with pytest.raises(RunError, match="no mapping"):
        outcomes.settings(["gather_timeout"])


@pytest.mark.parametrize(
    "pillar, expected",
    [
        (
            {"nodes": {"a": {"minion": "a.example"}, "b": {}, "c": None}},
            {"a": "a.example", "b": "b", "c": "c"},
        ),
        ({"nodes": ["a"]}, {}),
        ({}, {}),
        ("corosync", {}),
        (None, {}),
    ],
)
def test_members_of_a_pillar_that_may_be_wrong(pillar, expected):
    assert outcomes.members(pillar) == expected


def test_choose_cluster():
    assert outcomes.choose_cluster({"prod": {}}, None, "x") == "prod"
    assert outcomes.choose_cluster({"prod": {}, "lab": {}}, "lab", "x") == "lab"


@pytest.mark.parametrize(
    "found, wanted, code",
    [
        ({}, None, "cluster-none"),
        ({}, "prod", "cluster-none"),
        ({"a": 1, "b": 1}, None, "cluster-several"),
        ({"a": 1}, "b", "cluster-unknown"),
    ],
)
def test_choose_cluster_refuses_with_the_next_action(found, wanted, code):
    with pytest.raises(RunError) as caught:
        outcomes.choose_cluster(found, wanted, "none of the keys '*'")
    (item,) = caught.value.findings
    assert item["code"] == code and item["remedy"]


def test_observe_sorts_answers_errors_and_silence():
    minions = {"pve1": "m1", "pve2": "m2", "pve3": "m3", "pve4": "m4"}
    answers = {
        "m1": answer(facts("pve1")),
        "m2": answer("'corosync.facts' is not available.", 254, False),
        "m4": answer(facts("other")),
    }
    observed, findings = outcomes.observe(minions, answers, accepted={"m1", "m2", "m4"})
    assert (sorted(observed["nodes"]), observed["silent"]) == (["pve1", "pve4"], ["pve2", "pve3"])
    assert [(item["code"], item["data"]["node"], item["severity"]) for item in findings] == [
        ("node-error", "pve2", "warning"),
        ("key-missing", "pve3", "warning"),
        ("node-misnamed", "pve4", "error"),
    ]
    assert "synced" in findings[0]["text"]


def test_observe_takes_the_last_line_of_a_traceback():
    trace = "The minion function caused an exception: Traceback (most recent call last):\nOSError: no disk"
    _, findings = outcomes.observe({"pve1": "pve1"}, {"pve1": answer(trace, 1, False)})
    assert findings[0]["text"] == "pve1: OSError: no disk"


def test_in_force_needs_all_links_on_all_nodes():
    nominal = {"name": "nominal", "nodes": LAYOUT["nodes"], "links": {0: LAYOUT["links"][1]}}
    layouts = {"degraded": LAYOUT, "nominal": nominal}
    assert outcomes.in_force(layouts, {"nodes": {"pve1": facts(), "pve2": facts("pve2")}}) == ["nominal"]
    other = {
        "pve1": {"addresses": {0: "10.66.0.1", 1: "198.51.100.10"}},
        "pve2": {"addresses": {0: "10.66.0.2"}},
    }
    assert (
        outcomes.in_force(
            layouts, {"nodes": {"pve1": facts(), "pve2": facts("pve2", runtime={"nodes": other})}}
        )
        == []
    )
    assert outcomes.in_force(layouts, {"nodes": {"pve1": facts(runtime=None)}}) == []


def test_a_cluster_is_held_to_the_wanted_layout_or_to_the_first_in_force():
    assert outcomes.held_to(["one", "two"], "two") == "two"
    assert outcomes.held_to(["one", "two"], "three") == "one"
    assert outcomes.held_to([], "three") == "three"


def test_in_force_reads_link_numbers_that_json_made_text():
    nominal = {"name": "nominal", "nodes": LAYOUT["nodes"], "links": {"0": LAYOUT["links"][1]}}
    seen = json.loads(json.dumps(facts()))
    assert outcomes.in_force({"nominal": nominal}, {"nodes": {"pve1": seen}}) == ["nominal"]


def test_in_force_compares_addresses_not_their_spelling():
    addresses = {"pve1": "2001:DB8:0::1", "pve2": "2001:db8::0002"}
    layout = {"name": "six", "nodes": LAYOUT["nodes"], "links": {0: {"addresses": addresses}}}
    seen = {"pve1": {"addresses": {0: "2001:db8::1"}}, "pve2": {"addresses": {0: "2001:db8::2"}}}
    assert outcomes.in_force({"six": layout}, {"nodes": {"pve1": facts(runtime={"nodes": seen})}}) == ["six"]


@pytest.mark.parametrize(
    "latest, expected",
    [
        ({"b": {"writable": True, "quorate": True}}, "b"),
        ({"a": {"quorate": False}, "b": {"quorate": True}}, "b"),
        ({"a": {"writable": True}, "b": {"writable": True}}, "a"),
        ({}, "a"),
    ],
)
def test_choose_writer(latest, expected):
    assert outcomes.choose_writer(["a", "b"], latest) == expected


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
def test_is_outcome(value, expected):
    assert outcomes.is_outcome(value, 2) is expected


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


def observed(down=()):
    """Two nodes with links 0 and 1; ``down`` are (link, from, to) that are not connected."""
    nodes = {}
    for one, two in (("pve1", "pve2"), ("pve2", "pve1")):
        nodes[one] = facts(one, links={two: {n: {"connected": (n, one, two) not in down} for n in (0, 1)}})
    return {"nodes": nodes, "silent": []}


ITEMS = [
    {"item": "answers", "ok": True, "seen": "", "expected": ""},
    {"item": "links connected", "ok": False, "seen": "not connected: …", "expected": "4"},
]
BACKUP_DEAD = ((1, "pve1", "pve2"), (1, "pve2", "pve1"))


def test_a_dead_backup_link_is_a_warning():
    items, findings = outcomes.tolerate(LAYOUT, observed(BACKUP_DEAD), ITEMS)
    assert [item["ok"] for item in items] == [True, True]
    assert "link 1 pve1->pve2" in items[1]["seen"]
    assert [(item["code"], item["severity"], item["data"]["pairs"]) for item in findings] == [
        ("link-dead", "warning", ["pve1-pve2"])
    ]


@pytest.mark.parametrize(
    "down",
    [
        ((0, "pve1", "pve2"),),  # the primary network, one direction is enough
        BACKUP_DEAD + ((0, "pve2", "pve1"),),  # nothing left
    ],
)
def test_a_dead_link_that_matters_stays_a_failure(down):
    assert outcomes.tolerate(LAYOUT, observed(down), ITEMS) == (ITEMS, [])


def test_links_of_a_silent_node_are_not_borne():
    seen = observed()
    del seen["nodes"]["pve2"]
    assert outcomes.tolerate(LAYOUT, seen, ITEMS) == (ITEMS, [])
    assert outcomes.tolerate(LAYOUT, {"nodes": seen["nodes"], "silent": []}, ITEMS, skip=["pve2"]) == (
        ITEMS,
        [],
    )


def test_state_now_and_sick():
    seen = {"nodes": {"pve1": facts()}, "silent": ["pve2"]}
    rows = outcomes.state_now(seen)
    assert [(row["node"], row["answers"], row["runtime"], row["quorate"]) for row in rows] == [
        ("pve1", True, 5, True),
        ("pve2", False, None, None),
    ]
    assert outcomes.sick(rows)
    assert not outcomes.sick(rows, [row["node"] for row in rows[1:]])
    assert not outcomes.sick(rows[:1])
    assert outcomes.sick(
        outcomes.state_now({"nodes": {"pve1": facts(pmxcfs={"writable": False})}, "silent": []})
    )


def test_matrix_has_words_for_every_link_and_none_for_a_silent_node():
    seen = observed(((1, "pve1", "pve2"),))
    seen["nodes"]["pve2"]["links"]["pve1"][0]["enabled"] = False
    seen["nodes"]["pve2"]["links"]["pve1"][0]["connected"] = False
    seen["silent"] = ["pve3"]
    assert outcomes.matrix(seen) == {
        "pve1": {"pve2": {0: "connected", 1: "down"}},
        "pve2": {"pve1": {0: "disabled", 1: "connected"}},
        "pve3": None,
    }


def test_reports_do_not_carry_the_files():
    seen = {"nodes": {"pve1": facts()}, "silent": []}
    assert "secret" not in json.dumps(outcomes.without_texts(seen))
    assert seen["nodes"]["pve1"]["local"]["text"] == "secret"


def test_command_and_next_commands():
    assert outcomes.command("apply", "degraded", ["a", "b"], ["x"], "restart", "prod") == (
        "salt-run corosync.apply degraded skip=a,b force=x strategy=restart cluster=prod"
    )
    assert outcomes.next_commands("degraded", ["nominal"], cluster="prod") == [
        "go on:   salt-run corosync.apply degraded cluster=prod",
        "look:    salt-run corosync.status cluster=prod",
        "go back: salt-run corosync.apply nominal cluster=prod",
    ]
    assert len(outcomes.next_commands("degraded", ["degraded"])) == 2


def test_quorum_seconds_take_the_slowest_node_of_the_first_step_that_tells():
    rows = [
        {"number": 1, "outcomes": {"a": {"seconds": {}}, "b": {"seconds": {"quorate": 0.2}}}},
        {"number": 2, "outcomes": {"a": {"seconds": {"quorate": 0.3}}, "b": {"seconds": {"quorate": 0.9}}}},
        {"number": 3, "outcomes": {"a": {"seconds": {"quorate": 0.1, "writable": 1}}, "b": "an error"}},
    ]
    assert outcomes.quorum_seconds({1: 0.5, 2: 1.0, 3: 2.0}, rows) == {"quorate": 1.9, "writable": 3.0}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jid": 1}'])
def test_a_lock_file_that_says_little(text):
    assert "only just begun" in outcomes.under_way(text)["text"]


def test_a_lock_names_its_job():
    item = outcomes.under_way('{"jid": "2026", "pid": 42, "start": 1763900000}')
    assert "job 2026 (process 42)" in item["text"] and item["data"]["pid"] == 42


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
