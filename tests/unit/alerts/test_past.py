"""What was before: a new incident names the like of it, by what both speak of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from news import MONDAY

from alerts.commands import Command, Verb, act
from alerts.past import LIMIT, PER_SERIES, WORDS, PastIncidents, count_words, near, vocabulary
from alerts.reason import similar_sentence
from monitor.core.codec import dumps, incident_from_dict, incident_to_dict, loads
from monitor.core.errors import CodecError
from monitor.core.types import Evidence, Incident, IncidentState, Scope, SeriesKey, Severity

HOUR = timedelta(hours=1)
BANK = SeriesKey(scope=Scope.ENTITY, value="bank")
MACRO = SeriesKey(scope=Scope.TOPIC, value="macro")
BOTH = SeriesKey(scope=Scope.PAIR, value="macro/bank")
TITLES = (
    "Some Bank deposit levy shocks savers",
    "Savers queue as deposit levy looms at Some Bank",
    "Lawmakers reject levy, savers relieved about deposit",
)


def story(title: str, number: int = 0, **fields: object) -> Evidence:
    made = Evidence(
        article_id=f"a{number}{title}",
        story_id=f"s{number}{title}",
        title=title,
        source="wire",
        url="",
        published_at=MONDAY,
        heat=1,
        negative=0.9,
        entities=("Some Bank",),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def incident(name: str, key: SeriesKey = BANK, day: int = 0, **fields: object) -> Incident:
    at = MONDAY + timedelta(days=day)
    made = Incident(
        id=name, key=key, state=IncidentState.RESOLVED, severity=Severity.WARNING, observed=9, expected=1,
        low=0, high=3, p_value=1e-6, q_value=1e-5, opened_at=at, updated_at=at, resolved_at=at + 5 * HOUR,
        title="Some Bank",
    )  # fmt: skip
    return replace(made, **fields)  # type: ignore[arg-type]


def words(*titles: str) -> dict[str, int]:
    return count_words({}, [story(title, number) for number, title in enumerate(titles)])


def test_names_of_the_entities_are_no_words() -> None:
    counts = words(*TITLES)
    assert counts["levy"] == counts["deposit"] == counts["savers"] == 3
    assert "bank" not in counts
    assert vocabulary(counts) == ("deposit", "levy", "savers")


def test_the_like_is_found_with_when_it_was_and_how_it_ended() -> None:
    past = PastIncidents()
    past.add(incident("old"), words(*TITLES))
    past.add(incident("other", day=1), words("Profit warning hits trading arm", "Trading arm cuts profit outlook"))
    (found,) = past.like([BANK], words("Deposit levy returns", "Savers fear deposit levy", "Levy vote divides savers"))
    assert (found.id, found.ended, found.similarity) == ("old", "by itself", 1.0)
    assert set(found.words) == {"deposit", "levy", "savers"}
    sentence = similar_sentence((found,))
    assert "Like Some Bank of 2024-01-01 00:00 UTC, over by itself after 5 hours" in sentence
    assert "deposit" in sentence


def test_who_ended_it_is_said() -> None:
    open_ = incident("old", state=IncidentState.OPEN, resolved_at=None)
    command = Command(incident="old", verb=Verb.RESOLVE, by="ann", at=MONDAY + HOUR, reason="a test of the feed")
    past = PastIncidents()
    past.add(act(open_, command), words(*TITLES))
    (found,) = past.like([BANK], words(*TITLES))
    assert found.ended == "by ann: a test of the feed"
    assert found.resolved_at == MONDAY + HOUR


def test_only_the_same_and_related_series_are_compared() -> None:
    past = PastIncidents()
    past.add(incident("old", related=(MACRO,)), words(*TITLES))
    assert past.like([MACRO], words(*TITLES))
    assert past.like([BOTH], words(*TITLES))
    assert not past.like([SeriesKey(scope=Scope.ENTITY, value="rival")], words(*TITLES))
    assert not past.like([BANK], words("Storm shuts refinery", "Refinery fire after storm", "Storm over refinery"))


def test_the_latest_of_equals_comes_first_and_three_are_shown() -> None:
    past = PastIncidents()
    for day in range(5):
        past.add(incident(f"i{day}", day=day), words(*TITLES))
    assert [item.id for item in past.like([BANK], words(*TITLES))] == ["i4", "i3", "i2"]


def test_it_is_bounded() -> None:
    past = PastIncidents()
    for number in range(PER_SERIES + 3):
        past.add(incident(f"same{number:03d}", day=number), words(*TITLES))
    assert len(past.items) == PER_SERIES
    assert "same000" not in past.items
    assert "same000" in past.changed
    for number in range(LIMIT + 10):
        past.add(incident(f"n{number}", key=SeriesKey(scope=Scope.ENTITY, value=str(number))), words(*TITLES))
    assert len(past.items) == LIMIT
    many = count_words({}, [story(f"{chr(97 + n % 26) * 4}{chr(97 + n // 26) * 3}", n) for n in range(400)])
    assert len(many) < 100
    assert len(vocabulary(many)) == WORDS


def test_it_survives_a_restart() -> None:
    past, again = PastIncidents(), PastIncidents()
    past.add(incident("b", day=1), words(*TITLES))
    past.add(incident("a", related=(MACRO,), day=2), words(*TITLES))
    again.load([loads(dumps(past.items[name].to_doc())) for name in sorted(past.items)])
    assert list(again.items.values()) == list(past.items.values())
    assert near(again.items.values(), [MACRO]) == [past.items["a"]]
    with pytest.raises(CodecError):
        again.load([{"id": "x"}])


def test_an_incident_keeps_them_and_one_without_is_written_as_before() -> None:
    past = PastIncidents()
    past.add(incident("old"), words(*TITLES))
    made = incident("new", similar=past.like([BANK], words(*TITLES)))
    assert incident_from_dict(loads(dumps(incident_to_dict(made)))) == made
    assert "similar" not in incident_to_dict(incident("new"))
