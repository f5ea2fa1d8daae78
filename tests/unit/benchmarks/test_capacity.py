"""The capacity table: its formulas, its options, and that docs/scale.md shows what the command prints."""

from __future__ import annotations

import importlib.util
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def capacity() -> Any:
    spec = importlib.util.spec_from_file_location("capacity", ROOT / "benchmarks/capacity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["capacity"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_command_prints(capacity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main([]) == 0
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for line in capsys.readouterr().out.splitlines():
        assert not line.startswith("|") or line in page, "run 'python benchmarks/capacity.py' and copy its table"


def test_more_articles_need_more(capacity: Any) -> None:
    inputs = capacity.Inputs()
    needs = [capacity.need(rate, inputs) for rate in (1_000, 30_000, 900_000, 27_000_000)]
    for less, more in pairwise(needs):
        for key in ("score_workers", "partitions", "kafka_gb", "elastic_gb", "cpu_price"):
            assert getattr(more, key) >= getattr(less, key)
    for item in needs:
        carried = item.score_workers * capacity.worker_rate(inputs) * inputs.use
        assert carried >= item.peak_per_second
        assert item.partitions >= item.score_workers


def test_storage_by_hand(capacity: Any) -> None:
    found = capacity.need(3_600, capacity.Inputs(stored_bytes=1000, copies=2, article_days=10))
    assert found.elastic_gb == pytest.approx(86_400 * 10 * 1000 * 2 / 1e9)


def test_options(capacity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["5000", "--json", "--tokens", "29.3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["worker_rate"] == pytest.approx(1 / (1 / 333 + 491e-6 / 2))
    assert [item["articles_per_hour"] for item in told["needs"]] == [5000]
    with pytest.raises(SystemExit):
        capacity.main(["--tokens", "0"])
