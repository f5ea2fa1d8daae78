"""The scorer: articles in, scored articles out. Micro-batches over concurrent callers, and caches results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.core.clock import Clock
from monitor.core.errors import ModelError, ModelInputError, UsageError
from monitor.core.ids import digest
from monitor.core.types import Article, EntityMention, Scored, Scores, WordWeight
from monitor.model.artefact import Artefact
from monitor.model.attribution import DEFAULT_METHOD, METHODS
from monitor.model.batching import MicroBatcher, Tokens
from monitor.model.cache import LruCache
from monitor.model.doubt import Doubter
from monitor.model.engines.base import TokenEngine, check_tasks, to_scores
from monitor.model.explain import Explanation, Labels, Questions, Reading, ask

ResultT = TypeVar("ResultT")
Rows = dict[str, NDArray[np.float64]]
"""One text's probabilities: task → row."""
GIVEN = "given"
"""The model's name for articles that arrived scored and do not say by what."""
EXPLAIN_PIECE = 64
"""Texts that explanations have in the engine's queue at a time: what is to be scored waits behind no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    text: str
    entities: tuple[EntityMention, ...]
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerStats:
    """Counters since the start, for metrics."""

    batches: int
    texts: int
    tokens: int
    padded_tokens: int
    cache_hits: int
    cache_misses: int


class ModelScorer:
    """Implements :class:`monitor.core.ports.Scorer` and :class:`monitor.core.ports.Explainer`.

    ``find_entities`` and ``signature`` are pure functions of an article; they and the tokenizer run in one thread
    beside the engine's. Texts wait at most ``max_wait_seconds`` for company, batches hold at most ``token_budget``
    tokens, at most ``capacity`` texts wait for the engine (callers beyond that are held back), and ``cache_size``
    results are kept by hash of the prepared text. With ``min_precision`` a verdict that is right less often than that,
    as measured on held-out texts, is marked as in doubt (ConfigError when the model cannot promise it).
    ``explain_method`` is one of :data:`monitor.model.attribution.METHODS`.
    """

    def __init__(
        self,
        *,
        engine: TokenEngine,
        artefact: Artefact,
        clock: Clock,
        find_entities: Callable[[Article], tuple[EntityMention, ...]] = lambda _article: (),
        signature: Callable[[Article], str] = lambda _article: "",
        token_budget: int = 4096,
        max_wait_seconds: float = 0.01,
        capacity: int = 4096,
        cache_size: int = 20_000,
        min_precision: float | None = None,
        explain_method: str = DEFAULT_METHOD,
    ) -> None:
        check_tasks(artefact)
        if explain_method not in METHODS:
            raise UsageError(
                f"There is no explanation method '{explain_method}'.", hint=f"Use one of: {', '.join(METHODS)}."
            )
        self._planner = METHODS[explain_method]
        self._explaining = asyncio.Lock()
        if engine.model != artefact.id:
            raise ModelError(f"The engine runs {engine.model}, not {artefact.id}.")
        self.model = artefact.id
        self._engine = engine
        self._artefact = artefact
        self._clock = clock
        self._find_entities = find_entities
        self._signature = signature
        self._batcher: MicroBatcher[Rows] = MicroBatcher(
            self._run,
            token_budget=min(token_budget, engine.token_budget),
            max_wait_seconds=max_wait_seconds,
            capacity=capacity,
        )
        self._cache: LruCache[Rows] = LruCache(cache_size)
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="riskwire-prepare")
        self._doubter = Doubter(artefact, min_precision=min_precision)
        self._closed = False

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        """In the order of the articles; those that carry scores skip the model.

        Raises ModelInputError, naming the article, when one has nothing to read; ModelError after ``close``.
        """
        prepared = await self._aside(self._prepare, articles)
        wanted = [item.text for article, item in zip(articles, prepared, strict=True) if article.scores is None]
        rows = iter(await self._predict(wanted))
        now = self._clock.now()
        results: list[Scored] = []
        for article, item in zip(articles, prepared, strict=True):
            given = article.scores
            scores = to_scores(self._artefact, next(rows)) if given is None else given
            results.append(
                Scored(
                    article_id=article.id,
                    model=self.model if given is None else article.model or GIVEN,
                    scores=scores,
                    entities=item.entities,
                    story_signature=item.signature,
                    scored_at=now,
                    doubts=self._doubter.doubts(scores, item.text) if given is None else (),
                )
            )
        return results

    async def predict(self, text: str) -> Scores:
        """Scores of a text on its own. Raises ModelInputError when it has nothing to read."""
        prepared = await self._aside(self._readable, text)
        return to_scores(self._artefact, (await self._predict([prepared]))[0])

    async def explain(self, texts: Sequence[str], *, task: str, label: str) -> Sequence[Sequence[WordWeight]]:
        """How much each word of a text (from its start) moved ``label`` of ``task``, in probability, for each of the
        texts. Offsets are into the text. Raises UsageError on an unknown task or label."""
        wanted = {task: label}
        self._check_labels(wanted)
        return [
            found[task].words for found in await self._explain([(text, "") for text in texts], [wanted] * len(texts))
        ]

    async def explain_articles(
        self, articles: Sequence[Article], labels: Sequence[Labels]
    ) -> list[Mapping[str, Explanation]]:
        """For each article the words behind these labels (task → label), by task. Offsets are into ``Article.text``.

        The texts of all are asked in common batches, but never more than a few at a time: scoring comes first. Raises
        UsageError on an unknown task or label.
        """
        for wanted in labels:
            self._check_labels(wanted)
        return await self._explain([(article.title, article.body) for article in articles], labels)

    def _check_labels(self, labels: Labels) -> None:
        for task, label in labels.items():
            spec = self._artefact.tasks.get(task)
            if spec is None or label not in spec.labels:
                raise UsageError(f"{self.model} has no label '{label}' of a task '{task}'.")

    async def _explain(
        self, texts: Sequence[tuple[str, str]], labels: Sequence[Labels]
    ) -> list[Mapping[str, Explanation]]:
        def cut() -> list[Questions | None]:
            steps = self._artefact.preprocessing
            return [ask(Reading(title, body, steps), self._engine.tokenizer, self._planner) for title, body in texts]

        questions = await self._aside(cut)
        variants = list(dict.fromkeys(text for one in questions if one is not None for text in one.texts))
        rows: dict[str, Rows] = {}
        for start in range(0, len(variants), EXPLAIN_PIECE):
            piece = variants[start : start + EXPLAIN_PIECE]
            async with self._explaining:
                rows |= zip(piece, await self._predict(piece, cached=False), strict=True)
        found: list[Mapping[str, Explanation]] = []
        for one, wanted in zip(questions, labels, strict=True):
            by_task: dict[str, Explanation] = {}
            for task, label in wanted.items():
                if one is None:
                    by_task[task] = Explanation(label=label, words=())
                    continue
                column = self._artefact.tasks[task].labels.index(label)
                values = np.array([rows[text][task][column] for text in one.texts], dtype=np.float64)
                by_task[task] = one.explanation(label, values)
            found.append(by_task)
        return found

    def display(self, task: str, label: str) -> str:
        """A label's English name; labels of other models stand for themselves."""
        spec = self._artefact.tasks.get(task)
        return spec.display(label) if spec is not None and label in spec.labels else label

    @property
    def stats(self) -> ScorerStats:
        """Counters since the start."""
        return ScorerStats(
            batches=self._batcher.batches,
            texts=self._batcher.items,
            tokens=self._batcher.tokens,
            padded_tokens=self._batcher.padded_tokens,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
        )

    def on_batch(self, told: Callable[[int, int, int, float], None]) -> None:
        """``told`` is called after each micro-batch: texts, their tokens, tokens computed (padding included), real
        seconds. It must not block."""
        self._batcher.told = told

    async def close(self) -> None:
        """Finishes what is under way and ends the threads. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await self._batcher.close()
        await asyncio.to_thread(self._beside.shutdown)
        self._engine.close()

    async def _aside(self, work: Callable[..., ResultT], *args: object) -> ResultT:
        if self._closed:
            raise ModelError("The scorer is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._beside, work, *args)

    def _prepare(self, articles: Sequence[Article]) -> list[_Prepared]:
        prepared: list[_Prepared] = []
        for article in articles:
            text = ""
            if article.scores is None:
                text = self._artefact.preprocessing.article(article.title, article.body)
                if not text:
                    raise ModelInputError(
                        f"Article {article.id} of {article.source} has nothing to read in its title or body.",
                        hint="Give it a title.",
                    )
            prepared.append(
                _Prepared(text=text, entities=self._find_entities(article), signature=self._signature(article))
            )
        return prepared

    def _readable(self, text: str) -> str:
        prepared = self._artefact.preprocessing.readable(text)
        if not prepared:
            raise ModelInputError("The text has nothing to read in it.")
        return prepared

    async def _predict(self, texts: Sequence[str], *, cached: bool = True) -> list[Rows]:
        """Probabilities in the order of the prepared texts; equal texts are computed once."""
        keys = [digest(text) for text in texts]
        rows: dict[str, Rows] = {}
        missing: dict[str, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key in rows or key in missing:
                continue
            known = self._cache.get(key) if cached else None
            if known is None:
                missing[key] = text
            else:
                rows[key] = known
        if missing:
            tokens: list[Tokens] = list(await self._aside(self._engine.tokens, list(missing.values())))
            for key, result in zip(missing, await self._batcher.submit(tokens), strict=True):
                rows[key] = result
                if cached:
                    self._cache.put(key, result)
        return [rows[key] for key in keys]

    def _run(self, batch: Sequence[Tokens]) -> Sequence[Rows]:
        table = self._engine.probabilities(batch)
        return [{task: rows[i] for task, rows in table.items()} for i in range(len(batch))]
