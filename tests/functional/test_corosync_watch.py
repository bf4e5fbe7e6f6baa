"""The look of the watch on a master whose nodes are a model: what is asked, kept, told and started."""

import json
import os
import pathlib
import sys
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "unit"))

import _sequence_world  # noqa: E402
import simulation  # noqa: E402
from _sequence_world import pillar as plain_pillar  # noqa: E402
from pve_corosync.judge import past  # noqa: E402
from pve_corosync.ports import master  # noqa: E402
from pve_corosync.ports import watch as kept_watch  # noqa: E402
from pve_corosync.run.request import Request  # noqa: E402

from _runners import corosync_watch as runner  # noqa: E402

NODES = ("pve1", "pve2")
POLICY = {"failover": "degraded", "hold": 2, "home": "auto"}


class World(master.Master):
    """A master, its minions, and the cluster behind them; the clock is moved by waiting only."""

    def __init__(self, tmp_path, monkeypatch, policy=POLICY, nodes=NODES):
        self.sim = simulation.Sim({0: "vrack"}, nodes)
        self.given = plain_pillar(nodes) | ({} if policy is None else {"watch": policy})
        self.clock, self.fired, self.asked, self.runs = 1_800_000_000.0, [], 0, []
        self.quick = []
        self.age, self.waits, self.way_code = 500.0, [], 0
        self.while_staged, self.pongs, self.state = lambda: None, 40, "running"
        self.nodes = _sequence_world.World(Request(plain_pillar(nodes)), self.sim)
        super().__init__(
            {"cachedir": str(tmp_path), "pve_corosync": {}},
            client=None,
            bus=None,
            accepted=lambda target, kind: set(nodes) & set(target) if kind == "list" else set(nodes),
            pillar=lambda minion: {"corosync": self.given} if minion in nodes else {},
            fire=lambda data, tag: self.fired.append((tag, json.loads(json.dumps(data)))),
            jid="20261126000000000000",
        )
        monkeypatch.setattr(runner, "__context__", {}, raising=False)
        monkeypatch.setattr(runner, "__opts__", {"conf_file": "/etc/salt/master"}, raising=False)
        monkeypatch.setattr(runner.kept_watch, "orchestrate", self.orchestrate)
        monkeypatch.setattr(runner.salt_master, "of", lambda _globals: self)
        clock = types.SimpleNamespace(time=lambda: self.clock, monotonic=lambda: self.clock, sleep=self.sleep)
        monkeypatch.setattr(runner, "time", clock)

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.clock += seconds

    def publish(self, ids, fun, kwarg, wait, optional=(), heard=None, **_more):  # noqa: PLR0913
        facts = self.sim.observed()["nodes"]
        if fun == "corosync.facts":
            return "1", {name: {"return": facts[name]} for name in ids if name in facts}, []
        if fun not in ("corosync.watch_facts", "corosync_look.look"):
            got = self.nodes.ask(ids, fun, kwarg, wait, heard=heard)
            if kwarg.get("look"):
                self.while_staged()
                facts = self.sim.observed()["nodes"]
                for name, event in got.items():
                    event["return"] |= {"look": self.answer(facts[name], True)}
            return "1", got, sorted(set(ids) - set(got))
        self.asked += 1
        self.quick.append(fun == "corosync_look.look")
        got = {name: {"return": self.answer(facts[name], self.quick[-1])} for name in ids if name in facts}
        return "1", got, sorted(set(ids) - set(got))

    def answer(self, facts, quick):
        links = {
            peer: {str(n): row["connected"] for n, row in rows.items()}
            for peer, rows in facts["links"].items()
        }
        look = {
            "state": self.state,
            "age": self.age,
            "quorate": facts["quorum"]["quorate"],
            "version": facts["runtime"]["version"],
            "local": facts["local"]["version"],
            "links": links,
            "downs": {peer: dict.fromkeys(rows, 1) for peer, rows in links.items()},
            "pongs": {peer: dict.fromkeys(rows, self.pongs) for peer, rows in links.items()},
        }
        return look if quick else {"facts": facts, "look": look, "ago": 0.0}

    def orchestrate(self, conf_file, name, pillar):
        assert conf_file == "/etc/salt/master"
        self.runs.append((name, pillar))
        return {"retcode": self.way_code, "report": "as it went"}

    def tags(self):
        return [tag.rpartition("/")[2] for tag, _ in self.fired if "/watch/" in tag]

    def ran(self):
        """What nodes were asked to do by a run of the links."""
        return [function for function, _nodes, _kwarg in self.nodes.calls]


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def test_a_cut_is_looked_at_twice_and_the_whole_way_is_gone(world):
    world.sim.dead.add("vrack")
    report = runner.watch_look(minion="pve2")
    assert (report["retcode"], report["result"]) == (0, "watch-failover"), report
    assert world.waits == pytest.approx([1, 0.9, 0.1]), "the second look goes with the staging"
    assert world.quick == [False, True]
    assert world.runs == [("orch.failover", {"layout": "degraded", "cluster": "prod"})]
    assert world.ran()[:2] == ["corosync.stage", "corosync.step"], "planned from what the first look saw"
    times = report["times"]
    order = ["process", "dead_since", "first_look", "last_look", "decided", "links", "way"]
    assert sorted(times, key=lambda name: (times[name], order.index(name))) == order
    assert world.tags() == ["watch-second-look", "watch-failover", "ended"]
    end = world.fired[-1][1]
    assert end["ok"] is True and end["steps"]["way"]["report"] == "as it went" and end["cluster"] == "prod"
    told = runner.watch()["watch"]
    assert told["armed"] and told["failovers"] == 1 and told["last"]["ok"] and told["goal"] is None


