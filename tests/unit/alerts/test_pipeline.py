"""The one code path of live running, replay and backtest: timelines, redelivery, restarts, lateness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from doubles import DictState
from news import MONDAY, Timeline, background, burst, scored

from alerts.commands import Command, Verb
from alerts.incidents import IncidentBook, IncidentConfig
from alerts.pipeline import INCIDENT, KINDS, DetectPipeline, PipelineConfig, load_docs, with_words
from alerts.series import ALL
from alerts.silence import SilenceConfig
from monitor.core.codec import dumps, incident_from_dict, loads
from monitor.core.errors import CodecError
from monitor.core.types import (
    Change,
    Incident,
    IncidentState,
    Put,
    Scope,
    ScoredArticle,
    SeriesKey,
    Severity,
    WordWeight,
)

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOON = MONDAY + 4 * DAY + 12 * HOUR
"""Friday noon, after four days of ordinary news."""


@cache
def _learned() -> tuple[tuple[ScoredArticle, ...], Mapping[str, Mapping[str, str]]]:
    """Four ordinary days and the documents that a pipeline wrote about them."""
    items = tuple(background(MONDAY, 5))
    before = tuple(item for item in items if item.article.published_at < NOON - HOUR)
    docs: dict[str, dict[str, str]] = {}
    pipeline = DetectPipeline()
    for place, item in enumerate(before):
        pipeline.feed([item])
        if place % 20 == 0 or item is before[-1]:
            write(docs, pipeline.advance(item.article.published_at).changes)
    return tuple(item for item in items if item not in set_of(before)), docs


def set_of(items: Sequence[ScoredArticle]) -> list[ScoredArticle]:
    ids = {item.article.id for item in items}
    return [item for item in _all() if item.article.id in ids]


@cache
def _all() -> tuple[ScoredArticle, ...]:
    return tuple(background(MONDAY, 5))


def write(docs: dict[str, dict[str, str]], changes: Sequence[Change]) -> None:
    for change in changes:
        table = docs.setdefault(change.kind, {})
        if isinstance(change, Put):
            table[change.key] = dumps(change.value)
        else:
            table.pop(change.key, None)


def read(docs: Mapping[str, Mapping[str, str]]) -> dict[str, list[tuple[str, Any]]]:
    return {kind: [(key, loads(text)) for key, text in table.items()] for kind, table in docs.items()}


@pytest.fixture
def ordinary() -> list[ScoredArticle]:
    """What comes after the four days."""
    return list(_learned()[0])


@pytest.fixture
def timeline() -> Timeline:
    pipeline = DetectPipeline()
    pipeline.restore(read(_learned()[1]))
    return Timeline(pipeline)


def is_surge(incident: Incident) -> bool:
    return incident.kind == "surge"


class TestTimelines:
    def test_ordinary_news_is_quiet(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        timeline.run(ordinary, MONDAY + 5 * DAY)
        assert not timeline.between(MONDAY, MONDAY + 6 * DAY)

    def test_a_surge_opens_within_ten_minutes_and_resolves_within_three_hours(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        timeline.run([*ordinary, *burst(NOON, 30, 25, topic="energy")], NOON + 5 * HOUR)
        opened = timeline.expect(NOON, NOON + 10 * MINUTE, is_surge)
        assert opened.key == SeriesKey(scope=Scope.TOPIC, value="energy")
        assert opened.state is IncidentState.OPEN
        assert opened.revision == 1
        resolved = timeline.expect(NOON + HOUR, NOON + 3 * HOUR, lambda i: i.state is IncidentState.RESOLVED)
        assert resolved.id == opened.id
        assert resolved.revision > 1
        assert not timeline.between(NOON + 3 * HOUR, NOON + 5 * HOUR)

    def test_the_reason_is_plain_and_exact(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        timeline.run([*ordinary, *burst(NOON, 12, 4, topic="energy", entities=("acme",))], NOON + 15 * MINUTE)
        opened = timeline.expect(NOON, NOON + 10 * MINUTE)
        assert "11 negative stories within 5 minutes up to 2024-01-05 12:05 UTC" in opened.reason
        assert "expected (95 % interval 0 to" in opened.reason
        assert "12 new stories and 0 reprints from 3 sources, first seen 2024-01-05 12:00 UTC" in opened.reason
        assert opened.sources == ("blog", "paper", "wire")
        assert opened.entities == ("Acme",)
        assert opened.observed == pytest.approx(12 * 0.95)
        assert opened.low <= opened.high < opened.observed
        assert opened.expected < 0.5

    def test_evidence_is_six_newest_stories_of_distinct_sources_first(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        stories = burst(NOON, 12, 4, topic="energy", sources=("wire", "wire", "wire", "wire", "paper", "wire"))
        copies = [
            scored(
                f"copy-{n}", NOON + MINUTE, negative=0.95, source="blog", topic="energy", title=stories[4].article.title
            )
            for n in range(3)
        ]
        timeline.run([*ordinary, *stories, *copies], NOON + 15 * MINUTE)
        evidence = timeline.expect(NOON, NOON + 10 * MINUTE).evidence
        assert len(evidence) == 6
        assert len({item.story_id for item in evidence}) == 6
        assert [item.source for item in evidence[:2]] == ["wire", "paper"]
        hot = [item for item in [*evidence] if item.heat > 1]
        assert all(item.heat == 4 for item in hot)

    def test_entity_and_topic_on_the_same_stories_are_one_incident(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        timeline.run([*ordinary, *burst(NOON, 14, 8, topic="energy", entities=("acme",))], NOON + 2 * HOUR)
        opened = {incident.id for incident in timeline.between(NOON, NOON + 2 * HOUR) if is_surge(incident)}
        assert len(opened) == 1
        last = timeline.between(NOON, NOON + 2 * HOUR)[-1]
        assert {last.key, *last.related} >= {
            SeriesKey(scope=Scope.TOPIC, value="energy"),
            SeriesKey(scope=Scope.ENTITY, value="acme"),
        }

    def test_two_surges_on_different_stories_are_two_incidents(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        one = burst(NOON, 14, 8, topic="energy", prefix="one")
        two = burst(NOON, 14, 8, topic="metals", prefix="two")
        timeline.run([*ordinary, *one, *two], NOON + 30 * MINUTE)
        keys = {i.key.value for i in timeline.between(NOON, NOON + HOUR) if i.key.scope is Scope.TOPIC}
        assert keys == {"energy", "metals"}

    def test_it_grows_in_severity_and_says_so(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        timeline.run(
            [*ordinary, *burst(NOON, 8, 20), *burst(NOON + 20 * MINUTE, 90, 40, prefix="more")], NOON + 90 * MINUTE
        )
        told = [i for i in timeline.between(NOON, NOON + 90 * MINUTE) if is_surge(i)]
        mine = [i for i in told if i.id == told[0].id]
        assert [i.revision for i in mine] == list(range(1, len(mine) + 1))
        assert mine[-1].severity is Severity.CRITICAL
        assert mine[-1].observed > mine[0].observed
        assert len(mine) < 10, "people are told of what matters, not of every bucket"

    def test_volume_alone_is_no_incident(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        flood = [
            scored(f"season-{n}", NOON + n * timedelta(seconds=20), negative=0.9 if n % 5 == 0 else 0.05, source="wire")
            for n in range(300)
        ]
        timeline.run([*ordinary, *flood], NOON + 3 * HOUR)
        assert not timeline.between(NOON, NOON + 3 * HOUR)

    def test_one_story_printed_a_hundred_times_is_no_incident(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        copies = [
            scored(
                f"copy-{n}",
                NOON + n * timedelta(seconds=5),
                negative=0.99,
                source=f"paper{n % 9}",
                topic="energy",
                title=f"UPDATE {n}-Refinery fire kills four workers in Texas",
            )
            for n in range(100)
        ]
        timeline.run([*ordinary, *copies], NOON + HOUR)
        assert not timeline.between(NOON, NOON + HOUR)

    def test_a_single_source_is_not_believed_while_there_are_others(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        timeline.run([*ordinary, *burst(NOON, 12, 8, topic="energy", sources=("blog",))], NOON + 30 * MINUTE)
        told = timeline.between(NOON, NOON + 30 * MINUTE)
        assert not [i for i in told if i.key.value == "energy"]

    def test_after_it_is_over_the_same_stories_open_no_other(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        timeline.run([*ordinary, *burst(NOON, 30, 10, topic="energy")], NOON + 11 * HOUR)
        assert len({i.id for _, i in timeline.told if is_surge(i)}) == 1


def tell(timeline: Timeline, incident: Incident, verb: Verb, **fields: Any) -> str:
    """Gives a command; returns why not."""
    at = fields.pop("at", NOON + 20 * MINUTE)
    command = Command(incident=incident.id, verb=verb, by="ann", at=at, **fields)
    return timeline.pipeline.command(command.to_doc())


class TestPeople:
    def open_one(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> Incident:
        timeline.run([*ordinary, *burst(NOON, 10, 8, topic="energy")], NOON + 20 * MINUTE)
        return timeline.expect(NOON, NOON + 10 * MINUTE)

    def test_acknowledged_tells_only_of_the_end(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        opened = self.open_one(timeline, ordinary)
        assert tell(timeline, opened, Verb.ACKNOWLEDGE) == ""
        rest = [i for i in ordinary if i.article.fetched_at > NOON + 20 * MINUTE]
        timeline.run(rest, NOON + 4 * HOUR)
        later = [i for i in timeline.between(NOON + 21 * MINUTE, NOON + 4 * HOUR) if i.id == opened.id]
        assert [i.state for i in later] == [IncidentState.RESOLVED]
        assert [(a.by, a.what) for a in later[-1].history] == [("ann", "acknowledged")]

    def test_every_snooze_ends(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        opened = self.open_one(timeline, ordinary)
        until = NOON + HOUR
        assert tell(timeline, opened, Verb.SNOOZE, until=until) == ""
        more = burst(NOON + 21 * MINUTE, 120, 120, topic="energy", prefix="more")
        timeline.run(more, NOON + 90 * MINUTE)
        told = [i for i in timeline.between(NOON + 11 * MINUTE, until - MINUTE) if i.id == opened.id]
        assert [i.state for i in told].count(IncidentState.SNOOZED) == 1
        assert told[-1].state is IncidentState.SNOOZED
        again = timeline.expect(until, until + 7 * MINUTE, lambda i: i.id == opened.id)
        assert again.state is IncidentState.OPEN
        assert again.snoozed_until is None

    def test_what_nobody_knows_cannot_be_snoozed(self, timeline: Timeline) -> None:
        nothing = Command(incident="nothing", verb=Verb.SNOOZE, by="ann", at=NOON, until=NOON + HOUR)
        assert "not open" in timeline.pipeline.command(nothing.to_doc())

    def test_their_word_is_part_of_the_next_step(self, timeline: Timeline, ordinary: list[ScoredArticle]) -> None:
        opened = self.open_one(timeline, ordinary)
        tell(timeline, opened, Verb.ACKNOWLEDGE)
        changes = timeline.pipeline.advance(NOON + 20 * MINUTE).changes
        stored = [c.value for c in changes if isinstance(c, Put) and c.kind == INCIDENT]
        assert [incident_from_dict(doc).state for doc in stored] == [IncidentState.ACKNOWLEDGED]


class TestDelivery:
    def test_delivered_twice_counts_once(self) -> None:
        items = [*burst(NOON, 5, 4, topic="energy")]
        once, twice = DetectPipeline(points=True), DetectPipeline(points=True)
        once.feed(items)
        twice.feed(items)
        twice.feed(items)
        twice.feed(items[::-1])
        one, two = once.advance(NOON + 10 * MINUTE), twice.advance(NOON + 10 * MINUTE)
        assert one.points == two.points
        assert one.changes == two.changes
        assert two.counts == {"articles": 5, "duplicates": 10}

    def test_delivered_again_after_its_bucket_closed_counts_nothing(self) -> None:
        pipeline = DetectPipeline(points=True)
        items = burst(NOON, 5, 4)
        pipeline.feed(items)
        pipeline.advance(NOON + 10 * MINUTE)
        pipeline.feed(items)
        assert not pipeline.advance(NOON + 30 * MINUTE).points

    def test_a_reprint_adds_heat_and_no_story(self) -> None:
        pipeline = DetectPipeline(points=True)
        pipeline.feed([scored(1, NOON, title="Bank run in Nicosia spreads")])
        pipeline.feed([scored(2, NOON + 20 * MINUTE, title="UPDATE 1-Bank run in Nicosia spreads", source="paper")])
        points = {(p.bucket.start, p.bucket.key.scope): p.bucket for p in pipeline.advance(NOON + HOUR).points}
        assert points[NOON, Scope.ALL].stories == 1
        later = points[NOON + 20 * MINUTE, Scope.ALL]
        assert (later.stories, later.articles, later.expected_negatives) == (0, 1, 0.0)

    def test_a_late_article_goes_to_the_oldest_open_bucket(self) -> None:
        pipeline = DetectPipeline(points=True)
        pipeline.feed([scored(1, NOON)])
        pipeline.advance(NOON + 31 * MINUTE)
        pipeline.feed([scored(2, NOON + MINUTE, fetched=NOON + 31 * MINUTE)])
        step = pipeline.advance(NOON + HOUR)
        assert {p.bucket.start for p in step.points} == {NOON + 30 * MINUTE}
        assert step.counts["late"] == 1

    def test_what_a_feed_hands_in_after_an_outage_is_no_surge(
        self, timeline: Timeline, ordinary: list[ScoredArticle]
    ) -> None:
        """Everything published in four hours arrives within a minute, after its buckets are closed."""
        down, up = NOON, NOON + 4 * HOUR
        late = [
            replace(i, article=replace(i.article, fetched_at=up)) if down < i.article.published_at < up else i
            for i in ordinary
        ]
        timeline.run(late, NOON + 8 * HOUR)
        assert not [i for i in timeline.between(NOON, NOON + 8 * HOUR) if is_surge(i)]
        states = timeline.pipeline.states
        assert sum(down < states.detector.start_of(at) < up for at, _, _ in states[ALL].recent) > 10

    def test_a_backfill_is_kept_out_and_counted(self) -> None:
        pipeline = DetectPipeline(points=True)
        pipeline.feed([scored(0, NOON)])
        old = NOON - 7 * HOUR
        pipeline.feed([scored(n, old, fetched=NOON, negative=0.99) for n in range(1, 200)])
        step = pipeline.advance(NOON + HOUR)
        assert step.counts == {"articles": 1, "backfills": 199}
        assert sum(p.bucket.articles for p in step.points if p.bucket.key.scope is Scope.ALL) == 1

    def test_a_date_in_the_future_becomes_the_time_of_fetching(self) -> None:
        pipeline = DetectPipeline(points=True)
        pipeline.feed([scored(1, NOON + 300 * DAY, fetched=NOON)])
        step = pipeline.advance(NOON + HOUR)
        assert {p.bucket.start for p in step.points} == {NOON}

    def test_an_unclear_topic_feeds_no_topic(self) -> None:
        pipeline = DetectPipeline(points=True)
        item = scored(1, NOON)
        scores = replace(item.scored.scores, topics={"a": 0.4, "b": 0.35, "c": 0.25})
        pipeline.feed([replace(item, scored=replace(item.scored, scores=scores))])
        assert {p.bucket.key.scope for p in pipeline.advance(NOON + HOUR).points} == {Scope.ALL}

    def test_a_bucket_closes_after_its_grace_only(self) -> None:
        pipeline = DetectPipeline()
        pipeline.feed([scored(1, NOON)])
        assert pipeline.advance(NOON + 5 * MINUTE + timedelta(seconds=59)).closed == 0
        assert pipeline.advance(NOON + 6 * MINUTE).closed == 1
        assert pipeline.watermark == NOON + 5 * MINUTE


class TestState:
    def run(
        self, items: Sequence[ScoredArticle], *, restart_every: int, start: Mapping[str, Mapping[str, str]]
    ) -> tuple[list[Incident], dict[str, dict[str, str]]]:
        docs = {kind: dict(table) for kind, table in start.items()}
        pipeline = DetectPipeline()
        pipeline.restore(read(docs))
        told: list[Incident] = []
        for place, item in enumerate(items):
            pipeline.feed([item])
            step = pipeline.advance(item.article.published_at)
            write(docs, step.changes)
            told += step.incidents
            if restart_every and place % restart_every == restart_every - 1:
                pipeline = DetectPipeline()
                pipeline.restore(read(docs))
        step = pipeline.advance(items[-1].article.published_at + 4 * HOUR)
        write(docs, step.changes)
        return told + list(step.incidents), docs

    @pytest.mark.parametrize("every", [5, 17])
    def test_a_restart_anywhere_changes_nothing(self, every: int, ordinary: list[ScoredArticle]) -> None:
        surge = burst(NOON, 25, 15, topic="energy", entities=("acme",))
        items = sorted(
            [i for i in ordinary if i.article.published_at < NOON + HOUR] + surge, key=lambda i: i.article.published_at
        )
        undisturbed, docs = self.run(items, restart_every=0, start=_learned()[1])
        restarted, again = self.run(items, restart_every=every, start=_learned()[1])
        assert undisturbed
        assert restarted == undisturbed
        assert again == docs

    def test_a_step_writes_what_changed_only(self, timeline: Timeline) -> None:
        timeline.pipeline.feed([scored("new", NOON)])
        changes = timeline.pipeline.advance(NOON + 10 * MINUTE).changes
        written = [c.kind for c in changes if isinstance(c, Put)]
        assert written.count("detect.series") <= 4
        assert written.count("detect.story") == 1
        assert len(written) < 20
        assert not timeline.pipeline.advance(NOON + 10 * MINUTE).changes

    async def test_documents_go_through_a_state_store(self, ordinary: list[ScoredArticle]) -> None:
        state, pipeline = DictState(), DetectPipeline()
        pipeline.restore(read(_learned()[1]))
        for kind, table in _learned()[1].items():
            await state.apply([Put(kind=kind, key=key, value=loads(text)) for key, text in table.items()])
        pipeline.feed(burst(NOON, 20, 10))
        await state.apply(pipeline.advance(NOON + 20 * MINUTE).changes)
        docs = await load_docs(state)
        assert set(docs) == {*KINDS, INCIDENT}
        restored = DetectPipeline()
        restored.restore(docs)
        assert restored.open_incidents() == pipeline.open_incidents() != ()
        assert restored.watermark == pipeline.watermark

    def test_nothing_stored_is_a_fresh_start(self) -> None:
        pipeline = DetectPipeline()
        pipeline.restore({})
        assert pipeline.watermark is None
        assert pipeline.advance(NOON).closed == 0

    def test_another_bucket_width_is_refused_with_a_hint(self) -> None:
        docs = read(_learned()[1])
        docs["detect.meta"][0][1]["width"] = 60.0
        with pytest.raises(CodecError, match="detect"):
            DetectPipeline().restore(docs)

    def test_damaged_documents_are_refused(self) -> None:
        docs = read(_learned()[1])
        docs["detect.series"][0][1].pop("recent")
        with pytest.raises(CodecError):
            DetectPipeline().restore(docs)


class TestRest:
    def test_a_replay_tells_nobody_unless_asked(self) -> None:
        for alerting in (False, True):
            pipeline = DetectPipeline(alerting=alerting)
            pipeline.restore(read(_learned()[1]))
            pipeline.feed(burst(NOON, 20, 4))
            step = pipeline.advance(NOON + 10 * MINUTE)
            assert step.incidents
            assert bool(step.notify) is alerting

    def test_display_names_are_shown(self) -> None:
        key = SeriesKey(scope=Scope.TOPIC, value="energy")
        pipeline = DetectPipeline(display_names={key: "Energy | Oil"})
        pipeline.restore(read(_learned()[1]))
        pipeline.feed(burst(NOON, 20, 4, topic="energy"))
        assert pipeline.advance(NOON + 10 * MINUTE).incidents[0].title == "Energy | Oil"

    def test_words_are_added_to_the_evidence_they_belong_to(self) -> None:
        pipeline = DetectPipeline()
        pipeline.restore(read(_learned()[1]))
        pipeline.feed(burst(NOON, 20, 4))
        incident = pipeline.advance(NOON + 10 * MINUTE).incidents[0]
        word = WordWeight(word="default", weight=0.4, start=0, end=7)
        first, second = incident.evidence[:2]
        explained = with_words(incident, {first.article_id: [word], "another": [word]})
        assert explained.evidence[0] == replace(first, words=(word,))
        assert explained.evidence[1] == second

    def test_a_model_swap_does_not_alarm(self, timeline: Timeline) -> None:
        """From the next day on another model calls three times as much negative."""
        start = MONDAY + 5 * DAY
        items = background(start, 3, seed=2, negative=0.6)
        swapped = [replace(i, scored=replace(i.scored, model="m2")) for i in items]
        timeline.run([*_learned()[0], *swapped], start + 3 * DAY)
        surges = [i for i in timeline.between(start, start + 3 * DAY) if is_surge(i)]
        assert not surges

    def test_an_outage_of_weeks_is_not_learned(self, timeline: Timeline) -> None:
        later = NOON + 21 * DAY
        gap = DetectPipeline(PipelineConfig(silence=SilenceConfig(enabled=False)))
        gap.restore(read(_learned()[1]))
        line = Timeline(gap)
        shifted = background(later, 0.2, seed=5)
        line.run(shifted, later + 5 * HOUR, tick=HOUR)
        assert not line.told

    def test_incident_ids_follow_from_key_and_bucket(self) -> None:
        made: list[str] = []
        for count in (20, 22):
            pipeline = DetectPipeline()
            pipeline.restore(read(_learned()[1]))
            pipeline.feed(burst(NOON, count, 4))
            made += [i.id for i in pipeline.advance(NOON + 10 * MINUTE).incidents]
        assert made[0] == made[1]


def test_time_is_aware(timeline: Timeline) -> None:
    watermark = timeline.pipeline.watermark
    assert isinstance(watermark, datetime)
    assert watermark.utcoffset() == timedelta(0)


def test_a_broad_incident_is_titled_with_whom_it_concerns() -> None:
    everything = SeriesKey(scope=Scope.ALL, value="*")
    topic, bank = SeriesKey(scope=Scope.TOPIC, value="macro"), SeriesKey(scope=Scope.ENTITY, value="bank")
    book = IncidentBook(IncidentConfig(), names={everything: "all news", topic: "Macro", bank: "Some Bank"})
    assert book._joint_title(everything, (topic,)) == "all news: Macro"
    assert book._joint_title(everything, (bank, topic)) == "all news: Some Bank"
    assert book._joint_title(topic, (bank, everything)) == "Macro: Some Bank"
    assert book._joint_title(bank, (everything, topic)) == "Some Bank"


def test_what_arrived_first_does_not_decide_where_history_begins() -> None:
    """A tick between two articles of the first hour changes nothing: neither is late while neither's bucket closed."""
    items = list(background(MONDAY, 1))[:40]
    early, later = items[0], items[-1]
    assert later.article.published_at - early.article.published_at > 10 * MINUTE
    documents = []
    for broken in (False, True):
        pipeline = DetectPipeline()
        pipeline.feed([later])
        docs: dict[str, dict[str, str]] = {}
        if broken:
            write(docs, pipeline.advance(later.article.published_at).changes)
        pipeline.feed([early, *items[1:-1]])
        step = pipeline.advance(later.article.published_at + DAY)
        assert "late" not in step.counts
        write(docs, step.changes)
        documents.append(docs)
    assert documents[0] == documents[1]
