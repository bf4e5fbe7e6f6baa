"""
Random clusters, each planned, interrupted somewhere, and planned again: what every plan has to keep.

The judge reads documents and the model's daemons (:mod:`simulation`) by itself; it shares nothing with the
planner, neither its topology nor its parser. Each cluster has a number, which is its seed:
``PLAN_CASES=100000`` looks at more of them, ``PLAN_FIRST=4711 PLAN_CASES=1`` at one.
"""

import collections
import itertools
import os
import random

import pytest
import simulation
from pve_corosync.plan import planner

FIRST = int(os.environ.get("PLAN_FIRST", 0))
CASES = int(os.environ.get("PLAN_CASES", 400))  # .ci/run looks at 5,000
PARTS = 20  # pytest items, so that one failing case does not hide the others
NETS = ("vrack", "public", "third")
FORCES = ("primary-dead", "skip-no-quorum", "corosync-stopped", "pve-not-mounted", "address-absent")


class Broken(AssertionError):
    """A plan that does not keep what it has to."""


class Case:
    """One random cluster and what is asked of it."""

    def __init__(self, number):
        self.number = number
        rng = self.rng = random.Random(number)
        count = rng.choice((2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 6, 8))
        self.nodes = [f"pve{n}" for n in range(1, count + 1)]
        self.layout = self._layout()
        spare = random.Random(-1 - number)  # of its own: the numbers of the cases stay what they were
        for link in self.layout["links"].values():
            if spare.random() < 0.2:
                link["optional"] = True
        self.sim = self._sim()
        self._harm()
        away = sorted(self.sim.silent)
        self.skip = [n for n in away if rng.random() < 0.8]
        for name, daemon in self.sim.daemons.items():
            if (not daemon.runs or not daemon.mounted) and name not in self.skip and rng.random() < 0.3:
                self.skip.append(name)
        if rng.random() < 0.04:
            self.skip.append(rng.choice(self.nodes))
        self.skip = sorted(set(self.skip))[: count - 1]
        self.sim.skipped = set(self.skip)
        self.force = [code for code in FORCES if rng.random() < 0.6]
        self.strategy = "restart" if rng.random() < 0.1 else "live"
        self.fast = rng.choice((None, None, False))

    def _options(self, chance):
        rng, found = self.rng, {}
        for number in range(8):
            row = {}
            if rng.random() < chance:
                row["knet_link_priority"] = str(rng.randint(1, 255))
            if rng.random() < chance / 2:
                row["mcastport"] = str(rng.randint(6000, 6003))
            if rng.random() < chance / 4:
                row["knet_transport"] = "sctp"
            if rng.random() < chance / 2:
                row |= {"knet_ping_interval": "300", "knet_ping_timeout": "900"}
            found[number] = row
        ports = collections.Counter(row["mcastport"] for row in found.values() if "mcastport" in row)
        for row in found.values():  # one port once: two links of one address cannot share it
            if ports.get(row.get("mcastport"), 0) > 1:
                del row["mcastport"]
        return found

    def _layout(self):
        rng = self.rng
        nets = rng.sample(NETS, rng.choice((1, 1, 2, 2, 2, 3)))
        numbers = [0, *rng.sample(range(1, rng.choice((2, 4, 8))), min(len(nets) - 1, 1))]
        numbers += [n for n in range(1, 8) if n not in numbers][: len(nets) - len(numbers)]
        links = dict(zip(numbers, nets))
        return simulation.layout(links, self.nodes, options=self._options(0.2), primary=rng.choice(nets))

    def _links(self):
        rng = self.rng
        if rng.random() < 0.25:
            return {n: link["network"] for n, link in self.layout["links"].items()}
        top = rng.choice((2, 4, 4, 8))
        numbers = rng.sample(range(top), rng.randint(1, min(top, 3)))
        return {n: rng.choice(NETS) for n in numbers}

    def _sim(self):
        rng = self.rng
        links, options = self._links(), self._options(0.15)
        sim = simulation.Sim(links, self.nodes, version=rng.randint(1, 9), options=options)
        while rng.random() < 0.3:  # some nodes run something else
            links = self._moved(links) if rng.random() < 0.6 else self._links()
            if rng.random() < 0.4:
                options = self._options(0.15)
            text = simulation.conf(links, self.nodes, rng.randint(1, 12), options)
            for name in rng.sample(self.nodes, rng.randint(1, len(self.nodes) - 1)):
                nodeid = sim.daemons[name].nodeid
                sim.daemons[name] = simulation.Daemon(name, nodeid, text)
        while rng.random() < 0.25:  # files that no daemon has taken, or that pmxcfs does not have
            text = simulation.conf(self._links(), self.nodes, rng.randint(1, 14), self._options(0.1))
            daemon = sim.daemons[rng.choice(self.nodes)]
            setattr(daemon, rng.choice(("local", "cluster")), text)
        return sim

    def _moved(self, links):
        """One link by hand on another number, or on another network."""
        rng, links = self.rng, dict(links)
        number = rng.choice(sorted(links))
        if rng.random() < 0.5:
            links[rng.choice([n for n in range(8) if n not in links])] = links.pop(number)
        else:
            links[number] = rng.choice(NETS)
        return links

    def _harm(self):
        rng, sim = self.rng, self.sim
        for net in NETS:
            if rng.random() < 0.15:
                sim.dead.add(net)
        if rng.random() < 0.15:  # two halves
            half = rng.sample(self.nodes, rng.randint(1, len(self.nodes) - 1))
            for net in rng.sample(NETS, rng.randint(1, 3)):
                sim.dead |= {(net, a, b) for a in half for b in self.nodes if b not in half}
        if rng.random() < 0.1:
            sim.dead |= {(rng.choice(NETS), *rng.sample(self.nodes, 2))}
        if rng.random() < 0.1:
            sim.gone |= {(rng.choice(NETS), rng.choice(self.nodes))}
        for daemon in sim.daemons.values():
            if rng.random() < 0.05:
                daemon.runs = False
            if rng.random() < 0.05:
                daemon.mounted = False
        if rng.random() < 0.15:
            sim.silent |= set(rng.sample(self.nodes, rng.randint(1, max(1, len(self.nodes) // 2))))
        self._level()

    def _level(self):
        """What nobody can know is not there: a quorate group has one /etc/pve, no silent node is ahead."""
        sim = self.sim
        answering = [d for n, d in sim.daemons.items() if n not in sim.silent]
        for name in sim.silent:
            daemon = sim.daemons[name]
            if daemon.version >= max((d.version for d in answering), default=0):
                model = self.rng.choice(answering) if answering else daemon
                twin = simulation.Daemon(name, daemon.nodeid, simulation.text_of(model))
                twin.runs, twin.mounted = daemon.runs, daemon.mounted
                sim.daemons[name] = twin
            sim.daemons[name].local = sim.daemons[name].cluster = simulation.text_of(sim.daemons[name])
        for group in sim.partitions():
            if sim.quorate(group):
                mounted = [sim.daemons[n] for n in group if sim.daemons[n].mounted]
                texts = sorted((d.cluster for d in mounted), key=lambda text: simulation.read(text)[0])
                for daemon in mounted:
                    daemon.cluster = texts[-1]

    def plan(self, sim):
        """The plan from here."""
        return planner.plan(
            self.layout,
            sim.observed(),
            strategy=self.strategy,
            skip=self.skip,
            force=self.force,
            fast=self.fast,
        )

    # -- the walk
    # -------------------------------------------------------------------------------------------------

    def walk(self):
        """Plan, go a part of the way, break off, plan again: to the goal, or to a refusal with a remedy."""
        sim, rng, began = self.sim, self.rng, None
        interruptions = rng.choice((0, 1, 1, 2))
        for _round in range(12):
            plan = self.plan(sim)
            self.read(plan, sim)
            errors = [f for f in plan["findings"] if f["severity"] == "error"]
            if errors:
                self.refused(errors, plan, sim, began)
                return "refused"
            if not plan["steps"]:
                return self.arrived(plan, sim)
            if plan["complete"]:
                began = began or (plan, self.hidden(sim))
            stop = rng.randrange(len(plan["steps"])) if interruptions else None
            interruptions -= interruptions > 0
            judge = Judge(self, plan, sim)
            for place, step in enumerate(plan["steps"]):
                if place == stop:
                    judge.half(step, *self.part(step, sim))
                    break
                judge.whole(step)
                if sim.missing(step):
                    break  # the runner stops here, and plans again
            if not plan["complete"] and stop is None:
                tell = [f for f in plan["findings"] if f["remedy"] and f["severity"] == "warning"]
                if not tell:
                    self.fail("a plan that ends before the goal does not say why", plan)
        self.fail("no end after 12 plans", plan)

    def part(self, step, sim):
        """Which nodes got the file of a step that was broken off, and which of them took it."""
        names = list(sim.daemons)
        files = [n for n in names if self.rng.random() < 0.6]
        if step["act"] == "cluster":
            group = next((g for g in sim.partitions() if sim.quorate(g)), [])
            files = [n for n in files if n in group]
        return files, [n for n in files if self.rng.random() < 0.6]

    def hidden(self, sim):
        """Whether a network of the goal is dead between nodes that have no common link on it to show it."""
        for one, two in itertools.combinations(sim.daemons, 2):
            for link in self.layout["links"].values():
                net = link["network"]
                if sim.alive(net, one, two):
                    continue
                own = (link["addresses"][one], link["addresses"][two])
                ends = (sim.daemons[one], sim.daemons[two])
                both = set(ends[0].links) & set(ends[1].links)
                if not any(
                    all((end.links[n].get(one), end.links[n].get(two)) == own for end in ends)
                    and len({(end.ports[n], end.transport(n)) for end in ends}) == 1
                    for n in both
                ):
                    return True
        return False

    def possible(self, sim):
        """Whether the goal's networks carry between all nodes that take part, and between what talks now."""
        part = [n for n in sim.daemons if sim.daemons[n].runs and n not in sim.silent | sim.skipped]
        return all(
            any(sim.alive(link["network"], *pair) for link in self.layout["links"].values())
            for pair in itertools.combinations(sim.daemons, 2)
            if set(pair) <= set(part) or sim.up(*pair)
        )

    def refused(self, errors, plan, sim, began):
        """A refusal names the way, and what a run has begun is not refused."""
        for item in errors:
            if not item["remedy"]:
                self.fail(f"{item['code']} names no way", plan)
        # Who says nothing may not follow, and who is skipped and runs may be in the way.
        errors = [item for item in errors if item["code"] not in ("absent-cut", "skip-between")]
        if errors and began and not began[1] and not self.hidden(sim) and self.possible(sim):
            self.fail("begun, then refused: " + ", ".join(item["code"] for item in errors), plan)

    def arrived(self, plan, sim):
        """Without steps the goal is reached, or the plan says what is in the way."""
        if not plan["complete"]:
            if not any(f["remedy"] for f in plan["findings"] if f["severity"] in ("warning", "error")):
                self.fail("no step, not complete, and no remedy", plan)
            return "ends"
        part = [n for n in sim.daemons if n not in sim.silent and n not in self.skip]
        for name in part:
            daemon = sim.daemons[name]
            links = {n: link["addresses"] for n, link in self.layout["links"].items()}
            if daemon.runs and daemon.links != links:
                self.fail(f"complete, and {name} runs {daemon.links}", plan)
            version, held, options = simulation.read(daemon.local)
            wanted = {n: link["options"] for n, link in self.layout["links"].items()}
            if (held, options) != (links, wanted):
                self.fail(f"complete, and the file of {name} is {held} {options}", plan)
        if len({sim.daemons[n].local for n in part}) > 1:
            self.fail("complete, and the local files differ", plan)
        return "reached"

    # -- documents
    # ------------------------------------------------------------------------------------------------

    def read(self, plan, sim):
        """Each step is a whole configuration, and the versions rise above every copy."""
        answering = [d for n, d in sim.daemons.items() if n not in sim.silent]
        versions = [d.version for d in answering if d.runs]
        versions += [simulation.read(d.local)[0] for d in answering]
        versions += [simulation.read(d.cluster)[0] for d in answering if d.mounted]
        highest, last = max(versions), None
        for step in plan["steps"]:
            version, links, options = simulation.read(step["conf"])
            if step["act"] == "publish":
                if version != step["version"] or (last is not None and step["conf"] != last):
                    self.fail("publish has other bytes than the local files", plan)
                continue
            if version != step["version"] or version <= highest:
                self.fail(f"version {version} after {highest}", plan)
            highest, last = version, step["conf"]
            if not links or set(links) != set(options):
                self.fail(f"links {sorted(links)}, interface blocks {sorted(options)}", plan)
            if any(set(addresses) != set(self.nodes) for addresses in links.values()):
                self.fail("a link without an address for every node", plan)
            sockets = [(a, simulation.port(n, options)) for n, row in links.items() for a in row.values()]
            if len(set(sockets)) < len(sockets):
                self.fail("two links on one port of one address", plan)

    def fail(self, text, plan=None):
        """Give up, with what is needed to look at it."""
        sim = self.sim
        told = [f"case {self.number}: {text}", f"goal {brief(self.layout)}"]
        told += [f"skip {self.skip} force {self.force} silent {sorted(sim.silent)}"]
        told += [f"dead {sorted(map(str, sim.dead))}"]
        told += [f"gone {sorted(sim.gone)} strategy {self.strategy}"]
        for name, daemon in sim.daemons.items():
            state = "" if daemon.runs else " STOPPED"
            state += "" if daemon.mounted else " no /etc/pve"
            nets = {n: sim.nets[row[name]] for n, row in daemon.links.items()}
            versions = (daemon.version, simulation.read(daemon.local)[0], simulation.read(daemon.cluster)[0])
            told.append(f"{name}: runs/local/cluster {versions} {nets} {set_options(daemon.options)}{state}")
        raise Broken("\n".join(told + ([planner.describe(plan)] if plan else [])))


def set_options(options):
    """The links with options."""
    return {number: row for number, row in options.items() if row}


def brief(layout):
    """A layout in few words."""
    return {n: (link["network"], link["options"]) for n, link in layout["links"].items()}


class Judge:
    """Carries the steps of one plan out on the model, and looks at what they take away."""

    def __init__(self, case, plan, sim):
        self.case, self.plan, self.sim = case, plan, sim
        self.live = plan["strategy"] == "live"
        pairs = itertools.combinations(sim.daemons, 2)
        self.known = {pair: {self.path(pair, n) for n in sim.up(*pair)} for pair in pairs}
        self.had0 = False

    def path(self, pair, number):
        """What a link is between two nodes."""
        daemon = self.sim.daemons[pair[0]]
        addresses = daemon.links[number]
        return (
            number,
            addresses[pair[0]],
            addresses[pair[1]],
            daemon.ports[number],
            daemon.transport(number),
        )

    def whole(self, step):
        """A whole step, and what it waited for."""
        self.carry(step, None, None)
        part = [
            n for n in step.get("nodes") or self.sim.daemons if n not in self.sim.silent | self.sim.skipped
        ]
        if step["act"] in ("local", "cluster"):
            for name in part:
                daemon = self.sim.daemons[name]
                if daemon.runs and (daemon.refused or daemon.version != step["version"]):
                    self.fail(step, f"{name} did not take it")
        waited = {int(n): [tuple(p) for p in pairs] for n, pairs in step["wait"]["connected"].items()}
        for pair in self.known:
            now = {n: self.path(pair, n) for n in self.sim.up(*pair)}
            read = {now[n] for n in now if pair in waited.get(n, ()) or pair[::-1] in waited.get(n, ())}
            # what was known stays known while it is up
            self.known[pair] = read | (self.known[pair] & set(now.values()))

    def half(self, step, files, reloads):
        """A part of a step."""
        self.carry(step, files, reloads)

    def carry(self, step, files, reloads):
        sim = self.sim
        before = {pair: {self.path(pair, n) for n in sim.up(*pair)} for pair in self.known}
        try:
            sim.take(step, files, reloads)
        except AssertionError as err:
            self.fail(step, str(err))
        if not self.live or step["act"] == "restart":
            sim.lost.clear()
            return
        lost = [pair for pair in sim.lost if not set(pair) <= sim.silent | sim.skipped]
        if lost:  # between two of whom nobody can be asked, nothing is known
            self.fail(step, f"cut off: {lost}")
        for pair, links in before.items():
            kept = links & {self.path(pair, n) for n in sim.up(*pair)}
            if set(pair) <= sim.silent | sim.skipped:
                continue  # nobody there can be asked
            if links and self.known[pair] and not kept & self.known[pair]:
                self.fail(step, f"{pair} keeps no link that was read back")
        if files is None and not step.get("nodes") and step["act"] != "publish":
            self.ring0(step)

    def ring0(self, step):
        """Link 0 stays where all daemons have it as the goal wants it."""
        goal = self.case.layout["links"][0]
        wanted = (
            goal["addresses"],
            int(goal["options"].get("mcastport", 5405)),
            goal["options"].get("knet_transport", "udp"),
        )
        held = all(
            (d.links.get(0), d.ports.get(0), d.transport(0)) == wanted
            for d in self.sim.daemons.values()
            if d.runs
        )
        if self.had0 and not held:
            self.fail(step, "link 0 goes, although it is the goal's")
        self.had0 = held

    def fail(self, step, text):
        self.case.fail(f"step {step['number']} ({step['act']}): {text}", self.plan)


def run(numbers):
    """Look at cases; returns how they ended, and the texts of those that failed."""
    ends, failed = collections.Counter(), []
    for number in numbers:
        case = Case(number)
        try:
            ends[case.walk()] += 1
        except Broken as err:
            failed.append(str(err))
        except planner.PlanError as err:
            try:
                case.fail(f"PlanError: {err.problems}")
            except Broken as told:
                failed.append(str(told))
    return ends, failed


@pytest.mark.parametrize("part", range(PARTS))
def test_random_clusters_interrupted_anywhere(part):
    ends, failed = run(range(FIRST + part, FIRST + CASES, PARTS))
    assert not failed, f"{len(failed)} cases:\n\n" + "\n\n".join(failed[:3])
    if CASES >= 1000:  # the cases are of all kinds, not all refused
        assert all(ends[end] for end in ("reached", "refused", "ends")), f"a kind of end was not seen: {ends}"


#: a skipped node that runs between two others (answering, silent), or with a number of its own that the goal
#: uses; a step that two silent nodes lose each other by; links that look begun where nothing was.
ONCE = (5654, 6040, 10165, 10431, 11434, 13504, 13903, 7373, 13703, 16432, 72563, 92166, 90991, 94164)


@pytest.mark.parametrize("number", ONCE)
def test_clusters_that_had_no_good_plan_once(number):
    _, failed = run([number])
    assert not failed, failed[0]
