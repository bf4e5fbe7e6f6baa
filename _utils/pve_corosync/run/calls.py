"""Work that calls functions of single nodes, one after the other, and stops at the first that fails.

Pure but for the ports of ``run.change``.
"""

from __future__ import annotations

from pve_corosync.findings import ordered
from pve_corosync.run import outcomes, task

#: seconds for what takes no longer than a restart of a service.
WAIT = 100


class Failed(Exception):
    """A call failed; the text says where and why."""


class Calls(task.Task):
    """A piece of work whose steps are calls to one node each."""

    #: the end of the tag of its events.
    tag = "rebuild"

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
        start = self.ports.passed()
        self.ports.say(text)
        try:
            told = self.ask(name, function, kwarg, wait)
        except Failed as exc:
            self.add_row(text, [name], {name: str(exc)}, start)
            raise
        self.add_row(text, [name], {}, start)
        self.ports.note(text, tag=self.tag)
        return told

    def ask(self, name: str, function: str, kwarg=None, wait: float = WAIT, quiet: bool = False):  # pylint: disable=too-many-arguments
        """Call a function and return its value.

        :param name, function, kwarg, wait: as in :meth:`do`.
        :param quiet: return the text of an error in place of the value.
        :raises Failed: it failed, or nobody answered.
        """
        event = self.ports.ask([name], function, kwarg or {}, wait).get(self.request.minions[name])
        if event is None:
            error = f"no answer to {function} within {wait} s"
        else:
            value = event.get("return")
            good = event.get("success", True) and not event.get("retcode") and isinstance(value, (dict, bool))
            if good:
                return value
            error = outcomes.last_line(value)
        if quiet:
            return error
        raise Failed(f"{name}: {error}")
