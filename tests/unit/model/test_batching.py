import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.errors import ModelError, ModelInputError
from monitor.model.batching import MicroBatcher, Tokens, padding_ratio, plan_batches

FOREVER = 3600.0


@given(st.lists(st.integers(1, 500), max_size=120), st.integers(1, 2000))
def test_every_text_once_within_the_budget_and_sorted(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat)
    assert 0 <= padding_ratio(lengths, batches) < 1


@given(st.lists(st.integers(1, 100), min_size=2, max_size=60))
def test_no_two_neighbouring_batches_would_fit_together(lengths: list[int]) -> None:
    budget = 200
    batches = plan_batches(lengths, budget)
    for one, two in pairwise(batches):
        assert lengths[two[0]] * (len(one) + 1) > budget


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        plan_batches([1], 0)


class Recorder:
    """Answers each text with its sum; remembers the batches and the threads."""

    def __init__(self) -> None:
        self.batches: list[list[Tokens]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, batch: Sequence[Tokens]) -> Sequence[int]:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append(list(batch))
        if any(-1 in row for row in batch):
            raise ModelInputError("bad text")
        return [sum(row) for row in batch]


async def test_a_full_budget_does_not_wait_for_the_deadline() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=6, max_wait_seconds=FOREVER)
    assert await batcher.submit([[1, 2], [3, 4], [5, 6]]) == [3, 7, 11]
    await batcher.close()
    assert len(run.batches) == 1


async def test_concurrent_callers_share_a_batch() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=8, max_wait_seconds=FOREVER)
    results = await asyncio.gather(*(batcher.submit([[n, n]]) for n in range(4)))
    assert results == [[0], [2], [4], [6]]
    assert len(run.batches) == 1
    assert len(run.threads) == 1
    await batcher.close()


async def test_a_lonely_text_goes_at_its_deadline() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=1000, max_wait_seconds=0.01)
    assert await batcher.submit([[1]]) == [1]
    await batcher.close()


async def test_no_text_is_no_work() -> None:
    batcher = MicroBatcher(Recorder(), token_budget=10, max_wait_seconds=FOREVER)
    assert await batcher.submit([]) == []
    await batcher.close()


async def test_batches_hold_to_the_budget_and_answers_keep_their_order() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=64, max_wait_seconds=0.005)
    texts = [[1] * (1 + (n * 7) % 40) for n in range(300)]
    assert await batcher.submit(texts) == [len(row) for row in texts]
    for batch in run.batches:
        assert len(batch) == 1 or max(map(len, batch)) * len(batch) <= 64
    assert batcher.items == 300
    assert batcher.tokens == sum(map(len, texts))
    assert batcher.padded_tokens >= batcher.tokens
    await batcher.close()


async def test_the_queue_is_bounded_and_callers_beyond_it_are_held_back() -> None:
    run = Recorder()
    run.gate.clear()
    batcher = MicroBatcher(run, token_budget=1, max_wait_seconds=0.0, capacity=3)
    first = asyncio.create_task(batcher.submit([[1]]))
    await asyncio.to_thread(run.entered.wait, 10)  # the engine is busy with the first text
    flood = asyncio.create_task(batcher.submit([[n] for n in range(50)]))
    for _ in range(200):
        await asyncio.sleep(0)
        assert len(batcher._queue) <= 3
    assert len(batcher._queue) == 3
    run.gate.set()
    assert await first == [1]
    assert await flood == list(range(50))
    await batcher.close()


async def test_capacity_smaller_than_the_budget_does_not_stall() -> None:
    batcher = MicroBatcher(Recorder(), token_budget=1000, max_wait_seconds=FOREVER, capacity=2)
    assert await batcher.submit([[1], [2]]) == [1, 2]
    await batcher.close()


async def test_a_failing_batch_fails_its_own_callers_only() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=2, max_wait_seconds=0.0)
    results = await asyncio.gather(
        batcher.submit([[1, 1]]), batcher.submit([[-1, 0]]), batcher.submit([[2, 2]]), return_exceptions=True
    )
    assert results[0] == [2]
    assert isinstance(results[1], ModelInputError)
    assert results[2] == [4]
    await batcher.close()


async def test_an_engine_that_answers_too_little_is_an_error_not_a_hang() -> None:
    batcher = MicroBatcher(lambda _batch: [], token_budget=1, max_wait_seconds=0.0)
    with pytest.raises(ValueError, match="zip"):
        await batcher.submit([[1]])
    await batcher.close()


async def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    run = Recorder()
    run.gate.clear()
    batcher = MicroBatcher(run, token_budget=1, max_wait_seconds=0.0)
    busy = asyncio.create_task(batcher.submit([[1]]))
    await asyncio.to_thread(run.entered.wait, 10)
    given_up, kept = asyncio.create_task(batcher.submit([[2]])), asyncio.create_task(batcher.submit([[3]]))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    run.gate.set()
    assert await busy == [1]
    assert await kept == [3]
    assert [[2]] not in run.batches
    await batcher.close()


async def test_close_finishes_what_is_queued_and_refuses_the_rest() -> None:
    run = Recorder()
    batcher = MicroBatcher(run, token_budget=1000, max_wait_seconds=FOREVER)
    waiting = asyncio.create_task(batcher.submit([[4], [5]]))
    await asyncio.sleep(0)
    await batcher.close()
    assert await waiting == [4, 5]
    with pytest.raises(ModelError, match="closed"):
        await batcher.submit([[1]])
    await batcher.close()


def test_senseless_settings_are_refused() -> None:
    for settings in ({"token_budget": 0}, {"capacity": 0}, {"max_wait_seconds": -1.0}):
        with pytest.raises(ValueError, match="at least"):
            MicroBatcher(Recorder(), **{"token_budget": 1, "max_wait_seconds": 0.0, **settings})  # type: ignore[arg-type]
