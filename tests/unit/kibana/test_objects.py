"""The saved objects: their form, their references, and that every field they use is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from monitor.kibana.build import ARTICLE_RUNTIME, build
from monitor.kibana.columns import RECORDS
from monitor.kibana.formula import Call, operations, parse
from monitor.kibana.objects import COLUMNS, CORE, TYPES, Object, lines

COMMITTED = Path(__file__).parents[3] / "deploy" / "kibana"
OBJECTS = [one for file in build().values() for one in file]
IDS = [f"{one['type']}/{one['id']}" for one in OBJECTS]
_LENS = [one for one in OBJECTS if one["type"] == "lens"]
_BOARDS = [one for one in OBJECTS if one["type"] == "dashboard"]
_KQL_FIELD = re.compile(r"([\w.]+)\s*:")
_OPERATIONS = {
    "count", "unique_count", "sum", "average", "median", "min", "max", "percentile", "date_histogram", "terms", "math",
    "formula",
}  # fmt: skip
_ACCESSORS = {"xAccessor", "yAccessor", "valueAccessor", "metricAccessor", "splitAccessor", "accessor", "columnId"}


def _mapped(view: str) -> dict[str, str]:
    """Fields and their types by data view: mapped ones and runtime ones."""
    name = view.removeprefix("riskwire-")
    mappings = json.loads(files("monitor.store.mappings").joinpath(f"{name}.json").read_text("utf-8"))["mappings"]
    found = {field: spec.get("type", "object") for field, spec in mappings["properties"].items()}
    data_view = next(one for one in OBJECTS if one["type"] == "index-pattern" and one["id"] == view)
    runtime = json.loads(data_view["attributes"]["runtimeFieldMap"])
    return found | {field: spec["type"] for field, spec in runtime.items()}


def _view(one: Object) -> str:
    return str(next(it["id"] for it in one["references"] if it["type"] == "index-pattern"))


def _columns(one: Object) -> dict[str, dict[str, Any]]:
    (layer,) = one["attributes"]["state"]["datasourceStates"]["formBased"]["layers"].values()
    columns: dict[str, dict[str, Any]] = layer["columns"]
    assert sorted(layer["columnOrder"]) == sorted(columns)
    groups = [columns[name]["isBucketed"] for name in layer["columnOrder"]]
    assert groups == sorted(groups, reverse=True), "groups come first"
    return columns


def _named(value: Any, keys: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
            elif key == "accessors" and "accessor" in keys:
                yield from inner
            else:
                yield from _named(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, keys)


def test_the_committed_files_are_what_the_code_makes() -> None:
    made = {name: lines(objects) for name, objects in build().items()}
    assert {file.name: file.read_text("utf-8") for file in COMMITTED.glob("*.ndjson")} == made, (
        "run: riskwire kibana build --out deploy/kibana"
    )


def test_one_object_a_line_each_with_an_id_of_its_own() -> None:
    read = [json.loads(line) for name in build() for line in (COMMITTED / name).read_text("utf-8").splitlines()]
    assert read == OBJECTS
    assert len(set(IDS)) == len(IDS)
    assert len({one["id"] for one in OBJECTS if one["type"] == "lens"}) == len(_LENS)
    titles = [one["attributes"]["title"] for one in OBJECTS]
    assert all(titles)
    for board in _BOARDS:  # within a dashboard no two panels are called the same
        shown = {it["id"] for it in board["references"]}
        names = [one["attributes"]["title"] for one in OBJECTS if one["id"] in shown]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("one", OBJECTS, ids=IDS)
def test_stamps_and_shape(one: Object) -> None:
    assert set(one) == {
        "attributes", "coreMigrationVersion", "id", "managed", "references", "type", "typeMigrationVersion",
    }  # fmt: skip
    assert one["coreMigrationVersion"] == CORE == "8.8.0"
    assert one["typeMigrationVersion"] == TYPES[one["type"]]
    assert "migrationVersion" not in one  # of before 8.8; both together are refused
    assert re.fullmatch(r"[a-z0-9-]+", one["id"])


@pytest.mark.parametrize("one", OBJECTS, ids=IDS)
def test_every_reference_leads_somewhere(one: Object) -> None:
    names = [it["name"] for it in one["references"]]
    assert len(set(names)) == len(names)
    for reference in one["references"]:
        assert f"{reference['type']}/{reference['id']}" in IDS


@pytest.mark.parametrize("one", [one for one in OBJECTS if one["type"] == "index-pattern"], ids=str)
def test_data_views_hold_text_and_a_time_field_that_is_a_date(one: Object) -> None:
    attributes = one["attributes"]
    for name in ("fieldAttrs", "fieldFormatMap", "fields", "runtimeFieldMap", "sourceFilters"):
        assert isinstance(attributes[name], str)
        json.loads(attributes[name])
    mapped = _mapped(one["id"])
    assert mapped[attributes["timeFieldName"]] == "date"
    assert attributes["title"] == one["id"]
    assert set(json.loads(attributes["fieldFormatMap"])) <= set(mapped)


def test_runtime_fields_read_mapped_fields_and_hide_none() -> None:
    mappings = json.loads(files("monitor.store.mappings").joinpath("articles.json").read_text("utf-8"))["mappings"]
    for name, (kind, script) in ARTICLE_RUNTIME.items():
        assert name not in mappings["properties"]
        assert kind == "double"
        used = set(re.findall(r"doc\['(\w+)'\]", script))
        assert used
        assert {mappings["properties"][field]["type"] for field in used} <= {"date", "long"}
        for field in used:  # a document without it gets no value rather than an error
            assert f"doc['{field}'].size() > 0" in script
        assert script.count("(") == script.count(")")
        assert script.count("{") == script.count("}") == script.count("emit(")


@pytest.mark.parametrize("one", _LENS, ids=lambda one: one["id"])
def test_lens_panels_use_fields_that_exist_in_ways_their_types_allow(one: Object) -> None:
    mapped = _mapped(_view(one))
    (layer,) = one["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]
    assert [it["name"] for it in one["references"]] == [f"indexpattern-datasource-layer-{layer}"]
    columns = _columns(one)
    for column in columns.values():
        operation, field = column["operationType"], column.get("sourceField")
        assert operation in _OPERATIONS
        assert column["isBucketed"] == (operation in ("date_histogram", "terms"))
        if operation in ("math", "formula"):
            assert field is None
        elif operation == "count":
            assert field == RECORDS
        else:
            kind = mapped[field]
            allowed = {"date_histogram": {"date"}, "terms": {"keyword"}, "unique_count": {"keyword"}}
            assert kind in allowed.get(operation, {"double", "float", "long", "integer"})
        order = column.get("params", {}).get("orderBy", {})
        if order.get("type") == "column":
            assert not columns[order["columnId"]]["isBucketed"]
            assert columns[order["columnId"]]["operationType"] not in ("formula", "math"), "Lens cannot order by these"
        for kql in (column.get("filter", {}).get("query", ""), one["attributes"]["state"]["query"]["query"]):
            assert set(_KQL_FIELD.findall(kql)) <= set(mapped)


@pytest.mark.parametrize("one", _LENS, ids=lambda one: one["id"])
def test_what_a_panel_shows_are_columns_of_its_layer(one: Object) -> None:
    columns = _columns(one)
    shown = one["attributes"]["state"]["visualization"]
    used = set(_named(shown, _ACCESSORS))
    assert used
    assert used <= set(columns)
    hidden = {inner for column in columns.values() for inner in column.get("references", ())}
    assert used | hidden == set(columns), "a column that nobody sees"
    (layer,) = one["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]
    assert set(_named(shown, {"layerId"})) == {layer}


@pytest.mark.parametrize("one", _LENS, ids=lambda one: one["id"])
def test_formulas_parse_and_their_columns_compute_them(one: Object) -> None:
    columns = _columns(one)
    for name, column in columns.items():
        if column["operationType"] != "formula":
            continue
        text = column["params"]["formula"]
        tree = parse(text)
        assert column["params"]["isFormulaBroken"] is False
        parts = operations(tree)
        assert [columns[f"{name}X{number}"]["operationType"] for number in range(len(parts))] == [
            part.name for part in parts
        ]
        (last,) = column["references"]
        if isinstance(tree, Call) and tree not in parts:
            math = columns[last]
            assert math["operationType"] == "math"
            assert math["references"] == [f"{name}X{number}" for number in range(len(parts))]
            ast = math["params"]["tinymathAst"]
            assert text[ast["location"]["min"] : ast["location"]["max"]] == ast["text"] == text


@pytest.mark.parametrize("one", [one for one in OBJECTS if one["type"] == "search"], ids=lambda one: one["id"])
def test_saved_searches_show_fields_that_exist(one: Object) -> None:
    mapped = _mapped(_view(one))
    attributes = one["attributes"]
    assert set(attributes["columns"]) <= set(mapped)
    ((field, direction),) = attributes["sort"]
    assert (mapped[field], direction) == ("date", "desc")
    source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert source["indexRefName"] in {it["name"] for it in one["references"]}


@pytest.mark.parametrize("one", _BOARDS, ids=lambda one: one["id"])
def test_dashboards_hold_their_panels_without_overlap(one: Object) -> None:
    attributes = one["attributes"]
    assert isinstance(attributes["optionsJSON"], str)
    assert json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["language"] == "kuery"
    panels = json.loads(attributes["panelsJSON"])
    references = {it["name"]: it for it in one["references"]}
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        reference = references[f"{panel['panelIndex']}:{panel['panelRefName']}"]
        assert reference["type"] == panel["type"]
        grid = panel["gridData"]
        assert grid["i"] == panel["panelIndex"]
        assert grid["x"] + grid["w"] <= COLUMNS
        taken = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells
        cells |= taken
    assert len(references) == len(panels)
    rows = {y for _, y in cells}
    assert rows == set(range(max(rows) + 1)), "a gap between rows"


def test_the_panels_that_people_were_promised() -> None:
    shown = {one["attributes"]["title"] for one in OBJECTS}
    assert {
        "Sentiment over time by topic", "Negative share by topic and time", "Top entities", "Sources",
        "Latency: published to stored", "Lag: fetched to scored", "Riskwire: headlines", "Riskwire: incidents",
        "Riskwire: articles",
    } <= shown  # fmt: skip


def test_another_prefix_has_indices_and_ids_of_its_own() -> None:
    others = [one for file in build("desk-2").values() for one in file]
    assert not {one["id"] for one in others} & {one["id"] for one in OBJECTS}
    assert "riskwire" not in json.dumps([one["references"] for one in others])
    assert {one["attributes"]["title"] for one in others if one["type"] == "index-pattern"} == {
        "desk-2-articles", "desk-2-incidents",
    }  # fmt: skip
