"""The watchdog: a dead feed is an incident, a quiet night or a holiday is not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from news import MONDAY

from alerts.silence import EVERYTHING, SilenceConfig, SilenceWatch
from monitor.core.codec import dumps, loads
from monitor.core.errors import CodecError
from monitor.core.types import Incident, IncidentState, Scope

DAY = 288
START = int(MONDAY.timestamp()) // 300


def by_day(index: int) -> bool:
    """Every ten minutes from 6 to 20 o'clock, seldom at night."""
    hour = index % DAY // 12
    return index % 2 == 0 if 6 <= hour < 20 else index % 36 == 0


def run(watch: SilenceWatch, first: int, last: int, sources: dict[str, Iterable[int]]) -> list[tuple[int, Incident]]:
    told: list[tuple[int, Incident]] = []
    arrivals = {name: set(indices) for name, indices in sources.items()}
    for index in range(first, last):
        for name, indices in arrivals.items():
            if index in indices:
                watch.arrive(name, index)
        told += [(index, incident) for incident in watch.close(index)]
    return told


def usual(first: int, last: int) -> list[int]:
    return [index for index in range(first, last) if by_day(index)]


def test_quiet_nights_are_not_silence() -> None:
    end = START + 7 * DAY
    assert not run(SilenceWatch(), START, end, {name: usual(START, end) for name in "abc"})


def test_a_dead_feed_is_found_within_hours_and_resolves_when_it_speaks() -> None:
    end, dead = START + 7 * DAY, START + 5 * DAY + 8 * 12
    back = dead + 10 * 12
    sources = {name: usual(START, end) for name in "ab"}
    sources["c"] = usual(START, dead) + usual(back, end)
    told = run(SilenceWatch(), START, end, sources)
    assert [(i.state, i.key.value, i.kind) for _, i in told] == [
        (IncidentState.OPEN, "c", "silence"),
        (IncidentState.RESOLVED, "c", "silence"),
    ]
    opened, resolved = told
    assert dead + 12 <= opened[0] <= dead + 6 * 12
    assert resolved[0] == back
    assert opened[1].id == resolved[1].id
    assert resolved[1].revision == 2
    assert opened[1].key.scope is Scope.SOURCE
    assert "Nothing has come since" in opened[1].reason
    assert opened[1].expected > 5


def test_it_can_be_silent_again() -> None:
    end = START + 9 * DAY
    one, two = START + 5 * DAY + 8 * 12, START + 7 * DAY + 8 * 12
    gaps = {*range(one, one + 138), *range(two, two + 138)}
    sources = {name: usual(START, end) for name in "ab"} | {"c": [i for i in usual(START, end) if i not in gaps]}
    told = [incident for _, incident in run(SilenceWatch(), START, end, sources)]
    assert [incident.state for incident in told] == [IncidentState.OPEN, IncidentState.RESOLVED] * 2
    assert len({incident.id for incident in told}) == 2


def test_a_holiday_is_not_a_broken_feed() -> None:
    """All sources bring a sixth of the usual for a day; one of them happens to bring nothing for nine hours."""
    end, holiday = START + 8 * DAY, START + 6 * DAY
    slow = [i for n, i in enumerate(usual(holiday, holiday + DAY)) if n % 6 == 0]
    sources = {name: usual(START, holiday) + slow + usual(holiday + DAY, end) for name in "abcdef"}
    gap = range(holiday + 9 * 12, holiday + 18 * 12)
    sources["f"] = [i for i in sources["f"] if i not in gap]
    assert not run(SilenceWatch(), START, end, sources)


def test_when_everything_is_silent_one_incident_says_so() -> None:
    end, dead = START + 7 * DAY, START + 5 * DAY + 8 * 12
    told = run(SilenceWatch(), START, end, {name: usual(START, dead) for name in "abcdef"})
    first = told[0][1]
    assert first.key.value == EVERYTHING
    assert first.title == "All sources"
    assert dead + 12 <= told[0][0] <= dead + 7 * 12


