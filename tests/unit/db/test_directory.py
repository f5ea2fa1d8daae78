"""One owner at a time, guests beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from monitor.core.clock import ManualClock
from monitor.core.errors import DatabaseLockedError, StorageError
from monitor.db.directory import LOCK_FILE, DataDirectory, owner_of
from monitor.db.lock import FileLock, LockHeldError, lock_is_held

HOLD = """
import sys, time
from monitor.db.directory import DataDirectory
directory = DataDirectory(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_the_folder_is_private_and_names_its_owner(tmp_path):
    clock = ManualClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
    with DataDirectory(tmp_path / "a" / "b", clock=clock) as directory:
        assert directory.path.stat().st_mode & 0o777 == 0o700
        note = (directory.path / LOCK_FILE).read_text()
        assert note == f"pid={os.getpid()}\nstarted=2026-03-02T09:00:00Z\n"
        assert owner_of(directory.path) == f"process {os.getpid()}, started 2026-03-02T09:00:00Z"


def test_a_second_owner_is_told_who_holds_the_folder_and_what_to_do(tmp_path):
    with DataDirectory(tmp_path):
        with pytest.raises(DatabaseLockedError) as caught:
            DataDirectory(tmp_path)
        assert str(tmp_path) in caught.value.message
        assert f"process {os.getpid()}" in caught.value.message
        assert f"kill {os.getpid()}" in caught.value.hint
    DataDirectory(tmp_path).close()


def test_a_shorter_note_replaces_a_longer_one(tmp_path):
    FileLock(tmp_path / "lock", "x" * 100).release()
    lock = FileLock(tmp_path / "lock", "short")
    with pytest.raises(LockHeldError, match=r"^short$"):
        FileLock(tmp_path / "lock", "other")
    lock.release()
    lock.release()


def test_the_kernel_gives_the_lock_back_when_the_owner_is_killed(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DatabaseLockedError, match=f"process {child.pid}"):
            DataDirectory(tmp_path / "data")
        assert lock_is_held(tmp_path / "data" / LOCK_FILE)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert not lock_is_held(tmp_path / "data" / LOCK_FILE)
        DataDirectory(tmp_path / "data").close()
    finally:
        child.kill()
        child.wait(10)
        child.stdin.close()
        child.stdout.close()


def test_a_guest_comes_in_beside_the_owner_but_creates_nothing(tmp_path):
    with pytest.raises(StorageError, match="no data folder"):
        DataDirectory.open(tmp_path / "none", mode="guest")
    assert not (tmp_path / "none").exists()
    with DataDirectory(tmp_path / "data") as owner, DataDirectory.open(tmp_path / "data", mode="guest") as guest:
        assert guest.guest
        assert not owner.guest
        assert guest.path == owner.path


def test_a_closed_folder_gives_no_files(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.close()
    directory.close()
    with pytest.raises(StorageError, match="closed"):
        directory.file("log.db")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "data").write_text("x")
    with pytest.raises(StorageError, match="cannot be created") as caught:
        DataDirectory(tmp_path / "data")
    assert str(tmp_path / "data") in caught.value.message
    assert caught.value.hint


def test_a_lock_that_is_a_folder_is_named(tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(StorageError, match=LOCK_FILE) as caught:
        DataDirectory(tmp_path)
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be opened"):
        DataDirectory(tmp_path / "data")


def test_looking_at_a_lock_leaves_it_as_it_was(tmp_path):
    assert not lock_is_held(tmp_path / "none")
    lock = FileLock(tmp_path / "lock", "x")
    assert lock_is_held(tmp_path / "lock")
    lock.release()
    assert not lock_is_held(tmp_path / "lock")
