"""The command lab/lab."""

import argparse
import os
import sys
import time

from lab import base, host
from lab.cluster import MASTER, Lab, elapsed
from lab.shell import LabError, note
from lab.state import all_names

EPILOG = """\
networks: vrack (one L2 segment, 10.66.0.0/24), public (routed, 198.51.100+N.0/24)
examples:
  lab/lab up --suite trixie          lab/lab exec pve1 -- corosync-cfgtool -s
  lab/lab cut vrack                  lab/lab salt-run corosync.status
  lab/lab cut vrack pve2             lab/lab salt 'pve*' test.ping
  lab/lab heal                       lab/lab --name other up
"""


def parser():
    """Return the argument parser; every command is a function cmd_… of this module."""
    top = argparse.ArgumentParser(
        prog="lab/lab",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--name", default=os.environ.get("LAB_NAME", "lab"), help="which lab (default: $LAB_NAME, or lab)"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    again = argparse.ArgumentParser(add_help=False)
    again.add_argument("--name", default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def command(name, text, *arguments):
        sub = commands.add_parser(name, help=text, description=text, parents=[again])
        for flags, options in arguments:
            sub.add_argument(*flags, **options)

    node = (("node",), {"metavar": "NODE"})
    network = (("network",), {"metavar": "NETWORK"})
    suite = (("--suite",), {"choices": sorted(base.SALT), "default": "bookworm"})
    rest = (("argv",), {"nargs": argparse.REMAINDER, "metavar": "…"})
    command(
        "up",
        "build, boot, and wait for quorum and Salt",
        suite,
        (("--nodes",), {"type": int, "default": 2}),
        (
            ("--pve",),
            {"metavar": "FOLDER", "help": "a folder with a real Proxmox VE's files, laid over the nodes"},
        ),
    )
    command("down", "remove everything of this lab")
    command("status", "show machines and networks")
    command("list", "show the names of all labs on this machine")
    command("exec", "run a program on a node or on the master", node, rest)
    command(
        "cut",
        "unplug a network from one machine or from all nodes",
        network,
        (("node",), {"nargs": "?", "metavar": "NODE"}),
    )
    command("heal", "undo cuts and lost cards", (("network",), {"nargs": "?", "metavar": "NETWORK"}))
    command("lose-card", "delete a node's interface in a network", node, network)
    command("crash", "kill -9 a whole node", node)
    command("boot", "boot a node that crashed, with its disk", node)
    command("reset", "bring the cluster back to its first state", (("--force",), {"action": "store_true"}))
    command("sync", "bring edited modules to the master and the minions")
    command("salt", "run salt on the master", rest)
    command("salt-run", "run salt-run on the master", rest)
    command(
        "base",
        "build the root of a suite and keep it",
        suite,
        (("--where",), {"action": "store_true", "help": "only print the folder that it has or would have"}),
    )
    command("prune", "delete cached roots that nothing uses any more")
    return top


def cmd_up(args):
    """Boot a lab and say what there is to do with it."""
    begin = time.monotonic()
    lab = Lab(args.name, args.suite, args.nodes, args.pve)
    lab.up()
    print(f"lab {lab.name} ({lab.suite}): {', '.join(lab.nodes)} and {MASTER} are up after {elapsed(begin)}")
    print(lab.programs())


def cmd_status(args):
    """Print machines and networks, a line each."""
    lab = Lab(args.name)
    status = lab.status()
    print(f"lab {status['name']} ({status['suite']}; {lab.programs()})")
    for machine, state in status["machines"].items():
        broken = [
            f"{network} {word}"
            for key, word in (("cut", "cut"), ("lost", "card lost"))
            for network, name in status[key]
            if name == machine
        ]
        print(f"  {machine:8} {state:8} {', '.join(broken)}".rstrip())


def cmd_base(args):
    """Print the folder of a suite's root, building what is in it unless only the name is wanted."""
    if not args.where:
        host.prepare()
        base.provide(args.suite)
    print(base.folder(args.suite))


def _inside(args, machine, argv):
    """Become the program in the machine: terminal, signals and exit code are its own."""
    if not argv:
        argv = ["bash", "-l"]
    command = Lab(args.name).machine(machine).command(argv, {"TERM": os.environ.get("TERM", "dumb")})
    os.execvp(command[0], command)


def run(args):
    """Carry out one parsed command."""
    if getattr(args, "argv", [])[:1] == ["--"]:
        del args.argv[0]
    lab = Lab(args.name) if args.command not in ("up", "list", "base", "prune") else None
    actions = {
        "up": lambda: cmd_up(args),
        "down": lambda: lab.down(),
        "status": lambda: cmd_status(args),
        "list": lambda: print("\n".join(all_names())),
        "exec": lambda: _inside(args, args.node, args.argv),
        "cut": lambda: lab.cut(args.network, args.node),
        "heal": lambda: lab.heal(args.network),
        "lose-card": lambda: lab.lose_card(args.node, args.network),
        "crash": lambda: lab.crash(args.node),
        "boot": lambda: lab.boot(args.node),
        "reset": lambda: lab.reset(force=args.force),
        "sync": lambda: lab.sync(),
        "salt": lambda: _inside(args, MASTER, ["salt", *args.argv]),
        "salt-run": lambda: _inside(args, MASTER, ["salt-run", *args.argv]),
        "base": lambda: cmd_base(args),
        "prune": lambda: base.prune(),
    }
    actions[args.command]()


def main(argv=None):
    """Entry point; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    place = 2 if argv[:1] == ["--name"] else 1 if argv[:1] and argv[0].startswith("--name=") else 0
    if argv[place : place + 1] in (["salt"], ["salt-run"]) and argv[place + 1 : place + 2] != ["--"]:
        argv.insert(place + 1, "--")  # behind these, options are theirs from the first on
    args = parser().parse_args(argv)
    try:
        host.require_root()
        if args.command not in ("up", "down", "list", "base", "prune") and not Lab(args.name).record.exists():
            raise LabError(f"there is no lab {args.name!r}: lab/lab --name {args.name} up makes one")
        run(args)
    except LabError as error:
        note(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        note("lab: interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
