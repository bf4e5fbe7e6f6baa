"""One copy of corosync.conf as the rules look at it: plain data out of the document."""

from __future__ import annotations

from pve_corosync import conf
from pve_corosync.conf import links


def read(text: str) -> tuple[dict | None, list[dict]]:
    """Parse a copy and return what the rules need of it.

    :param text: the file, one character per byte.
    :returns: (view, problems). View is None if corosync would not take the file, else
        ``{"version": int, "version_text": text or None, "cluster_name": text or None,
        "nodes": [{"name": text or "", "nodeid", "votes", "addresses": {link: address}}],
        "interfaces": {link: {key: value}}, "totem": {key: value}, "quorum": {key: value}, "qdevice": bool,
        "keys": [path], "sections": [path], "lint": [problem]}``; a problem is ``{"line", "text", "reader"}``.
    """
    data = text.encode("latin-1")
    try:
        document = conf.parse(data)
    except conf.ConfError as error:
        return None, list(error.problems)
    held = document.links()
    return {
        "version": document.version,
        "version_text": document.get("totem.config_version"),
        "cluster_name": document.cluster_name,
        "nodes": _nodes(document),
        "interfaces": {number: link["options"] for number, link in held.items() if link["interface"]},
        "totem": _section(document, "totem"),
        "quorum": _section(document, "quorum"),
        "qdevice": document.get("quorum.device.model") is not None,
        "keys": list(dict.fromkeys(item.path for item in document.tree.items)),
        "sections": list(dict.fromkeys(document.section_paths())),
        "lint": list(conf.lint(data)),
    }, []


def pmxcfs_version(text: str) -> int:
    """Return the version that pmxcfs finds in a copy, 0 for none."""
    return conf.pmxcfs_version(text.encode("latin-1"))


def aimed(text: str, layout: dict, version: int) -> list[dict]:
    """Return what the readers would say of a copy once it holds a layout's links.

    What the plan repairs on its way (links, interface blocks, the version) is not among it.

    :param text: a copy that parses.
    :param layout: what ``pillar.layouts.resolve`` returns.
    :param version: the version that it would get.
    :returns: problems; none if the links cannot be put into this copy, which other rules name, and the plan.
    """
    try:
        document = links.document(
            conf.parse(text.encode("latin-1")), links.goal_links(layout), version, layout.get("totem")
        )
    except conf.ConfError:
        return []
    return list(conf.lint(document.dump()))


def _nodes(document) -> list[dict]:
    """The nodes in file order, two of one name too; one without a name has "" here."""
    return [row | {"name": row["name"] or ""} for row in document.rows()]


def _section(document, name: str) -> dict[str, str]:
    """The keys directly inside a section, the last value of each."""
    return {item.key: item.value for item in document.tree.items if item.path == f"{name}.{item.key}"}
