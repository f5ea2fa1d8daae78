"""Near-duplicate stories: what belongs together, what does not, and that a restart changes nothing."""

from __future__ import annotations

import csv
import gzip
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.stories import StoryIndex, base_title, signature
from monitor.core.codec import dumps, loads
from monitor.core.errors import CodecError
from monitor.core.types import Article

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def article(number: int | str, title: str, source: str = "wire", body: str = "") -> Article:
    return Article(id=f"a{number}", source=source, title=title, body=body, published_at=T0, fetched_at=T0)


def same(left: str, right: str) -> bool:
    index = StoryIndex()
    return index.assign(article(1, left), T0)[0] == index.assign(article(2, right), T0)[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Cyprus bank levy shocks depositors", "UPDATE 2-Cyprus bank levy shocks depositors"),
        ("Cyprus bank levy shocks depositors", "RPT-WRAPUP 1-CYPRUS BANK LEVY SHOCKS DEPOSITORS!"),
        ("Qatar c.bank to issue 4 billion riyals debt", "CORRECTED-Qatar c.bank to issue 4 bln riyals debt"),
        (
            "Dubai lender ENBD eyes bond sale to repay govt funds - sources",
            "Dubai lender ENBD eyes bond sale to repay government funds: sources",
        ),
        ("Shell halts Nigeria pipeline after leak", "Shell halts Nigeria pipeline after leak - Reuters"),
        ("Italy's Grillo issues warning to rebels", "Italy’s Grillo issues warning to rebels"),
        ("恒大集团未能按期支付美元债利息", "快讯：恒大集团未能按期支付美元债利息"),
        ("中国人民银行宣布下调存款准备金率0.5个百分点", "更正-中国人民银行宣布下调存款准备金率0.5个百分点"),
    ],
)
def test_edited_copies_are_one_story(left: str, right: str) -> None:
    assert same(left, right)
    assert same(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("S&P cuts Spain's rating to BBB", "S&P cuts Italy's rating to BBB"),
        ("Gold falls as dollar gains", "Oil falls as dollar gains on Fed"),
        ("Toshiba to book loss on US nuclear unit", "Toyota to recall cars over airbags"),
        ("中国平安上半年净利润同比下降", "招商银行行长接受纪律审查"),
        ("", "Something"),
    ],
)
def test_different_matters_are_different_stories(left: str, right: str) -> None:
    assert not same(left, right)


def test_heat_sources_and_times_are_kept() -> None:
    index = StoryIndex()
    first, _ = index.assign(article(1, "Bank run in Nicosia spreads", "wire"), T0)
    index.assign(article(2, "UPDATE 1-Bank run in Nicosia spreads", "paper"), T0 + timedelta(hours=2))
    index.assign(article(3, "Bank run in Nicosia spreads", "wire"), T0 + timedelta(hours=1))
    story = index.story(first)
    assert story is not None
    assert (story.heat, story.sources, story.title) == (3, ("wire", "paper"), "Bank run in Nicosia spreads")
    assert (story.first_seen, story.last_seen) == (T0, T0 + timedelta(hours=2))


def test_the_same_article_again_changes_nothing() -> None:
    index = StoryIndex()
    first, new = index.assign(article(1, "Bank run in Nicosia"), T0)
    again, more = index.assign(article(1, "Another title altogether"), T0)
    assert (first, new, more) == (again, True, False)
    assert index.heat(first) == 1


def test_an_old_story_is_forgotten_and_memory_is_bounded() -> None:
    index = StoryIndex(window=timedelta(hours=48), limit=50)
    first, _ = index.assign(article("x", "Bank run in Nicosia spreads"), T0)
    again, _ = index.assign(article("y", "Bank run in Nicosia spreads"), T0 + timedelta(hours=49))
    assert first != again
    assert first not in index
    rng = random.Random(1)
    for n in range(500):
        index.assign(article(n, " ".join(str(rng.randrange(10**9)) for _ in range(6))), T0 + timedelta(hours=49))
    assert len(index) == 50
    assert len(index._bands) <= 50 * 20
    assert len(index._by_article) == 50


