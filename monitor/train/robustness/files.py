"""The hand-written sentences: four tables beside this module, one sentence or pair a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from monitor.train.robustness.cases import CAPABILITIES, VERDICTS, Case, Kind, invariance

BETTER_BY = 0.1
"""How much better the better of two sentences must score."""
NOT_WORSE_BY = -0.1
"""How far a stronger word may stay behind a weaker one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A sentence with a known verdict, to be changed in ways that must not matter. ``slot`` names what a placeholder
    in braces stands for, when there is one."""

    id: str
    lang: str
    expected: str
    text: str
    slot: str = ""


def _rows(name: str) -> Iterator[Mapping[str, str]]:
    lines = (files(__package__) / "data" / name).read_text("utf-8").splitlines()
    columns = lines[0].split("\t")
    for line in lines[1:]:
        yield dict(zip(columns, line.split("\t"), strict=True))


@cache
def seeds() -> tuple[Seed, ...]:
    """Full sentences of plain news."""
    return tuple(Seed(**row) for row in _rows("seeds.tsv"))


@cache
def swap_seeds() -> tuple[Seed, ...]:
    """Sentences with a placeholder for whom they are about."""
    return tuple(Seed(**row) for row in _rows("swaps.tsv"))


def handwritten() -> Iterator[Case]:
    """Sentences whose verdict is known, and the seeds, which must be read right as they stand."""
    for row in _rows("handwritten.tsv"):
        yield _functionality(row["id"], row["capability"], row["lang"], row["expected"], row["text"])
    for seed in seeds():
        yield _functionality(seed.id, "plain_news", seed.lang, seed.expected, seed.text)


def _functionality(case_id: str, capability: str, lang: str, expected: str, text: str) -> Case:
    return Case(id=case_id, kind=Kind.MFT, capability=capability, lang=lang, text=text, expected=VERDICTS[expected])


def pairs() -> Iterator[Case]:
    """Pairs of sentences: the first better than the second, not worse, or the same."""
    margins = {"better": BETTER_BY, "not_worse": NOT_WORSE_BY}
    for row in _rows("pairs.tsv"):
        assert row["capability"] in CAPABILITIES
        if row["relation"] == "same":
            yield invariance(row["id"], row["capability"], row["lang"], before=row["first"], after=row["second"])
        else:
            yield Case(
                id=row["id"],
                kind=Kind.DIR,
                capability=row["capability"],
                lang=row["lang"],
                text=row["first"],
                other=row["second"],
                margin=margins[row["relation"]],
            )
