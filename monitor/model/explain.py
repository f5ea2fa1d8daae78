"""Which words moved a verdict: the units that are weighed, the variants of a text without some of them, the answer.

How the variants' probabilities become weights is in :mod:`monitor.model.attribution`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from monitor.core.text import has_han
from monitor.core.types import WordWeight
from monitor.model.attribution import MAX_VARIANTS, Plan, Planner
from monitor.model.preprocess import Preprocessing, width

MAX_UNITS = 96
"""The words from the start of a text that are weighed; what lies behind them gets no weight."""
_UNIT = re.compile(r"[㐀-䶿一-鿿豈-﫿]+|\$?[^\W_㐀-䶿一-鿿豈-﫿]+(?:[.,'’&%/-][^\W_㐀-䶿一-鿿豈-﫿]+)*%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A word, or a group of Chinese characters, with its place in the text."""

    word: str
    start: int
    end: int


def units(text: str, tokenizer: Tokenizer, *, limit: int = MAX_UNITS) -> list[Unit]:
    """Words of ``text`` in order. A run of Chinese characters is divided where the tokenizer divides it."""
    found: list[Unit] = []
    for match in _UNIT.finditer(text):
        start, word = match.start(), match.group()
        if not has_han(word):
            found.append(Unit(word=word, start=start, end=match.end()))
        else:
            found.extend(_groups(word, start, tokenizer))
        if len(found) >= limit:
            break
    return found[:limit]


def _groups(run: str, offset: int, tokenizer: Tokenizer) -> list[Unit]:
    ends = sorted({end for _, end in tokenizer.encode(run, add_special_tokens=False).offsets if 0 < end < len(run)})
    # Behind the tokenizer's cut nothing is divided; the model does not see it either.
    edges = [0, *ends, len(run)]
    return [Unit(word=run[a:b], start=offset + a, end=offset + b) for a, b in pairwise(edges)]


def occlusions(text: str, words: Sequence[Unit]) -> list[str]:
    """The text without each of the words in turn."""
    return [variant(text, [word]) for word in words]


def variant(text: str, dropped: Sequence[Unit], *, filler: str = "") -> str:
    """The text without the ``dropped`` units (in text order), or with ``filler`` in the place of each.

    A dropped word leaves a space; dropped Chinese characters leave none, since Chinese is written without.
    """
    pieces: list[str] = []
    end = 0
    for unit in dropped:
        pieces += [text[end : unit.start], f" {filler} " if filler else "" if has_han(unit.word) else " "]
        end = unit.end
    return "".join(pieces) + text[end:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the words of a text did for one label, in text order. Offsets are into :attr:`Reading.text`."""

    label: str
    words: tuple[WordWeight, ...]

    def strongest(self, count: int | None) -> tuple[WordWeight, ...]:
        """The ``count`` words that weighed most either way, strongest first; all when None."""
        return tuple(sorted(self.words, key=lambda word: -abs(word.weight))[:count])

    def to_dict(self, count: int | None = None) -> dict[str, object]:
        """The JSON form: the label, and the ``count`` strongest words (all when None) with signed weights."""
        return {
            "label": self.label,
            "words": [
                {"word": word.word, "start": word.start, "end": word.end, "weight": round(word.weight, 6) + 0.0}
                for word in self.strongest(count)
            ],
        }


class Reading:
    """What the model reads of an article, and its variants without some of the words.

    ``text`` is the title, and the start of the body on a second line where the model reads that too: offsets into it
    are offsets into ``Article.text``. What lies behind the model's own cut is not in it.
    """

    def __init__(self, title: str, body: str, steps: Preprocessing) -> None:
        # Whether the body is read is settled by the whole title: a variant must not bring it in.
        both = bool(body) and width(steps.text(title)) < steps.short_title
        self._steps = replace(steps, short_title=2**31 if both else 0)
        self._title = title if both else title[: steps.max_chars * 2]
        self._body = body[: steps.body_chars * 4] if both else ""
        self.text = f"{self._title}\n{self._body}" if self._body else self._title
        self.whole = self._steps.article(self._title, self._body)

    def units(self, tokenizer: Tokenizer) -> list[Unit]:
        """The words that are weighed: those of the text's start."""
        return units(self.text, tokenizer)

    def without(self, dropped: Sequence[Unit]) -> str:
        """The prepared text without these units (in text order)."""
        edge = len(self._title)
        title = variant(self._title, [unit for unit in dropped if unit.end <= edge])
        shift = edge + 1
        moved = [replace(unit, start=unit.start - shift, end=unit.end - shift) for unit in dropped if unit.end > edge]
        return self._steps.article(title, variant(self._body, moved))


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A reading cut into units, with the prepared variants whose probabilities answer how much each unit weighs.

    ``texts`` are in the order of the plan's rows; equal ones may occur.
    """

    words: tuple[Unit, ...]
    plan: Plan
    texts: tuple[str, ...]

    def explanation(self, label: str, values: NDArray[np.float64]) -> Explanation:
        """From the probabilities of ``label`` in the order of ``texts``."""
        weights = self.plan.weights(values[:, None])[:, 0].tolist()
        return Explanation(
            label=label,
            words=tuple(
                WordWeight(word=unit.word, weight=weight, start=unit.start, end=unit.end)
                for unit, weight in zip(self.words, weights, strict=True)
            ),
        )


def ask(reading: Reading, tokenizer: Tokenizer, planner: Planner) -> Questions | None:
    """What the model is to be asked to explain a reading; None when it holds no word.

    At most ``MAX_VARIANTS`` texts: where the planner wants more, fewer words, from the start, are weighed.
    """
    words = reading.units(tokenizer)
    while words:
        plan = planner(len(words))
        if len(plan.masks) <= MAX_VARIANTS:
            break
        words = words[: len(words) * 3 // 4]
    else:
        return None
    everything = np.ones(len(words), bool)
    texts = [
        reading.whole
        if (mask == everything).all()
        else reading.without([unit for unit, kept in zip(words, mask, strict=True) if not kept])
        for mask in plan.masks
    ]
    return Questions(words=tuple(words), plan=plan, texts=tuple(texts))


Labels = Mapping[str, str]
"""Task → the label that is to be explained."""
