"""corosync.conf as a lossless document: read it, change single lines of it, write it back.

A document is its lines; the tree is read again from them after each change, so the two cannot differ.
"""

from __future__ import annotations

import functools
import re

from pve_corosync.conf.grammar import MAX_LINK, U32, U64, ConfError, Section, Tree, integer, problem, tree

PATH = "/etc/corosync/corosync.conf"
RING = re.compile(r"ring(0|[1-9][0-9]*)_addr\Z")
# what corosync, PVE, pcs and crmsh all read back as one value: printable ASCII, no brace, no comment sign
_VALUE = re.compile(r"[!-\"$-z|~]+\Z")
_KEY = re.compile(r"[A-Za-z0-9_/-]+\Z")


def parse(data: bytes, name: str = PATH) -> Document:
    """Return a corosync.conf as a document, or raise with everything that corosync's parser would refuse.

    :param data: the bytes of the file (or str, one character per byte).
    :param name: how errors call the file.
    :raises ConfError: the parser of corosync 3.1.7 would not take the file.
    """
    return Document(data, name)


def link_number(link) -> int:
    """Return a link number as int; ``"0"`` is taken too, because JSON has no other keys.

    :raises ConfError: not a number from 0 to 7.
    """
    number = integer(str(link), (0, MAX_LINK))
    if number is None or isinstance(link, bool):
        raise ConfError(problem(None, f"link {link!r}: must be a number from 0 to {MAX_LINK}"))
    return number


@functools.lru_cache(maxsize=4096)  # the nodes of a file share their keys
def _link_of(key):
    """Return the link number of a key ``ringN_addr``, None of another key."""
    match = RING.match(key)
    return int(match[1]) if match else None


def pve_number(block: Section) -> str | None:
    """Return the link number that PVE gives an interface block (PVE/Corosync.pm parse_conf), or None.

    :param block: a section ``totem.interface``.
    """
    return block.value("linknumber", block.value("ringnumber"))


def check_value(key: str, value) -> str:
    """Return a value as text, if every reader would read it back as it is.

    :param key: a key, or a path of keys with dots.
    :param value: str or int.
    :raises ConfError: key or value would be refused, or read differently by corosync and PVE.
    """
    text = ""
    if not isinstance(key, str) or not all(_KEY.match(part) for part in key.split(".")):
        text = f"{key!r} is no key: letters, digits, '_', '-' and '/' are allowed"
    elif not isinstance(value, (str, int)) or isinstance(value, bool):
        text = f"'{key}' is {value!r}: must be text or a whole number"
    elif not _VALUE.match(str(value)):
        text = (
            f"'{key}' is {str(value)!r}: corosync and PVE would not read that alike; allowed is one word "
            "of printable ASCII without '{', '}' and '#'"
        )
    if text:
        raise ConfError(problem(None, text))
    return str(value)


def check_values(values: dict, key: str = "") -> dict:
    """Return a dict of values as text, or raise with all that :func:`check_value` refuses.

    :param key: the key that all values are for, where the dict's keys are something else (nodes).
    """
    checked, bad = {}, []
    for name, value in values.items():
        try:
            checked[name] = check_value(key or name, value)
        except ConfError as err:
            bad += err.problems
    if bad:
        raise ConfError(bad)
    return checked


