"""The demonstration ends with the incidents that its scenario plans, and without those that it sets traps for."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_tools import command, needs_model

from monitor.demo.scenario import Scenario

pytestmark = [needs_model(), pytest.mark.slow, pytest.mark.timeout(600)]


async def test_the_demo_finds_what_is_planned(tmp_path: Path) -> None:
    result = await command("demo", cwd=tmp_path, timeout=500)
    assert result.code == 0, result.err
    titles = [line for line in result.out.splitlines() if line.startswith("╭─")]
    for name in ("Caldermoor Bank", "Energy and oil", "Quillhaven", "pacific-tape"):
        assert any(name in title for title in titles), name
    # Time runs with the machine, so chance decides on incidents of no weight; a false critical one is a failure.
    planned = ("Caldermoor Bank", "Energy and oil", "Quillhaven")
    assert [t for t in titles if "CRITICAL" in t and not any(name in t for name in planned)] == []
    assert f"{len(Scenario.load().articles):,}" in result.out
    assert "words that weighed most" in result.out
    assert "Traceback" not in result.err
