"""The bus envelope stays readable: one golden file for each version that was ever written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.core.codec import ENVELOPE_MAJOR, ENVELOPE_MINOR, decode_article, encode_article
from monitor.core.errors import CodecError
from monitor.core.types import Article, Scores

GOLDEN = Path(__file__).parent / "golden"
ARTICLES = {
    "1.0": Article(
        id="3f2b8c",
        source="wire",
        title='Fed holds "steady"',
        body="美联储维持利率不变。\nRates stay.",
        url="https://example.com/a?b=1",
        published_at=datetime(2026, 3, 2, 8, 59, tzinfo=UTC),
        fetched_at=datetime(2026, 3, 2, 9, 0, 5, 250_000, tzinfo=UTC),
        lang="zh",
        scores=Scores(
            topics={"fed_central_banks": 0.75, "macro": 0.25},
            sentiments={"negative": 0.25, "neutral": 0.5, "positive": 0.25},
        ),
        model="elsewhere@1",
        meta={"guid": "urn:1", "date": "given"},
    )
}


def golden(version: str) -> bytes:
    return (GOLDEN / f"article-v{version}.json").read_bytes()


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(golden("1.0")) | fields).encode()


def test_every_version_has_its_golden_file() -> None:
    assert {path.stem.removeprefix("article-v") for path in GOLDEN.glob("article-v*.json")} == set(ARTICLES)
    assert f"{ENVELOPE_MAJOR}.{ENVELOPE_MINOR}" in ARTICLES


@pytest.mark.parametrize("version", ARTICLES)
def test_every_version_is_read(version: str) -> None:
    assert decode_article(golden(version)) == ARTICLES[version]


def test_the_present_version_is_written_byte_for_byte() -> None:
    version = f"{ENVELOPE_MAJOR}.{ENVELOPE_MINOR}"
    assert encode_article(ARTICLES[version]) == golden(version)


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    body = json.loads(golden("1.0"))["article"] | {"region": "eu", "nested": {"a": [1]}}
    assert decode_article(changed(v="1.7", article=body, signature="x")) == ARTICLES["1.0"]


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "", None, 1, 1.0, "one"])
def test_another_major_version_is_refused_with_the_next_step(version: object) -> None:
    with pytest.raises(CodecError, match=r"reads 1\.x.*same version of Riskwire"):
        decode_article(changed(v=version))


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xfe", b"[]", b"null", b'"1.0"', b'{"v":"1.0"}', b'{"v":"1.0","article":[]}']
)
def test_what_is_no_envelope_is_refused(payload: bytes) -> None:
    with pytest.raises(CodecError):
        decode_article(payload)
