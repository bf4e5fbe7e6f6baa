"""What an operator asks for: a layout of a cluster, how, without whom, in spite of what. Pure."""

from __future__ import annotations

import copy

from pve_corosync import arguments
from pve_corosync.findings import errors, finding, ordered, refusal
from pve_corosync.judge import checklist, situation, ways
from pve_corosync.pillar import layouts
from pve_corosync.plan import planner
from pve_corosync.run import ha_guard


class Request:
    """What the operator asks for: a layout of a cluster, how, without whom, in spite of what.

    :param pillar: the pillar ``corosync`` of the cluster.
    :param layout: a layout's name, None for the pillar's.
    :param strategy: ``live`` or ``restart``.
    :param skip: nodes to go on without; those that the pillar skips are added.
    :param force: codes to go on in spite of.
    :param cluster: the cluster's name as the operator gave it, or None.
    :raises pillar.layouts.LayoutError: bad pillar, or unknown layout.
    :raises arguments.RunError: unknown strategy.
    """

    def __init__(self, pillar, layout=None, strategy="live", skip=(), force=(), cluster=None):
        self.strategy = arguments.choice(strategy, "strategy", planner.STRATEGIES)
        self.force, self.cluster_arg, self.pillar = list(force), cluster, pillar
        self.loaded = layouts.load(pillar)
        self.layout = layouts.resolve(self.loaded, None if layout is None else str(layout))
        self.skip = list(dict.fromkeys([*skip, *(self.loaded.get("skip") or ())]))
        ids = self.layout["nodes"]
        self.nodes = [
            name for name in sorted(ids, key=lambda name: ids[name]["nodeid"]) if name not in self.skip
        ]
        self.minions = {name: row["minion"] for name, row in ids.items()}
        #: for strategy restart: also where everything is as the layout wants it.
        self.again_all = False

    def take(self, names: list[str]) -> None:
        """Take the layout in force where the operator named none; the pillar's, if that is one of them.

        :param names: the layouts in force.
        :raises arguments.RunError: none is, and a restart would move the cluster to the pillar's by
            surprise.
        """
        if not names and self.strategy == "restart":
            known = sorted(self.loaded["layouts"])
            raise arguments.RunError(
                finding(
                    "layout-not-in-force",
                    "a restart keeps the layout, and no layout is in force on all running nodes; "
                    f"there are: {', '.join(known)}",
                    data={"allowed": known},
                    remedy=f"name one: {ways.command('restart', self.layout['name'])}; or live: "
                    f"{ways.command('apply', self.layout['name'])}",
                )
            )
        self.layout = layouts.resolve(self.loaded, situation.held_to(names, self.layout["name"]))

    def toward(self, name: str) -> Request:
        """Return the same request for another layout, by the live strategy."""
        other = copy.copy(self)
        other.layout, other.strategy, other.again_all = layouts.resolve(self.loaded, name), "live", False
        return other

    def layouts(self) -> dict:
        """Return all layouts of the pillar, resolved: ``{name: layout}``."""
        return {name: layouts.resolve(self.loaded, name) for name in self.loaded["layouts"]}

    def head(self) -> dict:
        """Return what every report begins with; who is left out and what is forced stays in sight."""
        head = {"cluster": self.layout["cluster_name"], "layout": self.layout["name"]}
        left = {"skip": list(self.skip), "force": list(self.force)}
        return head | {key: value for key, value in left.items() if value}

    def command_again(self, function: str) -> str:
        """Return the command line of a function with the same arguments."""
        return ways.command(function, self.layout["name"], **self.how())

    def whole_job(self) -> str:
        """Return the command line that does everything: the links, and what follows them."""
        wanted = self.loaded["layout"]
        how = self.how() | {"start": self.again_all}
        if self.again_all:
            how |= {"strategy": "live"}
        return ways.orchestration(self.layout["name"], wanted, **how)

    def how(self) -> dict:
        """Return the arguments besides the layout, as ``judge.ways.command`` takes them."""
        return {
            "skip": self.skip,
            "force": self.force,
            "strategy": self.strategy,
            "cluster": self.cluster_arg,
        }

    def plan(self, observed: dict, findings: list) -> tuple[dict, list]:
        """Return the plan, and all findings: on the answers and of the plan."""
        made = planner.plan(
            self.layout,
            observed,
            strategy=self.strategy,
            skip=self.skip,
            force=self.force,
            fast=self.loaded.get("fast_ping"),
            again=self.again_all,
        )
        return made, ordered(list(findings) + list(made["findings"]))

    def planned(self, made: dict, findings: list, observed: dict, diff: bool = False) -> dict:
        """Return the report of a plan.

        :param diff: with what changes in each file.
        """
        refused = bool(errors(findings, self.force))
        steps = [] if refused else made["steps"]
        report = self.head() | {
            "findings": findings,
            "path": made["path"],
            "complete": made["complete"],
            "steps": [{key: value for key, value in step.items() if key != "conf"} for step in steps],
            "expected_loss_s": made["expected_loss_s"],
            "from_version": made["from_version"],
            "to_version": made["to_version"],
            "partitions": made["partitions"],
            "summary": refusal(findings, self.force) if refused else _summary(made, steps),
            "result": "refused" if refused else "planned",
            "retcode": arguments.FAILED if refused else arguments.OK,
        }
        if refused:
            report["matrix"] = situation.matrix(observed)
        if diff and steps:
            report["diffs"] = planner.diffs(made, observed)
        if steps:
            report["ha"] = {"text": ha_guard.words(made["expected_loss_s"], observed, self.nodes)}
            report["next"] = [f"do it: {self.whole_job()}"]
        return report

    def checklist(self, observed: dict, full: bool = False) -> tuple[list[dict], list[dict]]:
        """Return the exit checklist, and warnings on what it bears.

        :param full: with the items of the phases after the links; their facts are in ``exit`` of the nodes'
            facts.
        """
        wanted = None if full else checklist.LINK_ITEMS
        items = checklist.checklist(self.layout, observed, items=wanted, skip=self.skip)
        return situation.tolerate(self.layout, observed, items, self.skip)


def _summary(made, steps):
    if not steps:
        return f"there is nothing to do, version {made['from_version']}"
    loss = made["expected_loss_s"]
    words = [
        f"{made['path']} path",
        f"{len(steps)} step{'s' * (len(steps) > 1)}",
        f"version {made['from_version']} -> {made['to_version']}",
        f"expected loss of quorum {loss:g} s",
    ]
    return ", ".join(words) + ("" if made["complete"] else "; the layout is not reached by it")
