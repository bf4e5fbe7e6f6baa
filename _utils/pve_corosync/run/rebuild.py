"""A rebuild as a sequence: names, the old entry, ssh, the join, certificates, the exit checklist.

Pure but for the ports of ``run.change``. Cut off at any point, the same again goes on from there.
"""

from __future__ import annotations

from pve_corosync.findings import errors, refusal
from pve_corosync.judge import checklist, checklist_exit, phases, situation
from pve_corosync.judge import outcomes as step_outcomes
from pve_corosync.rules.nodes import under_way
from pve_corosync.run import calls, join, task
from pve_corosync.run.calls import WAIT

#: seconds: pvecm add takes 10 to 12, and waits for quorum itself; an rsa key of 4096 bits is made by the way.
JOIN_WAIT = 320
RESUME_WAIT = 150
VERIFY_S = 60


class Rebuild(calls.Calls):
    """One rebuild: what is known, and what was done.

    :param request: a ``run.request.Request``. :param ports: see ``run.change``.
    :param settings: what ``arguments.settings`` returns. :param node: the node to rebuild.
    """

    does = "rebuild"

    def __init__(self, request, ports, settings, node):
        super().__init__(request, ports, settings, node)
        self.others = [name for name in request.nodes if name != self.node]

    def carry_out(self, test=False) -> dict:
        """Bring the node back and return the report; the journal is closed whatever happens.

        :param test: only tell what would be done.
        """

        def work():
            result = self.until_failed(lambda: self._work(test))
            if result not in task.GOOD:
                self.tell_released()
            return result

        return self.run(work, rebuild=self.node)

    def _work(self, test):
        observed, request = self.look(test), self.request
        if self._is_member(observed):
            request.take(situation.in_force(request.layouts(), observed))
            return self._told_only() if test else self._settle("already")
        known = self.node in request.layout["nodes"]
        empty = self.ask(self.node, "pvecm.joinable", quiet=True) if known else None
        found = [*under_way(observed["nodes"]), *join.check(request.layout, self.node, observed, empty)]
        self.found(*found)
        if errors(found):
            self.report["summary"] = refusal(found)
            return "refused"
        links = join.links(request.layout, self.node, observed)[0]
        request.take(join.same_layouts(request.layouts(), self.node, links))
        member = situation.choose_writer(self.others, situation.latest_of_facts(observed))
        host = request.layout["networks"][self._network(links)][member]
        way = join.way(request.layout, self.node, observed, links)
        self.report |= self.request.head() | {"links": links}
        if test:
            self.report["summary"] = (
                f"{self.node} would join by {member} ({host}), links {_told(links)}; {join.WAYS[way]}"
            )
            return "test"
        before = self.ask(member, "pvecm.guests")
        self._names()
        if not way:  # a new node: nobody has its name yet
            for name in self.others:
                self._names(name)
        if not (empty["reasons"] and self._resume(observed, member)):
            self._remove(way, member, observed)
            self._trust(member, host)
            self._add(way, member, host, links, join.votes(observed, self.node))
        result = self._settle("rebuilt")
        self.found(*self.old_keys(member, self._own_keys))
        changed = join.guests_changed(before, self.ask(member, "pvecm.guests"), self.node)
        self.report["guests"] = len(before)
        self.found(*changed)
        return "failed" if changed else result

    def _told_only(self):
        self.report["summary"] = f"{self.node} is a member already, only the exit checklist would be asked"
        return "test"

    def _is_member(self, observed):
        """
        Tell whether the node runs in the cluster already: an earlier rebuild was cut off after the join.
        """
        facts = observed["nodes"].get(self.node) or {}
        return bool(
            (facts.get("runtime") or {}).get("version")
            and (facts.get("quorum") or {}).get("quorate")
            and (facts.get("pmxcfs") or {}).get("writable")
        )

    def _network(self, links):
        first = links[min(links)]
        return next(
            name for name, row in self.request.layout["networks"].items() if row.get(self.node) == first
        )

    def _names(self, name=None):
        """
        Set the names before pmxcfs and the certificate take them; nothing happens where they are right.
        """
        name = name or self.node
        wanted = phases.wanted_primary(self.request.layout)
        network = self.request.layout["primary"]["network"]
        text = f"names to {network}" + ("" if name == self.node else f" on {name}")
        self.do(text, name, "pve_node.names", {"addresses": wanted}, WAIT)

    def _resume(self, observed, member):
        """
        Finish a join that was cut off on the node; return whether it is a member now.
        """
        key = observed["nodes"][member]["authkey"]["sha256"]
        text = f"{self.node} goes on with a join that was cut off"
        told = self.do(text, self.node, "pvecm.resume", {"key": key}, RESUME_WAIT)
        if not told["joined"]:
            self.ports.say("nothing but key and file had come: they are removed, the join begins anew")
        return told["joined"]

    def _remove(self, way, member, observed):
        if way == "delnode":
            self.do(
                f"take {self.node} out of the cluster", member, "pvecm.delnode", {"name": self.node}, WAIT
            )
        elif way in ("local", "publish"):
            self._remove_by_steps(
                member,
                join.removal(self.request.layout, self.node, observed, only_publish=way == "publish"),
            )

    def _remove_by_steps(self, member, steps):
        call = self.named() | {"steps": steps}
        nodes = {name: self.request.minions[name] for name in self.others}
        try:
            answers = self.ports.ask(self.others, "corosync.stage", call, self.settings["stage_timeout"])
            failed = step_outcomes.stage_problems(answers, nodes)
            for step in [] if failed else steps:
                failed = self._step(step, member, nodes)
                if failed:
                    break
        finally:
            self.finish(self.others)
        if failed:
            raise calls.Failed("; ".join(item["text"] for item in failed))

    def _step(self, step, member, nodes):
        start = self.ports.passed()
        self.ports.say(f"{step['act']}: {step['text']}")
        answers = self.ports.ask(
            self.others,
            "corosync.step",
            {"txn": self.ports.jid, "step": step, "writer": member},
            step["deadline_s"] + 5,
        )
        outcomes = {name: (answers.get(minion) or {}).get("return") for name, minion in nodes.items()}
        failed = step_outcomes.judge(step, {n: o for n, o in outcomes.items() if o is not None}, self.others)
        bad = {item["data"]["node"]: item["text"] for item in failed}
        self.add_row(step["text"], self.others, bad, start)
        return failed

    def _trust(self, member, host):
        """
        Let the node's ssh in at the member, with keys that Salt carries; pvecm add can ask nobody.
        """
        mine, its = self.ask(self.node, "pvecm.identity"), self.ask(member, "pvecm.identity")
        self.do(f"{member} lets {self.node} in", member, "pvecm.admit", {"public": mine["public"]}, WAIT)
        self.do(
            f"{self.node} knows {host}", self.node, "pvecm.know", {"host": host, "key": its["host_key"]}, WAIT
        )

    def _own_keys(self):
        now = self.ask(self.node, "pvecm.identity")
        return {"keys": now["keys"], "host_keys": now["host_keys"]}

    def _add(self, way, member, host, links, votes):
        call = {"host": host, "links": {str(number): address for number, address in links.items()}}
        if way != "keep":  # addnode takes both from an entry that is there
            call |= {"nodeid": self.request.layout["nodes"][self.node]["nodeid"], "votes": votes}
        text = f"{self.node} joins by {member} ({host}), links {_told(links)}"
        try:
            told = self.do(text, self.node, "pvecm.add", call, JOIN_WAIT)
        except calls.Failed:
            if not self._has_joined(links, member):
                raise
        else:
            self.ports.say(f"joined in version {told['version']} after {told['seconds']} s")

    def _has_joined(self, links, member):
        """
        Tell whether the node is a member in spite of what pvecm ended with; what is still open is done then.

        Corosync may be quorate some seconds before pmxcfs of a member, which left its group as its quorum
        went with the new entry, is back: what pvecm writes meanwhile is lost, and its certificate does not
        match its key (seen in the lab).
        """
        observed = self.ports.gather()[0]
        empty = self.ask(self.node, "pvecm.joinable", quiet=True)
        return (
            isinstance(empty, dict)
            and join.half_joined(self.node, observed, empty)
            and join.way(self.request.layout, self.node, observed, links) == "keep"  # its id and addresses
            and self._resume(observed, member)
        )

    def _settle(self, result):
        """
        Have the member's address, certificate and host key be right, services look again, and ask the
        checklist.
        """
        if result == "already":
            self._names()
        wanted = phases.wanted_primary(self.request.layout)[self.node]
        text = f".members has {wanted} for {self.node}"
        self.do(text, self.node, "pve_node.restart_pve_cluster", {"address": wanted}, WAIT)
        told = self.do(
            f"certificate and host key of {self.node}",
            self.node,
            "pve_certs.update",
            {},
            self.settings["certs_timeout"] + 5,
        )
        wait = self.settings["services_timeout"]
        for name in self.request.nodes:
            always = name == self.node and (result == "rebuilt" or told["changed"])
            call = {"always": always}
            self.do(f"the services of {name} look again", name, "corosync.refresh_services", call, wait)
        return self._verify(result)

    def _verify(self, result):
        """
        Ask the exit checklist until it is true, for the layout that is in force.
        """

        def look():
            observed, items, borne = self._checklist()
            left = [] if checklist.passed(items) else self._replication_left(observed, items)
            return observed, items, borne, left

        observed, items, borne, left = task.until(
            self.ports, VERIFY_S, look, lambda seen: seen[3] or checklist.passed(seen[1]), pause=1.0
        )
        self.found(*borne, *left)
        self.report |= self.request.head() | {"checklist": items}
        if checklist.passed(items) or left:
            but = " but for replication to it" if left else ""
            self.report["summary"] = f"{self.node} is a member, the exit checklist is true{but}"
            return "failed" if errors(borne) else result
        self.report |= {
            "summary": f"{self.node} is a member, the exit checklist is not true",
            "state": situation.state_now(observed),
            "matrix": situation.matrix(observed),
            "next": [
                f"go on:   salt-run corosync.rebuild {self.node}",
                f"look:    {self.request.command_again('verify')}",
            ],
        }
        return "failed"

    def _checklist(self):
        """
        Return facts, checklist, and warnings; what costs ssh is only asked where the links are in order.
        """
        request = self.request
        observed = self.ports.gather()[0]
        request.take(situation.in_force(request.layouts(), observed))
        items, borne = request.checklist(observed)
        if not checklist.passed(items):
            return observed, items, borne
        call = {"primary": phases.wanted_primary(request.layout, request.skip)}
        answers = self.ports.ask(request.nodes, "corosync.exit_facts", call, self.settings["exit_timeout"])
        checklist_exit.attach(observed, *phases.values(request.minions, request.nodes, answers))
        return observed, *request.checklist(observed, full=True)

    def _replication_left(self, observed, items):
        jobs, bare = {}, {"nodes": {}, "silent": observed["silent"]}
        for name, facts in observed["nodes"].items():
            told = facts.get("exit") or {}
            jobs[name] = told.get("jobs") or {}
            kept = {job: row for job, row in jobs[name].items() if row["target"] != self.node}
            bare["nodes"][name] = facts | ({"exit": told | {"jobs": kept}} if told.get("jobs") else {})
        without = self.request.checklist(bare, full=True)[0] if any(jobs.values()) else items
        return join.replication_left(items, without, jobs, self.node)


def _told(links):
    return ", ".join(f"{number}: {address}" for number, address in sorted(links.items()))
