"""A lock file: held by one process at a time, given back by the kernel when that process dies however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from monitor.core.errors import StorageError

_TRIES = 3
_TRY_SECONDS = 0.01


class LockHeldError(Exception):
    """Somebody else holds the lock; ``holder`` is what they wrote into the file. The caller names what is locked."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """An exclusive ``flock`` on ``path``, taken at construction. ``note`` tells others who holds it.

    The lock belongs to the open file, so two objects exclude each other even inside one process. The file stays
    behind when the lock is released: removing it would race with the next taker.
    """

    def __init__(self, path: Path, note: str) -> None:
        """Raises LockHeldError, or StorageError when the file cannot be used."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"The lock file {path} cannot be opened: {error.strerror}.",
                hint=f"Check that the user who runs Riskwire may write into {path.parent}.",
            ) from error
        try:
            _take(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise LockHeldError(holder) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                f"The lock file {path} cannot be locked: {error.strerror}.",
                hint="Put the data folder on a local disk; some network file systems have no locks.",
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note.encode(), 0)
        except OSError:
            # A full disk must not keep the owner out: the note only helps people, the lock itself holds.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Gives the lock back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _take(descriptor: int) -> None:
    """Raises BlockingIOError when the lock stays taken: a mere look (:func:`lock_is_held`) is over by the next try."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_TRY_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_is_held(path: Path) -> bool:
    """Whether somebody holds the lock on ``path`` now; asks with a shared lock, given back at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
