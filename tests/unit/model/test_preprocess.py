import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.errors import ArtefactMismatchError
from monitor.model.preprocess import Preprocessing, group_key, width, without_cashtags

STEPS = Preprocessing(prefix="query: ")


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("Shares &amp; bonds fall  https://t.co/abc", "Shares & bonds fall"),
        ("\tA\x00B\u200f line\r\nmore ", "AB line more"),
        ("ＡＢＣ公司１２３", "ABC公司123"),
        ("看http://a.cn/x涨停", "看 涨停"),
        ("www.example.com/page", ""),
        ("   \n", ""),
        ("📉", "📉"),
    ],
)
def test_text_is_cleaned(raw: str, wanted: str) -> None:
    assert STEPS.text(raw) == wanted


@given(st.text(max_size=300))
def test_preparation_never_fails_and_is_bounded(raw: str) -> None:
    text = STEPS.text(raw)
    assert len(text) <= STEPS.max_chars
    assert "\x00" not in text
    assert text == text.strip()
    text.encode("utf-8")


def test_a_megabyte_is_cut() -> None:
    assert len(STEPS.text("word " * 200_000)) <= STEPS.max_chars


def test_the_body_is_read_only_when_the_title_says_too_little() -> None:
    assert STEPS.article("Acme shares plunge after profit warning", "The body.") == (
        "Acme shares plunge after profit warning"
    )
    assert STEPS.article("Acme", "The firm cut its forecast.") == "Acme. The firm cut its forecast."
    assert STEPS.article("Why?", "Because.") == "Why? Because."
    assert STEPS.article("", "The firm cut its forecast.") == "The firm cut its forecast."
    assert STEPS.article("江海银行股价大跌百分之十二", "正文") == "江海银行股价大跌百分之十二"
    assert STEPS.article("快讯", "江海银行股价大跌") == "快讯. 江海银行股价大跌"
    assert STEPS.article("", "") == ""
    assert STEPS.article("https://a.cn/x", "") == STEPS.article("https://a.cn/x", "http://b.cn") == "https://a.cn/x"
    assert STEPS.article("https://a.cn/x", "The firm cut its forecast.") == "The firm cut its forecast."
    assert len(STEPS.article("Acme", "x" * 1_000_000)) <= STEPS.body_chars + len("Acme. ")


def test_width_counts_a_chinese_character_twice() -> None:
    assert width("ab江海") == 6


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$BYND - JPMorgan reels in expectations", "JPMorgan reels in expectations"),
        ("$CCL $RCL: weak bookings for $CCL", "weak bookings for"),
        ("Raised $12 million", "Raised $12 million"),
        ("$AAPL", ""),
    ],
)
def test_cashtags_go_with_their_separators(text: str, wanted: str) -> None:
    assert without_cashtags(text) == wanted


def test_the_group_key_ignores_what_does_not_make_another_text() -> None:
    one = group_key("$BYND - JPMorgan reels in  expectations https://t.co/bd0x")
    assert one == group_key("$XYZ JPMORGAN reels in expectations!")
    assert one != group_key("JPMorgan raises expectations")
    assert group_key("$AAPL") == "$AAPL"  # nothing else in it: itself


def test_it_survives_the_artefact_and_refuses_unknown_steps() -> None:
    assert Preprocessing.from_dict(STEPS.to_dict()) == STEPS
    with pytest.raises(ArtefactMismatchError, match="stemming"):
        Preprocessing.from_dict({**STEPS.to_dict(), "stemming": True})
    with pytest.raises(ArtefactMismatchError, match="max_tokens"):
        Preprocessing.from_dict({**STEPS.to_dict(), "max_tokens": "many"})


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("Sha\u200bres pl\u00adunge", "Shares plunge"),
        ("\u202eAcme\u202c defaults", "Acme defaults"),
        ("S\u0336h\u0336ares fall", "Shares fall"),
        ("<b>Acme</b> <a href='x'>sued</a><br/>today", "Acme sued today"),
        ("<script>alert(1)</script> Acme sued", "alert(1) Acme sued"),
        ("Johnson & Johnson <JNJ.N> cuts outlook; margin <10%", "Johnson & Johnson <JNJ.N> cuts outlook; margin <10%"),
        (" " * 20_000 + "Acme sued", "Acme sued"),
        ("é ü 中文 ﬁne", "é ü 中文 fine"),
    ],
)
def test_what_a_reader_does_not_see_the_model_does_not_read(raw: str, read: str) -> None:
    assert Preprocessing().text(raw) == read
