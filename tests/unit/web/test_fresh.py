"""Answers kept for a moment."""

from __future__ import annotations

import asyncio

import pytest

from monitor.core.errors import StorageError
from monitor.web.fresh import Fresh


class Asked:
    """Counts how often it is asked; answers when it is let, ``seconds`` later by the clock of the test."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.times, self.now, self.seconds = 0, 0.0, seconds
        self.let = asyncio.Event()
        self.let.set()

    async def __call__(self) -> int:
        self.times += 1
        await self.let.wait()
        self.now += self.seconds
        return self.times


async def test_an_answer_is_kept_for_as_long_as_it_was_dear():
    asked = Asked(seconds=0.5)
    fresh = Fresh(now=lambda: asked.now)
    assert [await fresh.get("x", asked) for _ in range(3)] == [1, 1, 1]
    asked.now += 9.9
    assert await fresh.get("x", asked) == 1
    asked.now += 0.2
    assert await fresh.get("x", asked) == 2
    assert await fresh.get("y", asked) == 3


async def test_everybody_who_asks_at_once_shares_one_answer():
    asked = Asked()
    asked.let.clear()
    fresh = Fresh(now=lambda: asked.now)
    waiting = [asyncio.create_task(fresh.get("x", asked)) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    asked.let.set()
    assert await asyncio.gather(*waiting[1:]) == [1] * 9


async def test_a_failure_is_not_kept_and_the_table_is_bounded():
    asked = Asked()
    fresh = Fresh(entries=3, now=lambda: asked.now)

    async def fails() -> int:
        raise StorageError("away")

    with pytest.raises(StorageError):
        await fresh.get("x", fails)
    assert await fresh.get("x", asked) == 1
    for key in range(10):
        await fresh.get(key, asked)
    assert len(fresh._kept) == 3
    assert await fresh.get("x", asked) == 12
