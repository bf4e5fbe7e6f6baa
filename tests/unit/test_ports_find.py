"""ports.find and ports.index: a cluster costs one pillar, whatever the index says and whoever wrote it."""

import json
import os
import threading

import pytest
from pve_corosync.arguments import RunError
from pve_corosync.ports import find, index


def pillar(cluster, *nodes):
    return {"corosync": {"cluster_name": cluster, "nodes": {name: {} for name in nodes}}}


class Master:
    """A master with keys and pillars, that counts what it compiles."""

    def __init__(self, path, pillars):
        self.path, self.pillars, self.compiled = path, dict(pillars), []

    def state_dir(self):
        return str(self.path)

    def accepted(self, _target, _kind):
        return set(self.pillars)

    def pillar(self, minion):
        self.compiled.append(minion)
        return self.pillars[minion]

    def find(self, wanted=None):
        """Return the cluster's name, its nodes, and the codes of findings."""
        self.compiled.clear()
        name, own, findings = find.cluster(self, "*", wanted)
        return name, sorted(own["nodes"]), [item["code"] for item in findings]

    def refusal(self, wanted=None):
        self.compiled.clear()
        with pytest.raises(RunError) as error:
            find.cluster(self, "*", wanted)
        (item,) = error.value.findings
        return item["code"], item["text"]

    def give(self, own, *minions):
        self.pillars.update(dict.fromkeys(minions, own))


@pytest.fixture
def prod(tmp_path):
    master = Master(tmp_path, {})
    master.give(pillar("prod", "pve1", "pve2"), "pve1", "pve2")
    return master


@pytest.fixture
def fleet(tmp_path):
    """200 clusters of two nodes, and an index that knows them."""
    master = Master(tmp_path, {})
    for number in range(200):
        nodes = [f"c{number:03}n1", f"c{number:03}n2"]
        master.give(pillar(f"c{number:03}", *nodes), *nodes)
    master.find("c000")
    return master


PROD = ("prod", ["pve1", "pve2"], [])


@pytest.mark.parametrize("name", ["c000", "c199"])
def test_a_command_for_one_cluster_costs_one_pillar(fleet, name):
    assert fleet.find(name)[0] == name
    assert len(fleet.compiled) == 1


def test_a_command_without_a_name_costs_one_pillar_where_there_is_one_cluster(prod):
    prod.give({"apache": {}}, "web1", "web2")
    assert prod.find() == PROD
    assert prod.find() == PROD
    assert prod.compiled == ["pve1"]


def test_a_command_without_a_name_is_refused_after_two_pillars_where_there_are_many(fleet):
    code, text = fleet.refusal()
    assert code == "cluster-several" and "c000" in text and "c199" in text
    assert len(fleet.compiled) == 2


def test_only_the_new_keys_are_looked_at_for_a_new_cluster(fleet):
    fleet.give(pillar("c777", "c777n1", "c777n2"), "c777n1", "c777n2")
    assert fleet.find("c777")[0] == "c777"
    assert fleet.compiled == ["c777n1", "c777n2"]
    assert fleet.find("c777")[0] == "c777"
    assert fleet.compiled == ["c777n1"]


def test_a_new_cluster_is_found_by_a_command_that_names_none(prod):
    prod.find()
    prod.give(pillar("lab", "lab1"), "lab1")
    assert prod.refusal()[0] == "cluster-several"
    assert prod.compiled == ["pve1", "lab1"]


def test_a_cluster_renamed_is_found_by_its_new_name_and_no_longer_by_the_old(fleet):
    fleet.give(pillar("new", "c007n1", "c007n2"), "c007n1", "c007n2")
    code, text = fleet.refusal("c007")
    assert code == "cluster-unknown" and "new" in text
    assert fleet.find("new")[:2] == ("new", ["c007n1", "c007n2"])
    assert fleet.compiled == ["c007n1"], "the failed look taught it"


def test_the_only_cluster_renamed_is_found_without_a_name(prod):
    prod.find()
    prod.give(pillar("new", "pve1", "pve2"), "pve1", "pve2")
    assert prod.find() == ("new", ["pve1", "pve2"], [])
    assert prod.find() == ("new", ["pve1", "pve2"], []) and prod.compiled == ["pve1"]


def test_a_minion_moved_to_another_cluster_leads_nowhere_wrong(prod):
    prod.give(pillar("lab", "lab1"), "lab1")
    prod.find("prod")
    prod.give(pillar("prod", "pve2"), "pve2")
    prod.give(pillar("lab", "lab1", "pve1"), "lab1", "pve1")
    assert prod.find("prod") == ("prod", ["pve2"], [])
    assert prod.find("lab") == ("lab", ["lab1", "pve1"], [])
    assert index.read(prod.path) == {"lab1": "lab", "pve1": "lab", "pve2": "prod"}


