"""``riskwire dlq``: filters, the count of attempts, retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_tools import invoke
from click.testing import Result

from monitor.app import open_storage
from monitor.config import load_settings
from monitor.core.clock import SystemClock
from monitor.core.errors import RecordError, UsageError
from monitor.core.types import Delivery, Record
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters, attempts_of, revived
from monitor.services.topics import ARTICLES, DEAD_LETTERS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "riskwire.toml"
    file.write_text("data_dir = 'data'\n", encoding="utf-8")
    return file


def _bury(config: Path, *letters: tuple[str, str, str]) -> None:
    """Publishes records and dead-letters them: (key, reason, stage)."""

    async def work() -> None:
        clock = SystemClock()
        async with open_storage(load_settings(config), clock) as storage:
            dead = DeadLetters(storage.bus, clock, Metrics())
            for key, reason, stage in letters:
                record = Record(key=key, value=b"{bad", timestamp=clock.now(), headers={"trace": key})
                await storage.bus.publish(ARTICLES, [record])
                delivery = (await storage.bus.browse(ARTICLES, limit=1, newest=True))[0]
                await dead.add([(delivery, reason)], stage=stage)

    asyncio.run(work())


def _bury_again(config: Path) -> None:
    """What the score role does when the newest record fails once more."""

    async def work() -> None:
        clock = SystemClock()
        async with open_storage(load_settings(config), clock) as storage:
            delivery = (await storage.bus.browse(ARTICLES, limit=1, newest=True))[0]
            await DeadLetters(storage.bus, clock, Metrics()).add([(delivery, "Still bad.")], stage="score")

    asyncio.run(work())


def _records(config: Path, topic: str) -> Sequence[Delivery]:
    async def work() -> Sequence[Delivery]:
        async with open_storage(load_settings(config), SystemClock(), guest=True) as storage:
            return await storage.bus.browse(topic, limit=100)

    return asyncio.run(work())


def _run(config: Path, *words: str) -> Result:
    return invoke("dlq", *words, "-c", str(config))


def _rows(config: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _run(config, "ls", "--json", *words).stdout.splitlines()]


def test_letters_are_found_by_reason_and_stage(config: Path) -> None:
    _bury(config, ("a", "This is not JSON.", "score"), ("b", "mapper_parsing_exception", "store"))
    assert [row["key"] for row in _rows(config)] == ["a", "b"]
    assert [row["key"] for row in _rows(config, "--reason", "not json")] == ["a"]
    assert [row["key"] for row in _rows(config, "--stage", "store")] == ["b"]
    assert _rows(config, "--stage", "store", "--reason", "JSON") == []
    (row,) = _rows(config, "--stage", "score")
    assert row["attempt"] == 1
    assert row["origin"].startswith("articles/")


def test_every_retry_that_fails_again_counts(config: Path) -> None:
    _bury(config, ("a", "Bad.", "score"))
    for attempt in (2, 3):
        answer = json.loads(_run(config, "retry", "--json").stdout)
        assert answer["published"] == 1
        newest = _records(config, ARTICLES)[-1].record
        assert newest.headers == {"trace": "a", "attempt": str(attempt - 1)}
        _bury_again(config)
        rows = _rows(config)
        assert [row["attempt"] for row in rows] == list(range(1, attempt + 1))
        assert [row["retried"] for row in rows] == [True] * (attempt - 1) + [False]


def test_only_what_the_filter_takes_is_published_and_only_once(config: Path) -> None:
    _bury(config, ("a", "One.", "score"), ("b", "Two.", "score"), ("c", "Two.", "store"))
    assert "1 record published" in _run(config, "retry", "--reason", "two", "--stage", "score").stdout
    assert [d.record.key for d in _records(config, ARTICLES)].count("b") == 2
    assert "2 records published" in _run(config, "retry").stdout
    assert "0 records published" in _run(config, "retry").stdout
    assert len(_records(config, ARTICLES)) == 6


def test_one_letter_is_shown_whole_and_retried_by_its_id(config: Path) -> None:
    _bury(config, ("a", "Bad [red]text[/red].", "score"))
    (row,) = _rows(config)
    shown = json.loads(_run(config, "show", row["id"]).stdout)
    assert shown["value"] == "{bad"
    assert shown["headers"]["trace"] == "a"
    assert row["id"] in _run(config, "ls").stdout
    for _ in range(2):  # by its id it may be published as often as one likes
        assert "1 record published" in _run(config, "retry", row["id"]).stdout
    with pytest.raises(UsageError, match="No dead letter"):
        _run(config, "show", "zzz")


def test_what_others_wrote_into_the_topic_is_listed_and_left_out_of_retries(config: Path) -> None:
    _bury(config, ("a", "Bad.", "score"))

    async def intrude() -> None:
        clock = SystemClock()
        async with open_storage(load_settings(config), clock) as storage:
            record = Record(key="stranger", value=b"?", timestamp=clock.now(), headers={"attempt": "many"})
            await storage.bus.publish(DEAD_LETTERS, [record])

    asyncio.run(intrude())
    assert [(row["id"], row["attempt"]) for row in _rows(config) if row["id"] == "stranger"] == [("stranger", 0)]
    result = _run(config, "retry")
    assert "1 record published" in result.stdout
    assert "stranger" in result.stderr
    with pytest.raises(UsageError, match="where it came from"):
        _run(config, "retry", "stranger")


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("", 0), ("-1", 0), ("x", 0), ("²", 0), ("9" * 40, 0)])
def test_a_count_that_is_no_number_counts_as_none(text: str, count: int) -> None:
    assert attempts_of({"attempt": text}) == count


def test_a_letter_without_an_origin_cannot_be_revived() -> None:
    now = SystemClock().now()
    with pytest.raises(RecordError):
        revived(Record(key="k", value=b"", timestamp=now, headers={"origin": "articles/0/1"}), now)
