"""What PVE's tools have in common: errors, options, the way to pmxcfs, locks (PVE/Cluster.pm)."""

import contextlib
import errno
import json
import os
import re
import socket
import sys
import time

PVE = "/etc/pve"
CONF = f"{PVE}/corosync.conf"
RESTART_FLAG = "/run/pve-cluster/cfs-restart-flag"
RESTART_SECONDS = 10
LOCK_TRIES = 10
NODE_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?")


class Die(Exception):
    """End with an error text on stderr; the status is the errno that perl would have left, or 255."""

    def __init__(self, text, status=255):
        super().__init__(text)
        self.status = status


def run_tool(function, arguments):
    """Run a tool's function and turn its Die into text and exit status."""
    try:
        return function(arguments) or 0
    except Die as error:
        sys.stdout.flush()
        if str(error):
            print(str(error), file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # Nobody reads any more; the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 255


def say(text):
    """Print a line at once."""
    print(text, flush=True)


def nodename():
    """Return this node's short name."""
    return os.uname().nodename.split(".")[0]


def mounted():
    """Tell whether /etc/pve is there and answers."""
    try:
        os.lstat(f"{PVE}/local")
        return os.path.islink(f"{PVE}/local")
    except OSError:
        return False


def connect():
    """Reach pmxcfs as every PVE tool does first, for 10 s while it restarts; without one, end with 111."""
    until = time.monotonic() + RESTART_SECONDS
    while not mounted() and os.path.exists(RESTART_FLAG):
        if time.monotonic() > until:
            os.unlink(RESTART_FLAG)
            break
        time.sleep(0.1)
    if not mounted():
        lines = [f"ipcc_send_rec[{n}] failed: Connection refused" for n in (1, 2, 3)]
        lines.append("Unable to load access control list: Connection refused")
        raise Die("\n".join(lines), errno.ECONNREFUSED)
    if os.getuid():
        raise Die("please run as root")


def quorate():
    """Ask what PVE asks: may the owner write through /etc/pve/local?"""
    try:
        return bool(os.lstat(f"{PVE}/local").st_mode & 0o200)
    except OSError:
        return False


def need_quorum():
    """End when this node is not quorate."""
    if not quorate():
        raise Die("cluster not ready - no quorum?")


def in_cluster():
    """End with 2 when this node belongs to no cluster."""
    if not os.path.exists(CONF):
        raise Die(
            f"Error: Corosync config '{CONF}' does not exist - is this node part of a cluster?", errno.ENOENT
        )


def members():
    """Return the parsed .members."""
    with open(f"{PVE}/.members", encoding="utf-8") as file:
        return json.load(file)


def remote_node_ip(node):
    """Return where PVE's ssh to a node goes: its `ip` in .members, else what the own resolver says."""
    address = members().get("nodelist", {}).get(node, {}).get("ip")
    if address:
        return address
    try:
        found = socket.getaddrinfo(node, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Die(
            f"hostname lookup '{node}' failed - failed to get address info for: {node}: {error.strerror}"
        ) from error
    return found[0][4][0]


def read_text(path, default=""):
    """Return a file's text, or the default when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return default


def write_text(path, text):
    """Replace a file through a rename, as PVE does."""
    temporary = f"{path}.tmp.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Die(f"unable to open file '{temporary}' - {error.strerror}", error.errno) from error


@contextlib.contextmanager
def cfs_lock(name, quiet=False, prefix=""):
    """Hold a cluster lock: a folder that only one node can make. Without quorum, end with 13 after 10 s."""
    path = f"{PVE}/priv/lock/{name}"
    problem = None
    for attempt in range(LOCK_TRIES):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path)
            problem = None
            break
        except OSError as error:
            problem = error
        if attempt < LOCK_TRIES - 1 and not quiet:
            print(f"trying to acquire cfs lock '{name}' ...", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            os.utime(path, (0, 0))
        time.sleep(1)
    if problem is not None:
        reason = "got lock request timeout" if quorate() else "no quorum!"
        raise Die(f"{prefix}cfs-lock '{name}' error: {reason}", problem.errno)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def options(arguments, known, usage, positional=()):
    """Split arguments as PVE's tools do (`--name value`, `--name=value`, `-name`); returns {name: value}.

    known: {name: True for a flag, False with a value}; positional: the names of the words in their order.
    """
    found, words, rest = {}, [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found["extra-args"] = rest
            break
        match = re.fullmatch(r"--?([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if not match:
            words.append(word)
            continue
        name, value = match[1].replace("-", "_"), match[2]
        if name not in known:
            raise Die(f"Unknown option: {match[1]}\n400 unable to parse option\n{usage}")
        if known[name]:
            if value is None and rest and rest[0] in ("0", "1"):
                value = rest.pop(0)
            found[name] = value != "0"
        elif value is None and not rest:
            raise Die(f"Option {match[1]} requires an argument\n400 unable to parse option\n{usage}")
        else:
            found[name] = value if value is not None else rest.pop(0)
    if len(words) < len(positional):
        raise Die(f"400 not enough arguments\n{usage}")
    if len(words) > len(positional):
        raise Die(f"400 too many arguments\n{usage}")
    found.update(zip(positional, words))
    return found


def invalid(parameter, problem, usage):
    """Return the Die for a bad parameter."""
    return Die(f"400 Parameter verification failed.\n{parameter}: {problem}\n{usage}")
