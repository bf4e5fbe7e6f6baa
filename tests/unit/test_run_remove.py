"""A node that leaves: what is refused, what is done, and what is read back."""

import hashlib

import pytest
from pve_corosync import arguments, conf
from pve_corosync.run.remove import Remove, in_use
from pve_corosync.run.request import Request

SETTINGS = arguments.settings({})
IDS = {"pve1": 1, "pve2": 2, "pve3": 3}


def address(nodeid):
    return f"10.66.0.{nodeid}"


def pillar(names=("pve1", "pve2", "pve3")):
    return {
        "cluster_name": "prod",
        "layout": "nominal",
        "nodes": {n: {"nodeid": IDS[n], "addresses": {"vrack": address(IDS[n])}} for n in names},
        "layouts": {"nominal": {"links": {0: {"network": "vrack"}}, "primary": "vrack"}},
    }


def text_of(names, version):
    link = {0: {"addresses": {name: address(IDS[name]) for name in names}, "options": {}}}
    return conf.render("prod", {name: {"nodeid": IDS[name]} for name in names}, link, version).decode()


class World:
    """Three nodes, of which pve3 is off, and the ports of a run that asks them."""

    jid, over = "1", frozenset()

    def __init__(self):
        self.texts = dict.fromkeys(IDS, text_of(IDS, 7))
        self.up, self.quorate = ["pve1", "pve2"], True
        self.guests, self.jobs, self.calls, self.clock = {"pve1/lxc/1.conf": "a"}, {}, [], 0.0
        self.late = 0  # looks until pve2 has loaded the file of pve1
        self.told, self.idle, self.locks = [], [], {}

    def passed(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds

    def gives_way(self):
        return False

    def say(self, text):
        self.told.append(text)

    def note(self, event, tag="run", **data):
        pass

    def gather(self):
        if self.late:
            self.late -= 1
            if not self.late:
                self.texts["pve2"] = self.texts["pve1"]
        return {"nodes": {name: self.facts(name) for name in self.up}, "silent": []}, []

    def facts(self, name):
        if name in self.idle:
            return {"node": name, "minion": name, "runtime": None, "quorum": None, "local": None}
        text = self.texts[name]
        rows = conf.parse(text).nodes()
        file = {
            "version": conf.parse(text).version,
            "text": text,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        return {
            "node": name,
            "minion": name,
            "local": file,
            "cluster_file": file,
            "runtime": {"version": file["version"], "nodes": rows},
            "quorum": {
                "quorate": self.quorate,
                "members": [IDS[n] for n in self.up if n in rows and n not in self.idle],
            },
            "pmxcfs": {"mounted": True, "writable": self.quorate},
            "links": {},
            "busy": {"txn": self.locks[name], "by": "x", "since": 0.0} if name in self.locks else None,
        }

    def ask(self, nodes, function, kwarg, wait, heard=None, grace=None):
        self.calls.append((function, *nodes))
        values = {
            "pvecm.guests": lambda name: self.guests,
            "pvesr.status": lambda name: self.jobs if name == "pve1" else {},
            "pvecm.old_keys": lambda name: {
                "authorized_keys": [{"type": "ssh-rsa", "fingerprint": "SHA256:x", "name": "root@pve3"}],
                "known_hosts": [],
            },
            "pvecm.delnode": lambda name: self.delnode(**kwarg),
            "corosync.stage": lambda name: self.stage(name, **kwarg),
            "corosync.finish": lambda name: {"was": self.locks.pop(name, None)},
        }
        return {name: {"return": values[function](name), "retcode": 0, "success": True} for name in nodes}

    def stage(self, name, txn, steps, by, takes_over=()):
        assert steps == [] and self.locks[name] in takes_over
        self.locks[name] = txn
        return {"ok": True}

    def delnode(self, name):
        names = [n for n in IDS if n != name]
        for node in names[:1] if self.late else names:
            self.texts[node] = text_of(names, 8)
        return {"changed": True, "version": 8, "text": "Killing node 3"}


def remove(world, node="pve3", force=(), test=False, names=("pve1", "pve2", "pve3")):
    return Remove(Request(pillar(names), force=force), world, SETTINGS, node).carry_out(test)


def codes(report, severity="error"):
    return [item["code"] for item in report["findings"] if item["severity"] == severity]


def test_a_node_that_is_off_is_taken_out_and_what_is_left_of_it_is_named():
    world = World()
    assert remove(world, test=True)["summary"] == "pve3 would be taken out by pvecm delnode on pve1"
    assert "pvecm.delnode" not in [call[0] for call in world.calls]
    report = remove(world)
    assert (report["result"], report["retcode"]) == ("removed", 0), report
    assert [call for call in world.calls if call[0] == "pvecm.delnode"] == [("pvecm.delnode", "pve1")]
    assert codes(report, "warning") == ["rebuild-old-key"] and codes(report, "info") == ["remove-in-pillar"]
    report = remove(world)
    assert (report["result"], report["retcode"]) == ("already", 0), report


def test_it_is_asked_until_every_node_runs_the_cluster_without_it():
    world = World()
    world.late = 4
    assert remove(world)["result"] == "removed" and world.texts["pve2"] == world.texts["pve1"]
    world = World()
    world.late = 1000
    report = remove(world)
    assert (report["result"], codes(report)) == ("failed", ["remove-failed"])
    assert "one file everywhere: pve2" in report["findings"][0]["text"]
    world.late = 2
    assert remove(world)["result"] == "removed", "the same command goes on"


def test_a_node_that_the_pillar_does_not_have_any_more_is_taken_out_of_the_cluster():
    report = remove(World(), names=("pve1", "pve2"))
    assert report["result"] == "removed" and "remove-in-pillar" not in codes(report, "info")
    report = remove(World(), node="pve9")
    assert (report["result"], codes(report)) == ("refused", ["remove-unknown"])


def test_the_last_node_stays():
    world = World()
    world.up, world.idle = ["pve3"], []
    report = remove(world, names=("pve3",))
    assert (report["result"], codes(report)) == ("refused", ["remove-not-level"])
    assert "nobody would stay" in report["findings"][0]["text"]


def test_what_stands_in_the_way_is_named_all_at_once_and_nothing_is_done():
    world = World()
    world.up = ["pve1", "pve2", "pve3"]
    report = remove(world)
    assert codes(report) == ["remove-alive"] and "is a member of pve1, pve2" in report["findings"][0]["text"]
    world = World()
    world.quorate, world.texts["pve2"] = False, text_of(["pve1", "pve2"], 8)
    report = remove(world)
    assert codes(report) == ["remove-no-quorum"] and "pvecm expected 1" in report["findings"][0]["remedy"]
    world = World()
    world.up = ["pve1"]
    report = remove(world)
    assert codes(report) == ["remove-not-level"] and report["findings"][0]["data"]["nodes"] == ["pve2"]
    assert [call for call in world.calls if call[0] == "pvecm.delnode"] == []


def test_a_node_that_answers_but_does_not_run_is_taken_out_with_a_warning():
    world = World()
    world.up, world.idle = ["pve1", "pve2", "pve3"], ["pve3"]
    report = remove(world)
    assert report["result"] == "removed", report
    assert sorted(codes(report, "warning")) == ["rebuild-old-key", "remove-answers"]
    (item,) = [item for item in report["findings"] if item["code"] == "remove-answers"]
    assert item["remedy"].endswith("salt pve3 service.disable corosync")


@pytest.mark.parametrize("code", ["remove-guests", "remove-replication"])
def test_guests_and_jobs_are_in_the_way_unless_forced(code):
    world = World()
    if code == "remove-guests":
        world.guests["pve3/qemu-server/100.conf"] = "b"
    else:
        world.jobs = {"101-0": {"target": "pve3"}, "101-1": {"target": "pve2"}}
    report = remove(world)
    assert (report["result"], codes(report)) == ("refused", [code])
    report = remove(world, force=[code])
    assert report["result"] == "removed" and code in codes(report, "warning")


def test_the_commands_of_what_is_in_the_way():
    found = in_use("pve3", {"pve3/lxc/7.conf": "a"}, {"pve1": {"9-0": {"target": "pve3"}}, "pve2": {}})
    assert "mv /etc/pve/nodes/pve3/lxc/7.conf /etc/pve/nodes/$(hostname)/lxc/7.conf" in found[0]["remedy"]
    assert found[1]["remedy"].startswith("pvesr delete 9-0;")


def test_a_living_run_goes_first_and_the_lock_of_a_dead_one_is_taken_over():
    world = World()
    world.locks = {"pve2": "7"}
    report = remove(world)
    assert (report["result"], codes(report)) == ("refused", ["run-busy"])
    world.over = frozenset({"7"})
    assert remove(world, test=True)["result"] == "test" and world.locks == {"pve2": "7"}
    report = remove(world)
    assert report["result"] == "removed" and world.locks == {}
    assert "run-dead" in codes(report, "warning") + codes(report, "info")


def test_a_quorum_device_goes_before_a_node_does():
    world = World()
    text = world.texts["pve1"].replace("quorum {\n", "quorum {\n  device {\n    model: net\n  }\n", 1)
    world.texts = dict.fromkeys(IDS, text)
    report = remove(world)
    assert codes(report) == ["remove-qdevice"] and world.calls == []
    (item,) = [item for item in report["findings"] if item["code"] == "remove-qdevice"]
    assert item["data"] == {"nodes": ["pve1", "pve2"]} and "pvecm qdevice remove" in item["remedy"]
