"""Where the readers of corosync.conf (corosync, PVE, pmxcfs) refuse a file or read it in different ways.

Sources: corosync ``exec/coroparse.c`` and ``exec/totemconfig.c``, PVE/Corosync.pm (parse_conf,
verify_conf), pmxcfs ``cfs-utils.c``. A file without problems is in the intersection of all three.
"""

from __future__ import annotations

import functools
import re

from pve_corosync.conf.document import RING, Document, pve_number
from pve_corosync.conf.grammar import MAX_LINK, U64, Item, content_of, problem
from pve_corosync.conf.grammar import tree as tree_of

_VERSION = re.compile(rb"config_version\s*:\s*(\d+)")
_BLANK = re.compile(r"[ \t\n\r\f\v]+")
# sections in which a section of one's own is an error from corosync 3.1.10 on, or breaks earlier ones
_CLOSED = (
    "nodelist.node",
    "totem.interface",
    "totem.interface.member",
    "uidgid",
    "logging.logger_subsys",
    "logging.logging_daemon",
)


def pmxcfs_version(data: bytes) -> int:
    """Return the config_version that pmxcfs sees: the first match in the text, in a comment too; 0 if none.

    With 0 pmxcfs ignores the file.
    """
    match = _VERSION.search(data if isinstance(data, bytes) else data.encode("latin-1"))
    return min(int(match[1]), U64[1]) if match else 0


def lint(data: bytes) -> list:
    """Return everything that a reader of a file would refuse, or read in another way than the others.

    Not looked at: what depends on the node (addresses, keys); ``corosync -t`` on each node does that.

    :param data: bytes, or str with one character per byte.
    :returns: list of ``{"line": number | None, "text": what and why, "reader": "corosync" | "PVE" |
        "pmxcfs"}`` in order of lines; empty if all readers take the file and read it alike.
    """
    raw = data if isinstance(data, bytes) else data.encode("latin-1")
    return [dict(entry) for entry in _lint(raw)]


@functools.lru_cache(maxsize=16)
def _lint(raw):
    tree = tree_of(raw.decode("latin-1"))
    found = [*tree.problems, *_bytes(raw), *_words(tree), *_shape(tree), *_pmxcfs(raw, tree)]
    if not tree.problems:
        document = Document(raw)
        found += [*_start(document), *_links(document), *_pve_links(document)]
    return sorted(found, key=lambda entry: (entry["line"] is None, entry["line"] or 0))


def _bytes(raw):
    """What depends on single bytes."""
    found = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if b"\0" in line:
            found.append(problem(number, "NUL byte: corosync reads the line up to it, PVE all of it"))
        if b"\xa0" in line and not line.lstrip(b" \t").startswith(b"#"):
            found.append(problem(number, "byte 0xA0: a blank for corosync from 3.1.8 on, not for 3.1.7"))
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            found.append(problem(number, "not UTF-8, but pmxcfs searches the text as UTF-8", "pmxcfs"))
    return found


def _words(tree):
    """Compare each line as corosync reads it with the words that PVE makes of it."""
    found, queue = [], [tree.root]
    while queue:
        section = queue.pop(0)
        for child in section.children:
            if not isinstance(child, Item) and not child.name:
                continue
            text = content_of(tree.lines[child.first])
            words = [word for word in _BLANK.split(text.split("#", 1)[0]) if word]
            reason = _item(child, text, words) if isinstance(child, Item) else _header(child, text, words)
            found += [problem(child.number, reason, "PVE")] if reason else []
        queue += section.sections
    return found


def _item(item, text, words):
    if words == [f"{item.key}:", item.value]:
        return ""
    name = f"'{item.key}'"
    if "#" in text:
        seen = " ".join(words[1:])
        return f"{name}: PVE takes what follows '#' as a comment and reads '{seen}', corosync '{item.value}'"
    if not item.value:
        return f"{name} has no value: PVE takes the next word of the file for it"
    if words[:1] != [f"{item.key}:"]:
        return (
            f"'{text.strip()}': PVE wants a key without blanks, the colon right after it, then a blank, "
            "as in 'key: value'"
        )
    return f"{name}: the value '{item.value}' has blanks, PVE takes one word"


def _header(section, text, words):
    if words == [section.name, "{"]:
        return ""
    return f"'{text.strip()}': PVE wants a name, a blank and the brace, as in 'totem {{'"


def _shape(tree):
    """What sections do to each other."""
    queue = [tree.root]
    while queue:
        section = queue.pop(0)
        yield from _twice(section)
        for child in section.children:
            name, is_item = (child.key, True) if isinstance(child, Item) else (child.name, False)
            if "." in name and (not is_item or section is tree.root):
                yield problem(
                    child.number,
                    f"'{name}': corosync takes the dot for a section in a section, PVE for part of the name",
                    "PVE",
                )
            if not is_item and section.path in _CLOSED and child.path != "totem.interface.member":
                aborts = section.path == "totem.interface" and section.value("knet_transport")
                yield problem(
                    child.number,
                    f"a section in '{section.path}': corosync 3.1.10 refuses it or "
                    "reads it differently from versions before"
                    + (", 3.1.7 aborts on it beside knet_transport" if aborts else ""),
                )
        queue += section.sections