def test_a_minion_moved_while_its_old_cluster_still_names_it_is_found(prod):
    """Without the index too: a node that another pillar names is looked at before its cluster is unknown."""
    prod.give(pillar("lab", "pve2"), "pve2")
    assert prod.find("lab") == ("lab", ["pve2"], [])


def test_a_deleted_key_is_forgotten(prod):
    prod.give(pillar("lab", "lab1"), "lab1")
    prod.find("prod")
    del prod.pillars["pve1"]
    assert prod.find("prod") == PROD and prod.compiled == ["pve2"]
    del prod.pillars["lab1"]
    assert prod.find() == PROD and prod.compiled == ["pve2"]
    assert prod.refusal("lab")[0] == "cluster-unknown"
    assert index.read(prod.path) == {"pve2": "prod"}


@pytest.mark.parametrize("known", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("nodes", [["aaa"], ["aaa", "pve1", "pve2"], ["pve1", "pve3"], []], ids=str)
@pytest.mark.parametrize("wanted", ["prod", None])
def test_a_minion_that_claims_the_cluster_of_others_does_not_get_it(prod, known, nodes, wanted):
    if known:
        prod.find()
    prod.give(pillar("prod", *nodes), "aaa")
    for _again in range(2):
        name, found, codes = prod.find(wanted)
        assert (name, found) == PROD[:2]
        assert wanted or codes == ["cluster-claimed"], "and it is told"


@pytest.mark.parametrize("known", [True, False], ids=["index", "no index"])
def test_a_minion_that_claims_the_nodes_of_others_does_not_hide_their_cluster(prod, known):
    if known:
        prod.find()
    prod.give(pillar("evil", "aaa", "pve1", "pve2"), "aaa")
    assert prod.refusal()[0] == "cluster-several"
    assert prod.find("prod") == PROD
    assert prod.compiled == ["pve1"]


def test_two_pillars_of_one_name_with_as_many_nodes_are_refused(tmp_path):
    master = Master(tmp_path, {"a": pillar("prod", "a"), "b": pillar("prod", "b")})
    assert master.refusal("prod") == (
        "cluster-claimed",
        "pillars of cluster 'prod' name other nodes: a has the nodes a; b has the nodes b;"
        " which one is true cannot be told",
    )


def test_a_pillar_that_cannot_be_compiled_is_told_and_looked_at_again(prod):
    mended = prod.pillars["pve1"]
    prod.give({"_errors": ["no such sls"]}, "pve1", "pve2")
    with pytest.raises(RunError, match="pillar of pve1, pve2: no such sls"):
        prod.find("prod")
    prod.give(mended, "pve1")
    assert prod.find("prod") == (*PROD[:2], ["pillar-render"]), "pve2 is a node, and still has none"
    prod.give(mended, "pve2")
    assert prod.find("prod") == PROD


def whole(*nodes):
    """A pillar that passes its own checks."""
    rows = {name: {"nodeid": at, "addresses": {"lan": f"192.0.2.{at}"}} for at, name in enumerate(nodes, 1)}
    layout = {"links": {0: {"network": "lan"}}, "primary": "lan"}
    own = {"cluster_name": "prod", "nodes": rows, "layouts": {"nominal": layout}, "layout": "nominal"}
    return {"corosync": own}


def told(master):
    return [(item["severity"], item["text"]) for item in find.cluster(master, "*", "prod")[2]]


BROKEN = {"_errors": ["Rendering SLS 'users' failed"]}


@pytest.mark.parametrize("known", [True, False], ids=["index", "no index"])
def test_a_part_that_failed_is_told_where_the_key_is_there(prod, known):
    """A warning where the key is whole: a failover does not wait for a pillar of something else."""
    if known:
        prod.find()
    seen = "pve1" if known else "pve1, pve2"
    prod.give(whole("pve1", "pve2") | BROKEN, "pve1", "pve2")
    assert told(prod) == [("warning", f"pillar of {seen}: Rendering SLS 'users' failed")]
    prod.give(pillar("prod", "pve1", "pve2") | BROKEN, "pve1", "pve2")
    assert told(prod)[0][0] == "error", "what is missing in the key may be in the part that failed"
    prod.give(whole("pve1", "pve2"), "pve1", "pve2")
    assert told(prod) == []


def test_a_node_without_a_pillar_is_told_where_another_has_it(prod):
    prod.give(whole("pve1", "pve2"), "pve2")
    prod.give(BROKEN, "pve1")
    assert told(prod) == [("warning", "pillar of pve1: Rendering SLS 'users' failed")]


def test_a_broken_pillar_of_somebody_else_is_not_told(prod):
    prod.give(BROKEN, "aaa")
    assert told(prod) == [] and "aaa" in prod.compiled


def test_a_cluster_that_is_unknown_as_its_pillars_are_broken_is_told_so(prod):
    """And not as a typing error in its name, where the master has other clusters."""
    prod.give(pillar("lab", "lab1"), "lab1")
    prod.give(BROKEN, "pve1", "pve2")
    with pytest.raises(RunError) as error:
        prod.find("prod")
    assert [item["code"] for item in error.value.findings] == ["cluster-unknown", "pillar-render"]


JUNK = [
    b"",
    b"{",
    b'{"format": 1, "minions": {"pve1": "prod"',
    b"\xff\xfe",
    b"null",
    b"[]",
    b'{"format": 2, "minions": {"pve1": "lab"}}',
    b'{"format": 1, "minions": ["pve1"]}',
    b'{"format": 1, "minions": {"pve1": {"cluster": "prod"}}}',
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:24]))
@pytest.mark.parametrize("wanted", ["prod", None])
def test_a_torn_or_garbage_index_is_made_anew(prod, junk, wanted):
    (prod.path / index.FILE).write_bytes(junk)
    assert prod.find(wanted) == PROD
    assert prod.find(wanted) == PROD and prod.compiled == ["pve1"]
    assert index.read(prod.path) == {"pve1": "prod", "pve2": "prod"}


