"""The table of finding codes, and the page that is made of it."""

import importlib.util
import pathlib

import pytest
from pve_corosync import codes, findings
from pve_corosync.findings import finding, refusal

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_finding_takes_its_defaults_from_the_table():
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
def test_a_code_that_is_not_kebab_case_is_a_fault_of_the_table(code):
    assert "kebab-case" in codes.check({"Subject": [(code, "error", False, "x", "y")]})[0]


def test_a_fault_of_the_table_is_named():
    row = ("a-b", "error", False, "title", "source")
    assert codes.check({"One": [row], "Two": [row]}) == ["finding code 'a-b' stands in the table twice"]
    assert "severity 'bad'" in codes.check({"One": [("a-c", "bad", False, "x", "y")]})[0]


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
    info, error, warning = (finding(code, "x") for code in ("qdevice", "node-silent", "names-differ"))
    assert findings.ordered([info, warning, error, dict(error)]) == [error, warning, info]


def test_the_table_has_no_fault():
    assert codes.check(codes.TABLE) == []


def test_the_page_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "docs" / "make_rules.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page(), "run: python3 docs/make_rules.py"


def test_lost_redundancy_alarms_and_an_optional_link_does_not():
    lost = findings.finding("redundancy-lost", "link 0 is dead")
    odd = findings.finding("cluster-name-odd", "x")
    assert findings.alarms([odd, lost]) == [lost]
    assert findings.alarms([odd, lost | {"severity": "info"}]) == []


def test_the_headline_of_a_refusal_names_its_reason_and_fits():
    assert refusal([]) == "refused, nothing was changed"
    short = finding("code-differs", "pve2 has other code")
    assert refusal([short]) == "refused, nothing was changed: pve2 has other code"
    assert refusal([short], force=["code-differs"]) == "refused, nothing was changed"
    text = refusal([finding("code-differs", "word " * 60)])
    assert text.endswith("word …") and len(text) < 160
