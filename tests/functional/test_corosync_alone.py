"""The layout worked on from one node: what it plans and does, with and without quorum."""

import json
import os
import threading
import time

import pytest
from _corosync_world import PUBLIC, VRACK, conf
from _pve_world import put
from _two_nodes import INTERFACES, parsed
from pve_corosync import conf as corosync_conf
from pve_corosync.judge import checklist
from pve_corosync.node import etc_pve_lock
from pve_corosync.ports import node as node_ports
from pve_corosync.run import alone
from salt.exceptions import CommandExecutionError, SaltInvocationError

LOCK = etc_pve_lock.LOCK


def codes(report):
    return [item["code"] for item in report["findings"] if item["severity"] == "error"]


def no_link_added(pair):
    return all("ring2_addr" not in text and "ring1_addr" not in text for text in pair.texts())


@pytest.mark.parametrize("argument", [{"wait": "abc"}, {"patience": "soon"}, {"wait": -1}, {"wait": True}])
def test_seconds_that_are_none_are_refused_with_what_is_allowed(pair, argument):
    name, value = argument.popitem()
    with pytest.raises(SaltInvocationError, match=f"{name}={value!r}; allowed: seconds"):
        pair.call("corosync.apply", **{name: value})
    assert not pair.one.calls("ssh ")


@pytest.mark.parametrize("function", ["corosync.plan", "corosync.apply"])
def test_a_bad_pillar_is_refused_with_every_problem(pair, function):
    del pair.pillar["layouts"]["degraded"]["primary"]
    pair.pillar["nodes"]["pve2"]["nodeid"] = 1
    told = pair.call(function)
    assert (told["result"], told["retcode"]) == ("refused", 2)
    assert len(codes(told)) == 2
    pair.pillar = None
    assert codes(pair.call(function)) == ["pillar-none"]


def test_a_stranger_is_told_so(pair):
    pair.pillar["nodes"] = {"pve3": pair.pillar["nodes"]["pve1"], "pve4": pair.pillar["nodes"]["pve2"]}
    assert codes(pair.call("corosync.apply")) == ["alone-stranger"]


# ---- quorate


def test_plan_test_and_run_tell_the_same_change(pair):
    planned = pair.call("corosync.plan", "degraded")
    tested = pair.state("corosync.ring_layout", "links", test=True, layout="degraded")
    assert no_link_added(pair)
    with pair.pmxcfs() as seen:
        done = pair.state("corosync.ring_layout", "links", layout="degraded")
    assert tested["result"] is None and done["result"] is True, done
    assert tested["changes"] == done["changes"]
    assert set(done["changes"]["diff"]) == {"pve1", "pve2", "cluster"} == set(planned["diffs"])
    assert "+    ring0_addr: 198.51.100.10" in done["changes"]["diff"]["pve1"]
    assert len(pair.texts()) == 1 and seen.versions == sorted(seen.versions)
    links = corosync_conf.parse(pair.texts().pop()).links()
    assert {n: link["addresses"] for n, link in links.items()} == {0: PUBLIC, 1: VRACK}
    assert links[1]["options"] == {"knet_link_priority": "10"}

    again = pair.state("corosync.ring_layout", "links", layout="degraded")
    assert (again["result"], again["changes"]) == (True, {})
    assert pair.state("corosync.ring_layout", "links", test=True, layout="degraded")["changes"] == {}
    assert not (pair.one.pve / LOCK).exists() and pair.call("corosync.busy") is None


def test_each_file_is_checked_on_both_nodes_before_anything_is_written(pair):
    pair.two.tool(
        "corosync",
        'case "$1" in -v) echo "Corosync Cluster Engine, version \'3.1.7\'" ;;'
        ' *) cat >/dev/null; echo "parser error: /dev/stdin:3: Missing closing brace" >&2; exit 8 ;; esac',
    )
    told = pair.call("corosync.apply", "degraded")
    assert told["result"] == "failed" and codes(told)[0] == "stage-failed"
    assert "pve2: parser error" in told["findings"][0]["text"]
    assert no_link_added(pair) and pair.call("corosync.busy") is None


def test_a_file_that_another_node_could_not_check_is_not_used(pair):
    (pair.deaf.parent / "deaf-check").touch()
    told = pair.call("corosync.apply", "degraded")
    assert (told["result"], codes(told)[0]) == ("failed", "stage-failed")
    assert "pve2: corosync -t could not be asked" in told["findings"][0]["text"]
    assert no_link_added(pair) and told["diffs"] == {}


