"""The detect step: one transaction a tick, the watermark held back by what is not scored, words on incidents."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from doubles import START, DictState, DictStore, ListBus, article, evidence, incident, record, scored

from monitor.core.clock import ManualClock
from monitor.core.codec import incident_from_dict, incident_to_dict
from monitor.core.errors import DiskFullError, ModelInputError, UnavailableError
from monitor.core.ports import StateStore
from monitor.core.types import Change, Incident, Put, ScoredArticle, TailPage, WordWeight
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.detect import INCIDENT_KIND, POSITION_KEY, POSITION_KIND, DetectService, Docs
from monitor.services.topics import ARTICLES


def surge(*headlines: str) -> Incident:
    """An incident that these headlines drive."""
    return incident("i1", evidence=tuple(evidence(n, title=title) for n, title in enumerate(headlines, 1)))


@dataclass
class Step:
    changes: Sequence[Change]
    incidents: Sequence[Incident]

    @property
    def notify(self) -> Sequence[Incident]:
        return self.incidents


@dataclass
class ScriptedPipeline:
    """Remembers what it is fed; opens an incident when told to."""

    fed: list[str] = field(default_factory=list)
    watermarks: list[datetime] = field(default_factory=list)
    restored: Docs = field(default_factory=dict)
    opens: Sequence[Incident] = ()

    def restore(self, docs: Docs) -> None:
        self.restored = docs

    def feed(self, items: Sequence[ScoredArticle]) -> None:
        self.fed += [item.article.id for item in items]

    def command(self, _doc: Mapping[str, object]) -> str:
        return ""

    def advance(self, watermark: datetime) -> Step:
        self.watermarks.append(watermark)
        changes = [Put(kind="count", key="n", value={"fed": len(self.fed)})]
        changes += [Put(kind=INCIDENT_KIND, key=item.id, value=incident_to_dict(item)) for item in self.opens]
        return Step(changes=changes, incidents=self.opens)


async def load_docs(state: StateStore) -> Docs:
    return {kind: await state.list(kind) for kind in ("count", INCIDENT_KIND)}


class Explainer:
    """Blames the second word; refuses a batch that holds a headline of ``refuses``."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.refuses: set[str] = set()

    async def explain(self, texts: Sequence[str], *, task: str, label: str) -> Sequence[Sequence[WordWeight]]:
        assert (task, label) == ("sentiment", "negative")
        self.asked.append(list(texts))
        if self.refuses.intersection(texts):
            raise ModelInputError("no")
        return [[WordWeight(word=text.split()[1], weight=0.5, start=5, end=10)] for text in texts]


def with_words(item: Incident, words: Mapping[str, Sequence[WordWeight]]) -> Incident:
    return replace(item, evidence=tuple(replace(e, words=tuple(words.get(e.article_id, ()))) for e in item.evidence))


SURGE = surge("Bank fails")


class Bench:
    def __init__(self, state: DictState | None = None) -> None:
        self.bus, self.store, self.state = ListBus(), DictStore(), state or DictState()
        self.pipeline, self.clock, self.explainer = ScriptedPipeline(), ManualClock(START), Explainer()
        self.metrics, self.woken = Metrics(), 0
        self.service = DetectService(
            pipeline=self.pipeline,
            load_docs=load_docs,
            bus=self.bus,
            store=self.store,  # type: ignore[arg-type]
            state=self.state,
            clock=self.clock,
            metrics=self.metrics,
            health=Health(self.clock),
            with_words=with_words,
            outbox_rows=lambda item: [Put(kind="outbox", key=item.id, value={})],
            explainer=self.explainer,
            wake=self._wake,
            page=10,
        )

    def _wake(self) -> None:
        self.woken += 1


async def test_a_tick_drains_the_tail_and_goes_on_from_there_after_a_restart() -> None:
    bench = Bench()
    await bench.service.start()
    await bench.store.put([scored(article(n)) for n in range(25)])
    await bench.service.tick()
    assert len(bench.pipeline.fed) == 25
    again = Bench(bench.state)
    again.store = bench.store
    again.service._store = bench.store  # type: ignore[assignment]
    await again.service.start()
    assert list(again.pipeline.restored["count"]) == [("n", {"fed": 25})]
    await bench.store.put([scored(article(99))])
    await again.service.tick()
    assert again.pipeline.fed == ["a00099"]


async def test_the_watermark_waits_for_what_is_not_scored_and_never_goes_back() -> None:
    bench = Bench()
    await bench.service.start()
    bench.clock.advance(3600)
    await bench.bus.publish(ARTICLES, [record(article(1, fetched_at=START + timedelta(minutes=30)))])
    await bench.service.tick()
    await bench.bus.publish(ARTICLES, [record(article(2, fetched_at=START + timedelta(minutes=10)))])
    await bench.service.tick()
    bench.bus.committed[(ARTICLES, "score")] = 2
    await bench.service.tick()
    assert bench.pipeline.watermarks == [
        START + timedelta(minutes=30),
        START + timedelta(minutes=30),
        START + timedelta(hours=1),
    ]


