"""judge.situation: who answers, what is in force, what is borne, whose locks are there."""

import json

import pytest
from pve_corosync.judge import situation, ways


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


def test_observe_sorts_answers_errors_and_silence():
    minions = {"pve1": "m1", "pve2": "m2", "pve3": "m3", "pve4": "m4"}
    answers = {
        "m1": answer(facts("pve1")),
        "m2": answer("'corosync.facts' is not available.", 254, False),
        "m4": answer(facts("other")),
    }
    observed, findings = situation.observe(minions, answers, accepted={"m1", "m2", "m4"})
    assert (sorted(observed["nodes"]), observed["silent"]) == (["pve1", "pve4"], ["pve2", "pve3"])
    assert [(item["code"], item["data"]["node"], item["severity"]) for item in findings] == [
        ("node-error", "pve2", "warning"),
        ("key-missing", "pve3", "warning"),
        ("node-misnamed", "pve4", "error"),
    ]
    assert "synced" in findings[0]["text"]


def test_observe_takes_the_last_line_of_a_traceback():
    trace = "The minion function caused an exception: Traceback (most recent call last):\nOSError: no disk"
    _, findings = situation.observe({"pve1": "pve1"}, {"pve1": answer(trace, 1, False)})
    assert findings[0]["text"] == "pve1: OSError: no disk"


def test_in_force_needs_all_links_on_all_nodes():
    nominal = {"name": "nominal", "nodes": LAYOUT["nodes"], "links": {0: LAYOUT["links"][1]}}
    layouts = {"degraded": LAYOUT, "nominal": nominal}
    assert situation.in_force(layouts, {"nodes": {"pve1": facts(), "pve2": facts("pve2")}}) == ["nominal"]
    other = {
        "pve1": {"addresses": {0: "10.66.0.1", 1: "198.51.100.10"}},
        "pve2": {"addresses": {0: "10.66.0.2"}},
    }
    assert (
        situation.in_force(
            layouts, {"nodes": {"pve1": facts(), "pve2": facts("pve2", runtime={"nodes": other})}}
        )
        == []
    )
    assert situation.in_force(layouts, {"nodes": {"pve1": facts(runtime=None)}}) == []


def test_a_cluster_is_held_to_the_wanted_layout_or_to_the_first_in_force():
    assert situation.held_to(["one", "two"], "two") == "two"
    assert situation.held_to(["one", "two"], "three") == "one"
    assert situation.held_to([], "three") == "three"


def test_in_force_reads_link_numbers_that_json_made_text():
    nominal = {"name": "nominal", "nodes": LAYOUT["nodes"], "links": {"0": LAYOUT["links"][1]}}
    seen = json.loads(json.dumps(facts()))
    assert situation.in_force({"nominal": nominal}, {"nodes": {"pve1": seen}}) == ["nominal"]


def test_in_force_compares_addresses_not_their_spelling():
    addresses = {"pve1": "2001:DB8:0::1", "pve2": "2001:db8::0002"}
    layout = {"name": "six", "nodes": LAYOUT["nodes"], "links": {0: {"addresses": addresses}}}
    seen = {"pve1": {"addresses": {0: "2001:db8::1"}}, "pve2": {"addresses": {0: "2001:db8::2"}}}
    assert situation.in_force({"six": layout}, {"nodes": {"pve1": facts(runtime={"nodes": seen})}}) == ["six"]


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
    assert situation.choose_writer(["a", "b"], latest) == expected


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
    items, findings = situation.tolerate(LAYOUT, observed(BACKUP_DEAD), ITEMS)
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
    assert situation.tolerate(LAYOUT, observed(down), ITEMS) == (ITEMS, [])


def test_links_of_a_silent_node_are_not_borne():
    seen = observed()
    del seen["nodes"]["pve2"]
    assert situation.tolerate(LAYOUT, seen, ITEMS) == (ITEMS, [])
    assert situation.tolerate(LAYOUT, {"nodes": seen["nodes"], "silent": []}, ITEMS, skip=["pve2"]) == (
        ITEMS,
        [],
    )


def test_state_now_and_sick():
    seen = {"nodes": {"pve1": facts()}, "silent": ["pve2"]}
    rows = situation.state_now(seen)
    assert [(row["node"], row["answers"], row["runtime"], row["quorate"]) for row in rows] == [
        ("pve1", True, 5, True),
        ("pve2", False, None, None),
    ]
    assert situation.sick(rows)
    assert not situation.sick(rows, [row["node"] for row in rows[1:]])
    assert not situation.sick(rows[:1])
    assert situation.sick(
        situation.state_now({"nodes": {"pve1": facts(pmxcfs={"writable": False})}, "silent": []})
    )


def test_matrix_has_words_for_every_link_and_none_for_a_silent_node():
    seen = observed(((1, "pve1", "pve2"),))
    seen["nodes"]["pve2"]["links"]["pve1"][0]["enabled"] = False
    seen["nodes"]["pve2"]["links"]["pve1"][0]["connected"] = False
    seen["silent"] = ["pve3"]
    assert situation.matrix(seen) == {
        "pve1": {"pve2": {0: "connected", 1: "down"}},
        "pve2": {"pve1": {0: "disabled", 1: "connected"}},
        "pve3": None,
    }


def test_reports_do_not_carry_the_files():
    seen = {"nodes": {"pve1": facts()}, "silent": []}
    assert "secret" not in json.dumps(situation.without_texts(seen))
    assert seen["nodes"]["pve1"]["local"]["text"] == "secret"


def test_command_and_next_commands():
    assert ways.command("apply", "degraded", ["a", "b"], ["x"], "restart", "prod") == (
        "salt-run corosync.apply degraded skip=a,b force=x strategy=restart cluster=prod"
    )
    assert ways.next_commands("degraded", ["nominal"], cluster="prod") == [
        "go on:   salt-run corosync.apply degraded cluster=prod",
        "look:    salt-run corosync.status cluster=prod",
        "go back: salt-run corosync.apply nominal cluster=prod",
    ]
    assert len(ways.next_commands("degraded", ["degraded"])) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jid": 1}'])
def test_a_lock_file_that_says_little(text):
    assert "only just begun" in situation.under_way(text)["text"]


def test_a_lock_names_its_job():
    item = situation.under_way('{"jid": "2026", "pid": 42, "start": 1763900000}')
    assert "job 2026 (process 42)" in item["text"] and item["data"]["pid"] == 42


def test_who_answers_with_an_error_is_not_silent_in_the_table():
    rows = situation.state_now({"nodes": {}, "silent": ["pve1", "pve2"], "refusals": {"pve2": "no code"}})
    assert [(row["answers"], row.get("error")) for row in rows] == [(False, None), (False, "no code")]