def test_a_step_that_failed_and_did_write_is_among_the_changes(pair, monkeypatch):
    plan = alone.Request.plan

    def short(self, observed, findings):
        made, found = plan(self, observed, findings)
        for step in made["steps"]:
            step["deadline_s"] = 3
        return made, found

    monkeypatch.setattr(alone.Request, "plan", short)
    planned = pair.call("corosync.plan", "degraded")
    assert len(planned["steps"]) > 1
    pair.two.daemon(dead_links=[2])
    with pair.pmxcfs():
        ret = pair.state("corosync.ring_layout", "links", layout="degraded")
    assert ret["result"] is False, ret
    assert ret["changes"]["steps"] == [f"{planned['steps'][0]['text']} (failed)"]
    diffs = ret["changes"]["diff"]
    assert set(diffs) == {"pve1", "pve2", "cluster"}
    assert "config_version: 6" in diffs["pve1"] and diffs != planned["diffs"], "what is there, not the plan"


def test_a_step_that_another_node_does_not_show_stops_the_run(pair):
    pair.two.daemon(hang=False)
    with pair.pmxcfs():
        pair.two.tool("corosync-cmapctl", "exit 1")
        pair.deaf.unlink(missing_ok=True)
        told = pair.call("corosync.apply", "degraded", wait=1)
    assert told["result"] in ("refused", "failed") and told["retcode"] == 1
    assert no_link_added(pair)


def test_a_silent_node_refuses_the_run(pair):
    pair.deaf.touch()
    told = pair.call("corosync.apply", "degraded")
    assert told["result"] == "refused" and codes(told) == ["node-silent"]
    assert no_link_added(pair) and not (pair.one.pve / LOCK).exists()


def hold(pair, **holder):
    (pair.one.pve / LOCK).mkdir()
    pair.one.file(f"etc/pve/{etc_pve_lock.HOLDER}", json.dumps(holder))


def test_a_lock_that_is_held_is_waited_for_and_its_holder_named(pair):
    hold(pair, node="pve2", what="layout degraded", run="r1", since=0)
    start = time.monotonic()
    told = pair.call("corosync.apply", "degraded", wait=1.5)
    assert time.monotonic() - start > 1.5
    assert told["result"] == "failed" and codes(told) == ["lock-held"]
    assert "pve2, layout degraded" in told["findings"][0]["text"]
    assert no_link_added(pair)
    ret = pair.state("corosync.ring_layout", "links", layout="degraded", wait=0.5)
    assert (ret["result"], ret["changes"]) == (False, {}) and "pve2, layout degraded" in ret["comment"]


def test_who_waited_and_finds_it_done_reports_no_change(pair):
    hold(pair, node="pve2")
    text = conf(
        9,
        {0: PUBLIC, 1: VRACK},
        INTERFACES + "  interface {\n    knet_link_priority: 10\n    linknumber: 1\n  }\n",
    )

    def other():
        version, nodes = parsed(text)
        for node in pair.both:
            node.local.write_text(text)
            node.cluster.write_text(text)
            node.daemon(version=version, nodes=nodes)
        os.rmdir(pair.one.pve / LOCK)

    timer = threading.Timer(1.0, other)
    timer.start()
    ret = pair.state("corosync.ring_layout", "links", layout="degraded", wait=20)
    timer.join()
    assert (ret["result"], ret["changes"]) == (True, {}), ret
    assert pair.texts() == {text}


# ---- drift


def drift_local(pair):
    pair.one.local.write_text(conf(4, extra=INTERFACES))


def drift_same_version(pair):
    pair.two.local.write_text(conf(5, extra=INTERFACES) + "\n# edited by hand\n")


def drift_newer_local(pair):
    pair.one.local.write_text(conf(7, extra=INTERFACES))


def drift_runtime(pair):
    pair.two.daemon(version=4)


def drift_cluster_file(pair):
    for node in pair.both:
        node.local.write_text(conf(8, extra=INTERFACES))
        node.daemon(version=8)


