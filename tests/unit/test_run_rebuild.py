"""A rebuild, cut off at every point and called again, against nodes that keep what was done to them."""

import hashlib
import itertools

import pytest
from pve_corosync import arguments, conf
from pve_corosync.run import join
from pve_corosync.run.rebuild import Rebuild
from pve_corosync.run.request import Request

SETTINGS = arguments.settings({})
KEY = "5" * 64
#: (nodes with their ids, the one to rebuild): others without quorum, others with quorum; both with a gap.
CLUSTERS = {
    "no quorum": ({"pve1": 1, "pve3": 3}, "pve3"),
    "quorum": ({"pve1": 1, "pve2": 4, "pve5": 5}, "pve2"),
}
VOTES = 2


class Cut(BaseException):
    """The master, and with it everything, stopped here."""


def address(nodeid):
    return f"10.66.0.{nodeid}"


def pillar(ids):
    return {
        "cluster_name": "prod",
        "layout": "nominal",
        "nodes": {name: {"nodeid": n, "addresses": {"vrack": address(n)}} for name, n in ids.items()},
        "layouts": {"nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"}},
    }


def text_of(ids, votes, version):
    link = {0: {"addresses": {name: address(n) for name, n in ids.items()}, "options": {}}}
    nodes = {name: {"nodeid": n, "votes": votes.get(name, 1)} for name, n in ids.items()}
    return conf.render("prod", nodes, link, version).decode()


