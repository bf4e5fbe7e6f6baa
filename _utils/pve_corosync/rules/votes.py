"""Rules about votes, partitions and HA: what a change may cost."""

from __future__ import annotations

from pve_corosync import link_options
from pve_corosync.cluster import restart, topology
from pve_corosync.findings import finding
from pve_corosync.rules import totem

#: watchdog-mux resets a node 60 s after its LRM lost quorum; the rest is the margin to act in.
FENCE_S = 60
MARGIN_S = 15


def expected(context):
    """Expected votes are what the nodelist says (nobody used `pvecm expected`)."""
    total = sum(context.votes().values())
    view = context.base.view if context.base else None
    if not view or view["qdevice"]:
        return
    literal = link_options.whole(view["quorum"].get("expected_votes"))
    if literal is not None and literal != total:
        yield finding(
            "expected-literal",
            f"{context.base.where()}: quorum.expected_votes is {literal}, the nodelist has {total}",
            data={"value": literal, "nodelist": total},
            remedy="drop quorum.expected_votes, the nodelist counts",
        )
        return
    for node, facts in context.nodes.items():
        quorum, total = facts.get("quorum") or {}, _own_total(context, node, facts)
        if (
            total is None
            or quorum.get("expected") in (None, total)
            or quorum.get("qdevice_votes") is not None
        ):
            continue  # a device that is in no file has a finding of its own
        need, have = total // 2 + 1, quorum.get("total") or 0
        cost = (
            f"; the next reload sets it back and takes the quorum away ({have} of {need} votes) until the"
            " links are up"
            if have < need and quorum.get("quorate")
            else "; the next reload sets it back"
        )
        yield finding(
            "expected-votes",
            f"{node}: expected votes {quorum['expected']}, the nodelist has {total}: "
            f"someone used `pvecm expected`{cost}",
            data={"node": node, "value": quorum["expected"], "nodelist": total},
            remedy="nothing, if the links of the layout are up soon; do not repeat `pvecm expected`",
        )


def _own_total(context, node: str, facts: dict):
    """Return the votes of the nodelist that a node's daemon runs, None if no copy is that one."""
    running = facts.get("runtime") or {}
    names = set(running.get("nodes") or {})
    views = [text.view for text in context.texts if text.view and text.version == running.get("version")]
    views.sort(key=lambda view: view is not context.base.view)
    for view in [*views, context.base.view]:
        if {row["name"] for row in view["nodes"]} == names:
            return sum(row["votes"] for row in view["nodes"])
    return None


def partitions(context):
    """All nodes see each other now."""
    groups: dict[tuple, list] = {}
    for node, facts in context.nodes.items():
        quorum = facts.get("quorum")
        if quorum:
            groups.setdefault((quorum.get("ring_id"), tuple(sorted(quorum.get("members") or []))), []).append(
                node
            )
    if len(groups) > 1:
        told = " / ".join(", ".join(nodes) for nodes in groups.values())
        yield finding(
            "cluster-split",
            f"the nodes do not see each other: {told}",
            data={"groups": list(groups.values())},
            remedy="the plan gives each partition the file and a reload of its own",
        )
    lost = [
        node for node, facts in context.nodes.items() if (facts.get("quorum") or {}).get("quorate") is False
    ]
    if lost:
        yield finding(
            "no-quorum",
            f"no quorum on {', '.join(lost)}: /etc/pve is read-only there, the local files go first",
            data={"nodes": lost},
            remedy="go on; the cluster file follows when quorum is back",
        )


def switches(context):
    """The switches of votequorum fit the number of nodes."""
    view = context.base.view if context.base else None
    if not view:
        return
    quorum, count = view["quorum"], len(view["nodes"])
    on, wait = totem.switched_on(quorum), quorum.get("wait_for_all")
    two = "two_node" in on
    if two and count != 2:
        yield finding(
            "two-node-odd",
            f"{context.base.where()}: two_node is on with {count} nodes; allowed with 2",
            data={"nodes": count},
            remedy="drop quorum.two_node with a higher config_version",
        )
    if two and view["qdevice"]:
        yield finding(
            "two-node-odd",
            f"{context.base.where()}: two_node is on beside a quorum device: corosync does not start so",
            severity="error" if context.strategy == "restart" else "warning",
            data={"qdevice": True},
            remedy="drop quorum.two_node with a higher config_version",
        )
    if "wait_for_all" in on or (two and wait is None):
        yield finding(
            "wait-for-all",
            f"{context.base.where()}: after a start of corosync there is no quorum before all "
            f"{count} nodes were seen once (wait_for_all{'' if wait else ', implied by two_node'})",
            data={"implied": wait is None},
            severity=(
                "warning" if context.strategy == "restart" and (context.silent or context.skip) else "info"
            ),
            remedy="do not restart corosync while a node is away",
        )
    for key in ("auto_tie_breaker", "last_man_standing", "allow_downscale"):
        if key in on:
            yield finding(
                "quorum-option",
                f"{context.base.where()}: {key} is on; it is read at the start only, and PVE "
                "does not support it",
                data={"key": key},
                remedy=f"drop quorum.{key} if it is not wanted",
            )


def watchdog(context):
    """HA does not reset a node in the course of the work."""
    armed = context.armed()
    if not armed:
        return
    loss = (context.token() + context.consensus()) / 1000
    told = ", ".join(armed)
    by_hand = (
        "on a node with quorum: ha-manager crm-command disarm-ha (from 5.1.3 on), else stop pve-ha-lrm,"
        " then crm"
    )
    lost = [node for node in armed if (context.nodes[node].get("quorum") or {}).get("quorate") is False]
    if lost:
        yield finding(
            "ha-armed-no-quorum",
            f"HA is armed on {', '.join(lost)} and quorum is lost: the watchdog resets a "
            f"node {FENCE_S} s after the loss, which was noticed {loss:.1f} s after the cut",
            data={"nodes": lost, "loss_s": loss},
            remedy="go on at once; do not stop pve-ha-lrm now, that does not disarm without quorum",
        )
    if context.strategy == "restart":
        outage = restart.outage(topology.Topology(context))[1]["loss_s"]
        first = (
            "it cannot be released without quorum, so the run is refused"
            if lost
            else "it is released before the restart and put in service again at the end"
        )
        yield finding(
            "ha-restart",
            f"HA is armed on {told}; restarts cost a node the quorum for about {outage:.0f} s, the watchdog "
            f"resets a node after {FENCE_S} s: {first}",
            data={"nodes": armed, "outage_s": outage, "fence_s": FENCE_S},
            remedy="the live strategy, which needs no release of HA"
            if lost
            else f"nothing; by hand: {by_hand}",
        )
    elif loss > FENCE_S - MARGIN_S:
        yield finding(
            "ha-slow-token",
            f"HA is armed on {told}; a membership takes {loss:.0f} s to form (token + "
            f"consensus), the watchdog resets a node {FENCE_S} s after the loss of quorum",
            data={"loss_s": loss, "nodes": armed},
            remedy="lower totem.token_coefficient to 125, the default of new clusters since pve-cluster 9.1",
        )


RULES = (expected, partitions, switches, watchdog)
