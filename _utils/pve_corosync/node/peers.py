"""Asking other nodes from a node, over the ssh that PVE itself uses between nodes.

This file does I/O on purpose: it starts ``ssh``, several at once, each with a deadline of its own. What runs
on the peer only reads. PVE keeps a host key file for each node in ``/etc/pve/nodes/<node>/ssh_known_hosts``,
and connects with ``HostKeyAlias=<node>`` (PVE/SSHInfo.pm), so any address of a node will do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pve_corosync import addresses
from pve_corosync.cluster import facts as node_facts
from pve_corosync.node import children, etc_pve, etc_pve_client
from pve_corosync.node import files as node_files
from pve_corosync.tools import corosync
from pve_corosync.tools import ssh as pve_ssh

CONNECT_TIMEOUT = 5
#: for one peer and one address: the connection, then 20 commands that a healthy node answers in half a
#: second.
ASK_TIMEOUT = 12.0
CHECK_TIMEOUT = 25.0
READ_TIMEOUT = 3.0
#: ssh ends with this when it is ssh that failed, not the command (ssh(1)).
SSH_FAILED = 255


def ssh(node: str, address: str, command: list[str], known_hosts: bool = True) -> list[str]:
    """Return the command line that runs a fixed command as root on another node, as PVE does.

    :param node: its name: the alias of its host key.
    :param address: where to connect.
    :param command: words without blanks or anything that a shell reads.
    :param known_hosts: whether the node's own host key file exists.
    """
    line = pve_ssh.ssh_command(
        node, address, command, known_hosts=known_hosts, connect_timeout=CONNECT_TIMEOUT
    )
    return [line[0], "-T", "-o", "LogLevel=ERROR", *line[1:]]


def candidates(node: str, facts: dict, networks: dict) -> list[str]:
    """Return the addresses of another node in the order to try them: PVE's own, then the pillar's; dead links
    last.

    :param node: the other node.
    :param facts: this node's facts.
    :param networks: ``{network: {node: address}}``.
    """
    members = ((facts.get("pmxcfs") or {}).get("members") or {}).get("nodelist") or {}
    found = [(members.get(node) or {}).get("ip"), *(row.get(node) for row in networks.values())]
    found = list(dict.fromkeys(addresses.canonical(address) for address in found if address))
    links = (facts.get("links") or {}).get(node) or {}
    running = (((facts.get("runtime") or {}).get("nodes") or {}).get(node) or {}).get("addresses") or {}
    seen = {
        addresses.canonical(address): bool((links.get(number) or {}).get("connected"))
        for number, address in running.items()
    }
    return sorted(found, key=lambda address: seen.get(address) is False)


class Peers:
    """The other nodes of a cluster; the address that answered is tried first the next time.

    :param minions: ``{node: minion id}`` of the other nodes.
    :param networks: ``{network: {node: address}}``.
    :param root: for tests.
    """

    def __init__(self, minions: dict, networks: dict, root=None):
        self.minions, self.networks, self.root = dict(minions), networks, root
        self.addresses: dict[str, str] = {}
        self._known: dict[str, bool] | None = None
        self.why: dict[str, str] = {}

    def facts(self, own: dict, names=None) -> dict:
        """Return ``{node: facts}`` of those that answer; ``why`` then says of each other one why not.

        :param own: this node's facts.
        :param names: nodes to ask; default all.
        """
        names = list(self.minions if names is None else names)
        return {name: told for name, told in self._each(names, lambda name: self._facts(name, own)) if told}

    def check(self, names, conf: str) -> dict:
        """Return ``{node: "" or why its corosync did not take a configuration}``; nothing is written.

        A node that gives no answer did not take it.

        :param conf: the file, one character per byte.
        """
        return dict(self._each(names, lambda name: self._check(name, conf)))

    def _each(self, names, work):
        if not names:
            return []
        self.known_hosts("")  # asked before the threads start
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return list(zip(names, pool.map(work, names)))

    def known_hosts(self, name: str) -> bool:
        """Tell whether PVE keeps a host key file of its own for a node; pve-cluster before 8.0.6 does not.

        Read once, in a child process, since ``/etc/pve`` can hang. Where it is not mounted there is no file.
        """
        if self._known is None:
            files = {peer: f"nodes/{peer}/ssh_known_hosts" for peer in self.minions}
            base = node_files.under(self.root, etc_pve.BASE)
            try:
                told = etc_pve_client.ask({"do": "read", "names": list(files.values())}, base, READ_TIMEOUT)[
                    "files"
                ]
            except etc_pve_client.NoAnswer:
                told = {}
            self._known = {peer: told.get(path) is not None for peer, path in files.items()}
        return self._known.get(name, False)

    def _ssh(self, name, address, command):
        return ssh(name, address, command, self.known_hosts(name))

    def _facts(self, name, own):
        known = self.addresses.get(name)
        tried = candidates(name, own, self.networks)
        reasons = []
        for address in [known, *(a for a in tried if a != known)] if known else tried:
            result = children.run(
                self._ssh(name, address, ["sh", "-s"]),
                timeout=ASK_TIMEOUT,
                data=node_facts.SCRIPT.encode(),
            )
            try:
                told = node_facts.parse(children.text(result), self.minions[name])
            except node_facts.FactsError as exc:
                reasons.append(f"{address}: {children.complaint(result) if result['rc'] else exc}")
                continue
            self.addresses[name] = address
            self.why.pop(name, None)
            return told
        self.addresses.pop(name, None)
        self.why[name] = "; ".join(reasons) or "no address of it is known"
        return None

    def _check(self, name, conf):
        if name not in self.addresses:
            return f"corosync -t could not be asked: {self.why.get(name) or 'no address of it answered'}"
        command = self._ssh(name, self.addresses[name], ["corosync", "-t", "-c", "/dev/stdin"])
        result = children.run(command, timeout=CHECK_TIMEOUT, data=conf.encode("latin-1"))
        if result["late"]:
            return f"corosync -t gave no answer within {CHECK_TIMEOUT:g} s"
        if result["rc"] == SSH_FAILED:
            return f"corosync -t could not be asked: {children.complaint(result)}"
        said = corosync.check_result(result["rc"], children.text(result), children.text(result, "err"))
        return "" if said["ok"] else "; ".join(said["errors"])