class World:
    """Nodes, and the ports of a run that asks them; the master is cut off before effect number ``cut``."""

    def __init__(self, kind):
        self.jid, self.over, self.locks = "0", frozenset(), {}
        self.ids, self.node = CLUSTERS[kind]
        # the others of "quorum" keep it with the node's own votes missing
        self.votes = {self.node: VOTES} | ({"pve1": 2} if kind == "quorum" else {})
        text = text_of(self.ids, self.votes, 7)
        self.cluster = text
        self.nodes = {
            name: {"local": text, "runs": text, "key": True, "database": True, "joined": True, "hosts": True}
            for name in self.ids
        }
        self.nodes[self.node] = dict.fromkeys(("local", "runs", "key", "joined", "hosts")) | {
            "database": True
        }
        self.pmxcfs = dict.fromkeys(self.ids, True)
        self.clock, self.cut, self.effects, self.calls = 0.0, None, 0, []
        self.called = 1e9  # the number of effects after which an operator's command waits
        self.complains = ""  # what pvecm add ends with, once, after the join itself

    # ---- the ports

    def passed(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds

    def gives_way(self):
        return self.effects >= self.called

    def say(self, text):
        pass

    def note(self, event, tag="run", **data):
        pass

    def gather(self):
        return {"nodes": {name: self.facts(name) for name in self.ids}, "silent": []}, []

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):
        answers = {}
        for name in nodes:
            self.calls.append((function, name, kwarg))
            error = None
            try:
                value = getattr(self, function.replace(".", "_"))(name, **kwarg)
            except ValueError as exc:
                value, error = f"ERROR: {exc}", True
            answers[name] = {"return": value, "retcode": int(bool(error)), "success": not error}
        return answers

    def effect(self):
        """One thing is about to be changed."""
        if self.cut == self.effects:
            raise Cut
        self.effects += 1

    # ---- what is there

    def doc(self, text):
        return conf.parse(text).nodes()

    def quorate(self, name):
        runs = self.nodes[name]["runs"]
        if not runs or name not in self.doc(runs):
            return False
        rows = self.doc(runs)
        votes = sum(rows[other]["votes"] for other in rows if (self.nodes.get(other) or {}).get("runs"))
        return votes > sum(row["votes"] for row in rows.values()) // 2

    def writable(self, name):
        if not self.pmxcfs[name]:
            return False
        return self.quorate(name) if self.nodes[name]["joined"] else True

    def spread(self):
        """As pmxcfs does: a newer cluster file goes to the local files, and is loaded."""
        version = conf.parse(self.cluster).version
        for name, row in self.nodes.items():
            if row["joined"] and row["local"] and conf.parse(row["local"]).version < version:
                row["local"] = self.cluster
                row["runs"] = row["runs"] and self.cluster

    def facts(self, name):
        row = self.nodes[name]
        rows = self.doc(row["runs"]) if row["runs"] else {}

        def file(text):
            digest = hashlib.sha256(text.encode()).hexdigest()
            return {"version": conf.parse(text).version, "text": text, "sha256": digest}

        return {
            "node": name,
            "local": file(row["local"]) if row["local"] else None,
            "cluster_file": file(self.cluster) if row["joined"] and self.pmxcfs[name] else None,
            "runtime": {"version": conf.parse(row["runs"]).version, "nodes": rows} if row["runs"] else None,
            "quorum": {"quorate": self.quorate(name)} if row["runs"] else None,
            "pmxcfs": {"mounted": self.pmxcfs[name], "writable": self.writable(name)},
            "authkey": {"sha256": KEY} if row["key"] else None,
            "links": {},
            "addresses": {},
            "busy": {"txn": self.locks[name]} if name in self.locks else None,
        }

    def whole(self):
        rows = list(self.nodes.values())
        texts = {self.cluster} | {row[key] for row in rows for key in ("local", "runs")}
        told = len(texts) == 1 and all(map(self.writable, self.ids)) and all(row["hosts"] for row in rows)
        return told and not self.locks

    # ---- functions of the nodes

    def pvecm_joinable(self, name):
        row = self.nodes[name]
        reasons = [key for key in ("local", "key", "joined", "runs") if row[key]]
        return {"name": name, "reasons": reasons, "half": bool(row["key"])}

    def pvecm_guests(self, name):
        return {"pve1/lxc/1.conf": "a"}

    def pve_node_names(self, name, addresses):
        assert addresses == {other: address(n) for other, n in self.ids.items()}
        self.effect()
        self.nodes[name]["hosts"] = True
        return {"changed": True}

    def pvecm_identity(self, name):
        keys = {"keys": ["SHA256:new"], "host_keys": ["SHA256:host"]}
        return {"public": "ssh-rsa A", "host_key": "ssh-rsa B"} | keys

    def pvecm_old_keys(self, name, names, keys, host_keys):
        assert names == [self.node, address(self.ids[self.node])]
        assert (keys, host_keys) == (["SHA256:new"], ["SHA256:host"])
        row = {"fingerprint": "SHA256:old", "type": "ssh-rsa", "name": f"root@{self.node}"}
        return {"authorized_keys": [row], "known_hosts": []}

    def pvecm_admit(self, name, public):
        self.effect()
        return True

    pvecm_know = lambda self, name, host, key: self.pvecm_admit(name, key)  # noqa: E731

    def corosync_stage(self, name, txn, steps, by, takes_over=()):
        held = self.locks.get(name)
        if held not in (None, txn, *takes_over):
            raise ValueError(f"run {held} is under way")
        self.locks[name] = txn
        self.effect()
        return {"ok": True}

    def corosync_finish(self, name, txn):
        if self.cut == self.effects:  # whoever was killed gives nothing back
            raise Cut
        if self.locks.get(name) == txn:
            del self.locks[name]
        return {}

    def corosync_step(self, name, txn, step, writer):
        self.effect()
        if step["act"] == "local":
            assert step["version"] > conf.parse(self.nodes[name]["runs"]).version
            self.nodes[name]["local"] = self.nodes[name]["runs"] = step["conf"]
        elif name == writer:
            self.cluster = step["conf"]
            self.spread()
        # the daemons of one partition load the file at the same moment, once all have it
        seen = {
            "version": conf.parse(self.nodes[name]["runs"]).version,
            "quorate": True,
            "writable": True,
        }
        return {"number": step["number"], "phase": "", "ok": True, "error": "", "seen": seen, "missing": []}

    def pvecm_delnode(self, name, name_=None, **kwarg):
        raise AssertionError("addnode overwrites the entry")

    def pvecm_add(self, name, host, links, nodeid=None, votes=None):
        member = next(other for other, n in self.ids.items() if address(n) == host)
        if not self.writable(member):
            raise ValueError("cluster not ready - no quorum?")
        doc, row = conf.parse(self.cluster), self.nodes[name]
        had = doc.nodes().get(name)
        if had:
            if (nodeid or had["nodeid"], votes or had["votes"]) != (had["nodeid"], had["votes"]):
                raise ValueError("can't add existing node")
            nodeid, votes = had["nodeid"], had["votes"]
            doc.remove_node(name)
        free = next(n for n in itertools.count(1) if n not in [r["nodeid"] for r in doc.nodes().values()])
        doc.add_node(name, nodeid or free, {int(n): a for n, a in links.items()}, votes or 1)
        doc.set_version(doc.version + 1)
        self.effect()
        self.cluster = doc.text
        self.spread()
        for key, value in (("key", True), ("local", self.cluster)):
            self.effect()
            row[key] = value
        self.effect()
        self.pmxcfs[name] = False
        self.effect()
        row["database"] = False
        self.effect()
        row["runs"] = row["local"]
        self.effect()
        self.start_pmxcfs(name)
        if self.complains:
            raise ValueError(self.complains)
        return {"version": doc.version, "seconds": 1}

    def start_pmxcfs(self, name):
        row = self.nodes[name]
        row["joined"] = row["joined"] or (not row["database"] and bool(row["local"]))
        self.pmxcfs[name] = row["database"] = True

    def pvecm_resume(self, name, key):
        assert key == KEY
        row = self.nodes[name]
        fresh = not row["database"]
        self.effect()
        if not fresh:
            self.start_pmxcfs(name)
        if row["local"] and (fresh or row["joined"]):
            row["runs"] = row["local"]
            self.start_pmxcfs(name)
            if not self.writable(name):
                raise ValueError("no quorum")
            return {"joined": True}
        row["runs"] = None
        for file in ("local", "key"):
            self.effect()
            row[file] = None
        self.start_pmxcfs(name)
        return {"joined": False}

    def pve_node_restart_pve_cluster(self, name, address):
        assert self.writable(name)
        return {"changed": False}

    def pve_certs_update(self, name):
        self.effect()
        return {"changed": True}

    def corosync_refresh_services(self, name, always):
        return {"due": "", "done": None}

    def corosync_exit_facts(self, name, primary):
        return {"problems": {}}


