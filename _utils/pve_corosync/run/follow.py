"""What follows the links, as sequences: move the primary network, certificates, services, replication, probe.

Pure but for the ports of ``run.change``. Each function takes a request, the ports and the settings, and
returns the report of its phase; each can be run again at any time, and does only what is still to do.
"""

from __future__ import annotations

from pve_corosync.findings import errors, finding, refusal
from pve_corosync.judge import checklist, phases, ways
from pve_corosync.run import preflight, probe_links, task
from pve_corosync.tools import pve


class Phase(task.Task):
    """One phase while it is carried out: its report fills, its journal is written.

    :param do: the function of the runner.
    """

    def __init__(self, do, request, ports, settings):
        name = dict(phases.PHASES).get(do, do)
        super().__init__(request, ports, settings, do=do, phase=name, jid=ports.jid)
        self.do, self.minions, self.title = do, request.minions, f"{name}: "

    def carry_out(self, work) -> dict:
        """Carry out ``work() -> (result, summary)`` and return the report."""

        def summed_up():
            result, self.report["summary"] = work()
            if result not in task.GOOD:
                self.tell_released()
            return result

        report = self.run(summed_up, phase=self.report["phase"], skip=self.request.skip)
        if report["retcode"]:
            report["open"] = phases.after(self.do)
            report["next"] = [
                f"go on:   {self.command_again()}",
                f"look:    {self.request.command_again('verify')}",
            ]
        return report

    def command_again(self):
        """Return the command that does the rest."""
        how = {key: value for key, value in self.request.how().items() if key != "strategy"}
        return ways.command(self.do, self.request.layout["name"], **how)

    def call(self, text, nodes, function, kwarg, wait, heard=None):  # pylint: disable=too-many-arguments
        """Call a function on nodes at once; return ``({node: value}, {node: error})``, errors as findings
        too."""
        begun = self.ports.passed()
        self.ports.say(f"{text}: {', '.join(nodes)}")
        good, bad = phases.values(
            self.minions, nodes, self.ports.ask(nodes, function, kwarg, wait, heard=heard)
        )
        self.ports.note(f"{text} ended", **self.add_row(text, nodes, bad, begun))
        for node, said in bad.items():
            self.report["findings"].append(
                finding(
                    "phase-failed",
                    f"{text}: {node}: {said}",
                    data={"node": node, "function": function, "error": said},
                    remedy="correct it, then the same command goes on",
                )
            )
        return good, bad

    def refused(self, findings):
        """Tell whether findings, which are added to the report, stop the phase."""
        left = errors(findings, self.request.force)
        for item in findings:
            if item["severity"] == "error" and item not in left:
                item["data"]["forced"] = True
        self.report["findings"] += findings
        return bool(left)

    def refusal(self):
        """Return the headline of a phase that was refused."""
        return refusal(self.report["findings"], self.request.force)


def move_primary(request, ports, settings, test=False, services=True) -> dict:
    """Have the names resolve to the layout's primary network, and PVE's pmxcfs publish it, node by node.

    :param test: only tell what would be done. :param services: refresh the services afterwards.
    """
    phase = Phase("move_primary", request, ports, settings)
    wanted = phases.wanted_primary(request.layout)
    phase.report["primary"] = {"network": request.layout["primary"]["network"], "addresses": wanted}
    return phase.carry_out(lambda: _move_primary(phase, wanted, test, services))


def _move_primary(phase, wanted, test, services):
    request, ports, settings = phase.request, phase.ports, phase.settings
    observed, findings = ports.gather()
    if phase.refused(findings + _links_ready(request, observed, settings, ports)):
        return "refused", phase.refusal()
    good, bad = phase.call(
        "check names and addresses",
        request.nodes,
        "pve_node.names",
        {"addresses": wanted, "test": True},
        settings["phase_timeout"],
    )
    if bad:
        return "refused", "a node refused, nothing was changed"
    movers = phases.movers(request.layout, observed, request.skip)
    hosts = [name for name in request.nodes if good[name]["changed"]]
    phase.report["changes"] = {
        "hosts": hosts,
        "restart": movers,
        "diffs": {name: good[name]["diff"] for name in hosts},
    }
    phase.report["findings"] += _datacenter(phase, wanted)
    network = request.layout["primary"]["network"]
    if test:
        return "test", (
            f"names to {network} on {', '.join(hosts) or 'no node'}, pve-cluster restarted on "
            f"{', '.join(movers) or 'no node'}"
        )
    if (
        hosts
        and phase.call(
            f"names to {network}", hosts, "pve_node.names", {"addresses": wanted}, settings["phase_timeout"]
        )[1]
    ):
        return "failed", "names could not be changed on every node; pve-cluster was restarted nowhere"
    if movers:
        phase.report["ha"] = {
            "action": "none",
            "text": "HA stays armed: a restart of pve-cluster takes /etc/pve from one node for a few seconds,"
            " a watchdog bears 45 s",
        }
    for node in movers:
        if not _restart_pve_cluster(phase, node, wanted[node]):
            return "failed", f"stopped at {node}: no further node was touched"
    done, bad = _services(phase, request.nodes) if services else ({}, {})
    if bad:
        return "failed", f"the primary network is {network}, services are open"
    if not hosts and not movers and not any(row["done"] for row in done.values()):
        return "already", f"the primary network is {network} already, nothing was changed"
    return (
        "done",
        f"the primary network is {network}, pve-cluster restarted on {', '.join(movers) or 'no node'}",
    )


