"""show: what an operator reads."""

from pve_corosync import show
from pve_corosync.findings import finding
from pve_corosync.judge import ways


def state(**more):
    return {
        "node": "pve1",
        "answers": True,
        "corosync": "active",
        "quorate": True,
        "total": 2,
        "expected": 2,
        "runtime": 6,
        "reload": 1,
        "local": 6,
        "cluster_file": None,
        "writable": False,
        "ha": True,
    } | more


def test_state_table_aligns_and_shouts():
    lines = show.state_table([state(), state(node="pve2", answers=False), state(reload=2)])
    assert lines[0].startswith("node  corosync") and set(lines[1]) <= {"-", " "}
    assert lines[2].split() == ["pve1", "active", "yes", "2/2", "6", "6", "?", "READ-ONLY", "armed"]
    assert "NO ANSWER" in lines[3]
    assert "AN ERROR" in show.state_table([state(answers=False, error="no code")])[2], "it did answer"
    assert "6 (reload 2)" in lines[4]


def test_matrix_uses_words_for_few_nodes_and_letters_for_many():
    few = {"pve1": {"pve2": {0: "connected", 1: "down"}}, "pve2": None}
    lines = show.matrix_table(few)
    assert lines[2].split(None, 2) == ["pve1", ".", "0 ok, 1 DOWN"]
    assert lines[3].split() == ["pve2", "?", "."]
    names = [f"n{n:02}" for n in range(12)]
    many = {a: {b: {0: "connected", 1: "down"} for b in names if b != a} for a in names}
    lines = show.matrix_table(many)
    assert lines[2].split()[:3] == ["n00", ".", "+-"]
    assert "+ connected" in lines[-1]


def test_matrix_of_nodes_that_tell_nothing():
    assert show.matrix_table({"pve1": None}) == ["no node tells anything of its links"]
    assert show.matrix_table({"pve1": {"pve2": {}}, "pve2": None})[2].split() == ["pve1", ".", "none"]


def test_findings_wrap_and_tell_the_remedy():
    item = finding("stage-failed", "word " * 40, remedy="do this", forceable=True)
    lines = show.findings_lines([item])
    assert all(len(line) <= show.WIDTH for line in lines)
    assert lines[0].startswith("ERROR stage-failed: word")
    assert lines[-1] == "    -> do this; or go on in spite of it: force=stage-failed"


def test_steps_table_is_short():
    step = {
        "number": 1,
        "act": "local",
        "version": 6,
        "text": "add link 2",
        "deadline_s": 20,
        "wait": {"connected": {2: [["a", "b"]], 10: [["a", "b"]], 1: []}, "quorate": True, "writable": True},
    }
    assert show.steps_table([step, step | {"wait": {}}])[2].endswith("link 2, 10 up; quorum; /etc/pve  20 s")
    assert "version" in show.steps_table([step | {"wait": {}}])[2]


def test_checklist():
    items = [
        {"item": "quorum", "ok": True, "seen": "so on 2 nodes", "expected": ""},
        {"item": "versions", "ok": False, "seen": "5, 6", "expected": "one"},
    ]
    assert show.checklist_table(items) == [
        "FAIL  versions  5, 6; expected: one",
        "ok    quorum    so on 2 nodes",
    ]
    folded = ["FAIL  versions  5, 6; expected: one", "ok    quorum"]
    assert show.checklist_table(items, only_bad=True) == folded
    assert show.checklist_table(items[:1], only_bad=True) == ["exit checklist: all 1 items ok"]
    assert show.checklist_table([]) == ["the exit checklist could not be asked"]


def test_equal_diffs_are_shown_once():
    report = {
        "do": "plan",
        "cluster": "prod",
        "layout": "x",
        "summary": "s",
        "steps": [],
        "findings": [],
        "diffs": {
            "pve1": "--- /etc/a\n+++ /etc/a\n+x",
            "cluster": "--- /etc/b\n+++ /etc/b\n+x",
            "pve2": "+y",
        },
    }
    text = "\n".join(show.render(report))
    assert text.count("  +x") == 1
    assert "in the cluster file, the local file of pve1:" in text and "in the local file of pve2:" in text


