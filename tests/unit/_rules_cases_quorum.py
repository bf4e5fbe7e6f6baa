"""Faults of quorum and HA, each broken once."""

from _rules_cases import all_files, breaks, edit, everywhere
from _rules_world import conf


@breaks("warning expected-literal", said="expected_votes is 3")
def expected_literal(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  expected_votes: 3\n"))


@breaks("warning expected-votes", said="takes the quorum away (1 of 2 votes)")
def pvecm_expected(goal, world):
    world["nodes"]["pve2"]["quorum"] |= {"expected": 1, "total": 1}


@breaks("warning cluster-split", "warning no-quorum", said="pve1 / pve2")
def split(goal, world):
    for number, row in enumerate(world["nodes"].values(), 1):
        row["quorum"] |= {"quorate": False, "ring_id": f"{number}.2a", "total": 1, "members": [number]}
        row["pmxcfs"]["writable"] = False


@breaks("warning no-quorum", said="pve2")
def no_quorum(goal, world):
    world["nodes"]["pve2"]["quorum"]["quorate"] = False
    world["nodes"]["pve2"]["pmxcfs"]["writable"] = False


@breaks("warning two-node-odd", "info wait-for-all", nodes=3, said="with 3 nodes")
def two_node_of_three(goal, world):
    all_files(world, edit(conf(nodes=3), "quorum {\n", "quorum {\n  two_node: 1\n"))


@breaks("warning two-node-odd", "info wait-for-all", "info qdevice", said="beside a quorum device")
def two_node_with_qdevice(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  device {\n    model: net\n  }\n  two_node: 1\n"))


@breaks("error two-node-odd", "info wait-for-all", "info qdevice", strategy="restart", said="not start so")
def two_node_with_qdevice_before_a_restart(goal, world):
    two_node_with_qdevice(goal, world)


@breaks("info wait-for-all", said="implied by two_node")
def two_node(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  two_node: 1\n"))


@breaks(
    "warning wait-for-all",
    "warning node-skipped",
    nodes=3,
    strategy="restart",
    skip=["pve3"],
    said="seen once",
)
def wait_for_all_with_a_node_away(goal, world):
    all_files(world, edit(conf(nodes=3), "quorum {\n", "quorum {\n  wait_for_all: 1\n"))
    del world["nodes"]["pve3"]


@breaks(said="two_node")
def two_node_without_waiting(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  two_node: 1\n  wait_for_all: 0\n"))


@breaks("info quorum-option", said="auto_tie_breaker")
def tie_breaker(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  auto_tie_breaker: 1\n"))


@breaks(
    "warning quorum-conflict", "info quorum-option", "info wait-for-all", said="two_node has no effect beside"
)
def tie_breaker_with_two_node(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  auto_tie_breaker: 1\n  two_node: 1\n"))


@breaks("warning quorum-conflict", "info quorum-option", nodes=3, said="an odd number of votes")
def tie_breaker_of_three(goal, world):
    all_files(world, edit(conf(nodes=3), "quorum {\n", "quorum {\n  auto_tie_breaker: 1\n"))


@breaks("error quorum-conflict", "info quorum-option", nodes=3, strategy="restart", said="does not start")
def tie_breaker_and_last_man_of_three(goal, world):
    switches = "quorum {\n  auto_tie_breaker: 1\n  last_man_standing: 1\n"
    all_files(world, edit(conf(nodes=3), "quorum {\n", switches))


@breaks(
    "warning quorum-conflict", "info quorum-option", "info qdevice", said="last_man_standing beside a quorum"
)
def last_man_with_qdevice(goal, world):
    switches = "quorum {\n  device {\n    model: net\n  }\n  last_man_standing: 1\n"
    all_files(world, edit(conf(), "quorum {\n", switches))


@breaks("warning quorum-conflict", said="without last_man_standing")
def window_of_no_last_man(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  last_man_standing_window: 5000\n"))


@breaks("warning quorum-conflict", "info quorum-option", said="allowed: 1 or more")
def window_of_nothing(goal, world):
    switches = "quorum {\n  last_man_standing: 1\n  last_man_standing_window: 0\n"
    all_files(world, edit(conf(), "quorum {\n", switches))


@breaks("info qdevice", said="pvecm status")
def qdevice(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  device {\n    model: net\n  }\n"))
    for row in world["nodes"].values():
        row["quorum"]["expected"] = 3


@breaks("warning ha-armed-no-quorum", "warning no-quorum", said="6.6 s after the cut")
def ha_armed_without_quorum(goal, world):
    no_quorum(goal, world)
    everywhere(world, "ha", {"armed": True, "configured": True})


@breaks("warning ha-restart", strategy="restart", said="about 13 s")
def ha_and_restart(goal, world):
    everywhere(world, "ha", {"armed": True, "configured": True})


@breaks("warning ha-restart", strategy="restart", said="released before the restart")
def ha_and_a_slow_restart(goal, world):
    """HA is released first, so that the time does not matter."""
    everywhere(world, "ha", {"armed": True, "configured": True})
    for row in world["nodes"].values():
        row["runtime"] |= {"token": 36000, "consensus": 43200}


@breaks(
    "warning ha-restart",
    "warning ha-armed-no-quorum",
    "warning no-quorum",
    strategy="restart",
    said="so the run is refused",
)
def ha_and_a_restart_without_quorum(goal, world):
    ha_armed_without_quorum(goal, world)


@breaks("warning ha-slow-token", said="50 s")
def ha_and_a_slow_token(goal, world):
    everywhere(world, "ha", {"armed": True, "configured": True})
    for row in world["nodes"].values():
        row["runtime"] |= {"token": 22500, "consensus": 27000}


def with_device(world, votes=1):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  device {\n    model: net\n  }\n"))
    for row in world["nodes"].values():
        row["quorum"] |= {"expected": 3, "total": 2 + (votes or 0), "quorum": 2, "qdevice_votes": votes}


@breaks("info qdevice", "warning qdevice-mute", said="gives no vote on pve1, pve2")
def a_device_that_casts_no_vote(goal, world):
    with_device(world, 0)


@breaks("info qdevice", "warning qdevice-mute", said="gives no vote on pve1, pve2")
def a_device_that_is_not_registered(goal, world):
    with_device(world, None)


@breaks("warning qdevice-leftover", said="removed half way")
def a_device_that_is_in_no_file(goal, world):
    for row in world["nodes"].values():
        row["quorum"] |= {"expected": 3, "total": 3, "quorum": 2, "qdevice_votes": 1}


@breaks("info qdevice", "warning node-skipped", skip=["pve2"], said="pvecm status")
def a_survivor_that_the_device_keeps_quorate(goal, world):
    with_device(world)
    del world["nodes"]["pve2"]
    world["nodes"]["pve1"]["quorum"] |= {"total": 2, "members": [1]}


@breaks("info wait-for-all", "warning node-skipped", skip=["pve2"], said="is skipped")
def a_survivor_of_two_node(goal, world):
    """two_node: 1 keeps it quorate, whatever the votes are."""
    two_node(goal, world)
    del world["nodes"]["pve2"]
    world["nodes"]["pve1"]["quorum"] |= {"total": 1, "quorum": 1, "members": [1]}


@breaks("error quorate-halves", "warning cluster-split", "warning expected-votes", said="did not tell")
def two_quorate_halves(goal, world):
    split(goal, world)
    for number, row in enumerate(world["nodes"].values(), 1):
        row["quorum"] |= {"quorate": True, "expected": 1, "quorum": 1}
        row["pmxcfs"]["writable"] = True
        row["database"] = {"version": 7, "mtime": 1, "files": {}} if number == 1 else None
