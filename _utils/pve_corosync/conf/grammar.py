"""The grammar of corosync.conf, as the corosync daemon reads it.

Source of every rule: corosync 3.1.7, ``exec/coroparse.c`` (reader, typed keys) and ``exec/icmap.c`` (key
names).
"""

from __future__ import annotations

import functools
import re

MAX_LINE = 511  # what fgets takes into a buffer of 512 bytes, the line end included
KEYNAME_MAX = 255
MAX_LINK = 7

U8, U16, U32, I32 = (0, 255), (0, 65535), (0, 4294967295), (-2147483648, 2147483647)
U64 = (0, 18446744073709551615)

_TOTEM_U32 = """version nodeid threads token token_coefficient token_retransmit token_warning hold
    token_retransmits_before_loss_const join send_join consensus merge downcheck fail_recv_const
    seqno_unchanged_const rrp_token_expired_timeout rrp_problem_count_timeout rrp_problem_count_threshold
    rrp_problem_count_mcast_threshold rrp_autorecovery_check_timeout heartbeat_failures_allowed
    max_network_delay window_size max_messages miss_count_const knet_pmtud_interval knet_mtu
    knet_compression_threshold netmtu""".split()
_QUORUM_U8 = """two_node expected_votes_tracking allow_downscale wait_for_all auto_tie_breaker
    last_man_standing""".split()

# state -> path or key -> range; states are named after the section that starts them
TYPED_PATHS = {
    "totem": {
        **{f"totem.{key}": U32 for key in _TOTEM_U32},
        "totem.knet_compression_level": I32,
        "totem.config_version": U64,
    },
    "quorum": {
        **{
            f"quorum.{key}": U32
            for key in ("expected_votes", "votes", "last_man_standing_window", "leaving_timeout")
        },
        **{f"quorum.{key}": U8 for key in _QUORUM_U8},
    },
    "quorum.device": {
        "quorum.device.timeout": U32,
        "quorum.device.sync_timeout": U32,
        "quorum.device.votes": U32,
        "quorum.device.master_wins": U8,
    },
    "totem.interface": {
        f"totem.interface.{key}": bounds
        for key, bounds in {
            "linknumber": U8,
            "mcastport": U16,
            "ttl": U8,
            "knet_link_priority": U8,
            "knet_ping_interval": U32,
            "knet_ping_timeout": U32,
            "knet_ping_precision": U32,
            "knet_pong_count": U32,
        }.items()
    },
}
TYPED_KEYS = {
    "nodelist.node": {"nodeid": U32, "quorum_votes": U32},
    "resources": {"watchdog_timeout": U32},
    "resources.system": {"poll_period": U64},
    "resources.system.memory_used": {"poll_period": U64},
    "resources.process": {"poll_period": U64},
    "resources.process.memory_used": {"poll_period": U64},
}
CHOICES = {
    "totem": {
        "totem.ip_version": ("ipv4", "ipv6", "ipv6-4", "ipv4-6"),
        "totem.crypto_model": ("nss", "openssl"),
        "totem.crypto_cipher": ("none", "aes256", "aes192", "aes128"),
        "totem.crypto_hash": ("none", "md5", "sha1", "sha256", "sha384", "sha512"),
        "totem.knet_compression_model": ("zlib", "lz4", "lz4hc", "lzo2", "lzma", "bzip2", "zstd"),
    },
    "system": {
        "system.qb_ipc_type": ("native", "shm", "socket"),
        "system.sched_rr": ("yes", "no"),
        "system.move_to_root_cgroup": ("yes", "no", "auto"),
        "system.allow_knet_handle_fallback": ("yes", "no"),
    },
}
STATES = frozenset(
    """totem system logging.logger_subsys logging.logging_daemon uidgid totem.interface
    totem.interface.member quorum quorum.device nodelist nodelist.node resources resources.system
    resources.system.memory_used resources.process resources.process.memory_used""".split()
)

_NAME = re.compile(r"[A-Za-z0-9._/:-]*\Z")
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)\Z")


def problem(line, text, reader="corosync"):
    """Return one problem as plain data: line number or None, what is wrong, which program minds."""
    return {"line": line, "text": text, "reader": reader}


class ConfError(ValueError):
    """A corosync.conf, or a change of one, that a reader would refuse; ``.problems`` lists all of them."""

    def __init__(self, problems, name="corosync.conf"):
        self.problems = [problems] if isinstance(problems, dict) else list(problems)
        super().__init__(
            "; ".join(
                f"{name}{':' + str(p['line']) if p['line'] else ''}: {p['text']} ({p['reader']})"
                for p in self.problems
            )
        )


class Item:
    """One ``key: value`` line: its index, its number for people, where in it the value starts and ends."""

    def __init__(self, path, key, value, line, span, parent):
        self.path, self.key, self.value, self.line, self.parent = path, key, value, line, parent
        self.start, self.end = span
        self.number = line + 1
        self.first = self.last = line


