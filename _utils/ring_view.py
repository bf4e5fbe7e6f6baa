"""One copy of corosync.conf as the rules look at it: plain data out of the document."""

from __future__ import annotations

try:
    import ring_conf
except ImportError:  # installed as a Salt extension
    from saltext.pve_corosync.utils import ring_conf


def read(text: str) -> tuple[dict | None, list[dict]]:
    """Parse a copy and return what the rules need of it.

    :param text: the file, one character per byte.
    :returns: (view, problems). View is None if corosync would not take the file, else
        ``{"version": int, "version_text": text or None, "pmxcfs_version": int, "cluster_name": text or None,
        "nodes": [{"name": text or "", "nodeid", "votes", "addresses": {link: address}}],
        "interfaces": {link: {key: value}}, "totem": {key: value}, "quorum": {key: value}, "qdevice": bool,
        "lint": [problem]}``; a problem is ``{"line", "text", "reader"}``.
    """
    data = text.encode("latin-1")
    try:
        document = ring_conf.parse(data)
    except ring_conf.ConfError as error:
        return None, list(error.problems)
    links = document.links()
    return {
        "version": document.version,
        "version_text": document.get("totem.config_version"),
        "pmxcfs_version": ring_conf.pmxcfs_version(data),
        "cluster_name": document.cluster_name,
        "nodes": _nodes(document),
        "interfaces": {number: link["options"] for number, link in links.items() if link["interface"]},
        "totem": _section(document, "totem"),
        "quorum": _section(document, "quorum"),
        "qdevice": document.get("quorum.device.model") is not None,
        "lint": list(ring_conf.lint(data)),
    }, []


def _nodes(document) -> list[dict]:
    """The nodes in file order; a node without a name has "" here, the document calls it by its address."""
    positions = sorted({position for position, _ in document.tree.node_sections})
    return [
        {"name": document.get(f"nodelist.node.{position}.name") or "", "nodeid": row["nodeid"],
         "votes": row["votes"], "addresses": dict(row["addresses"])}
        for position, row in zip(positions, document.nodes().values())
    ]


def _section(document, name: str) -> dict[str, str]:
    """The keys directly inside a section, the last value of each."""
    return {item.key: item.value for item in document.tree.items if item.path == f"{name}.{item.key}"}
