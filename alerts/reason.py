"""Plain, exact sentences: why an incident was opened, and the stories that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.core.types import Evidence, Finding, Incident, SimilarIncident, WordWeight

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
    text += f"p = {finding.p_value:.1e}, q = {q:.1e}."
    for what, ranked in (("Named most", _most(item.entities for item in drive.stories)), ("Most from", _led(drive))):
        if ranked:
            text += f" {what}: {ranked}."
    return text


def _led(drive: Drive) -> str:
    """The sources that brought a driving story first, when there are several."""
    return _most((item.source,) for item in drive.stories) if len(drive.sources) > 1 else ""


def _most(named: Iterable[Sequence[str]], limit: int = 4) -> str:
    """``Some Bank (7), Other Bank (2)``: in how many stories each is."""
    counts: dict[str, int] = {}
    for names in named:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return ", ".join(f"{name} ({count})" for name, count in ranked)


def similar_sentence(similar: Sequence[SimilarIncident]) -> str:
    """When the like was seen last, how it ended and what both speak of; "" when never."""
    if not similar:
        return ""
    best = similar[0]
    lasted = max(timedelta(minutes=1), best.resolved_at - best.opened_at)
    text = (
        f" Like {best.title} of {moment(best.opened_at)}, over {best.ended.rstrip('.')} after {_about(lasted)}; "
        f"both speak of {', '.join(best.words)}."
    )
    if len(similar) > 1:
        text += f" {len(similar) - 1} more like it."
    return text


def _about(time: timedelta) -> str:
    """``40 minutes``, ``5 hours``, ``3 days``, rounded."""
    minutes = round(time.total_seconds() / 60)
    for size, name in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= 2 * size or size == 1:
            return plural(round(minutes / size), name)
    return ""


def silence_reason(since: datetime, until: datetime, expected: float, probability: float, *, what: str) -> str:
    """How long a source has been silent against what it usually brings. ``what``: "Nothing has come"."""
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
