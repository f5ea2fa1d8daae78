"""Formulas are read as Kibana's tinymath reads them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.kibana.columns import RECORDS, formula
from monitor.kibana.formula import Call, FormulaError, Name, Node, parse


def _plain(node: Node) -> object:
    if isinstance(node, Call):
        return (node.name, *(_plain(arg) for arg in node.args))
    return node.name if isinstance(node, Name) else node


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("count()", ("count",)),
        ("1 + 2 * 3", ("add", 1.0, ("multiply", 2.0, 3.0))),
        ("(1 + 2) * 3", ("multiply", ("add", 1.0, 2.0), 3.0)),
        ("8 - 4 - 2", ("subtract", ("subtract", 8.0, 4.0), 2.0)),
        ("8 / 4 / 2", ("divide", ("divide", 8.0, 4.0), 2.0)),
        ("sum(negative) / count(kql='lang: \\'zh\\'')", ("divide", ("sum", "negative"), ("count",))),
        ("abs(average(negative))", ("abs", ("average", "negative"))),
    ],
)
def test_precedence_and_calls(text: str, tree: object) -> None:
    assert _plain(parse(text)) == tree


def test_named_arguments() -> None:
    node = parse("percentile(delay.seconds, percentile=99.9, kql='a: \\'b\\'')")
    assert isinstance(node, Call)
    assert node.named == {"percentile": 99.9, "kql": "a: 'b'"}


@pytest.mark.parametrize(
    "text",
    [
        "", "negative", "1 +", "sum()", "sum(1)", "count(", "count())", "sum(a, b)", "nothing(1)", "count(kql=1)",
        "count(percentile='x')", "average(x, percentile=9)", "abs(negative)", "divide(1)", "1 2", "count(kql='open)",
        "count(shift='1h')", "abs(1, kql='x')", "§",
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(FormulaError):
        parse(text)


@given(st.text(alphabet="count()sum+-*/ '=.kql19,\\", max_size=60))
def test_nothing_but_a_formula_error_is_raised(text: str) -> None:
    with suppress(FormulaError):
        parse(text)


def test_a_formula_becomes_the_columns_that_lens_makes_of_it() -> None:
    columns = formula("c", "count(kql='a: b') / count()", label="Share")
    assert list(columns) == ["c", "cX0", "cX1", "cX2"]
    assert columns["cX0"]["filter"] == {"language": "kuery", "query": "a: b"}
    assert columns["cX1"]["sourceField"] == RECORDS
    assert columns["cX2"]["params"]["tinymathAst"] == {
        "type": "function", "name": "divide", "args": ["cX0", "cX1"], "location": {"min": 0, "max": 27},
        "text": "count(kql='a: b') / count()",
    }  # fmt: skip
    assert columns["c"]["references"] == ["cX2"]
    alone = formula("c", "median(x)", label="Median")
    assert list(alone) == ["c", "cX0"]
    assert alone["c"]["references"] == ["cX0"]
