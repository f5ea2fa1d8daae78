"""Writes headlines from the packaged templates: a seeded, endless, varied and repetition-free supply."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

TONES = ("positive", "neutral", "negative")
_SLOT = re.compile(r"\{(\w+)\}")
_COMPANY_SLOTS = frozenset(
    {"bank", "broker", "tech", "consumer", "industry", "pharma", "insurer", "fund", "oilco", "miner", "co", "house"}
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_ATTEMPTS = 60


def read_data(name: str) -> dict[str, Any]:
    """One of the packaged TOML files."""
    return tomllib.loads(resources.files("monitor.demo").joinpath("data", name).read_text(encoding="utf-8"))


class Deck:
    """Deals its cards in random order, all of them once before any comes again."""

    def __init__(self, cards: Sequence[str], rng: random.Random) -> None:
        self._cards = tuple(cards)
        self._rng = rng
        self._left: list[str] = []

    def draw(self) -> str:
        """The next card."""
        if not self._left:
            self._left = list(self._cards)
            self._rng.shuffle(self._left)
        return self._left.pop()


class Writer:
    """Headlines and second lines of one language. Equal seeds give equal texts."""

    def __init__(self, lang: str, rng: random.Random) -> None:
        headlines: Mapping[str, Mapping[str, list[str]]] = read_data(f"headlines_{lang}.toml")
        slots: Mapping[str, list[str]] = read_data("slots.toml")[lang]
        summaries: Mapping[str, list[str]] = read_data("summaries.toml")[lang]
        self._rng = rng
        self._slots = {name: Deck(values, rng) for name, values in slots.items()}
        self._slots["day"] = Deck([str(day) for day in range(14, 30)], rng)
        self._templates = {
            (topic, tone): Deck(tones[tone], rng)
            for topic, tones in headlines.items()
            if topic != "stock"
            for tone in tones
        }
        self._summaries = {topic: Deck(lines, rng) for topic, lines in summaries.items()}
        self._used: set[str] = set()
        once = [(tone, line) for tone, lines in headlines["stock"].items() for line in lines]
        rng.shuffle(once)
        self._once = once
        self.topics = tuple(dict.fromkeys(topic for topic, _ in self._templates))

    def headline(self, topic: str, tone: str, *, avoid: frozenset[str] = frozenset()) -> str | None:
        """A headline never given before; None when the templates of this topic and tone are worn out.

        Templates that use a slot in ``avoid`` are passed over.
        """
        deck = self._templates.get((topic, tone))
        for _ in range(_ATTEMPTS if deck else 0):
            assert deck is not None
            template = deck.draw()
            if avoid.isdisjoint(_SLOT.findall(template)):
                text = self._fill(template)
                if text not in self._used:
                    self._used.add(text)
                    return text
        return None

    def one_off(self) -> tuple[str, str] | None:
        """(tone, headline) from the stock that is printed once; None when it is used up."""
        return self._once.pop() if self._once else None

    def summary(self, topic: str, moment: datetime) -> str:
        """A second line that suits ``topic``, written at ``moment``."""
        weekday = _WEEKDAYS[min(moment.weekday(), 4)]
        return self._fill(self._summaries.get(topic, self._summaries["default"]).draw(), weekday=weekday)

    def _fill(self, template: str, **given: str) -> str:
        values: dict[str, str] = dict(given)
        companies: set[str] = set()

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name not in values:
                chosen = self._slots[name].draw()
                if name in _COMPANY_SLOTS:
                    while chosen in companies:
                        chosen = self._slots[name].draw()
                    companies.add(chosen)
                values[name] = chosen
            return values[name]

        filled = _SLOT.sub(value, template)
        return filled[0].upper() + filled[1:]
