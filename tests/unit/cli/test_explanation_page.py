"""The page of explanations: whatever an article holds is text, and colours say which way a word pulls."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from monitor.cli.explanation_page import Shown, explanation_page, marked
from monitor.core.types import Article, Scored, Scores, WordWeight
from monitor.model.explain import Explanation

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script> \u202egnp.exe\u202c <img src=x onerror=alert(2)> & \"quoted\" 'too' \ud800 profit falls"
)


def explained(text: str, weights: dict[str, float], label: str = "negative") -> Explanation:
    words = tuple(
        WordWeight(word=word, weight=weight, start=text.index(word), end=text.index(word) + len(word))
        for word, weight in weights.items()
    )
    return Explanation(label=label, words=words)


def shown(title: str, explanations: dict[str, Explanation], doubts: tuple[str, ...] = ()) -> Shown:
    scores = Scores(topics={"earnings": 0.8, "macro": 0.2}, sentiments={"negative": 0.9, "neutral": 0.1})
    article = Article(id="a", source="<b>wire</b>", title=title, published_at=NOW, fetched_at=NOW, lang="en")
    scored = Scored(article_id="a", model="m", scores=scores, scored_at=NOW, doubts=doubts)
    return Shown(article=article, scored=scored, explanations=explanations)


class Parsed(HTMLParser):
    """Tags, text and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*items: Shown) -> str:
    return explanation_page(items, model="tiny@<1>", display=lambda task, label: f"{label}&{task}")


def test_hostile_text_is_only_text() -> None:
    weights = {"profit": 0.1, "falls": 0.4, "alert": -0.2, "img": 0.05}
    page = page_of(shown(HOSTILE, {"sentiment": explained(HOSTILE, weights)}, doubts=("sentiment", "language")))
    parsed = Parsed(page)
    assert {tag for tag, _ in parsed.tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "p", "ul", "li", "mark", "code",
        "article", "div", "span", "bdi", "em", "footer",
    }  # fmt: skip
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on") or name == "src"]
    assert "<script>alert(1)</script>" in parsed.text.replace("\n", "")
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(page)
    assert "default-src 'none'" in page
    assert "not supported" in parsed.text
    page.encode("utf-8")


@pytest.mark.parametrize(
    ("task", "label", "weight", "classes"),
    [
        ("sentiment", "negative", 0.4, "bad"),
        ("sentiment", "negative", -0.4, "good against"),
        ("sentiment", "positive", 0.4, "good"),
        ("sentiment", "positive", -0.4, "bad against"),
        ("sentiment", "neutral", 0.4, "calm"),
        ("sentiment", "neutral", -0.4, "away against"),
        ("topic", "earnings", 0.4, "topic"),
        ("topic", "earnings", -0.4, "away against"),
    ],
)
def test_the_colour_says_which_way_a_word_pulls(task: str, label: str, weight: float, classes: str) -> None:
    html = marked("profit falls", explained("profit falls", {"falls": weight}, label), task)
    assert html.startswith("profit <mark")
    assert f'class="{classes}"' in html
    assert f'title="{weight:+.3f}"' in html


def test_the_text_is_whole_and_weak_words_stay_plain() -> None:
    text = "Acme profit falls & more"
    html = marked(text, explained(text, {"profit": 0.01, "falls": 0.5}), "sentiment")
    assert Parsed(html).text == text
    assert html.count("<mark") == 1
    assert marked(text, explained(text, {"falls": 0.0}), "sentiment").count("<mark") == 0


def test_chinese_and_a_long_rest() -> None:
    text = "公司利润大跌" + "很长" * 400
    html = marked(text, explained(text, {"大跌": 0.5}), "sentiment")
    assert ">大跌</mark>" in html
    assert len(html) < 600


def test_articles_scored_elsewhere_are_shown_without_words() -> None:
    parsed = Parsed(page_of(shown("profit falls", {})))
    assert "scored elsewhere" in parsed.text
    assert "profit falls" in parsed.text
