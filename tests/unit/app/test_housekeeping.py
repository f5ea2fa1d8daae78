from __future__ import annotations

from doubles import DictState, ListBus

from monitor.config import Settings
from monitor.core.errors import UnavailableError
from monitor.daemon import Daemon
from monitor.storage import Storage


class _AwayStore:
    calls = 0

    async def expire(self, before: object) -> int:
        self.calls += 1
        raise UnavailableError("Elasticsearch is away.")


class _Bus(ListBus):
    async def expire(self, before: object) -> int:
        return 3


async def test_a_store_that_is_away_puts_housekeeping_off_and_ends_nothing(tmp_path) -> None:
    daemon = Daemon(Settings(data_dir=tmp_path))
    store = _AwayStore()
    daemon.storage = Storage(given_bus=_Bus(), given_store=store, state=DictState())  # type: ignore[arg-type]
    await daemon._housekeeping()
    await daemon._housekeeping()
    assert store.calls == 2


async def test_a_role_without_store_keeps_house_of_what_it_has(tmp_path) -> None:
    daemon = Daemon(Settings(data_dir=tmp_path))
    daemon.storage = Storage(given_bus=_Bus(), state=DictState())  # type: ignore[arg-type]
    await daemon._housekeeping()
