"""Clocks: they never go back, and a held one stands still."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from doubles import START

from monitor.core.clock import FastClock, ManualClock, SystemClock


async def test_a_fast_clock_runs_up_to_its_horizon_and_goes_on_from_there() -> None:
    first = START + timedelta(hours=1)
    clock = FastClock(START, 100_000, horizon=first)
    async with asyncio.timeout(60):
        while clock.now() < first:
            await clock.sleep(60)
    await clock.sleep(3600)
    assert clock.now() == first
    clock.extend(START)
    assert clock.now() == first
    clock.extend(START + timedelta(days=30))
    began = clock.now()
    assert first <= began < first + timedelta(days=1)
    async with asyncio.timeout(60):
        while clock.now() < START + timedelta(days=30):
            await clock.sleep(3600)
    assert clock.now() == START + timedelta(days=30)


async def test_a_manual_clock_moves_when_told_and_never_back() -> None:
    clock = ManualClock(START)
    await clock.sleep(60)
    clock.advance(5)
    assert clock.now() == START + timedelta(seconds=65)
    with pytest.raises(ValueError, match="does not go back"):
        clock.set(START)


def test_real_time_is_aware_and_rates_are_positive() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="positive"):
        FastClock(START, 0)
