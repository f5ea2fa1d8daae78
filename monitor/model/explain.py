"""Which words moved a verdict: leave-one-out occlusion. Works with every engine, needs no gradients.

A word's weight for a label is the label's probability with the word minus that without it (Li, Monroe and Jurafsky,
"Understanding Neural Networks through Representation Erasure", 2016), in one batch of as many texts as there are words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Tokenizer

from monitor.core.text import has_han

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
    return [f"{text[: word.start]} {text[word.end :]}" for word in words]
