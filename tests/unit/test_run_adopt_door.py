"""Adoption takes facts through the door of answers: a bad value is told, and is no traceback."""

import pytest
from pve_corosync import arguments
from pve_corosync.pillar import layouts
from pve_corosync.run import adopt
from test_cluster_answers import VALUES, changed, places, world

#: every so many of the changes is tried: a prime, so that each place and each value comes up.
STEP = 7


@pytest.mark.parametrize("part", [None, *sorted(world()["pve2"])])
def test_no_changed_value_is_a_traceback(part):
    told = world()
    tries = [
        (path, value)
        for path in places(told["pve2"])
        for value in VALUES
        if (path[0] if path else None) == part
    ]
    for path, value in tries[:: 1 if len(tries) < 60 else STEP]:
        try:
            adopt.adopt(told | {"pve2": changed(told["pve2"], path, value)}, "*")
        except (arguments.RunError, layouts.LayoutError) as exc:
            assert exc.findings, (path, value)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"runtime": [1]}, "its facts do not have the shape of facts: runtime: [1]; allowed: a mapping"),
        ({"pmxcfs": 5}, "pmxcfs: 5; allowed: a mapping"),
        ({"names": 7}, "names: 7; allowed: a mapping"),
        ({"local": {"version": 5}}, "local.text: None; allowed: a value, which is missing"),
        ({"node": None}, "it did not tell the name of its node"),
    ],
)
def test_facts_without_their_shape_are_told_with_the_place(bad, text):
    told = world()
    told["pve2"] |= bad
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt(told, "*")
    (item,) = error.value.findings
    assert (item["code"], item["data"]["minion"]) == ("adopt-error", "pve2") and item["text"].endswith(text)


def test_an_error_has_no_control_characters():
    with pytest.raises(arguments.RunError) as error:
        adopt.adopt(world() | {"pve2": "Traceback\na\x1b[2Jb"}, "*")
    assert error.value.findings[0]["text"] == "pve2: ab"
