"""judge.fleet: all clusters of a master, the worst first, each with what helps it; one screen wide."""

import copy
import json

import pytest
import simulation
from _sequence_world import pillar
from pve_corosync import show
from pve_corosync.judge import fleet

NOW = 1763900000.0
NODES = ("pve1", "pve2")


def cluster(name, sim):
    """Return the answers of a cluster's nodes, its minions called ``name-node``: ``{minion: event}``."""
    given = pillar(NODES)
    for node in NODES:
        given["nodes"][node]["minion"] = f"{name}-{node}"
    given, observed = json.loads(
        json.dumps([given, sim.observed()]).replace('"prod"', f'"{name}"').replace(": prod", f": {name}")
    )
    return {
        f"{name}-{node}": {
            "return": {"facts": facts | {"minion": f"{name}-{node}"}, "pillar": copy.deepcopy(given)},
            "retcode": 0,
            "success": True,
        }
        for node, facts in observed["nodes"].items()
    }


def sim(links=None, **more):
    return simulation.Sim(links or {0: "vrack"}, NODES, **more)


def owners(*names):
    return {f"{name}-{node}": name for name in names for node in NODES}


def look(answers, *names, before=None):
    clusters, moved = fleet.sort(owners(*names), answers)
    assert moved == []
    rows = [fleet.judge(name, told, set(owners(*names))) for name, told in clusters.items()]
    return fleet.report(rows, before or {}, NOW) | {"do": "fleet"}


def test_one_line_each_the_worst_first():
    answers = cluster("well", sim()) | cluster("dark", sim(dead={"vrack"}))
    answers |= cluster("half", sim({0: "vrack", 1: "public"}, dead={"vrack"})) | cluster(
        "away", sim({0: "public"})
    )
    told = look(answers, "away", "dark", "gone", "half", "well")
    kinds = [(row["cluster"], row["kind"], row["ok"]) for row in told["clusters"]]
    assert [row[0] for row in kinds] == ["dark", "gone", "half", "away", "well"]
    assert dict((name, kind) for name, kind, _ in kinds) == {
        "dark": "no-quorum",
        "gone": "unreachable",
        "half": "dead-link",
        "away": kinds[3][1],
        "well": "healthy",
    }
    dark, gone, half, _away, well = told["clusters"]
    assert (dark["quorate"], dark["dead"], dark["in_force"]) == (0, [0], ["nominal"])
    assert half["dead"] == [0] and half["quorate"] == 2
    assert (well["ok"], well["drift"], well["votes"], well["answers"]) == (True, False, "2/2", 2)
    assert told["unanswered"] == ["gone"] and gone["answers"] == 0 and gone["nodes"] == 2
    assert (told["result"], told["retcode"]) == ("errors", 1)
    assert (
        fleet.way(dark) == {"cluster": "dark"} and "dark" in told["needed"] and "well" not in told["needed"]
    )


def test_what_has_to_be_forced_is_not_done_for_a_list_of_clusters():
    typed = """salt-run state.orchestrate orch.failover pillar='{"force": ["quorate-halves"]}'"""
    assert fleet.way({"cluster": "split", "ok": False, "command": typed}) is None


def test_a_healthy_fleet_ends_with_exit_code_0():
    told = look(cluster("a", sim()) | cluster("b", sim()), "a", "b")
    assert (told["retcode"], told["summary"], told["needed"]) == (0, "2 clusters: 2 healthy", [])


def test_no_line_is_wider_than_the_screen_whatever_the_names():
    name = "a-cluster-of-a-long-name-'\";$(x)-" + "x" * 60
    answers = cluster("dark", sim(dead={"vrack"})) | cluster("away", sim({0: "public"}))
    told = look(answers, "away", "dark", name)
    lines = show.render(told)
    assert [line for line in lines if len(line) > show.WIDTH and "xxxx" not in line] == []
    assert lines[0] == told["summary"] and len(lines) < 40


def test_the_commands_for_all_that_need_it_are_told():
    dark = sim(dead={"vrack"})
    text = "\n".join(show.render(look(cluster("a", dark) | cluster("b", dark), "a", "b")))
    assert """salt-run state.orchestrate orch.failover pillar='{"cluster": "needed"}'""" in text
    assert """salt-run state.orchestrate orch.failover pillar='{"cluster": "a"}'""" in text


def test_copies_that_differ_are_drift():
    answers = cluster("a", sim())
    answers["a-pve2"]["return"]["facts"]["local"] |= {"sha256": "other", "version": 99}
    (row,) = look(answers, "a")["clusters"]
    assert row["drift"] is True
    assert "DRIFT" in show.render(look(answers, "a"))[4]


def test_since_when_is_remembered_until_the_state_changes():
    answers = cluster("a", sim(dead={"vrack"}))
    kept = fleet.memory(look(answers, "a")["clusters"])
    assert kept == {"a": {"kind": "no-quorum", "since": NOW}}
    earlier = {"a": {"kind": "no-quorum", "since": 5.0}}
    assert look(answers, "a", before=earlier)["clusters"][0]["since"] == 5.0
    assert look(answers, "a", before={"a": {"kind": "silent", "since": 5.0}})["clusters"][0]["since"] == NOW
    assert look(answers, "a", before={"a": "garbage"})["clusters"][0]["since"] == NOW
    assert look(cluster("a", sim()), "a", before=earlier)["clusters"][0]["since"] is None


def test_a_node_does_not_speak_for_another_cluster():
    """What the master's pillar says counts; who says otherwise is asked for, and its facts are not used."""
    answers = cluster("a", sim()) | {"b-pve1": cluster("a", sim(dead={"vrack"}))["a-pve1"]}
    clusters, moved = fleet.sort(owners("a", "b"), answers)
    assert moved == ["b-pve1"]
    assert fleet.judge("a", clusters["a"], set(owners("a", "b")))["kind"] == "healthy"
    assert fleet.judge("b", clusters["b"], set(owners("a", "b")))["kind"] == "no-pillar"


@pytest.mark.parametrize(
    "value, kind",
    [("'corosync.fleet_facts' is not available.", "no-code"), ("Traceback", "no-pillar"), ([], "no-pillar")],
)
def test_nodes_that_answer_with_an_error_are_told_apart_from_silent_ones(value, kind):
    answers = {f"a-{node}": {"return": value, "retcode": 1, "success": False} for node in NODES}
    (row,) = look(answers, "a")["clusters"]
    assert row["kind"] == kind and row["command"].startswith("salt -L a-pve1,a-pve2 saltutil.")


def test_nodes_of_one_cluster_with_another_pillar_are_named():
    answers = cluster("a", sim())
    answers["a-pve2"]["return"]["pillar"]["layout"] = "degraded"
    (row,) = look(answers, "a")["clusters"]
    assert row["also"] == [
        "not the pillar that the rest of a has: a-pve2: salt -L a-pve1,a-pve2 saltutil.refresh_pillar"
    ]


def test_a_cluster_that_cannot_be_judged_is_a_row_of_its_own():
    told = fleet.sort(owners("a"), cluster("a", sim()))[0]["a"]
    row = fleet.broken("a", told, "KeyError('x')")
    assert (row["kind"], row["ok"]) == ("wrong", False) and "KeyError" in row["text"]
    assert "salt-run corosync.status cluster=a" in "\n".join(
        show.render(fleet.report([row], {}, NOW) | {"do": "fleet"})
    )
