"""
What this node can see of the whole cluster, without a master.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name). The other nodes are
asked over PVE's own ssh, with commands that only read.

:depends: corosync, ssh
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import salt.utils.path
from pve_corosync import arguments
from pve_corosync.findings import alarms, ordered
from pve_corosync.judge import evidence, situation, verdict
from pve_corosync.pillar import layouts as layouts_of_pillar
from pve_corosync.ports import node as node_ports
from pve_corosync.ports import salt_module as shell
from pve_corosync.rules import every
from pve_corosync.run import alone

__virtualname__ = "corosync"

__outputter__ = {"status": "corosync_table"}


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def observe():
    """
    Return what this node can see of the whole cluster: its own facts, and those of the nodes that it can ask.

    The others are asked over PVE's own ssh, on the address in ``/etc/pve/.members``, then on their addresses
    in the pillar. Returns ``{"nodes": {name: facts}, "silent": [name], "why": {name: text}}``. Without a
    pillar, only this node is asked.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.observe
    """
    told = __salt__["corosync.facts"]()
    pillar = shell.pillar(__pillar__)
    if pillar is None:
        others = sorted((told["runtime"] or {}).get("nodes") or {})
        return {"nodes": {told["node"]: told}, "silent": [n for n in others if n != told["node"]], "why": {}}
    cluster = _sight(told["node"], pillar)
    observed = cluster.gather(told)[0]
    return dict(observed, why=cluster.peers.why)


def status(pillar=None):
    """
    Show this node, and what it can see of the others: quorum, versions, links, the layout in force, what is
    wrong. The exit code is 1 if something is.

    pillar
        What the pillar key ``corosync`` is to be in this call; default what this minion has. salt-ssh, which
        gives a node no pillar, brings the master's so.

    CLI Example:

    .. code-block:: bash

        salt-call --local corosync.status
    """
    shell.check("corosync.status", locals())
    told = __salt__["corosync.facts"]()
    report = {
        "do": "status",
        "node": told["node"],
        "corosync": f"{told['corosync']['version']} {told['corosync']['state']}",
        "versions": {key: (told[key] or {}).get("version") for key in ("local", "cluster_file", "runtime")},
        "links": {
            peer: {
                number: "connected" if link["connected"] else "down" for number, link in sorted(rows.items())
            }
            for peer, rows in sorted(told["links"].items())
        },
        "quorate": alone.quorate(told),
        "pve_writable": told["pmxcfs"]["writable"],
        "busy": told["busy"],
        "problems": told["problems"],
        "cluster": (told["runtime"] or {}).get("cluster_name") or "?",
        "in_force": [],
    }
    observed, findings = {"nodes": {told["node"]: told}, "silent": []}, []
    try:
        sight = _sight(told["node"], shell.pillar(__pillar__, pillar))
        request = sight.request
        observed, findings = sight.gather(told)
        layouts = request.layouts()
        report.update(wanted=request.layout["name"], in_force=situation.in_force(layouts, observed))
        held = situation.held_to(report["in_force"], request.layout["name"])
        findings += every.check(layouts[held], observed, skip=request.skip)
        findings += evidence.released(layouts[held], observed)
        report["verdict"] = verdict.of_request(request, observed, findings, on_node=True)
    except (arguments.RunError, layouts_of_pillar.LayoutError) as exc:
        findings = exc.findings
        report["verdict"] = verdict.of_pillar(told["node"], situation.state_now(observed), findings)
    report.update(
        state=situation.state_now(observed), matrix=situation.matrix(observed), findings=ordered(findings)
    )
    bad = bool(alarms(report["findings"])) or situation.sick(report["state"])
    bad = bad or not report.get("verdict", {"ok": True})["ok"]
    report.update(result="errors" if bad else "ok", retcode=arguments.FAILED if bad else arguments.OK)
    if bad:
        __context__["retcode"] = report["retcode"]
    return report


def _sight(node, pillar):
    request = alone.Request(pillar, __opts__.get("id"), node)
    return node_ports.Sight(request, __salt__["corosync.facts"], shell.root(__opts__))
