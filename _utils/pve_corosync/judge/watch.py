"""What the watch does about a cluster now: a pure decision from facts, policy, kept state and the time.

Nothing that an event says comes in here, only what the nodes answered when they were asked. Every answer has
a code (codes/watch.py). The state is plain data that the caller keeps on disk between two looks, so that a
restart of the master changes nothing. Times are seconds of the epoch.

What was measured is in docs/watch.md: a second look before acting is free up to some 6 s after the loss,
because corosync carries a waiting reload out only when its new membership has formed.
"""

from __future__ import annotations

import itertools

from pve_corosync.cluster import ha
from pve_corosync.findings import finding

#: a daemon younger than this shows dead links and no quorum whatever the network is (1 to 2 s measured).
FRESH_S = 15
#: two looks of one suspicion are at most so far apart; while something is wrong an event comes every 10 s.
SUSPECT_GAP_S = 30
#: the least time between the first look and the second, in seconds, and in intervals of knet's pings: one
#: that was sent meanwhile can have been answered.
SECOND_LOOK_S, SECOND_LOOK_PINGS = 1, 1.25
#: a daemon that is busy is looked at again after this.
BUSY_S = 0.3
DAY_S = 86400
BACK_OFF_S = (10, 600)
#: so often the part after the links (names, certificates, replication) is tried again.
REST_TRIES = 5

ACTS = ("failover", "go-on", "home")


def new_state() -> dict:
    """Return the state of a watch that has seen nothing yet."""
    return {
        "failovers": [],
        "paused_until": 0.0,
        "suspect": None,
        "goal": None,
        "away": None,
        "healthy": None,
        "told": None,
        "lost": None,
        "last": None,
    }


def decide(seen: dict, policy: dict, layouts: dict, home: str, state: dict, now: float) -> tuple[dict, dict]:
    """Return what to do now, and the state to keep.

    :param seen: ``{"layout": name of the one in force or None, "networks": {link: network or None}, "locked":
        bool, "nodes": {name: None for no answer, or {"state", "age": s or None, "quorate", "links": {peer:
        {link: connected}}, "downs" and "pongs": {peer: {link: number}}, "dead_for": {peer: {link: s}},
        "interval": {link: s between two pings}, "ago": s since the look, "busy": text, "armed": bool}}}``;
        the nodes that the layouts need, no others.
    :param policy: what ``pillar.watch.check`` returned. :param layouts: ``{name: resolved layout}``.
    :param home: the layout that the pillar wants. :param state: what this returned last, or
        :func:`new_state`.
    :returns: ``{"do": "nothing", "wait", "failover", "go-on" or "home", "layout", "code", "text", "remedy",
        "again_in": s or None}``, state. With ``wait`` a further look is due after ``again_in``.
    """
    look = _Look(seen, policy, layouts, home, {**new_state(), **state}, now)
    return look.decide(), look.state


def after(state: dict, decision: dict, ok: bool, links_ok: bool, now: float) -> dict:
    """Return the state after an act.

    :param decision: what was carried out. :param ok: whether the whole way was reached.
    :param links_ok: whether its layout is in force.
    """
    state, goal = dict(state), dict(state["goal"] or {})
    if links_ok:
        goal.pop("used", None)  # something came of it: its number stays used
    state["last"] = {"do": decision["do"], "layout": decision["layout"], "ok": bool(ok), "time": now}
    if not ok:
        tries = goal.get("tries", 0) + 1
        least, most = BACK_OFF_S
        wait = min(most, least * 2 ** min(tries - 1, 10))
        state["goal"] = goal | {"tries": tries, "next": now + wait, "links": bool(links_ok)}
    if ok or (links_ok and state["goal"]["tries"] >= REST_TRIES):
        state["goal"] = None
    if links_ok and goal.get("kind") == "failover":
        state |= {"away": {"since": now, "layout": decision["layout"]}, "healthy": None, "told": None}
    if ok and goal.get("kind") == "home":
        state |= {"away": None, "healthy": None, "told": None}
    state["suspect"] = None
    return state