def _links_ready(request, observed, settings, ports):
    """Return findings on links that are not ready; asks again for as long as the exit checklist may take."""

    def look():
        items = request.checklist(observed)[0]
        if not checklist.passed(items):
            observed.update(ports.gather()[0])
        return items

    items = task.until(ports, settings["verify_timeout"], look, checklist.passed)
    bad = [f"{item['item']} ({item['seen']})" for item in items if not item["ok"]]
    if not bad:
        return []
    return [
        finding(
            "links-not-ready",
            f"layout {request.layout['name']}: {'; '.join(bad)}",
            remedy=f"first: {request.command_again('apply')}",
        )
    ]


def _datacenter(phase, wanted):
    findings = []
    told, bad = phases.values(
        phase.minions,
        phase.request.nodes,
        phase.ports.ask(
            phase.request.nodes, "pve_node.migration_network", {}, phase.settings["gather_timeout"]
        ),
    )
    findings += [
        finding(
            "datacenter-unread",
            f"{node}: where the networks of datacenter.cfg lead is not known: {said}",
            data={"node": node, "error": said},
            remedy=f"salt {phase.minions[node]} pve_node.migration_network",
        )
        for node, said in bad.items()
    ]
    elsewhere = {}
    for node, row in told.items():
        for network, entry in row["networks"].items():
            if len(entry["addresses"]) == 1 and entry["addresses"] != [wanted.get(node)]:
                elsewhere.setdefault((network, entry["used_by"]), []).append(
                    f"{node} {entry['addresses'][0]}"
                )
    for (network, users), places in sorted(elsewhere.items()):
        findings.append(
            finding(
                "datacenter-network-elsewhere",
                f"datacenter.cfg: the network {network} for {users} leads off the primary network: "
                f"{', '.join(places)}",
                data={"network": network},
                remedy="if that network is not meant: Datacenter > Options, or take the key out",
            )
        )
    return findings + phases.datacenter_findings(told)


def _restart_pve_cluster(phase, node, address):
    """Restart pve-cluster on one node, and let the next one go only when all nodes show its address."""
    limit = phases.RESTART_LIMIT_S
    bad = phase.call(
        "restart pve-cluster",
        [node],
        "pve_node.restart_pve_cluster",
        {"address": address, "timeout": limit},
        limit + phase.settings["step_margin"],
    )[1]
    if bad:
        return False
    good, bad = phase.call(
        f".members shows {address}",
        phase.request.nodes,
        "corosync.primary_gate",
        {"addresses": {node: address}, "timeout": limit},
        limit + phase.settings["step_margin"],
    )
    stale = {name: row["missing"] for name, row in good.items() if not row["ok"]}
    for name, missing in sorted(stale.items()):
        phase.report["done"][-1]["ok"] = False
        phase.report["done"][-1]["nodes"][name] = "; ".join(missing)
        phase.report["findings"].append(
            finding(
                "members-stale",
                f"{name}, after the restart on {node}: {'; '.join(missing)}",
                data={"node": name, "restarted": node},
                remedy=f"journalctl -u pve-cluster on {node} and {name}",
            )
        )
    return not bad and not stale


def _services(phase, nodes, always=False):
    return phase.call(
        "services look again",
        nodes,
        "corosync.refresh_services",
        {"always": always},
        phase.settings["services_timeout"],
    )


