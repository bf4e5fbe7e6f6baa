"""Stands in for corosync's tools in functional tests; each copy acts as the tool whose name it has.

The daemon is the file ``$WORLD/corosync.json``: what runs, and how the tools behave; it is changed under the
lock ``$WORLD/corosync.lock``, as tools and tests change it at the same time. Texts, exit codes and
formats are those of corosync 3.1.7 (3.1.9 where ``quiet_refusal`` is set). Every call is noted in
``$WORLD/calls``.
"""

import contextlib
import fcntl
import json
import os
import re
import sys
import time

WORLD = os.environ["WORLD"]
LOCAL = f"{WORLD}/root/etc/corosync/corosync.conf"
NOT_RUNNING = {
    "corosync-cfgtool": "Could not initialize corosync configuration API error CS_ERR_LIBRARY",
    "corosync-cmapctl": "Failed to initialize the cmap API. Error CS_ERR_LIBRARY",
    "corosync-quorumtool": "Cannot initialize CMAP service",
}


def load():
    with open(f"{WORLD}/corosync.json", encoding="utf-8") as file:
        return json.load(file)


@contextlib.contextmanager
def change():
    """Give the state as it is now, and keep what was changed of it."""
    with open(f"{WORLD}/corosync.lock", "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load()
        yield state
        temporary = f"{WORLD}/corosync.json.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.rename(temporary, f"{WORLD}/corosync.json")


def read_conf(path=LOCAL):
    """Return version and ``{nodeid: [name, {link: address}]}`` of a configuration."""
    with open(path, encoding="latin-1") as file:
        text = file.read()
    nodes = {}
    for block in re.findall(r"node \{(.*?)\}", text, re.DOTALL):
        keys = dict(re.findall(r"(\w+): *(\S+)", block))
        links = {key[4:-5]: value for key, value in keys.items() if re.fullmatch(r"ring\d_addr", key)}
        nodes[keys["nodeid"]] = [keys["name"], links]
    return int(re.search(r"config_version: (\d+)", text)[1]), nodes


def apply(state):
    state["version"], state["nodes"] = read_conf()


def cfgtool(_state, _args):
    print("Reloading corosync.conf...", flush=True)
    with change() as state:
        if not state["running"]:
            return fail(NOT_RUNNING["corosync-cfgtool"])
        if state["refusals"]:
            state["refusals"] -= 1
            fail("Could not reload configuration. Error CS_ERR_INVALID_PARAM")
            return 0 if state["quiet_refusal"] else 7
        if state["lost_reloads"]:
            state["lost_reloads"] -= 1
        else:
            apply(state)
    print("Done")
    return 0


def cmapctl(state, args):
    if state["hang"]:
        time.sleep(60)
    if not state["running"]:
        return fail(NOT_RUNNING["corosync-cmapctl"])
    rows = stats_rows(state) if args[:2] == ["-m", "stats"] else map_rows(state)
    prefixes = tuple(args[2:] if args[:1] == ["-m"] else args)
    for key, kind, value in sorted(rows):
        if key.startswith(prefixes):
            print(f"{key} ({kind}) = {value}")
    return 0


def map_rows(state):
    yield "totem.config_version", "u64", state["version"]
    yield "totem.cluster_name", "str", "prod"
    yield "runtime.config.totem.token", "u32", 3000
    yield "runtime.config.totem.consensus", "u32", 3600
    yield "runtime.votequorum.this_node_id", "u32", state.get("me", 1)
    # what was announced at the last change of membership: a reload does not touch it (exec/cmap.c)
    for nodeid in state["nodes"] if state["quorate"] else [str(state.get("me", 1))]:
        yield f"runtime.members.{nodeid}.config_version", "u64", state.get("announced", 5)
        yield f"runtime.members.{nodeid}.status", "str", "joined"
    for place, (nodeid, (name, links)) in enumerate(sorted(state["nodes"].items())):
        yield f"nodelist.node.{place}.nodeid", "u32", nodeid
        yield f"nodelist.node.{place}.name", "str", name
        for link, address in links.items():
            yield f"nodelist.node.{place}.ring{link}_addr", "str", address


def stats_rows(state):
    me = str(state.get("me", 1))
    for nodeid, (_name, links) in state["nodes"].items():
        for link in links if nodeid != me else ["0"]:
            up = nodeid == me or int(link) not in state["dead_links"]
            yield f"stats.knet.node{nodeid}.link{link}.enabled", "u8", 1
            yield f"stats.knet.node{nodeid}.link{link}.connected", "u8", int(up)
            yield f"stats.knet.node{nodeid}.link{link}.mtu", "u32", 1397
            yield f"stats.knet.node{nodeid}.link{link}.latency_ave", "u32", 180
            yield f"stats.knet.node{nodeid}.link{link}.down_count", "u32", 0


def quorumtool(state, _args):
    if not state["running"]:
        return fail(NOT_RUNNING["corosync-quorumtool"])
    yes, me = state["quorate"], state.get("me", 1)
    print(f"""Quorum information
------------------
Date:             Mon Nov 23 09:14:20 2026
Quorum provider:  corosync_votequorum
Nodes:            {2 if yes else 1}
Node ID:          0x{me:08x}
Ring ID:          {state.get("ring", "1.1e")}
Quorate:          {"Yes" if yes else "No"}

Votequorum information
----------------------
Expected votes:   {state.get("expected", 2)}
Highest expected: 2
Total votes:      {2 if yes else 1}
Quorum:           2 {"" if yes else "Activity blocked"}
Flags:            {"Quorate " if yes else ""}

Membership information
----------------------
    Nodeid      Votes Name
0x{me:08x}          1 10.66.0.{me} (local)""")
    if yes:
        print(f"0x{3 - me:08x}          1 10.66.0.{3 - me}")
    return 0 if yes else 2


def daemon(_state, args):
    if args == ["-v"]:
        print("Corosync Cluster Engine, version '3.1.7'\nCopyright (c) 2006-2021 Red Hat, Inc.")
        return 0
    assert args[:2] == ["-t", "-c"], args
    with open(args[2], encoding="latin-1") as file:
        if "REFUSED" in file.read():
            return fail(f"parser error: {args[2]}:3: Missing closing brace", 8)
    return fail("Corosync Cluster Engine exiting normally", 0)


def systemctl(state, args):
    if args[0] == "restart":
        with change() as state:
            state["running"] = not state["exits"]
            if state["running"]:
                apply(state)
        return 0
    if args[0] == "start":
        with change() as state:
            if not state["running"]:
                state["running"] = not state["exits"]
                apply(state)
        return 0
    print(f"Result=success\nExecMainStatus=0\nActiveState={'active' if state['running'] else 'inactive'}")
    return 0


def fail(text, status=1):
    print(text, file=sys.stderr)
    return status


def main():
    name = os.path.basename(sys.argv[0])
    with open(f"{WORLD}/calls", "a", encoding="utf-8") as file:
        file.write(" ".join([name, *sys.argv[1:]]) + "\n")
    tools = {
        "corosync": daemon,
        "corosync-cfgtool": cfgtool,
        "corosync-cmapctl": cmapctl,
        "corosync-quorumtool": quorumtool,
        "systemctl": systemctl,
        "journalctl": lambda *_: 0,
    }
    return tools[name](load(), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
