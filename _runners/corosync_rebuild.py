"""
Bring a reinstalled node back into its cluster.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import salt.client
import salt.utils.event
import salt.utils.jid
import salt.utils.minions

try:
    import ring_rebuild
    import ring_run
    import ring_sequence
    import ring_site
    import ring_verify
    from ring_finding import finding, ordered
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_rebuild, ring_run, ring_sequence, ring_site, ring_verify
    from saltext.pve_corosync.utils.ring_finding import finding, ordered

__virtualname__ = "corosync"

#: seconds: pvecm add takes 10 to 12, and waits for quorum itself; an rsa key of 4096 bits is made by the way.
JOIN_WAIT = 320
WAIT = 100
VERIFY_S = 60


def __virtual__():
    return __virtualname__


def rebuild(node, test=False, cluster=None, progress=True, brief=False, **kwargs):
    """
    Let a freshly installed node join its cluster again, over the links that are in force.

    node
        The node's name in the pillar. It must be empty: no corosync.conf, no key, no guests.

    test
        Only tell what would be done.

    cluster, progress, brief
        As for ``corosync.apply``.

    The old entry is taken out of the cluster (``pvecm delnode``; where the others are not quorate without the
    node, by their local files), the node's ssh key is made known by way of Salt, the node joins (``pvecm
    add``), and the exit checklist is asked. Configurations of guests are compared before and after.

    Exit code 0 if the node is back and the checklist is true, 1 if not, 2 if an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.rebuild pve2
        salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'
    """
    return ring_site.guarded(
        "rebuild",
        kwargs,
        ("node", "test", "cluster", "progress", "brief"),
        brief,
        lambda: _Rebuild(node, cluster, progress).work(bool(test)),
        __context__,
    )


class _Rebuild:
    """
    One rebuild: what is known, and what was done.
    """

    def __init__(self, node, cluster, progress):
        self.node = str(node)
        self.site = ring_site.Site(_master(), cluster, None)
        self.order = ring_sequence.Order(self.site.pillar, cluster=cluster)
        self.ports = ring_site.Ports(self.site, bool(progress))
        self.others = [name for name in self.order.nodes if name != self.node]
        self.report = self.order.head() | {
            "node": self.node,
            "jid": self.ports.jid,
            "done": [],
            "findings": [],
        }

    def work(self, test):
        with self.site.lock():
            self.ports.note("begun", layout=self.order.layout["name"], rebuild=self.node)
            result = "interrupted"
            try:
                result = self._work(test)
            except _Failed as exc:
                result = "failed"
                self.report["findings"] = ordered(
                    [
                        *self.report["findings"],
                        finding(
                            "rebuild-failed",
                            str(exc),
                            data={"node": self.node},
                            remedy=f"correct it, then the same again: salt-run corosync.rebuild {self.node}",
                        ),
                    ]
                )
                self.report["summary"] = f"stopped after {len(self.report['done'])} steps"
            finally:
                self.ports.note(
                    "ended",
                    result=result,
                    summary=self.report.get("summary", ""),
                    seconds={"total": self.ports.passed()},
                )
        good = result in ("rebuilt", "already", "test")
        return self.report | {"result": result, "retcode": ring_run.OK if good else ring_run.FAILED}

    def _work(self, test):
        observed = self.site.gather()[0]
        if self._is_member(observed):
            return self._verify("already")
        empty = (
            self._ask(self.node, "pvecm.joinable", quiet=True)
            if self.node in self.order.layout["nodes"]
            else None
        )
        self.report["findings"] = ring_rebuild.check(self.order.layout, self.node, observed, empty)
        if self.report["findings"]:
            self.report["summary"] = "refused, nothing was changed"
            return "refused"
        links = ring_rebuild.links(self.order.layout, self.node, observed)[0]
        member = ring_run.choose_writer(self.others, ring_run.latest_of_facts(observed))
        host = self.order.layout["networks"][self._network(links)][member]
        self.report["links"] = links
        if test:
            self.report["summary"] = f"{self.node} would join by {member} ({host}), links {_told(links)}"
            return "test"
        before = self._ask(member, "pvecm.guests")
        self._remove(member, observed)
        self._trust(member, host)
        told = self._do(
            f"{self.node} joins by {member} ({host}), links {_told(links)}",
            self.node,
            "pvecm.add",
            {"host": host, "links": {str(n): a for n, a in links.items()}},
            JOIN_WAIT,
        )
        self.ports.say(f"joined in version {told['version']} after {told['seconds']} s")
        self._do(
            f"the services of {self.node} look at its addresses again",
            self.node,
            "pve_node.reload_services",
            {},
            WAIT,
        )
        result = self._verify("rebuilt")
        changed = ring_rebuild.guests_changed(before, self._ask(member, "pvecm.guests"), self.node)
        self.report["guests"] = len(before)
        if changed:
            self.report["findings"] = ordered([*self.report["findings"], *changed])
            return "failed"
        return result

    def _is_member(self, observed):
        """
        Tell whether the node runs in the cluster already: an earlier rebuild was cut off after the join.
        """
        facts = observed["nodes"].get(self.node) or {}
        return bool(
            (facts.get("runtime") or {}).get("version") and (facts.get("quorum") or {}).get("quorate")
        )

    def _network(self, links):
        first = links[min(links)]
        return next(
            name for name, row in self.order.layout["networks"].items() if row.get(self.node) == first
        )

    def _remove(self, member, observed):
        if not ring_rebuild.listed(observed, self.node):
            return
        if ring_rebuild.quorate(observed, self.node):
            self._do(
                f"take {self.node} out of the cluster", member, "pvecm.delnode", {"name": self.node}, WAIT
            )
            return
        steps = ring_rebuild.removal(self.order.layout, self.node, observed)
        call = {"txn": self.ports.jid, "steps": steps, "by": f"corosync.rebuild, job {self.ports.jid}"}
        nodes = {name: self.order.minions[name] for name in self.others}
        try:
            answers = self.ports.ask(self.others, "corosync.stage", call, self.site.settings["stage_timeout"])
            failed = ring_run.stage_problems(answers, nodes)
            for step in [] if failed else steps:
                self.ports.say(f"{step['act']}: {step['text']}")
                answers = self.ports.ask(
                    self.others,
                    "corosync.step",
                    {"txn": self.ports.jid, "step": step, "writer": member},
                    step["deadline_s"] + 5,
                )
                outcomes = {name: (answers.get(minion) or {}).get("return") for name, minion in nodes.items()}
                failed = ring_run.judge(
                    step, {n: o for n, o in outcomes.items() if o is not None}, self.others
                )
                self.report["done"].append(
                    {"number": len(self.report["done"]) + 1, "text": step["text"], "ok": not failed}
                )
                if failed:
                    break
        finally:
            self.ports.ask(
                self.others, "corosync.finish", {"txn": self.ports.jid}, self.site.settings["gather_timeout"]
            )
        if failed:
            raise _Failed("; ".join(item["text"] for item in failed))

    def _trust(self, member, host):
        """
        Let the node's ssh in at the member, with keys that Salt carries; pvecm add can ask nobody.
        """
        mine, its = self._ask(self.node, "pvecm.identity"), self._ask(member, "pvecm.identity")
        self._do(f"{member} lets {self.node} in", member, "pvecm.admit", {"public": mine["public"]}, WAIT)
        self._do(
            f"{self.node} knows {host}", self.node, "pvecm.know", {"host": host, "key": its["host_key"]}, WAIT
        )

    def _do(self, text, name, function, kwarg, wait):
        start = self.ports.passed()
        self.ports.say(text)
        row = {"number": len(self.report["done"]) + 1, "text": text, "ok": False, "nodes": {name: "ok"}}
        self.report["done"].append(row)
        told = self._ask(name, function, kwarg, wait)
        row.update(ok=True, seconds=round(self.ports.passed() - start, 2))
        self.ports.note(text, tag="rebuild")
        return told

    def _ask(self, name, function, kwarg=None, wait=WAIT, quiet=False):
        minion = self.order.minions[name]
        event = self.ports.ask([name], function, kwarg or {}, wait).get(minion)
        if event is None:
            error = f"no answer to {function} within {wait} s"
        else:
            value = event.get("return")
            good = event.get("success", True) and not event.get("retcode") and isinstance(value, (dict, bool))
            if good:
                return value
            error = ring_run.last_line(value)
        if quiet:
            return error
        raise _Failed(f"{name}: {error}")

    def _verify(self, result):
        """
        Ask the exit checklist until it is true, for the layout that is in force.
        """
        end = self.ports.passed() + VERIFY_S
        while True:
            observed = self.site.gather()[0]
            names = ring_run.in_force(self.order.layouts(), observed)
            self.order.take(names)
            items, borne = self.order.checklist(observed)
            if ring_verify.passed(items) or self.ports.passed() >= end:
                break
            self.ports.sleep(1.0)
        self.report |= self.order.head() | {
            "checklist": items,
            "findings": ordered([*self.report["findings"], *borne]),
            "seconds": {"total": self.ports.passed()},
        }
        if ring_verify.passed(items):
            self.report["summary"] = f"{self.node} is a member, the exit checklist is true"
            return result
        self.report |= {
            "summary": f"{self.node} is a member, the exit checklist is not true",
            "state": ring_run.state_now(observed),
            "matrix": ring_run.matrix(observed),
        }
        return "failed"


class _Failed(Exception):
    """A step of the rebuild failed; the text says where and why."""


def _told(links):
    return ", ".join(f"{number}: {address}" for number, address in sorted(links.items()))


def _master():
    """
    Return what this master offers, for ``ring_site``; the files of this runner have the same.
    """
    return ring_site.Master(
        __opts__,
        client=lambda: salt.client.get_local_client(mopts=__opts__),
        bus=lambda: salt.utils.event.get_event(
            "master", sock_dir=__opts__["sock_dir"], opts=__opts__, listen=True
        ),
        accepted=lambda target, kind: set(
            salt.utils.minions.CkMinions(__opts__).check_minions(target, tgt_type=kind)["minions"]
        ),
        pillar=lambda minion: __salt__["pillar.show_pillar"](minion),  # pylint: disable=unnecessary-lambda
        fire=_fire,
        jid=globals().get("__jid__") or salt.utils.jid.gen_jid(__opts__),
        user=globals().get("__user__") or "",
    )


def _fire(data, tag):
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event(data, tag)
