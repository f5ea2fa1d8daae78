"""Identities, text helpers and codecs: properties that everything else leans on."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from doubles import START, article, evidence, incident
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import codec, ids, text
from monitor.core.errors import CodecError
from monitor.core.types import (
    Article,
    IncidentState,
    Scope,
    Scores,
    SeriesKey,
    Severity,
    WordWeight,
)

moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
words = st.text(max_size=60)
probabilities = st.floats(0, 1, allow_nan=False)
scores = st.builds(
    Scores,
    topics=st.dictionaries(st.text(min_size=1, max_size=8), probabilities, min_size=1, max_size=4),
    sentiments=st.fixed_dictionaries({"negative": probabilities, "neutral": probabilities, "positive": probabilities}),
)
articles = st.builds(
    Article,
    id=st.text(min_size=1, max_size=20),
    source=st.text(min_size=1, max_size=20),
    title=words,
    body=words,
    url=words,
    lang=st.sampled_from(["en", "zh", "und"]),
    published_at=moments,
    fetched_at=moments,
    scores=st.none() | scores,
    model=words,
    meta=st.dictionaries(words, words, max_size=3),
)


@given(articles)
def test_an_article_survives_the_bus(item: Article) -> None:
    assert codec.decode_article(codec.encode_article(item)) == item


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_a_codec_error(payload: bytes) -> None:
    with contextlib.suppress(CodecError):
        codec.decode_article(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["id", "source", "title", "body", "url", "published_at", "lang", "topics", "sentiments", "x"]
)


@given(st.dictionaries(field_names, json_values))
def test_any_row_becomes_an_article_or_a_codec_error(row: dict[str, object]) -> None:
    try:
        item = codec.article_from_row(row, now=START)
    except CodecError:
        return
    assert item.title
    assert item.published_at.tzinfo is not None


def test_unknown_fields_of_an_envelope_are_ignored_and_minor_versions_accepted() -> None:
    data = json.loads(codec.encode_article(article(1)))
    data |= {"v": "1.7", "later": True}
    data["article"]["later"] = [1]
    assert codec.decode_article(json.dumps(data).encode()) == article(1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "needs a 'title'"),
        ({"title": 3}, "'title' must be text"),
        ({"title": "x", "published_at": "yesterday"}, "published_at"),
        ({"title": "x", "published_at": 5}, "published_at"),
        ({"title": "x", "topics": {"a": 2}, "sentiments": {"negative": 1}}, "between 0 and 1"),
        ({"title": "x", "topics": {"a": 1}, "sentiments": {"angry": 1}}, "unknown labels: angry"),
        ({"title": "x", "topics": {}, "sentiments": {"negative": 1}}, "'topics' is empty"),
        ([], "must be a JSON object"),
    ],
)
def test_a_bad_row_is_named(row: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        codec.article_from_row(row, now=START)  # type: ignore[arg-type]


def test_an_incident_survives_the_state_store() -> None:
    words = (WordWeight(word="挤兑", weight=0.4, start=2, end=4),)
    full = incident(
        key=SeriesKey(scope=Scope.ENTITY, value="barclays"),
        state=IncidentState.ACKNOWLEDGED,
        severity=Severity.CRITICAL,
        updated_at=START + timedelta(minutes=5),
        evidence=(evidence(title="银行挤兑", heat=40, words=words),),
        related=(SeriesKey(scope=Scope.TOPIC, value="financials"),),
    )
    assert codec.incident_from_dict(json.loads(codec.dumps(codec.incident_to_dict(full)))) == full


@given(st.text(max_size=300), st.integers(1, 50))
def test_clean_text_is_one_valid_line_within_its_limit(raw: str, limit: int) -> None:
    result = text.clean(raw, limit=limit)
    assert len(result) <= limit
    assert result == result.strip()
    assert not any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in result)
    assert text.clean(result, limit=limit) == result


@given(st.text(max_size=100))
def test_normalised_text_is_a_fixed_point_and_language_guesses_never_raise(raw: str) -> None:
    assert text.normalised(text.normalised(raw)) == text.normalised(raw)
    assert 2 <= len(text.guess_language(raw)) <= 3


@pytest.mark.parametrize(
    ("raw", "lang"),
    [
        ("Fed raises rates by 25 basis points", "en"),
        ("央行下调存款准备金率", "zh"),
        ("A股三大指数收跌 NVDA 财报不及预期", "zh"),
        ("日銀が金利を引き上げると発表した", "ja"),
        ("한국은행 기준금리 동결", "ko"),
        ("Die Bank ist mit der Krise nicht fertig", "de"),
        ("🚀🚀", "und"),
        ("", "und"),
        ("Банк России повысил ставку", "ru"),
    ],
)
def test_language_by_script(raw: str, lang: str) -> None:
    assert text.guess_language(raw) == lang


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Example.com/a?utm_source=x&b=1", "https://example.com/a?b=1#top"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com/a?b=2&a=1", "https://example.com/a?a=1&b=2"),
        ("https://www.bbc.co.uk/news/1?at_medium=RSS&at_campaign=K", "https://www.bbc.co.uk/news/1"),
    ],
)
def test_urls_that_name_one_page_are_one(one: str, other: str) -> None:
    assert ids.canonical_url(one) == ids.canonical_url(other)


@given(st.text(max_size=80))
def test_canonical_url_is_a_fixed_point(url: str) -> None:
    once = ids.canonical_url(url)
    assert ids.canonical_url(once) == once


def test_an_edited_title_keeps_the_id_and_sources_are_apart() -> None:
    first = ids.article_id("wire", guid="g1", title="Old")
    assert first == ids.article_id("wire", guid="g1", title="New")
    assert first != ids.article_id("other", guid="g1", title="Old")
    assert ids.article_id("w", guid="x") != ids.article_id("w", url="x")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_digest_tells_part_lists_apart(left: list[str], right: list[str]) -> None:
    assert (ids.digest(*left) == ids.digest(*right)) == (left == right)
