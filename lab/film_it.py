"""The session of the README: recorded in the lab as it happens, and drawn from the recording.

The vRack is cut, somebody looks, types what the screen says, and looks again.
"""

import argparse
import codecs
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from lab import base, host, picture
from lab.cluster import MASTER, Lab, LabError, wait_for

DOCS = Path(__file__).resolve().parent.parent / "docs"
CAST, PICTURE = DOCS / "session.cast", DOCS / "session.svg"
COLUMNS, ROWS = 80, 24
COMMANDS = (
    "salt-run corosync.status",
    "salt-run state.orchestrate orch.failover",
    "salt-run corosync.status",
)
TITLE = "A recorded session: the vRack is cut, corosync.status names the way out, orch.failover goes it"
#: seconds that one command may take.
PATIENCE = 300


class Recorder:
    """Runs programs on a terminal of its own and keeps what they print, with times."""

    def __init__(self):
        self.begin = time.monotonic()
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": TITLE}
        self.lines = [json.dumps(head)]

    def note(self, data):
        """Keep what was printed now."""
        self.lines.append(json.dumps([round(time.monotonic() - self.begin, 3), "o", data]))

    def run(self, prompt, words, command):
        """Run a program; returns its exit code.

        prompt, words
            what a person sees and types
        command
            the words of the command line that does it
        """
        self.note(f"{prompt}# {words}\r\n")
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        child = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # EIO: nobody has the other end any more
                    break
                if not data:
                    break
                self.note(decoder.decode(data))
            return child.wait(PATIENCE)
        finally:
            child.poll() is None and child.kill()
            os.close(ours)

    def text(self):
        """Return the recording as an asciicast."""
        return "\n".join(self.lines) + "\n"


def record(lab):
    """Return the recording of the story on a lab that is not up yet."""
    host.prepare()
    base.provide(lab.suite)
    lab.up()
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="both nodes to lose quorum")
    recorder = Recorder()
    for words in COMMANDS:
        recorder.run("master", words, lab.machine(MASTER).command(words.split()))
    return recorder.text()


def main(argv=None):
    """Record the session, unless there is only to draw, and write docs/session.cast and docs/session.svg."""
    top = argparse.ArgumentParser(prog="lab/film", description=__doc__)
    top.add_argument("--draw", action="store_true", help="only draw the recording that is there anew")
    top.add_argument("--suite", choices=sorted(base.SALT), default="trixie")
    top.add_argument("--name", default="film", help="name of the lab")
    args = top.parse_args(argv)
    if not args.draw:
        lab = Lab(args.name, args.suite)
        try:
            CAST.write_text(record(lab), encoding="utf-8")
        except LabError as error:
            print(f"lab/film: {error}", file=sys.stderr)
            return 1
        finally:
            lab.down()
    PICTURE.write_text(picture.svg(CAST.read_text(encoding="utf-8"), TITLE), encoding="utf-8")
    return 0
