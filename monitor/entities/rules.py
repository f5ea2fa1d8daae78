"""Rules for ambiguous aliases, as written in the watchlist's ``context`` column.

    Apple {need; also: iphone, app store; not: apple pie, big apple} 苹果 {need; not: 苹果树}

One ``alias {clauses}`` after the other; clauses are separated by ``;``, phrases by ``,``:

    cap      the alias must be written with a capital first letter
    upper    the alias must be written in capitals
    need     some evidence must be near that a company is meant: a word of finance, a company's verb right after it,
             a possessive, a capital letter in the middle of a sentence, or another name or ticker of the entity
    strict   as need, but a capital letter in mid-sentence or a possessive does not suffice
    only:    as strict, but the finance words are these
    also:    further words of evidence, beside the general ones
    not:     phrases that refute: one that holds the alias refutes the mention it covers, another one refutes
             every mention near it
    keep:    phrases with the alias in which the mention counts all the same: 中国银行业 is an industry, but
             中国银行业绩 are the results of Bank of China

``need``, ``strict`` and ``only`` imply ``cap`` for an alias that has letters with case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from monitor.entities.folding import fold

_RULE = re.compile(
    r"\s*([^{}\s][^{}]{0,199})\{([^{}]*)\}"
)  # one way to match a text only: it cannot backtrack for long


class Case(IntEnum):
    """How the alias must be written."""

    ANY = 0
    CAPITAL = 1
    UPPER = 2


class Evidence(IntEnum):
    """How much must speak for the alias."""

    NONE = 0
    NEED = 1
    STRICT = 2
    ONLY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRule:
    """The parsed rule of one alias; all phrases are folded."""

    alias: str
    case: Case = Case.ANY
    evidence: Evidence = Evidence.NONE
    words: tuple[str, ...] = ()
    covering: tuple[str, ...] = ()
    """Phrases with the alias in them: they refute the mention that they cover."""
    kept: tuple[str, ...] = ()
    """Phrases with the alias in them that overrule ``covering``."""
    near: tuple[str, ...] = ()
    """Other phrases: they refute mentions near them."""


def parse_rules(text: str) -> dict[str, AliasRule]:
    """Parses a ``context`` cell into rules by folded alias. Raises ValueError with a plain message."""
    rules: dict[str, AliasRule] = {}
    position = 0
    while position < len(text) and text[position:].strip():
        match = _RULE.match(text, position)
        if match is None:
            raise ValueError(f"expected 'alias {{clauses}}', got '{text[position : position + 40].strip()}'")
        rule = _rule(match[1].rstrip(), match[2])
        key = fold(rule.alias).text
        if key in rules:
            raise ValueError(f"two rules for '{rule.alias}'")
        rules[key] = rule
        position = match.end()
    return rules


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (fold(part).text.strip() for part in text.split(",")))))


def _rule(alias: str, clauses: str) -> AliasRule:
    folded = fold(alias).text
    case, evidence = Case.ANY, Evidence.NONE
    words: tuple[str, ...] = ()
    refuting: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    for clause in filter(None, (part.strip() for part in clauses.split(";"))):
        name, colon, rest = clause.partition(":")
        name = name.strip().lower()
        phrases = _phrases(rest)
        if name in ("only", "also", "not", "keep"):
            if not phrases:
                raise ValueError(f"'{name}:' of '{alias}' lists no phrases")
        elif colon:
            raise ValueError(f"'{name}' of '{alias}' takes no phrases")
        if name == "cap":
            case = max(case, Case.CAPITAL)
        elif name == "upper":
            case = Case.UPPER
        elif name == "need":
            evidence = max(evidence, Evidence.NEED)
        elif name == "strict":
            evidence = max(evidence, Evidence.STRICT)
        elif name == "only":
            evidence, words = Evidence.ONLY, words + phrases
        elif name == "also":
            words += phrases
        elif name == "not":
            refuting += phrases
        elif name == "keep":
            kept += phrases
            if not all(folded in phrase for phrase in phrases):
                raise ValueError(f"'keep:' of '{alias}' lists a phrase without the alias")
        else:
            raise ValueError(
                f"unknown clause '{name}' for '{alias}'; use cap, upper, need, strict, only, also, not, keep"
            )
    if evidence is not Evidence.NONE and case is Case.ANY:
        case = Case.CAPITAL
    return AliasRule(
        alias=alias,
        case=case,
        evidence=evidence,
        words=words,
        covering=tuple(phrase for phrase in refuting if folded in phrase),
        kept=kept,
        near=tuple(phrase for phrase in refuting if folded not in phrase),
    )
