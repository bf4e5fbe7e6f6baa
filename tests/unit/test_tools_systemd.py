from pve_corosync.tools import systemd

SHOWN = """\
Id=pve-ha-lrm.service
LoadState=loaded
ActiveState=active
SubState=running
MainPID=812
CanReload=no
Result=success
ActiveEnterTimestampMonotonic=1234567

Id=nope.service
LoadState=not-found
ActiveState=inactive
SubState=dead
MainPID=0
CanReload=no

Id=pve-cluster.service
LoadState=loaded
ActiveState=failed
MainPID=0
Result=exit-code
"""


def test_show_reads_every_block():
    units = systemd.show(SHOWN)
    assert sorted(units) == ["nope", "pve-cluster", "pve-ha-lrm"]
    assert units["pve-ha-lrm"] == {
        "loaded": True,
        "active": True,
        "state": "active",
        "sub": "running",
        "pid": 812,
        "can_reload": False,
        "result": "success",
        "since": 1234567,
    }
    assert not units["nope"]["loaded"] and not units["nope"]["active"]
    assert units["pve-cluster"]["state"] == "failed" and units["pve-cluster"]["result"] == "exit-code"


def test_show_of_nothing():
    assert systemd.show("") == {}


def test_command_completes_the_names():
    assert systemd.command(["a", "b.timer"])[-2:] == ["a.service", "b.timer"]


def test_task_is_known_by_its_title():
    assert (
        systemd.task(b"task UPID:pve1:000A:00B:68:vzdump:100:root@pam:\0")
        == "UPID:pve1:000A:00B:68:vzdump:100:root@pam:"
    )
    assert systemd.task(b"pvedaemon worker\0") is None
    assert systemd.task(b"") is None
