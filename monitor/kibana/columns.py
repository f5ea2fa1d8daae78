"""Columns of a Lens layer: what is grouped by and what is computed, in the form Kibana 8.9 saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.kibana.formula import Call, Name, Node, operations, parse

RECORDS = "___records___"
"""Lens' name for counting documents."""
PERCENT = {"id": "percent", "params": {"decimals": 0}}
DURATION = {"id": "duration", "params": {"decimals": 0, "fromUnit": "seconds", "toUnit": "humanize"}}
DECIMAL = {"id": "number", "params": {"decimals": 1}}

Column = Mapping[str, Any]


def times(source_field: str, *, label: str = "") -> Column:
    """Buckets of time, as wide as suits the period that is looked at."""
    return {
        "dataType": "date",
        "isBucketed": True,
        "label": label or source_field,
        **({"customLabel": True} if label else {}),
        "operationType": "date_histogram",
        "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
        "scale": "interval",
        "sourceField": source_field,
    }


def top(source_field: str, size: int, *, label: str, by: str = "", kind: str = "string") -> Column:
    """The values of a field that have most of column ``by``; by name when that is unset."""
    order: dict[str, Any] = {"type": "column", "columnId": by} if by else {"type": "alphabetical", "fallback": False}
    return {
        "dataType": kind,
        "isBucketed": True,
        "label": label,
        "customLabel": True,
        "operationType": "terms",
        "params": {
            "size": size,
            "orderBy": order,
            "orderDirection": "desc" if by else "asc",
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
        },
        "scale": "ordinal",
        "sourceField": source_field,
    }


def measure(operation: str, source_field: str, *, label: str, **params: Any) -> Column:
    """One number: ``median``, ``max``, ``percentile`` with ``percentile=``, …; ``format`` is how it is shown."""
    return {
        "dataType": "number",
        "isBucketed": False,
        "label": label,
        "customLabel": True,
        "operationType": operation,
        "params": {"emptyAsNull": True, **params} if operation in ("sum", "unique_count") else dict(params),
        "scale": "ratio",
        "sourceField": source_field,
    }


def count(label: str, kql: str = "") -> Column:
    """How many documents."""
    column: dict[str, Any] = {
        "dataType": "number",
        "isBucketed": False,
        "label": label,
        "customLabel": True,
        "operationType": "count",
        "params": {"emptyAsNull": False},
        "scale": "ratio",
        "sourceField": RECORDS,
    }
    return column | {"filter": {"language": "kuery", "query": kql}} if kql else column


def formula(name: str, text: str, *, label: str, shown: Mapping[str, Any] | None = None) -> dict[str, Column]:
    """The columns of a formula: itself (``name``), and as Lens makes them, one hidden column for each thing that
    Elasticsearch computes and one for the arithmetic over them. Raises FormulaError."""
    tree = parse(text)
    parts = operations(tree)
    columns: dict[str, Column] = {}
    names: dict[int, str] = {}
    for number, part in enumerate(parts):
        names[id(part)] = f"{name}X{number}"
        columns[names[id(part)]] = _part(part, text)
    last = names.get(id(tree), f"{name}X{len(parts)}")
    if last not in columns:
        columns[last] = {
            "dataType": "number",
            "isBucketed": False,
            "label": f"Part of {text}",
            "customLabel": True,
            "operationType": "math",
            "params": {"tinymathAst": _math(tree, names, text)},
            "references": list(dict.fromkeys(names.values())),
            "scale": "ratio",
        }
    whole: Column = {
        "dataType": "number",
        "isBucketed": False,
        "label": label,
        "customLabel": True,
        "operationType": "formula",
        "params": {"formula": text, "isFormulaBroken": False, **({"format": dict(shown)} if shown else {})},
        "references": [last],
        "scale": "ratio",
    }
    return {name: whole, **columns}


def _part(call: Call, text: str) -> Column:
    fields = [arg.name for arg in call.args if isinstance(arg, Name)]
    params: dict[str, Any] = {"emptyAsNull": False} if call.name in ("count", "sum", "unique_count") else {}
    if call.name == "percentile":
        params["percentile"] = call.named.get("percentile", 95)
    column: dict[str, Any] = {
        "dataType": "number",
        "isBucketed": False,
        "label": f"Part of {text}",
        "customLabel": True,
        "operationType": call.name,
        "params": params,
        "scale": "ratio",
        "sourceField": fields[0] if fields else RECORDS,
    }
    if kql := call.named.get("kql"):
        column["filter"] = {"language": "kuery", "query": kql}
    return column


def _math(node: Node, names: Mapping[int, str], text: str) -> Any:
    if isinstance(node, float):
        return int(node) if node.is_integer() else node
    assert isinstance(node, Call)
    if id(node) in names:
        return names[id(node)]
    return {
        "type": "function",
        "name": node.name,
        "args": [_math(arg, names, text) for arg in node.args],
        "location": {"min": node.start, "max": node.end},
        "text": text[node.start : node.end],
    }


def layer(columns: Mapping[str, Column]) -> dict[str, Any]:
    """A layer of these columns: groups first, as Lens orders them."""
    order: Sequence[str] = sorted(columns, key=lambda name: not columns[name]["isBucketed"])
    return {
        "columnOrder": list(order),
        "columns": {name: dict(columns[name]) for name in order},
        "incompleteColumns": {},
        "ignoreGlobalFilters": False,
        "sampling": 1,
    }
