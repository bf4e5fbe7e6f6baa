"""Work that calls functions of single nodes, one after the other, and stops at the first that fails.

Pure but for the ports of ``run.change``.
"""

from __future__ import annotations

from pve_corosync.cluster import answers
from pve_corosync.findings import finding, ordered
from pve_corosync.judge import situation
from pve_corosync.run import join, takeover, task

#: seconds for what takes no longer than a restart of a service.
WAIT = 100


class Failed(Exception):
    """A call failed; the text says where and why."""


class Calls(task.Task):
    """A piece of work on one node of a cluster, whose steps are calls to one node each.

    :param request: a ``run.request.Request``. :param ports: see ``run.change``.
    :param settings: what ``arguments.settings`` returns. :param node: the node that it is about.
    """

    #: the function of the runner; its events end with it, and the code of a failure begins with it.
    does = ""

    def __init__(self, request, ports, settings, node):
        self.node = str(node)
        super().__init__(request, ports, settings, node=self.node, jid=ports.jid)

    def until_failed(self, work) -> str:
        """Return the result of ``work()``; of one that failed, after a finding with the command to repeat."""
        try:
            return work()
        except Failed as exc:
            again = f"salt-run corosync.{self.does} {self.node}"
            remedy = f"correct it, then the same again: {again}"
            self.found(finding(f"{self.does}-failed", str(exc), data={"node": self.node}, remedy=remedy))
            self.report["summary"] = f"stopped after {len(self.report['done'])} steps"
            return "failed"

    def look(self, test: bool) -> dict:
        """Return what all nodes report, after what a run that was killed has left on them was taken over.

        :param test: leave that to the run itself.
        :raises Failed: a node did not let go of it.
        """
        observed = self.ports.gather()[0]
        held, dead = situation.dead_runs(observed, self.ports.over)
        self.found(*dead)
        if not held or test:
            return observed
        failed = takeover.take_over(self.ports, self.request, self.settings, held, self.named())
        self.finish(sorted(held))
        if failed:
            raise Failed("; ".join(item["text"] for item in failed))
        return self.ports.gather()[0]

    def named(self) -> dict:
        """Return how this run is called in a node's lock."""
        return {"txn": self.ports.jid, "by": f"corosync.{self.does}, job {self.ports.jid}"}

    def finish(self, nodes) -> None:
        """Give the locks of nodes back.

        :param nodes: their names.
        """
        self.ports.ask(nodes, "corosync.finish", {"txn": self.ports.jid}, self.settings["gather_timeout"])

    def old_keys(self, member: str, now) -> list[dict]:
        """Return warnings on ssh keys of the node that count for as long as nobody takes them out.

        :param member: a node that has them. :param now: returns ``{"keys", "host_keys"}``, the
            fingerprints that are to stay.
        """
        layout = self.request.layout
        own = [row[self.node] for row in layout["networks"].values() if self.node in row]
        try:
            call = {"names": [self.node, *own]} | now()
            told = self.ask(member, "pvecm.old_keys", call)
        except Failed as exc:
            text = f"whether keys of {self.node} from before still count is not known: {exc}"
            return [finding("rebuild-old-key", text, data={"node": self.node})]
        return join.old_keys(self.node, self.request.minions[member], told)

    def found(self, *more: dict) -> None:
        """Add findings to the report.

        :param more: findings.
        """
        self.report["findings"] = ordered([*self.report["findings"], *more])

    def do(self, text: str, name: str, function: str, kwarg: dict, wait: float):  # pylint: disable=too-many-arguments
        """Call a function as one line of the report, and return its value.

        :param text: the line. :param name: the node. :param function: ``module.function``.
        :param kwarg: its arguments. :param wait: seconds for the answer.
        :raises Failed: it failed, or nobody answered.
        """
        if self.ports.gives_way():
            raise Failed(f"an operator's command goes first; not begun: {text}")
        start = self.ports.passed()
        self.ports.say(text)
        try:
            told = self.ask(name, function, kwarg, wait)
        except Failed as exc:
            self.add_row(text, [name], {name: str(exc)}, start)
            raise
        self.add_row(text, [name], {}, start)
        self.ports.note(text, tag=self.does)
        return told

    def ask(self, name: str, function: str, kwarg=None, wait: float = WAIT, quiet: bool = False):  # pylint: disable=too-many-arguments
        """Call a function and return its value, as plain data.

        :param name, function, kwarg, wait: as in :meth:`do`.
        :param quiet: return the text of an error in place of the value.
        :raises Failed: it failed, or nobody answered.
        """
        event = self.ports.ask([name], function, kwarg or {}, wait).get(self.request.minions[name])
        if event is None:
            error = f"no answer to {function} within {wait} s"
        else:
            value, unfit = answers.checked(event.get("return"))
            good = event.get("success", True) and not event.get("retcode") and isinstance(value, (dict, bool))
            if good:
                return value
            error = unfit or situation.last_line(value)
        if quiet:
            return error
        raise Failed(f"{name}: {error}")
