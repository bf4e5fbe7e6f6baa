"""The round trips of one round of a step: the call, then the question for outcomes that are missing. Pure but
for the ports of ``run.change``.
"""

from __future__ import annotations

from pve_corosync import show
from pve_corosync.judge import outcomes

#: seconds of silence after which a call may be lost, and the nodes are asked: most steps take less.
SILENCE_S = 2.0
#: seconds that a node waits for the end of a step that is under way there before it says so.
LOOK_S = 3.0


class StepTrip:
    """One round of a step on some nodes.

    A node that carries the step out says so, and is asked again; one that does not know of it lost the call,
    or its minion was restarted, and is called again. A step that was done is not done twice: the node keeps
    its outcome.

    :param ports, settings: as for ``run.change.Change``. :param txn: the name of the run on the nodes.
    :param step: the step of the plan. :param writer: the node that writes the cluster file.
    :param phase: of a restart step, else "". :param nodes: those that take part in the round.
    """

    def __init__(self, ports, settings, txn, step, writer, phase, nodes):  # pylint: disable=too-many-arguments
        self.ports, self.settings, self.step, self.phase, self.nodes = ports, settings, step, phase, nodes
        self.call = {"txn": txn, "step": step, "writer": writer, "phase": phase}
        self.found, self.idle = {}, set()

    def outcomes(self) -> dict:
        """Return ``{node: outcome, or an error's text}`` of the nodes that told it, in bounded time."""
        wait = outcomes.step_wait(self.step, self.settings)
        end, told = self.ports.passed() + wait + self.settings["outcome_patience"], None
        self._ask(self.nodes, "corosync.step", self.call, min(wait, SILENCE_S))
        self._give_up_with_the_writer()
        while (missing := self._missing()) and self.ports.passed() < end:
            if missing != told:
                self.ports.say(f"  no answer yet: {', '.join(missing)}; asking for the outcome")
            told, asked = missing, self.ports.passed()
            self._look(missing, end - asked)
            lost = [name for name in self._missing() if name in self.idle]
            if lost and end - self.ports.passed() > 1:
                self._ask(lost, "corosync.step", self.call, SILENCE_S)
            if self.ports.passed() - asked < 1:
                self.ports.sleep(1)
            self._give_up_with_the_writer()
        return self.found

    def _give_up_with_the_writer(self):
        """Wait no longer for nodes that wait for a cluster file which its writer could not write."""
        writer = self.call["writer"]
        told = self.found.get(writer)
        if self.step["act"] not in ("cluster", "publish") or told is None:
            return
        if not (isinstance(told, dict) and told["ok"]):
            for name in self._missing():
                self.found[name] = f"not waited for, as {writer} did not write the cluster file"

    def _look(self, names, left):
        """Ask nodes for the outcome; those that neither have it nor work on it are ``idle`` then."""
        self.idle = set()
        call = {"txn": self.call["txn"], "number": self.step["number"], "phase": self.phase}
        limit = LOOK_S + self.settings["gather_timeout"]
        grace = self.settings["answer_grace"]
        self._ask(names, "corosync.outcome", call | {"wait": LOOK_S}, max(0.1, min(limit, left)), grace)

    def _missing(self):
        return [name for name in self.nodes if name not in self.found]

    def _ask(self, names, function, kwarg, wait, grace=None):
        self.ports.ask(names, function, kwarg, wait, heard=self._heard, grace=grace)

    def _heard(self, name, event):
        value = event.get("return")
        if value is None:
            self.idle.add(name)
            return
        told = outcomes.told(value, self.step["number"], self.phase)
        if isinstance(told, str) and isinstance(value, dict) and value.get("under_way"):
            return
        self.found[name] = told
        lacking = outcomes.unmet(name, self.step, told, self.phase) if isinstance(told, dict) else []
        self.ports.say(show.answer(name, told, lacking))
