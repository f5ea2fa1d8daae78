"""The audit rebuilds incidents that name the like of the past, and those found beside series of pairs."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from doubles import DictState
from news import MONDAY, background, scored, words

from alerts import audit
from alerts.config import PipelineConfig
from alerts.pairs import PairConfig
from alerts.pipeline import INCIDENT, DetectPipeline, load_docs
from monitor.core.codec import incident_from_dict
from monitor.core.types import Scope, ScoredArticle

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
FIRST = MONDAY + 3 * DAY + 12 * HOUR
SECOND = FIRST + 26 * HOUR
CONFIG = PipelineConfig(pairs=PairConfig(admit=12.0))


def levy(at: datetime, name: str) -> list[ScoredArticle]:
    """A dozen stories of one event, no two of them copies."""
    return [
        scored(
            f"{name}{n}",
            at + 2 * n * MINUTE,
            negative=0.95,
            source=("wire", "paper", "blog")[n % 3],
            topic="macro",
            title=f"deposit levy frightens savers {words(random.Random(f'{name}{n}'), 9)}",
            entities=("acme",),
        )
        for n in range(12)
    ]


async def test_the_like_of_the_past_is_rebuilt_byte_for_byte() -> None:
    ordinary = [
        scored(
            f"o{n}",
            item.article.published_at,
            negative=item.scored.scores.negative,
            source=item.article.source,
            topic=("markets", "macro")[n % 2],
            entities=("acme",) if n % 8 < 2 else (),
        )
        for n, item in enumerate(background(MONDAY, 5))
    ]
    waiting = sorted([*ordinary, *levy(FIRST, "u"), *levy(SECOND, "v")], key=lambda item: item.article.fetched_at)
    state, pipeline, at = DictState(), DetectPipeline(CONFIG), MONDAY
    while at < SECOND + 6 * HOUR:
        before, at = at, at + (HOUR if at < FIRST else 5 * MINUTE)
        pipeline.feed([item for item in waiting if before <= item.article.fetched_at < at])
        await state.apply(pipeline.advance(at).changes)
        if before < FIRST + 8 * HOUR <= at:  # between the two: what is remembered must survive
            pipeline = DetectPipeline(CONFIG)
            pipeline.restore(await load_docs(state))
    assert any(key.startswith("pair:") for key, _ in await state.list("detect.series"))
    stored = [incident_from_dict(doc) for _, doc in await state.list(INCIDENT)]
    surges = [i for i in stored if i.opened_at >= FIRST]
    early, late = ([i for i in surges if (i.opened_at >= SECOND) is after] for after in (False, True))
    assert early
    assert late
    assert not any(i.similar for i in early)
    told = [i for i in late if i.similar]
    assert told
    assert told[0].similar[0].id in {i.id for i in early}
    assert {"deposit", "levy", "savers"} <= set(told[0].similar[0].words)
    assert "over by itself" in told[0].reason
    assert "both speak of" in told[0].reason
    for incident in stored:
        verdicts = await audit.audit(state, incident.id)
        assert verdicts
        assert [v.same for v in verdicts] == [True] * len(verdicts), verdicts
        assert not any(v.notes for v in verdicts)
        last = verdicts[-1].incident
        assert last is not None
        assert audit.canonical(last) == audit.canonical(incident)
    assert not any(i.key.scope is Scope.PAIR and i.q_value > CONFIG.incidents.open_q for i in stored)
