"""Near-duplicate stories in arrival order.

A title is normalised (wire prefixes such as ``UPDATE 2-`` and ``RPT-`` removed, wire abbreviations spelled out), cut
into shingles (English: content words and pairs of neighbours; Chinese: character bigrams) and hashed. The signature is
the *bottom-k sketch* of the hashes (Bar-Yossef et al. 2002; Cohen & Kaplan 2007): titles have fewer than ``k``
shingles, so for them the sketch is the whole set and similarity is exact; for long texts it is an unbiased estimate.

Candidates come from MinHash bands (Broder 1997; Leskovec et al., *Mining of Massive Datasets*, ch. 3) and are verified
by Jaccard similarity of the sketches. The cost of an article does not depend on how many stories are kept.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any

import numpy as np

from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ids import digest
from monitor.core.types import Article, Story

SKETCH = 64
"""Hashes kept per signature. Titles have about 15."""
BANDS = 20
ROWS = 3
"""20 bands of 3: a pair of similarity 0.5 becomes a candidate with probability 0.93, 0.6: 0.99, 0.1: 0.02."""

_PREFIX = re.compile(
    r"^\s*(?:(?:update|wrapup|rpt|repeat|refile|corrected|correct|correction|official correction|clarification|recast|"
    r"exclusive|insight|analysis|factbox|timeline|brief|text|table|poll|preview|snapshot|highlights|instant view|"
    r"special report|breakingviews|column|feature|breaking news|breaking|just in|live|watch|video|"
    r"更新|重发|更正|快讯|独家|突发|综述|图说|财经|早报)\s*\d*\s*[-–—:：|]\s*)+",
    re.IGNORECASE,
)
_OUTLET = re.compile(
    r"\s+[-–—|]\s+(?:reuters|bbc news|bbc|cnbc|bloomberg|marketwatch|financial times|ft|wsj|the guardian|"
    r"yahoo finance|ap news|associated press|新华网|新浪财经|财新|路透)\s*$",
    re.IGNORECASE,
)
_TICKER = re.compile(r"<[^<>]{1,20}>|\((?:nyse|nasdaq|lse|hkex)\s*:[^)]{1,12}\)", re.IGNORECASE)
_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|\d+(?:[.,]\d+)*|[^\W\d_]+(?:\.[^\W\d_])*")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_POSSESSIVE = re.compile(r"['’]s\b|['’]")
_STOP = frozenset({
    "a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "from", "as", "with", "and", "or", "but", "is", "are",
    "was", "be", "been", "has", "have", "had", "will", "would", "it", "its", "that", "this", "s", "t", "after", "over",
    "into", "amid", "about", "than",
})  # fmt: skip
_SAME = {
    "govt": "government", "pct": "percent", "bln": "billion", "bn": "billion", "mln": "million", "mn": "million",
    "trln": "trillion", "tln": "trillion", "u.s": "us", "usa": "us", "u.k": "uk", "e.u": "eu", "u.n": "un",
    "cenbank": "centralbank", "c.bank": "centralbank", "fin": "finance", "min": "minister", "finmin": "financeminister",
    "pm": "primeminister", "co": "company", "cos": "companies", "corp": "company", "qtr": "quarter", "yr": "year",
    "q1": "firstquarter", "jan": "january", "feb": "february", "mar": "march", "apr": "april", "jun": "june",
    "jul": "july", "aug": "august", "sep": "september", "sept": "september", "oct": "october", "nov": "november",
    "dec": "december", "source": "sources", "sees": "see", "says": "say", "said": "say", "shrs": "shares",
    "nat": "national",
}  # fmt: skip


def base_title(title: str) -> str:
    """The title without wire prefixes, outlet suffix and tickers, folded to lower case."""
    text = unicodedata.normalize("NFKC", title[:600])
    text = _OUTLET.sub("", _PREFIX.sub("", text))
    return _POSSESSIVE.sub("", _TICKER.sub(" ", text)).casefold().strip(" .!-")


def content_words(title: str) -> set[str]:
    """What a title speaks of: its content words as the wire's abbreviations stand for, Chinese as pairs of characters;
    no numbers, nothing shorter than three letters."""
    return {
        part
        for part in _shingles(title)
        if " " not in part and (_HAN.match(part) or (len(part) > 2 and not any(c.isdigit() for c in part)))
    }


def _shingles(title: str) -> set[str]:
    words: list[str] = []
    grams: set[str] = set()
    for token in _TOKEN.findall(base_title(title)):
        if _HAN.match(token):
            grams.update(token[i : i + 2] for i in range(max(1, len(token) - 1)))
        elif token not in _STOP:
            words.append(_SAME.get(token, token).strip(".,"))
    grams.update(words)
    grams.update(f"{left} {right}" for left, right in pairwise(words))
    if not grams:
        bare = " ".join(title.casefold().split())
        grams.add(bare or "∅")
    return grams


@lru_cache(maxsize=200_000)
def _hash(shingle: str) -> int:
    return int.from_bytes(hashlib.blake2b(shingle.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")


def signature(article: Article) -> str:
    """The compact near-duplicate signature of an article's title (of its body's beginning when it has no title)."""
    hashes = sorted({_hash(shingle) for shingle in _shingles(article.title or article.body[:300])})[:SKETCH]
    return base64.b64encode(struct.pack(f">{len(hashes)}I", *hashes)).decode("ascii")


def _sketch(text: str) -> frozenset[int]:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise CodecError(f"A story signature is damaged: {text[:24]!r}.") from error
    if not raw or len(raw) % 4:
        raise CodecError(f"A story signature has a wrong length: {text[:24]!r}.")
    return frozenset(struct.unpack(f">{len(raw) // 4}I", raw))


def similarity(left: frozenset[int], right: frozenset[int]) -> float:
    """Jaccard similarity of two bottom-k sketches: exact for sets smaller than the sketch."""
    common = len(left & right)
    if len(left) < SKETCH and len(right) < SKETCH:
        return common / (len(left) + len(right) - common)
    union = sorted(left | right)[:SKETCH]
    return sum(1 for value in union if value in left and value in right) / len(union)


_generator = np.random.Generator(np.random.PCG64(20_240_229))
_MULTIPLY = _generator.integers(1, 2**61 - 1, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
_ADD = _generator.integers(0, 2**61 - 1, size=BANDS * ROWS, dtype=np.uint64)


def _bands(sketch: frozenset[int]) -> list[bytes]:
    """Band keys of a sketch: minima of ``BANDS * ROWS`` multiply-shift hashes (Dietzfelbinger et al. 1997)."""
    values = np.fromiter(sketch, dtype=np.uint64, count=len(sketch))
    minima = ((values[:, None] * _MULTIPLY + _ADD) >> np.uint64(32)).min(axis=0).astype(">u4").tobytes()
    size = 4 * ROWS
    return [bytes((band,)) + minima[band * size : (band + 1) * size] for band in range(BANDS)]


@dataclass(slots=True)
class _Entry:
    """A story as the index keeps it."""

    id: str
    title: str
    lang: str
    first_seen: datetime
    last_seen: datetime
    heat: int = 0
    sources: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    touched: int = 0
    sketches: list[frozenset[int]] = field(default_factory=list)
    bands: list[bytes] = field(default_factory=list)

    def story(self) -> Story:
        return Story(
            id=self.id,
            title=self.title,
            lang=self.lang,
            first_seen=self.first_seen,
            last_seen=self.last_seen,
            heat=self.heat,
            sources=tuple(self.sources),
        )


class StoryIndex:
    """Assigns articles to stories in arrival order, over a sliding window, with bounded memory.

    ``window``: a story that got no article for this long is forgotten. ``threshold``: Jaccard similarity from which a
    title belongs to a story (see docs/detector.md for how it was measured). ``limit``: most stories kept.
    """

    MEMBERS = 256
    SOURCES = 32
    VARIANTS = 4
    CROWD = 32
    """Newest stories of one band key that are looked at, so that a template title cannot slow the index down."""

    def __init__(
        self, *, window: timedelta = timedelta(hours=48), threshold: float = 0.6, limit: int = 100_000
    ) -> None:
        self.window = window
        self.threshold = threshold
        self.limit = limit
        self._stories: OrderedDict[str, _Entry] = OrderedDict()
        self._bands: dict[bytes, dict[str, None]] = {}
        self._by_article: dict[str, str] = {}
        self._number = 0
        self.changed: set[str] = set()
        """Ids of stories that changed or left since the owner last cleared this set."""

    def __len__(self) -> int:
        return len(self._stories)

    def __contains__(self, story_id: object) -> bool:
        return story_id in self._stories

    def story(self, story_id: str) -> Story | None:
        """The story, while it is in the window."""
        entry = self._stories.get(story_id)
        return entry.story() if entry else None

    def heat(self, story_id: str) -> int:
        """Number of articles of a story; 0 when it is forgotten."""
        entry = self._stories.get(story_id)
        return entry.heat if entry else 0

    def story_of(self, article_id: str) -> str | None:
        """Story id of an article that was assigned within the window."""
        return self._by_article.get(article_id)

    def assign(self, article: Article, at: datetime, sign: str = "") -> tuple[str, bool]:
        """Adds ``article``, seen at ``at``, to a story; returns the story id and whether the article was new.

        An article id that is already a member changes nothing. ``sign`` is :func:`signature` when already known.
        """
        known = self._by_article.get(article.id)
        if known is not None:
            return known, False
        self.expire(at)
        sign = sign or signature(article)
        sketch = _sketch(sign)
        bands = _bands(sketch)
        entry = self._match(sketch, bands)
        if entry is None:
            entry = _Entry(
                id=digest("story", article.id, size=10),
                title=article.title[:400],
                lang=article.lang,
                first_seen=at,
                last_seen=at,
            )
            self._stories[entry.id] = entry
        if sign not in entry.variants and len(entry.variants) < self.VARIANTS:
            self._number += 1
            self._add_variant(entry, self._number, sign, sketch, bands)
        entry.heat += 1
        entry.last_seen = max(entry.last_seen, at)
        self._stories.move_to_end(entry.id)
        self._number += 1
        entry.touched = self._number
        if article.source not in entry.sources and len(entry.sources) < self.SOURCES:
            entry.sources.append(article.source)
        entry.members.append(article.id)
        self._by_article[article.id] = entry.id
        if len(entry.members) > self.MEMBERS:
            self._by_article.pop(entry.members.pop(0), None)
        self.changed.add(entry.id)
        while len(self._stories) > self.limit:
            self._drop(next(iter(self._stories)))
        return entry.id, True

    def _match(self, sketch: frozenset[int], bands: Iterable[bytes]) -> _Entry | None:
        best: tuple[float, datetime, str] | None = None
        seen: set[str] = set()
        for band in bands:
            for story_id in islice(reversed(self._bands.get(band, {})), self.CROWD):
                if story_id in seen:
                    continue
                seen.add(story_id)
                entry = self._stories[story_id]
                score = max(similarity(sketch, other) for other in entry.sketches)
                if score >= self.threshold:
                    rank = (score, entry.last_seen, story_id)
                    best = rank if best is None or rank > best else best
        return self._stories[best[2]] if best else None

    def _add_variant(
        self, entry: _Entry, number: int, sign: str, sketch: frozenset[int], bands: Iterable[bytes]
    ) -> None:
        entry.variants.append(sign)
        entry.numbers.append(number)
        entry.sketches.append(sketch)
        for band in bands:
            crowd = self._bands.setdefault(band, {})
            if entry.id not in crowd:
                crowd[entry.id] = None
                entry.bands.append(band)

    def expire(self, now: datetime) -> None:
        """Forgets stories without an article since ``now - window``."""
        limit = now - self.window
        while self._stories:
            oldest = next(iter(self._stories.values()))
            if oldest.last_seen >= limit:
                return
            self._drop(oldest.id)

    def _drop(self, story_id: str) -> None:
        entry = self._stories.pop(story_id)
        for band in entry.bands:
            crowd = self._bands[band]
            del crowd[story_id]
            if not crowd:
                del self._bands[band]
        for member in entry.members:
            self._by_article.pop(member, None)
        self.changed.add(story_id)

    def to_doc(self, story_id: str) -> dict[str, Any] | None:
        """JSON document of a story, None when it is forgotten."""
        entry = self._stories.get(story_id)
        if entry is None:
            return None
        return {
            "title": entry.title,
            "lang": entry.lang,
            "first": time_to_str(entry.first_seen),
            "last": time_to_str(entry.last_seen),
            "heat": entry.heat,
            "sources": list(entry.sources),
            "members": list(entry.members),
            "variants": list(entry.variants),
            "numbers": list(entry.numbers),
            "touched": entry.touched,
        }

    def load(self, docs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Rebuilds the index, exactly, from the documents of its stories in any order. Raises CodecError."""
        variants: list[tuple[int, _Entry, str]] = []
        try:
            for story_id, doc in sorted(docs, key=lambda item: item[1]["touched"]):
                entry = _Entry(
                    id=story_id,
                    title=doc["title"],
                    lang=doc["lang"],
                    first_seen=time_from_str(doc["first"]),
                    last_seen=time_from_str(doc["last"]),
                    heat=doc["heat"],
                    sources=list(doc["sources"]),
                    members=list(doc["members"]),
                    touched=doc["touched"],
                )
                self._stories[story_id] = entry
                self._number = max(self._number, entry.touched)
                self._by_article.update(dict.fromkeys(entry.members, story_id))
                variants += [(n, entry, sign) for n, sign in zip(doc["numbers"], doc["variants"], strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored story is incomplete: {error}.") from error
        for number, entry, sign in sorted(variants, key=lambda item: item[0]):
            sketch = _sketch(sign)
            self._add_variant(entry, number, sign, sketch, _bands(sketch))
        self.changed.clear()
