"""The composition root: with :mod:`monitor.storage` the only place that knows which class fills which port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from alerts import stories
from alerts.detector import DetectorConfig
from alerts.pipeline import DetectPipeline, PipelineConfig
from alerts.registry import load_notifiers
from alerts.rules.engine import RuleSet
from alerts.tuning import tuned
from connectors.base import ConnectorContext, SourceSpec, open_context
from connectors.http.policy import HttpPolicy
from connectors.registry import load_connectors, make_source
from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.errors import ConfigError
from monitor.core.ports import Listener, Notifier, Source
from monitor.core.types import Scope, ScoredArticle, SeriesKey
from monitor.entities.matcher import EntityMatcher
from monitor.entities.watchlist import Watchlist, load_watchlist
from monitor.obs.tracing import NO_TRACER, Tracer
from monitor.storage import Storage, instance, open_storage

__all__ = ["Storage", "open_storage"]

if TYPE_CHECKING:
    from monitor.model.artefact import Artefact
    from monitor.model.drift.blocks import Block
    from monitor.model.drift.checks import Check
    from monitor.model.registry import Shadow
    from monitor.model.scorer import ModelScorer

# The model's libraries are imported where they are used: a role that does not score starts without them.

_log = structlog.get_logger("app")


def build_watchlist(settings: Settings) -> Watchlist:
    """The packaged watchlist and the user's own. Raises ConfigError naming file, line and column."""
    return load_watchlist(settings.entities.watchlists, packaged=settings.entities.packaged)


def load_artefact(path: Path | None) -> Artefact:
    """The model artefact at ``path``, else the packaged one, verified by hash. Raises ModelError."""
    from monitor.model.artefact import Artefact, packaged

    return Artefact.load(path or packaged())


def model_path(settings: Settings) -> Path | None:
    """The folder of the model that runs: ``model.path`` of the configuration, else the one that `riskwire model set`
    points to; None for the packaged one. Raises ModelError."""
    from monitor.model.registry import ModelRegistry

    return settings.model.path or ModelRegistry(settings.data_dir).current_path()


def build_scorer(settings: Settings, clock: Clock) -> ModelScorer:
    """The model with its engine, batching, cache and entity matcher. Raises ModelError or ConfigError."""
    from monitor.model.engines import choose_engine
    from monitor.model.scorer import ModelScorer

    artefact = load_artefact(model_path(settings))
    engine = choose_engine(artefact, settings.model.engine, threads=settings.model.threads)
    matcher = EntityMatcher(build_watchlist(settings))
    return ModelScorer(
        engine=engine,
        artefact=artefact,
        clock=clock,
        find_entities=lambda article: matcher.find(article.text),
        signature=stories.signature,
        token_budget=settings.model.token_budget,
        max_wait_seconds=settings.model.max_wait,
        cache_size=settings.model.cache_size,
        min_precision=settings.model.min_precision,
    )


def build_shadow(settings: Settings, clock: Clock) -> tuple[ModelScorer, Shadow] | None:
    """The model that scores along, and for how long; None when there is none or its time is over. Raises ModelError."""
    from monitor.model.quiet import QuietEngine
    from monitor.model.registry import ModelRegistry
    from monitor.model.scorer import ModelScorer

    registry = ModelRegistry(settings.data_dir)
    shadow = registry.shadow()
    if shadow is None or shadow.until <= clock.now():
        return None
    artefact = load_artefact(registry.path_of(shadow.model))
    engine = QuietEngine(artefact)
    return ModelScorer(engine=engine, artefact=artefact, clock=clock, token_budget=1024, cache_size=0), shadow


def build_stories() -> Callable[[ScoredArticle], str]:
    """Names the story of an article, for articles in the order in which they arrived."""
    index = stories.StoryIndex()

    def story_of(item: ScoredArticle) -> str:
        return index.assign(item.article, item.article.fetched_at, item.scored.story_signature)[0]

    return story_of


def build_drift(
    settings: Settings, model: str
) -> tuple[
    Callable[[datetime, Sequence[ScoredArticle]], Block], Callable[[Sequence[Block], Sequence[Block]], Sequence[Check]]
]:
    """What counts a block of stored articles (and the verdicts of ``model``), and what compares two sets of blocks.

    The tokenizer is loaded when the first block is counted, which raises ModelError when it cannot be.
    """
    from functools import cache

    from monitor.model.drift.blocks import Observer
    from monitor.model.drift.checks import compare

    @cache
    def observer() -> Observer:
        return Observer(load_artefact(model_path(settings)), model=model)

    return lambda start, items: observer().block(start, items), compare