@pytest.mark.parametrize(
    "drift", [drift_local, drift_same_version, drift_newer_local, drift_runtime, drift_cluster_file]
)
def test_drift_is_repaired(pair, drift):
    drift(pair)
    tested = pair.state("corosync.ring_layout", "links", test=True)
    assert tested["result"] is None and tested["changes"]["diff"], tested
    with pair.pmxcfs():
        ret = pair.state("corosync.ring_layout", "links")
    assert ret["result"] is True and ret["changes"] == tested["changes"], ret
    assert len(pair.texts()) == 1
    version = corosync_conf.parse(pair.texts().pop()).version
    assert {node.daemon()["version"] for node in pair.both} == {version}
    assert pair.state("corosync.ring_layout", "links")["changes"] == {}


def stop(pair, text):
    pair.one.daemon(running=False)
    pair.one.mount(writable=False)
    pair.one.local.write_text(text)


def test_a_stopped_daemon_with_the_file_of_the_others_is_started(pair):
    stop(pair, conf(5, extra=INTERFACES))
    tested = pair.state("corosync.ring_layout", "links", test=True)
    assert tested["result"] is None and "start corosync" in tested["changes"]["steps"][0]
    assert not pair.one.calls("systemctl start")
    pair.one.mount(writable=True)
    ret = pair.state("corosync.ring_layout", "links")
    assert ret["result"] is True and ret["changes"] == tested["changes"], ret
    assert pair.one.daemon()["running"] is True
    assert not pair.one.calls("systemctl restart")


def test_the_change_of_layout_after_a_start_is_told_before(pair):
    stop(pair, conf(4, extra=INTERFACES))
    pair.one.mount(writable=True)
    tested = pair.state("corosync.ring_layout", "links", test=True, layout="degraded")
    assert tested["result"] is None and len(tested["changes"]["steps"]) > 2, tested
    with pair.pmxcfs():
        ret = pair.state("corosync.ring_layout", "links", layout="degraded")
    assert ret["result"] is True and ret["changes"] == tested["changes"], ret


def test_nothing_to_change_and_a_false_checklist_is_told_before_as_it_is_after(pair, monkeypatch):
    monkeypatch.setattr(checklist, "ITEMS", checklist.ITEMS | {"quorum": lambda world: (False, "1", "2")})
    tested = pair.state("corosync.ring_layout", "links", test=True)
    done = pair.state("corosync.ring_layout", "links")
    for ret in (tested, done):
        assert (ret["result"], ret["changes"]) == (False, {}) and "not true: quorum" in ret["comment"], ret


@pytest.mark.parametrize("state", ["active", "activating", "deactivating", "unknown"])
def test_a_daemon_that_cannot_be_asked_is_left_alone(pair, state):
    pair.one.tool("corosync-cmapctl", "echo 'Error CS_ERR_TRY_AGAIN'; exit 1")
    pair.one.tool("systemctl", f"printf 'Result=success\\nExecMainStatus=0\\nActiveState={state}\\n'")
    told = pair.call("corosync.apply")
    assert told["result"] == "refused" and "runtime-unreadable" in codes(told), told
    assert not [line for line in pair.one.calls("systemctl ") if " show " not in line]
    assert pair.one.local.read_text() == conf(5, extra=INTERFACES)


def test_the_other_nodes_are_asked_again_just_before_the_start(pair, monkeypatch):
    stop(pair, conf(4, extra=INTERFACES))
    pair.one.mount(writable=True)
    gather, looks = node_ports.Sight.gather, []

    def later(self, own=None):
        looks.append(pair.one.daemon()["running"])
        if len(looks) == 2:
            assert corosync_conf.parse(pair.one.local.read_text()).version == 5
            text = conf(6, extra=INTERFACES)
            for path in (pair.two.local, pair.two.cluster, pair.one.cluster):
                put(path, text)
            pair.two.daemon(version=6)
        return gather(self, own)

    monkeypatch.setattr(node_ports.Sight, "gather", later)
    ret = pair.state("corosync.ring_layout", "links")
    assert ret["result"] is True, ret
    assert pair.one.daemon()["version"] == 6 and looks[:3] == [False, False, False]
    assert len(pair.one.calls("systemctl start")) == 1


