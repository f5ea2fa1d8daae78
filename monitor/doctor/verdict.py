"""What the doctor says, and what a check is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from monitor.core.errors import RiskwireError

Status = Literal["ok", "warn", "fail"]

LIMIT_SECONDS = 10.0
"""What a check may take unless it says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the doctor says of one part. ``advice`` is the next step; it may be empty only when all is well.

    No text of a verdict may hold a secret: people paste them into tickets.
    """

    part: str
    status: Status
    finding: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at one part. ``look`` may raise RiskwireError, which becomes a failure; ``limit`` is in real seconds.

    ``remedy`` is the next step when the look does not end in time.
    """

    part: str
    look: Callable[[], Awaitable[Sequence[Verdict]]]
    limit: float = LIMIT_SECONDS
    remedy: str = "See whether that part answers at all, then ask again."


def ok(part: str, finding: str) -> Verdict:
    """All is well."""
    return Verdict(part=part, status="ok", finding=finding)


def warn(part: str, finding: str, advice: str) -> Verdict:
    """It works, but somebody should look at it."""
    return Verdict(part=part, status="warn", finding=finding, advice=advice)


def fail(part: str, finding: str, advice: str) -> Verdict:
    """It does not work."""
    return Verdict(part=part, status="fail", finding=finding, advice=advice)


def failed(part: str, error: RiskwireError) -> Verdict:
    """The verdict for an error of ours."""
    return fail(part, error.message, error.hint or "Look into the log of that part.")
