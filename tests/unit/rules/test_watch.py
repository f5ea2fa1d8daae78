"""What rules do: incidents at once and their whole life, series of their own; the same after a restart."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from doubles import DictState
from hypothesis import example, given, settings
from hypothesis import strategies as st
from news import MONDAY, background, scored

from alerts import audit
from alerts.commands import Command, Verb
from alerts.pipeline import INCIDENT, DetectPipeline, PipelineConfig, load_docs
from alerts.rules.engine import RuleSet
from alerts.rules.load import parse_rules
from alerts.rules.watch import RULE
from alerts.silence import SilenceConfig
from monitor.core.codec import incident_from_dict
from monitor.core.types import Change, Incident, IncidentState, Put, Scope, ScoredArticle, SeriesKey, Severity

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
KEY = SeriesKey(scope=Scope.RULE, value="default")

TEXT = """
[[rules]]
name = "default"
title = "Default 违约"
query = '(default* OR 违约) AND negative>=0.8'
open = "at once"
severity = "critical"
cool_down = "6h"
quiet = "2h"
"""
SERIES = """
[[rules]]
name = "flood"
query = 'flood*'
series = true
"""


def rules(text: str = TEXT) -> RuleSet:
    return RuleSet(parse_rules(text))


def pipeline(text: str = TEXT, **options: Any) -> DetectPipeline:
    config = PipelineConfig(silence=SilenceConfig(enabled=False))
    return DetectPipeline(config, rules=rules(text), **options)


def bad(number: int | str, at: datetime, title: str = "", **fields: Any) -> ScoredArticle:
    words = title or f"Company {chr(97 + int(number) % 26) * 5} {int(number) * 7919} defaults"
    return scored(number, at, title=words, **{"negative": 0.95, **fields})


def step(pipe: DetectPipeline, items: Iterable[ScoredArticle], at: datetime) -> list[Incident]:
    pipe.feed(list(items))
    return [incident for incident in pipe.advance(at).incidents if incident.kind == "rule"]


def test_the_first_story_opens_an_incident_at_once_with_its_reason() -> None:
    pipe = pipeline()
    (incident,) = step(pipe, [bad(1, MONDAY, "Evergrande DEFAULTS on bonds", entities=("evergrande",))], MONDAY)
    assert incident.key == KEY
    assert (incident.state, incident.severity, incident.kind) == (IncidentState.OPEN, Severity.CRITICAL, "rule")
    assert (incident.title, incident.opened_at, incident.stories) == ("Default 违约", MONDAY, 1)
    assert "Rule default matched “DEFAULTS” (title)" in incident.reason
    assert "p(negative) 0.95" in incident.reason
    assert [item.title for item in incident.evidence] == ["Evergrande DEFAULTS on bonds"]
    assert incident.articles == ("a1",)
    assert pipe.open_incidents() == (incident,)


def test_what_does_not_match_opens_nothing() -> None:
    pipe = pipeline()
    assert step(pipe, [bad(1, MONDAY, negative=0.7), scored(2, MONDAY, negative=0.99)], MONDAY) == []


def test_a_backfill_opens_nothing() -> None:
    pipe = pipeline()
    old = bad(1, MONDAY, fetched=MONDAY + 7 * HOUR)
    assert step(pipe, [old], MONDAY + 7 * HOUR) == []
    assert pipe.open_incidents() == ()


def test_a_pipeline_that_does_not_alert_tells_nobody() -> None:
    pipe = pipeline(alerting=False)
    pipe.feed([bad(1, MONDAY)])
    result = pipe.advance(MONDAY)
    assert len(result.incidents) == 1
    assert result.notify == ()


def test_copies_of_a_story_and_articles_that_come_twice_count_once() -> None:
    pipe = pipeline()
    first = bad(1, MONDAY, "Big developer defaults on its dollar bonds, filing shows")
    copy = bad(2, MONDAY + MINUTE, "UPDATE 1-Big developer defaults on its dollar bonds, filing shows", source="paper")
    step(pipe, [first, first, copy], MONDAY + MINUTE)
    assert step(pipe, [first, copy], MONDAY + HOUR) == []
    (incident,) = pipe.open_incidents()
    assert incident.stories == 1


def test_a_story_counts_by_its_first_article_that_matches() -> None:
    pipe = pipeline()
    title = "Big developer defaults on its dollar bonds, filing shows"
    assert step(pipe, [bad(1, MONDAY, title, negative=0.5)], MONDAY) == []
    (incident,) = step(pipe, [bad(2, MONDAY + HOUR, title)], MONDAY + HOUR)
    assert incident.articles == ("a2",)


def test_further_stories_evolve_it_and_are_told_of_every_quarter_of_an_hour() -> None:
    pipe = pipeline()
    told: list[tuple[int, int, int]] = []
    items = {minute: bad(minute + 1, MONDAY + minute * MINUTE, source=f"s{minute}") for minute in (0, 5, 10, 14, 20)}
    for minute in range(0, 60):
        found = step(pipe, [items[minute]] if minute in items else [], MONDAY + minute * MINUTE)
        told += [(minute, incident.revision, incident.stories) for incident in found]
    assert told == [(0, 1, 1), (15, 2, 4), (30, 3, 5)]
    (incident,) = pipe.open_incidents()
    assert incident.reason.startswith(
        "5 stories from 5 sources since 2024-01-01 00:00 UTC. Latest: Rule default matched"
    )
    assert len(incident.evidence) == 5


def test_it_ends_after_quiet_and_opens_again_only_after_the_cool_down() -> None:
    pipe = pipeline()
    (first,) = step(pipe, [bad(1, MONDAY)], MONDAY)
    assert step(pipe, [bad(2, MONDAY + HOUR)], MONDAY + HOUR)[0].stories == 2
    assert step(pipe, [], MONDAY + 3 * HOUR - MINUTE) == []
    (over,) = step(pipe, [], MONDAY + 3 * HOUR + 5 * MINUTE)
    assert (over.id, over.state, over.resolved_at) == (first.id, IncidentState.RESOLVED, MONDAY + 3 * HOUR)
    assert over.reason.endswith("Over: no further story since 2024-01-01 01:00 UTC.")
    assert step(pipe, [bad(3, MONDAY + 4 * HOUR), bad(4, MONDAY + 5 * HOUR)], MONDAY + 5 * HOUR) == []
    (second,) = step(pipe, [bad(5, MONDAY + 6 * HOUR)], MONDAY + 6 * HOUR)
    assert second.id != first.id
    assert second.state is IncidentState.OPEN
    assert "2 stories matched before, while the rule cooled down." in second.reason


def test_acknowledged_it_tells_only_of_its_end() -> None:
    pipe = pipeline()
    (first,) = step(pipe, [bad(1, MONDAY)], MONDAY)
    command = Command(incident=first.id, verb=Verb.ACKNOWLEDGE, by="ann", at=MONDAY + MINUTE)
    assert pipe.command(command.to_doc()) == ""
    assert step(pipe, [], MONDAY + 2 * MINUTE)[0].state is IncidentState.ACKNOWLEDGED
    assert step(pipe, [bad(2, MONDAY + HOUR)], MONDAY + HOUR) == []
    (over,) = step(pipe, [], MONDAY + 4 * HOUR)
    assert (over.state, over.stories) == (IncidentState.RESOLVED, 2)


def test_snoozed_it_speaks_again_when_the_snooze_is_over() -> None:
    pipe = pipeline()
    (first,) = step(pipe, [bad(1, MONDAY)], MONDAY)
    snooze = Command(incident=first.id, verb=Verb.SNOOZE, by="ann", at=MONDAY + MINUTE, until=MONDAY + HOUR)
    assert pipe.command(snooze.to_doc()) == ""
    step(pipe, [], MONDAY + 2 * MINUTE)
    assert step(pipe, [bad(2, MONDAY + 30 * MINUTE)], MONDAY + 50 * MINUTE) == []
    (back,) = step(pipe, [], MONDAY + 70 * MINUTE)
    assert (back.state, back.stories) == (IncidentState.OPEN, 2)
    assert back.history[-1].at == MONDAY + HOUR


def test_resolved_by_hand_it_is_over() -> None:
    pipe = pipeline()
    (first,) = step(pipe, [bad(1, MONDAY)], MONDAY)
    resolve = Command(incident=first.id, verb=Verb.RESOLVE, by="bob", at=MONDAY + MINUTE, reason="known")
    assert pipe.command(resolve.to_doc()) == ""
    assert step(pipe, [bad(2, MONDAY + 2 * MINUTE)], MONDAY + HOUR)[0].state is IncidentState.RESOLVED
    assert pipe.open_incidents() == ()


# -- restarts ----------------------------------------------------------------------------------------------------------


async def restarted(state: DictState, text: str = TEXT) -> DetectPipeline:
    pipe = pipeline(text)
    pipe.restore(await load_docs(state))
    return pipe


async def lived(items: Sequence[ScoredArticle], sizes: Sequence[int], crash_every: int) -> tuple[Any, ...]:
    """Feeds in pieces of ``sizes``; before every ``crash_every``-th commit the process is lost and begins anew from
    what was committed. Gives what ends up in the state."""
    state, told = DictState(), list[tuple[str, int, int]]()
    pipe = pipeline()
    place = steps = 0
    while place < len(items):
        size = sizes[steps % len(sizes)]
        part = items[place : place + size]
        steps += 1
        pipe.feed(part)
        result = pipe.advance(part[-1].article.fetched_at)
        if crash_every and steps % crash_every == 0:
            pipe = await restarted(state)
            continue
        await state.apply([*result.changes])
        told += [(i.id, i.revision, i.stories) for i in result.incidents if i.kind == "rule"]
        place += size
    found = [incident_from_dict(doc) for _, doc in await state.list(INCIDENT)]
    ends = sorted((i.id, i.opened_at, i.resolved_at, i.stories, i.articles) for i in found if i.kind == "rule")
    assert len(set(told)) == len(told)
    return tuple(ends)


@settings(max_examples=8, deadline=None)
@example([1, 1, 1, 1, 1], [2], 2, random.Random(0))  # a second story in the step that opens the incident
@given(
    st.lists(st.integers(1, 180), min_size=5, max_size=20),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
async def test_incidents_are_the_same_however_steps_are_cut_and_whatever_crashes(
    gaps: list[int], sizes: list[int], crash_every: int, rng: random.Random
) -> None:
    at, items = MONDAY, []
    for number, gap in enumerate(gaps):
        at += gap * MINUTE
        items.append(bad(number, at) if rng.random() < 0.7 else scored(f"x{number}", at))
    items.append(scored("end", at + 24 * HOUR))
    assert await lived(items, sizes, crash_every) == await lived(items, [1], 0)


async def test_a_restart_goes_on_with_the_open_incident() -> None:
    state, pipe = DictState(), pipeline()
    pipe.feed([bad(1, MONDAY)])
    result = pipe.advance(MONDAY + 6 * MINUTE)
    await state.apply([*result.changes])
    pipe = await restarted(state)
    assert pipe.open_incidents() == result.incidents
    assert step(pipe, [bad(1, MONDAY)], MONDAY + 7 * MINUTE) == []
    (over,) = step(pipe, [], MONDAY + 3 * HOUR)
    assert over.state is IncidentState.RESOLVED


@pytest.mark.parametrize("text", ["", TEXT.replace('"default"', '"other"'), SERIES.replace("flood", "default")])
async def test_the_incident_of_a_rule_that_is_gone_ends(text: str) -> None:
    state, pipe = DictState(), pipeline()
    pipe.feed([bad(1, MONDAY)])
    await state.apply([*pipe.advance(MONDAY + 6 * MINUTE).changes])
    pipe = await restarted(state, text)
    result = pipe.advance(MONDAY + 12 * MINUTE)
    await state.apply([*result.changes])
    (over,) = [incident for incident in result.incidents if incident.kind == "rule"]
    assert over.state is IncidentState.RESOLVED
    assert over.reason.endswith("Over: the rule opens no incidents any more.")
    assert (await restarted(state, text)).open_incidents() == ()


async def test_a_changed_rule_keeps_its_incident() -> None:
    state, pipe = DictState(), pipeline()
    pipe.feed([bad(1, MONDAY)])
    await state.apply([*pipe.advance(MONDAY + 6 * MINUTE).changes])
    pipe = await restarted(state, TEXT.replace("default*", "insolven*"))
    (incident,) = pipe.open_incidents()
    assert incident.state is IncidentState.OPEN
    (after,) = step(pipe, [bad(2, MONDAY + 20 * MINUTE, "Insolvency of Acme")], MONDAY + 20 * MINUTE)
    assert (after.id, after.stories) == (incident.id, 2)


async def test_every_change_can_be_rebuilt_byte_for_byte() -> None:
    state, pipe = DictState(), pipeline()
    at = MONDAY
    for minute in range(0, 400, 4):
        at = MONDAY + minute * MINUTE
        pipe.feed([bad(minute, at)] if minute < 100 and minute % 8 == 0 else [])
        if minute == 40:
            (open_now,) = pipe.open_incidents()
            snooze = Command(incident=open_now.id, verb=Verb.SNOOZE, by="ann", at=at, until=at + 30 * MINUTE)
            assert pipe.command(snooze.to_doc()) == ""
        await state.apply([*pipe.advance(at).changes])
    (stored,) = [incident_from_dict(doc) for _, doc in await state.list(INCIDENT)]
    assert stored.state is IncidentState.RESOLVED
    verdicts = await audit.audit(state, stored.id)
    assert {v.what for v in verdicts} == {"rule", "command"}
    assert all(v.same for v in verdicts)
    assert verdicts[-1].incident == stored


# -- series ------------------------------------------------------------------------------------------------------------


def floods(start: datetime, count: int) -> list[ScoredArticle]:
    names = ("wire", "paper", "blog")
    return [
        scored(
            f"f{start:%d%H}{n}", start + n * MINUTE, negative=0.95, source=names[n % 3], topic=f"t{n}",
            title=f"Floods {chr(97 + n) * 4} hit {chr(98 + n) * 5} {n * 7919}",
        )
        for n in range(count)
    ]  # fmt: skip


def run(pipe: DetectPipeline, items: Sequence[ScoredArticle], until: datetime) -> tuple[list[Incident], list[Change]]:
    told, changes, place = list[Incident](), list[Change](), 0
    ordered = sorted(items, key=lambda item: item.article.fetched_at)
    at = ordered[0].article.fetched_at
    while at <= until:
        begin = place
        while place < len(ordered) and ordered[place].article.fetched_at <= at:
            place += 1
        pipe.feed(ordered[begin:place])
        result = pipe.advance(at)
        told += result.incidents
        changes += result.changes
        at += 5 * MINUTE
    return told, changes


def test_a_series_of_its_own_is_watched_for_surges() -> None:
    pipe = pipeline(SERIES)
    start = MONDAY + 4 * 24 * HOUR
    told, _ = run(pipe, [*background(MONDAY, 5), *floods(start, 14)], start + 2 * HOUR)
    keys = {key for incident in told for key in (incident.key, *incident.related)}
    assert SeriesKey(scope=Scope.RULE, value="flood") in keys
    assert not any(incident.kind == "rule" for incident in told)


async def test_a_series_that_is_new_is_not_taken_to_have_been_empty_before() -> None:
    """A rule that comes to a daemon with four days of history must learn before it speaks."""
    state, pipe = DictState(), pipeline("")
    start = MONDAY + 4 * 24 * HOUR
    _, changes = run(pipe, background(MONDAY, 4), start)
    await state.apply(changes)
    later = await restarted(state, SERIES)
    told, changes = run(later, floods(start + 10 * MINUTE, 14), start + 2 * HOUR)
    mine = SeriesKey(scope=Scope.RULE, value="flood")
    assert not any(mine in (incident.key, *incident.related) for incident in told)
    await state.apply(changes)
    # Kept over a restart as long as it asks the same, learned anew when it asks something else.
    assert not (await restarted(state, SERIES)).rules.begin(start)
    assert (await restarted(state, SERIES.replace("flood*", "flood* OR 洪水"))).rules.begin(start) == (mine,)


async def test_the_state_of_rules_is_small_and_gone_with_them() -> None:
    state, pipe = DictState(), pipeline(TEXT + SERIES)
    pipe.feed([bad(1, MONDAY)])
    await state.apply([*pipe.advance(MONDAY + 6 * MINUTE).changes])
    assert [name for name, _ in await state.list(RULE)] == ["default", "flood"]
    pipe = await restarted(state, "")
    await state.apply([*pipe.advance(MONDAY + 12 * MINUTE).changes])
    assert await state.list(RULE) == []


def test_no_rules_change_nothing() -> None:
    items = background(MONDAY, 1)
    docs: list[Mapping[str, Any]] = []
    for made in (DetectPipeline(), DetectPipeline(rules=RuleSet())):
        _, changes = run(made, items, MONDAY + 24 * HOUR)
        docs.append({f"{c.kind}/{c.key}": c.value for c in changes if isinstance(c, Put)})
    assert docs[0] == docs[1]
