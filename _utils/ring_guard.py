"""HA around a run that may lose quorum: released before, in service again afterwards, also after a failure.

What has to happen is decided by ``ring_ha.guard``; this carries it out through the ports of
``ring_sequence``.
"""

from __future__ import annotations

try:
    import ring_ha
    import ring_phases
    from ring_finding import finding
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_ha, ring_phases
    from saltext.pve_corosync.utils.ring_finding import finding

#: how long all nodes may take to be members again before HA is given up on.
MEMBERS_S = 60


def words(expected_loss_s: float, observed: dict) -> str:
    """Return what a plan means for HA, as one sentence.

    :param expected_loss_s: of the plan. :param observed: gathered facts.
    """
    ha = {name: facts.get("ha") for name, facts in observed["nodes"].items()}
    if expected_loss_s <= 0:
        return ring_ha.guard(0, ha, _quorate(observed))["text"]
    armed = sorted(name for name, facts in ha.items() if facts and facts.get("armed"))
    if not armed:
        return "no watchdog is open on any node"
    return (
        f"armed on {', '.join(armed)}, and the plan may be without quorum for {expected_loss_s:g} s: it is"
        " released first and put in service again at the end"
    )


def _quorate(observed):
    states = [(facts.get("quorum") or {}).get("quorate") for facts in observed["nodes"].values()]
    return bool(states) and all(states)


class Guard:
    """HA around one run.

    :param order, ports, settings: as for ``ring_sequence.Run``.
    :param report: the report of the run; ``ha`` in it tells what was done.
    """

    def __init__(self, order, ports, settings, report):
        self.order, self.ports, self.settings, self.report = order, ports, settings, report
        self.answer = None
        self.begun = False

    def before(self, expected_loss_s: float, observed: dict) -> list[dict]:
        """Release HA if the plan needs it; return the findings that stop the run."""
        if expected_loss_s <= 0:
            self.report["ha"] = {"action": "none", "text": words(0, observed)}
            return []
        self.answer = ring_ha.guard(expected_loss_s, self._facts(observed), _quorate(observed))
        self.report["ha"] = {"action": self.answer["action"], "text": self.answer["text"]}
        self.ports.note("HA", **self.report["ha"])
        self.ports.say(f"HA: {self.answer['text']}")
        if self.answer["action"] == "refuse":
            self.report["summary"] = "HA is in the way, nothing was changed"
            return [finding("ha-guard", self.answer["text"], remedy=f"first: {self.order.again('status')}")]
        found = self._carry_out("before")
        if found:
            self.report["summary"] = "HA could not be released, nothing was changed"
        return found

    def after(self) -> list[dict]:
        """Put HA in service again if it was touched; return the findings where that was not possible."""
        if not self.begun:
            return []
        away = self._away()
        if away:
            self.ports.note("HA not in service", away=away)
            return [
                finding(
                    "ha-not-in-service",
                    f"HA stays released, because not all nodes are back ({'; '.join(away)}): in service now,"
                    " it would fence them",
                    data={"away": away},
                    remedy=f"bring them back, then: {'; '.join(self._commands())}",
                )
            ]
        found = self._carry_out("after")
        return [
            item
            | {
                "code": "ha-not-in-service",
                "text": f"HA is not in service again: {item['text']}",
                "remedy": "; ".join(self._commands()),
            }
            for item in found
        ]

    def _facts(self, observed):
        """Ask every node; one without ha-manager has no HA."""
        nodes = self.order.nodes
        good, bad = ring_phases.values(
            self.order.minions,
            nodes,
            self.ports.ask(nodes, "ha_manager.facts", {}, self.settings["phase_timeout"]),
        )
        none = {
            "armed": False,
            "configured": False,
            "lrm": "not-found",
            "crm": "not-found",
            "disarm_supported": False,
        }
        for name, text in bad.items():
            good[name] = none if "is not available" in text else None
        return good

    def _carry_out(self, when):
        for entry in self.answer["sequence"]:
            if entry["when"] != when:
                continue
            self.begun = True
            begun = self.ports.passed()
            self.ports.say(f"HA: {entry['text']}: {', '.join(entry['nodes'])}")
            self.ports.note("HA begun", function=entry["function"], nodes=entry["nodes"])
            answers = self.ports.ask(
                entry["nodes"], entry["function"], entry["kwargs"], self.settings["ha_timeout"]
            )
            bad = ring_phases.values(self.order.minions, entry["nodes"], answers)[1]
            self.report["done"].append(
                {
                    "number": "HA",
                    "text": entry["text"],
                    "ok": not bad,
                    "seconds": round(self.ports.passed() - begun, 2),
                    "nodes": {name: bad.get(name, "ok") for name in entry["nodes"]},
                }
            )
            self.ports.note("HA ended", function=entry["function"], bad=bad)
            if bad:
                return [
                    finding(
                        "ha-guard",
                        f"{entry['text']}: {name}: {text}",
                        data={"node": name, "function": entry["function"]},
                        remedy=f"salt {self.order.minions[name]} {entry['function']}",
                    )
                    for name, text in sorted(bad.items())
                ]
        return []

    def _away(self):
        """Wait until every node that takes part is a member with a writable /etc/pve; return those that are
        not."""
        end = self.ports.passed() + MEMBERS_S
        ids = {row["nodeid"] for name, row in self.order.layout["nodes"].items() if name in self.order.nodes}
        while True:
            state = self.ports.gather()[0]["nodes"]
            away = []
            for name in self.order.nodes:
                facts = state.get(name) or {}
                members = (facts.get("quorum") or {}).get("members") or ()
                if not ids <= set(members):
                    away.append(f"{name} sees {len(set(members) & ids)} of {len(ids)} nodes")
                elif not (facts.get("pmxcfs") or {}).get("writable"):
                    away.append(f"/etc/pve of {name} is not writable")
            if not away or self.ports.passed() >= end:
                return away
            self.ports.sleep(1)

    def _commands(self):
        return [
            f"salt -L {','.join(self.order.minions[name] for name in entry['nodes'])} {entry['function']}"
            for entry in self.answer["sequence"]
            if entry["when"] == "after"
        ]
