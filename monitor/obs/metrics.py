"""The one catalogue of Prometheus metrics. Everything the daemon measures is named here and nowhere else.

Add one as a line in :class:`Metrics`; tests/unit/obs holds that some running code sets it, that its labels are bounded,
and that alert rules and dashboards name nothing that is not here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from monitor.obs.families import Label, Labelled, Made, Plain, Spec, declared

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGE = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 21600, 86400)
_TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

SOURCE = Label(name="source", limit=2000, help="Name of a configured source.")
OUTCOME = Label(name="outcome", limit=60, help="ok, unavailable, or the code of a source's error.")
NOTE = Label(name="note", limit=100, help="A tally that a connector keeps.")
STAGE = Label(name="stage", values=("score", "detect", "ingest"))
PUT = Label(name="outcome", values=("ok", "retry", "reject"))
STATE = Label(name="state", values=("open", "acknowledged", "snoozed", "resolved"))
SEVERITY = Label(name="severity", values=("info", "warning", "critical"))
SENT = Label(name="outcome", values=("sent", "retry", "failed"))
NOTIFIER = Label(name="notifier", limit=50, help="Name of a configured notifier.")
LEASE = Label(name="lease", values=("detect", "notify", "ingest"))
GROUP = Label(name="group", values=("ingest",))
CHECK = Label(name="check", limit=60, help="A drift check.")
PART = Label(
    name="part",
    values=("scheduler", "score", "detect", "notify", "web", "lease detect", "lease notify", "member ingest"),
)
ROLE = Label(name="role", values=("ingest", "score", "detect", "notify", "web"))
TOPIC = Label(name="topic", values=("articles", "dead-letters"))
PARTITION = Label(name="partition", limit=512)
WAY = Label(
    name="way",
    values=(
        "published_to_stored", "fetched_to_stored", "published_to_incident", "incident_to_sent", "published_to_sent",
    ),
    help="From which moment to which.",
)  # fmt: skip
ROUTE = Label(name="route", limit=100, help="Template of the path, e.g. /api/v1/incidents/{id}; never the path itself.")
METHOD = Label(name="method", values=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
STATUS = Label(name="status", values=("1xx", "2xx", "3xx", "4xx", "5xx"))


class Metrics(Made):
    """All metrics of one daemon, in a registry of its own (so that tests and several daemons do not collide)."""

    # -- every process ---------------------------------------------------------------------------------------------
    build_info = Labelled(
        Gauge, "1, with the version of Riskwire and of Python.", unit="info", role="all",
        labels=(Label(name="version", limit=1), Label(name="python", limit=1)),
    )  # fmt: skip
    role_info = Labelled(Gauge, "1 for each role that this process runs.", unit="info", role="all", labels=(ROLE,))
    ready = Plain(Gauge, "1 while work is taken, as /readyz says.", unit="bool", role="all")
    heartbeat_age_seconds = Labelled(
        Gauge, "Seconds since a part last proved progress.", unit="seconds", role="all", labels=(PART,)
    )
    heartbeat_allowed_seconds = Labelled(
        Gauge, "Seconds within which a part promised to prove progress again; beyond, /healthz says 503.",
        unit="seconds", role="all", labels=(PART,),
    )  # fmt: skip
    heartbeat_pings = Labelled(
        Counter, "Turns of the heartbeat URL: asked (ok, failed), or withheld since the chain made no progress.",
        unit="pings", role="all", labels=(Label(name="outcome", values=("ok", "failed", "withheld")),),
    )  # fmt: skip
    heartbeat_ping_timestamp_seconds = Plain(
        Gauge, "When the heartbeat URL last answered well, Unix time.", unit="timestamp", role="all"
    )
    event_loop_delay_seconds = Plain(
        Histogram, "By how much the event loop was late, looked at once a second.", unit="seconds", role="all",
        buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    )  # fmt: skip
    leader = Labelled(
        Gauge, "1 while this process leads, 0 while it stands by, by lease.", unit="bool", role="all", labels=(LEASE,)
    )
    lease_renewals_failed = Labelled(
        Counter, "Renewals and heartbeats that the state store did not take, by lease.",
        unit="renewals", role="all", labels=(LEASE,),
    )  # fmt: skip
    members = Labelled(
        Gauge, "Replicas that this process sees, by group.", unit="processes", role="ingest", labels=(GROUP,)
    )

    # -- ingest ----------------------------------------------------------------------------------------------------
    polls = Labelled(
        Counter, "Polls of sources, by outcome: ok or the error's code.", unit="polls", role="ingest",
        labels=(SOURCE, OUTCOME),
    )  # fmt: skip
    poll_seconds = Plain(Histogram, "Real seconds one poll took.", unit="seconds", role="ingest", buckets=_SECONDS)
    poll_delay_seconds = Plain(
        Histogram, "Seconds by which polls started late.", unit="seconds", role="ingest", buckets=_SECONDS
    )
    ingest_overdue_seconds = Plain(
        Gauge, "By how much the source that waits longest is late now.", unit="seconds", role="ingest"
    )
    source_notes = Labelled(
        Counter, "What sources counted while parsing, e.g. date_missing.", unit="notes", role="ingest",
        labels=(SOURCE, NOTE),
    )  # fmt: skip
    source_failures = Labelled(
        Gauge, "Polls failed in a row; 0 is healthy.", unit="polls", role="ingest", labels=(SOURCE,)
    )
    source_success_timestamp_seconds = Labelled(
        Gauge, "When a source was last polled with success, Unix time.", unit="timestamp", role="ingest",
        labels=(SOURCE,),
    )  # fmt: skip
    source_article_timestamp_seconds = Labelled(
        Gauge, "When a source last brought an article, Unix time.", unit="timestamp", role="ingest", labels=(SOURCE,)
    )
    sources_owned = Plain(
        Gauge, "Sources that this process polls, when several share them.", unit="sources", role="ingest"
    )
    articles = Labelled(
        Counter, "Articles published to the bus, by source.", unit="articles", role="ingest", labels=(SOURCE,)
    )
    article_age_seconds = Plain(
        Histogram, "Age of an article when it was fetched.", unit="seconds", role="ingest", buckets=_AGE
    )
    publish_seconds = Plain(
        Histogram, "Real seconds until a batch of articles was durable on the bus.", unit="seconds", role="ingest",
        buckets=_SECONDS,
    )  # fmt: skip

    # -- bus and score ---------------------------------------------------------------------------------------------
    bus_lag = Plain(Gauge, "Records published but not yet scored.", unit="records", role="detect")
    bus_lag_seconds = Plain(Gauge, "Age of the oldest record not yet scored.", unit="seconds", role="detect")
    bus_end_offset = Labelled(
        Gauge, "Offset that the next record of a partition will get.", unit="records", role="detect",
        labels=(TOPIC, PARTITION),
    )  # fmt: skip
    scored = Plain(Counter, "Articles scored and stored.", unit="articles", role="score")
    score_seconds = Plain(
        Histogram, "Real seconds to score and store one fetched batch.", unit="seconds", role="score", buckets=_SECONDS
    )
    sentiments = Labelled(
        Counter, "Articles scored, by verdict.", unit="articles", role="score",
        labels=(Label(name="sentiment", values=("negative", "neutral", "positive", "uncertain")),),
    )  # fmt: skip
    predict_seconds = Plain(
        Histogram, "Real seconds the engine took for one micro-batch.", unit="seconds", role="score", buckets=_SECONDS
    )
    batch_tokens = Plain(
        Histogram, "Tokens of a micro-batch, padding included.", unit="tokens", role="score", buckets=_TOKENS
    )
    tokens = Plain(Counter, "Tokens that texts had.", unit="tokens", role="score")
    padding_tokens = Plain(
        Counter, "Tokens computed in vain, to make the texts of a batch equally long.", unit="tokens", role="score"
    )
    texts = Plain(Counter, "Texts that went through the engine.", unit="texts", role="score")
    score_cache = Labelled(
        Counter, "Texts looked up in the cache of results.", unit="texts", role="score",
        labels=(Label(name="outcome", values=("hit", "miss")),),
    )  # fmt: skip
    model_info = Labelled(
        Gauge, "1, with the id of the model that scores.", unit="info", role="score",
        labels=(Label(name="model", limit=4),),
    )  # fmt: skip
    store_results = Labelled(
        Counter, "Items put to the store, by outcome.", unit="articles", role="score", labels=(PUT,)
    )
    store_put_seconds = Plain(
        Histogram, "Real seconds of one put to the store.", unit="seconds", role="score", buckets=_SECONDS
    )
    store_waiting = Plain(
        Gauge, "Scored articles that wait for a store that cannot take them now.", unit="articles", role="score"
    )
    dead_letters = Labelled(
        Counter, "Records sent to the dead-letter topic.", unit="records", role="score", labels=(STAGE,)
    )
    latency_seconds = Labelled(
        Histogram, "How long the way of an article took, in the clock's seconds.", unit="seconds", role="all",
        labels=(WAY,), buckets=_AGE,
    )  # fmt: skip

    # -- detect ----------------------------------------------------------------------------------------------------
    watermark_lag_seconds = Plain(
        Gauge, "How far the detector's watermark is behind the clock.", unit="seconds", role="detect"
    )
    detect_seconds = Plain(
        Histogram, "Real seconds one detector tick took.", unit="seconds", role="detect", buckets=_SECONDS
    )
    detect_articles = Labelled(
        Counter, "Articles that the detector read: taken, or why not, or late (counted in the next bucket).",
        unit="articles", role="detect",
        labels=(Label(name="outcome", values=("articles", "duplicates", "backfills", "late")),),
    )  # fmt: skip
    buckets_closed = Plain(Counter, "Time buckets closed.", unit="buckets", role="detect")
    bucket_lateness_seconds = Plain(
        Histogram, "How long after its end the newest bucket of a tick was closed.", unit="seconds", role="detect",
        buckets=(30, 60, 75, 90, 120, 180, 300, 600, 1800, 3600, 21600),
    )  # fmt: skip
    incidents = Labelled(
        Counter, "Changes of incidents that people are told about.", unit="changes", role="detect",
        labels=(STATE, SEVERITY),
    )  # fmt: skip
    incidents_open = Plain(Gauge, "Incidents not resolved.", unit="incidents", role="detect")
    drift_effect = Labelled(
        Gauge, "Size of the shift that a drift check found; see docs/lifecycle.md.", unit="effect", role="detect",
        labels=(CHECK,),
    )  # fmt: skip
    drifting = Labelled(Gauge, "1 while a drift check says drift, else 0.", unit="bool", role="detect", labels=(CHECK,))
    drift_checked = Plain(
        Gauge, "When drift was last looked for, Unix time.", unit="timestamp", role="detect",
        name="drift_checked_timestamp_seconds",
    )  # fmt: skip
    shadow_articles = Labelled(
        Counter, "Articles offered to the shadow model: scored, dropped or failed.", unit="articles", role="score",
        labels=(Label(name="outcome", values=("scored", "dropped", "failed")),),
    )  # fmt: skip
    shadow_agreement = Labelled(
        Gauge, "Part of the articles on which the shadow model gives the same verdict.", unit="ratio", role="score",
        labels=(Label(name="task", values=("topic", "sentiment")),),
    )  # fmt: skip

    # -- notify ----------------------------------------------------------------------------------------------------
    notifications = Labelled(
        Counter, "Attempts to notify, by outcome: sent, retry or failed.", unit="attempts", role="notify",
        labels=(SENT,),
    )  # fmt: skip
    notify_attempts = Labelled(
        Counter, "Attempts to notify, by notifier and outcome.", unit="attempts", role="notify",
        labels=(NOTIFIER, SENT),
    )  # fmt: skip
    notify_seconds = Labelled(
        Histogram, "Real seconds of one attempt to notify.", unit="seconds", role="notify", labels=(NOTIFIER,),
        buckets=_SECONDS,
    )  # fmt: skip
    outbox_pending = Plain(Gauge, "Notifications waiting to be sent.", unit="notifications", role="notify")
    outbox_refused = Plain(
        Gauge, "Messages that receivers refused for good and that were not sent since (riskwire outbox ls).",
        unit="notifications", role="notify",
    )  # fmt: skip
    outbox_stuck_seconds = Plain(
        Gauge, "For how long notifications have waited without any being sent; 0 when none waits.", unit="seconds",
        role="notify",
    )  # fmt: skip

    # -- web -------------------------------------------------------------------------------------------------------
    http_requests = Labelled(
        Counter, "HTTP requests answered.", unit="requests", role="web", labels=(METHOD, ROUTE, STATUS)
    )
    http_request_seconds = Labelled(
        Histogram, "Real seconds to answer a request; event streams are left out.", unit="seconds", role="web",
        labels=(ROUTE,), buckets=_SECONDS,
    )  # fmt: skip
    http_refused = Labelled(
        Counter, "HTTP requests refused before any work.", unit="requests", role="web",
        labels=(Label(name="reason", values=("unauthenticated", "forbidden", "rate_limited", "too_large")),),
    )  # fmt: skip
    sse_clients = Plain(Gauge, "Open streams of server-sent events.", unit="clients", role="web")
    sse_events = Labelled(
        Counter, "Server-sent events written to clients.", unit="events", role="web",
        labels=(Label(name="kind", values=("article", "incident", "heartbeat")),),
    )  # fmt: skip
    sse_dropped = Plain(Counter, "Streams closed since their client was too slow.", unit="clients", role="web")

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.made = {item.attribute: item.instance(self.registry) for item in _DECLARED}
        self._samplers: list[Callable[[], None]] = []
        ProcessCollector(registry=self.registry)
        self.build_info.labels(_version(), platform.python_version()).set(1)

    def sample(self, look: Callable[[], None]) -> None:
        """``look`` is called before each :meth:`render`: for what is known at any time and need not be pushed."""
        self._samplers.append(look)

    def render(self) -> bytes:
        """The Prometheus text format."""
        for look in self._samplers:
            look()
        return generate_latest(self.registry)


_DECLARED = declared(Metrics)

CATALOGUE: tuple[Spec, ...] = tuple(item.spec for item in _DECLARED)
"""Every metric of ours, in the order in which they are declared."""

PROCESS = (
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes",
    "process_start_time_seconds", "process_open_fds", "process_max_fds",
)  # fmt: skip
"""What the Prometheus client tells of the process itself (Linux)."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("riskwire")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
