"""What every piece of work on a cluster shares: a report that fills, a journal from begun to ended, rows of
what was done, and asking until something is true. Pure but for the ports of ``run.change``.
"""

from __future__ import annotations

import contextlib

from pve_corosync import arguments
from pve_corosync.findings import ordered
from pve_corosync.judge import evidence

#: results that end a command with exit code 0.
GOOD = ("reached", "rebuilt", "removed", "done", "already", "test")


class Task:
    """One piece of work while it is carried out.

    :param request: a ``run.request.Request``. :param ports: see ``run.change``.
    :param settings: what ``arguments.settings`` returns.
    :param head: what the report begins with, beside cluster and layout.
    """

    #: what the last line of progress begins with.
    title = ""

    def __init__(self, request, ports, settings, **head):
        self.request, self.ports, self.settings = request, ports, settings
        self.report = request.head() | head | {"done": [], "findings": [], "seconds": {}}

    def run(self, work, **about) -> dict:
        """Carry out ``work() -> result`` and return the report; the journal is closed whatever happens.

        :param about: more for the first line of the journal.
        """
        self.ports.note("begun", layout=self.request.layout["name"], **about)
        result = "interrupted"
        try:
            result = work()
        except Exception as exc:  # pylint: disable=broad-except
            error = self.broken(exc)
            if error is exc:
                raise
            raise error from exc
        finally:
            self._ended(result)
        return self.report

    def broken(self, exc: Exception) -> Exception:
        """Return the error that the work ends with where the master itself could not go on."""
        return exc

    def tell_released(self, observed: dict | None = None) -> None:
        """Add to the findings that a run which is dead left HA released: for work that ends without having
        put it in service again.

        :param observed: facts of all nodes; they are asked where there are none.
        """
        if observed is None:
            try:
                observed = self.ports.gather()[0]
            except Exception as exc:  # pylint: disable=broad-except
                self.ports.say(f"whether HA was left released is not known: {exc!r}")
                return
        if "ha-left-released" not in [item["code"] for item in self.report["findings"]]:
            self.report["findings"] += evidence.released(self.request.layout, observed)

    def _ended(self, result):
        report = self.report
        report["findings"] = ordered(report["findings"])
        report["seconds"]["total"] = self.ports.passed()
        report |= {"result": result, "retcode": arguments.OK if result in GOOD else arguments.FAILED}
        with contextlib.suppress(Exception):  # what ended the work is worth more than its last line
            self.ports.note(
                "ended",
                result=result,
                seconds=report["seconds"],
                summary=report.get("summary", ""),
                codes=[item["code"] for item in report["findings"]],
                findings=report["findings"] if report["retcode"] else [],
                next=report.get("next") or [],
            )
        said = "interrupted" if result == "interrupted" else report.get("summary", result)
        self.ports.say(self.title + said)

    def add_row(self, text: str, nodes, bad: dict, begun: float, **more) -> dict:
        """Add one line to what was done, and return it: see :func:`add_row`."""
        return add_row(self.report, self.ports, text, nodes, bad, begun, **more)


def add_row(report: dict, ports, text: str, nodes, bad: dict, begun: float, **more) -> dict:  # pylint: disable=too-many-arguments
    """Add one line to what a report says was done, and return it.

    :param nodes: names of the nodes that took part. :param bad: ``{node: what is wrong}``.
    :param begun: when it began, in seconds since the start of the run.
    :param more: other keys of the line, or another ``number``.
    """
    row = {
        "number": len(report["done"]) + 1,
        "text": text,
        "ok": not bad,
        "seconds": round(ports.passed() - begun, 2),
        "nodes": {name: bad.get(name, "ok") for name in nodes},
    } | more
    report["done"].append(row)
    return row


def journal_command(jid: str) -> str:
    """Return the command line that shows what a run noted."""
    return f"salt-run corosync.journal jid={jid}"


def until(ports, seconds: float, look, true, pause: float = 0.5):
    """Look until it is true or the time is over, and return what was seen last.

    :param seconds: how long. :param look: returns what is seen. :param true: tells it of that.
    :param pause: seconds between two looks.
    """
    end = ports.passed() + seconds
    while True:
        seen = look()
        if true(seen) or ports.passed() >= end:
            return seen
        ports.sleep(pause)
