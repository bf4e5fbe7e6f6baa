import errno
import json
import os
import stat

import pytest
from pve_corosync.node import children, etc_pve
from pve_corosync.tools import pve


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "pve"
    folder.mkdir()
    (folder / "local").symlink_to("nodes/pve1")
    (folder / "corosync.conf").write_bytes(b"old")
    return folder


def replace(base, data=b"new", expected=b"old", wait=0.2):
    how = {"lock_file": str(base.parent / "pvecm.lock"), "notes": str(base.parent / "notes")}
    return etc_pve.replace_conf(data, expected, str(base), lock_wait=wait, **how)


def names(base):
    return {path.name for path in base.iterdir()}


@pytest.mark.parametrize(
    ("mode", "mounted", "writable"),
    [(0o120755, True, True), (0o120555, True, False), (0o120777, True, True), (0o040755, False, False)],
)
def test_the_link_tells_mounted_and_writable(mode, mounted, writable):
    assert etc_pve.is_link(mode) is mounted
    assert etc_pve.is_writable(mode) is writable


def test_a_pmxcfs_that_died_is_not_called_unmounted(base, monkeypatch):
    """Its mount stays behind, and says ENOTCONN to everybody."""

    def dead(path):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), path)

    monkeypatch.setattr(os, "lstat", dead)
    told = etc_pve.read_files(["corosync.conf"], str(base))
    assert (told["mounted"], told["writable"]) == (False, False)
    assert told["said"] == "ENOTCONN: pmxcfs died: see systemctl status pve-cluster"
    with pytest.raises(etc_pve.Refused, match="pmxcfs died"):
        replace(base)
    assert pve.why_not(told).startswith("/etc/pve gives no answer (ENOTCONN: pmxcfs died")


def test_where_there_is_no_link_it_is_not_mounted(base):
    (base / "local").unlink()
    assert etc_pve.state(str(base)) == {"mounted": False, "writable": False, "said": ""}
    assert "is not mounted" in pve.why_not(etc_pve.state(str(base)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat: cannot statx '/etc/pve/local': No such file or directory", ""),
        ("stat: cannot statx '/etc/pve/local': Transport endpoint is not connected", "endpoint"),
    ],
)
def test_what_stat_said_is_kept_where_it_is_more_than_that_there_is_no_such_file(text, said):
    told = pve.local_link(text)
    assert (told["mounted"], told["writable"]) == (False, False)
    assert said in told["said"] and bool(said) is bool(told["said"])


def test_replace(base):
    assert replace(base)["changed"] is True
    assert (base / "corosync.conf").read_bytes() == b"new" and (
        base / "corosync.conf.bak"
    ).read_bytes() == b"old"
    assert names(base) == {"local", "priv", "corosync.conf", "corosync.conf.bak"}
    assert replace(base)["changed"] is False


def test_an_edit_since_it_was_read_is_not_overwritten(base):
    (base / "corosync.conf").write_bytes(b"theirs")
    with pytest.raises(etc_pve.Refused, match="changed by somebody else"):
        replace(base)
    assert (base / "corosync.conf").read_bytes() == b"theirs"
    assert not os.listdir(base / "priv/lock")


def test_a_first_file_is_made_only_where_none_is(base):
    with pytest.raises(etc_pve.Refused, match="changed by somebody else"):
        replace(base, expected=None)
    (base / "corosync.conf").unlink()
    assert replace(base, expected=None)["changed"]
    assert names(base) == {"local", "priv", "corosync.conf"}


def test_left_over_files_do_not_stand_in_the_way(base):
    (base / "corosync.conf.new").write_bytes(b"left over")
    (base / "corosync.conf.bak").write_bytes(b"older")
    assert replace(base)["changed"]
    assert (base / "corosync.conf.bak").read_bytes() == b"old" and "corosync.conf.new" not in names(base)


@pytest.mark.parametrize("step", ["rename", "write"])
def test_a_failure_leaves_the_old_file_and_no_lock(base, monkeypatch, step):
    def lost(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, step, lost)
    with pytest.raises(PermissionError):
        replace(base)
    assert (base / "corosync.conf").read_bytes() == b"old"
    assert "corosync.conf.new" not in names(base) and not os.listdir(base / "priv/lock")


def test_a_short_write_is_refused(base, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1]))
    with pytest.raises(etc_pve.Refused, match="only a part"):
        replace(base)
    assert (base / "corosync.conf").read_bytes() == b"old"


def test_a_lock_that_is_given_back_is_taken(base):
    held = base / "priv/lock/file-corosync_conf"
    held.mkdir(parents=True)
    real = os.utime

    def give_back(path, times):
        real(path, times)
        os.rmdir(path)

    os.utime, undo = give_back, real
    try:
        assert replace(base, wait=3)["changed"]
    finally:
        os.utime = undo


def ask(base, **request):
    told = children.run(etc_pve.command(), data=json.dumps({"base": str(base), **request}).encode())
    assert told["rc"] == 0, told
    return json.loads(told["out"])


def test_as_a_program_it_reads(base):
    (base / "ha").mkdir()
    (base / "ha/resources.cfg").write_bytes(b"vm: 1\xff")
    (base / "datacenter.cfg").mkdir()
    told = ask(base, do="read", names=["ha/resources.cfg", "none", "datacenter.cfg"])
    assert told["ok"] and told["mounted"]
    assert told["files"] == {"ha/resources.cfg": "vm: 1\xff", "none": None, "datacenter.cfg": None}
    assert told["errors"] == {"datacenter.cfg": "Is a directory"}


def ask_to_write(base):
    where = {"lock_file": str(base.parent / "lock"), "notes": str(base.parent / "notes")}
    what = {"name": "corosync.conf", "lock": "file-corosync_conf"}
    return ask(base, do="replace", data="bmV3", expected="b2xk", **what, **where)


def test_as_a_program_it_tells_what_an_errno_means(base):
    (base / "corosync.conf.new").mkdir()
    told = ask_to_write(base)
    assert told["ok"] is False and "corosync.conf.new" in told["error"]
    (base / "local").unlink()
    told = ask_to_write(base)
    assert told == {
        "ok": False,
        "error": f"{base} is not mounted: start pve-cluster, and only then write to it",
    }
    assert stat.S_ISDIR((base / "corosync.conf.new").stat().st_mode)