def shown(policy: dict | None, state: dict, now: float) -> dict:
    """Return the watch as an operator sees it: ``{"armed", "text", "policy", "last", "paused_s", …}``.

    :param policy: None where the pillar has none. :param state: what is kept, with ``said``, the last answer.
    """
    paused = max(0, round(state["paused_until"] - now))
    used = len([at for at in state["failovers"] if now - DAY_S < at <= now])
    armed = bool(policy and policy["failover"] and not paused and used < policy["at_most"])
    said = state.get("said") or {}
    if policy is None:
        text = "off: the pillar has no corosync:watch"
    elif paused:
        text = f"paused for {paused} s more; go on with: salt-run corosync.watch resume=True"
    elif not policy["failover"]:
        text = "only tells: corosync:watch has no failover"
    else:
        text = f"{'armed' if armed else 'only tells'}: {used} of {policy['at_most']} failovers in 24 hours"
    if policy is not None and said:
        text += f"; {round(now - said['time'])} s ago: {said['code']}, {said['text']}"
        text += f" -> {said['remedy']}" if said.get("remedy") else ""
    return {
        "armed": armed,
        "text": text,
        "policy": policy,
        "paused_s": paused,
        "failovers": used,
        "last": state["last"],
        "said": said or None,
        "goal": state["goal"],
    }


def ha_refuses(expected_loss_s: float, seen: dict, state: dict, now: float) -> dict | None:
    """Return why HA's watchdog does not allow a plan, None where it does.

    The watch never releases HA by itself, and no loss may go on beyond what the watchdog bears.

    :param expected_loss_s: of the plan.
    """
    armed = sorted(name for name, row in seen["nodes"].items() if row and row["armed"])
    if not armed or expected_loss_s <= 0:
        return None
    lost = state.get("lost")
    left = ha.SAFE_LOSS - (now - lost if lost else 0)
    if lost and expected_loss_s <= left:
        return None
    why = (
        f"the plan may lose quorum for {expected_loss_s:g} s, the watchdog is open on {', '.join(armed)}, and"
        + (f" {max(0, left):g} s are left of it" if lost else " it would have to be released first")
    )
    return finding("watch-ha", why, remedy="look: salt-run corosync.status; then act by hand")


