"""ports.processes and run.many: many clusters side by side, one summary."""

import pytest
from pve_corosync import show
from pve_corosync.arguments import RunError
from pve_corosync.ports import processes
from pve_corosync.run import many


def shell(text):
    return ["sh", "-c", text]


def test_one_that_fails_stops_no_other_and_what_it_said_is_kept(tmp_path):
    told = []
    commands = {"a": shell("echo out; echo err >&2; exit 3"), "b": ["/nosuch"], "c": shell("true")}
    ended = processes.side_by_side(commands, 2, tmp_path / "logs", told.append)
    assert {name: row["retcode"] for name, row in ended.items()} == {"a": 3, "b": 127, "c": 0}
    assert processes.tail(ended["a"]["log"], 5) == ["out", "err"]
    assert processes.tail(ended["a"]["log"], 5, "er") == ["out"]
    assert processes.tail(ended["b"]["log"], 5) == ["/nosuch: No such file or directory"]
    assert sum("begun" in text for text in told) == sum("ended" in text for text in told) == 3


def test_no_more_than_so_many_are_under_way(tmp_path):
    """Each notes itself while it runs, and how many it sees."""
    text = f"cd {tmp_path}; touch on-$$; ls on-* | wc -l >> seen; sleep 0.3; rm on-$$"
    processes.side_by_side({str(n): shell(text) for n in range(7)}, 3, tmp_path / "logs", lambda text: None)
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 7 and max(seen) <= 3


def test_names_that_are_no_file_names_have_logs(tmp_path):
    names = ["a/b", "a b", "..", "x" * 300, "-"]
    ended = processes.side_by_side({n: shell("echo $0") for n in names}, 8, tmp_path, lambda text: None)
    assert len({row["log"] for row in ended.values()}) == len(names)
    assert all(processes.tail(row["log"], 1) for row in ended.values())


def test_the_oldest_logs_go(tmp_path):
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    processes.keep_newest(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    processes.keep_newest(tmp_path / "none", 2)


ROWS = [
    {"cluster": "a", "way": {"cluster": "a", "skip": ["pve3"]}},
    {"cluster": "b", "way": None},
]


def test_those_that_need_it_go_the_way_that_the_fleet_shows():
    assert many.chosen("needed", "failover", {}, lambda: ROWS) == {"a": {"cluster": "a", "skip": ["pve3"]}}
    assert many.chosen("needed", "failover", {"skip": []}, lambda: ROWS)["a"]["skip"] == []
    with pytest.raises(RunError, match="never needed"):
        many.chosen("needed", "nominal", {}, lambda: ROWS)


@pytest.mark.parametrize("typed", ["a,b", ["a", "b"], ["a", "b", "a"]])
def test_clusters_are_named_as_everywhere(typed):
    found = many.chosen(typed, "failover", {"layout": "spare"}, list)
    assert found == {name: {"layout": "spare", "cluster": name} for name in "ab"}
    assert many.chosen(["needed"], "failover", {}, list) == {"needed": {"cluster": "needed"}}


@pytest.mark.parametrize("typed", [None, "", [], {"a": 1}, [["a"]], ","])
def test_no_name_is_refused(typed):
    with pytest.raises(RunError):
        many.chosen(typed, "failover", {}, list)


def test_a_name_is_data_in_the_command():
    words = many.command(["salt-run"], "failover", {"cluster": "x'; rm -rf / #"})
    assert words[:3] == ["salt-run", "state.orchestrate", "orch.failover"]
    assert words[3:] == ['pillar={"cluster": "x\'; rm -rf / #"}']


def test_the_summary_has_the_failed_ones_first_and_says_what_they_are_in():
    ended = {
        name: {"retcode": code, "seconds": 1.5, "log": f"/logs/{name}"} for name, code in (("a", 0), ("b", 1))
    }
    after = {"a": {"kind": "healthy", "text": "a is healthy"}}
    told = many.report("failover", ended, after, {"b": ["no way " + "x" * 100]}) | {"do": "many"}
    assert [row["cluster"] for row in told["clusters"]] == ["b", "a"]
    assert (told["retcode"], told["summary"]) == (1, "orch.failover for 2 clusters: 1 failed, 1 done")
    lines = show.render(told)
    assert max(map(len, lines)) <= show.WIDTH
    assert "b: all of it is in /logs/b" in lines and any("healthy" in line for line in lines)
    assert many.report("failover", {}, {}, {})["retcode"] == 0
