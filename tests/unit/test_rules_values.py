"""What the rules advise about corosync.conf can be done at all."""

import pytest
from _cases import cut
from _rules_cases import all_files, edit
from _rules_world import conf, layout, observed
from pve_corosync.rules import every

ERRORS = {
    "conf-grammar": edit(conf(), "  secauth: on", "  secauth:on"),
    "version-fooled": "# config_version: 9\n" + conf(),
    "name-duplicate": edit(conf(), "name: pve2", "name: pve1"),
    "name-missing": edit(conf(), "    name: pve2\n", ""),
    "conf-value": edit(conf(), "  version: 2\n", "  token: 29\n  version: 2\n"),
}


@pytest.mark.parametrize("code", ERRORS)
def test_a_remedy_can_be_done_with_quorum_and_without(code):
    """Without quorum /etc/pve is read-only: the local files are edited, as the plan itself does then."""
    world = observed()
    all_files(world, ERRORS[code])

    def remedy():
        found = every.check(layout("degraded"), world)
        return next(item["remedy"] for item in found if item["code"] == code and item["severity"] == "error")

    assert "/etc/pve/corosync.conf" in remedy() and "/etc/corosync/" not in remedy()
    cut(world)
    assert "in /etc/corosync/corosync.conf of every node" in remedy() and "/etc/pve/" not in remedy()
    assert "config_version 10" in remedy() if code == "version-fooled" else "config_version 6" in remedy()
    assert "corosync-cfgtool -R" in remedy()
    assert ("force=conf-grammar" in remedy()) == (code == "conf-grammar")