class Section:
    """One section with its children in file order; ``first`` and ``last`` are line indices."""

    def __init__(self, name, path, first, parent, state):
        self.name, self.path, self.first, self.parent, self.state = name, path, first, parent, state
        self.last = first
        self.number = first + 1
        self.children = []

    @property
    def items(self):
        """The ``key: value`` lines directly inside, in file order."""
        return [child for child in self.children if isinstance(child, Item)]

    @property
    def sections(self):
        """The sections directly inside, in file order."""
        return [child for child in self.children if isinstance(child, Section)]

    def value(self, key, default=None):
        """Return the value of a key of this block, the last one if there are several."""
        found = [item.value for item in self.items if item.key == key]
        return found[-1] if found else default


def split_lines(data: str) -> list:
    """Cut a file where corosync's line buffer cuts it; joined again the pieces are the file."""
    pieces = []
    for line in data.split("\n"):
        line += "\n"
        pieces += [line[at : at + MAX_LINE] for at in range(0, len(line), MAX_LINE)]
    pieces[-1] = pieces[-1][:-1]  # the last piece has no line end of its own
    return pieces if pieces[-1] else pieces[:-1]


@functools.lru_cache(maxsize=4096)
def integer(text: str, bounds):
    """Return the number that corosync makes of a value, or None if it refuses it.

    :param bounds: (lowest, highest); for :data:`U64` a minus sign wraps around, as strtoull does.
    """
    match = _INTEGER.match(text)
    if not match:
        return None
    number = int(match[2])
    if bounds == U64:
        if number > U64[1]:
            return None
        return -number % (U64[1] + 1) if match[1] == "-" else number
    number = -number if match[1] == "-" else number
    return number if bounds[0] <= number <= bounds[1] else None


@functools.lru_cache(maxsize=8192)  # the files of a plan share nearly all their lines
def content_of(piece: str) -> str:
    """Return what corosync sees of a line: up to a NUL, without line end and trailing blanks."""
    text = piece.split("\0", 1)[0]
    if text.endswith("\n"):
        text = text[:-1]
    if text.endswith("\r"):
        text = text[:-1]
    return text.rstrip(" \t")


@functools.lru_cache(maxsize=8192)
def _limits(state, path, key):
    """Return the bounds of a value and the words that are allowed for it, None for what has none."""
    bounds = TYPED_PATHS.get(state, {}).get(path) or TYPED_KEYS.get(state, {}).get(key)
    return bounds, CHOICES.get(state, {}).get(path)


@functools.lru_cache(maxsize=8192)
def _can_be_stored(path):
    """Tell whether corosync stores a key under this name."""
    return len(path) >= 3 and bool(_NAME.match(path))


@functools.lru_cache(maxsize=8192)
def _seen(piece):
    """Return whether corosync sees the end of a line, its content, and what it is: one of ``{:}?``, "" of a
    line that says nothing."""
    visible, text = piece.split("\0", 1)[0], content_of(piece)
    bare = text.strip(" \t")
    mark = next((mark for mark in "{:}" if mark in text), "?") if bare and not bare.startswith("#") else ""
    return not visible or visible.endswith("\n"), text, mark


def _name_of(text):
    """Strip a name the way corosync does: blanks, then closing colons and braces, but never the first one."""
    text = text.lstrip(" \t")
    return text[:1] + text[1:].rstrip(" \t:{")


def _cut(text, mark):
    """Split at the first mark: what precedes (one byte short if blanks follow), what follows, its offset."""
    at = text.index(mark) + 1
    while at < len(text) and text[at] in " \t":
        at += 1
    return text[: at - 1], text[at:], at


@functools.lru_cache(maxsize=8192)
def _key_and_value(text):
    """Return key, value, and where the value stands, of a line with a colon."""
    before, value, at = _cut(text, ":")
    return _name_of(before), value, (at, at + len(value))


