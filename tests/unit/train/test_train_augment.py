"""Changes of training texts: what they do, and what they leave alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.train.augment import augmented, with_slug, with_typo
from monitor.train.sections import Augment

TEXT = "$ACME shares plunge after Regulators open probe"


def test_without_chances_nothing_changes() -> None:
    rng = random.Random(1)
    assert all(augmented(TEXT, Augment(), rng) == TEXT for _ in range(50))


@pytest.mark.parametrize(
    ("chance", "wanted"),
    [
        ("drop_cashtags", "shares plunge after Regulators open probe"),
        ("lower_case", TEXT.lower()),
        ("upper_case", TEXT.upper()),
    ],
)
def test_a_chance_of_one_is_certain(chance: str, wanted: str) -> None:
    assert augmented(TEXT, Augment(**{chance: 1.0}), random.Random(4)) == wanted


def test_the_chance_is_the_part_of_texts() -> None:
    rng = random.Random(7)
    changed = sum(augmented(TEXT, Augment(upper_case=0.2), rng) != TEXT for _ in range(2000))
    assert 320 < changed < 480


def test_adding_a_chance_leaves_the_other_draws_alone() -> None:
    def lowered(config: Augment) -> list[bool]:
        rng = random.Random(3)
        return [augmented("Acme plc", config, rng) == "acme plc" for _ in range(200)]

    assert lowered(Augment(lower_case=0.3)) == lowered(Augment(lower_case=0.3, drop_cashtags=0.9))


@given(st.integers(0, 10_000))
def test_a_typo_is_one_slip_in_one_long_word(seed: int) -> None:
    changed = with_typo(TEXT, random.Random(seed)).split(" ")
    before = TEXT.split(" ")
    different = [(a, b) for a, b in zip(before, changed, strict=True) if a != b]
    assert len(different) <= 1  # exchanging two equal letters changes nothing
    for a, b in different:
        assert len(a) >= 5
        assert a[0] == b[0]
        assert abs(len(a) - len(b)) <= 1


def test_no_typo_in_chinese_figures_and_short_words() -> None:
    for text in ("银行利润下降12345%", "Q3 EPS up 10.25% vs 9.75%", "GDP USD EUR"):
        assert with_typo(text, random.Random(0)) == text


def test_slugs_are_put_around_the_text_in_its_language() -> None:
    english = {with_slug("Acme falls.", random.Random(seed)) for seed in range(60)}
    assert "UPDATE 1-Acme falls." in english
    assert "Acme falls - Reuters" in english
    chinese = {with_slug("阿里巴巴下跌", random.Random(seed)) for seed in range(60)}
    assert "【快讯】阿里巴巴下跌" in chinese
    assert not any("UPDATE" in text for text in chinese)
