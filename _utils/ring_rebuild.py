"""Bringing a reinstalled node back: may it join, over which links, and what became of it. Pure."""

from __future__ import annotations

try:
    import ring_addr
    import ring_conf
    import ring_finding
    import ring_observed
    from ring_finding import finding
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_addr, ring_conf, ring_finding, ring_observed
    from saltext.pve_corosync.utils.ring_finding import finding

CODES = (
    ("rebuild-unknown", "The node to rebuild is no node of the pillar."),
    ("rebuild-not-empty", "The node to rebuild is not freshly installed."),
    ("rebuild-silent", "A node gave no answer; a rebuild needs every one of them."),
    ("rebuild-not-level", "The other nodes do not run one and the same configuration."),
    ("rebuild-link", "A link that is in force is on no network of the pillar."),
    ("rebuild-failed", "A step of the rebuild failed."),
    ("rebuild-guests", "Configurations of guests changed in the course of the rebuild."),
)
for _code, _title in CODES:
    ring_finding.register(_code, "error", _title, "pvecm(1); pve-cluster ClusterConfig.pm", subject="Rebuild")


def check(layout: dict, node: str, observed: dict, empty) -> list[dict]:
    """Return what stands in the way of a rebuild, all at once.

    :param layout: any layout of the cluster, as ``ring_layout.resolve`` returns it.
    :param node: the node to rebuild.
    :param observed: facts of all nodes.
    :param empty: what ``pvecm.joinable`` returned on the node, or an error's text, or None.
    """
    if node not in layout["nodes"]:
        return [
            finding(
                "rebuild-unknown",
                f"{node!r} is no node of the pillar; allowed: {', '.join(sorted(layout['nodes']))}",
                data={"value": str(node)},
                remedy="correct node=",
            )
        ]
    found = []
    if not isinstance(empty, dict):
        found.append(
            finding(
                "rebuild-silent",
                f"{node}: {empty or 'no answer'}",
                data={"node": node},
                remedy=f"salt {layout['nodes'][node]['minion']} saltutil.sync_all",
            )
        )
    elif empty["reasons"]:
        found.append(
            finding(
                "rebuild-not-empty",
                f"{node}: {'; '.join(empty['reasons'])}",
                data={"node": node},
                remedy="only a freshly installed node joins; what is left of the old one must be removed"
                " by hand, if it is not needed any more",
            )
        )
    others = [name for name in layout["nodes"] if name != node]
    for name in others:
        if name not in observed["nodes"]:
            found.append(
                finding(
                    "rebuild-silent",
                    f"{name} gave no facts",
                    data={"node": name},
                    remedy=f"salt {layout['nodes'][name]['minion']} test.ping",
                )
            )
        elif not observed["nodes"][name].get("runtime"):
            found.append(
                finding(
                    "rebuild-not-level",
                    f"{name}: corosync does not run",
                    data={"node": name},
                    remedy=f"on {name}: systemctl status corosync",
                )
            )
    there = {
        name: observed["nodes"][name] for name in others if (observed["nodes"].get(name) or {}).get("runtime")
    }
    copies = {
        (facts["runtime"]["version"], (facts.get("local") or {}).get("sha256")) for facts in there.values()
    }
    copies |= {
        ((facts.get("cluster_file") or {}).get("version"), (facts.get("cluster_file") or {}).get("sha256"))
        for facts in there.values()
    }
    if there and len(copies) > 1:
        found.append(
            finding(
                "rebuild-not-level",
                f"local files, cluster files and runtimes of {', '.join(sorted(there))} are not one",
                remedy=f"salt-run corosync.apply skip={node}",
            )
        )
    if there and not found:
        found += links(layout, node, observed)[1]
    return found


def links(layout: dict, node: str, observed: dict) -> tuple[dict, list[dict]]:
    """Return ``({link: address of the node}, findings)`` for the links that the other nodes run.

    :param layout, node, observed: as in :func:`check`.
    """
    running: dict[int, dict[str, str]] = {}
    for name, facts in observed["nodes"].items():
        if name != node and facts.get("runtime"):
            for other, row in facts["runtime"]["nodes"].items():
                for number, address in row["addresses"].items():
                    if other != node:
                        running.setdefault(int(number), {})[other] = ring_addr.canonical(address)
    found, wrong = {}, []
    for number, addresses in sorted(running.items()):
        network = next(
            (
                name
                for name, row in layout["networks"].items()
                if node in row
                and all(
                    ring_addr.canonical(row.get(other, "")) == address for other, address in addresses.items()
                )
            ),
            None,
        )
        if network is None:
            wrong.append(
                finding(
                    "rebuild-link",
                    f"link {number} ({', '.join(sorted(addresses.values()))}) is on no "
                    f"network on which the pillar gives {node} an address",
                    data={"link": number},
                    remedy=f"add it to corosync:nodes:*:addresses, for {node} too",
                )
            )
        else:
            found[number] = layout["networks"][network][node]
    return found, wrong


def listed(observed: dict, node: str) -> bool:
    """Tell whether the cluster file of any other node still has the node."""
    for name, facts in observed["nodes"].items():
        if name != node and facts.get("cluster_file"):
            try:
                if node in ring_conf.parse(facts["cluster_file"]["text"]).nodes():
                    return True
            except ring_conf.ConfError:
                continue
    return False


def quorate(observed: dict, node: str) -> bool:
    """Tell whether all the other nodes are quorate and can write."""
    return all(
        (facts.get("quorum") or {}).get("quorate") and facts["pmxcfs"]["writable"]
        for name, facts in observed["nodes"].items()
        if name != node
    )


def removal(layout: dict, node: str, observed: dict) -> list[dict]:
    """Return the steps that take a node out where the others have no quorum with it: ``local``, then
    ``publish``.

    With the node gone from the nodelist its vote is not missing any more. That is safe only because the node
    is known to be empty and to run nothing, and all others take part; ``pvecm delnode`` itself needs quorum,
    and ``pvecm expected`` would last only until the next reload.

    :param layout, node, observed: as in :func:`check`.
    """
    others = [name for name in layout["nodes"] if name != node]
    view = ring_observed.View(layout, observed, skip=[node])
    text = observed["nodes"][others[0]]["local"]["text"]
    doc = ring_conf.parse(text)
    doc.remove_node(node)
    doc.set_version(view.highest_version() + 1)
    numbers = {number: [] for number in doc.links()}
    step = {
        "number": 1,
        "act": "local",
        "version": doc.version,
        "conf": doc.text,
        "nodes": others,
        "deadline_s": 30,
        "text": f"take {node} out of the nodelist",
        "add": [],
        "remove": [],
        "change": [],
        "links": numbers,
        "wait": {"connected": {}, "quorate": True, "writable": True},
    }
    publish = step | {"number": 2, "act": "publish", "text": "put the same bytes into the cluster file"}
    return [step, publish]


def guests_changed(before: dict, after: dict, node: str) -> list[dict]:
    """Return a finding if a configuration of a guest on another node changed, came or went.

    :param before, after: ``{path below /etc/pve/nodes: sha256}``.
    :param node: the node that was rebuilt; what PVE kept of its old guests counts too.
    """
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if not changed:
        return []
    return [
        finding(
            "rebuild-guests",
            f"changed while {node} joined: {', '.join(changed)}",
            data={"paths": changed},
            remedy="compare with the backup in /var/lib/pve-cluster/backup on the nodes",
        )
    ]
