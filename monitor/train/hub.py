"""Encoders from folders and from the hub: what goes wrong there, said once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from monitor.core.errors import ConfigError

_CUT_SHORT = (
    "incomplete",
    "not fully covered",
    "failed finding central directory",
    "consistency check",
    "truncated",
    "connection broken",
)


def _network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when a connection breaks: the base error of the HTTP package that it uses."""
    try:
        from huggingface_hub import errors
    except ImportError:
        return ()
    found = getattr(errors, "HTTPError", None)
    return (found,) if isinstance(found, type) and issubclass(found, Exception) else ()


@contextmanager
def loading(source: str) -> Iterator[None]:
    """Maps what loading an encoder raises to ConfigError; a broken download is told from a wrong name."""
    broken: tuple[type[Exception], ...] = (SafetensorError, EOFError, *_network_errors())
    known: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, *broken)
    try:
        yield
    except known as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        # An answer of the hub (no such model, no access) is an OSError as well; a broken connection is not.
        cut = isinstance(error, broken) and not isinstance(error, OSError)
        if cut or any(mark in said.lower() for mark in _CUT_SHORT):
            raise ConfigError(
                f"encoder '{source}': its files are incomplete, as an interrupted download leaves them ({said}).",
                hint="Run it again: the hub goes on where it stopped; in a folder, copy the files again.",
            ) from error
        raise ConfigError(
            f"encoder '{source}': cannot be loaded ({said}).",
            hint="Name a folder with config.json and model.safetensors, or a model of the hub.",
        ) from error
