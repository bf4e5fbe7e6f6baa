"""corosync.conf in the canonical form of PVE, so that PVE's next rewrite changes nothing but the version."""

from __future__ import annotations

import difflib

from pve_corosync.conf.document import PATH, Document, check_value, check_values, link_number, parse
from pve_corosync.conf.grammar import ConfError, problem

_TOTEM = {"ip_version": "ipv4-6", "link_mode": "passive", "secauth": "on", "version": "2"}


def _write(section: dict, indent: str = "") -> list:
    """Return the lines of a section: keys sorted, two blanks a level, a blank line after a top section."""
    lines = []
    for key, value in sorted(section.items()):
        for block in value if isinstance(value, list) else [value]:
            if isinstance(block, dict):
                lines += [f"{indent}{key} {{", *_write(block, indent + "  "), f"{indent}}}"]
                lines += [] if indent else [""]
            else:
                lines.append(f"{indent}{key}: {block}")
    return lines


def _bytes(tree: dict) -> bytes:
    data = "".join(f"{line}\n" for line in _write(tree)).encode("latin-1")
    parse(data)
    return data


def render(cluster_name: str, nodes: dict, links: dict, version: int, totem: dict | None = None) -> bytes:
    """Return a fresh corosync.conf in PVE's form (source: PVE/Corosync.pm, write_conf and the create call).

    :param nodes: ``{name: {"nodeid": int, "votes": int (1)}}``.
    :param links: ``{link: {"addresses": {name: address}, "options": {key: value}}}``.
    :param version: config_version, from 1.
    :param totem: further keys of the totem section, over PVE's defaults; None as value leaves a default out.
    :raises ConfError: a value, node or link that the file cannot hold.
    """
    extra = {key: value for key, value in {**_TOTEM, **(totem or {})}.items() if value is not None}
    document = Document(
        _bytes(
            {
                "logging": {"debug": "off", "to_syslog": "yes"},
                "quorum": {"provider": "corosync_votequorum"},
                "totem": check_values({"cluster_name": cluster_name, **extra}),
            }
        ),
        "new corosync.conf",
    )
    for name in sorted(nodes):
        addresses = {
            link: entry["addresses"][name] for link, entry in links.items() if name in entry["addresses"]
        }
        document.add_node(name, nodes[name]["nodeid"], addresses, nodes[name].get("votes", 1))
    for link in sorted(links, key=link_number):
        document.set_link(link, links[link]["addresses"], links[link].get("options") or {})
    document.set_version(version)
    return normalise(document.dump())


def _tree_of(document: Document) -> dict:
    """Return what corosync makes of a file as nested dicts, nodes and interfaces as lists in PVE's order."""
    tree: dict = {"nodelist": {}, "totem": {}}
    queue = [(document.tree.root, tree)]
    while queue:
        section, target = queue.pop(0)
        target.update({item.key: item.value for item in section.items})
        queue += [
            (child, target.setdefault(child.name, {}))
            for child in section.sections
            if child.path not in ("nodelist.node", "totem.interface")
        ]
    tree["nodelist"]["node"] = [keys for _, (_, keys) in sorted(document.node_blocks().items())]
    tree["totem"]["interface"] = [
        {
            **{key: value for key, value in entry["options"].items() if key != "ringnumber"},
            "linknumber": str(link),
        }
        for link, entry in document.links().items()
    ]
    return tree


def _unwritable(document: Document) -> list:
    """Return what cannot be put into a form that PVE reads as corosync does."""
    found, queue = [], [document.tree.root]
    while queue:
        section = queue.pop(0)
        queue += section.sections
        for item in section.items:
            try:
                check_value(item.key.replace(".", "/"), item.value)
            except ConfError as err:
                found += [{**entry, "line": item.number} for entry in err.problems]
            if "." in item.key or item.key in [child.name for child in section.sections]:
                found.append(
                    problem(item.number, f"key '{item.key}': PVE keeps no section of the same path", "PVE")
                )
        found += [
            problem(
                child.number,
                f"section '{child.name}' inside '{section.path}' has no place in PVE's form",
                "PVE",
            )
            for child in section.sections
            if section.path in ("nodelist.node", "totem.interface")
        ]
    for path in ("uidgid", "logging.logger_subsys", "logging.logging_daemon"):
        found += [
            problem(
                section.number, f"second section '{path}': PVE knows only one, corosync needs both", "PVE"
            )
            for section in document.sections(path)[1:]
        ]
    if len(document.nodes()) < len({position for position, _ in document.tree.node_sections}):
        found.append(problem(None, "two nodes have the same name", "PVE"))
    return found


def normalise(data: bytes) -> bytes:
    """Return the file in PVE's form with the meaning it has for corosync; all readers read that alike.

    Comments go, as PVE itself would drop them; sections are merged, sorted and indented by two blanks;
    every link gets an ``interface`` block.

    :raises ConfError: corosync refuses the file, or a value or section cannot be written so that PVE reads
        it alike.
    """
    document = parse(data)
    bad = _unwritable(document)
    if bad:
        raise ConfError(bad)
    return _bytes(_tree_of(document))


def diff(old: bytes, new: bytes, name: str = PATH) -> str:
    """Return the unified diff of two files as text (one character per byte), empty if they are equal.

    :param old: bytes or str; so is ``new``. A missing final line end shows as in diff(1).
    """
    sides = [side if isinstance(side, str) else side.decode("latin-1") for side in (old, new)]
    before, after = ([line + "\n" for line in side.split("\n")] for side in sides)
    for lines in (before, after):
        last = lines.pop()[:-1]
        lines += [f"{last}\n\\ No newline at end of file\n"] if last else []
    return "".join(difflib.unified_diff(before, after, f"{name} (old)", f"{name} (new)"))
