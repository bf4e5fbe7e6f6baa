"""judge.past: one run in short, also where it has several phases."""

import pytest
from pve_corosync.judge import past


def journal(*phases):
    lines = []
    for at, (phase, result) in enumerate(phases):
        head = {"jid": 7, "cluster": "prod", "time": 100.0 + at}
        lines.append(head | {"event": "begun", "layout": "degraded"} | ({"phase": phase} if phase else {}))
        if result:
            end = {"event": "ended", "result": result, "seconds": {"total": 2.0}, "codes": [f"c{at}"]}
            lines.append(head | end | {"summary": f"{phase or 'links'}: {result}"})
    return lines


@pytest.mark.parametrize(
    "phases, idle, result",
    [
        ([("", "reached")], True, "reached"),
        ([("", None)], True, "broken off"),
        ([("", None)], False, "under way"),
        ([("", "reached"), ("services", "already"), ("exit checklist", "true")], True, "reached"),
        ([("", "already"), ("replication", "done"), ("exit checklist", "true")], True, "already"),
        ([("", "reached"), ("services", "failed"), ("exit checklist", "true")], True, "failed"),
        ([("", "reached"), ("exit checklist", "not true")], True, "not true"),
        ([("", "reached"), ("primary network", "refused")], True, "failed"),
        ([("", "refused")], True, "refused"),
        ([("", "withdrawn")], True, "withdrawn"),
        ([("", "withdrawn"), ("", "reached"), ("services", "already")], True, "reached"),
        ([("", "reached"), ("services", None)], True, "broken off"),
    ],
)
def test_the_result_of_a_run(phases, idle, result):
    assert past.row(journal(*phases), idle)["result"] == result


def test_a_run_of_several_phases_is_one_row():
    row = past.row(journal(("", "reached"), ("services", "already")), True)
    assert (row["jid"], row["seconds"], row["codes"], row["ended_at"]) == ("7", 4.0, ["c0", "c1"], 101.0)
    assert [phase["phase"] for phase in row["phases"]] == ["links", "services"]
