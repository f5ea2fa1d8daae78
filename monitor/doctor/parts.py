"""The model and the watchlist."""

from __future__ import annotations

import time
from collections.abc import Sequence

from monitor.app import build_scorer, build_watchlist
from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.codec import article_from_row
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, ok, warn

_LOADING_SECONDS = 120.0
"""The engines are measured against each other the first time a model is loaded."""
_HEADLINES = 64


def model_checks(settings: Settings, clock: Clock) -> list[Check]:
    """Loads the model as the daemon would and lets it score."""

    async def look() -> Sequence[Verdict]:
        scorer = await in_thread(lambda: build_scorer(settings, clock))
        try:
            rows = [
                {"title": f"Bank {number} warns of losses after fraud probe", "id": number}
                for number in range(_HEADLINES)
            ]
            articles = [article_from_row(row, now=clock.now()) for row in rows]
            await scorer.score(articles[:1])
            began = time.monotonic()
            await scorer.score(articles[1:])
            rate = (len(articles) - 1) / (time.monotonic() - began)
        finally:
            await scorer.close()
        return [ok("model", f"{scorer.model} scores {rate:,.0f} headlines a second here.")]

    remedy = "This machine is too slow or too busy for the model: see its load, and [model] threads."
    return [Check(part="model", look=look, limit=_LOADING_SECONDS, remedy=remedy)]


def watchlist_checks(settings: Settings) -> list[Check]:
    """Reads the watchlists."""

    async def look() -> Sequence[Verdict]:
        count = len((await in_thread(lambda: build_watchlist(settings))).entities)
        if not count:
            advice = "Set entities.packaged = true or name your own watchlists."
            return [warn("watchlist", "No entities are watched.", advice)]
        return [ok("watchlist", f"{count} entities are watched.")]

    return [Check(part="watchlist", look=look)]