class _Look:
    """One decision; the rules stand in the order in which they apply."""

    def __init__(self, seen, policy, layouts, home, state, now):
        self.seen, self.policy, self.layouts, self.home = seen, policy, layouts, home
        self.state, self.now = state, now
        self.nodes = seen["nodes"]
        self.layout, self.failover = seen["layout"], policy["failover"]
        state["failovers"] = [at for at in state["failovers"] if now - DAY_S < at <= now]

    def decide(self):
        """Return the decision; :attr:`state` is changed to what is to be kept."""
        no = self._cannot_tell()
        if no:
            return no
        rows = [row for row in self.nodes.values() if not row["quorate"]]
        self.state["lost"] = (self.state["lost"] or self.now) if rows else None
        if self.layout is not None and self.layout == self.failover and self.layout != self.home:
            return self._away()
        if self.layout is not None:  # between two layouts it is as much away as before
            self.state |= {"away": None, "healthy": None, "told": None}
        kind, links = self._trouble()
        if kind in ("quorum", "primary"):
            return self._dead(kind, links)
        self.state["suspect"] = None
        return self._alive(kind, links)

    # -- nothing can be told, or somebody else is at work

    def _cannot_tell(self):
        if self.now < self.state["paused_until"]:
            left = round(self.state["paused_until"] - self.now)
            return self._no(
                "watch-paused", f"paused for {left} s more", "salt-run corosync.watch resume=True"
            )
        busy = sorted(name for name, row in self.nodes.items() if row and row["busy"])
        if self.seen["locked"] or busy:
            where = f"on {', '.join(busy)}" if busy else "on this master"
            return self._no("watch-run-under-way", f"a run is under way {where}", forget=True)
        silent = sorted(name for name, row in self.nodes.items() if row is None)
        if silent:
            return self._no(
                "watch-silent",
                f"no answer of {', '.join(silent)}: dead, or out of this master's reach",
                "for one that stays away: corosync:skip in the pillar",
                forget=True,
            )
        states = {name: row["state"] for name, row in self.nodes.items() if row["state"] != "running"}
        bad = sorted(f"{name} ({state})" for name, state in states.items() if state != "busy")
        if bad:
            return self._no("watch-daemon", f"corosync does not answer on {', '.join(bad)}", forget=True)
        if states:  # as for a second around every new membership; a suspicion goes on
            text = f"corosync of {', '.join(sorted(states))} is busy: looked at again"
            return self._wait("watch-busy", text, BUSY_S)
        apart = self._disagreement()
        if apart:
            return self._wait("watch-disagree", f"{apart}: looked at again", 2)
        return None

    def _pairs(self):
        return list(itertools.combinations(sorted(self.nodes), 2))

    def _ends(self, pair):
        """Return ``{link: (what one end sees, what the other sees)}``; a link only one end has counts not."""
        one, two = pair
        left, right = self.nodes[one]["links"].get(two, {}), self.nodes[two]["links"].get(one, {})
        return {number: (left[number], right[number]) for number in set(left) & set(right)}

    def _disagreement(self):
        for pair in self._pairs():
            for number, (left, right) in sorted(self._ends(pair).items()):
                if left != right:
                    return f"{pair[0]} and {pair[1]} see link {number} between them differently"
        return ""

    # -- what is dead

    def _trouble(self):
        """Return the kind of trouble and its links as ``[(one, two, link)]``.

        ``quorum``: a pair has no link left; ``primary``: the primary network of the layout in force is dead
        between a pair; ``backup``: another link is.
        """
        dead = [
            (*pair, number)
            for pair in self._pairs()
            for number, ends in sorted(self._ends(pair).items())
            if ends == (False, False)
        ]
        without = [pair for pair in self._pairs() if not any(all(e) for e in self._ends(pair).values())]
        if without:
            return "quorum", [row for row in dead if row[:2] in without]
        primary = self.layouts[self.layout]["primary"]["network"] if self.layout else None
        of_primary = [row for row in dead if primary and self.seen["networks"].get(row[2]) == primary]
        if of_primary:
            return "primary", of_primary
        return ("backup" if dead else None), dead

    def _words(self, links):
        if not links:
            return "nodes share no link"
        named = [f"{self.seen['networks'].get(n) or f'link {n}'} {one}-{two}" for one, two, n in links]
        return "dead: " + ", ".join(dict.fromkeys(named))

    def _dead(self, kind, links):
        text = self._words(links)
        if self.failover is None:
            return self._no("watch-only-tells", text, "salt-run state.orchestrate orch.failover")
        if self.layout == self.failover:
            return self._no("watch-nothing-left", f"{text}; {self.failover} is in force already", forget=True)
        networks = {self.seen["networks"].get(n) for _one, _two, n in links}
        goal = self.layouts[self.failover]
        ways = {row["network"] for row in goal["links"].values()}
        if (ways <= networks) if kind == "quorum" else goal["primary"]["network"] in networks:
            return self._no("watch-same-network", f"{text}; {self.failover} needs the same", forget=True)
        fresh = self._fresh(text)
        if fresh:
            return fresh
        look = self._second_look(kind, links, text)
        if look:
            return look
        return self._fail_over(text)

    def _fresh(self, text):
        young = {name: row["age"] for name, row in self.nodes.items() if (row["age"] or 0) < FRESH_S}
        if not young:
            return None
        self.state["suspect"] = None
        name = min(young, key=lambda node: young[node] or 0)
        if young[name] is None:
            return self._no("watch-fresh", f"{text}; since when corosync of {name} runs is not known")
        wait = FRESH_S - young[name]
        return self._wait("watch-fresh", f"{text}; corosync of {name} runs for {young[name]:g} s only", wait)

    def _second_look(self, kind, links, text):
        """Return a wait until the links were dead for the hold, at two looks, without one of them back."""
        hold = self.policy["hold" if kind == "quorum" else "primary_hold"]
        # what the nodes know of the time before counts for the hold; a second look follows all the same
        told = [self._dead_for(*link) for link in links] or [[None]]
        since = self.now - min(hold, *(max(seconds or 0 for seconds in ends) for ends in told))
        before = self._suspicion(kind, links)
        suspect = (before or self._suspect(kind, links)) | {"seen": self.now}
        suspect["since"] = min(suspect.get("since", since), since)
        pings = [self.nodes[name]["interval"].get(link, 0) for *pair, link in links for name in pair]
        second = max(SECOND_LOOK_S, SECOND_LOOK_PINGS * max(pings, default=0))
        suspect["due"] = max(suspect["since"] + hold, suspect["first"] + second)
        self.state["suspect"] = suspect
        if before and self.now >= suspect["due"]:
            return None
        # a node that does not know of it yet does so a second later, as its beacon looks each second
        most = SECOND_LOOK_S if not before and any(None in ends for ends in told) else hold
        left = min(most, max(0.1, suspect["due"] - self.now))
        return self._wait("watch-second-look", f"{text}; a second look before anything is done", left)

    def _suspicion(self, kind, links):
        """Return the suspicion that this look confirms, None where there is none."""
        before = self.state["suspect"]
        if not before or before["kind"] != kind or self.now - before["seen"] > SUSPECT_GAP_S:
            return None
        marks = self._marks(links)
        same = self.now >= before["first"] and all(row in marks for row in before["links"])
        return before if same else None

    def _suspect(self, kind, links):
        """Return a new suspicion."""
        first = self.now - min(row.get("ago") or 0 for row in self.nodes.values())
        return {"kind": kind, "first": first, "links": self._marks(links)}

    def _marks(self, links):
        # knet calls a link dead 1 to 2 s late and alive as late; a single answer to a ping is a sign of life
        return sorted([*link, self._counts("downs", *link), self._counts("pongs", *link)] for link in links)

    def _dead_for(self, one, two, link):
        """Return for how long each end of a link knows it to be dead, None for one that does not.

        An answered ping needs both directions and both ends: what one end had none of, the other had none of
        either. So who knows longer tells.
        """
        ago = [self.nodes[name].get("ago") or 0 for name in (one, two)]
        told = self._counts("dead_for", one, two, link)
        return [None if value is None else value + passed for value, passed in zip(told, ago, strict=True)]

    def _counts(self, what, one, two, number):
        """Return what the two ends of a link tell of it, None for one that does not."""
        rows = [(self.nodes[one], two), (self.nodes[two], one)]
        return [(row.get(what) or {}).get(peer, {}).get(number) for row, peer in rows]

    def _fail_over(self, text):
        goal = self.state["goal"]
        if goal and goal["layout"] == self.failover:
            return self._go_on(text)
        if self.layout is None and (self.state["away"] or (goal and goal["kind"] == "home")):
            # what it brought before is half undone, as by its own way home on which the network dies again
            return self._act("failover", "watch-failover", self.failover, text)
        used, most = len(self.state["failovers"]), self.policy["at_most"]
        if used >= most:
            said = f"{text}; {used} failovers in 24 hours, {most} are allowed"
            return self._no("watch-too-many", said, "salt-run state.orchestrate orch.failover")
        self.state["failovers"] = [*self.state["failovers"], self.now]
        act = self._act("failover", "watch-failover", self.failover, text)
        self.state["goal"]["used"] = self.now
        return act

    # -- a move that ended half-way

    def _go_on(self, text):
        fresh = self._fresh(text)
        if fresh:
            return fresh
        goal = self.state["goal"]
        if self.now < goal["next"]:
            left = goal["next"] - self.now
            return self._wait("watch-back-off", f"{text}; to {goal['layout']} again in {left:.0f} s", left)
        return self._act("go-on", "watch-go-on", goal["layout"], text, goal["kind"])

    def _alive(self, kind, links):
        goal = self.state["goal"]
        if goal and (self.layout is None or self.layout == goal["layout"]):
            return self._go_on(f"the move to {goal['layout']} ended half-way")
        if self.layout is None:
            return self._no("watch-between", "no layout of the pillar is in force", "salt-run corosync.plan")
        used = (goal or {}).get("used")  # refused, or undone: nothing came of it
        self.state["failovers"] = [at for at in self.state["failovers"] if at != used]
        self.state["goal"] = None
        if kind == "backup":
            return self._no("watch-backup-dead", f"{self._words(links)}; the cluster does not depend on it")
        return self._no("watch-healthy", f"layout {self.layout}: nothing to do")

    # -- the failover layout is in force

    def _away(self):
        goal, away = self.state["goal"], self.state["away"]
        kind, links = self._trouble()
        self.state["suspect"] = None
        if kind == "quorum":
            text = f"{self._words(links)}; {self.layout} is in force already"
            return self._no("watch-nothing-left", text)
        if goal and goal["kind"] == "failover":
            return self._go_on(f"the links are as {self.layout} wants them, what follows is not reached")
        if not away:
            return self._no("watch-by-hand", f"layout {self.layout} was chosen by somebody else: it stays")
        wanted = {row["network"] for row in self.layouts[self.home]["links"].values()}
        numbers = [n for n, network in self.seen["networks"].items() if network in wanted]
        if {self.seen["networks"][n] for n in numbers} != wanted:
            unseen = f"{self.layout} has no link on {', '.join(sorted(wanted))}"
            return self._no("watch-unseen", unseen, "salt-run corosync.plan")
        return self._home(numbers, ", ".join(sorted(wanted)))

    def _home(self, numbers, name):
        state, marks, dead = self.state, [], False
        for one, two in self._pairs():
            ends = self._ends((one, two))
            dead = dead or not all(all(ends.get(n, (False,))) for n in numbers)
            marks += [[one, two, n, self._counts("downs", one, two, n)] for n in sorted(numbers)]
        if dead:
            state["healthy"] = state["told"] = None
            return self._no("watch-healing", f"{name} is still dead somewhere; {self.layout} carries")
        if not state["healthy"] or state["healthy"]["marks"] != marks:
            state |= {"healthy": {"since": self.now, "marks": marks}, "told": None}
        # a daemon that is younger has forgotten what was before it
        youngest = self.now - min(row["age"] or 0 for row in self.nodes.values())
        state["healthy"] |= {"since": max(state["healthy"]["since"], youngest)}
        left = state["healthy"]["since"] + self.policy["healthy_for"] - self.now
        if left > 0:
            return self._wait(
                "watch-healing", f"{name} is back; home when that holds for {left:.0f} s more", left
            )
        command = f"salt-run state.orchestrate orch.nominal # to {self.home}"
        if self.policy["home"] == "ask":
            state["told"] = state["told"] or self.now
            return self._no("watch-home-ready", f"{name} is healthy again", command.partition(" #")[0])
        if state["goal"]:
            return self._go_on(f"{name} is healthy again")
        return self._act("home", "watch-home", self.home, f"{name} is healthy again")

    # -- answers

    def _act(self, do, code, layout, text, kind=None):
        kind = kind or do
        self.state["goal"] = (self.state["goal"] or {"tries": 0}) | {
            "layout": layout,
            "kind": kind,
            # a process that dies in the middle leaves this behind: the next try is not due at once
            "next": self.now + BACK_OFF_S[0],
        }
        return self._said(do, code, f"{text}; to layout {layout}", layout=layout)

    def _wait(self, code, text, again_in):
        return self._said("wait", code, text, again_in=round(again_in, 2))

    def _no(self, code, text, remedy="", forget=False):
        if forget:
            self.state["suspect"] = None
        return self._said("nothing", code, text, remedy)

    @staticmethod
    def _said(do, code, text, remedy="", layout=None, again_in=None):
        item = finding(code, text, remedy=remedy)
        keys = ("code", "severity", "text", "remedy")
        return {"do": do, "layout": layout, "again_in": again_in} | {key: item[key] for key in keys}
