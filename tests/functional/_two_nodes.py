"""
Two fake nodes, pve1 asking pve2 by a fake ssh, and the part of pmxcfs that brings the cluster file to both.
"""

import json
import threading

import salt.config
import salt.loader
from _corosync_world import PUBLIC, VRACK, Node, conf
from _pve_world import REPO, put

ADDRESSES = {name: {"vrack": VRACK[name], "public": PUBLIC[name]} for name in VRACK}
PILLAR = {
    "cluster_name": "prod",
    "nodes": {name: {"nodeid": n, "addresses": ADDRESSES[name]} for n, name in enumerate(sorted(VRACK), 1)},
    "layouts": {
        "nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"},
        "degraded": {
            "links": {0: {"network": "public"}, 1: {"network": "vrack", "priority": 10}},
            "primary": "public",
        },
    },
    "layout": "nominal",
}
INTERFACES = "  interface {\n    linknumber: 0\n  }\n"


class Pair:
    """
    pve1 (``one``) and pve2 (``two``); Salt runs on pve1. ``deaf`` makes pve2 unreachable by ssh.
    """

    def __init__(self, path, monkeypatch):
        self.two = self._node(path / "two", monkeypatch, 2)
        self.one = self._node(path / "one", monkeypatch, 1)
        self.deaf = path / "one/deaf"
        self.one.tool(
            "ssh",
            f"""
            while [ "$1" != -- ]; do shift; done; shift
            case "$*" in "corosync -t"*) [ ! -e "$WORLD/deaf-check" ] || exit 255 ;; esac
            if [ -e "$WORLD/deaf" ]; then echo "ssh: connect to host: Connection timed out" >&2; exit 255; fi
            export WORLD={path}/two RING_ROOT={path}/two/root
            export PATH={path}/two/bin:/usr/sbin:/usr/bin:/sbin:/bin
            exec "$@"
            """,
        )
        self.pillar = json.loads(json.dumps(PILLAR))
        self.context = {}

    @staticmethod
    def _node(path, monkeypatch, number):
        path.mkdir()
        node = Node(path, monkeypatch)
        node.daemon(me=number)
        rows = [
            {
                "ifname": f"eth{n}",
                "addr_info": [{"local": ADDRESSES[f"pve{number}"][network], "prefixlen": 24}],
            }
            for n, network in enumerate(("vrack", "public"))
        ]
        node.tool("ip", f"echo '{json.dumps(rows)}'")
        node.file("etc/hosts", "127.0.0.1 localhost\n10.66.0.1 pve1.example pve1\n10.66.0.2 pve2\n")
        node.file("etc/pve/priv/lock/.keep", "").unlink()
        node.file("etc/pve/nodes/pve2/ssh_known_hosts", "pve2 ssh-rsa AAAA\n")
        for copy in (node.local, node.cluster):
            copy.write_text(conf(5, extra=INTERFACES))
        for member in (node.file("etc/pve/.members", members()),):
            assert member.exists()
        (node.root / "etc/corosync/authkey").chmod(0o400)
        node.mount()
        return node

    @property
    def both(self):
        return (self.one, self.two)

    def opts(self, test=False):
        opts = salt.config.DEFAULT_MINION_OPTS.copy()
        opts.update(
            cachedir=str(self.one.root / "cache"),
            extension_modules=str(self.one.root / "cache/extmods"),
            module_dirs=[str(REPO / "_modules")],
            utils_dirs=[str(REPO / "_utils")],
            states_dirs=[str(REPO / "_states")],
            file_client="local",
            pve_corosync={"root": str(self.one.root)},
            grains={},
            id="pve1",
            test=test,
            pillar={"corosync": self.pillar},
        )
        return opts

    def call(self, function, *args, **kwargs):
        """
        Call an execution function on pve1.
        """
        self.context = {}
        return salt.loader.minion_mods(self.opts(), context=self.context)[function](*args, **kwargs)

    def state(self, function, name, test=False, **kwargs):
        """
        Call a state function on pve1.
        """
        opts = self.opts(test)
        functions = salt.loader.minion_mods(opts)
        utils = salt.loader.utils(opts)
        return salt.loader.states(opts, functions, utils, {})[function](name, **kwargs)

    def quorum(self, yes, dead=()):
        """
        Give both nodes quorum or take it, with links that are dead.
        """
        for node in self.both:
            node.daemon(quorate=yes, dead_links=list(dead))
            node.mount(writable=yes)

    def texts(self):
        """
        All copies of the configuration, as a set.
        """
        return {path.read_text() for node in self.both for path in (node.local, node.cluster)}

    def pmxcfs(self):
        """
        Bring each new cluster file of pve1 to all copies and daemons, as pmxcfs does, until the block ends.
        """
        return _Distributor(self)


class _Distributor:
    def __init__(self, pair):
        self.pair, self.end = pair, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.versions = []

    def __enter__(self):
        self.seen = self.pair.one.cluster.read_text()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(10)

    def work(self):
        while not self.end.wait(0.05):
            if not self.pair.one.cluster.exists():
                continue
            text = self.pair.one.cluster.read_text()
            if text == self.seen:
                continue
            self.seen = text
            for path in (self.pair.two.cluster, self.pair.one.local, self.pair.two.local):
                put(path, text)
            for node in self.pair.both:
                version, nodes = parsed(text)
                self.versions.append(version)
                node.daemon(version=version, nodes=nodes)


def parsed(text):
    """
    Return version and nodes of a configuration as the fake daemon keeps them.
    """
    from pve_corosync import conf as corosync_conf

    doc = corosync_conf.parse(text)
    return doc.version, {
        str(row["nodeid"]): [name, {str(n): a for n, a in row["addresses"].items()}]
        for name, row in doc.nodes().items()
    }


def members(pve1="10.66.0.1"):
    return json.dumps(
        {
            "nodename": "pve1",
            "version": 3,
            "cluster": {"name": "prod", "version": 5, "nodes": 2, "quorate": 1},
            "nodelist": {
                "pve1": {"id": 1, "online": 1, "ip": pve1},
                "pve2": {"id": 2, "online": 1, "ip": "10.66.0.2"},
            },
        }
    )
