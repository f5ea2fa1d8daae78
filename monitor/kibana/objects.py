"""Saved objects of Kibana, in the form in which version 8.9 and later export them.

An object is one line of JSON. What Kibana keeps as text within it (``panelsJSON``, ``searchSourceJSON``, …) is text
here too. The stamps say which migrations an object has behind it; a Kibana that is newer applies the ones after them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.kibana.columns import Column, layer

CORE = "8.8.0"
"""``coreMigrationVersion`` of everything exported since 8.8."""
TYPES: Mapping[str, str] = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "8.0.0", "dashboard": "8.9.0"}
"""``typeMigrationVersion`` by type: the newest of 8.9, which every supported Kibana (8.15 and later) takes."""
LAYER = "data"
COLUMNS = 48
"""Width of a dashboard's grid."""

Object = dict[str, Any]
_INDEX_REFERENCE = "kibanaSavedObjectMeta.searchSourceJSON.index"


def text(value: Any) -> str:
    """JSON as Kibana keeps it within an object."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(objects: Iterable[Object]) -> str:
    """The file for the import: one object a line, in an order that does not depend on anything else."""
    return "".join(json.dumps(one, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n" for one in objects)


def _object(kind: str, name: str, attributes: Mapping[str, Any], references: Sequence[Mapping[str, str]]) -> Object:
    return {
        "attributes": dict(attributes),
        "coreMigrationVersion": CORE,
        "id": name,
        "managed": False,
        "references": [dict(reference) for reference in references],
        "type": kind,
        "typeMigrationVersion": TYPES[kind],
    }


def data_view(
    name: str, *, pattern: str, title: str, time_field: str, runtime: Mapping[str, tuple[str, str]],
    formats: Mapping[str, Mapping[str, Any]],
) -> Object:  # fmt: skip
    """A data view. ``runtime``: fields that are computed when asked for, type and Painless script by name."""
    fields = {field: {"type": kind, "script": {"source": source}} for field, (kind, source) in runtime.items()}
    return _object(
        "index-pattern",
        name,
        {
            "allowNoIndex": True,  # before the first article there is no index yet
            "fieldAttrs": "{}",
            "fieldFormatMap": text(formats),
            "fields": "[]",
            "name": title,
            "runtimeFieldMap": text(fields),
            "sourceFilters": "[]",
            "timeFieldName": time_field,
            "title": pattern,
        },
        (),
    )


def lens(
    name: str, *, title: str, description: str, view: str, kind: str, columns: Mapping[str, Column],
    visualization: Mapping[str, Any], kql: str = "",
) -> Object:  # fmt: skip
    """A Lens panel with one layer over one data view."""
    state = {
        "adHocDataViews": {},
        "datasourceStates": {"formBased": {"layers": {LAYER: layer(columns)}}, "textBased": {"layers": {}}},
        "filters": [],
        "internalReferences": [],
        "query": {"language": "kuery", "query": kql},
        "visualization": dict(visualization),
    }
    reference = {"id": view, "name": f"indexpattern-datasource-layer-{LAYER}", "type": "index-pattern"}
    return _object(
        "lens",
        name,
        {"description": description, "state": state, "title": title, "visualizationType": kind},
        (reference,),
    )


def search(
    name: str, *, title: str, description: str, view: str, columns: Sequence[str], sort: str, kql: str = ""
) -> Object:
    """A saved search: documents as a table, newest first."""
    source = {"filter": [], "indexRefName": _INDEX_REFERENCE, "query": {"language": "kuery", "query": kql}}
    return _object(
        "search",
        name,
        {
            "columns": list(columns),
            "description": description,
            "grid": {},
            "hideChart": False,
            "isTextBasedQuery": False,
            "kibanaSavedObjectMeta": {"searchSourceJSON": text(source)},
            "sort": [[sort, "desc"]],
            "timeRestore": False,
            "title": title,
            "usesAdHocDataView": False,
        },
        ({"id": view, "name": _INDEX_REFERENCE, "type": "index-pattern"},),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A panel and its size on a dashboard, in units of the grid."""

    panel: Object
    width: int
    height: int


def dashboard(name: str, *, title: str, description: str, rows: Sequence[Sequence[Place]], since: str) -> Object:
    """A dashboard of saved panels, row by row. ``since``: the period it opens with, e.g. ``now-7d``."""
    panels: list[dict[str, Any]] = []
    references: list[dict[str, str]] = []
    top = 0
    for row in rows:
        left = 0
        for place in row:
            index = place.panel["id"]
            panels.append(
                {
                    "embeddableConfig": {"enhancements": {}},
                    "gridData": {"h": place.height, "i": index, "w": place.width, "x": left, "y": top},
                    "panelIndex": index,
                    "panelRefName": f"panel_{index}",
                    "type": place.panel["type"],
                }
            )
            references.append({"id": index, "name": f"{index}:panel_{index}", "type": place.panel["type"]})
            left += place.width
        top += max(place.height for place in row)
    options = {
        "hidePanelTitles": False, "syncColors": False, "syncCursor": True, "syncTooltips": False, "useMargins": True,
    }  # fmt: skip
    query = {"filter": [], "query": {"language": "kuery", "query": ""}}
    return _object(
        "dashboard",
        name,
        {
            "description": description,
            "kibanaSavedObjectMeta": {"searchSourceJSON": text(query)},
            "optionsJSON": text(options),
            "panelsJSON": text(panels),
            "refreshInterval": {"pause": False, "value": 60_000},
            "timeFrom": since,
            "timeRestore": True,
            "timeTo": "now",
            "title": title,
            "version": 1,
        },
        references,
    )
