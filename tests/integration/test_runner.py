"""The runner ``corosync`` through salt-run and orchestrations, on a real master with two minions."""


def test_status(cluster):
    ret = cluster.run("corosync.status")
    assert ret.returncode == 0, ret
    assert ret.data["in_force"] == ["nominal"]
    assert ret.data["matrix"]["pve1"]["pve2"] == {"0": "connected"}
