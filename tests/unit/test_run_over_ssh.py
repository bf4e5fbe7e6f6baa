from pve_corosync.run import over_ssh

PILLAR = {"nodes": {"pve2": {"minion": "two.example"}, "pve1": None}}
BOTH = ["pve1", "two.example"]


def told(value):
    return over_ssh.told(value, "pve1", over_ssh.minions(PILLAR))


def test_a_part_of_the_degraded_path_is_for_all_nodes_at_once():
    said = {
        "text": "No quorum. Way out, over public, type on every node:",
        "command": "salt-call --local x degraded=True",
    }
    assert told(said) == {
        "text": "No quorum. Way out, over public:",
        "command": "salt-ssh -L pve1,two.example x degraded=True",
    }


def test_any_other_command_is_for_the_node_that_was_asked():
    assert told(["a -> salt-call --local corosync.apply nominal\nsalt-call --local corosync.status"]) == [
        "a -> salt-ssh pve1 corosync.apply nominal\nsalt-ssh pve1 corosync.status"
    ]
    assert over_ssh.told("salt-call --local x", "a b", []) == "salt-ssh 'a b' x"


def test_what_names_no_command_stays():
    kept = {"n": 1, "t": "salt-run corosync.status", "l": [None, True, "x\ny"], "code": "link-dead"}
    assert told(kept) == kept


def test_a_missing_pillar_is_to_be_given_on_the_master():
    assert told({"code": "pillar-none", "remedy": "put it into /srv/pillar"})["remedy"] == (
        "give pve1 the pillar `corosync` on the master (top.sls of the pillar)"
    )


def test_a_wrong_pillar_names_nobody():
    for wrong in (None, [], {"nodes": ["pve1"]}, {"nodes": {"pve1": "x"}}):
        assert over_ssh.minions(wrong) == []
    assert over_ssh.told("salt-call --local x degraded=True", "pve1", []) == "salt-ssh pve1 x degraded=True"