@pytest.fixture(autouse=True)
def checklist(monkeypatch):
    """What the items look at is a matter of judge.checklist; here they are true where the world is whole."""

    def items(request, observed, full=False):
        return [{"item": "all", "ok": request.world.whole(), "seen": "x", "expected": "y"}], []

    monkeypatch.setattr(Request, "checklist", items)


def rebuild(world, test=False):
    world.over |= {world.jid}
    world.jid = str(int(world.jid) + 1)
    request = Request(pillar(world.ids))
    request.world = world
    return Rebuild(request, world, SETTINGS, world.node).carry_out(test)


def check(world):
    row = conf.parse(world.cluster).nodes()[world.node]
    assert world.whole()
    assert row["nodeid"] == world.ids[world.node]
    return row["votes"]


def count(kind):
    world = World(kind)
    report = rebuild(world)
    assert report["result"] == "rebuilt", report
    assert check(world) == VOTES
    return world.effects


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_rebuilt_node_keeps_its_id_and_its_votes(kind):
    world = World(kind)
    assert rebuild(world, test=True)["result"] == "test" and world.effects == 0
    assert rebuild(world)["result"] == "rebuilt"
    assert check(world) == VOTES
    (call,) = [kwarg for function, _, kwarg in world.calls if function == "pvecm.add"]
    given = {key: call.get(key) for key in ("nodeid", "votes")}
    overwritten = {"nodeid": None, "votes": None}
    assert given == (overwritten if kind == "quorum" else {"nodeid": 3, "votes": VOTES})
    assert rebuild(world)["result"] == "already"