def test_a_refusal_before_anything_was_asked_renders_for_every_function():
    item = finding("argument-unknown", "no such argument", remedy="correct it")
    for do in ("status", "plan", "apply", "verify", "journal"):
        lines = show.render({"do": do, "findings": [item], "result": "refused", "summary": "refused"})
        assert lines[0] == f"corosync.{do}: refused"
        assert "ERROR argument-unknown: no such argument" in lines


def test_a_failed_run_fits_a_screen_and_says_how_to_go_on():
    report = {
        "do": "apply",
        "cluster": "prod",
        "layout": "degraded",
        "result": "failed",
        "retcode": 1,
        "summary": "stopped in step 1 of 5",
        "steps": [],
        "state": [state()],
        "matrix": {"pve1": None},
        "done": [
            {
                "number": 1,
                "text": "add link 2",
                "ok": False,
                "seconds": 3.0,
                "nodes": {"pve1": "ok", "pve2": "gone"},
            }
        ],
        "findings": [
            finding("step-failed", "step 1: pve2: gone"),
            finding("step-failed", "only told", severity="info"),
        ],
        "next": ways.next_commands("degraded", ["nominal"]),
    }
    lines = show.render(report)
    text = "\n".join(lines)
    assert lines[0] == "prod, layout degraded: stopped in step 1 of 5"
    assert (
        "FAILED on pve2" in text and "the cluster is in this state now:" in text and "only told" not in text
    )
    assert lines[-1] == "go back: salt-run corosync.apply nominal"
    assert len(lines) <= 24


def test_a_rebuild_ends_with_its_proof_or_names_what_is_open():
    """The node is back, and a replication job of others is not well: the item is named, brief or not."""
    good = {"item": "quorum", "ok": True, "seen": "so on 3 nodes", "expected": ""}
    bad = {"item": "replication", "ok": False, "seen": "pve1: job 100-0 failed", "expected": "all ran well"}
    report = {"do": "rebuild", "cluster": "prod", "layout": "nominal", "summary": "pve3 is a member"}
    report |= {"done": [{"number": 1, "text": "names", "ok": True, "nodes": {"pve3": "ok"}, "seconds": 1.0}]}
    rebuilt = report | {"result": "rebuilt", "checklist": [good], "findings": []}
    assert show.render(rebuilt) == [
        "prod, layout nominal: pve3 is a member",
        "",
        "exit checklist: all 1 items ok",
    ]
    failed = report | {"result": "failed", "checklist": [good, bad], "findings": [], "next": ["go on: so"]}
    text = "\n".join(show.render(failed | {"brief": True}))
    assert "FAIL  replication  pve1: job 100-0 failed; expected: all ran well" in text
    assert "names" in text and text.endswith("go on: so")


def test_journal():
    row = {
        "jid": "2026",
        "cluster": "prod",
        "layout": "x",
        "result": "reached",
        "seconds": None,
        "begun": "now",
    }
    assert show.render({"do": "journal", "runs": [row]})[2].split() == [
        "2026",
        "prod",
        "x",
        "reached",
        "?",
        "now",
    ]
    assert show.render({"do": "journal", "runs": []}) == ["no run is in the journal"]


def test_the_journal_never_breaks_a_run_that_is_to_be_copied():
    jid = "20261126171307678692"
    row = {"jid": jid, "cluster": "prod-with-a-name", "layout": "degraded", "result": "interrupted"}
    row |= {"seconds": 1234.5, "begun": "2026-11-26 17:13:07"}
    lines = show.render({"do": "journal", "runs": [row]})
    assert lines[2].startswith(f"{jid}  ") and max(map(len, lines)) <= show.WIDTH


def test_progress_and_answers():
    told = show.progress("  pve1: " + "some words of what it does " * 6 + "/a" * 50, 1.5, now=0).splitlines()
    assert len(told) > 2 and all(len(line) <= 80 for line in told[:-1]) and told[1].startswith(" " * 23)
    command = "salt-run corosync.journal jid=20261126171307678692"
    assert command in show.progress("the report is lost, it is in the journal: " + command, 1.5, now=0)
    line = show.progress("step 1/5", 1.234, now=0)
    assert line.endswith("   1.23s  step 1/5") and line[2] == ":"
    good = {"seconds": {"quorate": 0.9, "version": 0.05, "write": 0.01, "total": 1.0}}
    assert show.answer("pve1", good, []) == "  pve1: ok (version 0.05 s, quorate 0.90 s)"
    assert show.answer("pve1", {}, ["not quorate"]) == "  pve1: FAILED: not quorate"
    assert show.answer("pve1", "Traceback\nboom", []) == "  pve1: boom"
    assert show.answer("pve1", "", []) == "  pve1: an empty answer"


