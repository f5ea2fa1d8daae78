"""The core starts without the libraries of the state database."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import sys
import monitor.app, monitor.cli.main, monitor.cli.state, monitor.state.opening, monitor.state.copying
print([name for name in ("sqlalchemy", "psycopg") if name in sys.modules])
"""


def test_nothing_imports_them_before_they_are_needed() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


WITHOUT = """
import asyncio, sys
sys.modules[sys.argv[1]] = None
from monitor.core.errors import ConfigError
from monitor.state.opening import describe, open_postgres
(finding,) = describe("postgresql://u@h/d")
print(finding.status, finding.advice)
try:
    asyncio.run(open_postgres("postgresql://u@h/d"))
except ConfigError as error:
    print("error", error.hint)
"""


@pytest.mark.parametrize("library", ["sqlalchemy", "psycopg"])
def test_without_them_the_extra_is_named(library: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, library], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "fail pip install 'riskwire[postgres]'",
        "error pip install 'riskwire[postgres]'",
    ]
