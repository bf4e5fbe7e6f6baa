"""A node whose corosync is :mod:`_fake_corosync`, for tests of the execution module ``corosync``."""

import fcntl
import json
import pathlib
import sys
import threading

from _pve_world import World, put

FAKE = pathlib.Path(__file__).with_name("_fake_corosync.py")
TOOLS = ("corosync", "corosync-cfgtool", "corosync-cmapctl", "corosync-quorumtool", "systemctl", "journalctl")
VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}
PUBLIC = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}


def conf(version, links=None, extra=""):
    """
    Return a configuration of two nodes; ``links`` is ``{number: {node: address}}``.
    """
    nodes = ""
    for nodeid, name in enumerate(("pve1", "pve2"), 1):
        rings = "".join(
            f"    ring{n}_addr: {addresses[name]}\n" for n, addresses in (links or {0: VRACK}).items()
        )
        nodes += f"  node {{\n    name: {name}\n    nodeid: {nodeid}\n    quorum_votes: 1\n{rings}  }}\n"
    return (
        f"nodelist {{\n{nodes}}}\n\nquorum {{\n  provider: corosync_votequorum\n}}\n\n"
        f"totem {{\n  cluster_name: prod\n  config_version: {version}\n{extra}  version: 2\n}}\n"
    )


def step(number, act, text, version, connected=(), **more):
    """
    Return a step of a plan as ``corosync.step`` gets it.
    """
    return {
        "number": number,
        "act": act,
        "version": version,
        "conf": text,
        "deadline_s": 10,
        "wait": {
            "connected": {link: [["pve1", "pve2"]] for link in connected},
            "quorate": True,
            "writable": True,
        },
    } | more


class Node(World):
    """
    The node pve1 of a cluster of two, in version 5, quorate, ``/etc/pve`` mounted.
    """

    def __init__(self, path, monkeypatch):
        super().__init__(path, monkeypatch)
        for name in TOOLS:
            tool = self.bin / name
            tool.write_text(f"#!{sys.executable} -IS\n{FAKE.read_text()}")
            tool.chmod(0o755)
        self.tool(
            "ip", """echo '[{"ifname": "eth0", "addr_info": [{"local": "10.66.0.1", "prefixlen": 24}]}]'"""
        )
        self.mount()
        self.local = self.file("etc/corosync/corosync.conf", conf(5))
        self.cluster = self.file("etc/pve/corosync.conf", conf(5))
        self.file(
            "etc/pve/.members",
            json.dumps(
                {
                    "nodename": "pve1",
                    "version": 3,
                    "cluster": {"name": "prod", "version": 5, "nodes": 2, "quorate": 1},
                    "nodelist": {"pve1": {"id": 1, "online": 1, "ip": "10.66.0.1"}},
                }
            ),
        )
        self.file("etc/corosync/authkey", "the-secret-of-the-cluster")
        self.file("etc/hosts", "127.0.0.1 localhost\n10.66.0.1 pve1.example pve1 # here\n10.66.0.2 PVE2\n")
        (self.root / "var/lock").mkdir(parents=True)
        self.state_file = path / "corosync.json"
        self.daemon(
            running=True,
            version=5,
            refusals=0,
            lost_reloads=0,
            quiet_refusal=False,
            hang=False,
            exits=False,
            quorate=True,
            dead_links=[],
            nodes={"1": ["pve1", {"0": "10.66.0.1"}], "2": ["pve2", {"0": "10.66.0.2"}]},
        )

    def daemon(self, **changes):
        """
        Change the daemon's state and return it.
        """
        with open(self.state_file.with_suffix(".lock"), "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
            state.update(changes)
            put(self.state_file, json.dumps(state))
        return state

    @property
    def backups(self):
        """
        The files in the backup folder.
        """
        return sorted((self.root / "var/lib/pve-corosync/backups").glob("*"))

    def distribute(self, reload):
        """
        Do, in a thread, what pmxcfs does once the cluster file is replaced; ``reload`` tells whether a reload
        follows.
        """
        before = self.cluster.read_text()
        stop = threading.Event()

        def work():
            for _ in range(200):
                if stop.wait(0.05):
                    return
                if self.cluster.exists() and self.cluster.read_text() != before:
                    put(self.local, self.cluster.read_text())
                    if reload:
                        self.salt["corosync.reload"]()
                    return

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return lambda: (stop.set(), thread.join(10))
