"""What rules would have done over an archive: the live pipeline in event time, nobody is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from alerts.pipeline import DetectPipeline, PipelineConfig, Step
from alerts.rules.engine import Mark, Match, RuleSet
from alerts.rules.rule import Rule
from monitor.core.codec import time_to_str
from monitor.core.types import Incident, Scope, ScoredArticle, SeriesKey

CONTEXT = 60
"""Characters shown before and after what matched in a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One story that a rule matched, by its first matching article."""

    rule: str
    at: datetime
    story: str
    article: str
    source: str
    title: str
    body: str
    negative: float
    marks: tuple[Mark, ...]

    def to_doc(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "rule": self.rule,
            "at": time_to_str(self.at),
            "story": self.story,
            "article": self.article,
            "source": self.source,
            "title": self.title,
            "negative": self.negative,
            "matched": [mark.text for mark in self.marks],
            "marks": [[mark.start, mark.end] for mark in self.marks],
        }

    def shown(self) -> str:
        """The title, and of the body what surrounds a match, with the matched words between ``**``."""
        size = len(self.title)
        lines = [marked(self.title, [(m.start, min(m.end, size)) for m in self.marks if m.start < size])]
        inside = [(m.start - size - 1, m.end - size - 1) for m in self.marks if m.start > size]
        if inside:
            first, last = max(0, inside[0][0] - CONTEXT), inside[0][1] + CONTEXT
            spans = [(start - first, end - first) for start, end in inside if end <= last]
            part = marked(self.body[first:last], spans)
            lines.append(f"{'…' if first else ''}{part}{'…' if last < len(self.body) else ''}")
        return " | ".join(" ".join(line.split()) for line in lines)


@dataclass(slots=True)
class Count:
    """What one rule did."""

    rule: Rule
    fired: list[Fired] = field(default_factory=list)
    articles: int = 0
    incidents: dict[str, Incident] = field(default_factory=dict)

    @property
    def weeks(self) -> Mapping[date, int]:
        """Stories by week, by the Monday with which it begins (UTC)."""
        days = (fired.at.date() for fired in self.fired)
        return dict(sorted(Counter(day - timedelta(days=day.weekday()) for day in days).items()))

    def examples(self, count: int) -> list[Fired]:
        """So many stories, evenly spread over all."""
        size = len(self.fired)
        if size <= count:
            return list(self.fired)
        return [self.fired[index * (size - 1) // max(1, count - 1)] for index in range(count)]


@dataclass(slots=True)
class Trial:
    """What all rules did, in the order of the rules."""

    counts: dict[SeriesKey, Count]
    articles: int = 0
    first: datetime | None = None
    last: datetime | None = None


def run_trial(
    items: Iterable[ScoredArticle],
    rules: RuleSet,
    *,
    config: PipelineConfig | None = None,
    display_names: Mapping[SeriesKey, str] | None = None,
) -> Trial:
    """Runs ``items``, in order of time, each taken to be fetched when it was published."""
    trial = Trial(counts={rule.key: Count(rule=rule) for rule in rules.rules})
    pipeline = DetectPipeline(config, display_names=display_names, alerting=False, persist=False, rules=rules)

    def observe(item: ScoredArticle, match: Match, story: str, fresh: bool) -> None:
        count = trial.counts[match.rule.key]
        count.articles += 1
        if fresh:
            article = item.article
            count.fired.append(
                Fired(
                    rule=match.rule.name, at=article.published_at, story=story, article=article.id,
                    source=article.source, title=article.title, body=article.body,
                    negative=item.scored.scores.negative, marks=match.marks,
                )
            )  # fmt: skip

    def take(step: Step) -> None:
        for incident in step.incidents:
            if incident.key.scope is Scope.RULE:
                trial.counts[incident.key].incidents[incident.id] = incident

    pipeline.rules.observer = observe
    for item in items:
        at = item.article.published_at
        trial.first = at if trial.first is None else min(at, trial.first)
        trial.last = at if trial.last is None else max(at, trial.last)
        if pipeline.due(trial.last):
            take(pipeline.advance(trial.last))
        pipeline.feed([replace(item, article=replace(item.article, fetched_at=at))])
        trial.articles += 1
    if trial.last is not None:
        longest = max((rule.quiet for rule in rules.rules), default=timedelta(0))
        take(pipeline.advance(trial.last + pipeline.config.grace + pipeline.config.detector.width))
        if longest > timedelta(0):
            pipeline.rules.settle(trial.last + longest)
            for incident in pipeline.rules.take()[0].values():
                trial.counts[incident.key].incidents[incident.id] = incident
    return trial


def report(trial: Trial, examples: int = 5) -> Iterator[str]:
    """The lines of a report for people."""
    for count in trial.counts.values():
        rule = count.rule
        does = f"opens at once, {rule.severity.value}" if rule.at_once else "a series of its own"
        yield f"{rule.name} ({does})"
        copies = f", {count.articles} articles" if count.articles != len(count.fired) else ""
        yield f"  {_plural(len(count.fired), 'story', 'stories')}{copies}, {_plural(len(count.incidents), 'incident')}"
        yield from _weeks(count.weeks)
        for incident in sorted(count.incidents.values(), key=lambda i: (i.opened_at, i.id)):
            until = f"{incident.resolved_at:%m-%d %H:%M}" if incident.resolved_at else "still open"
            yield (
                f"  incident {incident.opened_at:%Y-%m-%d %H:%M} to {until}: {incident.severity.value}, "
                f"{_plural(incident.stories, 'story', 'stories')}"
            )
        for fired in count.examples(examples):
            yield f"  {fired.at:%Y-%m-%d %H:%M} {fired.source}, p(negative) {fired.negative:.2f}"
            yield f"      {fired.shown()}"
        yield ""


def _weeks(weeks: Mapping[date, int]) -> Iterator[str]:
    cells = [f"{monday:%Y-%m-%d}: {count}" for monday, count in weeks.items()]
    for index in range(0, len(cells), 6):
        yield f"  {'weeks' if index == 0 else '     '} {'  '.join(cells[index : index + 6])}"


def marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with ``**`` around the spans, which do not overlap."""
    parts, last = list[str](), 0
    for start, end in sorted(spans):
        parts += [text[last:start], "**", text[start:end], "**"]
        last = end
    return "".join([*parts, text[last:]])


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
