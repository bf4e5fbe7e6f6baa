"""The screens of docs/screens.md, made anew: its commands are typed in a lab, and what they print is kept.

A block of code begins with what is typed, `master# salt-run …`. Between the blocks a comment says what
becomes of the lab, with the words of its command line: `<!-- lab: cut vrack -->`. Where a block has a line
`…`, only as many lines as it has before or after that are kept.
"""

import argparse
import datetime
import re
import shlex
import sys
from pathlib import Path

from lab.cluster import Lab, wait_for
from lab.shell import LabError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "screens.md"
MORE = "…"
#: a comment for the lab, or a block: machine, command, screen.
PART = re.compile(r"<!-- lab: (?P<act>.+?) -->|```\n(?P<on>\w+)# (?P<typed>.+)\n(?P<screen>(?:.*\n)*?)```\n")
RECORDED = re.compile(r"\d{4}-\d\d-\d\d \(Debian \d+, Corosync [\d.]+, Salt \d+\)")
PATIENCE = 400


def kept(screen, before):
    """Return of a screen what the page shows of it.

    before
        the screen that the page had: how much of it stood before or after a line `…`
    """
    lines, old = screen.rstrip("\n").split("\n"), before.rstrip("\n").split("\n")
    if MORE not in old or before == "":
        return screen.rstrip("\n") + "\n"
    head = old.index(MORE)
    tail = len(old) - head - 1
    return "\n".join([*lines[:head], MORE, *(lines[-tail:] if tail else ())]) + "\n"


def act(lab, words):
    """Do to the lab what a comment says."""
    name, *rest = words
    if name == "cut":
        lab.cut(*rest)
        if len(rest) == 1:
            wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="the nodes to lose quorum")
    elif name == "heal":
        lab.heal()
        wait_for(lambda: all(map(lab.connected, lab.nodes)), 60, what="all links to come back")
    elif name == "reset":
        lab.reset(force=True)
        lab.wait_minions()
    elif name == "exec":
        lab.exec(rest[0], rest[1:], timeout=PATIENCE)
    else:
        raise LabError(f"docs/screens.md: there is no act {name!r}; there are: cut, heal, reset, exec")


def made(lab, text):
    """Return the page with what its commands print now."""

    def part(found):
        if found["act"]:
            print(f"lab: {found['act']}", flush=True)
            act(lab, shlex.split(found["act"]))
            return found[0]
        print(f"{found['on']}# {found['typed']}", flush=True)
        done = lab.exec(found["on"], shlex.split(found["typed"]), timeout=PATIENCE)
        return f"```\n{found['on']}# {found['typed']}\n{kept(done.stdout, found['screen'])}```\n"

    return PART.sub(part, RECORDED.sub(recorded(lab), text))


def recorded(lab):
    """Return when and on what the screens are made."""

    def told(*words):
        return lab.exec("pve1", words, check=True).stdout.strip()

    debian = told("cat", "/etc/debian_version").partition(".")[0]
    corosync = told("dpkg-query", "-W", "-f", "${Version}", "corosync").partition("-")[0]
    salt = told("salt-call", "--version").split()[1].partition(".")[0]
    return f"{datetime.date.today():%Y-%m-%d} (Debian {debian}, Corosync {corosync}, Salt {salt})"


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="lab/screens", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="trixie", help="the Debian of the nodes (default: trixie)")
    parser.add_argument("--name", default="screens", help="which lab to make for it (default: screens)")
    args = parser.parse_args()
    try:
        with Lab(args.name, suite=args.suite) as lab:
            PAGE.write_text(made(lab, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    except LabError as error:
        print(f"lab/screens: {error}", file=sys.stderr)
        return 1
    return 0