class Tree:
    """What corosync makes of a file: sections, nodes by position, interfaces by link, every problem."""

    def __init__(self, data: str):
        self.lines = split_lines(data)
        self.problems = []
        self.root = Section("", "", -1, None, "")
        self.items = []
        self.node_sections = []  # (position, Section)
        self._at = self.root
        self._node = 0
        self._overlong = False
        self._number = 1
        for index, piece in enumerate(self.lines):
            self._line(index, piece)
            self._number += piece.endswith("\n")
        if self._at is not self.root:
            self._number -= self.lines[-1].endswith("\n")
            self._bad(f"section '{self._at.path}' is not closed: '}}' missing")
        self.root.last = len(self.lines)

    def _bad(self, text):
        self.problems.append(problem(self._number, text))

    def _line(self, index, piece):
        ended, text, mark = _seen(piece)
        if self._overlong:  # corosync stopped at the overlong line; what is left of it is no line
            self._overlong = not piece.endswith("\n")
            return
        if not ended and not (
            index == len(self.lines) - 1 and not piece.endswith("\n") and len(piece) < MAX_LINE
        ):
            self._overlong = not piece.endswith("\n")
            self._bad("line longer than 510 bytes" if "\0" not in piece else "NUL byte in the line")
            return
        if mark == ":":
            self._item(index, text)
        elif mark == "{":
            self._open(index, text)
        elif mark == "}":
            self._close(index, text)
        elif mark:
            self._bad(f"'{text.strip()}' is neither a section, a 'key: value' nor a closing brace")

    def _open(self, index, text):
        before, after, _ = _cut(text, "{")
        name = _name_of(before)
        path = f"{self._at.path}.{name}" if self._at.path else name
        if not name:
            self._bad("'{' without a section name before it")
        elif after:
            self._bad(
                f"'{after}' after the opening brace of section '{name}'"
                " (a '{' anywhere opens a section, in a value too)"
            )
            if "}" in after or ":" in before:
                return
        elif len(self._at.path) + len(name) + 1 >= KEYNAME_MAX:
            self._bad(f"the path of section '{name[:40]}' is longer than {KEYNAME_MAX} bytes")
        section = Section(name, path, index, self._at, path if path in STATES else self._at.state)
        if path == "nodelist":
            self._node = 0
        section.number = self._number
        self._at.children.append(section)
        self._at = section

    def _close(self, index, text):
        if text.strip(" \t") != "}":
            self._bad(f"'{text.strip()}': a closing brace stands alone on its line")
            return
        section = self._at
        if section is self.root:
            self._bad("closing brace without an open section")
            return
        section.last = index
        if section.state in ("logging.logger_subsys", "logging.logging_daemon"):
            self._logger(section)
        elif section.state == "nodelist.node":
            if section.path == "nodelist.node":
                self.node_sections.append((self._node, section))
            self._node += 1
        self._at = section.parent

    def _logger(self, section):
        wanted = ("subsys",) if section.state == "logging.logger_subsys" else ("name", "subsys")
        if section.value(wanted[0]) is None:
            self._bad(f"section '{section.path}' has no '{wanted[0]}'")
            return
        middle = [section.value(key) for key in wanted if section.value(key) is not None]
        names = [item.key for item in section.items if item.key not in wanted] or [""]
        for name in names:
            self._name(".".join([section.path, *middle, name])[: KEYNAME_MAX - 1])

    def _item(self, index, text):
        key, value, place = _key_and_value(text)
        if len(self._at.path) + len(key) + 1 >= KEYNAME_MAX:
            self._bad(f"the path of key '{key[:40]}' is longer than {KEYNAME_MAX} bytes")
            return
        path = f"{self._at.path}.{key}" if self._at.path else key
        item = Item(path, key, value, index, place, self._at)
        item.number = self._number
        self._at.children.append(item)
        self.items.append(item)
        self._value(item)

    def _value(self, item):
        state, path, key, value = item.parent.state, item.path, item.key, item.value
        bounds, allowed = _limits(state, path, key)
        if bounds and integer(value, bounds) is None:
            self._bad(
                f"'{path}' is '{value}', must be a whole number from {bounds[0]} to {bounds[1]}"
                + (" (corosync before 3.1.10 aborts on this)" if bounds == U64 else "")
            )
        elif allowed and value not in allowed:
            self._bad(f"'{path}' is '{value}', must be one of {', '.join(allowed)}")
        elif state == "uidgid":
            if key not in ("uid", "gid"):
                self._bad(f"'{key}' in section 'uidgid': only uid and gid are allowed")
            elif not value or integer(value, (0, 4294967294)) is None and integer(value, U64) is not None:
                self._bad(f"'{path}' is '{value}', must be a name or a number from 0 to 4294967294")
        elif state == "totem.interface.member" and key != "memberaddr":
            self._bad(f"'{key}' in section 'totem.interface.member': only memberaddr is allowed")
        elif bounds or state in ("totem.interface.member", "logging.logger_subsys", "logging.logging_daemon"):
            return
        elif state == "nodelist.node":
            self._name(f"nodelist.node.{self._node}.{key}"[: KEYNAME_MAX - 1])
        else:
            self._name(path)

    def _name(self, path):
        """Check what corosync stores under: at least three characters, all of them from its set."""
        if not _can_be_stored(path):
            self._bad(
                f"corosync cannot store a key under the name '{path}': "
                "3 to 255 characters of A-Z a-z 0-9 . _ / : -"
            )


@functools.lru_cache(maxsize=16)
def tree(data: str) -> Tree:
    """Return the tree of a file; one that was read a moment ago is not read again, for trees never change.

    :param data: the file, one character per byte.
    """
    return Tree(data)
