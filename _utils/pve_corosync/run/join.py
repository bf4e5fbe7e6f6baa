"""Bringing a reinstalled node back: may it join, over which links, and what became of it. Pure."""

from __future__ import annotations

from pve_corosync import addresses as ip
from pve_corosync import conf
from pve_corosync.cluster import cluster, copies
from pve_corosync.findings import errors, finding
from pve_corosync.plan import steps

#: makes a node of which nothing is needed one that can join; pvecm add retires config.db likewise.
CLEAN = (
    "systemctl stop corosync pve-cluster && rm -f /etc/corosync/corosync.conf /etc/corosync/authkey"
    " && mkdir -p /root/config.db.old && mv /var/lib/pve-cluster/config.db* /root/config.db.old/"
    " && systemctl start pve-cluster"
)


def check(layout: dict, node: str, observed: dict, empty) -> list[dict]:
    """Return what stands in the way of a rebuild, all at once.

    :param layout: any layout of the cluster, as ``pillar.layouts.resolve`` returns it.
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
    others = [name for name in layout["nodes"] if name != node]
    found = _own_findings(layout, node, observed, empty)
    for name in others:
        found += _other_findings(layout, name, observed)
    there = _running(observed, node)
    if len(shapes(there, node)) > 1:
        found.append(
            finding(
                "rebuild-not-level",
                f"local files, cluster files and runtimes of {', '.join(sorted(there))} are not one",
                remedy=f"salt-run corosync.apply skip={node}",
            )
        )
    found += _nodeid_taken(layout, node, there) + _device(there)
    if there and not errors(found):
        found += links(layout, node, observed)[1]
    return found


def _own_findings(layout, node, observed, empty):
    if not isinstance(empty, dict):
        return [
            finding(
                "rebuild-silent",
                f"{node}: {empty or 'no answer'}",
                data={"node": node},
                remedy=f"salt {layout['nodes'][node]['minion']} saltutil.sync_all",
            )
        ]
    if not empty["reasons"] or half_joined(node, observed, empty):
        return []
    return [
        finding(
            "rebuild-not-empty",
            f"{node}: {'; '.join(empty['reasons'])}",
            data={"node": node},
            remedy=f"only a freshly installed node joins; if nothing on it is needed, on {node}: {CLEAN}",
        )
    ]


def _other_findings(layout, name, observed):
    if name not in observed["nodes"]:
        return [
            finding(
                "rebuild-silent",
                f"{name} gave no facts",
                data={"node": name},
                remedy=f"salt {layout['nodes'][name]['minion']} test.ping",
            )
        ]
    if not observed["nodes"][name].get("runtime"):
        return [
            finding(
                "rebuild-not-level",
                f"{name}: corosync does not run",
                data={"node": name},
                remedy=f"on {name}: systemctl status corosync",
            )
        ]
    return []


def _device(there):
    """A quorum device beside a rebuild: PVE wants it out before nodes come or go (pvecm(1))."""
    have = with_device(there)
    if not have:
        return []
    return [
        finding(
            "rebuild-qdevice",
            f"{', '.join(have)}: a quorum device is set up, and the rebuilt node has neither its "
            "package nor its certificates; PVE wants it out before nodes come or go, and does that with all "
            "nodes online only",
            data={"nodes": have},
            remedy="after the rebuild: apt install corosync-qdevice there, then on one node: pvecm qdevice "
            "remove; pvecm qdevice setup <its address>",
        )
    ]


def with_device(there: dict) -> list[str]:
    """Return the nodes that run with a quorum device, or have one in their file.

    :param there: ``{name: facts}``.
    """
    return sorted(
        name
        for name, facts in there.items()
        if (facts.get("quorum") or {}).get("qdevice_votes") is not None or _names_device(facts)
    )


def _names_device(facts):
    view = copies.read((facts.get("local") or {}).get("text") or "")[0]
    return bool(view and view["qdevice"])


def _nodeid_taken(layout, node, there):
    wanted = layout["nodes"][node]["nodeid"]
    taken = sorted(
        {
            other
            for facts in there.values()
            for other, row in facts["runtime"]["nodes"].items()
            if other != node and row.get("nodeid") == wanted
        }
    )
    return [
        finding(
            "rebuild-nodeid",
            f"corosync:nodes:{node}:nodeid is {wanted}, which {other} has",
            data={"node": other, "value": wanted},
            remedy=f"correct the ids of {node} and {other} in the pillar",
        )
        for other in taken
    ]


def half_joined(node: str, observed: dict, empty: dict) -> bool:
    """Tell whether an earlier join was cut off on the node: it has the key of the cluster, which lists it.

    :param node, observed, empty: as in :func:`check`.
    """
    own, there = observed["nodes"].get(node) or {}, _running(observed, node)
    key, files = (own.get("authkey") or {}).get("sha256"), _files(there, "cluster_file")
    return bool(
        empty.get("half")
        and key
        and {(facts.get("authkey") or {}).get("sha256") for facts in there.values()} == {key}
        and listed(observed, node)
        # never start a daemon with an older file
        and (not own.get("local") or {own["local"]["sha256"]} == {file["sha256"] for file in files})
    )


def _running(observed, node):
    return {name: facts for name, facts in observed["nodes"].items() if name != node and facts.get("runtime")}


def _files(there, *kinds):
    return [facts[kind] for facts in there.values() for kind in kinds if facts.get(kind)]


def shapes(there: dict, node: str) -> set:
    """Return the different configurations of nodes, apart from their versions and from one node.

    :param there: ``{name: facts}`` of nodes that run corosync. :param node: the one that does not count.

    Between the two steps of :func:`removal` the local files are without the node and the cluster file has
    it; that is no difference which another rebuild cannot take further.
    """
    found = set()
    for facts in there.values():
        for kind in ("local", "cluster_file"):
            copy = facts.get(kind) or {}
            found.add(_shape(copy.get("text"), node))
        old = facts["runtime"]["version"] != (facts.get("local") or {}).get("version")
        if old and _addresses(facts["runtime"]["nodes"], node) != _of_file(facts, node):
            found.add("runtime")
    return found


def _shape(text, node):
    if text is None:
        return None
    try:
        doc = conf.parse(text)
        doc.remove_node(node)
        doc.set_version(1)
    except conf.ConfError:
        return text
    return doc.text


def _of_file(facts, node):
    try:
        return _addresses(conf.parse((facts.get("local") or {}).get("text") or "").nodes(), node)
    except conf.ConfError:
        return None


def _addresses(nodes, node):
    return {
        name: {int(number): ip.canonical(address) for number, address in row["addresses"].items()}
        for name, row in nodes.items()
        if name != node
    }


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
                        running.setdefault(int(number), {})[other] = ip.canonical(address)
    found, wrong = {}, []
    for number, addresses in sorted(running.items()):
        network = next(
            (
                name
                for name, row in layout["networks"].items()
                if node in row
                and all(ip.canonical(row.get(other, "")) == address for other, address in addresses.items())
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
    """Tell whether a file of any other node still has the node."""
    return bool(_entries(_running(observed, node), node, "local", "cluster_file"))


def votes(observed: dict, node: str) -> int:
    """Return the votes that the node has in the files of the others; 1, as PVE gives, if it is in none."""
    rows = _entries(_running(observed, node), node, "cluster_file", "local")
    return rows[0]["votes"] if rows else 1


def _entries(there, node, *kinds):
    found = []
    for kind in kinds:
        for copy in _files(there, kind):
            try:
                found.append(conf.parse(copy["text"]).nodes().get(node))
            except conf.ConfError:
                continue
    return [row for row in found if row]


def way(layout: dict, node: str, observed: dict, wanted: dict) -> str:
    """Return what becomes of the node's old entry.

    ``""``: there is none. ``keep``: ``pvecm add`` overwrites it and keeps id and votes, since it always
    passes ``--force 1`` to addnode (pve-cluster ClusterConfig.pm; captures add-linkmismatch). ``delnode``:
    the id or an address is another one, which addnode refuses, or corosync does not reload. ``local``: the
    others have no quorum with it, or do not have one file. ``publish``: an earlier rebuild took it out of
    the local files only.

    :param layout, node, observed: as in :func:`check`.
    :param wanted: ``{link: address}`` of the node.
    """
    if not listed(observed, node):
        return ""
    there = _running(observed, node)
    local, cluster = ({file["sha256"] for file in _files(there, kind)} for kind in ("local", "cluster_file"))
    if not quorate(observed, node) or len(local) > 1:
        return "local"
    if local != cluster:
        return "local" if _entries(there, node, "local") else "publish"
    row = _entries(there, node, "cluster_file")[0]
    same = (row["nodeid"], _addresses({"": row}, node)[""]) == (
        layout["nodes"][node]["nodeid"],
        {number: ip.canonical(address) for number, address in wanted.items()},
    )
    return "keep" if same else "delnode"


#: what each way is, for the report
WAYS = {
    "": "the cluster does not list it",
    "keep": "its entry is overwritten",
    "delnode": "its entry is taken out by pvecm delnode",
    "local": "its entry is taken out of the others' local files, then of the cluster file",
    "publish": "its entry, which the local files do not have any more, is taken out of the cluster file",
}


def quorate(observed: dict, node: str) -> bool:
    """Tell whether all the other nodes are quorate and can write."""
    return all(
        (facts.get("quorum") or {}).get("quorate") and facts["pmxcfs"]["writable"]
        for name, facts in observed["nodes"].items()
        if name != node
    )


def removal(layout: dict, node: str, observed: dict, only_publish: bool = False) -> list[dict]:
    """Return the steps that take a node out where the others have no quorum with it: ``local``, then
    ``publish``.

    With the node gone from the nodelist its vote is not missing any more. That is safe only because the node
    is known to be empty and to run nothing, and all others take part; ``pvecm delnode`` itself needs quorum,
    and ``pvecm expected`` would last only until the next reload.

    :param layout, node, observed: as in :func:`check`.
    :param only_publish: the local files are without the node already.
    """
    others = [name for name in layout["nodes"] if name != node]
    text = observed["nodes"][others[0]]["local"]["text"]
    doc = conf.parse(text)
    if not only_publish:
        doc.remove_node(node)
        doc.set_version(cluster.highest_version(observed["nodes"].values()) + 1)
    numbers = {number: [] for number in doc.links()}
    step = steps.step(
        "local",
        doc.version,
        doc.text,
        f"take {node} out of the nodelist",
        nodes=others,
        deadline_s=30,
        links=numbers,
        wait={"connected": {}, "quorate": True, "writable": True},
        starts_from=cluster.digests(observed["nodes"].values()),
    )
    publish = step | {"number": 2, "act": "publish", "text": "put the same bytes into the cluster file"}
    return [publish | {"number": 1}] if only_publish else [step, publish]


def same_layouts(layouts: dict, node: str, wanted: dict) -> list[str]:
    """Return the layouts that give the node these links.

    :param layouts: ``{name: layout}``, resolved.
    :param wanted: ``{link: address}`` of the node.
    """
    return [
        name
        for name, layout in layouts.items()
        if {int(number): link["addresses"][node] for number, link in layout["links"].items()} == wanted
    ]


def replication_left(items: list[dict], without: list[dict], told: dict, node: str) -> list[dict]:
    """Return warnings on replication jobs to the node, if nothing else of the checklist is untrue.

    Its copies went with the old disk: PVE's schedule sends them anew, which takes as long as it takes.

    :param items: the checklist; :param without: the same without the jobs to the node.
    :param told: ``{node: jobs of pvesr.status}``.
    """
    if any(not item["ok"] for item in without) or all(item["ok"] for item in items):
        return []
    jobs = sorted(name for rows in told.values() for name, row in rows.items() if row["target"] == node)
    seen = next(item["seen"] for item in items if not item["ok"])
    return [
        finding(
            "rebuild-replication",
            f"the copies on {node} are gone with its old disk, the next run of {', '.join(jobs)} sends all of"
            f" them: {seen}",
            data={"jobs": jobs},
            remedy="PVE runs them by their schedule; at once: pvesr run --id JOB on the source;"
            " then salt-run corosync.verify",
        )
    ]


def old_keys(node: str, minion: str, told: dict) -> list[dict]:
    """Return warnings on the ssh keys that a node had before it was reinstalled, and that still count.

    They are not taken out unasked: the name stands in them, and another machine may have the same.

    :param node: the node. :param minion: of a member, which can take them out.
    :param told: what ``pvecm.old_keys`` returned there.
    """
    means = {
        "authorized_keys": "still lets its owner in as root on every node",
        "known_hosts": "is still trusted as the key of its sshd",
    }
    return [
        finding(
            "rebuild-old-key",
            f"{row['type']} {row['fingerprint']} ({row['name']}), a key of {node} from before, {means[kind]}"
            f" (/etc/pve/priv/{kind})",
            data={"node": node, "file": kind, "fingerprint": row["fingerprint"]},
            remedy=f"unless another machine has it: salt {minion} pvecm.drop_key {row['fingerprint']}",
        )
        for kind in means
        for row in told[kind]
    ]


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