def test_a_template_title_does_not_slow_it_down() -> None:
    index = StoryIndex(threshold=0.99)
    for n in range(600):
        index.assign(article(n, f"Research and Markets: the market for item{n} report 2013"), T0)
    assert len(index) == 600


parts = st.sampled_from("bank run levy cyprus gold falls fed hikes rates oil 恒大 违约 2013".split())  # noqa: SIM905
titles = st.lists(parts, max_size=7)


@given(st.lists(st.tuples(st.integers(0, 60), titles, st.integers(0, 40)), max_size=40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_restart_anywhere_changes_nothing(rows: list[tuple[int, list[str], int]], cut: int) -> None:
    rows = sorted(rows, key=lambda row: row[2])
    whole, first = StoryIndex(window=timedelta(hours=12)), StoryIndex(window=timedelta(hours=12))
    docs: dict[str, object] = {}
    for n, (number, parts, hour) in enumerate(rows):
        if n == cut:
            first = reloaded(docs)
        item, at = article(number, " ".join(parts)), T0 + timedelta(hours=hour)
        assert whole.assign(item, at) == first.assign(item, at)
        for story in first.changed:
            doc = first.to_doc(story)
            if doc is None:
                docs.pop(story, None)
            else:
                docs[story] = loads(dumps(doc))
        first.changed.clear()
    last = reloaded(docs)
    assert {s: last.story(s) for s in docs} == {s: whole.story(s) for s in docs}
    assert len(last) == len(whole)


def reloaded(docs: dict[str, object]) -> StoryIndex:
    index = StoryIndex(window=timedelta(hours=12))
    index.load(list(docs.items()))  # type: ignore[arg-type]
    return index


@given(st.text(max_size=300))
def test_any_title_has_a_signature(title: str) -> None:
    sign = signature(article(1, title))
    assert sign == signature(article(2, title, "other"))
    assert sign.isascii()
    StoryIndex().assign(article(1, title), T0, sign)


@pytest.mark.parametrize("sign", ["%%%", "AAA=", "AA=="])
def test_a_damaged_signature_is_refused(sign: str) -> None:
    with pytest.raises(CodecError):
        StoryIndex().assign(article(1, "x"), T0, sign)


def test_a_damaged_document_is_refused() -> None:
    with pytest.raises(CodecError):
        StoryIndex().load([("s", {"touched": 1, "title": "x"})])


def test_the_body_stands_in_for_a_missing_title() -> None:
    assert signature(article(1, "", body="Bank run in Nicosia")) == signature(article(2, "Bank run in Nicosia"))


def test_prefixes_and_outlets_go_but_words_stay() -> None:
    assert base_title("UPDATE 2-RPT-Shell <RDSa.L> halts output | Reuters") == "shell   halts output"
    assert base_title("Update your portfolio") == "update your portfolio"


@pytest.mark.skipif("RISKWIRE_SHARED" not in os.environ, reason="needs the Reuters archives (RISKWIRE_SHARED)")
def test_wire_chains_of_real_headlines_are_found() -> None:
    """RPT-, REFILE- and CORRECTED- name an earlier headline: at least 95 % of those seen before must find it."""
    path = Path(os.environ["RISKWIRE_SHARED"]) / "data/archives/reuters_2016_01_china_selloff.csv.gz"
    if not path.exists():
        pytest.skip("the Reuters archives are not there")
    index, by_title, found, total = StoryIndex(), dict[str, str](), 0, 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            at = datetime.fromisoformat(row["timestamp_utc"].replace("Z", "+00:00"))
            story, _ = index.assign(article(number, row["title"]), at)
            head, _, rest = row["title"].partition("-")
            if head in {"RPT", "REFILE", "CORRECTED"} and by_title.get(rest.casefold()) in index:
                total += 1
                found += by_title[rest.casefold()] == story
            by_title[row["title"].casefold()] = story
    assert total > 20
    assert found / total >= 0.95
