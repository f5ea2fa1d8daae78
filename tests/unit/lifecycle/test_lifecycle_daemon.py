"""The daemon runs the model that is set, lets a shadow score along, and reads everything anew on SIGHUP."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from doubles import ScriptedSource, article

from monitor.app import open_storage
from monitor.cli.run import _again
from monitor.config import IngestSection, ObserveSection, Settings, load_settings
from monitor.core.clock import SystemClock
from monitor.core.types import Cursor, Page
from monitor.daemon import Daemon
from monitor.model.artefact import CONFIG, Artefact, write_sums
from monitor.model.registry import SHADOW, ModelRegistry
from monitor.services.shadow import SHADOW_KIND, Comparison


@pytest.fixture
def second(tiny: Artefact, tmp_path: Path) -> Path:
    """The tiny model under another id."""
    folder = Path(shutil.copytree(tiny.path, tmp_path / "second"))
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | {"description": "second"}), "utf-8")
    write_sums(folder)
    return folder


async def score(settings: Settings, count: int) -> Daemon:
    """Runs ingest and score until everything is scored, and stops in order."""
    articles = [article(n, title=f"Acme plunges after fraud probe {n}") for n in range(count)]
    page = Page(articles=articles, cursor=Cursor())
    source, stop = ScriptedSource("wire", [page]), asyncio.Event()
    daemon = Daemon(settings, roles=("ingest", "score"), sources=[source], notifiers={})
    running = asyncio.create_task(daemon.run(stop))
    await asyncio.wait([asyncio.create_task(daemon.started.wait()), running], return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    await source.polled.wait()
    while daemon.metrics.registry.get_sample_value("riskwire_scored_total") != count:
        await asyncio.sleep(0.02)
    while daemon._parts.shadow is not None and not daemon._parts.shadow._queue.empty():
        await asyncio.sleep(0.02)
    stop.set()
    await running
    return daemon


def settings_in(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data", ingest=IngestSection(spread=0), observe=ObserveSection(listen="")
    )  # fmt: skip


async def test_the_shadow_scores_along_and_is_only_counted(tiny: Artefact, second: Path, tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), SystemClock()
    registry, now = ModelRegistry(settings.data_dir), clock.now()
    registry.set(str(tiny.path), now=now)
    shadow = registry.set_shadow(str(second), since=now, until=now + timedelta(days=1), share=1.0)
    await score(settings, 40)
    async with open_storage(settings, clock) as storage:
        stored = (await storage.store.tail("", 100)).items
        (doc,) = [Comparison.from_dict(doc) for _, doc in await storage.state.list(SHADOW_KIND)]
    assert {item.scored.model for item in stored} == {tiny.id}
    assert (doc.main, doc.shadow, doc.all.n) == (tiny.id, shadow.model, 40)
    assert doc.all.figures()["sentiment_agreement"] == 1.0
    # Not exactly: the main engine may calculate in float32 here, the shadow always does in int8.
    assert doc.all.figures()["shift_of_negative"] == pytest.approx(0.0, abs=2e-3)


async def test_a_shadow_that_cannot_be_loaded_harms_nobody(tiny: Artefact, second: Path, tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), SystemClock()
    registry, now = ModelRegistry(settings.data_dir), clock.now()
    registry.set(str(tiny.path), now=now)
    registry.set_shadow(str(second), since=now, until=now + timedelta(days=1), share=1.0)
    (registry.folder / SHADOW).write_text("{", "utf-8")
    daemon = await score(settings, 3)
    assert daemon._parts.shadow is None


def test_sighup_takes_what_is_set_and_keeps_the_former_when_it_is_wrong(tiny: Artefact, tmp_path: Path) -> None:
    file = tmp_path / "riskwire.toml"
    file.write_text("data_dir = 'data'\n[drift]\nenabled = true\n", "utf-8")
    present = load_settings(file)
    file.write_text("data_dir = 'data'\n[drift]\nenabled = false\n", "utf-8")
    ModelRegistry(tmp_path / "data").set(str(tiny.path), now=SystemClock().now())
    assert _again(file, present, None)[0].drift.enabled is False
    file.write_text("data_dir = 'data'\n[drift]\nenabled = 7\n", "utf-8")
    assert _again(file, present, None) == (present, None)
    file.write_text(f"data_dir = 'data'\n[model]\npath = '{tmp_path}/none'\n", "utf-8")
    assert _again(file, present, None) == (present, None)
