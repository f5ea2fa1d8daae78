"""Languages and topics that fall silent, and that one cause is one incident."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from news import MONDAY

from alerts.audit import rebuild
from alerts.config import PipelineConfig
from alerts.silence import EVERYTHING, SilenceWatch, key_of, name_of
from monitor.core.codec import dumps, loads
from monitor.core.types import Incident, IncidentState, Scope, SeriesKey

DAY = 288
START = int(MONDAY.timestamp()) // 300
Brings = Callable[[int], tuple[str, str] | None]
"""Language and topic of what a source brings in a bucket; None: nothing."""
DAYS = 17
DEAD = START + 15 * DAY + 8 * 12


def by_day(index: int) -> bool:
    """Every ten minutes from 6 to 20 o'clock, seldom at night."""
    hour = index % DAY // 12
    return index % 2 == 0 if 6 <= hour < 20 else index % 36 == 0


def run(sources: Mapping[str, Brings], last: int = START + DAYS * DAY) -> list[Incident]:
    watch, told = SilenceWatch(), []
    for index in range(START, last):
        for source, brings in sources.items():
            if (what := brings(index)) is not None:
                watch.arrive(source, index, lang=what[0], topic=what[1])
        told += watch.close(index)
    return told


def opened(told: list[Incident]) -> list[str]:
    return [str(i.key) for i in told if i.state is IncidentState.OPEN]


def source(lang: str, *topics: str, until: int | None = None, back: int | None = None) -> Brings:
    def brings(index: int) -> tuple[str, str] | None:
        gone = until is not None and index >= until and (back is None or index < back)
        return (lang, topics[index // 2 % len(topics)]) if by_day(index) and not gone else None

    return brings


def without(lang: str, topics: tuple[str, ...], topic: str) -> Brings:
    """Brings everything but one topic once that is dead."""

    def brings(index: int) -> tuple[str, str] | None:
        chosen = topics[index // 2 % len(topics)]
        if not by_day(index):
            return None
        return (lang, topics[0]) if chosen == topic and index >= DEAD else (lang, chosen)

    return brings


def test_a_topic_that_falls_silent_while_its_sources_speak_is_an_incident() -> None:
    told = run({name: without("en", ("a", "b", "c"), "c") for name in ("x", "y")})
    assert opened(told) == ["topic:c"]
    assert told[0].kind == "silence"
    assert told[0].sources == ()
    assert "Nothing on c has come, though its sources bring other news" in told[0].reason


def test_a_topic_is_not_silent_when_its_source_is() -> None:
    """The topic comes from one source only: the source is what is broken."""
    told = run({"x": source("en", "a"), "y": source("en", "a"), "z": source("en", "b", until=DEAD)})
    assert opened(told) == ["source:z"]


def test_a_language_from_several_sources_is_one_incident() -> None:
    told = run(
        {
            "x": source("en", "a", "b"),
            "y": source("en", "a", "b"),
            **{f"zh{n}": source("zh", "a", "b", until=DEAD) for n in range(5)},
        }
    )
    assert opened(told) == ["language:zh"]
    assert told[0].key == SeriesKey(scope=Scope.LANGUAGE, value="zh")


def test_a_language_of_one_source_is_the_source() -> None:
    told = run({"x": source("en", "a"), "y": source("en", "a"), "zh": source("zh", "a", until=DEAD)})
    assert opened(told) == ["source:zh"]


@pytest.mark.parametrize("count", [3, 12])
def test_when_the_network_is_down_there_is_one_incident_not_many(count: int) -> None:
    """All fall silent for a day and a half, and come back one after the other."""
    back = DEAD + DAY + DAY // 2
    told = run(
        {f"s{n}": source(("en", "zh")[n % 2], "a", "b", until=DEAD, back=back + 6 * n) for n in range(count)},
        last=back + DAY,
    )
    assert opened(told) == [f"source:{EVERYTHING}"]
    assert [i.state for i in told] == [IncidentState.OPEN, IncidentState.RESOLVED]
    assert "No source has brought anything since" in told[0].reason


def test_quiet_nights_and_weekends_of_a_topic_are_usual() -> None:
    def weekdays(index: int) -> tuple[str, str] | None:
        if not by_day(index):
            return None
        return ("en", "markets" if (index - START) // DAY % 7 < 5 and index % 4 == 0 else "world")

    assert not run({"x": weekdays, "y": weekdays}, last=START + 24 * DAY)


def test_names_and_series() -> None:
    for key in (
        SeriesKey(scope=Scope.SOURCE, value="wire"),
        SeriesKey(scope=Scope.SOURCE, value="~language:zh"),
        SeriesKey(scope=Scope.LANGUAGE, value="zh"),
        SeriesKey(scope=Scope.TOPIC, value="macro"),
    ):
        assert key_of(name_of(key)) == key
    watch = SilenceWatch()
    watch.arrive("~language:zh", START)
    assert set(watch.sources) == {"~~language:zh", EVERYTHING}


def test_it_goes_on_after_a_restart_and_can_be_rebuilt() -> None:
    one, two = SilenceWatch(), SilenceWatch()
    told: list[list[Incident]] = [[], []]
    brings = {name: without("en", ("a", "b", "c"), "c") for name in ("x", "y")}
    for index in range(START, START + DAYS * DAY):
        for name, what in brings.items():
            if (found := what(index)) is not None:
                for watch in (one, two):
                    watch.arrive(name, index, lang=found[0], topic=found[1])
        if index == DEAD + 3:
            again = SilenceWatch()
            for name in two.sources:
                quick, slow = two.to_docs(name)
                again.load(name, loads(dumps(quick)), loads(dumps(slow)), two.sources[name].incident)
            again.changed = {name for name, state in again.sources.items() if state.heard}
            two = again
        told[0] += one.close(index)
        told[1] += two.close(index)
        if len(told[0]) == 1 and told[0][0].opened_at == one.detector.start_of(index + 1):
            doc = {
                "what": "silence", "index": index, "source": name_of(told[0][0].key), "title": told[0][0].title,
                "watched": round(told[0][0].q_value / told[0][0].p_value),
                "state": list(one.to_docs(name_of(told[0][0].key))),
            }  # fmt: skip
            rebuilt = rebuild(loads(dumps(doc)), PipelineConfig())
            assert list(rebuilt.incidents.values()) == told[0]
    assert told[0] == told[1]
    assert opened(told[0]) == ["topic:c"]
