"""What every state store agrees on: how documents may be named, when one is as expected, how many are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.core.errors import ConflictError, StorageError
from monitor.core.types import JSON, Change, Expect, Put
from monitor.db.values import from_json, to_json

Place = tuple[str, str]
"""Kind and key of a document."""

LIST_LIMIT = 10_000
PLACE_LIMIT_BYTES = 2_000
"""Kind and key together, in UTF-8. An entry of a PostgreSQL index holds 2,704 bytes (a third of a page)."""


def place(kind: str, key: str) -> Place:
    """The place of a document. Raises StorageError when some database could not hold the name."""
    try:
        size = len(kind.encode()) + len(key.encode())
    except UnicodeEncodeError as error:
        raise _unusable(key, "it holds half a character") from error
    if "\0" in kind or "\0" in key:
        raise _unusable(key, "it holds a NUL character")
    if size > PLACE_LIMIT_BYTES:
        raise _unusable(key[:40] + "…", f"it is longer than {PLACE_LIMIT_BYTES:,} bytes")
    return kind, key


def _unusable(key: str, reason: str) -> StorageError:
    return StorageError(
        f"A state document cannot be named {key!r}: {reason}.",
        hint="Clean the text (monitor.core.text.clean) before it becomes a key.",
    )


def conditions_of(given: Sequence[Expect]) -> list[tuple[Place, str | None]]:
    """Places and the JSON wanted there (None: absent). Raises StorageError or CodecError."""
    return [
        (place(expect.kind, expect.key), None if expect.value is None else to_json(dict(expect.value)))
        for expect in given
    ]


def effect_of(changes: Sequence[Change]) -> dict[Place, str | None]:
    """What the changes, made in their order, leave at each place: JSON, or None for nothing.
    Raises StorageError or CodecError."""
    return {
        place(change.kind, change.key): to_json(dict(change.value)) if isinstance(change, Put) else None
        for change in changes
    }


def require(at: Place, wanted: str | None, found: str | None) -> None:
    """Raises ConflictError unless the JSON found means the same as the JSON wanted."""
    if (None if found is None else from_json(found)) != (None if wanted is None else from_json(wanted)):
        raise ConflictError(
            f"The state document {at[0]}/{at[1]} is not what was expected; nothing was changed.",
            hint="Another process changed it first: read it again.",
        )


def page_size(limit: int) -> int:
    """How many documents a listing gives at most."""
    return max(0, min(limit, LIST_LIMIT))


def document(text: str) -> Mapping[str, JSON]:
    """The document that a JSON text holds."""
    value: Mapping[str, JSON] = from_json(text)
    return value
