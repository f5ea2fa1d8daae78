"""Lens formulas: text to syntax tree, as far as our dashboards need them.

The grammar is that of Kibana's tinymath (packages/kbn-tinymath): numbers, ``+ - * /`` with the usual precedence,
parentheses, and calls with positional arguments (fields or expressions) and named ones (``kql='…'``,
``percentile=95``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

OPERATIONS: Mapping[str, tuple[int, int]] = {
    "count": (0, 1), "unique_count": (1, 1), "sum": (1, 1), "average": (1, 1), "median": (1, 1), "min": (1, 1),
    "max": (1, 1), "percentile": (1, 1),
}  # fmt: skip
"""Functions that Elasticsearch computes, with the least and most fields they take."""
FUNCTIONS: Mapping[str, int] = {
    "add": 2, "subtract": 2, "multiply": 2, "divide": 2, "abs": 1, "ceil": 1, "floor": 1, "sqrt": 1,
}  # fmt: skip
"""Functions that Kibana computes, with their number of arguments."""
NAMED = {"kql": str, "percentile": float}
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_][\w.]*)|('(?:[^'\\]|\\.)*')|(.))")
_SUM = {"+": "add", "-": "subtract"}
_PRODUCT = {"*": "multiply", "/": "divide"}


class FormulaError(ValueError):
    """A formula that is none; says where."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function, with its place in the formula's text."""

    name: str
    args: tuple[Node, ...]
    start: int
    end: int
    named: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Name:
    """A field."""

    name: str


Node = Call | Name | float


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def parse(text: str) -> Node:
    """The tree of a formula. Raises FormulaError."""
    parser = _Parser(text)
    node = parser.sum()
    if parser.now.kind != "end":
        raise FormulaError(f"'{parser.now.text}' at {parser.now.start} of '{text}' is not expected")
    if isinstance(node, Name):
        raise FormulaError(f"'{text}' is a field without a function")
    return node


def operations(node: Node) -> list[Call]:
    """What Elasticsearch has to compute for a formula, in the order of its text."""
    if not isinstance(node, Call):
        return []
    if node.name in OPERATIONS:
        return [node]
    return [found for arg in node.args for found in operations(arg)]


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    stripped = text.rstrip()
    while place < len(stripped):
        match = _TOKEN.match(stripped, place)
        assert match is not None
        kind = ("number", "name", "string", "sign")[(match.lastindex or 4) - 1]
        found.append(_Token(kind, match[match.lastindex or 4], match.start(match.lastindex or 4), match.end()))
        place = match.end()
    return [*found, _Token("end", "the end", len(text), len(text))]


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, sign: str = "") -> _Token:
        token = self.now
        if sign and token.text != sign:
            raise FormulaError(f"'{sign}' expected at {token.start} of '{self._text}', found '{token.text}'")
        self._place += 1
        return token

    def sum(self) -> Node:
        start, left = self.now.start, self._product()
        while self.now.text in _SUM and self.now.kind == "sign":
            name = _SUM[self._take().text]
            left = self._call(name, (left, self._product()), start, {})
        return left

    def _product(self) -> Node:
        start, left = self.now.start, self._atom()
        while self.now.text in _PRODUCT and self.now.kind == "sign":
            name = _PRODUCT[self._take().text]
            left = self._call(name, (left, self._atom()), start, {})
        return left

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return float(token.text)
        if token.kind == "sign" and token.text == "(":
            inner = self.sum()
            self._take(")")
            return inner
        if token.kind != "name":
            raise FormulaError(f"'{token.text}' at {token.start} of '{self._text}' is not expected")
        if self.now.text != "(":
            return Name(token.text)
        self._take("(")
        args: list[Node] = []
        named: dict[str, str | float] = {}
        while self.now.text != ")" or self.now.kind == "string":
            if args or named:
                self._take(",")
            if self.now.kind == "name" and self._tokens[self._place + 1].text == "=":
                self._named(named)
            else:
                args.append(self.sum())
        self._take(")")
        return self._call(token.text, tuple(args), token.start, named)

    def _named(self, named: dict[str, str | float]) -> None:
        name = self._take()
        self._take("=")
        value = self._take()
        wanted = NAMED.get(name.text)
        if wanted is None or (value.kind == "string") != (wanted is str) or value.kind not in ("string", "number"):
            raise FormulaError(f"'{name.text}={value.text}' in '{self._text}' is not known")
        named[name.text] = re.sub(r"\\(.)", r"\1", value.text[1:-1]) if wanted is str else float(value.text)

    def _call(self, name: str, args: tuple[Node, ...], start: int, named: Mapping[str, str | float]) -> Call:
        if name in OPERATIONS:
            least, most = OPERATIONS[name]
            if not least <= len(args) <= most or not all(isinstance(arg, Name) for arg in args):
                raise FormulaError(f"'{name}' in '{self._text}' takes {least} to {most} fields")
            if "percentile" in named and name != "percentile":
                raise FormulaError(f"'{name}' in '{self._text}' has no percentile")
        elif name not in FUNCTIONS:
            raise FormulaError(f"'{name}' in '{self._text}' is no function that is known here")
        elif named or len(args) != FUNCTIONS[name] or any(isinstance(arg, Name) for arg in args):
            raise FormulaError(f"'{name}' in '{self._text}' takes {FUNCTIONS[name]} values")
        return Call(name, args, start, self._tokens[self._place - 1].end, named)
