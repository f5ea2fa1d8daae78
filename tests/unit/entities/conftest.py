from __future__ import annotations

import pytest

from monitor.entities.matcher import EntityMatcher
from monitor.entities.watchlist import Watchlist, load_watchlist


@pytest.fixture(scope="session")
def watchlist() -> Watchlist:
    return load_watchlist()


@pytest.fixture(scope="session")
def matcher(watchlist: Watchlist) -> EntityMatcher:
    return EntityMatcher(watchlist)
