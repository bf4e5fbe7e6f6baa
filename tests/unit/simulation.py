"""
A small model of corosync daemons, pmxcfs and networks: pure, with a parser of its own, for replaying plans.

It holds what facts say and nothing of the planner: a link between two nodes is up if both daemons have the
same number, addresses, port and transport for these two, and its network is alive between them; a reload is
refused as a whole if an address or the transport of a link that stays changes, and leaves its port as it is
(corosync 3.1.7 exec/totemconfig.c:1288-1342, exec/totemknet.c:1508-1533); each partition reloads on its own;
quorum is a majority of the nodes; pmxcfs distributes to the quorate partition and takes nothing older than
the local file.
"""

import hashlib
import itertools
import re

TEMPLATE = """logging {{
  debug: off
  to_syslog: yes
}}

nodelist {{
{nodes}}}

quorum {{
  provider: corosync_votequorum
}}

totem {{
  cluster_name: prod
  config_version: {version}
{interfaces}  ip_version: ipv4-6
  link_mode: passive
  secauth: on
  version: 2
}}
"""
NETS = {"vrack": "10.66.0.{}", "public": "198.51.100.{}", "third": "192.0.2.{}"}


def address(network, nodeid):
    """Address of a node on a network."""
    return NETS[network].format(nodeid)


def layout(links, nodes, name="goal", options=None, primary=None):
    """A layout as pillar.layouts.resolve returns it; links is ``{number: network}``, primary the lowest's."""
    ids = {node: {"nodeid": i, "minion": node} for i, node in enumerate(nodes, 1)}
    networks = {net: {n: address(net, row["nodeid"]) for n, row in ids.items()} for net in NETS}
    first = primary or links[min(links)]
    return {
        "name": name,
        "cluster_name": "prod",
        "nodes": ids,
        "links": {
            n: {"network": net, "addresses": dict(networks[net]), "options": dict((options or {}).get(n, {}))}
            for n, net in links.items()
        },
        "primary": {"network": first, "addresses": dict(networks[first])},
        "networks": networks,
    }


def conf(links, nodes, version, options=None):
    """A corosync.conf in PVE's form."""
    blocks, faces = "", ""
    for i, node in enumerate(nodes, 1):
        rings = "".join(f"    ring{n}_addr: {address(net, i)}\n" for n, net in sorted(links.items()))
        blocks += f"  node {{\n    name: {node}\n    nodeid: {i}\n    quorum_votes: 1\n{rings}  }}\n"
    for n in sorted(links):
        extra = "".join(f"    {k}: {v}\n" for k, v in sorted((options or {}).get(n, {}).items()))
        faces += f"  interface {{\n{extra}    linknumber: {n}\n  }}\n"
    return TEMPLATE.format(nodes=blocks, version=version, interfaces=faces)


def read(text):
    """``(version, {link: {node: address}}, {link: options})`` of a corosync.conf in PVE's form."""
    version = int(re.search(r"^\s*config_version: (\d+)$", text, re.M).group(1))
    links, options = {}, {}
    for block in re.findall(r"^\s*node \{\n(.*?)\}", text, re.M | re.S):
        name = re.search(r"name: (\S+)", block).group(1)
        for number, addr in re.findall(r"ring(\d)_addr: (\S+)", block):
            links.setdefault(int(number), {})[name] = addr
    for block in re.findall(r"^\s*interface \{\n(.*?)\}", text, re.M | re.S):
        keys = dict(re.findall(r"(\S+): (\S+)", block))
        options[int(keys.pop("linknumber"))] = keys
    return version, links, options


def port(number, options):
    """UDP port of a link."""
    return int(options.get(number, {}).get("mcastport", 5405 + number))


def text_of(daemon):
    """The file that a daemon runs."""
    nets = {n: next(net for net in NETS if address(net, 1) == a["pve1"]) for n, a in daemon.links.items()}
    return conf(nets, list(next(iter(daemon.links.values()))), daemon.version, daemon.options)


class Daemon:
    """One node: its local file, its copy of the cluster file, and what its corosync runs."""

    def __init__(self, name, nodeid, text):
        self.name, self.nodeid = name, nodeid
        self.local = self.cluster = text
        self.version, self.links, self.options = read(text)
        self.ports = {n: port(n, self.options) for n in self.links}
        self.refused = False
        self.runs = self.mounted = True  # corosync, and /etc/pve

    def transport(self, number):
        """Transport of one link."""
        return self.options.get(number, {}).get("knet_transport", "udp")

    def reload(self):
        """Take the local file, or refuse it as a whole."""
        version, links, options = read(self.local)
        for number in links:
            wanted = options.get(number, {}).get("knet_transport", "udp")
            if number in self.links and (links[number], wanted) != (
                self.links[number],
                self.transport(number),
            ):
                self.refused = True
                return
        self.ports = {n: self.ports[n] if n in self.links else port(n, options) for n in links}
        self.version, self.links, self.options, self.refused = version, links, options, False