@pytest.mark.parametrize("kind", CLUSTERS)
def test_cut_off_at_any_point_the_same_command_brings_the_node_back(kind):
    """Also if the second one is cut off too."""
    last = count(kind)
    for first in range(last):
        for second in (None, first * 5 % last):
            world = World(kind)
            world.cut = first
            with pytest.raises(Cut):
                rebuild(world)
            world.effects, world.cut = 0, second
            try:
                report = rebuild(world)
            except Cut:
                world.cut = None
                report = rebuild(world)
            assert report["result"] in ("rebuilt", "already"), (first, second, report)
            check(world)


@pytest.mark.parametrize("kind", CLUSTERS)
def test_at_any_point_an_operators_command_goes_first_and_the_rebuild_is_gone_on_with(kind):
    given_way = 0
    for called in range(count(kind)):
        world = World(kind)
        world.called = called
        report = rebuild(world)
        if report["result"] == "failed":
            given_way += 1
            assert "an operator's command goes first; not begun: " in report["findings"][0]["text"], report
        world.called = 1e9
        assert rebuild(world)["result"] in ("rebuilt", "already"), called
        check(world)
    assert given_way > 3


@pytest.mark.parametrize("kind", CLUSTERS)
def test_what_pvecm_could_not_do_after_the_join_is_done_by_the_same_run(kind):
    """
    Corosync is quorate before pmxcfs of a member is back in its group: what pvecm writes then is lost.
    """
    world = World(kind)
    world.complains = "generate new node certificate: X509_check_private_key:key values mismatch"
    report = rebuild(world)
    assert (report["result"], report["retcode"]) == ("rebuilt", 0), report
    assert check(world) == VOTES
    rows = [(row["ok"], row["text"]) for row in report["done"]]
    (bad,) = [place for place, (ok, _) in enumerate(rows) if not ok]
    assert "joins by pve1" in rows[bad][1] and "goes on with a join that was cut off" in rows[bad + 1][1]


def test_a_join_with_another_id_is_not_gone_on_with():
    world = World("quorum")
    world.complains = "the cluster file gives pve2 the id 9, wanted 4"
    add = world.pvecm_add

    def other(name, **kwarg):
        try:
            return add(name, **kwarg)
        finally:
            world.cluster = world.cluster.replace("nodeid: 4", "nodeid: 9")

    world.pvecm_add = other
    report = rebuild(world)
    assert report["result"] == "failed" and "pvecm.resume" not in [call[0] for call in world.calls], report


def test_a_rebuild_that_fails_tells_that_a_dead_run_left_ha_released():
    world = World("quorum")
    entry = {"function": "ha_manager.arm", "nodes": ["pve1"], "kwargs": {}, "text": "arm HA again"}
    gather = world.gather

    def left():
        observed, found = gather()
        observed["nodes"]["pve1"]["undo"] = {"txn": "7", "since": 1.0, "undo": [entry]}
        return observed, found

    world.gather = left
    assert "ha-left-released" not in [item["code"] for item in rebuild(world)["findings"]]
    world = World("quorum")
    world.gather, gather = left, world.gather
    world.pvecm_admit = lambda *_args, **_kwarg: (_ for _ in ()).throw(ValueError("disk full"))
    report = rebuild(world)
    assert report["result"] == "failed"
    assert "ha-left-released" in [item["code"] for item in report["findings"]]


