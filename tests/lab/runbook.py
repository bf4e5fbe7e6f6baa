"""docs/runbook.md as somebody follows it who reads nothing else: its commands, and what they say."""

import pathlib
import re
import shlex

from phases import flat

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")


def commands(section):
    """Return the commands of a section of the page, in its order."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (.+)$", text, re.M)


def typed(lab, section, number, on="master", instead=()):
    """Type a command of a section and return its exit code and its screen, without the breaks of its lines.

    instead
        (word of the page, word) pairs: the name of a run is another one every time
    """
    line = commands(section)[number]
    for old, new in instead:
        assert old in line, line
        line = line.replace(old, new)
    done = lab.exec(on, shlex.split(line), timeout=400)
    print(done.stderr, done.stdout, sep="\n")
    return done.returncode, flat(done.stdout)
