"""The one catalogue of Prometheus metrics. Everything the daemon measures is named here and nowhere else."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGE = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 21600, 86400)


class Metrics:
    """All metrics of one daemon, in a registry of its own (so that tests and several daemons do not collide)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.polls = Counter(
            "riskwire_polls",
            "Polls of sources, by outcome: ok or the error's code.",
            ["source", "outcome"],
            registry=registry,
        )
        self.poll_seconds = Histogram(
            "riskwire_poll_seconds", "Real seconds one poll took.", buckets=_SECONDS, registry=registry
        )
        self.poll_delay_seconds = Histogram(
            "riskwire_poll_delay_seconds", "Seconds by which polls started late.", buckets=_SECONDS, registry=registry
        )
        self.source_notes = Counter(
            "riskwire_source_notes", "What sources counted while parsing, e.g. date_missing.", ["source", "note"],
            registry=registry,
        )  # fmt: skip
        self.source_failures = Gauge(
            "riskwire_source_failures", "Polls failed in a row; 0 is healthy.", ["source"], registry=registry
        )
        self.articles = Counter(
            "riskwire_articles", "Articles published to the bus, by source.", ["source"], registry=registry
        )
        self.article_age_seconds = Histogram(
            "riskwire_article_age_seconds", "Age of an article when it was fetched.", buckets=_AGE, registry=registry
        )
        self.scored = Counter("riskwire_scored", "Articles scored and stored.", registry=registry)
        self.score_seconds = Histogram(
            "riskwire_score_seconds", "Real seconds to score one fetched batch.", buckets=_SECONDS, registry=registry
        )
        self.store_results = Counter(
            "riskwire_store_results", "Items put to the store, by outcome.", ["outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "riskwire_dead_letters", "Records sent to the dead-letter topic.", ["stage"], registry=registry
        )
        self.bus_lag = Gauge("riskwire_bus_lag", "Records published but not yet scored.", registry=registry)
        self.watermark_lag_seconds = Gauge(
            "riskwire_watermark_lag_seconds", "How far the detector's watermark is behind the clock.", registry=registry
        )
        self.detect_seconds = Histogram(
            "riskwire_detect_seconds", "Real seconds one detector tick took.", buckets=_SECONDS, registry=registry
        )
        self.incidents = Counter(
            "riskwire_incidents", "Changes of incidents that people are told about.", ["state", "severity"],
            registry=registry,
        )  # fmt: skip
        self.incidents_open = Gauge("riskwire_incidents_open", "Incidents not resolved.", registry=registry)
        self.notifications = Counter(
            "riskwire_notifications", "Attempts to notify, by outcome: sent, retry or failed.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.outbox_pending = Gauge("riskwire_outbox_pending", "Notifications waiting to be sent.", registry=registry)
        self.drift_effect = Gauge(
            "riskwire_drift_effect", "Size of the shift that a drift check found; see docs/lifecycle.md.", ["check"],
            registry=registry,
        )  # fmt: skip
        self.drifting = Gauge(
            "riskwire_drifting", "1 while a drift check says drift, else 0.", ["check"], registry=registry
        )
        self.drift_checked = Gauge(
            "riskwire_drift_checked_timestamp_seconds", "When drift was last looked for, Unix time.", registry=registry
        )
        self.shadow_articles = Counter(
            "riskwire_shadow_articles", "Articles offered to the shadow model: scored, dropped or failed.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.shadow_agreement = Gauge(
            "riskwire_shadow_agreement", "Part of the articles on which the shadow model gives the same verdict.",
            ["task"], registry=registry,
        )  # fmt: skip

        self.store_waiting = Gauge(
            "riskwire_store_waiting", "Scored articles that wait for a store that cannot take them now.",
            registry=registry,
        )  # fmt: skip
        self.leader = Gauge(
            "riskwire_leader", "1 while this process leads, 0 while it stands by, by lease.", ["lease"],
            registry=registry,
        )  # fmt: skip
        self.lease_renewals_failed = Counter(
            "riskwire_lease_renewals_failed", "Renewals and heartbeats that the state store did not take, by lease.",
            ["lease"], registry=registry,
        )  # fmt: skip
        self.sources_owned = Gauge(
            "riskwire_sources_owned", "Sources that this process polls, when several share them.", registry=registry
        )
        self.members = Gauge(
            "riskwire_members", "Replicas that this process sees, by group.", ["group"], registry=registry
        )

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)
