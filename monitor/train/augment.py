"""How a training text is changed when it is drawn: what does not change the news must not change the verdict."""

from __future__ import annotations

import random
import unicodedata

from monitor.core.text import has_han
from monitor.model.preprocess import without_cashtags
from monitor.train.sections import Augment

_SLUGS = (
    "UPDATE 1-",
    "UPDATE 2-",
    "UPDATE 3-",
    "WRAPUP 1-",
    "BRIEF-",
    "RPT-",
    "EXCLUSIVE-",
    "CORRECTED-",
    "BREAKING: ",
)
_SLUGS_ZH = ("快讯:", "【快讯】", "最新:", "突发:", "更新1-", "(更正)")
_TAILS = (" - Reuters", " - source", " | Business", " - WSJ", " (update)", " -sources", "...")
_TAILS_ZH = ("(附股)", "_财经", " | 快讯", "...")


def augmented(text: str, config: Augment, rng: random.Random) -> str:
    """The text as it is shown this time. Every draw is made whether its chance is nought or not, and in one order, so
    that a recipe's texts do not move when a chance is added."""
    draws = [rng.random() for _ in range(5)]
    inner = random.Random(rng.random())
    if draws[0] < config.drop_cashtags:
        text = without_cashtags(text) or text
    if draws[1] < config.typos:
        text = with_typo(text, inner)
    if draws[2] < config.slugs:
        text = with_slug(text, inner)
    if draws[3] < config.lower_case:
        return text.lower()
    return text.upper() if draws[4] < config.upper_case else text


def with_typo(text: str, rng: random.Random) -> str:
    """One slip in one word of five letters or more: two neighbours exchanged, one letter lost or doubled. The first
    letter, capitals, digits and Chinese characters stay."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= 5 and word.isascii() and word[1:].islower()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    words[place] = rng.choice((
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    ))  # fmt: skip
    return " ".join(words)


def with_slug(text: str, rng: random.Random) -> str:
    """An agency's mark before the text, or a source's mark behind it."""
    chinese = has_han(text)
    if rng.random() < 0.6:
        return rng.choice(_SLUGS_ZH if chinese else _SLUGS) + text
    return unicodedata.normalize("NFC", text.rstrip(" .。")) + rng.choice(_TAILS_ZH if chinese else _TAILS)