def test_a_source_without_history_is_not_missed() -> None:
    end = START + 7 * DAY
    sources = {"a": usual(START, end), "b": usual(START, end), "new": usual(START, START + DAY)}
    assert not run(SilenceWatch(), START, START + 3 * DAY, sources)


def test_a_source_that_is_long_gone_is_forgotten() -> None:
    watch = SilenceWatch(SilenceConfig(forget_after=timedelta(days=3)))
    end = START + 6 * DAY
    run(watch, START, end, {"a": usual(START, end), "gone": [START]})
    assert set(watch.sources) == {"a", EVERYTHING}
    assert watch.dropped == {"gone"}


def test_the_incident_of_a_forgotten_source_ends_with_it() -> None:
    watch = SilenceWatch(SilenceConfig(forget_after=timedelta(days=2)))
    end, dead = START + 9 * DAY, START + 5 * DAY + 8 * 12
    sources = {"a": usual(START, end), "b": usual(START, end), "c": usual(START, dead)}
    told = [incident for _, incident in run(watch, START, end, sources)]
    assert [incident.state for incident in told] == [IncidentState.OPEN, IncidentState.RESOLVED]
    assert told[1].reason.endswith("It is not watched any more.")


def test_there_is_a_limit_of_sources() -> None:
    watch = SilenceWatch(SilenceConfig(limit=10))
    for n in range(50):
        watch.arrive(f"s{n}", START)
    assert len(watch.sources) == 10


def test_active_sources_are_those_of_the_last_days() -> None:
    watch = SilenceWatch()
    run(watch, START, START + 8 * DAY, {"a": usual(START, START + 8 * DAY), "old": [START]})
    assert watch.active_sources(START + 8 * DAY) == 1


@pytest.mark.parametrize("cut", [5 * DAY, 5 * DAY + 9 * 12 + 3, 5 * DAY + 15 * 12])
def test_a_restart_changes_nothing(cut: int) -> None:
    end, dead = START + 6 * DAY, START + 5 * DAY + 8 * 12
    sources = {"a": usual(START, end), "b": usual(START, end), "c": usual(START, dead)}
    whole = run(SilenceWatch(), START, end, sources)
    assert whole
    first, second = SilenceWatch(), SilenceWatch()
    told = run(first, START, START + cut, sources)
    for name, state in first.sources.items():
        quick, slow = first.to_docs(name)
        second.load(name, loads(dumps(quick)), loads(dumps(slow)), state.incident)
    assert told + run(second, START + cut, end, sources) == whole


def test_a_damaged_document_is_refused() -> None:
    watch = SilenceWatch()
    watch.arrive("a", START)
    quick, slow = watch.to_docs("a")
    del quick["gap"]
    with pytest.raises(CodecError):
        SilenceWatch().load("a", quick, slow, None)


def test_times_are_those_of_the_gap() -> None:
    end, dead = START + 6 * DAY, START + 5 * DAY + 8 * 12
    told = run(SilenceWatch(), START, end, {"a": usual(START, end), "b": usual(START, end), "c": usual(START, dead)})
    opened = told[0][1].opened_at
    assert isinstance(opened, datetime)
    assert opened - MONDAY > timedelta(days=5, hours=9)


def test_a_first_poll_may_bring_its_newest_items_first() -> None:
    watch = SilenceWatch()
    for index in (START + 9, START + 4, START + 6):
        watch.arrive("a", index)
    for index in range(START + 4, START + 10):
        watch.close(index)
    assert watch.sources["a"].active == 3
    assert watch.sources["a"].last == START + 9


@pytest.mark.parametrize(("every", "sources"), [(1, 2), (3, 2), (20, 1)])
def test_a_source_that_speaks_now_and_then_is_no_second_one(every: int, sources: int) -> None:
    watch = SilenceWatch()
    for number in range(400):
        watch.arrive("wire", START + number)
        if number % every == 0:
            watch.arrive("video", START + number)
        watch.close(START + number)
    assert watch.active_sources(START + 400) == sources
