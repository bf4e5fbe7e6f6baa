"""ports.salt_pillar: the same pillar as pillar.show_pillar, for every kind of line in the top file."""

import json

import pytest
import salt.config
import salt.runner
from pve_corosync.ports import salt_pillar

TOP = {
    "*": ["all"],
    "pve1": ["exact"],
    "pve[12]": ["range"],
    "pve?": ["one"],
    "PVE1": ["case"],
    "web* or pve1": ["compound"],
    "not pve1": ["others"],
    "E@pve[0-9]": ["pcre"],
    "pve1,pve2": [{"match": "list"}, "listed"],
    "pve.*": [{"match": "pcre"}, "expression"],
    "and": ["operator"],
    "group": [{"match": "nodegroup"}, "grouped"],
    "N@group": ["by-group"],
    "L@pve2,web": ["by-list"],
}


@pytest.fixture
def runner(tmp_path):
    for name in {item for data in TOP.values() for item in data if isinstance(item, str)}:
        (tmp_path / f"{name}.sls").write_text(json.dumps({name: True}))
    (tmp_path / "top.sls").write_text(json.dumps({"base": TOP}))
    opts = {
        "root_dir": str(tmp_path / "root"),
        "cachedir": str(tmp_path / "cache"),
        "pki_dir": str(tmp_path / "pki"),
        "sock_dir": str(tmp_path / "sock"),
        "extension_modules": str(tmp_path / "extmods"),
        "pillar_roots": {"base": [str(tmp_path)]},
        "file_roots": {"base": []},
        "nodegroups": {"group": "pve1 or web"},
    }
    (tmp_path / "master").write_text(json.dumps(opts))
    return salt.runner.RunnerClient(salt.config.master_config(str(tmp_path / "master")))


@pytest.mark.parametrize("minion", ["pve1", "pve2", "web", "and", "PVE1"])
def test_the_pillar_is_what_salt_makes_of_it(runner, minion):
    made = salt_pillar.compiled(runner.opts, minion)
    assert made == runner.functions["pillar.show_pillar"](minion)
    assert made["all"] is True


def test_the_errors_of_a_pillar_are_told(runner, tmp_path):
    (tmp_path / "exact.sls").write_text("{% what %}")
    assert salt_pillar.compiled(runner.opts, "pve1")["_errors"]
