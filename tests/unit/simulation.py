"""
A small model of corosync daemons, pmxcfs and networks: pure, with a parser of its own, for replaying plans.

It holds what facts say and nothing of the planner: a link between two nodes is up if both daemons have the
same number, addresses and port for these two, and its network is alive between them; a reload is refused as a
whole if an address of a link that stays changes; each partition reloads on its own; quorum is a majority of
the nodes; pmxcfs distributes to the quorate partition and takes nothing older than the local file.
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


class Daemon:
    """One node: its local file, its copy of the cluster file, and what its corosync runs."""

    def __init__(self, name, nodeid, text):
        self.name, self.nodeid = name, nodeid
        self.local = self.cluster = text
        self.version, self.links, self.options = read(text)
        self.refused = False

    def reload(self):
        """Take the local file, or refuse it as a whole."""
        version, links, options = read(self.local)
        for number in links:
            if number in self.links and links[number] != self.links[number]:
                self.refused = True
                return
        self.version, self.links, self.options, self.refused = version, links, options, False


class Sim:
    """A cluster; `dead` holds networks, or ``(network, node, node)`` for one pair, that carry nothing."""

    def __init__(self, links, nodes, dead=(), version=5, options=None, silent=()):
        text = conf(links, nodes, version, options)
        self.daemons = {n: Daemon(n, i, text) for i, n in enumerate(nodes, 1)}
        self.dead, self.silent = set(dead), set(silent)
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
        other.lost = list(self.lost)
        return other

    # -- networks
    # -------------------------------------------------------------------------------------------------

    def alive(self, net, one, two):
        """Whether a network carries between two nodes."""
        return not {net, (net, one, two), (net, two, one)} & self.dead

    def up(self, one, two):
        """Numbers of the links that connect two nodes."""
        left, right = self.daemons[one].links, self.daemons[two].links
        found = set()
        for n in set(left) & set(right):
            ends = [(links[n].get(one), links[n].get(two)) for links in (left, right)]
            if ends[0] == ends[1] and None not in ends[0] and self.alive(self.nets[ends[0][0]], one, two):
                found.add(n)
        return found

    def partitions(self):
        """Groups in which every node sees every other: totem passes its token directly, nobody relays."""
        groups = []
        for node in self.daemons:
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
            self.daemons[node].reload()
        for pair in pairs:
            after = {(n, str(self.daemons[pair[0]].links[n])) for n in self.up(*pair)}
            if before[pair] and not before[pair] & after:
                self.lost.append(pair)

    def take(self, step, files=None, reloads=None):
        """
        Carry out a step; `files`: only these nodes get the file, `reloads`: only these take it (default all).
        """
        who = [n for n in step.get("nodes") or self.daemons if n not in self.silent]
        if step["act"] == "local":
            files = [n for n in who if files is None or n in files]
            for node in files:
                self.daemons[node].local = step["conf"]
            self.change([n for n in who if reloads is None or n in reloads])
            return
        if step["act"] == "restart":
            for node in who:
                twin = Daemon(node, self.daemons[node].nodeid, step["conf"])
                twin.cluster = self.daemons[node].cluster
                self.daemons[node] = twin
            return
        group = next((g for g in self.partitions() if self.quorate(g)), None)
        assert group, f"{step['act']} without quorum"
        files = [n for n in group if files is None or n in files]
        for node in group:
            now = self.daemons[node].cluster  # pmxcfs.write_conf takes other bytes only with a higher version
            assert now == step["conf"] or read(now)[0] < step["version"], f"{step['act']}: not above {node}'s"
            self.daemons[node].cluster = step["conf"]
        for node in files:
            if read(step["conf"])[0] >= read(self.daemons[node].local)[0]:
                same = self.daemons[node].local == step["conf"]
                assert same or step["act"] == "cluster", "publish changes a local file"
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
        """Members of a group that answer."""
        return [n for n in group if n not in self.silent]

    # -- facts
    # ----------------------------------------------------------------------------------------------------

    def observed(self):
        """What the runner would have gathered."""
        groups = {n: g for g in self.partitions() for n in g}
        nodes = {n: self.facts(n, groups[n]) for n in self.daemons if n not in self.silent}
        return {"nodes": nodes, "silent": sorted(self.silent)}

    def facts(self, name, group):
        """Facts of one node."""
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
            "pmxcfs": {"mounted": True, "writable": quorate, "members": None},
            "addresses": {f"eth{i}": [f"{address(net, me.nodeid)}/24"] for i, net in enumerate(NETS)},
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
