"""Names and labels of metrics; and that running code sets every one of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from doubles import START, FixedScorer, ScriptedSource, article, incident
from hypothesis import given
from hypothesis import strategies as st

from alerts.pipeline import DetectPipeline
from alerts.rules.engine import RuleSet
from alerts.rules.load import load_rules
from alerts.rules.parser import Vocabulary
from monitor.config import DriftSection, IngestSection, ObserveSection, Settings
from monitor.core.clock import ManualClock
from monitor.core.errors import FetchError, PermanentNotifyError, RetryableNotifyError
from monitor.core.types import Article, Cursor, Incident, Page, Receipt, Scored
from monitor.daemon import Daemon
from monitor.model.batching import MicroBatcher
from monitor.obs.families import CHILDREN_LIMIT, OTHER
from monitor.obs.measure import measured
from monitor.obs.metrics import CATALOGUE, Metrics

UNITS = {
    "seconds": "_seconds", "timestamp": "_timestamp_seconds", "info": "_info",
}  # fmt: skip

NOT_HERE = {
    "members": "several replicas: tests/unit/services/test_sharding.py",
    "sources_owned": "several replicas: tests/unit/services/test_sharding.py",
    "leader": "several replicas: tests/unit/services/test_leases.py",
    "lease_renewals_failed": "several replicas: tests/unit/services/test_leases.py",
    "drift_effect": "a day's work: tests/unit/lifecycle/test_drift_service.py",
    "drifting": "a day's work: tests/unit/lifecycle/test_drift_service.py",
    "drift_checked": "a day's work: tests/unit/lifecycle/test_drift_service.py",
    "shadow_articles": "needs two models: tests/unit/lifecycle/test_shadow_service.py",
    "shadow_agreement": "needs two models: tests/unit/lifecycle/test_shadow_service.py",
    "store_waiting": "0 unless the store is away: tests/unit/services/test_score_service.py",
    "outbox_stuck_seconds": "0 unless nothing can be sent: test_heartbeat.py",
    "ingest_overdue_seconds": "0 unless polls are late",
    "bus_lag": "0 again once everything is scored", "bus_lag_seconds": "0 again once everything is scored",
    "watermark_lag_seconds": "0 again once everything is scored",
    "incidents_open": "this one ends as soon as it begins: tests/unit/services/test_detect_service.py",
    "outbox_pending": "0 again once everything is sent: tests/unit/services/test_replay_and_notify.py",
    "outbox_refused": "0 unless a notifier refuses: tests/unit/alerts/test_refused.py",
    "heartbeat_pings": "no URL here: test_heartbeat.py",
    "heartbeat_ping_timestamp_seconds": "no URL here: test_heartbeat.py",
    "http_requests": "role web", "http_request_seconds": "role web", "http_refused": "role web",
    "sse_clients": "role web", "sse_events": "role web", "sse_dropped": "role web",
}  # fmt: skip


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.attribute)
def test_names_follow_the_conventions(spec) -> None:  # type: ignore[no-untyped-def]
    assert re.fullmatch(r"riskwire_[a-z][a-z_]*[a-z]", spec.name)
    assert spec.name.endswith("_total") == (spec.kind == "counter")
    assert spec.help.endswith(".")
    if spec.unit in UNITS:
        assert spec.name.endswith(UNITS[spec.unit])
    assert bool(spec.buckets) == (spec.kind == "histogram")
    assert list(spec.buckets) == sorted(set(spec.buckets))
    assert 1 <= spec.bound <= CHILDREN_LIMIT + 1
    assert spec.role in {"all", "ingest", "score", "detect", "notify", "web"}


def test_names_are_unique() -> None:
    names = [series for spec in CATALOGUE for series in spec.series]
    assert len(names) == len(set(names))


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=400))
def test_labels_stay_within_their_bounds(values: Sequence[tuple[str, str]]) -> None:
    metrics = Metrics()
    for first, second in values:
        metrics.source_notes.labels(first, second).inc()
        metrics.incidents.labels(first, second).inc()
        metrics.notify_attempts.labels(first, "sent").inc()
        metrics.store_results.labels(first).inc()
    for family in metrics.registry.collect():
        spec = next((one for one in CATALOGUE if one.name.removesuffix("_total") == family.name), None)
        if spec is not None and spec.labels:
            series = {tuple(sorted(s.labels.items())) for s in family.samples if s.name.endswith("_total")}
            assert len(series) <= spec.bound
            for label in spec.labels:
                shown = {s.labels[label.name] for s in family.samples}
                assert len(shown) <= label.bound
                assert not label.values or shown <= {*label.values, OTHER}
    assert metrics.registry.get_sample_value(
        "riskwire_store_results_total", {"outcome": OTHER}
    ) == (len([one for one, _ in values if one not in ("ok", "retry", "reject")]) or None)  # fmt: skip


def test_a_source_too_many_is_another_and_a_forgotten_one_makes_room() -> None:
    metrics = Metrics()
    for number in range(2001):
        metrics.source_failures.labels(f"s{number}").set(1)
    value = metrics.registry.get_sample_value
    assert value("riskwire_source_failures", {"source": "s1999"}) == 1
    assert value("riskwire_source_failures", {"source": "s2000"}) is None
    assert value("riskwire_source_failures", {"source": OTHER}) == 1
    metrics.source_failures.remove("s0")
    metrics.source_failures.labels("s2000").set(2)
    assert value("riskwire_source_failures", {"source": "s2000"}) == 2
    assert value("riskwire_source_failures", {"source": "s0"}) is None
    with pytest.raises(KeyError):
        metrics.source_failures.remove("s0")


def test_counters_are_there_before_their_first_event() -> None:
    assert b'riskwire_dead_letters_total{stage="score"} 0.0' in Metrics().render()


class Teller(FixedScorer):
    """Scores by title through the real micro-batcher, and tells of it as the real scorer does."""

    cache_hits, cache_misses = 3, 5

    def __init__(self) -> None:
        super().__init__(lambda title: 0.95 if "default" in title else 0.1)
        self.batcher: MicroBatcher[int] = MicroBatcher(
            lambda batch: [len(one) for one in batch], token_budget=64, max_wait_seconds=0.0
        )

    @property
    def stats(self) -> Teller:
        return self

    def on_batch(self, told) -> None:  # type: ignore[no-untyped-def]
        self.batcher.told = told

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        await self.batcher.submit([[1] * (3 + number) for number in range(len(articles))])
        return await super().score(articles)


class Deaf:
    """A notifier that fails in both ways before it hears."""

    name = "deaf"

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.errors: list[Exception] = [RetryableNotifyError("later", after=0.0, whole=False)]

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        if self.errors:
            raise self.errors.pop()
        self.heard.set()
        return Receipt(notifier="deaf", data={"id": incident.id})


def rules(folder: Path) -> RuleSet:
    file = folder / "rules.toml"
    file.write_text(
        '[[rules]]\nname = "d"\ntitle = "Default"\nquery = "default AND negative>=0.9"\nopen = "at once"\n', "utf-8"
    )
    return load_rules([file], Vocabulary(topics=("macro",), entities={}))


async def test_a_daemon_over_a_small_feed_moves_every_metric(tmp_path: Path) -> None:
    articles = [article(n, title=f"Bank {n} in default") for n in range(4)]
    poison = article(7, title="poison", published_at=START + timedelta(hours=1), fetched_at=START + timedelta(hours=1))
    page = Page(articles=[*articles, poison], cursor=Cursor(data={"at": 1}), counts={"entries": 5})
    sources = [ScriptedSource("wire", [page]), ScriptedSource("down", [FetchError("no", code="dns")])]
    scorer, deaf, stop = Teller(), Deaf(), asyncio.Event()
    settings = Settings(
        data_dir=tmp_path / "data", ingest=IngestSection(spread=0), observe=ObserveSection(listen=""),
        drift=DriftSection(enabled=False),
    )  # fmt: skip
    daemon = Daemon(
        settings, sources=sources, notifiers={"deaf": deaf}, scorer=scorer,
        pipeline=DetectPipeline(rules=rules(tmp_path)),
    )  # fmt: skip
    running = asyncio.create_task(daemon.run(stop))
    await asyncio.wait({asyncio.ensure_future(daemon.started.wait()), running}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    value = daemon.metrics.registry.get_sample_value
    while (
        value("riskwire_scored_total") != 4 or value("riskwire_polls_total", {"source": "down", "outcome": "dns"}) != 1
    ):
        await asyncio.sleep(0.01)
    await daemon.detect.tick()
    await daemon.detect.tick()
    while not deaf.heard.is_set():
        assert daemon._parts.notify is not None
        daemon._parts.notify.wake()
        await asyncio.sleep(0.05)
    while not value("riskwire_event_loop_delay_seconds_count"):
        await asyncio.sleep(0.05)
    while not value("riskwire_notify_attempts_total", {"notifier": "deaf", "outcome": "sent"}):
        await asyncio.sleep(0.01)
    text = daemon.metrics.render().decode()
    stop.set()
    await running
    await scorer.batcher.close()
    moved = {
        match.group(1)
        for match in re.finditer(r"^(\w+?)(?:_count)?(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
        if float(match.group(2)) > 0
    }
    quiet = {spec.attribute for spec in CATALOGUE if spec.name not in moved}
    assert quiet - set(NOT_HERE) == set()
    assert "process_resident_memory_bytes" in moved
    for way in ("published_to_stored", "published_to_incident", "incident_to_sent", "published_to_sent"):
        assert value("riskwire_latency_seconds_count", {"way": way}), way
    assert value("riskwire_bus_end_offset", {"topic": "articles", "partition": "0"}) is not None
    assert value("riskwire_dead_letters_total", {"stage": "score"}) == 1
    assert value("riskwire_source_failures", {"source": "down"}) == 1


@pytest.mark.parametrize(
    ("error", "outcome"), [(RetryableNotifyError("x"), "retry"), (PermanentNotifyError("x"), "failed")]
)
async def test_attempts_that_fail_are_counted_and_raised(error: Exception, outcome: str) -> None:
    metrics, deaf = Metrics(), Deaf()
    deaf.errors = [error]
    (told,) = measured({"desk": deaf}, ManualClock(START), metrics).values()
    with pytest.raises(type(error)):
        await told.send(incident(), None)
    value = metrics.registry.get_sample_value
    assert value("riskwire_notify_attempts_total", {"notifier": "desk", "outcome": outcome}) == 1
    assert value("riskwire_notify_seconds_count", {"notifier": "desk"}) == 1
    assert value("riskwire_latency_seconds_count", {"way": "incident_to_sent"}) is None