def test_a_healthy_cluster_costs_one_question_and_is_told_once(world):
    for _ in range(3):
        assert runner.watch_look(minion="pve1")["result"] == "watch-healthy"
    assert world.asked == 3 and world.tags() == ["watch-healthy"] and world.runs == []
    world.clock += 301
    runner.watch_look(minion="pve1")
    assert world.tags() == ["watch-healthy"] * 2


def test_a_node_whose_answer_has_not_the_shape_of_one_counts_as_silent(world, monkeypatch):
    answer = world.answer

    def bad(facts, quick):
        told = answer(facts, quick)
        return told | {"facts": facts | {"runtime": [1]}} if facts["node"] == "pve2" else told

    monkeypatch.setattr(world, "answer", bad)
    report = runner.watch_look(minion="pve1")
    assert (report["retcode"], report["result"]) == (0, "watch-silent"), report
    assert "pve2" in report["summary"] and world.runs == []


def test_a_silent_node_is_no_dead_network(world):
    world.sim.dead.add("vrack")
    world.sim.silent.add("pve2")
    report = runner.watch_look(minion="pve1")
    assert report["result"] == "watch-silent" and world.runs == []


def test_two_of_three_go_without_the_dead_one_that_the_pillar_skips(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, nodes=("pve1", "pve2", "pve3"))
    world.sim.silent.add("pve3")
    world.sim.dead.add("vrack")
    assert runner.watch_look(minion="pve1")["result"] == "watch-silent" and world.ran() == []
    world.given["skip"] = ["pve3"]
    report = runner.watch_look(minion="pve1")
    assert (report["retcode"], report["result"]) == (0, "watch-failover"), report
    assert {name for _function, nodes, _kwarg in world.nodes.calls for name in nodes} == {"pve1", "pve2"}


def test_a_network_that_is_back_at_the_second_look_stops_it(world, monkeypatch):
    world.sim.dead.add("vrack")
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: (world.sleep(seconds), world.sim.dead.clear()))
    assert runner.watch_look(minion="pve1")["result"] == "watch-healthy"
    assert world.runs == []