LIES = [{"pve1": "lab", "pve2": None}, {"pve1": None}, {"web": "prod", "gone": "prod"}]


@pytest.mark.parametrize("lie", LIES, ids=str)
@pytest.mark.parametrize("wanted", ["prod", None])
def test_an_index_that_lies_is_healed(prod, lie, wanted):
    prod.give({}, "web")
    index.write(prod.path, lie)
    if wanted or lie != {"pve1": None}:
        assert prod.find(wanted) == PROD
    assert prod.find("prod") == PROD
    assert prod.find(wanted) == PROD and prod.compiled == ["pve1"]


def test_an_index_that_cannot_be_kept_fails_nothing(prod):
    (prod.path / index.FILE).mkdir()
    assert prod.find() == PROD
    assert os.listdir(prod.path) == [index.FILE], "no half-written file is left"


def test_two_that_write_at_once_leave_a_whole_index(tmp_path):
    names = [{f"{who}{number}": f"cluster{who}" for number in range(500)} for who in "ab"]
    seen, ended = [], threading.Event()

    def work(minions):
        for _again in range(40):
            index.write(tmp_path, minions)

    def look():
        while not ended.is_set():
            seen.append(index.read(tmp_path))

    reader = threading.Thread(target=look)
    writers = [threading.Thread(target=work, args=(minions,)) for minions in names]
    index.write(tmp_path, names[0])
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert seen and all(minions in names for minions in seen)
    assert os.listdir(tmp_path) == [index.FILE]


HOSTILE = [
    "a.b",
    "a_b",
    "a b",
    "a/b",
    "..",
    ".",
    ".hidden",
    "",
    "A_B",
    "ä",
    "a'b\"c",
    "a\nb",
    "%2E",
    "~",
    "index.json",
]
HOSTILE += ["x" * 256, "x" * 255 + "y", "ü" * 256, "\udc80"]


def test_every_name_has_a_folder_of_its_own(tmp_path):
    names = [index.folder_name(name) for name in HOSTILE]
    assert len(set(names)) == len(HOSTILE)
    for name in names:
        (tmp_path / name).mkdir()
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert index.FILE not in names and index.folder_name("prod-1_a") == "prod-1_a"


def test_the_journals_of_a_folder_that_two_clusters_shared_go_each_to_its_own(tmp_path):
    shared = tmp_path / "a_b"
    shared.mkdir()
    for jid, cluster in (("1", "a.b"), ("2", "a_b"), ("3", "a b")):
        (shared / f"{jid}.jsonl").write_text(json.dumps({"jid": jid, "cluster": cluster}) + "\n")
    (shared / "4.jsonl").write_text('{"torn')
    for name in ("a.b", "a_b"):
        index.move_journals(tmp_path, name)
    assert list(index.journals(tmp_path / "a.b")) == ["1"]
    assert sorted(index.journals(shared)) == ["2", "3", "4"]
