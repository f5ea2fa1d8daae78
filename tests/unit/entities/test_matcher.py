from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.entities.folding import fold
from monitor.entities.matcher import MENTION_LIMIT, EntityMatcher
from monitor.entities.tickers import find_forms
from monitor.entities.watchlist import Watchlist, load_watchlist


def _found(matcher: EntityMatcher, text: str) -> list[tuple[str, str]]:
    return [(mention.id, text[mention.start : mention.end]) for mention in matcher.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("JPMorgan’s Dimon warns", [("jpmorgan-chase", "JPMorgan")]),
        (
            "a JPMorgan-led group, UBS/Barclays",
            [("jpmorgan-chase", "JPMorgan"), ("ubs", "UBS"), ("barclays", "Barclays")],
        ),
        ("JPMorgan\u00a0 Chase\tand others", [("jpmorgan-chase", "JPMorgan\u00a0 Chase")]),
        (
            "Socie\u0301te\u0301 Ge\u0301ne\u0301rale falls",
            [("societe-generale", "Socie\u0301te\u0301 Ge\u0301ne\u0301rale")],
        ),
        ("ＪＰＭｏｒｇａｎ rises", [("jpmorgan-chase", "ＪＰＭｏｒｇａｎ")]),
        ("Gold\u00adman Sachs\u200b wins", [("goldman-sachs", "Gold\u00adman Sachs")]),
        ("ﬁne, ßß İ and then Goldman Sachs", [("goldman-sachs", "Goldman Sachs")]),
        ("People's Bank of China cuts", [("pboc", "People's Bank of China")]),
        ("摩根大通银行上调目标价", [("jpmorgan-chase", "摩根大通银行")]),
        ("高盛Goldman称", [("goldman-sachs", "高盛"), ("goldman-sachs", "Goldman")]),
        ("XJPMorgan JPMorganX JPMorgan_X", []),
        ("（NYSE： JPM）", [("jpmorgan-chase", "NYSE： JPM")]),
        ("＄ＴＳＬＡ", [("tesla", "＄ＴＳＬＡ")]),
        ("贵州茅台（６００５１９）", [("kweichow-moutai", "贵州茅台"), ("kweichow-moutai", "（６００５１９）")]),
        ("0700.HK and 00700.HK", [("tencent", "0700.HK"), ("tencent", "00700.HK")]),
        ("nyse: t in lower case, ba.l too, $$T, x$T", []),
    ],
)
def test_offsets_refer_to_the_text_as_given(matcher: EntityMatcher, text: str, expected: list[tuple[str, str]]) -> None:
    assert _found(matcher, text) == expected


def test_a_ticker_vouches_for_the_ambiguous_name(matcher: EntityMatcher) -> None:
    assert _found(matcher, "Gap and more") == []
    assert _found(matcher, "Gap (NYSE: GAP) and more") == [("gap-inc", "Gap"), ("gap-inc", "NYSE: GAP")]


def test_mentions_are_capped_per_entity(matcher: EntityMatcher) -> None:
    assert len(matcher.find("Goldman Sachs " * 1000)) == MENTION_LIMIT
    assert matcher.entities("UBS, Goldman Sachs, UBS") == ("ubs", "goldman-sachs")


def test_two_entities_may_share_an_alias(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,name,aliases\na,Anton Bank,Antons\nb,Berta Bank,Antons\n", encoding="utf-8")
    matcher = EntityMatcher(load_watchlist([path], packaged=False))
    assert [mention.id for mention in matcher.find("Antons")] == ["a", "b"]


def test_an_empty_watchlist_finds_nothing() -> None:
    matcher = EntityMatcher(Watchlist(entities=()))
    assert matcher.find("Apple shares, $AAPL") == ()


_PIECES = st.sampled_from(
    ["Apple ", "apple pie", "$AAPL", "苹果", "JPMorgan", " Chase", "中国银行", "业", "(NYSE: JPM)",
     "Socie\u0301te\u0301 Ge\u0301ne\u0301rale", "ﬁ", "İ", "㍿", "\u200b", "  ", "\n", "\x00", "\ud800",
     "６００５１９.SH", "Target", " shares ", "한국", "BP", "L'Ore\u0301al"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(_PIECES, st.text(max_size=6)), max_size=25).map("".join))
def test_every_mention_slices_to_an_alias_or_a_ticker_form(text: str) -> None:
    end = -1
    for mention in _MATCHER.find(text):
        entity = _WATCHLIST.get(mention.id)
        assert entity is not None
        assert 0 <= mention.start < mention.end <= len(text)
        assert mention.start >= end
        end = mention.end
        folded = fold(text[mention.start : mention.end]).text
        if folded in {fold(alias).text for alias in entity.all_aliases}:
            continue
        forms = find_forms(folded.upper())
        assert any(ticker in entity.tickers for form in forms for ticker in form.tickers), (text, folded)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_folding_keeps_the_way_back(text: str) -> None:
    folded = fold(text)
    assert "  " not in folded.text
    if folded.origin is not None:
        assert len(folded.origin) == len(folded.text)
        assert list(folded.origin) == sorted(folded.origin)
    else:
        assert len(folded.text) == len(text)


@pytest.mark.parametrize(
    "unit", ["Apple ", "Gap between ", "$AAPL.", "a", "苹果", "中国银行业", "Apple shares ", "NYSE: ", "İ ", "Target "]
)
def test_a_huge_text_takes_linear_time(matcher: EntityMatcher, unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        best = float("inf")
        for _ in range(5):  # the best of five: a busy machine slows single runs
            began = time.process_time()
            matcher.find(text)
            best = min(best, time.process_time() - began)
        return best

    gc.disable()  # as timeit does: the collector walks everything that this whole test process holds
    try:
        assert seconds(200_000) < 8 * max(seconds(50_000), 0.02)
    finally:
        gc.enable()


_WATCHLIST = load_watchlist()
_MATCHER = EntityMatcher(_WATCHLIST)
