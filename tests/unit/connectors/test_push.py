"""The push listener over loopback HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from website import NOW

from connectors.base import ConnectorContext, SourceSpec
from connectors.push import PushListener, PushOptions, build
from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError, DiskFullError, SourceError
from monitor.core.types import Article

TOKEN = "0123456789abcdef-token"
GOOD = {"title": "Bank fails", "source": "desk", "published_at": "2026-03-02T08:00:00Z"}


@dataclass
class Desk:
    """A running listener, what it accepted, and a client for it."""

    listener: PushListener
    client: aiohttp.ClientSession
    accepted: list[Article] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    failure: Exception | None = None

    async def accept(self, articles: Sequence[Article]) -> None:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        if self.failure:
            raise self.failure
        self.accepted += articles

    async def post(self, body: object, *, token: str | None = TOKEN, **headers: str) -> tuple[int, dict[str, object]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.client.post(f"{self.listener.url}/v1/articles", data=data, headers=sent) as answer:
            return answer.status, await answer.json() | {"retry": answer.headers.get("Retry-After")}


Opened = Callable[..., "asyncio.Future[Desk]"]


@asynccontextmanager
async def desk(**options: object) -> AsyncIterator[Desk]:
    listener = PushListener("desk", PushOptions(token=TOKEN, port=0, **options), ManualClock(NOW))  # type: ignore[arg-type]
    async with aiohttp.ClientSession() as client:
        result = Desk(listener, client)
        result.gate.set()
        running = asyncio.create_task(listener.run(result.accept))
        await listener.started.wait()
        try:
            yield result
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_one_many_and_lines_are_taken() -> None:
    async with desk() as here:
        assert here.listener.url.startswith("http://127.0.0.1:")
        status, answer = await here.post(GOOD)
        assert (status, answer["ids"]) == (202, [here.accepted[0].id])
        assert (await here.post([GOOD | {"title": "Two"}, GOOD | {"id": "x3", "title": "Three"}]))[0] == 202
        lines = b"\n".join(json.dumps(GOOD | {"title": f"Line {n}"}).encode() for n in range(500)) + b"\n"
        assert len((await here.post(lines))[1]["ids"]) == 500  # type: ignore[arg-type]
        assert (await here.post(gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"))[0] == 202
        first = here.accepted[0]
        assert (first.title, first.source, first.fetched_at) == ("Bank fails", "desk", NOW)
        assert here.accepted[-1].id == first.id  # sent again, the same article
        assert here.accepted[2].id == "x3"


async def test_a_missing_time_or_source_is_filled_in() -> None:
    async with desk() as here:
        await here.post({"title": "Now"})
        assert (here.accepted[0].published_at, here.accepted[0].source) == (NOW, "desk")
        await here.post({"title": "Soon", "published_at": "2026-03-02T09:02:00Z"})
        assert here.accepted[1].published_at == NOW


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "é" * 20])
async def test_without_the_token_nothing_is_taken(token: str | None) -> None:
    async with desk() as here:
        assert (await here.post(GOOD, token=token))[0] == 401
        assert here.accepted == []


@pytest.mark.parametrize(
    ("body", "item"),
    [
        ([GOOD, {"body": ""}], 1),
        ([GOOD, "text"], 1),
        ([GOOD, GOOD, {"title": 5}], 2),
        ([GOOD | {"published_at": "soon"}], 0),
        ([GOOD | {"published_at": "9999-12-31T00:00:00Z"}], 0),
        ([GOOD | {"published_at": "0001-01-01T00:00:00Z"}], 0),
        (b'{"title": "a"}\n{"title": broken}', 1),
        (b'{"title": "a"', None),
        (b"\xff\xfe", None),
        (b"", None),
        (b"[]", None),
        (b"[" * 100_000, None),
    ],
)
async def test_a_bad_item_is_named_and_nothing_is_taken(body: object, item: int | None) -> None:
    async with desk() as here:
        status, answer = await here.post(body)
        assert (status, answer.get("item")) == (400, item)
        assert answer["error"]
        assert here.accepted == []


async def test_caps() -> None:
    async with desk(max_body=2_000, max_items=3) as here:
        assert (await here.post([GOOD] * 4))[0] == 413
        assert (await here.post(b" " * 3_000))[0] == 413
        assert (await here.post(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"))[0] == 413
        assert (await here.post([GOOD] * 3))[0] == 202


async def test_a_full_desk_asks_to_come_back_and_answers_only_when_durable() -> None:
    async with desk(max_in_flight=2) as here:
        here.gate.clear()
        first = [asyncio.create_task(here.post(GOOD)) for _ in range(2)]
        while here.waiting < 2:
            await asyncio.sleep(0)
        status, answer = await here.post(GOOD)
        assert (status, answer["retry"]) == (429, "2")
        assert not any(task.done() for task in first)
        here.gate.set()
        assert [(await task)[0] for task in first] == [202, 202]


async def test_a_store_that_fails_or_hangs_is_a_503_without_its_secrets() -> None:
    async with desk(accept_timeout=0.1) as here:
        here.failure = DiskFullError("No room on /var/lib/riskwire.")
        status, answer = await here.post(GOOD)
        assert (status, answer["retry"]) == (503, "2")
        assert "/var" not in json.dumps(answer)
        here.gate.clear()
        assert (await here.post(GOOD))[0] == 503


async def test_a_slow_body_is_given_up() -> None:
    async with desk(body_timeout=0.1) as here:
        never = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            await never.wait()

        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with here.client.post(f"{here.listener.url}/v1/articles", data=body(), headers=headers) as answer:
            assert answer.status == 408
            never.set()


async def test_on_shutdown_requests_in_flight_are_finished() -> None:
    async with aiohttp.ClientSession() as client:
        listener = PushListener("desk", PushOptions(token=TOKEN, port=0), ManualClock(NOW))
        here = Desk(listener, client)
        running = asyncio.create_task(listener.run(here.accept))
        await listener.started.wait()
        request = asyncio.create_task(here.post(GOOD))
        while not here.waiting:
            await asyncio.sleep(0)
        running.cancel()
        while listener.started.is_set():
            await asyncio.sleep(0)
        here.gate.set()
        assert (await request)[0] == 202
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(aiohttp.ClientConnectorError):
            await here.post(GOOD)


async def test_a_taken_port_is_named() -> None:
    async with desk() as here:
        port = int(here.listener.url.rsplit(":", 1)[1])
        second = PushListener("second", PushOptions(token=TOKEN, port=port), ManualClock(NOW))
        with pytest.raises(SourceError) as caught:
            await second.run(here.accept)
        assert (caught.value.code, str(port) in str(caught.value)) == ("listen", True)


def test_options(tmp_path: Path, context: ConnectorContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(**options: object) -> PushListener:
        return build(SourceSpec(name="desk", kind="push", options=options), context)

    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("DESK_TOKEN", TOKEN)
    for good in ({"token": TOKEN}, {"token_file": str(tmp_path / "token")}, {"token_env": "DESK_TOKEN"}):
        assert made(**good)._expected == f"Bearer {TOKEN}".encode()
    for bad, message in (
        ({}, "exactly one"),
        ({"token": TOKEN, "token_env": "DESK_TOKEN"}, "exactly one"),
        ({"token": "short"}, "at least 16"),
        ({"token_file": str(tmp_path / "none")}, "cannot be read"),
        ({"token_env": "NO_SUCH_VARIABLE"}, "is not set"),
        ({"token": TOKEN, "host": "example.org"}, "'host'"),
        ({"token": TOKEN, "port": 70_000}, "'port'"),
        ({"token": TOKEN, "tokens": "x"}, "Did you mean"),
    ):
        with pytest.raises(ConfigError, match="Source 'desk'") as caught:
            made(**bad)
        assert message in str(caught.value)
        assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(PushOptions(token=TOKEN))
