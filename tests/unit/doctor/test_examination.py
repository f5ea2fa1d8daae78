"""Checks run side by side; one that hangs, fails or breaks says so and holds nobody up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from monitor.core.errors import StorageError
from monitor.doctor.examination import examine
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, fail, ok


def _check(part: str, *verdicts: Verdict, limit: float = 5.0) -> Check:
    async def look() -> Sequence[Verdict]:
        return verdicts

    return Check(part=part, look=look, limit=limit)


async def test_verdicts_come_in_the_order_of_the_checks() -> None:
    found = await examine([_check("a", ok("a", "1"), ok("a", "2")), _check("b", ok("b", "3"))])
    assert [verdict.finding for verdict in found.verdicts] == ["1", "2", "3"]
    assert found.hung == ()


async def test_checks_run_at_the_same_time_but_no_more_than_allowed() -> None:
    running, most = 0, 0
    all_in = asyncio.Event()

    async def look() -> Sequence[Verdict]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            all_in.set()
        await all_in.wait()  # ends only when three are in at once
        running -= 1
        return []

    checks = [Check(part=str(n), look=look) for n in range(9)]
    assert (await examine(checks, at_once=3)).hung == ()
    assert most == 3


async def test_one_that_hangs_is_reported_with_its_next_step_and_the_others_are_heard() -> None:
    async def never() -> Sequence[Verdict]:
        await asyncio.Event().wait()
        return []

    hanging = Check(part="broker", look=never, limit=0.05, remedy="Restart it.")
    found = await examine([hanging, _check("b", ok("b", "fine"))])
    assert found.verdicts == [fail("broker", "No answer within 0.05 seconds.", "Restart it."), ok("b", "fine")]
    assert found.hung == ("broker",)


async def test_one_that_will_not_be_cancelled_is_left_behind() -> None:
    release = asyncio.Event()

    async def stubborn() -> Sequence[Verdict]:
        try:
            await release.wait()
        finally:
            await release.wait()
        return []

    began = time.monotonic()
    found = await examine([Check(part="x", look=stubborn, limit=0.05)])
    assert time.monotonic() - began < 4
    assert found.hung == ("x",)
    release.set()


async def test_the_time_of_a_check_begins_when_it_starts() -> None:
    async def slowish() -> Sequence[Verdict]:
        await asyncio.sleep(0.2)
        return [ok("x", "done")]

    found = await examine([Check(part="x", look=slowish, limit=0.9) for _ in range(6)], at_once=1)
    assert [verdict.status for verdict in found.verdicts] == ["ok"] * 6


async def test_errors_of_ours_carry_their_hint_and_foreign_ones_not_their_text() -> None:
    async def ours() -> Sequence[Verdict]:
        raise StorageError("No room.", hint="Free some.")

    async def foreign() -> Sequence[Verdict]:
        raise RuntimeError("postgresql://me:hunter2@db/x")

    found = await examine([Check(part="a", look=ours), Check(part="b", look=foreign)])
    assert found.verdicts[0] == fail("a", "No room.", "Free some.")
    assert found.verdicts[1].status == "fail"
    assert "RuntimeError" in found.verdicts[1].finding
    assert "hunter2" not in repr(found)


async def test_a_thread_gives_its_result_or_its_error() -> None:
    assert await in_thread(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)


async def test_a_thread_that_hangs_does_not_outlive_the_program() -> None:
    release, daemonic = threading.Event(), []

    def hang() -> None:
        daemonic.append(threading.current_thread().daemon)
        release.wait(30)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await in_thread(hang)
    assert daemonic == [True]
    release.set()
