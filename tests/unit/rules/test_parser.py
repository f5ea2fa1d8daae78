"""The language of rules: what is read, what is refused and where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules.lexer import QueryError
from alerts.rules.parser import Vocabulary, either, every, parse
from alerts.rules.query import And, Field, Level, Near, Not, Or, Query, Regex, Word
from alerts.rules.text import glued, normal

KNOWN = Vocabulary(topics=("energy_oil", "markets"), entities={"deutsche-bank": "Deutsche Bank", "icbc": "ICBC"})


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("default", Word("default")),
        ("Default*", Word("default", True)),
        ('"Bank  Run"', Word("bank run")),
        ("“bank run”", Word("bank run")),
        ('"cyber-attack"*', Word("cyber attack", True)),
        ('"bank run*"', Word("bank run", True)),
        ("違約", Word("违约")),
        ("ＡＢＣ", Word("abc")),
        ("Crédit", Word("credit")),
        ('"and"', Word("and")),
        ("a1 AND b OR c", Or((And((Word("a1"), Word("b"))), Word("c")))),
        ("a AND (b OR c)", And((Word("a"), Or((Word("b"), Word("c")))))),
        ("a AND (b AND c)", And((Word("a"), Word("b"), Word("c")))),
        ("NOT a AND b", And((Not(Word("a")), Word("b")))),
        ("NOT (a OR b)", Not(Or((Word("a"), Word("b"))))),
        ("a NEAR/5 b AND c", And((Near(Word("a"), Word("b"), 5), Word("c")))),
        ("(a OR 违约) NEAR/12 entity:*", Near(Or((Word("a"), Word("违约"))), Field("entity", "*"), 12)),
        (r"/a\/b\d/", Regex(r"a/b\d")),
        ("topic:energy_oil", Field("topic", "energy_oil")),
        ("entity:icbc", Field("entity", "icbc")),
        ('source:"BBC Business"', Field("source", "bbc business")),
        ("source:Reuters*", Field("source", "reuters*")),
        ("lang:ZH", Field("lang", "zh")),
        ("uncertain:Yes", Field("uncertain", "yes")),
        ("negative>=0.9", Level("negative", ">=", 0.9)),
        ("positive < .5", Level("positive", "<", 0.5)),
        ("negative AND x", And((Word("negative"), Word("x")))),
        ("AT&T", Word("at&t")),
        ("24/7", Word("24/7")),
        ("（违约 OR 挤兑）", Or((Word("违约"), Word("挤兑")))),
    ],
)
def test_what_is_read(text: str, query: Query) -> None:
    assert parse(text, KNOWN) == query


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, 'expected a word, a "phrase", an /expression/, a field, NOT or (, found the end'),
        ("bank run", 5, "expected AND, OR, NEAR/n or the end after 'bank', found 'run'"),
        ("(bank run)", 6, "expected AND, OR, NEAR/n or ) after 'bank', found 'run'"),
        ("bank AND", 8, "after 'AND', found the end"),
        ("bank AND OR run", 9, "after 'AND', found 'OR'"),
        ("(bank", 0, "this ( is not closed"),
        ("bank)", 4, "this ) closes nothing"),
        ("a AND ()", 7, "found ')'"),
        ('a AND "bank', 6, "this quote is not closed"),
        ("a AND /bank", 6, "this expression is not closed"),
        ("a AND //", 6, "an expression must not be empty"),
        ("a AND /(b/", 6, "the expression /(b/ cannot be used: missing )"),
        (r"/(?<=a)b/", 0, "cannot be used"),
        (r"/(a)\1/", 0, "cannot be used"),
        ("/x*/", 0, "it matches the empty text"),
        ("a NEAR b", 2, "NEAR needs a number of words from 1 to 100"),
        ("a NEAR/0 b", 7, "NEAR needs a number of words from 1 to 100, found 0"),
        ("a NEAR/101 b", 7, "NEAR needs a number of words from 1 to 100, found 101"),
        ("a NEAR/5 NOT b", 9, "expected a word, phrase, expression or entity after NEAR/5, found 'NOT'"),
        ("a NEAR/5 lang:en", 9, "NEAR joins what stands in the text"),
        ("(a AND b) NEAR/5 c", 0, "NEAR joins what stands in the text"),
        ("a NEAR/5 b NEAR/5 c", 11, "NEAR joins two"),
        ("a and b", 2, "'and' is neither an operator nor a word in quotes"),
        ("a*b", 1, "a * can only end a word"),
        ('"freeze* assets"', 7, "a * can only end a word or phrase"),
        ("*ab", 0, "'*' cannot stand here"),
        ("a AND b*", 6, "expected at least 2 letters before the *"),
        ('a AND "-"', 6, "holds no letter and no digit"),
        ("topik:energy_oil", 0, "there is no field 'topik'"),
        ("topic:", 6, "expected a value after topic:"),
        ("topic:enregy_oil", 6, "there is no topic 'enregy_oil'"),
        ("x AND entity:deutsche_bank", 13, "there is no entity 'deutsche_bank' on the watchlist"),
        ("lang:english", 5, "'english' is no language"),
        ("uncertain:maybe", 10, "expected yes, no, topic, sentiment or language, found 'maybe'"),
        ("negative>=1.5", 10, "expected a probability from 0 to 1 after negative>=, found '1.5'"),
        ("negative=0.5", 8, "expected >=, >, <= or < after negative, found ="),
        ("negative>=", 10, "expected a probability"),
        ("price>3", 0, "'price' cannot be compared"),
        ("negative:yes", 0, "'negative' is compared, as in negative>=0.9"),
        ("NOT " * 60 + "a", 164, "nested more than 40 deep"),
        ("(" * 60 + "a" + ")" * 60, 41, "nested more than 40 deep"),
    ],
)
def test_what_is_refused_and_where(text: str, at: int, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, KNOWN)
    assert message in caught.value.message
    assert caught.value.at == at


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("topic:enregy_oil", "Did you mean 'energy_oil'?"),
        ("entity:deutsche_bank", "Did you mean 'deutsche-bank'?"),
        ('entity:"Deutsche Bank"', "Did you mean 'deutsche-bank'?"),
        ("topik:markets", "Did you mean 'topic'?"),
        ("a and b", 'the word itself is written "and"'),
    ],
)
def test_what_may_have_been_meant(text: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, KNOWN)
    assert hint in caught.value.hint


words = st.builds(
    lambda text, star: Word(text, star and glued(text[-1]) and text[-2:].isalnum()),
    st.text(st.sampled_from("abxyz09违约銀行éＡ .'-&\"\\/:"), min_size=2, max_size=8)
    .map(normal)
    .filter(lambda text: sum(char.isalnum() for char in text) > 1),
    st.booleans(),
)
patterns = st.text(st.sampled_from("abc/.d[]x"), min_size=1, max_size=6).filter(lambda p: "[" not in p and "]" not in p)
fields = st.sampled_from(
    [
        Field("topic", "markets"), Field("entity", "icbc"), Field("entity", "*"), Field("lang", "en"),
        Field("uncertain", "no"), Field("source", "bbc business"), Field("source", "wire*"),
    ]
)  # fmt: skip
levels = st.builds(
    Level,
    st.sampled_from(["negative", "neutral", "positive"]),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.floats(0, 1),
)
entities = st.sampled_from([Field("entity", "icbc"), Field("entity", "*")])
places = st.one_of(words, st.builds(Regex, patterns), entities)
placed = st.one_of(places, st.lists(places, min_size=2, max_size=3).map(either))
nears = st.builds(Near, placed, placed, st.integers(1, 100))
queries = st.recursive(
    st.one_of(words, st.builds(Regex, patterns), fields, levels, nears),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(every),
        st.lists(inner, min_size=2, max_size=3).map(either),
        st.builds(Not, inner),
    ),
    max_leaves=12,
)


@given(queries)
def test_a_query_that_is_written_is_read_as_the_same(query: Query) -> None:
    assert parse(str(query), KNOWN) == query


@given(st.text(st.sampled_from('ab AND OR NOT NEAR/3()"/*:<>=0.9negative topic违约\\“”'), max_size=60))
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    error: QueryError | None = None
    try:
        query = parse(text, KNOWN)
    except QueryError as caught:
        error = caught
    if error is None:
        assert parse(str(query), KNOWN) == query
    else:
        assert 0 <= error.at <= len(text)
        assert error.message
