"""Whether the minions that a call is waited for still work on it, so that no wait outlives what it waits for.

Salt's own question: ``saltutil.find_job`` returns the job while it runs, and ``{}`` when it does not.
"""

from __future__ import annotations

import time

#: seconds of silence after which minions are asked whether they still work on a call, and between two such
#: questions; seconds after which one that said no is asked again, as its answer may be on its way.
ALIVE_S, AGAIN_S = 10.0, 3.0
#: how many times in a row a minion may say no, or say nothing, before its answer is not waited for any more.
DENIALS, SILENCES = 2, 4


class Alive:
    """Whether minions still work on a call, asked when it has been silent for a while.

    :param client: of Salt. :param jid, fun: the call. :param silent: see ``ports.master.Master.publish``.
    """

    def __init__(self, client, jid, fun, silent):
        self.client, self.call, self.fun, self.silent = client, jid, fun, silent
        self.due, self.question, self.asked = time.monotonic() + ALIVE_S, None, set()
        self.denied, self.deaf, self.said = {}, {}, set()

    def left(self):
        """Return the seconds until the next question."""
        return max(0.0, self.due - time.monotonic())

    def told(self, tag, data):
        """Take an event of the bus, if it is an answer to the last question."""
        minion = data.get("id")
        if not self.question or not tag.startswith(f"salt/job/{self.question}/ret/"):
            return
        self.said.add(minion)
        self.deaf.pop(minion, None)
        if data.get("return") or not data.get("success", True):
            self.denied.pop(minion, None)
        else:
            self.denied[minion] = self.denied.get(minion, 0) + 1
            self.due = min(self.due, time.monotonic() + AGAIN_S)

    def ask(self, minions):
        """Ask those that have not answered the call, if it is time; return why some are not waited for any
        more: ``{minion: text}``."""
        gone = {
            minion: f"the minion does not work on {self.fun} any more: it was restarted, or its job killed"
            for minion in minions
            if self.denied.get(minion, 0) >= DENIALS
        }
        if self.left() or not minions:
            return gone
        for minion in (self.asked & set(minions)) - self.said:
            self.deaf[minion] = self.deaf.get(minion, 0) + 1
            if self.deaf[minion] >= SILENCES:
                gone[minion] = (
                    f"the minion is silent: {SILENCES} times it did not tell whether it still works on"
                    f" {self.fun}"
                )
        left = sorted(set(minions) - set(gone))
        self.due, self.said, self.asked = time.monotonic() + ALIVE_S, set(), set(left)
        if left:
            if self.silent:
                self.silent(left)
            job = self.client.run_job(
                left, "saltutil.find_job", [self.call], tgt_type="list", listen=False, timeout=ALIVE_S
            )
            self.question = (job or {}).get("jid")
        return gone
