"""Runs a command in this process: faster than starting Python, and its errors can be looked at."""

from __future__ import annotations

import logging

import structlog
from click.testing import Result
from typer.testing import CliRunner

from monitor.cli.main import app


def invoke(*words: str) -> Result:
    """The result of ``riskwire`` with ``words``. Raises what the command raises, before it becomes an exit code."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        result = CliRunner().invoke(app, words)
    finally:
        # The command sets up logging for the process, to a stream that ends with the runner.
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
