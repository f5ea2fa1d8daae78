"""The backtest: the live pipeline over history, deterministic to the byte, safe to open."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from news import MONDAY, background, scored

from alerts.backtest import COLUMNS, Summary, run_backtest
from alerts.pipeline import DetectPipeline
from monitor.cli.backtest import scored_articles, with_cache
from monitor.core.errors import UsageError
from monitor.core.types import Article, IncidentState, Scored, ScoredArticle

NOON = MONDAY + timedelta(days=3, hours=12)
HOSTILE = "<script>alert('x')</script> & \"quoted\" \x1b[31m</svg>"


@pytest.fixture(scope="module")
def history() -> list[ScoredArticle]:
    quiet = background(MONDAY, 4)
    evil = [
        scored(f"evil-{n}", NOON + timedelta(minutes=n), negative=0.97, source=f"s{n % 3}", topic="energy",
               title=f"{HOSTILE} {n} {n * 7919} {n * 104729}", url="javascript:alert(1)" if n % 2 else "https://x.example/?a=<b>&c")
        for n in range(20)
    ]  # fmt: skip
    return sorted([*quiet, *evil], key=lambda item: item.article.published_at)


@pytest.fixture(scope="module")
def done(history: list[ScoredArticle], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("backtest") / "new" / "folder"
    return out, run_backtest(history, out, title=HOSTILE)


def test_the_three_files_and_nothing_else(done: tuple[Path, Summary]) -> None:
    assert sorted(path.name for path in done[0].iterdir()) == ["incidents.jsonl", "report.html", "series.csv.gz"]


def test_the_surge_is_found_once_and_resolved(done: tuple[Path, Summary]) -> None:
    lines = [json.loads(line) for line in (done[0] / "incidents.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines] == ["energy"]
    line = lines[0]
    assert list(line) == sorted(line)
    assert line["scope"] == "topic"
    assert NOON.isoformat()[:13] == line["opened_at"][:13]
    assert line["resolved_at"] > line["opened_at"]
    assert line["observed"] > 3 * line["expected"]
    assert set(line["sources"]) == {"s0", "s1", "s2"}
    assert all(name.startswith("aevil-") for name in line["articles"])
    assert done[1].incidents[0].state is IncidentState.RESOLVED


def test_the_series_hold_every_article_once(done: tuple[Path, Summary], history: list[ScoredArticle]) -> None:
    with gzip.open(done[0] / "series.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    everything = [row for row in rows if row["scope"] == "all"]
    assert sum(int(row["articles"]) for row in everything) == len(history) == done[1].articles
    assert [row["start"] for row in everything] == sorted({row["start"] for row in everything})
    assert all(float(row["expected"]) >= 0 for row in rows)


def test_equal_input_gives_equal_bytes(
    done: tuple[Path, Summary], history: list[ScoredArticle], tmp_path: Path
) -> None:
    run_backtest(iter(history), tmp_path, title=HOSTILE)
    for path in done[0].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_it_is_the_live_pipeline(done: tuple[Path, Summary], history: list[ScoredArticle]) -> None:
    """Ticks of 15 seconds of the live service lead to the same incidents as the backtest's."""
    pipeline = DetectPipeline()
    told = {}
    for place, item in enumerate(history):
        pipeline.feed([item])
        if place % 3 == 0:
            told |= {i.id: i for i in pipeline.advance(item.article.published_at).incidents}
    told |= {i.id: i for i in pipeline.advance(history[-1].article.published_at + timedelta(minutes=6)).incidents}
    assert told == {incident.id: incident for incident in done[1].incidents}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_report_is_self_contained_and_hostile_titles_are_text(done: tuple[Path, Summary]) -> None:
    page = (done[0] / "report.html").read_text("utf-8")
    parser = Tags()
    parser.feed(page)
    names = {name for name, _ in parser.seen}
    assert not names & {"script", "img", "iframe", "object", "link"}
    hrefs = [str(attrs["href"]) for name, attrs in parser.seen if name == "a"]
    assert all(href.startswith(("#", "https://")) for href in hrefs)
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == page.count("</svg>") == 2
    assert {"rect", "polyline", "polygon", "line"} <= names


def test_charts_mark_the_surge(done: tuple[Path, Summary]) -> None:
    page = (done[0] / "report.html").read_text("utf-8")
    section = page[page.index("<section") :]
    assert 'class="hot"' in section
    assert 'class="mark"' in section
    numbers = [float(value) for value in re.findall(r'(?:x|y|width|height)="([-\d.]+)"', section)]
    assert all(-1 <= value <= 1000 for value in numbers)


def test_out_of_order_articles_are_all_counted(tmp_path: Path) -> None:
    items = background(MONDAY, 1)
    items[10:40] = items[10:40][::-1]
    summary = run_backtest(items, tmp_path)
    assert summary.counts["articles"] == len(items)
    assert summary.counts["late"] > 0


def test_an_old_fetch_date_is_no_backfill(tmp_path: Path) -> None:
    items = [
        replace(i, article=replace(i.article, fetched_at=i.article.published_at + timedelta(days=4000)))
        for i in background(MONDAY, 0.5)
    ]
    assert "backfills" not in run_backtest(items, tmp_path).counts


def test_an_empty_archive_gives_an_empty_report(tmp_path: Path) -> None:
    summary = run_backtest([], tmp_path)
    assert summary.articles == 0
    assert (tmp_path / "incidents.jsonl").read_bytes() == b""
    assert "None." in (tmp_path / "report.html").read_text()


def test_a_broken_run_leaves_no_half_files(tmp_path: Path) -> None:
    def broken() -> Iterator[ScoredArticle]:
        yield from background(MONDAY, 0.2)
        raise UsageError("the archive ends in the middle")

    with pytest.raises(UsageError):
        run_backtest(broken(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="out"):
        run_backtest([], tmp_path / "out")


class TestScoresCache:
    def score(self, batch: Sequence[Article]) -> list[Scored]:
        self.calls = getattr(self, "calls", 0) + 1
        return [replace(scored(a.id[1:], a.published_at, negative=1 / 3).scored, article_id=a.id) for a in batch]

    @pytest.mark.parametrize("name", ["scores.jsonl", "scores.jsonl.gz"])
    def test_the_second_run_needs_no_model(self, tmp_path: Path, name: str) -> None:
        articles = [item.article for item in background(MONDAY, 1)]
        first = list(with_cache(articles, self.score, tmp_path / name))
        calls = self.calls
        again = list(with_cache(articles, self.score, tmp_path / name))
        assert again == first == list(scored_articles(articles, TestScoresCache().score))
        assert self.calls == calls
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_an_interrupted_run_leaves_no_cache(self, tmp_path: Path) -> None:
        articles = [item.article for item in background(MONDAY, 1)]
        rows = with_cache(articles, self.score, tmp_path / "s.jsonl")
        next(rows)
        rows.close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("change", ["fewer", "more", "other", "damaged"])
    def test_the_cache_of_another_archive_is_refused(self, tmp_path: Path, change: str) -> None:
        articles = [item.article for item in background(MONDAY, 0.3)]
        path = tmp_path / "s.jsonl"
        list(with_cache(articles, self.score, path))
        if change == "fewer":
            articles = articles[:-1]
        elif change == "more":
            articles = [*articles, replace(articles[0], id="another")]
        elif change == "other":
            articles[3] = replace(articles[3], id="another")
        else:
            path.write_text("{\n" + path.read_text())
        with pytest.raises(UsageError, match=r"s\.jsonl"):
            list(with_cache(articles, self.score, path))
