"""What rules are true of: real words in English and Chinese, and any query against a naive reference."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rules.engine import Match, RuleSet
from alerts.rules.parser import either, every, parse
from alerts.rules.query import And, Field, Level, Near, Not, Or, Query, Regex, Word
from alerts.rules.rule import Rule
from alerts.rules.text import RuleText, normal
from monitor.core.types import Article, EntityMention, Scored, ScoredArticle, Scores

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def article(
    title: str, body: str = "", *, negative: float = 0.95, source: str = "Reuters: Banks", lang: str = "en",
    topic: str = "financials", p_topic: float = 0.8, entities: dict[str, str] | None = None,
    doubts: tuple[str, ...] = (),
) -> ScoredArticle:  # fmt: skip
    """A scored article; ``entities``: id by the words that name it, each at its first place."""
    item = Article(
        id="a", source=source, title=title, body=body, lang=lang, published_at=NOW, fetched_at=NOW
    )  # fmt: skip
    mentions = tuple(
        EntityMention(id=name, name=words, start=item.text.index(words), end=item.text.index(words) + len(words))
        for words, name in (entities or {}).items()
    )
    scores = Scores(
        topics={topic: p_topic, "other": 1 - p_topic},
        sentiments={"negative": negative, "neutral": 1 - negative, "positive": 0.0},
    )
    return ScoredArticle(
        article=item,
        scored=Scored(article_id="a", model="m", scores=scores, entities=mentions, scored_at=NOW, doubts=doubts),
    )


def match(query: str, item: ScoredArticle, *, title_only: bool = False) -> Match | None:
    found = RuleSet([Rule(name="r", query=parse(query), title_only=title_only)]).match(item)
    return found[0] if found else None


def marks(query: str, item: ScoredArticle, *, title_only: bool = False) -> list[str] | None:
    found = match(query, item, title_only=title_only)
    return None if found is None else [mark.text for mark in found.marks]


@pytest.mark.parametrize(
    ("query", "title", "expected"),
    [
        ("default", "Evergrande defaults on dollar bonds", None),
        ("default*", "Evergrande Defaults on dollar bonds", ["Defaults"]),
        ("default", "Evergrande in DEFAULT, says Fitch", ["DEFAULT"]),
        ('"bank run"', "Fears of a bank run grow", ["bank run"]),
        ('"bank run"', "Fears of a bank-run grow", ["bank-run"]),
        ('"cyber-attack"*', "Cyber attacks hit two lenders", ["Cyber attacks"]),
        ('"bank run"', "The bank is run by a new chief", None),
        ("bank", "Bank’s shares fall", ["Bank"]),
        ("credit", "Crédit Agricole warns", ["Crédit"]),
        ('"u.s."', "U.S. sanctions two Chinese banks", ["U.S."]),
        ("Hermès", "HERMES misses forecasts", ["HERMES"]),
        ("违约", "恒大美元债正式违约", ["违约"]),
        ("违约", "恆大美元債正式違約", ["違約"]),
        ("違約", "恒大美元债正式违约", ["违约"]),
        ("ａｂｃ", "ABC公司被立案调查", ["ABC"]),
        ("银行 NEAR/6 挤兑", "多家村镇銀行發生擠兌", ["銀行", "擠兌"]),
        ("银行 NEAR/2 挤兑", "多家村镇银行周一开始发生挤兑", None),
        ("default* NEAR/3 bond*", "Sri Lanka defaults on its bonds", ["defaults", "bonds"]),
        ("default* NEAR/2 bond*", "Sri Lanka defaults on its bonds", None),
        ("bond* NEAR/3 default*", "Sri Lanka defaults on its bonds", ["defaults", "bonds"]),
        ("default NEAR/5 default*", "A default looms", None),
        ("default NEAR/5 default*", "A default after other defaults", ["default", "defaults"]),
        ("fraud AND NOT drill", "Fraud drill at the bank", None),
        (r"/\$[\d.]+ ?(bn|billion)/", "SocGen hit by $7.2 billion fraud", ["$7.2 billion"]),
        (r"/[A-Z]{4}\d/", "code abcd7 found", ["abcd7"]),
        (r"/违约.{0,4}亿/", "違約3.5億元", ["違約3.5億"]),
        ("default*", "Café — “defaulting”…", ["defaulting"]),
    ],
)  # fmt: skip
def test_words(query: str, title: str, expected: list[str] | None) -> None:
    assert marks(query, article(title)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("topic:financials", True),
        ("topic:markets", False),
        ("entity:deutsche-bank", True),
        ("entity:*", True),
        ("entity:ubs", False),
        ("default* NEAR/4 entity:deutsche-bank", True),
        ("counterparty NEAR/2 entity:deutsche-bank", False),
        ("source:reuters*", True),
        ('source:"reuters: banks"', True),
        ("source:reuters", False),
        ("lang:en AND NOT lang:zh", True),
        ("negative>=0.95", True),
        ("negative>0.95", False),
        ("positive<=0", True),
        ("neutral<0.1", True),
        ("uncertain:no", True),
        ("uncertain:yes", False),
        ("default* OR topic:markets", True),
        ("default* AND topic:markets", False),
    ],
)
def test_fields(query: str, expected: bool) -> None:
    item = article(
        "Deutsche Bank client defaults on a swap", "The counterparty is a fund.",
        entities={"Deutsche Bank": "deutsche-bank"},
    )  # fmt: skip
    assert (match(query, item) is not None) is expected


def test_a_topic_that_is_not_clear_does_not_count() -> None:
    assert match("topic:financials", article("x", p_topic=0.45)) is None


def test_doubts() -> None:
    item = article("x", doubts=("sentiment",))
    assert match("uncertain:yes", item)
    assert match("uncertain:sentiment", item)
    assert not match("uncertain:topic", item)
    assert not match("lang:en AND uncertain:no", item)


def test_title_and_body_are_apart_and_a_rule_may_look_at_the_title_alone() -> None:
    item = article("Shares of the bank", "run higher. Hackers stole data from Acme.", entities={"Acme": "acme"})
    assert marks('"bank run"', item) is None
    assert marks("hackers NEAR/5 entity:acme", item) == ["Hackers", "Acme"]
    assert marks("hackers", item, title_only=True) is None
    assert marks("entity:acme", item, title_only=True) is None
    assert marks("bank", item, title_only=True) == ["bank"]
    assert marks(r"/stole \w+/", item) == ["stole data"]
    assert marks(r"/stole \w+/", item, title_only=True) is None


def test_marks_are_places_in_the_text_as_it_was() -> None:
    item = article("ﬁrst  —  Ｂａｎｋ　違約", "Second line: bank­ruptcy 銀行")
    found = match("bank OR 违约 OR 银行 OR bankruptcy", item)
    assert found is not None
    text = item.article.text
    assert [(mark.text, text[mark.start : mark.end]) for mark in found.marks] == [
        ("Ｂａｎｋ", "Ｂａｎｋ"), ("違約", "違約"), ("bank­ruptcy", "bank­ruptcy"), ("銀行", "銀行")
    ]  # fmt: skip


def test_all_rules_are_found_in_their_order() -> None:
    rules = RuleSet([Rule(name=f"r{n}", query=parse(q)) for n, q in enumerate(["b", "a", "zzz", "a OR b", "NOT a"])])
    assert [found.rule.name for found in rules.match(article("a b"))] == ["r0", "r1", "r3"]


def test_a_lone_surrogate_or_nothing_at_all_does_no_harm() -> None:
    rules = RuleSet([Rule(name="r", query=parse("bank OR /ban./"))])
    assert rules.match(article("\ud800 \x00")) == ()
    assert rules.match(article("")) == ()
    assert [m.text for m in rules.match(article("\ud800bank"))[0].marks] == ["bank"]


# -- a naive reference -------------------------------------------------------------------------------------------------


def _is_glued(char: str) -> bool:
    return char == "_" or (char.isalnum() and not re.match(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", char))


def _naive_places(query: Query, item: ScoredArticle, text: RuleText, end: int) -> list[tuple[int, int]]:
    """Every place, by trying all of them."""
    words, found = text.words, []
    if isinstance(query, Word):
        for start in range(end):
            stop = start + len(query.text)
            if words[start:stop] != query.text:
                continue
            if start and _is_glued(words[start]) and _is_glued(words[start - 1]):
                continue
            if stop < len(words) and _is_glued(words[stop - 1]) and _is_glued(words[stop]):
                if not query.prefix:
                    continue
                while stop < len(words) and _is_glued(words[stop]):
                    stop += 1
            found.append((start, stop))
    elif isinstance(query, Regex):
        found = [m.span() for m in re.finditer(query.pattern, text.plain[:end], re.IGNORECASE)]
    elif isinstance(query, Field):
        for mention in item.scored.entities:
            if query.value in ("*", mention.id):
                found.append(text.place((mention.start, mention.end)))
    elif isinstance(query, Or):
        for part in query.parts:
            found += _naive_places(part, item, text, end)
    return [place for place in found if place[1] <= end]


def _ordinal(text: RuleText, offset: int) -> int:
    """How many words begin up to here, a Chinese character being one."""
    count, inside = 0, False
    for index, char in enumerate(text.words[: offset + 1]):
        if _is_glued(char):
            count += not inside
            inside = True
        else:
            count += char.isalnum()
            inside = False
        del index
    return count


def naive(query: Query, item: ScoredArticle, title_only: bool) -> bool:
    """Whether a query is true, by its definition."""
    text = RuleText(item.article)
    end = text.title_end if title_only else len(text.words)
    if isinstance(query, And):
        return all(naive(part, item, title_only) for part in query.parts)
    if isinstance(query, Or):
        return any(naive(part, item, title_only) for part in query.parts)
    if isinstance(query, Not):
        return not naive(query.part, item, title_only)
    if isinstance(query, Near):
        for a in _naive_places(query.left, item, text, end):
            for b in _naive_places(query.right, item, text, end):
                first, second = (a, b) if a[1] <= b[0] else (b, a)
                if first[1] > second[0]:
                    continue
                if _ordinal(text, second[0]) - _ordinal(text, first[1] - 1) <= query.distance:
                    return True
        return False
    if isinstance(query, Level):
        value = item.scored.scores.sentiments[query.name]
        return {">=": value >= query.value, ">": value > query.value, "<=": value <= query.value,
                "<": value < query.value}[query.sign]  # fmt: skip
    if isinstance(query, Field) and query.name != "entity":
        if query.name == "topic":
            return item.scored.scores.topic == query.value
        if query.name == "source":
            name = item.article.source.lower()
            return name.startswith(query.value[:-1]) if query.value.endswith("*") else name == query.value
        if query.name == "lang":
            return item.article.lang == query.value
        return not item.scored.doubts if query.value == "no" else bool(item.scored.doubts)
    return bool(_naive_places(query, item, text, end))


VOCABULARY = ["bank", "banks", "run", "runs", "default", "defaulted", "u.s.", "a", "违约", "约", "银行", "违", "3", "s"]
words = st.one_of(
    st.sampled_from(VOCABULARY).map(Word),
    st.sampled_from(["bank", "run", "default"]).map(lambda text: Word(text, True)),
    st.sampled_from(["bank run", "run bank", "u.s. bank", "a 3"]).map(Word),
)
regexes = st.sampled_from(["ban.", "run[a-z]", "违.", "[0-9]+"]).map(Regex)
entity = st.sampled_from([Field("entity", "acme"), Field("entity", "*")])
placed = st.one_of(words, regexes, entity, st.lists(st.one_of(words, entity), min_size=2, max_size=3).map(either))
leaf = st.one_of(
    words, words, regexes, entity,
    st.builds(Near, placed, placed, st.integers(1, 6)),
    st.builds(Level, st.sampled_from(["negative", "positive"]), st.sampled_from([">=", "<", ">", "<="]),
              st.sampled_from([0.0, 0.3, 0.9])),
    st.sampled_from([Field("topic", "markets"), Field("source", "wire*"), Field("lang", "en"), Field("uncertain", "no"),
                     Field("uncertain", "yes")]),
)  # fmt: skip
queries = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(every),
        st.lists(inner, min_size=2, max_size=3).map(either),
        st.builds(Not, inner),
    ),
    max_leaves=8,
)
pieces = st.sampled_from(
    [*VOCABULARY, "Bank", "RUN", "違約", "銀行", "Acme", "bank-run", "  ", "—", "ﬁ", ".", "x", "é", "Ｂank", "\n"]
)
texts = st.lists(st.tuples(pieces, st.sampled_from([" ", " ", "", "-"])), max_size=12).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)


@st.composite
def articles(draw: st.DrawFn) -> ScoredArticle:
    title, body = draw(texts), draw(texts)
    item = article(
        title, body, negative=draw(st.sampled_from([0.0, 0.3, 0.9])), source=draw(st.sampled_from(["Wire 1", "paper"])),
        lang=draw(st.sampled_from(["en", "zh"])), topic=draw(st.sampled_from(["markets", "macro"])),
        doubts=draw(st.sampled_from([(), ("topic",)])),
    )  # fmt: skip
    found = re.finditer("Acme", item.article.text)
    mentions = tuple(EntityMention(id="acme", name="Acme", start=m.start(), end=m.end()) for m in found)
    return replace(item, scored=replace(item.scored, entities=mentions))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(queries, st.booleans()), min_size=1, max_size=5), articles())
def test_the_rules_that_match_are_those_of_a_naive_reference(
    asked: list[tuple[Query, bool]], item: ScoredArticle
) -> None:
    rules = [Rule(name=f"r{n}", query=query, title_only=title) for n, (query, title) in enumerate(asked)]
    found = RuleSet(rules).match(item)
    assert [m.rule.name for m in found] == [r.name for r in rules if naive(r.query, item, r.title_only)]
    text = item.article.text
    for one in found:
        assert all(text[mark.start : mark.end] == mark.text and mark.text for mark in one.marks)
        assert [m.start for m in one.marks] == sorted(m.start for m in one.marks)


@given(texts)
def test_the_form_of_a_word_does_not_change_when_it_is_made_again(text: str) -> None:
    assert normal(normal(text)) == normal(text)
