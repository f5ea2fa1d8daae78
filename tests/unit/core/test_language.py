"""Guessing the language: measured on lines written for it, and on the corpus that must not be flagged."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

import monitor
from monitor.core.language import guess_language

SUPPORTED = {"en", "zh"}


def _lines() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in (Path(__file__).parent / "languages.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            language, text = line.split("\t")
            found[language].append(text)
    return found


def _corpus(language: str) -> list[str]:
    assert monitor.__file__ is not None
    file = Path(monitor.__file__).parent / "train" / "corpus" / f"news-{language}.csv"
    with file.open(encoding="utf-8", newline="") as handle:
        return [row["text"] for row in csv.DictReader(handle)]


def test_headlines_in_other_languages_are_not_taken_for_english() -> None:
    lines = _lines()
    flagged = {name: [guess_language(text) not in SUPPORTED for text in texts] for name, texts in lines.items()}
    assert len(lines) >= 25
    for name, answers in flagged.items():
        assert sum(answers) >= 0.7 * len(answers), name
    every = [answer for answers in flagged.values() for answer in answers]
    assert sum(every) >= 0.92 * len(every)


def test_most_languages_are_named_rightly() -> None:
    answers = [guess_language(text) == name for name, texts in _lines().items() for text in texts]
    assert sum(answers) >= 0.85 * len(answers)


def test_english_headlines_are_hardly_ever_flagged_and_chinese_ones_never() -> None:
    english = _corpus("en")
    flagged = [text for text in english if guess_language(text) != "en"]
    assert len(english) > 1000
    assert len(flagged) < 0.005 * len(english), flagged[:20]
    assert {guess_language(text) for text in _corpus("zh")} == {"zh"}


@pytest.mark.parametrize(
    "text",
    [
        "Société Générale names new chief executive",
        "Nestlé, L'Oréal and Moët rise in Paris",
        "Von der Leyen urges EU to cut tariffs",
        "El Salvador buys more bitcoin",
        "Banco de Mexico holds rate at 11%",
        "Los Angeles port volumes drop; Las Vegas Sands beats",
        "Petróleo Brasileiro sells Pão de Açúcar stake",
        "Erdoğan: Turkey will not raise rates",
        "AAPL 3Q EPS $1.46 vs $1.35",
        "APPLE WINS APPEAL",
        "OK",
        "$TSLA +3.2%",
    ],
)
def test_foreign_names_do_not_make_a_text_foreign(text: str) -> None:
    assert guess_language(text) == "en"


@pytest.mark.parametrize(("text", "language"), [("", "und"), ("📉 2,5 %", "und"), ("A股三大指数收跌 NVDA 财报", "zh")])
def test_little_to_go_by(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_a_megabyte_takes_no_longer_than_a_line() -> None:
    assert guess_language("Der Gewinn ist gesunken und " * 40_000) == "de"
