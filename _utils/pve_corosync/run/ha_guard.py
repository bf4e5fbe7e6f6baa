"""HA around a run that may lose quorum: released before, in service again afterwards, also after a failure.

What has to happen is decided by ``cluster.ha.guard``; this carries it out through the ports of
``run.change``.
"""

from __future__ import annotations

from pve_corosync.cluster import ha as cluster_ha
from pve_corosync.findings import finding
from pve_corosync.judge import evidence, phases
from pve_corosync.run import task

#: how long all nodes may take to be members again before HA is given up on.
MEMBERS_S = 60
#: how much longer than the functions of ``ha_manager`` themselves the runner waits: beside their own timeout
#: they read the status twice (15 s each) and send one crm-command (30 s).
NODE_MARGIN_S = 60
#: what ``ha_manager`` says of itself where the package is not there; Salt puts it behind
#: "'ha_manager' __virtual__ returned False: " (loader/lazy.py missing_fun_string).
NOT_INSTALLED = "ha-manager is not installed"
NO_HA = {
    "armed": False,
    "configured": False,
    "lrm": "not-found",
    "crm": "not-found",
    "disarm_supported": False,
}


def words(expected_loss_s: float, observed: dict, nodes=None) -> str:
    """Return what a plan means for HA, as one sentence.

    It is the decision that the run makes, but from the facts of Corosync alone: whether HA is disarmed or its
    services are stopped is only known when the nodes are asked.

    :param expected_loss_s: of the plan. :param observed: gathered facts.
    :param nodes: those that take part; default all that answered.
    """
    nodes = (
        list(observed["nodes"]) if nodes is None else [name for name in nodes if name in observed["nodes"]]
    )
    ha = {name: _assumed(observed["nodes"][name].get("ha")) for name in nodes}
    answer = cluster_ha.guard(expected_loss_s, ha, _quorate(observed, nodes), cut=_cut(observed, nodes))
    if answer["action"] != "disarm":
        return answer["text"]
    armed = _armed(observed, nodes)
    return (
        f"armed on {', '.join(armed) or 'an unknown node'}, and the plan may be without quorum for"
        f" {expected_loss_s:g} s: it is released first and put in service again at the end"
    )


def _assumed(ha):
    """Return the HA facts of ``corosync.facts`` as those of ``ha_manager.facts``; None without any."""
    return (
        {"lrm": "active", "crm": "active", "disarm_supported": True, "configured": None} | ha if ha else None
    )


def _armed(observed, nodes):
    return [name for name in nodes if ((observed["nodes"].get(name) or {}).get("ha") or {}).get("armed")]


def _cut(observed, nodes):
    """Return the nodes that answered and are without quorum, where others have it."""
    states = {
        name: bool((observed["nodes"][name].get("quorum") or {}).get("quorate"))
        for name in nodes
        if name in observed["nodes"]
    }
    return [name for name, quorate in states.items() if not quorate] if any(states.values()) else []


def _quorate(observed, nodes):
    states = [
        (observed["nodes"][name].get("quorum") or {}).get("quorate")
        for name in nodes
        if name in observed["nodes"]
    ]
    return bool(states) and all(states)


