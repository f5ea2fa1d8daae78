"""Fixtures of the end-to-end tests."""

import pytest
from e2e_tools import publisher

__all__ = ["publisher"]


@pytest.fixture
def no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons that run side by side serve no API at one fixed port."""
    monkeypatch.setenv("RISKWIRE_WEB__LISTEN", "off")