@pytest.mark.parametrize("version", [5, 4])
def test_the_one_of_two_nodes_that_is_stopped_starts_without_quorum_of_the_other(pair, version):
    stop(pair, conf(version, extra=INTERFACES))
    pair.two.daemon(quorate=False)
    tested = pair.state("corosync.ring_layout", "links", test=True)
    assert tested["result"] is None and len(tested["changes"]["steps"]) == 1, tested
    pair.one.mount(writable=True)
    start = threading.Thread(target=lambda: back(pair), daemon=True)
    start.start()
    ret = pair.state("corosync.ring_layout", "links", patience=20)
    start.join()
    assert ret["result"] is True and ret["changes"] == tested["changes"], ret
    assert pair.one.local.read_text() == conf(5, extra=INTERFACES)


def back(pair):
    end = time.monotonic() + 60
    while not pair.one.daemon()["running"] and time.monotonic() < end:
        time.sleep(0.1)
    pair.two.daemon(quorate=True)


def test_where_all_are_stopped_the_newest_file_starts(pair):
    stop(pair, conf(4, extra=INTERFACES))
    pair.two.daemon(running=False)
    pair.one.daemon(quorate=False)
    told = pair.call("corosync.apply", patience=0.2)
    assert told["result"] == "waiting" and told["done"][0]["ok"], told
    assert pair.one.daemon()["running"] and pair.one.local.read_text() == conf(5, extra=INTERFACES)


def test_a_stopped_daemon_gets_the_newer_file_before_it_starts(pair):
    stop(pair, conf(4, extra=INTERFACES))
    pair.one.mount(writable=True)
    ret = pair.state("corosync.ring_layout", "links")
    assert ret["result"] is True, ret
    assert pair.one.local.read_text() == conf(5, extra=INTERFACES)
    assert pair.one.daemon()["running"] is True
    assert "config_version: 4" in ret["changes"]["diff"]["pve1"]


@pytest.mark.parametrize("why", ["silent", "newer here", "other cannot be asked", "others differ"])
def test_a_stopped_daemon_is_not_started_where_that_could_harm(pair, why):
    stop(pair, conf(9 if why == "newer here" else 4, extra=INTERFACES))
    before = pair.one.local.read_text()
    if why == "silent":
        pair.deaf.touch()
    if why == "other cannot be asked":
        pair.two.tool("corosync-cmapctl", "exit 1")
    if why == "others differ":
        pair.two.daemon(version=6)
    ret = pair.state("corosync.ring_layout", "links")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "config_version" in ret["comment"] and "systemctl start corosync" in ret["comment"]
    assert pair.one.daemon()["running"] is False and pair.one.local.read_text() == before
    assert not [line for line in pair.one.calls("systemctl ") if " show " not in line]


# ---- not quorate


def test_without_quorum_nothing_is_touched_and_the_command_is_named(pair):
    pair.quorum(False, dead=[0])
    before = pair.texts()
    ret = pair.state("corosync.ring_layout", "links", layout="degraded")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "salt-run state.orchestrate orch.failover" in ret["comment"]
    assert "salt-call --local corosync.apply degraded degraded=True" in ret["comment"]
    assert pair.texts() == before and not pair.one.calls("corosync-cfgtool")


def test_this_nodes_part_only_adds_and_is_done_once(pair):
    pair.quorum(False, dead=[0, 2])
    pair.deaf.touch()
    tested = pair.call("corosync.plan", "degraded", degraded=True)
    assert tested["result"] == "test" and [step["act"] for step in tested["steps"]] == ["local"]
    told = pair.call("corosync.apply", "degraded", degraded=True, patience=0.3)
    assert (told["result"], told["retcode"]) == ("waiting", 1)
    assert told["diffs"] == tested["diffs"] and set(told["diffs"]) == {"pve1"}
    rows = {row["item"]: row for row in told["checklist"]}
    assert rows["quorum"]["ok"] is False and rows["names on pve1"]["ok"] is False
    assert "pve1 is 10.66.0.1, not 198.51.100.10" in rows["primary on pve1"]["seen"]
    assert "pve-ssl.pem does not exist" in rows["certificate on pve1"]["seen"]
    assert (
        "salt-call --local corosync.apply degraded degraded=True"
        in [item["remedy"] for item in told["findings"] if item["code"] == "part-done"][0]
    )
    doc = corosync_conf.parse(pair.one.local.read_text())
    assert doc.version == 6 and {n: row["addresses"] for n, row in doc.links().items()} == {
        0: VRACK,
        2: PUBLIC,
    }
    assert pair.one.daemon()["version"] == 6
    assert pair.two.local.read_text() == pair.one.cluster.read_text() == conf(5, extra=INTERFACES)
    pair.one.daemon(dead_links=[0, 2])
    again = pair.call("corosync.apply", "degraded", degraded=True, patience=0.3)
    assert again["result"] == "waiting" and again["done"] == [] and again["diffs"] == {}
    assert corosync_conf.parse(pair.one.local.read_text()).version == 6, "no version is used up"


