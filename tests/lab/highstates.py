"""Highstate on the lab's nodes, for the tests: what it says, and what it leaves behind."""

import json

LINKS = "corosync_|-links of the cluster_|-links of the cluster_|-ring_layout"


def wanted(layout, **more):
    return "pillar=" + json.dumps({"corosync": {"layout": layout}} | more)


def highstate(lab, target="pve*", *words, timeout=400):
    """Run highstate and return {node: {state id: row}}."""
    said = lab.salt("--out=json", "--static", "-t", "300", target, "state.apply", *words, timeout=timeout)
    return json.loads(said.stdout)


def layout_state(rows):
    return rows[LINKS]


def ring_id(lab, node):
    said = lab.exec(node, ["corosync-quorumtool", "-s"]).stdout
    return next(line.split()[-1] for line in said.splitlines() if line.startswith("Ring ID"))


def changes(rows):
    return {key: row["changes"] for key, row in rows.items() if row["changes"]}


def unmet(rows):
    """Return the rows of one node that did not succeed: ``{state id: comment}``."""
    return {key: row["comment"] for key, row in rows.items() if row["result"] is not True}


def all_unmet(nodes):
    """Return the same of several nodes: ``{node: {state id: comment}}``, without those that have none."""
    return {node: rows for node, rows in ((node, unmet(rows)) for node, rows in nodes.items()) if rows}
