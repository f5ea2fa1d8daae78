"""Plain, exact sentences: why an incident was opened, and the stories that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.core.types import Evidence, Finding, Incident, WordWeight

EVIDENCE_LIMIT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """What drives a surge: the stories of the window that are new in the series."""

    stories: tuple[Evidence, ...]
    """New negative stories, oldest first."""
    new: int
    """All new stories of the window, negative or not."""
    reprints: int
    sources: tuple[str, ...]
    first: datetime

    @property
    def story_ids(self) -> frozenset[str]:
        """Ids of the negative stories."""
        return frozenset(item.story_id for item in self.stories)


def pick(stories: Sequence[Evidence], limit: int = EVIDENCE_LIMIT) -> tuple[Evidence, ...]:
    """At most ``limit`` stories, the newest of distinct sources first, then further ones; each story once."""
    newest = sorted(stories, key=lambda e: (e.published_at, e.article_id), reverse=True)
    chosen: list[Evidence] = []
    seen_sources: set[str] = set()
    seen_stories: set[str] = set()
    for once_per_source in (True, False):
        for item in newest:
            if len(chosen) == limit:
                return tuple(chosen)
            if item.story_id in seen_stories or (once_per_source and item.source in seen_sources):
                continue
            seen_stories.add(item.story_id)
            seen_sources.add(item.source)
            chosen.append(item)
    return tuple(chosen)


def number(value: float) -> str:
    """A count for people: one decimal below ten, none above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def span(window: timedelta) -> str:
    """``5 minutes``, ``1 hour``, ``6 hours``."""
    minutes = round(window.total_seconds() / 60)
    count, unit = (minutes // 60, "hour") if minutes % 60 == 0 and minutes else (minutes, "minute")
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def plural(count: int, one: str) -> str:
    """``1 story``, ``2 stories``."""
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{count} {one if count == 1 else many}"


def moment(at: datetime) -> str:
    """``2010-05-06 18:45 UTC``."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def surge_reason(finding: Finding, q: float, drive: Drive) -> str:
    """Observed against expected with its interval, over which window; what is new; since when."""
    times = finding.observed / finding.expected if finding.expected >= 0.05 else None
    usual = "next to none" if times is None else number(finding.expected)
    text = (
        f"{number(finding.observed)} negative stories within {span(finding.window)} up to {moment(finding.at)}; "
        f"{usual} expected (95 % interval {finding.low:.0f} to {finding.high:.0f})"
    )
    if times is not None:
        text += f", {number(times)} times as many"
    text += f". {plural(drive.new, 'new story').capitalize()} and {plural(drive.reprints, 'reprint')} from "
    text += f"{plural(len(drive.sources), 'source')}, first seen {moment(drive.first)}. "
    return text + f"p = {finding.p_value:.1e}, q = {q:.1e}."


def silence_reason(since: datetime, until: datetime, expected: float, probability: float, *, everything: bool) -> str:
    """How long a source has been silent against what it usually brings."""
    what = "No source has brought anything" if everything else "Nothing has come"
    gap = (until - since).total_seconds() / 3600
    return (
        f"{what} since {moment(since)} ({number(gap)} hours); in these hours of the week about {number(expected)} "
        f"active five-minute periods are usual. Probability of such a gap by chance: {probability:.1e}."
    )


def with_words(incident: Incident, words: Mapping[str, Sequence[WordWeight]]) -> Incident:
    """The incident with the words that weighed most in its evidence, by article id; others stay as they are."""
    evidence = tuple(
        replace(item, words=tuple(words[item.article_id])) if item.article_id in words else item
        for item in incident.evidence
    )
    return replace(incident, evidence=evidence)
