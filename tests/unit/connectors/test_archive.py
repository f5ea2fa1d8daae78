"""Archives: formats, mapping, bad rows named by file and line, resuming, bounded memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from website import NOW

from connectors.archive import ArchiveSource, BadRow, ColumnMapping, build, read_archive
from connectors.base import ConnectorContext, SourceSpec
from monitor.core.clock import ManualClock
from monitor.core.errors import CodecError, ConfigError, MalformedError, SourceError, UsageError
from monitor.core.types import Article, Cursor

WIRE = """timestamp_utc,channel,title
2010-04-20T13:30Z,energy,Oil rig on fire
2010-04-20T13:31Z,,"Shares fall, ""sharply"" so"
"""


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def collect(path: Path, mapping: str = "", source: str = "") -> tuple[list[Article], list[BadRow]]:
    bad: list[BadRow] = []
    chosen = ColumnMapping.parse(mapping) if mapping else None
    return list(read_archive(path, mapping=chosen, source=source, on_error=bad.append)), bad


@pytest.mark.parametrize("name", ["wire.csv", "wire.csv.gz", "wire.csv.unknown", "wire.tsv"])
def test_csv_with_known_columns(name: str, tmp_path: Path) -> None:
    text = WIRE
    if name.endswith(".tsv"):
        text = "timestamp_utc\tchannel\ttitle\n2010-04-20T13:30Z\tenergy\tOil rig on fire\n2010-04-20T13:31Z\t\tx\n"
    first, second = read_archive(write(tmp_path / name, text))
    assert (first.title, first.source, first.lang) == ("Oil rig on fire", "energy", "en")
    assert first.published_at == first.fetched_at == datetime(2010, 4, 20, 13, 30, tzinfo=UTC)
    assert second.source == "wire"
    again, _ = read_archive(tmp_path / name)
    assert again.id == first.id


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a"])
def test_article_jsonl(name: str, tmp_path: Path) -> None:
    rows = [
        {"id": "x1", "source": "wire", "title": "One", "body": "Text", "url": "http://n.example/1",
         "published_at": "2024-01-01T00:00:00Z", "lang": "en"},
        {"source": "wire", "title": "央行", "published_at": 1704067200,
         "topics": {"macro": 1.0}, "sentiments": {"negative": 0.7, "neutral": 0.2, "positive": 0.1}, "model": "m"},
    ]  # fmt: skip
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\n"
    first, second = read_archive(write(tmp_path / name, text))
    assert (first.id, first.body, first.scores) == ("x1", "Text", None)
    assert second.published_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert second.scores is not None
    assert (second.scores.sentiment, second.model, second.lang) == ("negative", "m", "zh")


def test_a_scored_csv(tmp_path: Path) -> None:
    handle = io.StringIO()
    writer = csv.writer(handle)
    writer.writerow(["Title", "Published At", "topics", "sentiments"])
    scores = ['{"macro": 1}', '{"negative": 1, "neutral": 0, "positive": 0}']
    writer.writerows([["One", "2024-01-01", *scores], ["Two", "2024-01-01", "{broken", scores[1]]])
    articles, bad = collect(write(tmp_path / "scored.csv", handle.getvalue()))
    assert articles[0].scores is not None
    assert [(row.line, "topics" in row.reason) for row in bad] == [(3, True)]


def test_a_mapping_with_constants(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "when,what,kind\n2024-01-01,Bank fails,a\n")
    ((article,), _) = collect(path, "title=what, published_at=when, source='The Wire', lang=\"en\"")
    assert (article.title, article.source, article.lang) == ("Bank fails", "The Wire", "en")
    path = write(tmp_path / "x.jsonl", '{"when": "2024-01-01", "what": "Bank fails"}')
    ((article,), _) = collect(path, "title=what,published_at=when", source="wire")
    assert (article.title, article.source) == ("Bank fails", "wire")


@pytest.mark.parametrize(
    ("text", "message"),
    [("title", "cannot be read"), ("titel=x", "Did you mean 'title'"), ("title=a,title=b", "twice"), ("=x", "cannot")],
)
def test_wrong_mappings(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ColumnMapping.parse(text)


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        ("a,b", "", "the text"),
        ("title,b", "", "the time"),
        ("title,date", "title=headlin", "no column 'headlin'"),
        ("headline,date", "title=headlin", "Did you mean 'headline'"),
    ],
)
def test_columns_that_are_not_there(header: str, mapping: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        collect(write(tmp_path / "x.csv", f"{header}\n1,2\n"), mapping)
    assert "x.csv" in str(caught.value)


def test_bad_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    rows = [
        "timestamp_utc,channel,title",
        "2010-04-20T13:30Z,a,Good one",
        "yesterday,a,Bad date",
        ",a,No date",
        "0001-01-01,a,Year one",
        "9999-12-31,a,Year 9999",
        "2010-04-20T13:30Z,a",
        "2010-04-20T13:30Z,a,",
        '2010-04-20T13:30Z,a,"Two\nlines"',
        "2010-04-20T13:30Z,a,Nul \0 byte",
        f"2010-04-20T13:30Z,a,{'x' * 1_000_000}",
    ]
    articles, bad = collect(write(tmp_path / "wire.csv", "\n".join(rows)))
    assert [article.title[:10] for article in articles] == ["Good one", "Two lines", "Nul byte", "xxxxxxxxxx"]
    assert [row.line for row in bad] == [3, 4, 5, 6, 7, 8]
    assert all(str(row).startswith(f"{tmp_path / 'wire.csv'}, line ") for row in bad)
    with pytest.raises(CodecError, match="line 3"):
        list(read_archive(tmp_path / "wire.csv"))


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    lines = ['{"title": "a", "published_at": "2024-01-01"}', "{", "[1]", '{"published_at": "2024-01-01"}',
             '{"title": 5, "published_at": "2024-01-01"}', '{"title": "a"}', "[" * 50_000]  # fmt: skip
    articles, bad = collect(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert (len(articles), [row.line for row in bad]) == (1, [2, 3, 4, 5, 6, 7])


def test_bytes_that_are_no_utf8_are_kept_visible(tmp_path: Path) -> None:
    (article,) = read_archive(write(tmp_path / "a.csv", b"date,title\n2024-01-01,Z\xfcrich\n"))
    assert article.title == "Z\ufffdrich"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        collect(tmp_path / "missing.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        collect(tmp_path)
    whole = gzip.compress(WIRE.encode() * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-40])
    with pytest.raises(MalformedError, match="is damaged"):
        collect(tmp_path / "cut.csv.gz")
    assert collect(write(tmp_path / "empty.csv", "")) == ([], [])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as handle:
        handle.write("timestamp_utc,title\n")
        for number in range(4_000):
            handle.write(f"2024-01-01T00:00Z,Headline number {number} {'x' * 200}\n")
    tracemalloc.start()
    count = sum(1 for _ in read_archive(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4_000
    assert peak < 1_500_000


@settings(max_examples=60, deadline=None)
@given(
    titles=st.lists(st.text(alphabet="ab央,\"' \n\r\t;\x00é", max_size=12), max_size=20), page_size=st.integers(1, 7)
)
async def test_pages_give_every_row_once(
    titles: list[str], page_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pages") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["date", "title", "guid"])
        writer.writerows(["2024-01-01", title, str(number)] for number, title in enumerate(titles))
    source = ArchiveSource("a", path, ManualClock(NOW), page_size=page_size)
    cursor: Cursor | None = None
    found: list[str] = []
    for _ in range(len(titles) // page_size + 2):
        page = await source.poll(cursor)
        cursor = Cursor(data=json.loads(json.dumps(page.cursor.data)))
        found += [article.id for article in page.articles]
    whole = [article.id for article in read_archive(path, source="a", on_error=lambda _: None)]
    assert found == whole
    assert list((await source.poll(cursor)).articles) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
async def test_rows_appended_later_are_found(name: str, tmp_path: Path, context: ConnectorContext) -> None:
    path = tmp_path / name
    line = '{"title": "%s", "published_at": "2024-01-01T00:00:00Z"}\n'
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "at") as handle:
        handle.write(line % "One" + "broken\n")
    spec = SourceSpec(name="old", kind="archive", options={"path": str(path), "interval": "1h"})
    source = build(spec, context)
    first = await source.poll(None)
    assert ([article.title for article in first.articles], first.counts) == (["One"], {"entries": 2, "row_invalid": 1})
    assert source.last_bad is not None
    assert source.last_bad.line == 2
    assert first.not_before is not None
    assert (first.not_before - NOW).total_seconds() == 3600
    with opener(path, "at") as handle:
        handle.write(line % "Two")
    second = await source.poll(first.cursor)
    assert [article.title for article in second.articles] == ["Two"]


async def test_the_source_names_what_is_wrong(tmp_path: Path, context: ConnectorContext) -> None:
    for options, message in (
        ({}, "'path'"),
        ({"path": "x", "mapping": "nonsense"}, "'mapping'"),
        ({"path": "x", "pagesize": 3}, "Did you mean 'page_size'"),
    ):
        with pytest.raises(ConfigError, match="Source 'old'") as caught:
            build(SourceSpec(name="old", kind="archive", options=options), context)
        assert message in str(caught.value)
    source = build(SourceSpec(name="old", kind="archive", options={"path": str(tmp_path / "no.csv")}), context)
    with pytest.raises(SourceError) as missing:
        await source.poll(None)
    assert missing.value.code == "file"


SHARED = os.environ.get("RISKWIRE_SHARED", "")


@pytest.mark.skipif(not (SHARED and Path(SHARED, "data/archives").is_dir()), reason="RISKWIRE_SHARED has no archives")
@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("bbc_business_2022_2024.csv", 2_656),
        ("reuters_2016*.gz", 20_000),
        pytest.param("reuters_guardian*.gz", 53_328, marks=pytest.mark.slow),
        pytest.param("reuters_2010*.gz", 90_000, marks=pytest.mark.slow),
        pytest.param("reuters_2011*.gz", 90_000, marks=pytest.mark.slow),
        pytest.param("reuters_2013*.gz", 90_000, marks=pytest.mark.slow),
    ],
)
def test_real_archives_are_read_whole(pattern: str, rows: int) -> None:
    (path,) = Path(SHARED, "data/archives").glob(pattern)
    bad: list[BadRow] = []
    count = sum(1 for _ in read_archive(path, on_error=bad.append))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:
        expected = sum(1 for _ in csv.reader(handle)) - 1
    assert count + len(bad) == expected
    assert expected >= rows
    assert len(bad) <= expected // 1000