def reload_services(request, ports, settings, always=False) -> dict:
    """Have the services that hold on to addresses look again on every node that needs it."""
    phase = Phase("reload_services", request, ports, settings)

    def work():
        good, bad = _services(phase, request.nodes, always)
        phase.report["services"] = {node: row["done"] for node, row in good.items()}
        done = sorted(node for node, row in good.items() if row["done"])
        if bad:
            return "failed", f"services are open on {', '.join(sorted(bad))}"
        if not done:
            return "already", "all services have looked already, nothing was restarted"
        gone = sorted({task for row in good.values() if row["done"] for task in row["done"]["tasks"]["gone"]})
        return "done", f"refreshed on {', '.join(done)}" + (
            f"; tasks that ended meanwhile: {', '.join(gone)}" if gone else "; running tasks were left alone"
        )

    return phase.carry_out(work)


def _answering(ports, settings):
    """Ask until ``/etc/pve`` answers on each node: after a restart of pve-cluster it may take seconds."""

    def answers(told):
        return not any(pve.hangs(node.get("pmxcfs") or {}) for node in told[0]["nodes"].values())

    return task.until(ports, settings["verify_timeout"], ports.gather, answers)


def update_certs(request, ports, settings, force=None) -> dict:
    """Have every node's certificate and host key file be right, all at once, and read them back
    everywhere."""
    phase = Phase("update_certs", request, ports, settings)
    wanted = phases.wanted_primary(request.layout)

    def work():
        observed, findings = _answering(ports, settings)
        findings += [
            finding(
                "phase-failed",
                f"{name}: {why}; pvecm updatecerts would block there for 80 s",
                data={"node": name},
                remedy=f"on {name}: journalctl -u pve-cluster -n 20"
                if pve.hangs(state)
                else f"first: {request.command_again('apply')}",
            )
            for name in request.nodes
            if name in observed["nodes"]
            for state in [observed["nodes"][name].get("pmxcfs") or {}]
            for why in [pve.why_not(state)]
            if why
        ]
        if phase.refused(findings):
            return "refused", phase.refusal()
        good, bad = phase.call(
            "certificates", request.nodes, "pve_certs.update", {"force": force}, settings["certs_timeout"]
        )
        told, unread = phase.call(
            "read them back", request.nodes, "pve_certs.facts", {}, settings["phase_timeout"]
        )
        for node, row in sorted(told.items()):
            texts = list(row["problems"])
            if row["address"] != wanted[node]:
                texts.append(
                    f".members has {row['address']}, the layout wants {wanted[node]}: move_primary first"
                )
            phase.report["findings"] += [
                finding("phase-failed", f"{node}: {text}", data={"node": node}) for text in texts
            ]
        for (node, peer), text in sorted(phases.host_key_problems(told).items()):
            phase.report["findings"].append(
                finding(
                    "host-key-differs",
                    text,
                    data={"node": node, "peer": peer},
                    remedy=f"on {peer}: pvecm updatecerts; if nobody you know changed its key, look why",
                )
            )
        phase.report["certificates"] = {node: row["certificate"] for node, row in told.items()}
        changed = sorted(node for node, row in good.items() if row["changed"])
        if changed:
            bad |= _services(phase, changed, always=True)[1]
        if bad or unread or errors(phase.report["findings"], request.force):
            return "failed", "certificates or host keys are open"
        if not changed:
            return "already", "certificates and host keys are right already"
        return "done", f"new certificates on {', '.join(changed)}; fingerprints that others keep have changed"

    return phase.carry_out(work)


def replicate(request, ports, settings, timeout=None) -> dict:
    """Run every replication job of the cluster, with the proof of where its data went.

    :param timeout: seconds to wait for one job; default the setting ``replication_timeout``.
    """
    phase = Phase("replicate", request, ports, settings)
    return phase.carry_out(
        lambda: _replicate(phase, settings["replication_timeout"] if timeout is None else timeout)
    )


def _replicate(phase, timeout):
    request, settings = phase.request, phase.settings
    primary = phases.wanted_primary(request.layout)
    observed, findings = phase.ports.gather()
    if phase.refused(findings):
        return "refused", "refused, nothing was run"
    budget = max(settings["replication_budget"], timeout)
    good, bad = phase.call(
        "replication jobs",
        request.nodes,
        "pvesr.run_all",
        {"targets": request.nodes, "timeout": timeout, "budget": budget},
        budget + 15,
    )
    jobs = {(node, name): job for node, row in good.items() for name, job in row["jobs"].items()}
    dedicated = _dedicated(phase, {job["path"]["network"] for job in jobs.values()} - {None})
    logins = _logins(phase, observed, sorted({job["target"] for job in jobs.values()}))
    rows = [
        phases.job_row(node, name, job, logins.get(job["target"], []), dedicated.get(job["path"]["network"]))
        for (node, name), job in sorted(jobs.items())
    ]
    phase.report["jobs"] = rows
    for node, told in sorted(good.items()):
        _job_findings(phase, primary, node, told, dedicated)
    phase.report["findings"] += [_unproven(row) for row in rows if phases.unproven(row)]
    if bad or errors(phase.report["findings"], request.force):
        return "failed", "replication is open"
    if not jobs:
        return "already", "there is no replication job to run"
    return "done", "; ".join(
        f"{row['job']} {row['source']} -> {row['target']} over {row['data']}"
        + (", still running" if row["running"] else "")
        for row in rows
    )