def test_a_key_of_the_old_disk_is_named_with_the_command_that_takes_it_out():
    world = World("quorum")
    report = rebuild(world)
    (item,) = [item for item in report["findings"] if item["code"] == "rebuild-old-key"]
    assert (report["retcode"], item["severity"]) == (0, "warning") and "still lets its owner in" in item[
        "text"
    ]
    assert item["remedy"].endswith("salt pve1 pvecm.drop_key SHA256:old")
    world = World("quorum")
    world.pvecm_old_keys = lambda *_args, **_kwarg: "ERROR: /etc/pve did not answer"
    report = rebuild(world)
    (item,) = [item for item in report["findings"] if item["code"] == "rebuild-old-key"]
    assert report["result"] == "rebuilt" and "is not known" in item["text"]


def test_the_lock_of_a_rebuild_that_was_killed_is_taken_over_and_that_of_another_master_is_not():
    world = World("no quorum")
    world.locks = {"pve1": "7"}
    report = rebuild(world)
    assert report["result"] == "refused" and world.locks == {"pve1": "7"} and world.effects == 0
    assert [item["code"] for item in report["findings"] if item["severity"] == "error"] == ["run-busy"]
    world.over = frozenset({"7"})
    assert rebuild(world, test=True)["result"] == "test" and world.locks == {"pve1": "7"}
    report = rebuild(world)
    assert report["result"] == "rebuilt" and world.locks == {}
    assert "run-dead" in [item["code"] for item in report["findings"]]


def test_an_entry_with_another_id_or_address_is_taken_out_first():
    world = World("quorum")
    layout = Request(pillar(world.ids)).layout
    seen, links = world.gather()[0], {0: address(4)}
    assert join.way(layout, "pve2", seen, links) == "keep"
    assert join.way(layout, "pve2", seen, {0: "10.66.0.99"}) == "delnode"
    layout["nodes"]["pve2"]["nodeid"] = 2
    assert join.way(layout, "pve2", seen, links) == "delnode"


def test_a_node_with_another_key_or_another_file_is_not_half_joined():
    world = World("quorum")
    world.cut = 5
    with pytest.raises(Cut):
        rebuild(world)
    world.cut = None
    seen, empty = world.gather()[0], world.pvecm_joinable("pve2")
    assert seen["nodes"]["pve2"]["authkey"] and join.half_joined("pve2", seen, empty)
    assert not join.half_joined("pve2", seen, empty | {"half": False})
    seen["nodes"]["pve2"]["authkey"] = {"sha256": "other"}
    assert not join.half_joined("pve2", seen, empty)
    found = join.check(Request(pillar(world.ids)).layout, "pve2", seen, empty)
    assert [item["code"] for item in found] == ["rebuild-not-empty"]
    assert "rm -f /etc/corosync/corosync.conf" in found[0]["remedy"], "the commands, not only advice"


def test_an_id_that_another_node_has_is_refused():
    world = World("quorum")
    layout = Request(pillar(world.ids)).layout
    layout["nodes"]["pve2"]["nodeid"] = 5
    found = join.check(layout, "pve2", world.gather()[0], {"reasons": [], "half": False})
    assert [item["code"] for item in found] == ["rebuild-nodeid"] and "which pve5 has" in found[0]["text"]


def test_a_node_that_is_no_node_is_named():
    world = World("quorum")
    world.node = "pve9"
    report = rebuild(world)
    assert report["result"] == "refused" and report["findings"][0]["code"] == "rebuild-unknown"


JOBS = {"pve1": {"100-0": {"target": "pve2"}}, "pve5": {"101-0": {"target": "pve1"}}}


def test_only_replication_to_the_node_is_left_to_its_schedule():
    good, bad = ([{"item": "replication", "ok": ok, "seen": "job 100-0: boom"}] for ok in (True, False))
    (found,) = join.replication_left(bad, good, JOBS, "pve2")
    assert (found["code"], found["severity"]) == ("rebuild-replication", "warning")
    assert "100-0" in found["text"] and "101-0" not in found["text"]
    assert join.replication_left(bad, bad, JOBS, "pve2") == []
    assert join.replication_left(good, good, JOBS, "pve2") == []
