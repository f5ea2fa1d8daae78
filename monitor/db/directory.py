"""The data folder: one owner at a time, guests beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from monitor.core.clock import Clock, SystemClock
from monitor.core.codec import time_to_str
from monitor.core.errors import DatabaseLockedError, StorageError
from monitor.db.lock import FileLock, LockHeldError

LOCK_FILE = "riskwire.lock"
Mode = Literal["owner", "guest"]


class DataDirectory:
    """The folder that holds ``log.db``, ``store.db`` and ``state.db``.

    The owner (the daemon) creates the folder (mode 0700) and holds an exclusive lock on ``riskwire.lock`` until
    :meth:`close` or until its process ends, also by SIGKILL. Guests (operator commands) take no lock: they may read,
    and append in short transactions beside a running owner.
    """

    def __init__(self, path: str | Path, *, mode: Mode = "owner", clock: Clock | None = None) -> None:
        """Raises DatabaseLockedError when another process owns the folder, StorageError when it cannot be used."""
        self.path = Path(path).expanduser().absolute()
        self.mode: Mode = mode
        self._closed = False
        self._lock: FileLock | None = None
        if mode == "guest":
            if not self.path.is_dir():
                raise StorageError(
                    f"There is no data folder {self.path}.",
                    hint="Start `riskwire run` once to create it, or name another folder in the configuration.",
                )
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The data folder {self.path} cannot be created: {error.strerror}.",
                hint="Name a folder that the user who runs Riskwire may create and write.",
            ) from error
        started = time_to_str((clock or SystemClock()).now())
        try:
            self._lock = FileLock(self.path / LOCK_FILE, f"pid={os.getpid()}\nstarted={started}\n")
        except LockHeldError as held:
            raise _owned(self.path, held.holder) from None

    @classmethod
    def open(cls, path: str | Path, mode: Mode = "owner", *, clock: Clock | None = None) -> Self:
        """Opens the folder as its owner or as a guest. Raises as the constructor does."""
        return cls(path, mode=mode, clock=clock)

    @property
    def guest(self) -> bool:
        """True for a guest."""
        return self.mode == "guest"

    def file(self, name: str) -> Path:
        """The path of a file in the folder. Raises StorageError after :meth:`close`."""
        if self._closed:
            raise StorageError(f"The data folder {self.path} was closed already.")
        return self.path / name

    def close(self) -> None:
        """Gives the lock back. Close the databases first. A second call does nothing."""
        self._closed = True
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def owner_of(path: Path) -> str:
    """What the lock file says of the last owner (``process 4711, started …``), or an empty string."""
    try:
        return _describe((path / LOCK_FILE).read_text("utf-8", "replace"))
    except OSError:
        return ""


def _describe(note: str) -> str:
    pid = re.search(r"^pid=(\d+)$", note, re.MULTILINE)
    started = re.search(r"^started=(\S+)$", note, re.MULTILINE)
    if pid is None:
        return ""
    return f"process {pid[1]}" + (f", started {started[1]}" if started else "")


def _owned(path: Path, note: str) -> DatabaseLockedError:
    pid = re.search(r"^pid=(\d+)$", note, re.MULTILINE)
    stop = f"Stop it (`kill {pid[1]}`)" if pid else "Stop it"
    return DatabaseLockedError(
        f"The data folder {path} is in use by another Riskwire ({_describe(note) or 'process unknown'}).",
        hint=f"{stop}, or give this one a folder of its own.",
    )
