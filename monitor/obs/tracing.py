"""Traces, when they are wanted: what the services call. Without ``[observe] traces_url`` nothing is recorded, and only
the log lines within a span of a known article or incident carry its trace id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import structlog

from monitor.core.trace import TraceContext, trace_of

Attribute = str | int | float | bool

LINKS = 32
"""The most links of one span: a batch of hundreds of articles names the first ones."""

_current: ContextVar[TraceContext | None] = ContextVar("riskwire_span", default=None)


class Span(Protocol):
    """A span under way."""

    context: TraceContext | None
    """None when nothing is recorded."""

    def set(self, **attributes: Attribute) -> None:
        """Adds attributes."""

    def end(self, error: str = "") -> None:
        """Ends it, as failed when ``error`` says why."""


class _NoSpan:
    context: TraceContext | None = None

    def set(self, **attributes: Attribute) -> None:
        """Nothing."""

    def end(self, error: str = "") -> None:
        """Nothing."""


NO_SPAN: Span = _NoSpan()


class Tracer:
    """Records nothing; :class:`monitor.obs.otel.OtelTracer` does."""

    enabled = False

    def start(
        self,
        name: str,
        *,
        root: str = "",
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        **attributes: Attribute,
    ) -> Span:
        """A span that the caller ends. ``root``: the id of the article or incident whose first span it is. Without
        ``root`` and ``parent`` it belongs to the span that is current, else it begins a trace."""
        return NO_SPAN

    @contextmanager
    def span(
        self,
        name: str,
        *,
        root: str = "",
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        **attributes: Attribute,
    ) -> Iterator[Span]:
        """A span around a block, which it is current in; log lines of the block carry its trace id. An error that
        leaves the block marks it as failed, by the name of the error only: its words may hold what is secret."""
        span = self.start(name, root=root, parent=parent, links=links, **attributes)
        context = span.context or parent or (trace_of(root) if root else None)
        token = _current.set(span.context or _current.get())
        error = ""
        try:
            if context is None:
                yield span
            else:
                with structlog.contextvars.bound_contextvars(trace_id=context.trace_id):
                    yield span
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            _current.reset(token)
            span.end(error)

    def close(self) -> None:
        """Hands over what was recorded; ends within seconds. Blocks: call it in a thread."""


def current() -> TraceContext | None:
    """The span that is current, when one is recorded."""
    return _current.get()


NO_TRACER = Tracer()
