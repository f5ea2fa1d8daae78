"""What a case is, what the capabilities are, and how much of each a model should get right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
VERDICTS = {
    NEGATIVE: (NEGATIVE,),
    NEUTRAL: (NEUTRAL,),
    POSITIVE: (POSITIVE,),
    "not_negative": (NEUTRAL, POSITIVE),
    "not_positive": (NEGATIVE, NEUTRAL),
}
"""What the data files may expect, and the verdicts that satisfy it."""


class Kind(StrEnum):
    """The three kinds of tests of CheckList."""

    MFT = "mft"
    """Minimum functionality: a sentence whose verdict is known."""
    INV = "inv"
    """Invariance: a change that must leave the verdict, and move p(negative) by no more than the bound."""
    DIR = "dir"
    """Direction: of two sentences one must score better than the other. The score is p(positive) - p(negative)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing a model must be able to do.

    ``bound``: by how much p(negative) may move in an invariance test. ``target``: the part of the cases that a good
    model passes; what the packaged model is held to are the floors, see :mod:`monitor.train.robustness.floors`.
    """

    name: str
    title: str
    target: float
    bound: float = 0.2


_TABLE = (
    # What a sentence says: the model must have understood.
    Capability(name="plain_news", title="plain news, good, bad and indifferent", target=0.95),
    Capability(name="risk_event", title="defaults, fraud, accidents, sanctions, attacks", target=0.95),
    Capability(name="hard_neutral", title="dates, appointments, explainers, plain facts", target=0.90),
    Capability(name="negation", title="negation and denial", target=0.85),
    Capability(name="expectation", title="narrower losses, less bad than feared, misses and beats", target=0.85),
    Capability(name="direction_of_costs", title="costs, debt, unemployment: down is good", target=0.90),
    Capability(name="figures", title="direction told by figures", target=0.80),
    Capability(name="passive", title="passive voice", target=0.95),
    Capability(name="attribution", title="quotations and who said it", target=0.90),
    Capability(name="tense", title="past, present, future", target=0.90),
    Capability(name="mixed_clauses", title="although, despite, but: the main point decides", target=0.85),
    Capability(name="added_news", title="added good or bad news is heard", target=0.95),
    Capability(name="intensity", title="stronger words are not read as milder", target=0.95),
    # How it is written: must not matter.
    Capability(name="case", title="upper, lower and title case", target=0.95),
    Capability(name="punctuation", title="full stops, commas, quotation marks, dashes", target=0.95),
    Capability(name="white_space", title="spaces, tabs, line ends", target=0.98),
    Capability(name="typos", title="swapped, missing and doubled letters, homophones", target=0.90),
    Capability(name="cashtags", title="cashtags and share codes", target=0.95),
    Capability(name="links", title="URLs", target=0.98),
    Capability(name="markup", title="HTML entities and tags", target=0.95),
    Capability(name="number_format", title="how a number is written, and its last digit", target=0.95),
    Capability(name="slugs", title="what wires put before and after a headline", target=0.95),
    Capability(name="script", title="simplified and traditional characters", target=0.95),
    Capability(name="full_width", title="full-width letters and digits", target=0.98),
    Capability(name="mixed_script", title="English words in Chinese and the reverse", target=0.90),
    # Whom it is about: must not matter. The bias tests, hence the tighter bound.
    Capability(name="swap_company", title="another company", target=0.95, bound=0.15),
    Capability(name="swap_nation", title="another nationality", target=0.95, bound=0.15),
    Capability(name="swap_person", title="another person's name, of another origin or gender", target=0.95, bound=0.15),
    Capability(name="swap_gender", title="he or she", target=0.98, bound=0.10),
    Capability(name="swap_city", title="another city", target=0.95, bound=0.15),
    # Text that wants to be more than text.
    Capability(
        name="hostile", title="instructions, scripts, invisible characters, 10,000 characters", target=0.90, bound=0.3
    ),
)
CAPABILITIES = {capability.name: capability for capability in _TABLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test. ``text`` is judged; the other fields depend on the kind.

    MFT: ``expected`` holds the verdicts that are right. INV: ``other`` is the text as it was before the change and
    ``margin`` the bound on the move of p(negative). DIR: the score of ``text`` must exceed that of ``other`` by
    ``margin`` at least; a negative margin is what it may stay behind.
    """

    id: str
    kind: Kind
    capability: str
    lang: str
    text: str
    expected: tuple[str, ...] = ()
    other: str = ""
    margin: float = 0.0


def invariance(case_id: str, capability: str, lang: str, *, before: str, after: str) -> Case:
    """An invariance test with the bound of its capability."""
    return Case(
        id=case_id,
        kind=Kind.INV,
        capability=capability,
        lang=lang,
        text=after,
        other=before,
        margin=CAPABILITIES[capability].bound,
    )
