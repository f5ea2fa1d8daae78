"""All saved objects for one prefix, and the files they are written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitor.core.errors import UsageError
from monitor.kibana.columns import DURATION
from monitor.kibana.objects import Object, Place, dashboard, data_view, lines, search
from monitor.kibana.panels import Maker, article_panels, incident_panels


def _seconds(field: str) -> str:
    return f"doc['{field}'].value.toInstant().toEpochMilli() / 1000.0"


def _difference(since: str, until: str, *, end: str = "") -> str:
    """Painless: seconds from one field to another, nothing where one of them is missing."""
    both = f"doc['{since}'].size() > 0 && doc['{until}'].size() > 0"
    return f"if ({both}) {{ emit({end or _seconds(until)} - {_seconds(since)}); }}"


ARTICLE_RUNTIME: Mapping[str, tuple[str, str]] = {
    "fetch_delay_seconds": ("double", _difference("published_at", "fetched_at")),
    "score_delay_seconds": ("double", _difference("fetched_at", "scored_at")),
    # 'arrival' is when the writer sent it, in microseconds since 1970.
    "total_delay_seconds": (
        "double",
        _difference("published_at", "arrival", end="doc['arrival'].value / 1000000.0"),
    ),
}
"""Fields of articles that are computed when asked for: their type and Painless script."""


def build(prefix: str = "riskwire") -> dict[str, tuple[Object, ...]]:
    """The saved objects by file name. ``prefix`` is ``elastic.prefix``: it begins index names and ids."""
    return {"articles.ndjson": _articles(prefix), "incidents.ndjson": _incidents(prefix)}


def _articles(prefix: str) -> tuple[Object, ...]:
    view = data_view(
        f"{prefix}-articles", pattern=f"{prefix}-articles", title="Riskwire articles", time_field="published_at",
        runtime=ARTICLE_RUNTIME, formats=dict.fromkeys(ARTICLE_RUNTIME, DURATION),
    )  # fmt: skip
    panels = article_panels(Maker(prefix=prefix, view=view["id"]))
    headlines = search(
        f"{prefix}-headlines", title="Riskwire: headlines", description="Every article, newest first.", view=view["id"],
        columns=("title", "topic", "sentiment", "negative", "entity_names", "source", "lang", "url"),
        sort="published_at",
    )  # fmt: skip
    board = dashboard(
        f"{prefix}-articles-dashboard",
        title="Riskwire: articles",
        description="Topics, sentiment, entities, sources and delays of the articles.",
        rows=(
            [Place(panels[name], 12, 6) for name in ("total", "negative", "voices", "fresh")],
            [Place(panels["balance"], 32, 14), Place(panels["sentiments"], 16, 14)],
            [Place(panels["heat"], 48, 16)],
            [Place(panels["expected"], 48, 14)],
            [Place(panels["entities"], 24, 16), Place(panels["sources"], 24, 16)],
            [Place(panels["latency"], 24, 12), Place(panels["lag"], 24, 12)],
            [Place(headlines, 48, 20)],
        ),
        since="now-7d",
    )
    return (view, *panels.values(), headlines, board)


def _incidents(prefix: str) -> tuple[Object, ...]:
    seconds = ("open_delay_seconds", "acknowledge_seconds", "lasted_seconds")
    view = data_view(
        f"{prefix}-incidents", pattern=f"{prefix}-incidents", title="Riskwire incidents", time_field="opened_at",
        runtime={}, formats=dict.fromkeys(seconds, DURATION),
    )  # fmt: skip
    panels = incident_panels(Maker(prefix=f"{prefix}-incident", view=view["id"]))
    listed = search(
        f"{prefix}-incident-list", title="Riskwire: incidents", description="Every incident, newest first.",
        view=view["id"],
        columns=("state", "severity", "title", "reason", "observed", "expected", "stories", "headlines"),
        sort="opened_at",
    )  # fmt: skip
    board = dashboard(
        f"{prefix}-incidents-dashboard",
        title="Riskwire: incidents",
        description="What opened, about what, how soon, and how long it took people.",
        rows=(
            [Place(panels[name], 12, 6) for name in ("open", "critical", "acked", "lasted")],
            [Place(panels["over_time"], 24, 14), Place(panels["by_kind"], 24, 14)],
            [Place(panels["series"], 32, 16), Place(panels["entities"], 16, 16)],
            [Place(panels["delay"], 48, 12)],
            [Place(listed, 48, 20)],
        ),
        since="now-30d",
    )
    return (view, *panels.values(), listed, board)


def write(folder: Path, prefix: str = "riskwire") -> list[Path]:
    """Writes the files; returns them. Raises UsageError when the folder cannot be written to."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, objects in build(prefix).items():
            file = folder / name
            file.write_text(lines(objects), encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}.", hint="Name another folder.") from error
    return written