class Sim:
    """
    A cluster; `dead` holds networks, or ``(network, node, node)`` for one pair, that carry nothing.

    ``gone`` holds ``(network, node)`` for an address that is on no interface; ``skipped`` nodes answer, but
    get no step of their own.
    """

    def __init__(self, links, nodes, dead=(), version=5, options=None, silent=()):
        text = conf(links, nodes, version, options)
        self.daemons = {n: Daemon(n, i, text) for i, n in enumerate(nodes, 1)}
        self.dead, self.silent, self.skipped, self.gone = set(dead), set(silent), set(), set()
        self.nets = {address(net, d.nodeid): net for net in NETS for d in self.daemons.values()}
        self.lost = []

    def copy(self):
        """An independent copy."""
        other = object.__new__(Sim)
        other.__dict__.update(self.__dict__)
        other.daemons = {}
        for name, daemon in self.daemons.items():
            twin = object.__new__(Daemon)
            twin.__dict__.update(daemon.__dict__)
            other.daemons[name] = twin
        other.dead, other.gone = set(self.dead), set(self.gone)
        other.lost = list(self.lost)
        return other

    # -- networks
    # -------------------------------------------------------------------------------------------------

    def alive(self, net, one, two):
        """Whether a network carries between two nodes."""
        return not {net, (net, one, two), (net, two, one)} & self.dead and not (
            {(net, one), (net, two)} & self.gone
        )

    def up(self, one, two):
        """Numbers of the links that connect two nodes."""
        ours, theirs = self.daemons[one], self.daemons[two]
        if not (ours.runs and theirs.runs):
            return set()
        left, right = ours.links, theirs.links
        found = set()
        for n in set(left) & set(right):
            if (ours.ports[n], ours.transport(n)) != (theirs.ports[n], theirs.transport(n)):
                continue
            ends = [(links[n].get(one), links[n].get(two)) for links in (left, right)]
            if ends[0] == ends[1] and None not in ends[0] and self.alive(self.nets[ends[0][0]], one, two):
                found.add(n)
        return found

    def partitions(self):
        """Groups in which every node sees every other: totem passes its token directly, nobody relays."""
        groups = []
        for node in self.daemons:
            if not self.daemons[node].runs:
                continue
            home = next((g for g in groups if all(self.up(node, other) for other in g)), None)
            if home is None:
                groups.append([node])
            else:
                home.append(node)
        return groups

    def quorate(self, group):
        """A majority of all nodes."""
        return 2 * len(group) > len(self.daemons)

    # -- acts
    # -----------------------------------------------------------------------------------------------------

    def change(self, nodes):
        """Reload these daemons at one moment; what pairs lose every old link in it goes into ``lost``."""
        pairs = list(itertools.combinations(self.daemons, 2))
        before = {p: {(n, str(self.daemons[p[0]].links[n])) for n in self.up(*p)} for p in pairs}
        for node in nodes:
            if self.daemons[node].runs:
                self.daemons[node].reload()
        for pair in pairs:
            after = {(n, str(self.daemons[pair[0]].links[n])) for n in self.up(*pair)}
            if before[pair] and not before[pair] & after:
                self.lost.append(pair)

    def take(self, step, files=None, reloads=None):
        """
        Carry out a step; `files`: only these nodes get the file, `reloads`: only these take it (default all).
        """
        who = [n for n in step.get("nodes") or self.daemons if n not in self.silent | self.skipped]
        if step["act"] == "local":
            files = [n for n in who if files is None or n in files]
            for node in files:
                self.daemons[node].local = step["conf"]
            self.change([n for n in who if reloads is None or n in reloads])
            return
        if step["act"] == "restart":
            for node in who:
                twin = Daemon(node, self.daemons[node].nodeid, step["conf"])
                twin.cluster, twin.mounted = self.daemons[node].cluster, self.daemons[node].mounted
                self.daemons[node] = twin
            return
        group = next((g for g in self.partitions() if self.quorate(g)), None)
        assert group, f"{step['act']} without quorum"
        group = [n for n in group if self.daemons[n].mounted]
        assert group, f"{step['act']} without /etc/pve"
        files = [n for n in group if files is None or n in files]
        for node in group:
            now = self.daemons[node].cluster  # pmxcfs.write_conf takes other bytes only with a higher version
            assert now == step["conf"] or read(now)[0] < step["version"], f"{step['act']}: not above {node}'s"
            self.daemons[node].cluster = step["conf"]
        for node in files:
            if read(step["conf"])[0] >= read(self.daemons[node].local)[0]:
                same = self.daemons[node].local == step["conf"]
                away = node in self.silent | self.skipped  # it has missed the local file; pmxcfs brings it
                assert same or away or step["act"] == "cluster", "publish changes a local file"
                self.daemons[node].local = step["conf"]
        if step["act"] == "cluster":
            self.change([n for n in group if reloads is None or n in reloads])

    def missing(self, step):
        """What the step waits for and is not there."""
        found = []
        for number, pairs in step["wait"]["connected"].items():
            found += [(number, *p) for p in pairs if int(number) not in self.up(*p)]
        if step["wait"]["quorate"] and not all(
            self.quorate(g) for g in self.partitions() if self.answering(g)
        ):
            found.append("quorate")
        return found

    def answering(self, group):
        """Members of a group that take part."""
        return [n for n in group if n not in self.silent | self.skipped]

    # -- facts
    # ----------------------------------------------------------------------------------------------------

    def observed(self):
        """What the runner would have gathered."""
        groups = {n: g for g in self.partitions() for n in g}
        nodes = {n: self.facts(n, groups.get(n, [])) for n in self.daemons if n not in self.silent}
        return {"nodes": nodes, "silent": sorted(self.silent)}

    def facts(self, name, group):
        """Facts of one node."""
        found = self._facts(name, group or [name])
        me = self.daemons[name]
        if not me.runs:
            found.update(
                runtime=None, quorum=None, links={}, corosync={"version": "3.1.7", "state": "inactive"}
            )
        if not me.mounted:
            found["cluster_file"] = None
        found["pmxcfs"] = {
            "mounted": me.mounted,
            "writable": me.runs and me.mounted and self.quorate(group),
            "members": None,
        }
        return found

    def _facts(self, name, group):
        me, quorate = self.daemons[name], self.quorate(group)
        ids = [self.daemons[n].nodeid for n in group]
        count = len(self.daemons)
        token = 3000 + 650 * max(0, count - 2)
        return {
            "node": name,
            "minion": name,
            "time": 1763900000.0,
            "corosync": {"version": "3.1.7", "state": "active"},
            "local": file_facts(me.local),
            "cluster_file": file_facts(me.cluster),
            "runtime": {
                "version": me.version,
                "cluster_name": "prod",
                "reload_status": 7 if me.refused else 1,
                "nodeid": me.nodeid,
                "token": token,
                "consensus": token * 6 // 5,
                "nodes": {
                    n: {"nodeid": d.nodeid, "addresses": {k: a[n] for k, a in me.links.items()}}
                    for n, d in self.daemons.items()
                },
                "joined": {i: {"status": "joined", "version": me.version} for i in ids},
                "interfaces": {k: dict(v) for k, v in me.options.items()},
            },
            "links": {
                other: {
                    k: {
                        "connected": k in self.up(name, other),
                        "enabled": True,
                        "mtu": 1397,
                        "latency_us": 180,
                        "down_count": 0,
                    }
                    for k in me.links
                }
                for other in self.daemons
                if other != name
            },
            "quorum": {
                "quorate": quorate,
                "ring_id": f"{min(ids)}.1e",
                "expected": count,
                "highest_expected": count,
                "total": len(ids),
                "quorum": count // 2 + 1,
                "flags": ["Quorate"] if quorate else [],
                "members": sorted(ids),
            },
            "addresses": {
                f"eth{i}": [f"{address(net, me.nodeid)}/24"]
                for i, net in enumerate(NETS)
                if (net, name) not in self.gone
            },
            "names": {n: [address("vrack", d.nodeid)] for n, d in self.daemons.items()},
            "authkey": {"sha256": "0" * 64, "mode": "0400", "owner": "root:root"},
            "ha": {"armed": False, "configured": False},
            "busy": None,
            "problems": [],
        }


def file_facts(text):
    """Facts of a file."""
    return {
        "version": read(text)[0],
        "sha256": hashlib.sha256(text.encode("latin-1")).hexdigest(),
        "text": text,
    }
