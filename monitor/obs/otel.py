"""Traces with OpenTelemetry, sent over OTLP/HTTP. The libraries (extra ``otel``) are imported by this module only."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from importlib.metadata import version

from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from monitor.core.trace import TraceContext, trace_of
from monitor.obs.tracing import LINKS, Attribute, Span, Tracer, current

_wanted: ContextVar[TraceContext | None] = ContextVar("riskwire_wanted_ids", default=None)

_TIMEOUT = 5.0
"""Seconds for one export; what cannot be sent is dropped: traces never hold up the work."""


class _Ids(IdGenerator):
    """Random ids, except for the first span of an article or an incident, whose ids are given."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        """The wanted one, else a random one."""
        wanted = _wanted.get()
        return int(wanted.trace_id, 16) if wanted is not None else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """The wanted one, else a random one."""
        wanted = _wanted.get()
        return int(wanted.span_id, 16) if wanted is not None else self._random.generate_span_id()


class _OtelSpan:
    def __init__(self, span: api.Span) -> None:
        self._span = span
        inner = span.get_span_context()
        self.context: TraceContext | None = TraceContext(
            trace_id=f"{inner.trace_id:032x}", span_id=f"{inner.span_id:016x}", sampled=inner.trace_flags.sampled
        )

    def set(self, **attributes: Attribute) -> None:
        """Adds attributes."""
        self._span.set_attributes(attributes)

    def end(self, error: str = "") -> None:
        """Ends it."""
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class OtelTracer(Tracer):
    """Records spans and hands them to ``exporter`` in the background, at most 2,048 waiting.

    A trace is taken or left as a whole, by its id (``ratio`` of all), so that every process decides alike.
    """

    enabled = True

    def __init__(self, exporter: SpanExporter, *, ratio: float = 1.0, instance: str = "") -> None:
        attributes: dict[str, str] = {"service.name": "riskwire", "service.version": version("riskwire")}
        if instance:  # the name of the machine and the process number; no secret, but nobody else's business
            attributes["service.instance.id"] = hashlib.blake2b(instance.encode(), digest_size=8).hexdigest()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(ratio),
            resource=Resource.create(attributes),
            id_generator=_Ids(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=1000 * _TIMEOUT))
        self._tracer = self._provider.get_tracer("riskwire")
        # It would tell of every export that fails, with a traceback.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)

    def start(
        self,
        name: str,
        *,
        root: str = "",
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        **attributes: Attribute,
    ) -> Span:
        """A span that the caller ends."""
        inside = None if root else parent or current()
        context = api.set_span_in_context(NonRecordingSpan(_foreign(inside)) if inside else api.INVALID_SPAN)
        token = _wanted.set(trace_of(root) if root else None)
        try:
            span = self._tracer.start_span(
                name,
                context=context,
                links=[Link(_foreign(link)) for link in links[:LINKS]],
                attributes={f"riskwire.{key}": value for key, value in attributes.items()},
            )
        finally:
            _wanted.reset(token)
        return _OtelSpan(span)

    def close(self) -> None:
        """Sends what waits, for a few seconds at most."""
        self._provider.force_flush(int(1000 * _TIMEOUT))
        self._provider.shutdown()


def _foreign(context: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )


def otlp_tracer(url: str, *, ratio: float, instance: str) -> OtelTracer:
    """Sends to the OTLP/HTTP receiver at ``url``, e.g. ``http://127.0.0.1:4318/v1/traces``. Headers, with secrets, come
    from OTEL_EXPORTER_OTLP_HEADERS."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OtelTracer(OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT), ratio=ratio, instance=instance)