def _dedicated(phase, networks):
    """Return each node's address in the networks that datacenter.cfg has: ``{network: {node: address}}``."""
    if not networks:
        return {}
    answers = phase.ports.ask(
        phase.request.nodes, "pve_node.migration_network", {}, phase.settings["phase_timeout"]
    )
    told = phases.values(phase.minions, phase.request.nodes, answers)[0]
    return {
        network: {
            node: row["networks"][network]["addresses"][0]
            for node, row in told.items()
            if len((row["networks"].get(network) or {}).get("addresses") or ()) == 1
        }
        for network in networks
    }


def _unproven(row):
    return finding(
        "replication-unproven",
        f"job {row['job']}: sshd of {row['target']} logged no login of it from {row['from']}, and no"
        " connection of its ssh was seen",
        data={"job": row["job"]},
        remedy="journalctl -t sshd -t sshd-session there",
    )


def _logins(phase, observed, targets):
    """Return what each target's sshd accepted since the phase began, by that node's own clock."""
    found = {}
    for node in targets:
        begun = (observed["nodes"].get(node) or {}).get("time")
        if begun is None:
            continue
        answers = phase.ports.ask([node], "pvesr.accepted", {"since": begun}, phase.settings["phase_timeout"])
        found |= phases.values(phase.minions, [node], answers)[0]
    return found


def _job_findings(phase, primary, node, told, dedicated):
    for name, text in sorted(told["failed"].items()):
        phase.report["findings"].append(
            finding(
                "replication-failed",
                f"job {name} on {node}: {text}",
                data={"job": name, "node": node, "error": text},
                remedy=f"salt {phase.minions[node]} pvesr.run {name}",
            )
        )
    for name, text in sorted((told.get("running") or {}).items()):
        phase.report["findings"].append(
            finding(
                "replication-running",
                f"job {name} on {node}: {text}",
                data={"job": name, "node": node},
                remedy=f"salt {phase.minions[node]} pvesr.status; when it has ended:"
                f" {phase.request.command_again('verify')}",
            )
        )
    for name, job in sorted(told["jobs"].items()):
        addresses = dedicated.get(job["path"]["network"]) or {}
        for text in phases.job_problems(primary, job, addresses.get(job["target"])):
            phase.report["findings"].append(
                finding(
                    "replication-astray",
                    f"job {name} on {node}: {text}",
                    data={"job": name, "node": node},
                    remedy=f"first: {phase.request.command_again('move_primary')}",
                )
            )


def probe(request, ports, settings) -> dict:
    """Test the port of every link that the layout or a step to it adds: both ways, all pairs, all links at
    once."""
    phase = Phase("probe", request, ports, settings)

    def work():
        observed, findings = ports.gather()
        if phase.refused(findings):
            return "refused", "refused, nothing was tested"
        made = request.plan(observed, [])[0]
        phase.report["findings"] += [item for item in made["findings"] if item["code"] == "route-elsewhere"]
        links = probe_links.fresh(request.layout, observed, made["steps"], request.skip)
        links |= probe_links.dead(request.layout, observed, request.skip, links.values())
        phase.report["links"] = links
        if not links:
            return "already", "the layout adds no link and none of it is dead, there is nothing to test"
        heard = {}
        good, bad = phase.call(
            f"test {len(links)} links",
            request.nodes,
            "pve_probe.links",
            {"txn": ports.jid, "links": preflight.asked(links)},
            settings["phase_timeout"],
            heard=lambda name, _event: heard.setdefault(name, ports.passed()),
        )
        results = preflight.results(links, request.nodes, good, bad)
        verdict = probe_links.judge(links, observed, results, heard)
        phase.report["findings"] += verdict["findings"] + probe_links.alive(links, verdict["ways"])
        phase.report |= {"ways": verdict["ways"], "untested": verdict["untested"]}
        failed = verdict["untested"] or errors(phase.report["findings"], request.force)
        return "failed" if failed else "done", verdict["summary"]

    return phase.carry_out(work)
