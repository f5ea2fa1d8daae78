"""Every change of an incident can be rebuilt, byte for byte, from what was written when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from doubles import DictState
from news import MONDAY, background, burst

from alerts import audit
from alerts.commands import Command, Verb
from alerts.config import PipelineConfig
from alerts.pipeline import INCIDENT, DetectPipeline, load_docs
from alerts.silence import SilenceConfig
from monitor.core.codec import incident_from_dict
from monitor.core.types import Incident, Put, ScoredArticle

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
NOON = MONDAY + 3 * DAY + 12 * HOUR
CONFIG = PipelineConfig(silence=SilenceConfig(min_history=2 * DAY))


class Run:
    """A pipeline whose steps are committed, and which is restored from time to time."""

    def __init__(self) -> None:
        self.state = DictState()
        self.pipeline = DetectPipeline(CONFIG)
        self.told: list[Incident] = []

    async def step(self, items: Sequence[ScoredArticle], at: object) -> None:
        self.pipeline.feed(items)
        step = self.pipeline.advance(at)  # type: ignore[arg-type]
        await self.state.apply(step.changes)
        self.told += step.incidents

    async def until(self, items: Sequence[ScoredArticle], begin: object, end: object, every: timedelta) -> None:
        waiting = sorted(items, key=lambda item: item.article.fetched_at)
        at = begin
        while at < end:  # type: ignore[operator]
            at += every  # type: ignore[operator]
            await self.step([i for i in waiting if at - every < i.article.fetched_at <= at], at)  # type: ignore[operator]

    async def restart(self) -> None:
        self.pipeline = DetectPipeline(CONFIG)
        self.pipeline.restore(await load_docs(self.state))


async def lived() -> Run:
    """Three ordinary days, a surge with a worse one in it, a snooze, a restart, a resolve by hand, a silent source."""
    run = Run()
    ordinary = background(MONDAY, 5)
    await run.until(ordinary, MONDAY, NOON, HOUR)
    surge = [
        *burst(NOON, 12, 10, topic="energy", entities=("acme",)),
        *burst(NOON + 40 * MINUTE, 60, 30, topic="energy", prefix="worse", entities=("acme",)),
        *(i for i in ordinary if i.article.source != "wire"),
    ]
    await run.until(surge, NOON, NOON + 25 * MINUTE, MINUTE)
    first = run.told[0]
    snooze = Command(incident=first.id, verb=Verb.SNOOZE, by="ann", at=NOON + 25 * MINUTE, until=NOON + 35 * MINUTE)
    assert run.pipeline.command(snooze.to_doc()) == ""
    await run.until(surge, NOON + 25 * MINUTE, NOON + 50 * MINUTE, MINUTE)
    await run.restart()
    await run.until(surge, NOON + 50 * MINUTE, NOON + 2 * HOUR, 5 * MINUTE)
    for incident in run.pipeline.open_incidents()[:1]:
        resolve = Command(incident=incident.id, verb=Verb.RESOLVE, by="bob", at=NOON + 2 * HOUR, reason="known")
        assert run.pipeline.command(resolve.to_doc()) == ""
    await run.until(surge, NOON + 2 * HOUR, NOON + 12 * HOUR, 15 * MINUTE)
    return run


async def test_every_change_is_rebuilt_byte_for_byte() -> None:
    run = await lived()
    stored = [incident_from_dict(doc) for _, doc in await run.state.list(INCIDENT)]
    kinds: set[str] = set()
    assert {"surge", "silence"} <= {incident.kind for incident in stored}
    for incident in stored:
        verdicts = await audit.audit(run.state, incident.id)
        assert [v.same for v in verdicts] == [True] * len(verdicts), verdicts
        assert not any(v.notes for v in verdicts)
        # Every revision that was told is there, and the last one is what is stored.
        assert {v.revision for v in verdicts} >= {i.revision for i in run.told if i.id == incident.id}
        last = verdicts[-1].incident
        assert last is not None
        assert audit.canonical(last) == audit.canonical(incident)
        kinds |= {v.what for v in verdicts}
    assert kinds == {"tick", "command", "silence"}


async def test_it_is_seen_when_an_input_was_changed() -> None:
    run = await lived()
    record = next(key for key, _ in await run.state.list(audit.RECORD) if key.startswith("tick/"))
    found = dict(await run.state.get(audit.RECORD, record) or {})
    doc = audit.unpack(str(found["data"]))
    rows = next(iter(doc["rows"].values()))
    rows[0][1] -= 0.25  # one article's probability
    await run.state.apply([Put(kind=audit.RECORD, key=record, value=found | {"data": audit.pack(doc)})])
    touched = [key for key, row in await run.state.list(audit.AUDIT) if row["record"] == record]
    verdicts = await audit.audit(run.state, touched[0].partition("/")[0])
    assert any(v.same is False or v.notes for v in verdicts)


async def test_what_retention_dropped_is_said() -> None:
    run = await lived()
    incident = run.told[0]
    assert await audit.expire(run.state, NOON + 30 * DAY) > 3
    verdicts = await audit.audit(run.state, incident.id)
    assert verdicts
    assert all(v.same is None and "audit_days" in v.notes[0] for v in verdicts)
    assert all(len(v.sha256) == 64 for v in verdicts)


async def test_recent_records_are_kept() -> None:
    run = await lived()
    before = len(await run.state.list(audit.RECORD))
    assert await audit.expire(run.state, MONDAY) == 0
    assert len(await run.state.list(audit.RECORD)) == before


def test_the_configuration_survives_json() -> None:
    doc = audit.config_to_doc(CONFIG)
    assert audit.config_from_doc(PipelineConfig, doc) == CONFIG
    with pytest.raises(audit.CodecError, match="colour"):
        audit.config_from_doc(PipelineConfig, doc | {"colour": 1})