def test_status_shows_the_watch_where_the_pillar_has_one():
    report = {"do": "status", "in_force": ["nominal"], "state": [], "matrix": {}, "findings": []}
    told = {"policy": {"failover": "degraded"}, "text": "armed: 0 of 3 failovers in 24 hours"}
    lines = show.render(report | {"watch": told})
    assert "watch: armed: 0 of 3 failovers in 24 hours" in lines
    off = {"policy": None, "text": "off: the pillar has no corosync:watch"}
    assert not [line for line in show.render(report | {"watch": off}) if line.startswith("watch:")]


def test_what_a_silent_node_could_not_be_asked_is_one_line():
    items = [
        {"item": "quorum", "ok": False, "seen": "pve2: no answer", "expected": "x"},
        {"item": "names", "ok": False, "seen": "pve2: no answer", "expected": "x"},
        {"item": "versions", "ok": False, "seen": "5, 6", "expected": "one"},
        {"item": "answers", "ok": True, "seen": "", "expected": ""},
    ]
    assert show.checklist_table(items, only_bad=True) == [
        "FAIL  versions  5, 6; expected: one",
        "?     pve2 could not be asked: quorum, names",
        "ok    answers",
    ]
    assert len(show.checklist_table(items)) == 4


def test_several_silent_nodes_are_one_line_too():
    items = [
        {"item": name, "ok": False, "seen": "pve1: no answer; pve2: no answer", "expected": "x"}
        for name in ("quorum", "versions")
    ]
    told = ["?     pve1, pve2 could not be asked: quorum, versions"]
    assert show.checklist_table(items, only_bad=True) == told


def test_a_checklist_begins_with_the_verdict_where_there_is_one():
    told = {"text": "prod has NO QUORUM.", "command": "salt-run state.orchestrate orch.failover", "also": []}
    report = {"do": "verify", "cluster": "prod", "summary": "none", "checklist": [], "verdict": told}
    lines = show.render(report | {"result": "not true", "findings": []})
    assert lines[:2] == ["prod has NO QUORUM.", "  salt-run state.orchestrate orch.failover"]


def test_what_the_first_line_says_does_not_stand_below_once_more():
    found = [finding("no-quorum", "no quorum on pve1"), finding("node-silent", "pve3 is silent")]
    told = {"text": "prod has NO QUORUM.", "command": "", "also": []}
    report = {"do": "status", "in_force": [], "state": [state()], "matrix": {}, "findings": found}
    text = "\n".join(show.render(report | {"verdict": told}))
    assert "no quorum on pve1" not in text and "pve3 is silent" in text
    assert show.render(report | {"cluster": "prod"})[0] == "prod: no quorum on pve1"


EVIL = "a\x1b[2J\x1b]0;title\x07\x9b31m\x00\x7fb"


def test_no_control_character_reaches_the_terminal():
    """Whatever came past the doors: lines end, and nothing else happens."""
    item = finding("stage-failed", EVIL, remedy=EVIL)
    for report in (
        {"do": "x", "summary": EVIL, "findings": [item], "next": [f"go on: {EVIL}"]},
        {"do": "report", "text": f"{EVIL}\n{EVIL}"},
    ):
        text = "\n".join(show.render(report))
        assert "a31mb" in text and set(filter(lambda char: char < " " or "\x7f" <= char <= "\x9f", text)) == {
            "\n"
        }
    assert show.progress(EVIL, 1.0, 0).endswith("  a31mb")
    assert show.answer("pve1", EVIL, []) == "  pve1: a31mb"
    lacking = show.answer("pve1", {"ok": False}, [EVIL])
    assert lacking == "  pve1: FAILED: a31mb"


def test_colours_are_added_after_that():
    colours = {"LIGHT_RED": "\x1b[1;31m", "YELLOW": "", "GREEN": "", "CYAN": "", "ENDC": "\x1b[0m"}
    report = {"do": "x", "summary": "\x1b[32mNO QUORUM"}
    assert show.coloured(show.render(report), colours) == ["\x1b[1;31mcorosync.x: NO QUORUM\x1b[0m"]
