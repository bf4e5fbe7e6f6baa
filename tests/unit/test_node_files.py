import errno
import json
import os
import stat
import subprocess

import pytest
from pve_corosync.node import files


def test_replace_leaves_the_old_or_the_new_bytes(tmp_path, monkeypatch):
    path = tmp_path / "conf"
    files.replace(str(path), b"one")
    files.replace(str(path), b"two", mode=0o600)
    assert path.read_bytes() == b"two" and stat.S_IMODE(path.stat().st_mode) == 0o600

    def broken(*_):
        raise OSError("power cut")

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(OSError, match="power cut"):
        files.replace(str(path), b"three")
    assert path.read_bytes() == b"two" and os.listdir(tmp_path) == ["conf"]


def test_replace_notices_that_somebody_else_wrote(tmp_path, monkeypatch):
    path = tmp_path / "conf"
    monkeypatch.setattr(files, "_sync_folder", lambda _: path.write_bytes(b"theirs"))
    with pytest.raises(OSError, match="another program replaced it"):
        files.replace(str(path), b"ours")


def test_backups_keep_the_newest_and_no_bytes_twice_in_a_row(tmp_path):
    folder = str(tmp_path / "state/backups")
    paths = [files.keep_backup(folder, "conf", b"%d" % number, keep=3) for number in range(5)]
    assert files.keep_backup(folder, "conf", b"4", keep=3) == paths[-1]
    other = files.keep_backup(folder, "conf.other", b"x", keep=3)
    kept = files.list_backups(folder, "conf")
    assert [files.read(os.path.join(folder, entry)) for entry in kept] == [b"2", b"3", b"4"]
    assert os.path.exists(other), "another file's copies are not counted"
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(paths[-1]).st_mode) == 0o600
    assert files.list_backups(str(tmp_path / "none"), "conf") == []


def test_json_records(tmp_path):
    path = str(tmp_path / "record.json")
    assert files.read_json(path) is None
    files.write_json(path, {"a": [1]})
    assert files.read_json(path) == {"a": [1]}
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"a": 1})[:-1])
    assert files.read_json(path) is None


def test_keep_newest_goes_by_time_and_suffix(tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        os.utime(path, (0, 100 - number))
    (tmp_path / "note.txt").write_text("x")
    files.keep_newest(str(tmp_path), ".json", 2)
    assert sorted(os.listdir(tmp_path)) == ["0.json", "1.json", "note.txt"]


def test_under():
    assert files.under(None, "/etc/x") == files.under("", "/etc/x") == files.under("/", "/etc/x") == "/etc/x"
    assert files.under("/tmp/r", "/etc/x") == "/tmp/r/etc/x"


def test_read_tells_missing_from_unreadable(tmp_path):
    assert files.read(str(tmp_path / "none")) is None
    with pytest.raises(IsADirectoryError):
        files.read(str(tmp_path))


def test_copies_are_ordered_by_a_number_when_the_clock_goes_back(tmp_path, monkeypatch):
    folder = str(tmp_path)
    monkeypatch.setattr(files.time, "time", lambda: 2_000_000_000.5)
    for number in range(20):
        files.keep_backup(folder, "conf", b"%d" % number)
    monkeypatch.setattr(files.time, "time", lambda: 1_700_000_000.5)
    path = files.keep_backup(folder, "conf", b"made just now")
    assert os.path.exists(path), "what was just written is never deleted"
    kept = files.list_backups(folder, "conf")
    assert len(kept) == 20 and os.path.join(folder, kept[-1]) == path
    assert files.keep_backup(folder, "conf", b"made just now") == path


def test_copies_of_older_versions_come_first(tmp_path):
    for stamp in ("20300101T000000000000Z", "20250101T000000000000Z"):
        (tmp_path / f"conf.{stamp}.0badcafe").write_text("x")
    files.keep_backup(str(tmp_path), "conf", b"new")
    kept = files.list_backups(str(tmp_path), "conf")
    assert [entry.split(".")[1][:4] for entry in kept[:2]] == ["2025", "2030"] and len(kept) == 3


def test_what_was_written_is_the_newest_whatever_the_clock_says(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.json").write_text("{}")
        os.utime(tmp_path / f"{number}.json", (2e9 + number, 2e9 + number))
    for number in (3, 4):
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        files.keep_newest(str(tmp_path), ".json", 3, str(path))
    assert sorted(os.listdir(tmp_path)) == ["2.json", "3.json", "4.json"]


def test_an_error_of_the_disk_names_the_path(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for call in (
        lambda: files.replace(str(tmp_path / "conf"), b"x"),
        lambda: files.try_disk(str(tmp_path), 10),
    ):
        with pytest.raises(OSError, match="No space left on device") as caught:
            call()
        assert caught.value.filename.startswith(str(tmp_path)) and os.listdir(tmp_path) == []


def test_a_disk_that_is_read_only_is_told_with_the_folder(tmp_path, monkeypatch):
    real = os.open

    def read_only(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with pytest.raises(OSError, match="Read-only file system") as caught:
            files.try_disk(str(tmp_path), 10)
    assert (caught.value.errno, caught.value.filename) == (errno.EROFS, str(tmp_path))


def test_temporary_files_of_killed_processes_go_and_those_of_others_stay(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    stay = {f".conf.{os.getpid()}-abcdefgh", ".conf.abcdefgi", ".other.99999999-abcdefgh", ".conf.swp"}
    for name in (*stay, f".conf.{dead.pid}-abcdefgh", ".conf.oldoldol"):
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / ".conf.oldoldol", (1e9, 1e9))
    files.replace(str(tmp_path / "conf"), b"x")
    assert set(os.listdir(tmp_path)) == stay | {"conf"}
