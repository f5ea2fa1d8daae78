"""The API over a real embedded store and state, a bus in memory, and a small double of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from doubles import ListBus
from store_tools import scored

from monitor.core.clock import ManualClock
from monitor.core.codec import incident_to_dict
from monitor.core.types import Incident, Put, ScoredArticle, WordWeight
from monitor.web.access import Role, Token
from monitor.web.app import create_app
from monitor.web.context import WebContext

TOKENS = (
    Token.of("vera", Role.VIEWER, "viewer-token-0123456789"),
    Token.of("otto", Role.OPERATOR, "operator-token-0123456789"),
    Token.of("paul", Role.PUSHER, "pusher-token-0123456789"),
)
GUARD = {"X-Riskwire-Request": "1"}


def bearer(role: str) -> dict[str, str]:
    """The header of one of the tokens."""
    return {"Authorization": f"Bearer {role}-token-0123456789"}


@dataclass(frozen=True, slots=True)
class FakeWords:
    """What FakeModel says of an article."""

    label: str
    words: tuple[Any, ...]


class FakeModel:
    """Scores by a word; explains with the title's first word."""

    model = "fake@1"

    def __init__(self) -> None:
        self.fail: Exception | None = None

    async def score(self, articles: Sequence[Any]) -> Sequence[Any]:
        if self.fail is not None:
            raise self.fail
        return [
            scored(0, article.title, negative=0.9 if "fails" in article.title else 0.1, topic="banks").scored
            for article in articles
        ]

    async def explain_articles(
        self, articles: Sequence[Any], labels: Sequence[Mapping[str, str]]
    ) -> Sequence[Mapping[str, FakeWords]]:
        return [
            {
                task: FakeWords(label, (WordWeight(word=a.title.split()[0], weight=0.25, start=0, end=4),))
                for task, label in wanted.items()
            }
            for a, wanted in zip(articles, labels, strict=True)
        ]


class World:
    """Everything a test may want to touch. ``client`` asks as nobody in particular."""

    def __init__(self, context: WebContext, model: FakeModel, bus: ListBus, clock: ManualClock) -> None:
        self.context, self.model, self.bus, self.clock = context, model, bus, clock
        self.app = create_app(context)
        self.client = self.new_client()

    def new_client(self, **keys: Any) -> httpx.AsyncClient:
        """Another client, with cookies of its own."""
        transport = httpx.ASGITransport(app=self.app, client=("127.0.0.9", 1))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", **keys)

    async def put(self, *items: ScoredArticle) -> None:
        """Into the store."""
        assert (await self.context.store.put(items)).ok

    async def raise_incident(self, *incidents: Incident) -> None:
        """Into the state, as the detector does."""
        await self.context.state.apply(
            [Put(kind="incident", key=i.id, value=incident_to_dict(i)) for i in incidents]
        )  # fmt: skip
        self.context.live.incidents.forget()

    async def get(self, path: str, status: int = 200, **keys: Any) -> Any:
        """The JSON of an answer that has this status."""
        answer = await self.client.get(path, **keys)
        assert answer.status_code == status, answer.text
        return answer.json()