class Document:
    """A corosync.conf that corosync's parser takes; unchanged lines stay byte for byte."""

    def __init__(self, data, name=PATH):
        self.name = name
        text = data if isinstance(data, str) else bytes(data).decode("latin-1")
        self._load(tree(text))

    def _load(self, tree):
        if tree.problems:
            raise ConfError(tree.problems, self.name)
        self._tree = tree

    # ---- reading -------------------------------------------------------------------------------------------

    @property
    def tree(self):
        """The tree that was read from the lines (:class:`.conf.grammar.Tree`)."""
        return self._tree

    @property
    def text(self) -> str:
        """The file as str with one character per byte, the form in which it crosses Salt."""
        return "".join(self._tree.lines)

    def dump(self) -> bytes:
        """Return the file's bytes."""
        return self.text.encode("latin-1")

    def copy(self) -> Document:
        """Return an independent copy."""
        twin = object.__new__(Document)
        twin.name, twin._tree = self.name, self._tree  # a tree never changes: an edit makes a new one
        return twin

    def get(self, path: str, default=None):
        """Return the value that counts for a path such as ``totem.token``: the last one; str, or the default.

        Paths into nodes and links have a position, as in cmap: ``nodelist.node.0.name`` (place in the file),
        ``totem.interface.1.knet_ping_timeout`` (link number).
        """
        found = [item.value for item in self._tree.items if item.path == path]
        if found:
            return found[-1]
        match = re.match(r"(nodelist\.node|totem\.interface)\.(\d+)\.([^.]+)\Z", path)
        if not match:
            return default
        groups = self._nodes() if match[1] == "nodelist.node" else self.interface_blocks()
        return self._merged(groups.get(int(match[2]), [])).get(match[3], default)

    @property
    def version(self) -> int:
        """``totem.config_version`` as corosync reads it; 0 if there is none, as corosync takes it."""
        return integer(self.get("totem.config_version", "0"), U64) or 0

    @property
    def cluster_name(self):
        """``totem.cluster_name``, or None."""
        return self.get("totem.cluster_name")

    def _nodes(self) -> dict:
        """Return the node sections by their position; later nodelists lie over the first."""
        found = {}
        for position, section in self._tree.node_sections:
            found.setdefault(position, []).append(section)
        return found

    def interface_blocks(self) -> dict:
        """Return the interface sections by link number; one without linknumber is link 0."""
        found = {}
        for section in self.sections("totem.interface"):
            link = integer(section.value("linknumber", "0"), (0, 255))
            found.setdefault(link, []).append(section)
        return found

    def sections(self, path: str) -> list:
        """Return the sections of a path such as ``quorum.device``, in file order."""
        found, queue = [], [self._tree.root]
        while queue:
            section = queue.pop(0)
            found += [section] if section.path == path and section is not self._tree.root else []
            queue = section.sections + queue
        return found

    def section_paths(self) -> list:
        """Return the paths of all sections, outer ones first."""
        found, queue = [], list(self._tree.root.sections)
        while queue:
            section = queue.pop(0)
            found.append(section.path)
            queue += section.sections
        return found

    @staticmethod
    def _merged(sections) -> dict:
        return {item.key: item.value for section in sections for item in section.items}

    def node_blocks(self) -> dict:
        """Return {name: (sections, merged keys)}; a node without a name goes by ring0_addr, as in pmxcfs."""
        found = {}
        for position, sections in sorted(self._nodes().items()):
            keys = self._merged(sections)
            found[keys.get("name") or keys.get("ring0_addr") or f"#{position}"] = (sections, keys)
        return found

    def nodes(self) -> dict:
        """Return ``{name: {"nodeid": int, "votes": int, "addresses": {link: address}}}`` in file order.

        A node without a name goes by its ring0_addr, as in pmxcfs; without a nodeid it has 0, which knet
        refuses.
        """
        return {
            row["name"] or row["addresses"].get(0) or f"#{position}": {
                key: row[key] for key in ("nodeid", "votes", "addresses")
            }
            for position, row in zip(sorted(self._nodes()), self.rows())
        }

    def rows(self) -> list:
        """Return ``[{"name": text or None, "nodeid", "votes", "addresses"}]``, also of two with one name."""
        return [
            {
                "name": keys.get("name"),
                "nodeid": integer(keys.get("nodeid", "0"), U32),
                "votes": integer(keys.get("quorum_votes", "1"), U32),
                "addresses": {
                    link: keys[key] for key in sorted(keys) for link in [_link_of(key)] if link is not None
                },
            }
            for keys in (self._merged(sections) for _, sections in sorted(self._nodes().items()))
        ]

    def links(self) -> dict:
        """Return ``{link: {"addresses": {node: address}, "options": {key: value}, "interface": bool}}``.

        ``options`` are the keys of the link's interface blocks without linknumber; ``interface`` tells
        whether there is such a block at all.
        """
        found = {}
        for node, entry in self.nodes().items():
            for link, address in entry["addresses"].items():
                found.setdefault(link, {})[node] = address
        blocks = self.interface_blocks()
        return {
            link: {
                "addresses": found.get(link, {}),
                "options": self._options(blocks.get(link, [])),
                "interface": link in blocks,
            }
            for link in sorted({*found, *blocks})
        }

    def _options(self, sections):
        return {key: value for key, value in self._merged(sections).items() if key != "linknumber"}

    # ---- changing ------------------------------------------------------------------------------------------

    def set(self, path: str, value) -> None:
        """Give a path such as ``totem.token`` a value; only the line that counts changes, or one is added.

        Nodes and links have functions of their own. Setting the value that is there changes nothing.

        :raises ConfError: a value that not all readers would read back as it is; a path into nodes or links.
        """
        value = check_value(path, value)
        self._plain_path(path, 2)
        self._same_kind(path)
        found = [item for item in self._tree.items if item.path == path]
        if found:
            self._replace(found[-1], value)
            return
        head, _, key = path.rpartition(".")
        self._insert_item(self._section_for(head), key, value)

    def remove(self, path: str) -> None:
        """Remove every line of a path such as ``totem.token``, and every section of that path.

        :raises ConfError: a path into nodes or links, which have functions of their own.
        """
        self._plain_path(path, 1)
        self._delete([item for item in self._tree.items if item.path == path] + self.sections(path))

    def set_version(self, version: int) -> None:
        """Set ``totem.config_version`` in every line that has it: pmxcfs takes the first, corosync the last.

        :raises ConfError: not a whole number from 1 to 2^64-1 (corosync and pmxcfs take 0 as "no version").
        """
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= U64[1]:
            raise ConfError(
                problem(None, f"config_version {version!r}: must be a whole number from 1"), self.name
            )
        change = self.copy()
        change.set("totem.config_version", version)
        for place, item in enumerate(change._tree.items):
            if item.path == "totem.config_version":
                change._replace(change._tree.items[place], str(version))
        self._tree = change._tree

    def set_link(self, link, addresses: dict, options: dict) -> None:
        """Give a link these addresses and exactly these options, whether it is there or not.

        A node that goes by its ring0_addr gets that as its name: PVE would rename it with the address, and
        with two links corosync wants a name.

        :param link: 0 to 7.
        :param addresses: ``{node name: address}``, one for every node of the file.
        :param options: ``{corosync.conf key: value}`` such as ``{"knet_link_priority": "10"}``.
        :raises ConfError: a missing or unknown node, a link number or a value that cannot be; nothing is
            changed.
        """
        link = link_number(link)
        self._same_nodes(addresses, f"link {link}")
        change = self.copy()
        key, rows = f"ring{link}_addr", self.nodes()
        given = check_values(addresses, key)
        given = {name: a for name, a in given.items() if rows[name]["addresses"].get(link) != a}
        change._keep_names(given)
        blocks = change.node_blocks()
        change._apply([change._put_edit(blocks[name][0], key, address) for name, address in given.items()])
        change.set_options(link, options)
        self._tree = change._tree

    def set_options(self, link, options: dict) -> None:
        """Give a link one interface block with exactly these options, for corosync and for PVE.

        A missing block is added. Of several blocks that corosync merges one stays, and sections inside it go.

        :param options: as for :meth:`set_link`.
        :raises ConfError: a key or value that cannot be; nothing is changed.
        """
        link = link_number(link)
        change = self.copy()
        wanted = check_values(options)
        if "linknumber" in wanted:
            raise ConfError(
                problem(None, f"link {link}: 'linknumber' is the link itself, no option"), self.name
            )
        wanted["linknumber"] = str(link)
        blocks = change.interface_blocks().get(link, [])
        if not blocks:
            change._insert_block(
                "totem",
                "interface",
                dict(sorted(wanted.items())),
                lambda other: integer(other.value("linknumber", "0"), (0, 255)) > link,
            )
        else:
            kept = next((block for block in blocks if pve_number(block) == str(link)), blocks[-1])
            change._delete(
                [block for block in blocks if block is not kept]
                + kept.sections
                + [item for item in kept.items if item.key not in wanted]
            )
            for key, value in wanted.items():
                change._put(change.interface_blocks()[link], key, value)
        self._tree = change._tree

    def is_plain(self, link: int) -> bool:
        """Tell whether corosync and PVE see the same block of a link, one at most, without sections in it."""
        blocks = self.interface_blocks().get(link, [])
        return len(blocks) < 2 and all(
            pve_number(block) == str(link) and not block.sections for block in blocks
        )

    def remove_link(self, link) -> None:
        """Remove a link: its addresses and its interface blocks; one that is not there is no error."""
        link = link_number(link)
        change = self.copy()
        change._keep_names(name for name, entry in self.nodes().items() if link in entry["addresses"])
        change._delete(
            change.interface_blocks().get(link, [])
            + [
                item
                for sections, _ in change.node_blocks().values()
                for section in sections
                for item in section.items
                if item.key == f"ring{link}_addr"
            ]
        )
        self._tree = change._tree

    def add_node(self, name: str, nodeid: int, addresses: dict, votes: int = 1) -> None:
        """Add a node.

        :param nodeid: 1 to 4294967295, not in use.
        :param addresses: ``{link: address}``, one for every link of the file (any for the first node).
        :raises ConfError: name or nodeid in use, links that do not match; all problems at once.
        """
        nodes, links = self.nodes(), {link for link, entry in self.links().items() if entry["addresses"]}
        given = {link_number(link): address for link, address in addresses.items()}
        bad = []
        if name in nodes:
            bad.append(f"node '{name}' is in the file already")
        if isinstance(nodeid, bool) or integer(str(nodeid), (1, U32[1])) is None:
            bad.append(f"node '{name}': nodeid {nodeid!r} must be a number from 1 to {U32[1]}")
        bad += [
            f"nodeid {nodeid} is that of node '{other}' already"
            for other, entry in nodes.items()
            if str(entry["nodeid"]) == str(nodeid)
        ]
        if nodes and set(given) != links:
            bad.append(f"node '{name}' has addresses for links {sorted(given)}, the file has {sorted(links)}")
        if not given:
            bad.append(f"node '{name}' has no address")
        if bad:
            raise ConfError([problem(None, text) for text in bad], self.name)
        keys = {
            "name": name,
            "nodeid": nodeid,
            "quorum_votes": votes,
            **{f"ring{link}_addr": given[link] for link in sorted(given)},
        }
        self._insert_block(
            "nodelist",
            "node",
            check_values(keys),
            lambda other: (other.value("name") or other.value("ring0_addr", "")) > name,
        )

    def remove_node(self, name: str) -> None:
        """Remove a node; one that is not there is no error."""
        self._delete(self.node_blocks().get(name, ([], {}))[0])

    # ---- checks ------------------------------------------------------------------------------------------

    def _plain_path(self, path, parts):
        """Refuse a path into nodes and links, and one with fewer than so many parts."""
        if path.count(".") + 1 < parts or re.match(r"(nodelist\.node|totem\.interface)(\.|\Z)", path):
            raise ConfError(
                problem(
                    None,
                    f"'{path}': not the path of a plain key such as totem.token; nodes "
                    "and links are changed with the functions for them",
                ),
                self.name,
            )

    def _same_kind(self, path):
        """Refuse a key where a section is, and a section where a key is: PVE takes no such file."""
        bad = [
            problem(section.number, f"'{path}' is a section, not a key") for section in self.sections(path)
        ]
        bad += [
            problem(item.number, f"'{item.path}' is a key, not a section")
            for item in self._tree.items
            if path.startswith(item.path + ".")
        ]
        if bad:
            raise ConfError(bad, self.name)

    def _same_nodes(self, addresses, what):
        names = set(self.nodes())
        bad = [f"{what}: no address for node '{name}'" for name in sorted(names - set(addresses))]
        bad += [
            f"{what}: node '{name}' is not in the file (there are {', '.join(sorted(names)) or 'none'})"
            for name in sorted(set(addresses) - names)
        ]
        if bad:
            raise ConfError([problem(None, text) for text in bad], self.name)

    # ---- lines ---------------------------------------------------------------------------------------------

    def _commit(self, lines):
        self._load(Tree("".join(lines)))

    def _apply(self, edits):
        """Make edits ``(first, last + 1, lines)`` of different places at once: the file is read anew once."""
        lines = list(self._tree.lines)
        for first, end, texts in sorted(edits, key=lambda edit: edit[0], reverse=True):
            lines[first:end] = texts
        if lines != self._tree.lines:
            self._commit(lines)

    def _replace(self, item, value):
        self._apply([self._replace_edit(item, value)])

    def _replace_edit(self, item, value):
        line = self._tree.lines[item.line]
        if item.value != value:
            glue = "" if item.value or line[item.start - 1 : item.start] in (" ", "\t") else " "
            line = line[: item.start] + glue + value + line[item.end :]
        return item.line, item.line + 1, [line]

    def _delete(self, things):
        gone = {index for thing in things for index in range(thing.first, thing.last + 1)}
        if gone:
            self._commit([line for index, line in enumerate(self._tree.lines) if index not in gone])

    def _put(self, sections, key, value):
        self._apply([self._put_edit(sections, key, value)])

    def _put_edit(self, sections, key, value):
        """The edit that sets a key in the last block that has it, else adds it to the last block."""
        found = [item for section in sections for item in section.items if item.key == key]
        if found:
            return self._replace_edit(found[-1], value)
        return self._lines_edit(sections[-1], key, [f"{key}: {value}"])

    def _keep_names(self, names):
        blocks = self.node_blocks()
        self._apply(
            [
                self._put_edit(blocks[name][0], "name", check_value("name", name))
                for name in names
                if not blocks[name][1].get("name") and blocks[name][1].get("ring0_addr")
            ]
        )

    def _section_for(self, path) -> Section:
        """Return the last section of a path, adding it and its parents where missing."""
        found = self.sections(path)
        if found or not path:
            return found[-1] if found else self._tree.root
        head, _, name = path.rpartition(".")
        parent = self._section_for(head)
        if parent is self._tree.root:
            self._append([f"{name} {{", "}"])
        else:
            self._insert_lines(parent, name, [f"{name} {{", "}"])
        return self.sections(path)[-1]

    def _append(self, texts):
        lines = list(self._tree.lines)
        eol = self._eol(lines[0]) if lines else "\n"
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += eol
        spacer = [eol] if lines and lines[-1].strip() else []
        self._commit(lines + spacer + [text + eol for text in texts])

    def _insert_item(self, section, key, value):
        if section is self._tree.root:
            raise ConfError(problem(None, f"'{key}' is outside every section"), self.name)
        self._insert_lines(section, key, [f"{key}: {value}"])

    def _insert_block(self, path, name, keys, after):
        """Insert a block among its like: before the first with ``after`` true, if they are in that order."""
        parent = self._section_for(path)
        unit = self._unit()
        texts = [f"{name} {{", *(f"{unit}{key}: {value}" for key, value in keys.items()), "}"]
        like = [section for section in parent.sections if section.name == name]
        verdicts = [after(section) for section in like]
        if like and verdicts == sorted(verdicts):
            place = verdicts.index(True) if True in verdicts else len(like)
            before = parent.children[: parent.children.index(like[0])]
            start = before[-1].last + 1 if before else parent.first + 1
            edit = self._edit_at(like[place - 1].last + 1 if place else start, like[0], texts)
        elif like:
            edit = self._edit_at(like[-1].last + 1, like[-1], texts)
        else:
            edit = self._lines_edit(parent, name, texts)
        self._apply([edit])

    def _insert_lines(self, section, name, texts):
        self._apply([self._lines_edit(section, name, texts)])

    def _lines_edit(self, section, name, texts):
        """Insert into a section: at the sorted place if it is sorted (as PVE writes), else at its end."""
        children = section.children
        names = [child.key if not isinstance(child, Section) else child.name for child in children]
        place = len(children)
        if names == sorted(names):
            place = sum(other <= name for other in names)
        like = [child for child in children if not isinstance(child, Section)] or children
        at = children[place - 1].last + 1 if place else section.first + 1
        return self._edit_at(at, like[0] if like else None, texts, section)

    def _edit_at(self, at, like, texts, section=None):
        """Insert lines at an index with the indentation and line end of a neighbour."""
        lines = self._tree.lines
        if like is not None:
            indent = self._indent(lines[like.first])
        else:
            indent = self._indent(lines[section.first]) + self._unit()
        eol = self._eol(lines[at - 1]) if at else "\n"
        return at, at, [indent + text + eol for text in texts]

    def _unit(self):
        """Return what one level of indentation is in this file; two blanks where nothing shows it."""
        queue = list(self._tree.root.sections)
        while queue:
            section = queue.pop(0)
            outer = self._indent(self._tree.lines[section.first])
            for item in section.items:
                inner = self._indent(self._tree.lines[item.line])
                return inner[len(outer) :] if inner.startswith(outer) else "  "
            queue += section.sections
        return "  "

    @staticmethod
    def _indent(line):
        return line[: len(line) - len(line.lstrip(" \t"))]

    @staticmethod
    def _eol(line):
        return "\r\n" if line.endswith("\r\n") else "\n"