def load_rules(settings: Settings, files: Sequence[Path], watchlist: Watchlist | None = None) -> RuleSet:
    """The rules of some files, checked against the topics of the model that runs and the watchlist. Raises ConfigError
    that names file, line and column of each wrong rule, or ModelError."""
    from alerts.rules.load import load_rules as load
    from alerts.rules.parser import Vocabulary

    if not files:
        return RuleSet()
    watched = watchlist or build_watchlist(settings)
    topics = load_artefact(model_path(settings)).tasks["topic"].labels
    return load(
        files, Vocabulary(topics=tuple(topics), entities={entity.id: entity.name for entity in watched.entities})
    )


def build_rules(settings: Settings) -> RuleSet:
    """The configured rules. Raises ConfigError or ModelError."""
    return load_rules(settings, settings.detect.rules)


def build_pipeline(
    settings: Settings, watchlist: Watchlist, *, alerting: bool = True, rules: RuleSet | None = None
) -> DetectPipeline:
    """The detection pipeline with the display names of topics and entities, and with ``rules``, the configured ones
    when None. Raises ModelError or ConfigError."""
    if rules is None:
        rules = load_rules(settings, settings.detect.rules, watchlist)
    topics = load_artefact(model_path(settings)).tasks["topic"]
    names: dict[SeriesKey, str] = {SeriesKey(scope=Scope.ALL, value="*"): "all news"}
    names |= {SeriesKey(scope=Scope.TOPIC, value=label): topics.display(label) for label in topics.labels}
    names |= {SeriesKey(scope=Scope.ENTITY, value=entity.id): entity.name for entity in watchlist.entities}
    config = PipelineConfig(
        detector=DetectorConfig(width=timedelta(minutes=settings.detect.bucket_minutes)),
        grace=timedelta(seconds=settings.detect.grace),
    )
    config = tuned(config, {name: str(value) for name, value in settings.detect.tuning.items()})
    return DetectPipeline(config, display_names=names, alerting=alerting, rules=rules)


def connector_context(settings: Settings, clock: Clock) -> AbstractAsyncContextManager[ConnectorContext]:
    """The polite HTTP client and the workers that all connectors share; closed at the end."""
    ingest = settings.ingest
    policy = HttpPolicy(
        user_agent=ingest.user_agent,
        total_timeout=ingest.timeout,
        max_bytes=ingest.max_bytes,
        max_compressed=ingest.max_bytes,
        concurrency=ingest.max_concurrent,
        per_host=ingest.per_host_concurrent,
        spacing=ingest.per_host_spacing,
        allow_networks=ingest.allow_networks,
    )
    return open_context(clock, policy, base=settings.base)


def build_sources(settings: Settings, context: ConnectorContext) -> list[Source | Listener]:
    """Every configured source, through the installed connectors. Raises ConfigError naming source and key."""
    connectors = load_connectors()
    return [
        make_source(SourceSpec(name=entry.name, kind=entry.kind, options=entry.options), context, connectors)
        for entry in settings.sources
    ]


def build_tracer(settings: Settings) -> Tracer:
    """What records traces; nothing when no receiver is configured. Raises ConfigError when its library is missing."""
    url = settings.observe.traces_url
    if not url:
        return NO_TRACER
    try:
        from monitor.obs.otel import otlp_tracer

        return otlp_tracer(url, ratio=settings.observe.traces_ratio, instance=instance(settings))
    except ImportError as error:
        raise ConfigError(
            f"observe.traces_url needs OpenTelemetry, which is not installed ({error.name}).",
            hint="Install it: pip install 'riskwire[otel]'.",
        ) from error


def build_notifiers(settings: Settings, clock: Clock) -> dict[str, Notifier]:
    """Every configured notifier by its name. Raises ConfigError naming notifier and key."""
    tables = {entry.name or entry.kind: {**entry.options, "type": entry.kind} for entry in settings.notifiers}
    return load_notifiers(tables, clock)