async def test_state_incident_outbox_and_position_commit_together_or_not_at_all() -> None:
    bench = Bench()
    await bench.service.start()
    await bench.store.put([scored(article(1))])
    bench.pipeline.opens = [SURGE]
    bench.state.fail_next = DiskFullError("No room.")
    with pytest.raises(DiskFullError):
        await bench.service.tick()
    assert bench.state.docs == {}
    assert bench.woken == 0
    again = Bench(bench.state)
    again.service._store = bench.store  # type: ignore[assignment]
    again.pipeline.opens = [SURGE]
    await again.service.start()
    await again.service.tick()
    assert set(again.state.docs) == {"count", INCIDENT_KIND, "outbox", POSITION_KIND}
    assert again.state.docs[POSITION_KIND][POSITION_KEY] == {"position": "1"}
    assert again.state.applied == 1
    assert again.woken == 1


def weighed(item: Incident) -> dict[str, list[str]]:
    return {headline.title: [word.word for word in headline.words] for headline in item.evidence}


async def test_driving_headlines_get_their_words_once() -> None:
    bench = Bench()
    bench.pipeline.opens = [SURGE]
    await bench.service.start()
    (first,) = await bench.service.tick()
    await bench.service.tick()
    assert weighed(first) == {"Bank fails": ["fails"]}
    assert bench.explainer.asked == [["Bank fails"]]
    assert weighed(incident_from_dict(bench.state.docs[INCIDENT_KIND]["i1"])) == weighed(first)


async def test_all_new_headlines_of_a_tick_are_asked_in_one_batch() -> None:
    bench = Bench()
    other = incident("i2", evidence=(evidence(3, title="Oil falls"), evidence(4, title="Gold jumps")))
    bench.pipeline.opens = [surge("Bank fails", "Fund closes", "Oil falls"), other]
    await bench.service.start()
    first, second = await bench.service.tick()
    assert bench.explainer.asked == [["Bank fails", "Fund closes", "Oil falls", "Gold jumps"]]
    assert weighed(first) == {"Bank fails": ["fails"], "Fund closes": ["closes"], "Oil falls": ["falls"]}
    assert weighed(second) == {"Oil falls": ["falls"], "Gold jumps": ["jumps"]}
    bench.pipeline.opens = [incident("i2", 2, evidence=(*other.evidence, evidence(5, title="Euro slides")))]
    await bench.service.tick()
    assert bench.explainer.asked[1:] == [["Euro slides"]]


async def test_a_headline_that_the_model_refuses_costs_the_others_nothing() -> None:
    bench = Bench()
    bench.pipeline.opens = [surge("Bank fails", "Odd poison", "Fund closes")]
    bench.explainer.refuses = {"Odd poison"}
    await bench.service.start()
    (first,) = await bench.service.tick()
    assert weighed(first) == {"Bank fails": ["fails"], "Odd poison": [], "Fund closes": ["closes"]}


async def test_an_alarm_goes_out_even_when_it_cannot_be_explained() -> None:
    bench = Bench()
    bench.pipeline.opens = [SURGE]
    bench.explainer.refuses = {"Bank fails"}
    await bench.service.start()
    (first,) = await bench.service.tick()
    assert weighed(first) == {"Bank fails": []}
    assert "outbox" in bench.state.docs


async def test_a_tail_that_is_behind_is_read_until_it_gives_what_was_stored_when_the_lag_was_read() -> None:
    bench = Bench()
    tail, before_lag = bench.store.tail, []
    lag = bench.bus.lag

    async def stored_late(topic, group):
        found = await lag(topic, group)
        await bench.store.put([scored(article(1))])  # stored just before, not among what the tail gives yet
        before_lag.append(time.monotonic())
        return found

    async def behind(after, limit):
        if time.monotonic() < before_lag[0] + 0.2:
            return TailPage(items=(), position=after, behind=0.2)
        return replace(await tail(after, limit), behind=0.2)

    bench.bus.lag = stored_late  # type: ignore[method-assign]
    bench.store.tail = behind  # type: ignore[method-assign]
    await bench.service.start()
    await bench.service.tick()
    assert bench.pipeline.fed == ["a00001"]
    assert bench.pipeline.watermarks == [START]


async def test_while_the_store_is_down_no_time_passes_for_the_series() -> None:
    bench = Bench()
    tail = bench.store.tail
    await bench.store.put([scored(article(n)) for n in range(25)])
    await bench.service.start()
    pages = 0

    async def failing(after, limit):
        nonlocal pages
        pages += 1
        if pages in (1, 3):
            raise UnavailableError("It is down.")
        return await tail(after, limit)

    bench.store.tail = failing  # type: ignore[method-assign]
    assert await bench.service.tick() == ()
    assert await bench.service.tick() == ()
    assert bench.pipeline.watermarks == []
    assert bench.state.applied == 0
    await bench.service.tick()
    assert set(bench.pipeline.fed) == {f"a{n:05d}" for n in range(25)}
    assert bench.pipeline.watermarks == [START]
