"""Faults of the nodes, each broken once."""

import time

from _rules_cases import breaks
from _rules_world import PUBLIC, VRACK, conf, facts, file_facts


@breaks("error node-silent", nodes=3, said="1 of 3 votes is missing")
def silent_node(goal, world):
    del world["nodes"]["pve3"]
    world["silent"] = ["pve3"]


@breaks("error node-silent", nodes=3, said="skip=pve3")
def node_that_is_neither_answering_nor_silent(goal, world):
    del world["nodes"]["pve3"]


@breaks("warning node-skipped", nodes=3, skip=["pve3"], said="must not start corosync")
def silent_node_skipped(goal, world):
    del world["nodes"]["pve3"]
    world["silent"] = ["pve3"]


@breaks("warning node-skipped", "warning skip-runs", nodes=3, skip="pve3", said="keep the old links")
def skipped_node_runs(goal, world):
    pass


@breaks(
    "warning node-skipped",
    "error skip-between",
    "warning cluster-split",
    "warning no-quorum",
    nodes=3,
    skip="pve3",
    said="pve1 has a membership with it, which pve2 cannot join",
)
def skipped_node_between_two(goal, world):
    for name, members in (("pve1", [1, 3]), ("pve2", [2]), ("pve3", [1, 3])):
        quorum = world["nodes"][name]["quorum"]
        quorum |= {"members": members, "total": len(members), "ring_id": f"{members[0]}.2a"}
    world["nodes"]["pve2"]["quorum"]["quorate"] = False
    world["nodes"]["pve2"]["pmxcfs"]["writable"] = False


@breaks("warning node-skipped", "error skip-no-quorum", skip=["pve2"], said="1 of 2 votes")
def skipped_too_many(goal, world):
    del world["nodes"]["pve2"]


@breaks("warning node-skipped", "warning skip-no-quorum", skip=["pve2"], force=["skip-no-quorum"])
def skipped_too_many_by_force(goal, world):
    del world["nodes"]["pve2"]


@breaks("error skip-unknown", skip=["pve9"], said="'pve9'")
def skip_of_nobody(goal, world):
    pass


@breaks("error force-unknown", force=["node-silent"], said="cannot be forced")
def force_of_what_cannot_be_forced(goal, world):
    pass


@breaks("error node-unknown", said="pve9")
def stranger_answers(goal, world):
    world["nodes"]["pve9"] = facts("pve1") | {"node": "pve9", "minion": "pve9", "addresses": {}}


@breaks("error node-other-name", said="'pve1'")
def minion_is_another_node(goal, world):
    world["nodes"]["pve2"]["node"] = "pve1"


@breaks("error minion-other", said="'other'")
def another_minion(goal, world):
    world["nodes"]["pve2"]["minion"] = "other"


@breaks("error corosync-stopped", said="systemctl start corosync")
def corosync_stopped(goal, world):
    world["nodes"]["pve2"] |= {
        "corosync": {"version": "3.1.7", "state": "inactive"},
        "runtime": None,
        "quorum": None,
    }


@breaks("warning corosync-stopped", strategy="restart", said="inactive")
def corosync_stopped_and_to_be_restarted(goal, world):
    corosync_stopped(goal, world)


@breaks("error corosync-stopped", "warning copies-differ", said="must not start before it has the new file")
def corosync_stopped_with_an_old_file(goal, world):
    corosync_stopped(goal, world)
    world["nodes"]["pve2"]["local"] = file_facts(conf(version=4))


@breaks("error runtime-unreadable", said="corosync-cmapctl")
def runtime_unreadable(goal, world):
    world["nodes"]["pve2"]["runtime"] = None


@breaks("error pve-not-mounted", said="/etc/pve")
def pve_not_mounted(goal, world):
    world["nodes"]["pve2"] |= {
        "pmxcfs": {"mounted": False, "writable": False, "members": None},
        "cluster_file": None,
    }


@breaks("warning pve-not-mounted", force=["pve-not-mounted"])
def pve_not_mounted_by_force(goal, world):
    pve_not_mounted(goal, world)


BUSY_SINCE = 1763900000.25
HUNG = {"state": "hung", "mounted": False, "writable": False, "members": None}


@breaks("error pve-hung", said="/etc/pve hangs")
def pve_hung(goal, world):
    world["nodes"]["pve2"] |= {"pmxcfs": dict(HUNG), "cluster_file": None}


@breaks(
    "error run-busy",
    "error cluster-file-missing",
    said="run t1 is under way, and may be why: wait for its end",
)
def no_cluster_file_while_a_run_is_under_way(goal, world):
    world["nodes"]["pve2"]["cluster_file"] = None
    world["nodes"]["pve1"]["busy"] = {"txn": "t1", "by": "master", "since": BUSY_SINCE}


@breaks("warning pve-read-only", said="journalctl")
def pve_read_only_with_quorum(goal, world):
    world["nodes"]["pve2"]["pmxcfs"]["writable"] = False


@breaks(
    "error run-busy",
    said=f"since {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(BUSY_SINCE))} is under way"
    " -> wait for it; if it is dead: salt pve2 corosync.finish t1",
)
def another_run(goal, world):
    world["nodes"]["pve2"]["busy"] = {"txn": "t1", "by": "master", "since": BUSY_SINCE}


@breaks("error authkey-missing", said="authkey")
def authkey_missing(goal, world):
    world["nodes"]["pve2"]["authkey"] = None


@breaks("error authkey-differs", said="pve1 / pve2")
def authkey_differs(goal, world):
    world["nodes"]["pve2"]["authkey"]["sha256"] = "cd" * 32


@breaks("warning authkey-mode", said="0644")
def authkey_open(goal, world):
    world["nodes"]["pve2"]["authkey"]["mode"] = "0644"


@breaks("warning authkey-mode", said="salt:salt")
def authkey_of_another(goal, world):
    world["nodes"]["pve2"]["authkey"]["owner"] = "salt:salt"


@breaks("warning name-unknown", said="/etc/hosts")
def own_name_unknown(goal, world):
    world["nodes"]["pve2"]["names"]["pve2"] = []


@breaks("info name-unknown")
def other_name_unknown(goal, world):
    world["nodes"]["pve1"]["names"]["pve2"] = []


@breaks("warning name-loopback", said="127.0.1.1")
def name_on_the_loopback(goal, world):
    world["nodes"]["pve2"]["names"]["pve2"] = ["127.0.1.1", VRACK["pve2"]]


@breaks("warning names-differ", said="10.66.0.2 on pve1; 203.0.113.20 on pve2")
def names_differ(goal, world):
    world["nodes"]["pve2"]["names"]["pve2"] = [PUBLIC["pve2"]]


@breaks("info name-not-primary", said=PUBLIC["pve2"])
def name_not_primary(goal, world):
    for row in world["nodes"].values():
        row["names"]["pve2"] = [PUBLIC["pve2"]]


@breaks("warning versions-mixed", said="3.1.7 on pve1; 3.1.9 on pve2")
def versions_mixed(goal, world):
    world["nodes"]["pve2"]["corosync"]["version"] = "3.1.9"


@breaks("warning facts-incomplete", said="cmapctl: timeout")
def facts_incomplete(goal, world):
    world["nodes"]["pve2"]["problems"] = ["cmapctl: timeout"]
