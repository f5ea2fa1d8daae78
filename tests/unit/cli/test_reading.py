"""Lines of any bytes: read when it is certain what they are, else refused with the line and the next step."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.reading import LONGEST_LINE, read_articles
from monitor.core.errors import UsageError

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TITLES = ["HSBC fined", "央行下调存款准备金率", "Nestlé 📉"]
LINES = "".join(json.dumps({"title": title}, ensure_ascii=False) + "\r\n" for title in TITLES)


def titles(raw: bytes, *, plain: bool = False, encoding: str = "") -> list[str]:
    found = read_articles(io.BytesIO(raw), "news.jsonl", NOW, plain=plain, encoding=encoding)
    return [article.title for article in found]


def refused(raw: bytes, *, plain: bool = False, encoding: str = "") -> UsageError:
    with pytest.raises(UsageError) as caught:
        titles(raw, plain=plain, encoding=encoding)
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_its_byte_order_mark_says_is_believed(encoding: str) -> None:
    assert titles(LINES.encode(encoding)) == TITLES
    assert titles("\n".join(TITLES).encode(encoding), plain=True) == TITLES


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le", "utf-16-be", "utf-16", "utf-8"])
def test_an_encoding_that_is_named_is_taken(encoding: str) -> None:
    assert titles(LINES.encode(encoding), encoding=encoding) == TITLES


def test_a_chinese_file_in_gbk_is_named_with_what_it_would_read() -> None:
    error = refused((json.dumps({"title": "fine"}) + "\n").encode() + LINES.splitlines()[1].encode("gbk"))
    assert "news.jsonl, line 2: byte 12 (0xd1) is no UTF-8 text" in error.message
    assert "--encoding gb18030" in error.hint
    assert "央行下调" in error.hint


def test_broken_utf_8_is_named() -> None:
    error = refused(b'{"title": "fine"}\n{"title": "caf\xe9 closes"}\n')
    assert "line 2: byte 15 (0xe9)" in error.message
    assert "cp1252" in error.hint


def test_utf_16_without_a_mark_is_named() -> None:
    error = refused(LINES.encode("utf-16-le"))
    assert "line 1: the bytes look like UTF-16" in error.message
    assert "--encoding utf-16-le" in error.hint


def test_utf_16_that_breaks_off_is_named() -> None:
    assert "line 2" in refused("\ufeffone\ntwo".encode("utf-16-le")[:-1], plain=True).message


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("id,title,published_at\n1,HSBC fined,2026-01-02\n", "line 1: This is not JSON", "looks like a CSV"),
        ("datum;titel\n", "line 1", "looks like a CSV"),
        ('["HSBC fined"]\n', "line 1: An article line must be a JSON object, not list", "jq -c"),
        ('[\n{"title": "a"}\n]\n', "line 1: This is not JSON", "one JSON array"),
        ('{\n"title": "a"\n}\n', "line 1: This is not JSON", "several lines"),
        ('{"title": "a"}\n"HSBC fined"\n', "line 2: An article line must be a JSON object, not str", "one JSON object"),
        ('{"title": "a"}\n{"headline": "b", "time": 3}\n', "line 2: An article line needs a 'title'", "headline, time"),
        ('{"title": ["a"]}\n', "line 1: 'title' must be text, not list", "Its fields are: title"),
        ('{"title": "  "}\n', "line 1: An article line needs", "title"),
        ('{"title": "a", "published_at": "yesterday"}\n', "line 1: 'published_at' must be an ISO 8601", "fields"),
        ("HSBC fined over controls\n", "line 1: This is not JSON", "--text"),
        ("[" * 100_000 + "\n", "line 1: This is not JSON", "jq"),
    ],
)
def test_what_is_no_article_is_named_with_the_next_step(text: str, message: str, hint: str) -> None:
    error = refused(text.encode())
    assert message in error.message
    assert hint in error.hint


def test_a_blank_line_is_passed_over_in_json_and_refused_in_plain_text() -> None:
    assert titles(b'\n{"title": "a"}\n  \n') == ["a"]
    assert "line 2" in refused(b"one\n\nthree\n", plain=True).message


def test_unknown_fields_do_no_harm() -> None:
    assert titles(b'{"title": "a", "sentiment": 3, "nested": {"deep": [1]}}\n') == ["a"]


def test_an_unknown_encoding_is_refused() -> None:
    assert "no encoding 'klingon'" in refused(b"", encoding="klingon").message


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(mark: bytes) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            data = (mark if not self.given else b"") + b"aa" * (len(buffer) // 2)
            data = data[: len(buffer)]
            buffer[: len(data)] = data
            self.given += len(data)
            assert self.given < 4 * LONGEST_LINE
            return len(data)

    with pytest.raises(UsageError, match="line 1: longer than 16 MB"):
        list(read_articles(io.BufferedReader(Endless()), "pipe", NOW, plain=True))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused_by_line(raw: bytes, plain: bool) -> None:
    error: UsageError | None = None
    try:
        titles(raw, plain=plain)
    except UsageError as raised:
        error = raised
    assert error is None or ("news.jsonl, line " in error.message and error.hint)
