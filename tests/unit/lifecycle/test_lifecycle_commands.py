"""The commands over a real store: label, drift, model."""

from __future__ import annotations

import asyncio
import csv
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles import article
from typer.testing import CliRunner

from monitor.app import open_storage
from monitor.cli.main import app
from monitor.config import Settings
from monitor.core.clock import SystemClock
from monitor.core.errors import ModelError, UsageError
from monitor.core.types import Put, Scored, ScoredArticle, Scores
from monitor.model.artefact import Artefact
from monitor.model.registry import ModelRegistry
from monitor.services.shadow import SHADOW_KIND, Comparison, Sums

WORDS = ("acme", "fed", "oil", "sinks", "meets", "rises", "on", "the")


def news(light: Artefact, *, days: int, each: int, odd: int = 0) -> list[ScoredArticle]:
    """Articles of the last days; those of the last ``odd`` days are long and negative."""
    rng, now = random.Random(5), datetime.now(UTC)
    found = []
    for day in range(days):
        for number in range(each):
            strange = day < odd
            at = now - timedelta(days=day + rng.random() * 0.99)
            title = " ".join(rng.choices(WORDS, k=rng.randrange(30, 36) if strange else rng.randrange(5, 12)))
            top = rng.uniform(0.5, 0.99)
            labels = light.tasks["topic"].labels
            topics = dict.fromkeys(labels, (1 - top) / 2) | {rng.choice(labels): top}
            mood = "negative" if strange else rng.choice(("negative", "neutral", "positive"))
            moods = dict.fromkeys(("negative", "neutral", "positive"), (1 - top) / 2) | {mood: top}
            item = article(day * each + number, title=f"{title} {day}-{number}", published_at=at, fetched_at=at)
            scores = Scores(topics=topics, sentiments=moods)
            scored = Scored(article_id=item.id, model=light.id, scores=scores, scored_at=at)
            found.append(ScoredArticle(article=item, scored=scored))
    return found


@pytest.fixture
def config(tmp_path: Path, light: Artefact) -> Path:
    path = tmp_path / "riskwire.toml"
    path.write_text(f"data_dir = '{tmp_path / 'data'}'\n[model]\npath = '{light.path}'\n", "utf-8")
    return path


async def keep(config: Path, items: list[ScoredArticle]) -> None:
    async with open_storage(Settings(data_dir=config.parent / "data"), SystemClock()) as storage:
        assert (await storage.store.put(items)).ok


Command = Callable[..., str]


@pytest.fixture
def command(config: Path) -> Command:
    """Runs a command with the configuration; gives its output, raises its error."""

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "-c", str(config)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return run


async def test_label_export_import_stats(config: Path, command: Command, light: Artefact, tmp_path: Path) -> None:
    await keep(config, news(light, days=3, each=40))
    path = tmp_path / "todo.csv"
    await asyncio.to_thread(command, "label", "export", str(path), "--limit", "30", "--random", "0.2")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert sum(row["reason"] == "random" for row in rows) == 6
    for row in rows:
        row["sentiment"] = "neutral"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out = await asyncio.to_thread(command, "label", "import", str(path), "--annotator", "ann")
    assert "30 labels added" in out
    assert "30 there already" in await asyncio.to_thread(command, "label", "import", str(path), "--annotator", "ann")
    found = json.loads(await asyncio.to_thread(command, "label", "stats", "--json"))
    assert found["texts"] == 30
    assert found["tasks"]["sentiment"]["model_was_right"]["random"]["n"] == 6
    again = tmp_path / "again.csv"
    await asyncio.to_thread(command, "label", "export", str(again), "--limit", "1000", "--below", "1.0")
    with again.open(encoding="utf-8-sig", newline="") as file:
        assert not {row["text"] for row in csv.DictReader(file)} & {row["text"] for row in rows}


async def test_drift_is_quiet_and_then_loud(config: Path, command: Command, light: Artefact, tmp_path: Path) -> None:
    await keep(config, news(light, days=35, each=30))
    report = json.loads(await asyncio.to_thread(command, "drift", "--json", "--save", str(tmp_path / "r.json")))
    assert report["drifting"] == []
    assert {check["name"] for check in report["checks"] if check["state"] == "unknown"} == set()
    again = json.loads(await asyncio.to_thread(command, "drift", "--json", "--reference", str(tmp_path / "r.json")))
    assert again["drifting"] == []
    await keep(config, news(light, days=35, each=30, odd=7))
    out = await asyncio.to_thread(command, "drift", "--fail", "--report", str(tmp_path / "report.json"), code=1)
    assert "drift" in out
    assert {"length", "sentiment_labels"} <= set(json.loads((tmp_path / "report.json").read_text("utf-8"))["drifting"])
    training = json.loads(await asyncio.to_thread(command, "drift", "--json", "--reference", "training"))
    assert all(check["state"] == "unknown" for check in training["checks"])  # the light model names no shares


def test_wrong_words_are_usage_errors(command: Command, config: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="--since"):
        command("drift", "--since", "soon")
    with pytest.raises(UsageError, match="no format"):
        command("label", "export", str(tmp_path / "x"), "--format", "excel")
    with pytest.raises(UsageError, match="--conflicts"):
        command("label", "import", str(tmp_path / "x"), "--conflicts", "ask")
    with pytest.raises(UsageError, match="no former model"):
        command("model", "rollback")
    with pytest.raises(UsageError, match="Which model"):
        command("model", "shadow")
    with pytest.raises(UsageError, match="no folder and no model"):
        command("model", "show", "nobody@0123456789ab")


def test_a_model_that_does_not_run_is_not_set(command: Command, light: Artefact, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        command("model", "set", str(light.path))
    assert ModelRegistry(tmp_path / "data").current() is None


def test_ls_shows_what_runs_and_the_history(
    command: Command, light: Artefact, twin: Callable[[str], Path], tmp_path: Path
) -> None:
    ModelRegistry(tmp_path / "data").set(str(twin("one")), now=datetime(2026, 3, 2, tzinfo=UTC), why="a test")
    found = json.loads(command("model", "ls", "--json"))
    assert [row["model"] for row in found["models"] if row["runs"]] == [light.id]
    assert found["history"][0]["why"] == "a test"
    out = command("model", "rollback")
    assert "SIGHUP" in out
    assert "goes before what is set" in out


async def test_compare_shows_what_the_shadow_said(config: Path, command: Command) -> None:
    kept = Comparison(main="m@1", shadow="n@2", since="2026-03-02T09:00:00Z", all=Sums(n=10, topic=9, sentiment=8))
    async with open_storage(Settings(data_dir=config.parent / "data"), SystemClock()) as storage:
        await storage.state.apply([Put(kind=SHADOW_KIND, key=kept.key, value=kept.to_dict())])
    (found,) = json.loads(await asyncio.to_thread(command, "model", "compare", "--json"))
    assert found["figures"]["sentiment_agreement"] == 0.8
    assert "n@2 beside m@1" in await asyncio.to_thread(command, "model", "compare")
