"""node.code and judge.same_code: a node with other code takes part in nothing."""

import shutil

from pve_corosync.findings import errors
from pve_corosync.judge import same_code, situation
from pve_corosync.node import code

HERE = {"core": "aaa", "modules": "bbb"}
MINIONS = {"pve1": "pve1", "pve2": "two", "pve3": "pve3"}


def test_the_digest_is_that_of_the_files_and_of_nothing_else(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "corosync.py").write_text("import pve_corosync\n")
        (tmp_path / name / "another.py").write_text(f"x = '{name}'\n")
        (tmp_path / name / "corosync.pyc").write_text(name)
    first = code.digest(str(tmp_path / "one"))
    assert first == code.digest(str(tmp_path / "two")) and all(first.values())
    (tmp_path / "two" / "corosync.py").write_text("import pve_corosync  # newer\n")
    assert code.digest(str(tmp_path / "two"))["modules"] != first["modules"]
    assert code.digest(str(tmp_path / "none")) == {"core": first["core"], "modules": None}


def test_synced_and_installed_trees_have_the_modules_beside_the_runners(tmp_path):
    for base, runners, modules in (("a", "runners", "modules"), ("b", "_runners", "_modules")):
        (tmp_path / base / runners).mkdir(parents=True)
        assert code.beside(str(tmp_path / base / runners / "corosync.py")) == ""
        (tmp_path / base / modules).mkdir()
        assert code.beside(str(tmp_path / base / runners / "corosync.py")) == str(tmp_path / base / modules)
    shutil.rmtree(tmp_path / "a")


def test_other_code_is_an_error_that_names_the_node_and_the_sync():
    nodes = {"pve1": {"code": dict(HERE)}, "pve2": {"code": HERE | {"core": "old"}}, "pve3": {}}
    found = same_code.check(MINIONS, nodes, HERE)
    assert [item["data"]["node"] for item in found] == ["pve2", "pve3"] and errors(found) == found
    assert found[0]["remedy"].startswith("salt two saltutil.sync_all")
    assert "older than its digest" in found[1]["text"]
    assert same_code.check(MINIONS, nodes, HERE, skip=["pve2", "pve3"]) == []
    assert (
        same_code.check(MINIONS, {"pve1": {"code": {"core": "aaa", "modules": "x"}}}, {"core": "aaa"}) == []
    )


def test_where_all_nodes_agree_the_master_is_behind():
    nodes = {name: {"code": {"core": "new", "modules": "bbb"}} for name in MINIONS}
    (item,) = same_code.check(MINIONS, nodes, HERE)
    assert item["remedy"].startswith(
        "salt-run saltutil.sync_all, then: salt -L pve1,two,pve3 saltutil.sync_all"
    )


def test_a_minion_that_answers_with_an_error_is_told_apart_from_a_silent_one():
    said = {"return": "'corosync.facts' is not available.", "success": False, "retcode": 254}
    observed, _ = situation.observe({"pve1": "pve1", "pve2": "pve2"}, {"pve1": said})
    assert observed["silent"] == ["pve1", "pve2"] and list(observed["refusals"]) == ["pve1"]
