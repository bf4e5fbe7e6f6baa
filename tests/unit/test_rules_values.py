"""Values that no reader wants, against ``corosync -t``; and that what the rules advise can be done at all."""

import subprocess

import pytest
from _cases import cut
from _rules_cases import all_files, edit
from _rules_world import codes, conf, layout, observed
from pve_corosync.findings import errors
from pve_corosync.plan import planner
from pve_corosync.rules import every

TOTEM = (
    "secauth: yes",
    "secauth: 1",
    "block_unlisted_ips: maybe",
    "cancel_token_hold_on_retransmit: on",
    "token: 29",
    "token_retransmit: 29",
    "join: 29",
    "consensus: 29",
    "merge: 29",
    "downcheck: 29",
    "max_network_delay: 29",
    "hold: 13",
    "token_warning: 101",
    "join: 4000",
    "consensus: 49",
    "token: 100",
    "knet_compression_level: -1",
    "crypto_cipher: aes256",
    "crypto_cipher: none",
)
SWITCHES = (
    "two_node: 2",
    "expected_votes_tracking: 2",
    "allow_downscale: 2",
    "wait_for_all: 2",
    "auto_tie_breaker: 255",
    "last_man_standing: 7",
)


def with_totem(line):
    """A file with a line in totem, which needs no key of this machine."""
    text = conf().replace("  secauth: on\n", "" if "secauth" in line else "  secauth: off\n")
    return edit(text, "  version: 2\n", f"  {line}\n  version: 2\n")


def with_quorum(line):
    text = conf().replace("  secauth: on\n", "  secauth: off\n")
    return edit(text, "quorum {\n", f"quorum {{\n  {line}\n")


def takes(text, folder):
    """Tell whether corosync takes a file; the nodes of the file are no matter of it."""
    path = folder / "x.conf"
    path.write_text(text.replace("10.66.0.1", "127.0.0.1"))
    ran = subprocess.run(["corosync", "-t", "-c", str(path)], capture_output=True, timeout=20, check=False)
    return ran.returncode == 0


def judged(text, **arguments):
    world = observed()
    all_files(world, text)
    found = every.check(layout("degraded"), world, **arguments)
    return [item for item in found if item["code"] == "conf-value"], found


@pytest.mark.parametrize(
    "text", [*map(with_totem, TOTEM), *map(with_quorum, SWITCHES)], ids=[*TOTEM, *SWITCHES]
)
def test_only_what_corosync_refuses_is_an_error(text, tmp_path):
    """What it runs is no reason to leave a cluster without quorum."""
    found, _ = judged(text)
    refused = [item for item in found if item["severity"] == "error"]
    assert (not refused) == takes(text, tmp_path), [item["text"] for item in found]
    assert found or "cipher: none" in text
    assert not any(item["forceable"] for item in refused)


@pytest.mark.parametrize(
    "text, said",
    [
        (with_totem("secauth: yes"), "corosync takes it for off"),
        (with_totem("block_unlisted_ips: maybe"), "corosync takes it for yes"),
        (with_totem("cancel_token_hold_on_retransmit: on"), "corosync takes it for no"),
        (with_quorum("wait_for_all: 2"), "corosync takes it for 1"),
    ],
)
def test_a_value_that_runs_is_told_as_corosync_takes_it(text, said):
    (item,) = judged(text)[0]
    assert said in item["text"] and item["severity"] == "warning"


@pytest.mark.parametrize(
    "line, code",
    [
        ("wait_for_all: 2", "wait-for-all"),
        ("auto_tie_breaker: 255", "quorum-option"),
        ("last_man_standing: 7", "quorum-option"),
        ("last_man_standing_window: 0\n  last_man_standing: 7", "quorum-conflict"),
        ("two_node: 2", "wait-for-all"),
        ("two_node: 2\n  auto_tie_breaker: 2", "quorum-conflict"),
    ],
)
def test_a_switch_above_1_is_on(line, code):
    """Corosync asks whether it is 0."""
    assert code in codes(judged(with_quorum(line))[1])


def test_an_unknown_provider_stops_a_start_and_no_reload():
    """A running daemon passes over a change of it (cfg.c), and corosync -t does not look at it."""
    text = edit(conf(), "corosync_votequorum", "other")
    assert [item["severity"] for item in judged(text)[0]] == ["warning"]
    (item,) = judged(text, strategy="restart")[0]
    assert item["severity"] == "error" and "does not start" in item["text"]
    world = observed()
    all_files(world, text)
    for row in world["nodes"].values():
        row["runtime"] = None
    assert "conf-value" in {item["code"] for item in errors(every.check(layout(), world))}
    (item,) = judged(text.replace("other", "corosync_ykd"), strategy="restart")[0]
    assert item["severity"] == "warning" and "counts no votes" in item["text"]


def test_a_file_without_a_provider_counts_no_votes():
    text = edit(conf(), "  provider: corosync_votequorum\n", "")
    (item,) = judged(text)[0]
    assert item["severity"] == "warning" and "quorum.provider is missing" in item["text"]
    assert item["remedy"].startswith("add `provider: corosync_votequorum` to the section quorum in /etc/pve/")


@pytest.mark.parametrize(
    "text",
    [
        with_totem("secauth: yes"),
        with_totem("block_unlisted_ips: maybe"),
        with_quorum("wait_for_all: 2"),
        edit(conf(), "corosync_votequorum", "other"),
    ],
    ids=["secauth", "block_unlisted_ips", "wait_for_all", "provider"],
)
def test_a_failover_goes_through_with_what_runs(text):
    world = observed()
    all_files(world, text)
    cut(world)
    made = planner.plan(layout("degraded"), world)
    assert errors([*every.check(layout("degraded"), world), *made["findings"]]) == []
    assert made["path"] == "degraded" and made["steps"] and made["complete"]


ERRORS = {
    "conf-grammar": edit(conf(), "  secauth: on", "  secauth:on"),
    "version-fooled": "# config_version: 9\n" + conf(),
    "name-duplicate": edit(conf(), "name: pve2", "name: pve1"),
    "name-missing": edit(conf(), "    name: pve2\n", ""),
    "conf-value": with_totem("token: 29"),
}


@pytest.mark.parametrize("code", ERRORS)
def test_a_remedy_can_be_done_with_quorum_and_without(code):
    """Without quorum /etc/pve is read-only: the local files are edited, as the plan itself does then."""
    world = observed()
    all_files(world, ERRORS[code])

    def remedy():
        found = every.check(layout("degraded"), world)
        return next(item["remedy"] for item in found if item["code"] == code and item["severity"] == "error")

    assert "/etc/pve/corosync.conf" in remedy() and "/etc/corosync/" not in remedy()
    cut(world)
    assert "in /etc/corosync/corosync.conf of every node" in remedy() and "/etc/pve/" not in remedy()
    assert "config_version 10" in remedy() if code == "version-fooled" else "config_version 6" in remedy()
    assert "corosync-cfgtool -R" in remedy()
    assert ("force=conf-grammar" in remedy()) == (code == "conf-grammar")