def _twice(section):
    """Sections that PVE does not take a second time, and keys that are sections too."""
    seen = {}
    for child in section.children:
        name, is_item = (child.key, True) if isinstance(child, Item) else (child.name, False)
        kinds = seen.setdefault(name, set())
        many = name in ("node", "interface") and True not in kinds
        if (not is_item and kinds and not many) or (is_item and False in kinds):
            yield problem(
                child.number,
                f"'{name}' is there already in '{section.path or 'the file'}': "
                "corosync takes both, PVE refuses that",
                "PVE",
            )
        kinds.add(is_item)


def _pmxcfs(raw, tree):
    """Whether pmxcfs finds the version that corosync reads."""
    items = [item for item in tree.items if item.path == "totem.config_version"]
    match = _VERSION.search(raw)
    if not match:
        yield problem(
            items[-1].number if items else None,
            "no 'config_version: <number>' that pmxcfs could find: it ignores the file",
            "pmxcfs",
        )
        return
    line, seen = raw.count(b"\n", 0, match.start()) + 1, match[1].decode()
    if not items or items[-1].number != line or items[-1].value.lstrip("0") != seen.lstrip("0"):
        real = f"'{items[-1].value}' in line {items[-1].number}" if items else "none"
        yield problem(
            line,
            f"pmxcfs takes the first 'config_version: {seen}' in the text, corosync reads {real}",
            "pmxcfs",
        )


def _start(document):
    """What corosync refuses when it starts, though its parser takes it."""
    for path, default, allowed in (
        ("totem.version", "missing", ("2",)),
        ("totem.transport", "knet", ("knet", "udpu", "udp")),
        ("totem.link_mode", "passive", ("passive", "active", "rr")),
    ):
        value = document.get(path, default)
        if value not in allowed:
            line = max((item.number for item in document.tree.items if item.path == path), default=None)
            yield problem(line, f"'{path}' is {value}, must be {' or '.join(allowed)}")
    blocks, ids = document.node_blocks(), {}
    if not blocks:
        yield problem(None, "no node in the nodelist")
    if len(blocks) < len({position for position, _ in document.tree.node_sections}):
        yield problem(None, "two nodes have the same name: PVE keeps only the last", "PVE")
    for name, node in document.nodes().items():
        ids.setdefault(node["nodeid"], []).append(name)
        if not node["nodeid"]:
            yield problem(blocks[name][0][-1].number, f"node '{name}' has no nodeid, knet needs one from 1")
    for nodeid, names in ids.items():
        if nodeid and len(names) > 1:
            yield problem(None, f"nodes {', '.join(names)} have the same nodeid {nodeid}")


def _links(document):
    """Addresses and interface blocks, as corosync sees them when it starts."""
    nodes = document.node_blocks()
    for name, (sections, _) in nodes.items():
        for item in (item for section in sections for item in section.items):
            ring = RING.match(item.key)
            if re.match(r"(ring|link)\d+_addr\Z", item.key) and (not ring or int(ring[1]) > MAX_LINK):
                yield problem(item.number, f"'{item.key}': links are ring0_addr to ring{MAX_LINK}_addr")
            elif ring and not item.value:
                yield problem(item.number, f"node '{name}': '{item.key}' has no address")
    addresses = {name: set(entry["addresses"]) for name, entry in document.nodes().items()}
    every = set().union(*addresses.values())
    for name, (sections, keys) in nodes.items():
        missing = ", ".join(map(str, sorted(every - addresses[name])))
        if missing:
            yield problem(
                sections[-1].number, f"node '{name}' has no address for link {missing}, others have"
            )
        if len(every) > 1 and not keys.get("name"):
            yield problem(
                sections[-1].number, f"node '{name}' has no 'name': with two links or more corosync wants one"
            )
    for link, sections in document.interface_blocks().items():
        if link not in every and any(section.value("bindnetaddr") for section in sections):
            yield problem(
                sections[-1].number,
                f"'bindnetaddr' for link {link}, for which no node has an "
                "address: corosync refuses to start with that",
            )


def _pve_links(document):
    """Interface blocks as PVE sees them: by linknumber, else by ringnumber (PVE/Corosync.pm)."""
    blocks, seen, told = document.interface_blocks(), {}, set()
    for link, sections in blocks.items():
        for section in sections:
            number = pve_number(section)
            seen.setdefault(number, []).append(section)
            if number != str(link):
                told |= {str(link), number}
                yield problem(
                    section.number,
                    f"interface block for link {link} in the eyes of corosync, for "
                    f"link {number or 'none'} in those of PVE: set linknumber",
                    "PVE",
                )
    for number, sections in seen.items():
        for section in sorted(sections, key=lambda one: one.number)[1:]:
            yield problem(
                section.number,
                f"second interface block for link {number or 'none'}: PVE keeps only the last",
                "PVE",
            )
    links = {link for link, entry in document.links().items() if entry["addresses"] and link <= MAX_LINK}
    for link in sorted(links) if blocks else ():
        if str(link) not in told.union(seen):
            yield problem(
                None,
                f"link {link} has addresses but no interface block, other links have: PVE "
                "refuses to add a node",
                "PVE",
            )
    for link in sorted({*range(MAX_LINK + 1)} - links):
        if str(link) in seen and str(link) not in told:
            yield problem(
                seen[str(link)][-1].number,
                f"interface block for link {link}, but no node has an "
                "address for it: PVE refuses to add a node",
                "PVE",
            )
