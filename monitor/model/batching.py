"""Batches for inference: by token budget, length-sorted, closed by the first item's deadline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from monitor.core.errors import ModelError

ResultT = TypeVar("ResultT")
Tokens = Sequence[int]

WINDOW = 8
"""How many budgets' worth of queued texts are sorted together: the larger, the less padding, the less fair."""


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices in batches of like length; in each, longest length times size stays within ``token_budget``.

    A text longer than the budget goes alone. Every index occurs exactly once. Raises ValueError on a budget < 1.
    """
    if token_budget < 1:
        raise ValueError("the token budget must be at least 1")
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # In ascending order the newcomer is the longest.
        if batch and lengths[index] * (len(batch) + 1) > token_budget:
            batches.append(batch)
            batch = []
        batch.append(index)
    if batch:
        batches.append(batch)
    return batches


def padding_ratio(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The part of all computed positions that is padding."""
    computed = sum(max((lengths[i] for i in batch), default=0) * len(batch) for batch in batches)
    return 1.0 - sum(lengths) / computed if computed else 0.0


@dataclass(slots=True)
class _Item(Generic[ResultT]):
    tokens: Tokens
    future: asyncio.Future[ResultT]
    deadline: float


class MicroBatcher(Generic[ResultT]):
    """Joins texts of concurrent callers into batches for one engine thread.

    A batch is closed when the queued tokens fill the budget, or when the first queued text has waited
    ``max_wait_seconds`` (real time), whichever is sooner. At most ``capacity`` texts wait; callers beyond that are held
    back. ``run`` is called in the one thread that owns the engine.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Tokens]], Sequence[ResultT]],
        *,
        token_budget: int,
        max_wait_seconds: float,
        capacity: int = 4096,
    ) -> None:
        if token_budget < 1 or capacity < 1 or max_wait_seconds < 0:
            raise ValueError("token_budget and capacity must be at least 1, max_wait_seconds at least 0")
        self._run = run
        self._budget = token_budget
        self._wait = max_wait_seconds
        self._capacity = capacity
        self._queue: deque[_Item[ResultT]] = deque()
        self._queued_tokens = 0
        self._changed = asyncio.Condition()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="riskwire-model")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self.batches = 0
        self.items = 0
        self.tokens = 0
        self.padded_tokens = 0
        self.told: Callable[[int, int, int, float], None] = lambda _texts, _tokens, _computed, _seconds: None
        """Called after each batch: texts, their tokens, tokens computed (padding included), real seconds."""

    async def submit(self, texts: Sequence[Tokens]) -> list[ResultT]:
        """Results in the order of ``texts``. Raises what ``run`` raised for the batch that a text was in, and
        ModelError after ``close``."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[ResultT]] = []
        try:
            for tokens in texts:
                async with self._changed:
                    while len(self._queue) >= self._capacity and not self._closed:
                        await self._changed.wait()
                    if self._closed:
                        raise ModelError("The scorer is closed.")
                    if self._worker is None:
                        self._worker = loop.create_task(self._work(), name="riskwire-micro-batcher")
                    future: asyncio.Future[ResultT] = loop.create_future()
                    futures.append(future)
                    self._queue.append(_Item(tokens=tokens, future=future, deadline=loop.time() + self._wait))
                    self._queued_tokens += len(tokens)
                    self._changed.notify_all()
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:  # after a failure or a cancellation nobody waits for the rest
                if not future.done():
                    future.cancel()
                elif not future.cancelled():
                    future.exception()  # seen

    async def close(self) -> None:
        """Finishes what is queued, then ends the thread. Idempotent."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        while items := await self._collect():
            plan = plan_batches([len(item.tokens) for item in items], self._budget)
            for indices in plan:
                batch = [items[i] for i in indices if not items[i].future.done()]
                if batch:
                    await self._predict(batch)

    async def _collect(self) -> list[_Item[ResultT]]:
        """The next window of texts; empty when closed and drained."""
        async with self._changed:
            while not self._queue and not self._closed:
                await self._changed.wait()
            while self._queue and self._queued_tokens < self._budget and not self._closed:
                if len(self._queue) >= self._capacity:
                    break
                try:
                    async with asyncio.timeout_at(self._queue[0].deadline):
                        await self._changed.wait()
                except TimeoutError:
                    break
            taken: list[_Item[ResultT]] = []
            tokens = 0
            while self._queue and (not taken or tokens < self._budget * WINDOW):
                item = self._queue.popleft()
                tokens += len(item.tokens)
                taken.append(item)
            self._queued_tokens -= tokens
            self._changed.notify_all()
            return taken

    async def _predict(self, batch: Sequence[_Item[ResultT]]) -> None:
        loop = asyncio.get_running_loop()
        texts = [item.tokens for item in batch]
        began = loop.time()
        self.batches += 1
        self.items += len(texts)
        self.tokens += sum(map(len, texts))
        self.padded_tokens += len(texts) * max(map(len, texts))
        try:
            pairs = list(zip(batch, await loop.run_in_executor(self._thread, self._run, texts), strict=True))
        except Exception as error:  # noqa: BLE001 - handed to those who wait for these texts
            for item in batch:
                if not item.future.done():
                    item.future.set_exception(error)
            return
        self.told(len(texts), sum(map(len, texts)), len(texts) * max(map(len, texts)), loop.time() - began)
        for item, result in pairs:
            if not item.future.done():
                item.future.set_result(result)
