"""The account of a run: out of the journal of the simulated cluster, and as pages."""

import html.parser
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pve_corosync.plan import words
from pve_corosync.report import account, account_page
from test_run_change import run, world


def notes(**how):
    """The journal of a run, as it lies on the disk."""
    ports, times = world(**how), []
    note = ports.note

    def timed(event, tag="run", **data):
        times.append(ports.passed())
        note(event, tag, **data)

    ports.note = timed
    run(ports)
    about = {"jid": "20261126", "cluster": "prod"}
    rows = [about | {"time": 1000 + at, "at": at} | row for at, row in zip(times, ports.notes)]
    return json.loads(json.dumps(rows))


@pytest.fixture(scope="module")
def failover():
    return account.account(notes())


def test_the_account_of_a_failover_says_what_was_found_and_done(failover):
    assert (failover["run"], failover["cluster"], failover["layout"]) == ("20261126", "prod", "degraded")
    assert failover["result"] == "reached" and failover["by"] == "root"
    assert [row["number"] for row in failover["steps"]] == list(range(1, len(failover["steps"]) + 1))
    assert all(row["ok"] and row["ended"] >= row["begun"] for row in failover["steps"])
    assert failover["found"] and failover["open"] == []
    assert all(item["ok"] for item in failover["checklist"]) and failover["checklist"]
    assert "ring1_addr" in failover["diffs"]["pve1"]


def test_each_node_was_without_quorum_until_it_saw_it_again(failover):
    first = failover["steps"][0]
    for node in ("pve1", "pve2"):
        spans = failover["lanes"][node]["quorum"]
        assert [state for *_, state in spans] == [False, True]
        assert spans[0][0] == 0.0 and first["begun"] <= spans[0][1] <= first["ended"]
        assert failover["without"][node]["quorum"] == spans[0][1]
        assert failover["from_before"][node] == ["quorum", "/etc/pve"]


def test_a_planned_move_was_never_without_quorum():
    told = account.account(notes(dead=()))
    assert told["without"] == {node: {"quorum": 0.0, "/etc/pve": 0.0} for node in ("pve1", "pve2")}
    assert told["from_before"] == {"pve1": [], "pve2": []}


def test_a_run_that_was_killed_is_told_as_such():
    rows = notes()
    told = account.account(rows[: [row["event"] for row in rows].index("step 1 begun") + 1])
    assert told["result"].startswith("not ended") and told["steps"][-1]["ended"] is None
    assert "not seen" in account_page.markdown(told) and "not ended" in account_page.html(told)


def test_a_journal_of_an_older_version_has_an_account_too():
    rows = notes()
    for row in rows:
        for key in ("state", "diffs", "findings", "items"):
            row.pop(key, None)
    told = account.account(rows)
    assert told["result"] == "reached" and told["lanes"]["pve1"]["quorum"]
    assert account_page.html(told) and account_page.markdown(told)


@pytest.mark.parametrize(
    ("samples", "end", "expected"),
    [
        ([], 3.0, []),
        ([(1.0, False)], 3.0, [(0.0, 3.0, False)]),
        ([(1.0, False), (2.0, True)], 3.0, [(0.0, 2.0, False), (2.0, 3.0, True)]),
        ([(1.0, True), (2.0, True)], 3.0, [(0.0, 3.0, True)]),
        (
            [(1.0, True), (2.0, None), (2.5, False)],
            3.0,
            [(0.0, 2.0, True), (2.0, 2.5, None), (2.5, 3.0, False)],
        ),
    ],
)
def test_a_state_lasts_until_another_one_is_seen(samples, end, expected):
    assert account.spans(samples, end) == expected


class Page(html.parser.HTMLParser):
    """Collects the tags and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_outside(failover):
    page = account_page.html(failover)
    parsed = Page(page)
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?:|url\(|@import", page)
    assert "<svg" in page and "print" in page


NASTY = st.text(alphabet=st.sampled_from("<>&\"'|`*_[]()#\\\n\r~ ab"), max_size=30)


@given(NASTY, NASTY, NASTY)
def test_everything_is_escaped(text, node, diff):
    rows = [
        {"event": "begun", "time": 1.0, "at": 0.0, "jid": "1", "cluster": text, "layout": text, "user": text},
        {
            "event": "planned",
            "time": 1.0,
            "at": 0.5,
            "findings": [{"severity": "error", "text": text, "code": text}],
            "diffs": {node: diff},
            "state": [{"node": node, "quorate": False, "writable": None}],
        },
        {"event": "step 1 begun", "time": 1.0, "at": 1.0, "text": text},
        {"event": "step 1 ended", "time": 2.0, "at": 2.0, "ok": False, "nodes": {node: text}, "outcomes": {}},
        {"event": "ended", "time": 3.0, "at": 3.0, "result": "failed", "summary": text, "codes": [text]},
    ]
    told = account.account(rows)
    page = Page(account_page.html(told))
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "svg", "rect", "text"}
    assert {tag for tag, _ in page.tags} <= allowed | {"table", "tr", "th", "td", "pre"}
    for line in account_page.markdown(told | {"diffs": {}}).splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_a_secret_key_is_in_no_diff():
    old = "totem {\n  version: 2\n  key: c2VjcmV0\n}\n"
    plan = {"steps": [{"conf": old.replace("c2VjcmV0", "bmV3")}], "skip": []}
    text = words.diffs(plan, {"nodes": {"pve1": {"local": {"text": old}}}})["pve1"]
    assert "key: (secret)" in text and "c2VjcmV0" not in text and "bmV3" not in text
