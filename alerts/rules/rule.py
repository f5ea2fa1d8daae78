"""One rule: what it asks and what it does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from alerts.rules.query import Query
from monitor.core.ids import digest
from monitor.core.types import Scope, SeriesKey, Severity

NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``at_once``: its first matching story opens an incident; else it makes a series that is watched for surges."""

    name: str
    query: Query
    title: str = ""
    """What people are shown; the name when empty."""
    severity: Severity = Severity.WARNING
    at_once: bool = True
    cool_down: timedelta = timedelta(hours=6)
    """After it opened an incident it opens none for so long."""
    quiet: timedelta = timedelta(hours=2)
    """Its incident ends when no further story matched for so long."""
    title_only: bool = False
    file: str = ""
    line: int = 0

    @cached_property
    def key(self) -> SeriesKey:
        """The series of what it matches."""
        return SeriesKey(scope=Scope.RULE, value=self.name)

    @cached_property
    def digest(self) -> str:
        """Of what it asks: two rules with equal digests are true of the same articles."""
        return digest("rule", str(self.query), "title" if self.title_only else "text", size=8)

    @property
    def shown(self) -> str:
        """Its title, else its name."""
        return self.title or self.name
