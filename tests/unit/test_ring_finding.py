"""The registry of finding codes, and the page that is made of it."""

import importlib.util
import pathlib

import pytest
from pve_corosync import codes, findings
from pve_corosync.findings import finding

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_finding_takes_its_defaults_from_the_registry():
    item = finding("node-silent", "pve2 does not answer", data={"node": "pve2"}, remedy="look")
    assert item == {
        "code": "node-silent",
        "severity": "error",
        "text": "pve2 does not answer",
        "data": {"node": "pve2"},
        "remedy": "look",
        "forceable": False,
    }


def test_severity_and_forceable_can_be_given():
    item = finding("node-silent", "x", severity="info", forceable=True)
    assert (item["severity"], item["forceable"]) == ("info", True)


def test_the_data_of_a_finding_is_a_copy():
    data = {"node": "pve1"}
    item = finding("node-silent", "x", data=data)
    data["node"] = "pve2"
    assert item["data"] == {"node": "pve1"}


def test_unknown_code_and_severity_are_refused():
    with pytest.raises(findings.UnknownCode, match="no-such-code"):
        finding("no-such-code", "x")
    with pytest.raises(ValueError, match="fatal.*error, warning, info"):
        finding("node-silent", "x", severity="fatal")


@pytest.mark.parametrize("code", ["", "Node-silent", "node_silent", "-node", "node-", "node silent"])
def test_a_code_that_is_not_kebab_case_is_not_registered(code):
    with pytest.raises(ValueError, match="kebab-case"):
        findings.register(code, "error", "x", "y")


def test_registering_twice_is_fine_only_with_the_same_meaning(monkeypatch):
    monkeypatch.setattr(findings, "CODES", {})
    findings.register("a-b", "error", "title", "source")
    findings.register("a-b", "error", "title", "source")
    with pytest.raises(ValueError, match="twice"):
        findings.register("a-b", "warning", "title", "source")
    with pytest.raises(ValueError, match="severity 'bad'"):
        findings.register("a-c", "bad", "title", "source")


def test_only_forceable_errors_can_be_forced():
    hard, soft = finding("node-silent", "x"), finding("pve-not-mounted", "x")
    warning = finding("names-differ", "x")
    found = [hard, soft, warning]
    assert findings.errors(found) == [hard, soft]
    assert findings.errors(found, force=["pve-not-mounted", "node-silent"]) == [hard]
    assert findings.errors(found, force="pve-not-mounted") == [hard]


def test_force_is_checked():
    assert findings.check_force(["pve-not-mounted"]) == []
    told = [item["text"] for item in findings.check_force(["node-silent", "pve-not-monted"])]
    assert "cannot be forced" in told[0] and "is no finding code" in told[1]
    assert all("pve-not-mounted" in text for text in told)


def test_ordered_puts_errors_first_and_drops_duplicates():
    info, error, warning = (finding(code, "x") for code in ("no-quorum", "node-silent", "names-differ"))
    assert findings.ordered([info, warning, error, dict(error)]) == [error, warning, info]


def test_every_row_of_the_table_is_registered_once():
    rows = [row[0] for subject in codes.TABLE.values() for row in subject]
    assert len(rows) == len(set(rows))
    assert set(rows) <= set(findings.CODES)


def test_the_page_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "docs" / "make_rules.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page(), "run: python3 docs/make_rules.py"
