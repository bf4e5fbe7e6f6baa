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
    assert words[0] == "salt-run" and words[-3:-1] == ["state.orchestrate", "orch.failover"]
    assert {"--state-output=full", "--state-verbose=True"} <= set(words), "what it prints is read"
    assert words[-1:] == ['pillar={"cluster": "x\'; rm -rf / #"}']


PLANNED = """17:00:01  prod -> degraded: asking
master:
----------
          ID: 1 links
      Result: None
     Comment: 5 steps
     Changes:
              - ring0_addr
----------
          ID: 2 primary network
      Result: None
Summary for master
------------
Succeeded: 6 (unchanged=5)
Failed:    0""".splitlines()


@pytest.mark.parametrize(
    "counted, is_so",
    [
        ("Succeeded: 6", False),
        ("Succeeded: 6 (changed=3)", True),
        ("Succeeded: 6 (unchanged=6)", True),
        ("Succeeded: 6 (unchanged=1, changed=2)", True),
        ("Failed:    1", False),
    ],
)
def test_what_salt_counted_tells_whether_something_changed(counted, is_so):
    assert many.changed(["Summary for master", counted]) is is_so


def test_a_test_run_says_what_each_would_do_and_only_that():
    assert many.command([], "failover", {}, True)[-1] == "test=True"
    ended = {name: {"retcode": 0, "seconds": 1.5, "log": f"/logs/{name}"} for name in "ab"}
    told = many.report("failover", ended, {}, {"a": PLANNED, "b": ["Succeeded: 6"]}, test=True)
    assert (told["result"], told["retcode"]) == ("test", 0)
    assert [step["text"] for step in told["steps"]] == ["orch.failover of a"]
    text = "\n".join(show.render(told | {"do": "many"}))
    assert "1 would be changed, nothing was written" in text and "- ring0_addr" in text
    assert "primary network" not in text and "b: all of it" not in text
    assert many.report("failover", ended, {}, {}, test=True)["result"] == "done"


def test_a_long_plan_is_cut_and_says_so():
    long = ["  ID: 1", *map(str, range(100)), "Summary for m", "Succeeded: 1 (unchanged=1)"]
    assert many.said(long, True)[-1] == "… 21 lines more"


FAILED = """\
master:
----------
          ID: 1 links
    Function: corosync_run.phase
      Result: True
     Comment: fine
     Started: 22:07:46
----------
          ID: 2 primary network
      Result: False
     Comment: corosync.apply: refused, nothing was changed: cluster 'nope' is in
              no pillar; known: prod
                  -> add cluster=prod
     Started: 22:07:48
    Duration: 553.925 ms
----------
          ID: 3 certificates
      Result: False
     Comment: One or more requisite failed
Summary for master
------------""".splitlines()


def test_of_a_failed_one_the_summary_has_the_report_without_salts_frame():
    said = many.said(FAILED, False)
    assert said == [
        "corosync.apply: refused, nothing was changed: cluster 'nope' is in",
        "no pillar; known: prod",
        "    -> add cluster=prod",
    ]
    long = [*FAILED[:11], *(f"{'':14}{number}" for number in range(40)), *FAILED[13:]]
    told = many.said(long, False)
    assert (len(told), told[0], told[1], told[-1]) == (many.TAIL, said[0], "…", "39")
    told = many.report("failover", {"b": {"retcode": 1, "seconds": 1, "log": "/l"}}, {}, {"b": FAILED})
    lines = show.render(told | {"do": "many"}, 66)
    assert max(map(len, lines)) <= 66 and not any("…" in line for line in lines), lines
    assert "cluster 'nope' is in no pillar; known: prod" in " ".join(" ".join(lines).split())


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
