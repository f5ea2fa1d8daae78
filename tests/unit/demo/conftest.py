from __future__ import annotations

import pytest

from monitor.demo.scenario import Scenario


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario.load()
