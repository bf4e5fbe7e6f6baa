"""The ports of a run against the model of a cluster; time, answers and faults are the test's."""

import json

import simulation
from pve_corosync import arguments
from pve_corosync.run.change import Change
from pve_corosync.run.request import Request

NODES = ("pve1", "pve2")
SETTINGS = arguments.settings(None)
NO_HA = {"armed": False, "configured": False, "lrm": "active", "crm": "active", "disarm_supported": True}
ARMED = NO_HA | {"armed": True, "configured": True}


def pillar(nodes=NODES):
    ids = dict(enumerate(nodes, 1))
    return {
        "cluster_name": "prod",
        "nodes": {
            name: {"nodeid": n, "addresses": {net: simulation.address(net, n) for net in ("vrack", "public")}}
            for n, name in ids.items()
        },
        "layouts": {
            "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
            "degraded": {"links": {0: {"network": "public"}, 1: {"network": "vrack"}}, "primary": "public"},
        },
        "layout": "nominal",
    }


class World:
    """The ports of a run: nodes of the model, a journal in a list, a clock that only waiting moves."""

    jid = "20261123"

    def __init__(self, request, sim):
        self.request, self.sim, self.clock = request, sim, 0.0
        self.notes, self.said, self.calls = [], [], []
        self.kept, self.locks, self.stage_says = {}, set(), {}
        self.fails, self.lost_calls, self.lost_answers, self.deaf = {}, set(), set(), set()
        self.ha, self.ha_done, self.ha_fails = {}, [], {}
        self.txn, self.dies_in_step = None, None
        self.over, self.busy, self.taken_over = frozenset(), {}, []
        self.in_flight = {}  # node -> what a step of a dead run there still does
        self.ready, self.back_says = {}, {}  # the way back that a node keeps ready, and why it does not
        self.undo, self.undo_says = {}, {}  # what a node has noted to be undone, and why it cannot
        self.began_with = []  # where the last run came from, if it ended half-way
        self.cuts = {}  # number of a step -> the network, or pairs in it, that die in it
        self.breaks = {}  # name of a port, or a function that is asked -> the error that it raises
        self.shut = set()  # (link, from, to) where nothing arrives

    def passed(self):
        return round(self.clock, 2)

    def sleep(self, seconds):
        self.clock += seconds

    def say(self, text):
        self.said.append(text)

    def break_at(self, what):
        if what in self.breaks:
            raise self.breaks[what]

    def note(self, event, tag="run", **data):
        self.break_at("note")
        self.notes.append(json.loads(json.dumps({"event": event, "tag": tag} | data)))

    def gather(self):
        self.clock += 0.2
        self.break_at("gather")
        observed = self.sim.observed()
        for name in observed["nodes"]:
            observed["nodes"][name]["undo"] = self.undo.get(name)
        for name, txn in self.busy.items():
            observed["nodes"][name]["busy"] = {"txn": txn, "by": "x", "since": 0.0}
        return observed, []

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):
        self.calls.append((function, list(nodes), kwarg))
        begun, answers = self.clock, {}
        self.break_at(function)
        for name in nodes:
            if name in self.sim.silent or name in self.deaf:
                continue
            if function.startswith("ha_manager."):
                value = self._ha_manager(name, function.split(".")[1])
            else:
                value = getattr(self, "_" + function.split(".")[1])(name, **kwarg)
            if value is ...:
                continue
            answers[name] = {"return": value, "retcode": 0, "success": not isinstance(value, str)}
            if heard:
                heard(name, answers[name])
        self.clock = begun + (0.3 if len(answers) == len(nodes) else min(wait, grace or wait))
        return answers

    def _ha_manager(self, name, what):
        if what == "facts":
            return self.ha.get(name, dict(NO_HA))
        self.ha_done.append((what, name))
        return self.ha_fails.get((what, name), {"changed": True})

    def _stage(self, name, txn, steps, by, takes_over=(), back=None, look=False):
        if takes_over:
            self.taken_over.append((name, list(takes_over)))
            self.in_flight.pop(name, lambda: None)()
            self.busy = {node: held for node, held in self.busy.items() if node != name}
        said = self.stage_says.get(name, "")
        if txn != self.txn:
            self.txn, self.kept = txn, {}
        if not said:
            self.locks.add(name)
            self.ready[name] = back
        told = {"ok": not said, "checks": [{"ok": not said, "text": said}]}
        return told | {"back": self.back_says.get(name, "")}

    def _links(self, name, txn, links):
        found = {}
        for key, link in links.items():
            peers = {}
            for peer in link["addresses"]:
                if peer != name:
                    here, there = (key, peer, name) not in self.shut, (key, name, peer) not in self.shut
                    both = here and there
                    peers[peer] = {"in": here, "out": both, "latency_us": 300, "mtu": 1500, "answers": 3}
            found[key] = {"busy": "", "peers": peers, "seconds": 4.0 if self.shut else 0.3}
        return {"links": found}

    def _finish(self, name, txn, confirm=0):
        self.locks.discard(name)
        if confirm and self.ready.get(name):
            self.ready[name]["due"] = confirm
        else:
            self.ready[name] = None
        return True

    def came_from(self):
        return self.began_with

    def _keep_undo(self, name, txn, entries):
        if name in self.undo_says:
            return self.undo_says[name]
        self.clock += 0.01
        self.undo[name] = {"txn": txn, "since": self.clock, "undo": json.loads(json.dumps(entries))}
        return {}

    def _drop_undo(self, name):
        return {"dropped": self.undo.pop(name, None) is not None}

    def _outcome(self, name, txn, number, phase, wait=0):
        return self.kept.get((name, number, phase))

    def _step(self, name, txn, step, writer, phase):
        key = (name, step["number"], phase)
        if key in self.lost_calls:
            self.lost_calls.discard(key)
            return ...
        if key not in self.kept:
            self.kept[key] = self._carry_out(name, step, writer, phase)
        if key in self.lost_answers:
            self.lost_answers.discard(key)
            return ...
        return self.kept[key]

    def _carry_out(self, name, step, writer, phase):
        outcome = {
            "node": name,
            "number": step["number"],
            "phase": phase,
            "ok": False,
            "missing": [],
            "error": self.fails.get((name, step["number"]), ""),
            "seen": {},
            "seconds": {},
        }
        if self.dies_in_step:
            self.sim.dead = {self.dies_in_step}
            outcome["error"] = "EBUSY: corosync was restarted during the write"
        if outcome["error"]:
            return outcome
        if phase == "files":
            outcome["seen"] = {"file_version": step["version"]}
        else:
            # the model takes a step as a whole: at the first node that comes to it
            if not any((n, step["number"], phase) in self.kept for n in self.sim.daemons):
                self.sim.take(step)
                dies = self.cuts.pop(step["number"], ())
                self.sim.dead |= {dies} if isinstance(dies, str) else set(dies)
            group = next(g for g in self.sim.partitions() if name in g)
            links = self.sim.daemons[name].links
            outcome["seen"] = {
                "version": self.sim.daemons[name].version,
                "quorate": self.sim.quorate(group),
                "writable": self.sim.quorate(group),
                "connected": {
                    n: {peer: n in self.sim.up(name, peer) for peer in self.sim.daemons if peer != name}
                    for n in links
                },
            }
            outcome["seconds"] = {"quorate": 0.1}
        outcome["ok"] = True
        return outcome


def world(layout="degraded", dead=("vrack",), nodes=NODES, silent=(), links=None, **how):
    request = Request(pillar(nodes), layout, **how)
    return World(request, simulation.Sim(links or {0: "vrack"}, nodes, dead=dead, silent=silent))


def run(ports):
    sequence = Change(ports.request, ports, SETTINGS, "20261123")
    return sequence.carry_out(by="root")


def step_calls(ports):
    return [call for call in ports.calls if call[0] == "corosync.step"]