@pytest.mark.parametrize(
    ("back", "result", "code"),
    [
        (lambda world: world.sim.dead.clear(), "watch-healthy", "watch-second-look"),
        (lambda world: setattr(world, "pongs", world.pongs + 1), "watch-failover", "watch-second-look"),
        (lambda world: setattr(world, "state", "hung"), "watch-daemon", "watch-second-look"),
        (lambda _world: runner.watch(pause=60), "watch-paused", "watch-paused"),
    ],
)
def test_what_the_look_at_the_staging_does_not_see_dead_is_not_acted_upon(world, back, result, code):
    """The run ends before its first step; nothing was changed, and the nodes have their locks back."""
    world.sim.dead.add("vrack")
    folder = pathlib.Path(runner._site(world, "prod")[0].folder())
    folder.mkdir(parents=True)
    flap, other = folder / "0.jsonl", folder / "1.jsonl"
    for path, end in ((flap, "withdrawn"), (other, "reached")):
        line = {"jid": path.stem, "cluster": "prod", "time": 1.0}
        rows = [line | {"event": "begun"}, line | {"event": "ended", "result": end}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(path, (1.0, 1.0))
    world.while_staged = lambda: (back(world), setattr(world, "while_staged", lambda: None))
    report = runner.watch_look(minion="pve1")
    assert (report["retcode"], report["result"]) == (0, result)
    assert world.ran()[:2] == ["corosync.stage", "corosync.finish"]
    site = runner._site(world, "prod")[0]
    assert not flap.exists() and other.exists(), "flaps of long ago leave no trace"
    rows = [
        json.loads(line) for line in pathlib.Path(master.Ports(site, False).path).read_text().splitlines()
    ]
    first = rows[: 1 + next(number for number, row in enumerate(rows) if row["event"] == "ended")]
    assert not any("step" in row["event"] for row in first)
    assert first[-1]["result"] == "withdrawn" and code in first[-1]["codes"]
    acted = result == "watch-failover"
    assert acted == ("corosync.step" in world.ran()) == bool(world.runs), "a ping is waited for once more"
    assert runner.watch()["watch"]["failovers"] == int(acted)
    assert past.row(rows, True)["result"] == ("reached" if acted else "withdrawn")


def test_a_move_that_fails_is_told_with_its_reason_and_tried_again_later(world):
    world.sim.dead.add("vrack")
    world.nodes.stage_says = {"pve1": "disk full"}
    report = runner.watch_look(minion="pve1")
    assert report["retcode"] == 1 and [item["code"] for item in report["findings"]] == ["watch-refused"]
    assert "disk full" in report["steps"]["links"]["report"] and world.runs == []
    note = json.loads((pathlib.Path(world.state_dir()) / "watch/pve2.json").read_text())
    assert note["due"] == world.clock + 10


def test_links_without_what_follows_are_gone_on_with(world):
    world.sim.dead.add("vrack")
    world.way_code = 1
    report = runner.watch_look(minion="pve1")
    assert report["retcode"] == 1 and len(world.runs) == 1
    world.clock += 10
    world.way_code = 0
    report = runner.watch_look(minion="pve1")
    assert (report["retcode"], report["result"]) == (0, "watch-go-on")
    assert runner.watch()["watch"]["failovers"] == 1


def test_an_orchestration_is_run_as_an_operator_does(tmp_path, monkeypatch):
    tool = tmp_path / "salt-run"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    done = kept_watch.orchestrate("/etc/salt/master", "orch.failover", {"layout": "a b"})
    words = [
        "-c",
        "/etc/salt",
        "state.orchestrate",
        "orch.failover",
        'pillar={"layout": "a b"}',
        "--no-color",
    ]
    assert done == {"retcode": 3, "report": "\n".join(words)}


def test_while_one_process_looks_another_one_ends_at_once(world):
    site, kept = runner._site(world, "prod")
    with kept.lock() as free:
        assert free
        assert runner.watch_look(minion="pve1")["result"] == "already"
    assert world.asked == 0


def test_a_run_of_an_operator_goes_first(world):
    world.sim.dead.add("vrack")
    with runner._site(world, "prod")[0].lock():
        assert runner.watch_look(minion="pve1")["result"] == "watch-run-under-way"
    assert world.runs == []


def test_facts_that_are_no_longer_true_are_asked_for_again(world, monkeypatch):
    """Somebody wrote a file during the hold: the quick second look says so, and all facts are asked for."""
    world.sim.dead.add("vrack")

    def meanwhile(seconds):
        world.sleep(seconds)
        for daemon in world.sim.daemons.values():
            daemon.local = daemon.local.replace("config_version: ", "config_version: 9")

    monkeypatch.setattr(runner.time, "sleep", meanwhile)
    runner.watch_look(minion="pve1")
    assert world.quick[:3] == [False, True, False]


def test_a_run_that_began_after_the_look_makes_it_ask_again(world):
    """An operator was faster: what the look saw is of before that."""
    world.sim.dead.add("vrack")
    site, kept = runner._site(world, "prod")
    request = runner._request(site)
    kept.pause(0.0)
    look = runner.Look(site, request, kept)
    look._ask()
    ports = master.Ports(site, False)
    assert look._still_true(ports)[0]["nodes"].keys() == set(NODES)
    ports.note("begun")
    assert look._still_true(ports) is None


def test_a_run_that_was_killed_holds_its_nodes_and_is_gone_on_with(world):
    """The watch's own process died in a run: the nodes' locks of it are no run that is under way."""
    world.sim.dead.add("vrack")
    site, kept = runner._site(world, "prod")
    kept.pause(0.0)
    dead = master.Ports(site, False)
    dead.jid, dead.path = "20261125", dead.path.replace(dead.jid, "20261125")
    dead.note("begun")
    observed = world.sim.observed
    held = {"txn": "20261125", "by": "x", "since": 0.0}

    def seen():
        told = observed()
        for facts in told["nodes"].values() if not world.ran() else ():
            facts["busy"] = dict(held)
        return told

    world.sim.observed = seen
    assert runner.watch_look(minion="pve1")["result"] == "watch-failover"
    assert world.nodes.taken_over, "its locks were taken over"


def test_a_pause_is_kept_and_ended(world):
    world.sim.dead.add("vrack")
    assert runner.watch(pause=3600)["watch"]["paused_s"] == 3600
    assert runner.watch_look(minion="pve1")["result"] == "watch-paused"
    told = runner.watch(resume=True)["watch"]
    assert told["armed"] and told["paused_s"] == 0


def test_a_pause_that_comes_during_the_hold_is_heard(world, monkeypatch):
    world.sim.dead.add("vrack")
    monkeypatch.setattr(runner.time, "sleep", lambda _seconds: runner.watch(pause=60))
    assert runner.watch_look(minion="pve1")["result"] == "watch-paused"


@pytest.mark.parametrize("words", [{"pause": -1}, {"pause": "long"}, {"resume": "maybe"}, {"puase": 3}])
def test_wrong_words_are_refused(world, words):
    assert runner.watch(**words)["retcode"] == 2


@pytest.mark.parametrize("minion", ["other", "pve9", ""])
def test_a_minion_that_is_no_node_starts_nothing(world, minion):
    report = runner.watch_look(minion=minion)
    assert report["retcode"] == 2 and "minion=" in report["findings"][0]["text"]
    assert world.asked == 0


def test_without_a_pillar_nothing_is_looked_at(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, policy=None)
    assert runner.watch_look(minion="pve1")["result"] == "off" and world.asked == 0
    assert "off" in runner.watch()["watch"]["text"]


def test_a_pillar_that_is_wrong_is_told_by_an_event_once(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, policy=POLICY | {"failover": "degarded", "hold": "long"})
    for _ in range(2):
        report = runner.watch_look(minion="pve1")
        assert (report["retcode"], report["result"]) == (2, "refused") and world.asked == 0
    assert world.tags() == ["watch-pillar"]
    told = world.fired[0][1]
    assert "degarded" in told["text"] and "(and 1 more)" in told["text"] and told["cluster"] == "prod"
    world.given["watch"] = POLICY
    assert runner.watch_look(minion="pve1")["result"] == "watch-healthy"
    assert world.tags() == ["watch-pillar", "watch-healthy"]


def test_an_odd_state_on_the_disk_is_a_new_one(world):
    folder = pathlib.Path(world.state_dir()) / "prod"
    folder.mkdir(parents=True)
    (folder / "watch.json").write_text("{")
    assert runner.watch_look(minion="pve1")["result"] == "watch-healthy"
