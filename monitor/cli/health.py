"""``riskwire health``: asks the daemon of this machine (or container) whether it makes progress."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UnavailableError, UsageError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — what a daemon listens on, not we


def health(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="HOST:PORT of the daemon; observe.listen when unset.")
    ] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Ask whether it takes work (/readyz) instead.")] = False,
) -> None:
    """Ask the running daemon for its health. Exit code 1 when a part is stalled or nobody answers."""
    address = listen or _configured(config)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"There is no daemon to ask at '{address}'.", hint="observe.listen is 'HOST:PORT'.")
    host = host.strip("[]")
    line = http.client.HTTPConnection(_ANY.get(host, host), int(port), timeout=5)
    try:
        line.request("GET", "/readyz" if ready else "/healthz")
        answer = line.getresponse()
        text = answer.read(10_000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"No daemon answers at {address}: {error}.", hint="Is 'riskwire run' running?"
        ) from error
    finally:
        line.close()
    typer.echo(text)
    if answer.status != 200:
        raise typer.Exit(1)


def _configured(config: Path | None) -> str:
    from monitor.config import load_settings

    return load_settings(config).observe.listen