class HaGuard:
    """HA around one run.

    :param request, ports, settings: as for ``run.change.Change``.
    :param report: the report of the run; ``ha`` in it tells what was done.
    """

    def __init__(self, request, ports, settings, report):
        self.request, self.ports, self.settings, self.report = request, ports, settings, report
        self.answer = None
        self.begun, self.left = False, []

    def inherit(self, observed: dict) -> bool:
        """Take over what a dead run has left to be undone, and tell whether there was something.

        For who holds the cluster's lock: then no run that may still undo it is alive.
        """
        entries = []
        for entry in evidence.left_undone(observed)[0]:
            nodes = [name for name in entry["nodes"] if name in self.request.minions]
            entries += [entry | {"nodes": nodes}] if nodes else []
        self.left = [entry | {"when": "after"} for entry in entries]
        if self.left:
            self.begun, self.answer = True, {"sequence": list(self.left)}
            self.report["ha"] = {"action": "inherited", "text": "a dead run has left HA released"}
            self.ports.note("HA inherited", undo=entries)
            self.ports.say("HA was released by a run that is dead: it is put in service again at the end")
        return self.begun

    def before(self, expected_loss_s: float, observed: dict) -> list[dict]:
        """Release HA if the plan needs it; return the findings that stop the run."""
        if expected_loss_s <= 0:
            if not self.left:
                text = words(0, observed, self.request.nodes)
                self.report["ha"] = {"action": "none", "text": text}
            return []
        self.answer = cluster_ha.guard(
            expected_loss_s,
            self._facts(),
            _quorate(observed, self.request.nodes),
            seen=_armed(observed, self.request.nodes),
            cut=_cut(observed, self.request.nodes),
        )
        new = {(entry["function"], *entry["nodes"]) for entry in self.answer["sequence"]}
        self.answer["sequence"] += [
            entry for entry in self.left if (entry["function"], *entry["nodes"]) not in new
        ]
        self.report["ha"] = {"action": self.answer["action"], "text": self.answer["text"]}
        self.ports.note("HA", **self.report["ha"])
        self.ports.say(f"HA: {self.answer['text']}")
        if self.answer["action"] == "refuse":
            self.report["summary"] = "HA is in the way, nothing was changed"
            return [
                finding(
                    "ha-guard", self.answer["text"], remedy=f"first: {self.request.command_again('status')}"
                )
            ]
        found = self._keep_undo() or self._release()
        if found:
            self.report["summary"] = "HA could not be released, nothing was changed"
        return found

    def after(self) -> list[dict]:
        """Put HA in service again if it was touched; return the findings where that was not read back.

        An error of the master (no answer of Salt, a full disk under the journal) ends nothing here: what can
        be armed is armed, and the commands for the rest are told.
        """
        if not self.begun:
            return []
        try:
            found = self._bring_back()
        except Exception as exc:  # pylint: disable=broad-except
            found = [self._not_in_service(f"HA may still be released: {exc!r}", self._commands())]
        except BaseException:  # the operator ends the run here: no report follows
            self._quietly(self.ports.say, f"HA may still be released: {'; '.join(self._commands())}")
            raise
        for item in found:
            self._quietly(self.ports.say, f"{item['text']}; do: {item['remedy']}")
        return found

    def _bring_back(self):
        away = self._away()
        if not away:
            return self._arm() or self._drop_undo()
        self._quietly(self.ports.note, "HA not in service", away=away)
        text = (
            f"HA stays released, because not all nodes are back ({'; '.join(away)}): in service now,"
            " it would fence them"
        )
        item = self._not_in_service(text, self._commands(), away=away)
        return [item | {"remedy": f"bring them back, then: {item['remedy']}"}]

    def _facts(self):
        """Ask every node; None for one that gave no facts."""
        nodes = self.request.nodes
        answers = self.ports.ask(nodes, "ha_manager.facts", {}, self.settings["phase_timeout"])
        good, bad = phases.values(self.request.minions, nodes, answers)
        # Only a node that says so has no HA. "is not available" is what Salt says of a module that was never
        # synced there, and tells nothing about HA.
        return good | {name: dict(NO_HA) if NOT_INSTALLED in text else None for name, text in bad.items()}

    def _keep_undo(self):
        """Note on every node what is to be undone, before anything is done that needs it."""
        entries = [
            {key: entry[key] for key in ("function", "nodes", "kwargs", "text")}
            for entry in self._entries("after")
        ]
        if not entries:
            return []
        call, wait = {"txn": self.ports.jid, "entries": entries}, self.settings["phase_timeout"]
        answers = self.ports.ask(self.request.nodes, "corosync.keep_undo", call, wait)
        return [
            finding(
                "ha-guard",
                f"{name} could not note that HA is to be armed again: {text}",
                data={"node": name, "function": "corosync.keep_undo"},
                remedy="correct it, then the same again",
            )
            for name, text in phases.values(self.request.minions, self.request.nodes, answers)[1].items()
        ]

    def _drop_undo(self):
        """Have the nodes forget what is undone. One that does not hear of it keeps the note, and the next run
        arms once more, which changes nothing."""
        self.ports.ask(self.request.nodes, "corosync.drop_undo", {}, self.settings["gather_timeout"])
        return []

    def _release(self):
        """Carry out the entries of ``before``, up to the first that fails."""
        for entry in self._entries("before"):
            self.begun = True
            bad = self._act(entry, self.ports.note)
            if bad:
                return [
                    finding(
                        "ha-guard",
                        f"{entry['text']}: {name}: {text}",
                        data={"node": name, "function": entry["function"]},
                        remedy=f"salt {self.request.minions[name]} {entry['function']}",
                    )
                    for name, text in sorted(bad.items())
                ]
        return []

    def _arm(self):
        """Carry out all entries of ``after``: a CRM that does not start must leave no LRM stopped."""
        found = []
        for entry in self._entries("after"):
            try:
                bad = self._act(entry, lambda *args, **data: self._quietly(self.ports.note, *args, **data))
            except Exception as exc:  # pylint: disable=broad-except
                bad = {name: f"could not be asked: {exc!r}" for name in entry["nodes"]}
            found += [
                self._not_in_service(
                    f"HA is not in service again: {entry['text']}: {name}: {text}",
                    [self._command(entry, [name])],
                    node=name,
                    function=entry["function"],
                )
                for name, text in sorted(bad.items())
            ]
        return found

    def _act(self, entry, note):
        """Carry out one entry on its nodes and return ``{node: what is wrong}``."""
        begun = self.ports.passed()
        self.ports.say(f"HA: {entry['text']}: {', '.join(entry['nodes'])}")
        note("HA begun", function=entry["function"], nodes=entry["nodes"])
        # the node's own bound is the shorter one, so that its text arrives
        limit = self.settings["ha_timeout"]
        call = entry["kwargs"] | {"timeout": max(limit / 2, limit - NODE_MARGIN_S)}
        answers = self.ports.ask(entry["nodes"], entry["function"], call, limit)
        bad = phases.values(self.request.minions, entry["nodes"], answers)[1]
        task.add_row(self.report, self.ports, entry["text"], entry["nodes"], bad, begun, number="HA")
        note("HA ended", function=entry["function"], bad=bad)
        return bad

    def _away(self):
        """Wait until every node that takes part is a member with a writable /etc/pve; return those that are
        not."""

        def look():
            try:
                return self._not_back(self.ports.gather()[0]["nodes"])
            except Exception as exc:  # pylint: disable=broad-except
                return [f"the nodes could not be asked: {exc!r}"]

        return task.until(self.ports, MEMBERS_S, look, lambda away: not away, pause=1)

    def _not_back(self, state):
        ids = {
            row["nodeid"] for name, row in self.request.layout["nodes"].items() if name in self.request.nodes
        }
        away = []
        for name in self.request.nodes:
            facts = state.get(name) or {}
            members = (facts.get("quorum") or {}).get("members") or ()
            if not ids <= set(members):
                away.append(f"{name} sees {len(set(members) & ids)} of {len(ids)} nodes")
            elif not (facts.get("pmxcfs") or {}).get("writable"):
                away.append(f"/etc/pve of {name} is not writable")
        return away

    def _entries(self, when):
        return [entry for entry in self.answer["sequence"] if entry["when"] == when]

    def _commands(self):
        return [self._command(entry, entry["nodes"]) for entry in self._entries("after")]

    def _command(self, entry, nodes):
        return f"salt -L {','.join(self.request.minions[name] for name in nodes)} {entry['function']}"

    @staticmethod
    def _not_in_service(text, commands, **data):
        return finding("ha-not-in-service", text, data=data, remedy="; ".join(commands))

    @staticmethod
    def _quietly(call, *args, **data):
        try:
            call(*args, **data)
        except Exception:  # pylint: disable=broad-except
            return  # a line of the journal or of progress: arming goes before it
