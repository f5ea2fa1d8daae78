"""Parser processes: killed at their deadline, replaced after a crash, bounded in memory, gone with the pool."""

from __future__ import annotations

import asyncio

import pytest

from connectors.workers import WorkerPool
from monitor.core.errors import MalformedError, SourceError, TooLargeError

PARSE = "connectors.feed.parse:parse_for_worker"
GOOD = b"<rss version='2.0'><channel><title>t</title><item><title>News</title></item></channel></rss>"
ARGS = {"url": "http://127.0.0.1/feed", "headers": {}}
# feedparser looks for entity declarations with an expression that is quadratic in the white space before the root.
RUNAWAY = b"<?xml version='1.0'?>" + b"\n" * 2_000_000 + GOOD


async def titles(pool: WorkerPool, body: bytes, deadline: float = 20.0) -> list[str]:
    result = await pool.call(PARSE, ARGS, body, deadline=deadline, what="test")
    return [item["title"] for item in result["entries"]]


async def test_a_worker_parses_and_is_used_again() -> None:
    async with WorkerPool(size=1) as pool:
        assert await titles(pool, GOOD) == ["News"]
        (worker,) = pool._idle
        assert await titles(pool, GOOD) == ["News"]
        assert pool._idle == [worker]
    assert worker.process.returncode is not None


async def test_a_runaway_parser_is_killed_and_the_loop_stays_free() -> None:
    async with WorkerPool(size=1) as pool:
        await titles(pool, GOOD)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(SourceError) as caught:
            await titles(pool, RUNAWAY, deadline=0.5)
        ticking.cancel()
        assert caught.value.code == "parse_timeout"
        assert ticks > 3
        assert await titles(pool, GOOD) == ["News"]


async def test_a_worker_that_dies_is_named_and_replaced() -> None:
    async with WorkerPool(size=1) as pool:
        await titles(pool, GOOD)
        pool._idle[0].process.kill()
        await pool._idle[0].process.wait()
        with pytest.raises(SourceError) as caught:
            await titles(pool, GOOD)
        assert caught.value.code == "parse_crash"
        assert await titles(pool, GOOD) == ["News"]


async def test_memory_is_limited() -> None:
    async with WorkerPool(size=1, memory=250 * 1024 * 1024) as pool:
        body = b'{"items":[' + b"{}," * 4_000_000 + b"{}]}"
        with pytest.raises(SourceError) as caught:
            await titles(pool, body, deadline=60)
        assert caught.value.code in ("too_large", "parse_crash")
        assert isinstance(caught.value, TooLargeError | SourceError)
        assert await titles(pool, GOOD) == ["News"]


async def test_errors_keep_their_type_code_and_hint() -> None:
    async with WorkerPool(size=1) as pool:
        with pytest.raises(MalformedError) as caught:
            await titles(pool, b"<html><body>no feed</body></html>")
        assert (caught.value.code, caught.value.message[:6]) == ("not_a_feed", "test: ")
        assert caught.value.hint


async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next() -> None:
    async with WorkerPool(size=1) as pool:
        await titles(pool, GOOD)
        call = asyncio.create_task(titles(pool, RUNAWAY))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await titles(pool, GOOD) == ["News"]


async def test_workers_are_recycled() -> None:
    async with WorkerPool(size=1, recycle=1) as pool:
        assert await titles(pool, GOOD) == ["News"]
        assert pool._idle == []


async def test_only_functions_of_the_connectors_can_be_called() -> None:
    async with WorkerPool(size=1) as pool:
        with pytest.raises(SourceError, match="not a function of the connectors"):
            await pool.call("os:system", {}, b"", deadline=5, what="test")


async def test_a_closed_pool_says_so() -> None:
    pool = WorkerPool(size=1)
    await pool.close()
    with pytest.raises(SourceError, match="shut down"):
        await titles(pool, GOOD)
