"""Structured logs: key-value on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from monitor.obs.redact import redact_event


def configure_logging(level: str = "info", *, style: str = "auto", stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging for the whole process.

    ``style`` is ``auto`` (``console`` on a terminal, else ``json``), ``console`` or ``json``. Logs go to ``stream``,
    standard error by default, so that standard output stays for results.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    console = style == "console" or (style == "auto" and out.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # before the redaction: a traceback quotes what was passed around
        redact_event,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    # It complains whenever a tick is due while the last one runs (so ticks are meant to coalesce) and of jobs that a
    # shutdown cancels; what jobs raise otherwise stops the daemon and is reported by it.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
