"""The lab as tests and the command line see it.

.. code-block:: python

    from lab.cluster import Lab, wait_for

    with Lab("mine", suite="bookworm") as lab:         # up … down
        lab.cut("vrack")
        wait_for(lambda: not lab.quorate("pve1"), 20)
        print(lab.exec("pve1", ["corosync-cfgtool", "-s"]).stdout)
"""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lab import base, host, pve, seed
from lab.network import MASTER_ADDRESS, PUBLIC, Network, check_name, networks_of
from lab.node import Machine, kill_cgroup
from lab.shell import LabError, note, wait_for
from lab.state import MASTER, Record, node_names

__all__ = ["MASTER", "Lab", "LabError", "wait_for"]


class Lab:
    """A cluster of nodes pve1, pve2 … and a Salt master, by the name of the lab.

    name
        up to 20 of a-z, 0-9 and -; labs of different names stand side by side
    suite
        bookworm (Corosync 3.1.7, Salt 3006) or trixie (3.1.9, 3008); of an existing lab it is known
    nodes
        how many nodes, 2 to 9
    root
        a folder with a real Proxmox VE's files, to be laid over the nodes; None for stand-ins alone
    """

    def __init__(self, name="lab", suite="bookworm", nodes=2, root=None):
        self.record = Record(name)
        known = self.record.read()
        self.name = name
        self.suite = known.get("suite", suite)
        self.nodes = known.get("nodes") or node_names(nodes)
        self.root = known.get("pve", root)
        self.network = Network(self.record)
        self._answered = None

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    # -- the whole lab -------------------------------------------------------------------------------------

    def up(self):
        """Build what is not there yet, boot all, and return when the cluster is quorate and Salt answers."""
        host.prepare()
        if self.record.exists():
            raise LabError(
                f"there is a lab {self.name!r} already: use it, or lab/lab --name {self.name} down first"
            )
        root = base.provide(self.suite)
        with self.record.change() as record:
            record.update(suite=self.suite, base=str(root), nodes=self.nodes, procs={}, cut=[], lost=[])
        try:
            if self.root:
                self.root = str(pve.provide(self.record, self.root))
                with self.record.change() as record:
                    record["pve"] = self.root
            seed.seed(self.record, self.nodes, self.root)
            self.network.create()
            for machine in self.record.machines():
                self._start(machine)
            self._all(lambda machine: machine.wait_booted(), self.record.machines())
            self._all(lambda machine: self._wait_healthy(machine.name), self.nodes)
            self._join()
            self.sync()
            self.check_units()
        except BaseException:
            note(
                f"{self.name}: gave up; what there is stays for a look until lab/lab --name {self.name} down"
            )
            raise

    def check_units(self):
        """Raise LabError with the units that have failed since the nodes were booted."""
        failed = self._all(lambda machine: (machine.name, machine.failed()), self.nodes)
        if any(units for _, units in failed):
            said = "; ".join(f"{name}: {units}" for name, units in failed if units)
            look = f"lab/lab --name {self.name} exec NODE journalctl -u UNIT"
            raise LabError(f"units have failed ({said}): {look}")

    def programs(self):
        """Return one line: which programs of Proxmox VE are real on the nodes, and which stand in."""
        return pve.describe(self.root)

    def down(self):
        """Leave nothing behind: processes, namespaces, cgroups, folders; also of a lab never whole."""
        host.require_root()
        if self.record.file.exists():
            for name in self.record.machines():
                self.machine(name).kill()
        # An `up` that was killed may have started what no record tells of; its cgroup does.
        kill_cgroup(host.cgroup_root() / self.record.prefix)
        self.network.delete()
        for folder in Path("/run/systemd/nspawn/propagate").glob(f"{self.record.prefix}-*"):
            if folder.name.removeprefix(f"{self.record.prefix}-") in {MASTER, *node_names(9)}:
                folder.rmdir()
        if self.record.folder.exists():
            shutil.rmtree(self.record.folder)

    def status(self):
        """Return one dict: name, suite, machines ({name: "running" or "off"}), cut, lost."""
        record = self.record.read()
        if not record:
            raise LabError(f"there is no lab {self.name!r}: lab/lab --name {self.name} up makes one")
        machines = {
            name: "running" if self.machine(name).leader() else "off" for name in self.record.machines()
        }
        return {
            "name": self.name,
            "suite": record["suite"],
            "machines": machines,
            "cut": record["cut"],
            "lost": record["lost"],
        }

    # -- one machine ---------------------------------------------------------------------------------------

    def machine(self, name):
        """Return the lab.node.Machine of this name."""
        if name not in self.record.machines():
            raise LabError(f"there is no machine {name!r}: this lab has {', '.join(self.record.machines())}")
        return Machine(self.record, name, self.network.namespace(name))

    def exec(self, node, argv, timeout=60, check=False, stdin=None, env=None):
        """Run a program in a machine; returns a CompletedProcess with text, raises LabError on a timeout.

        check
            raise LabError, with the last line the program said, when its exit code is not 0
        """
        return self.machine(node).exec(argv, timeout=timeout, check=check, stdin=stdin, env=env)

    def read(self, node, path):
        """Return the text of a file of a running machine.

        While somebody on that node replaces the cluster file, pmxcfs lets a reader wait and then has no file
        for it; the next look finds it (measured on pmxcfs 8.1.3 and 9.1.6).
        """
        for _ in range(3 if path == "/etc/pve/corosync.conf" else 0):
            done = self.exec(node, ["cat", path])
            if done.returncode == 0:
                return done.stdout
            time.sleep(0.2)
        return self.exec(node, ["cat", path], check=True).stdout

    def write(self, node, path, text):
        """Write a file of a running machine, in place."""
        self.exec(node, ["tee", path], check=True, stdin=text)

    def crash(self, node):
        """kill -9 of everything on a machine; its cables lose their carrier, its disk stays."""
        machine = self.machine(node)
        machine.kill()
        self.network.carrier(node, up=False)

    def boot(self, node, wait=True):
        """Boot a machine that is off, with the disk it had; networks cut and cards lost stay so.

        wait
            False returns while it boots
        """
        if self.machine(node).leader():
            raise LabError(f"{node} is running already")
        self._start(node)
        if wait:
            self.machine(node).wait_booted()

    @contextmanager
    def standstill(self, node):
        """Let a machine stand still for the block, as a virtual machine that is paused; its cables stay."""
        self.machine(node).freeze(True)
        try:
            yield
        finally:
            self.machine(node).freeze(False)

    def disk(self, node):
        """Return a lab.seed.Disk to write to the disk of a machine that is off."""
        if self.machine(node).leader():
            raise LabError(f"{node} is running: crash it first, or use exec")
        return seed.Disk(self.record.disk(node))

    # -- networks ------------------------------------------------------------------------------------------

    def cut(self, network, node=None):
        """Take a network's cable out of one machine, or out of all nodes: no carrier, addresses stay."""
        self._mark("cut", network, [node] if node else self.nodes)

    def lose_card(self, node, network):
        """Delete a node's card in a network, and the addresses with it."""
        self._mark("lost", network, [node])

    def heal(self, network=None):
        """Undo every cut and every lost card, of one network or of both."""
        if network:
            check_name(network)
        with self.record.change() as record:
            for kind in ("cut", "lost"):
                record[kind] = [entry for entry in record[kind] if network and entry[0] != network]
        self.network.apply([name for name in self.record.machines() if self.machine(name).leader()])

    def _mark(self, kind, network, machines):
        check_name(network)
        for machine in machines:
            self.machine(machine)
            if network not in networks_of(machine):
                raise LabError(f"{machine} has no card in {network}")
        with self.record.change() as record:
            record[kind] += [[network, name] for name in machines if [network, name] not in record[kind]]
        self.network.apply([name for name in machines if self.machine(name).leader()])

    # -- Salt ----------------------------------------------------------------------------------------------

    def salt(self, *args, timeout=120, check=False):
        """Run ``salt ARGS`` on the master."""
        return self.exec(MASTER, ["salt", *args], timeout=timeout, check=check)

    def salt_run(self, *args, timeout=180, check=False):
        """Run ``salt-run ARGS`` on the master."""
        return self.exec(MASTER, ["salt-run", *args], timeout=timeout, check=check)

    def sync(self):
        """Bring the repository's modules to the master and to all minions; needed after every edit."""

        def minions():
            self.wait_minions()
            wait_for(self._synced, 180, every=1, what="every minion to have the modules")

        tasks = [minions, lambda: self.salt_run("--out=quiet", "saltutil.sync_all", check=True)]
        with ThreadPoolExecutor() as pool:
            for result in [pool.submit(task) for task in tasks]:
                result.result()

    def _synced(self):
        """Sync the minions, and tell whether each of them has a module of ours now.

        Salt's exit code is no proof of it: under load a minion answers late, or misses the refresh that
        follows, and goes on without what it has on its disk.
        """
        to = ("--out=json", "--static", "-L", ",".join(self.nodes))
        self.salt(*to, "saltutil.sync_all")
        try:
            told = json.loads(self.salt(*to, "corosync.unit").stdout)
        except ValueError:
            return False
        return all(isinstance(told.get(node), dict) for node in self.nodes)

    def wait_minions(self):
        """Wait until every minion is connected to the master and answers it.

        Where the connections are those on which all of them answered before, and nothing is stuck in one of
        them, they are not asked again.
        """

        def ports():  # asking costs a timeout for each minion that is not there yet; looking does not
            found = self._all(lambda machine: self._connections(machine, "dst"), self.nodes)
            return [rows[0][2] for rows in found] if all(found) else None

        def answer():
            said = self.salt("--out=txt", "-t", "3", "-L", ",".join(self.nodes), "test.ping").stdout
            return all(f"{node}: True" in said for node in self.nodes)

        connections = wait_for(ports, 60, what="all minions to connect to the master")
        stuck = [row for row in self._connections(self.machine(MASTER), "src") if row[1] != "0"]
        if stuck or connections != self._answered:
            wait_for(answer, 60, every=0.5, what="all minions to answer the master")
            self._answered = connections

    def _connections(self, machine, end):
        """Return the connections to the master's publisher: [received, unsent, local, peer] (ss(8))."""
        wanted = ["ss", "-Htn", "state", "established", end, f"{MASTER_ADDRESS}:4505"]
        return [line.split() for line in machine.exec(wanted).stdout.splitlines()]

    # -- what the cluster looks like -----------------------------------------------------------------------

    def quorate(self, node):
        """Tell whether a node's Corosync has quorum (exit code 0 of corosync-quorumtool -s)."""
        return self.exec(node, ["corosync-quorumtool", "-s"]).returncode == 0

    def writable(self, node):
        """Tell whether a write to /etc/pve of a node goes through; its modes only tell of quorum."""
        return self.exec(node, ["lab-reset", "write"]).returncode == 0

    def members(self, node):
        """Return the node ids that a node's Corosync sees as members."""
        return _members(self.exec(node, ["corosync-quorumtool", "-l"]).stdout)

    def healthy(self, node):
        """Tell whether a node sees all members and may write to /etc/pve."""
        seen = self.exec(node, ["corosync-quorumtool", "-s"])
        whole = seen.returncode == 0 and len(_members(seen.stdout)) == len(self.nodes)
        return whole and self.writable(node)

    def connected(self, node):
        """Tell whether a node's Corosync has every link to every other node."""
        said = self.exec(node, ["corosync-cmapctl", "-m", "stats", "stats.knet."]).stdout
        states = [line.split()[-1] for line in said.splitlines() if ".connected " in line]
        return bool(states) and set(states) == {"1"}

    def reset(self, force=False):
        """Bring the cluster back to its first state: healed, booted, one link on the vRack, clean disks.

        Nodes that are in that state already are left alone, unless force is given. Raises LabError when the
        cluster does not become healthy.
        """
        record = self.record.read()
        off = [name for name in self.record.machines() if not self.machine(name).leader()]
        deaf = PUBLIC in {network for network, _ in record["cut"] + record["lost"]}
        self.heal()
        for name in off:
            self.boot(name, wait=False)
        self._all(lambda machine: machine.wait_booted(), off)
        if force or any(self._all(lambda machine: self._reset(machine, "check"), self.nodes)):
            for step in ("stop", "start"):
                codes = self._all(lambda machine, step=step: self._reset(machine, step), self.nodes)
                if any(codes):
                    raise LabError(
                        f"lab-reset {step} failed in {self.name}: exit codes {codes} of "
                        f"{', '.join(self.nodes)}"
                    )
            self._all(lambda machine: self._wait_healthy(machine.name), self.nodes)
        if deaf:  # a minion's connection that was cut for long takes its time to notice that it works again
            self._all(lambda machine: machine.exec(["lab-reset", "minion"]), self.nodes)
        if deaf or off:
            self.wait_minions()

    def _reset(self, machine, step):
        return machine.exec(["lab-reset", step], timeout=120).returncode

    # -- helpers -------------------------------------------------------------------------------------------

    def _start(self, name):
        self.network.renew(name)
        if name != MASTER:
            self.machine(name).start()
            return
        self.machine(name).start(
            [(host.REPO, seed.SOURCE), (seed.pillar(self.record, self.nodes), seed.PILLAR)]
        )

    def _join(self):
        """Make a PVE cluster of the nodes: keys, certificates, a replicated guest; remember that state."""
        # One by one: its temporary files in /etc/pve have its process id, and fresh nodes have the same.
        for node in self.nodes:
            self.exec(node, ["pvecm", "updatecerts"], timeout=100, check=True)
        if "LAB_PVESR" not in os.environ and not pve.needs_storage(self.root):
            first, second = self.nodes[:2]
            self.write(first, seed.GUEST[0].format(node=first), seed.GUEST[1])
            self.exec(
                first, ["pvesr", "create-local-job", seed.JOB, second, "--schedule", "*/15"], check=True
            )
        self._all(lambda machine: machine.exec(["lab-reset", "keep"], check=True), self.nodes)

    def _wait_healthy(self, node):
        wait_for(
            lambda: self.healthy(node),
            60,
            what=f"{node} to be quorate with {len(self.nodes)} members, and /etc/pve to be writable there",
        )

    def _all(self, task, names):
        """Run a task on several machines at once; returns the results in order, raises the first error."""
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            return list(pool.map(lambda name: task(self.machine(name)), names))


def _members(said):
    """Return the node ids in the membership of corosync-quorumtool."""
    rows = [line.split() for line in said.partition("Nodeid")[2].splitlines()]
    return sorted(int(row[0]) for row in rows if row and row[0].isdigit())


def elapsed(begin):
    """Return seconds since time.monotonic() said begin, as short text."""
    return f"{time.monotonic() - begin:.1f} s"