def test_both_nodes_come_to_the_same_bytes_without_seeing_each_other(pair):
    pair.quorum(False, dead=[0])
    facts = {"pve1": pair.call("corosync.facts"), "pve2": pair.call("corosync.observe")["nodes"]["pve2"]}
    parts = [
        alone.own_part(
            alone.Request(pair.pillar, name, name, "degraded"),
            {"nodes": {name: facts[name]}, "silent": [other]},
        )
        for name, other in (("pve1", "pve2"), ("pve2", "pve1"))
    ]
    assert parts[0]["step"]["conf"] == parts[1]["step"]["conf"] and parts[0]["step"]["version"] == 6


def test_a_part_that_another_node_did_is_taken_over_as_it_is(pair):
    pair.quorum(False, dead=[0])
    ahead = conf(7, {0: VRACK, 3: PUBLIC}, INTERFACES + "  interface {\n    linknumber: 3\n  }\n")
    pair.two.local.write_text(ahead)
    told = pair.call("corosync.apply", "degraded", degraded=True, patience=0.2)
    assert "part-adopted" in [item["code"] for item in told["findings"]]
    assert pair.one.local.read_text() == ahead


def test_a_higher_file_that_drops_a_running_link_is_not_taken_but_passed_in_version(pair):
    pair.quorum(False, dead=[0])
    pair.two.local.write_text(conf(9, {0: PUBLIC}, INTERFACES))
    pair.call("corosync.apply", "degraded", degraded=True, patience=0.2)
    doc = corosync_conf.parse(pair.one.local.read_text())
    assert doc.version == 10 and doc.links()[0]["addresses"] == VRACK


def test_when_quorum_comes_back_the_run_goes_on_to_the_layout(pair):
    pair.quorum(False, dead=[0])
    timer = threading.Timer(0.5, pair.quorum, (True,))

    def peer():  # the other node does its part, too
        text = pair.one.local.read_text()
        version, nodes = parsed(text)
        put(pair.two.local, text)
        pair.two.daemon(version=version, nodes=nodes)
        timer.start()

    def both():
        end = time.monotonic() + 20
        while "ring2_addr" not in pair.one.local.read_text() and time.monotonic() < end:
            time.sleep(0.1)
        peer()

    helper = threading.Thread(target=both, daemon=True)
    helper.start()
    with pair.pmxcfs():
        told = pair.call("corosync.apply", "degraded", degraded=True, patience=20)
    helper.join()
    timer.join()
    assert (told["result"], told["retcode"]) == ("reached", 0), told["summary"]
    assert [row["number"] for row in told["done"]] == list(range(1, len(told["done"]) + 1))
    assert len(pair.texts()) == 1
    links = corosync_conf.parse(pair.texts().pop()).links()
    assert {n: link["addresses"] for n, link in links.items()} == {0: PUBLIC, 1: VRACK}


# ---- the key


def test_the_key_becomes_private_and_is_never_read(pair):
    key = pair.one.root / "etc/corosync/authkey"
    key.chmod(0o644)
    tested = pair.state("corosync.authkey_managed", "/etc/corosync/authkey", test=True)
    assert tested["result"] is None and tested["changes"] == {"mode": {"old": "0644", "new": "0400"}}
    done = pair.state("corosync.authkey_managed", "/etc/corosync/authkey")
    assert done["result"] is True and done["changes"] == tested["changes"]
    assert key.stat().st_mode & 0o777 == 0o400 and "secret" not in json.dumps(done)
    assert pair.state("corosync.authkey_managed", "/etc/corosync/authkey")["changes"] == {}
    key.unlink()
    ret = pair.state("corosync.authkey_managed", "/etc/corosync/authkey")
    assert ret["result"] is False and "pvecm add" in ret["comment"]
    key.symlink_to("elsewhere")
    with pytest.raises(CommandExecutionError, match="no regular file"):
        pair.call("corosync.secure_authkey")
