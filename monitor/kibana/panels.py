"""The panels over articles and incidents: what each shows, over which fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.kibana.columns import DECIMAL, DURATION, PERCENT, Column, count, formula, measure, times, top
from monitor.kibana.objects import LAYER, Object, lens

NEGATIVE_SHARE = "count(kql='sentiment: negative') / count()"
BALANCE = "(count(kql='sentiment: positive') - count(kql='sentiment: negative')) / count()"
_AXES = {"x": False, "yLeft": False, "yRight": False}
_ALL = {"x": True, "yLeft": True, "yRight": True}
_HEAT = (("#ebeff5", 0), ("#f2d3c4", 10), ("#ecb385", 25), ("#e7664c", 50), ("#aa0f1f", 75))
"""Colours by negative share in per cent, from the least on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes panels over one data view; ``prefix`` begins every id."""

    prefix: str
    view: str

    def _lens(
        self,
        name: str,
        title: str,
        description: str,
        kind: str,
        columns: Mapping[str, Column],
        shown: Mapping[str, Any],
    ) -> Object:
        return lens(
            f"{self.prefix}-{name}", title=title, description=description, view=self.view, kind=kind, columns=columns,
            visualization=shown,
        )  # fmt: skip

    def number(self, name: str, title: str, description: str, columns: Mapping[str, Column]) -> Object:
        """One number: the first column."""
        shown = {"layerId": LAYER, "layerType": "data", "metricAccessor": next(iter(columns))}
        return self._lens(name, title, description, "lnsMetric", columns, shown)

    def chart(
        self, name: str, title: str, description: str, columns: Mapping[str, Column], *, series: str,
        y: tuple[str, ...], split: str = "",
    ) -> Object:  # fmt: skip
        """Something over time (column ``time``). ``series``: ``line``, ``bar_stacked``, ``area_percentage_stacked``."""
        data: dict[str, Any] = {
            "accessors": list(y),
            "layerId": LAYER,
            "layerType": "data",
            "position": "top",
            "seriesType": series,
            "showGridlines": False,
            "xAccessor": "time",
        }
        if split:
            data["splitAccessor"] = split
        shown = {
            "axisTitlesVisibilitySettings": _AXES,
            "fittingFunction": "None",
            "gridlinesVisibilitySettings": _ALL,
            "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
            "layers": [data],
            "legend": {"isVisible": True, "position": "right", "showSingleSeries": True},
            "preferredSeriesType": series,
            "tickLabelsVisibilitySettings": _ALL,
            "valueLabels": "hide",
        }
        return self._lens(name, title, description, "lnsXY", columns, shown)

    def heat(self, name: str, title: str, description: str, columns: Mapping[str, Column]) -> Object:
        """A heat map of columns ``time`` and ``group``, coloured by ``value`` in per cent."""
        stops = [{"color": color, "stop": stop} for color, stop in zip([c for c, _ in _HEAT], _ends(), strict=True)]
        palette = {
            "accessor": "value",
            "name": "custom",
            "params": {
                "colorStops": [{"color": color, "stop": start / 100} for color, start in _HEAT],
                "continuity": "above",
                "maxSteps": 5,
                "name": "custom",
                "progression": "fixed",
                "rangeMax": None,
                "rangeMin": 0,
                "rangeType": "number",
                "reverse": False,
                "steps": 5,
                "stops": stops,
            },
            "type": "palette",
        }
        shown = {
            "gridConfig": {
                "isCellLabelVisible": False,
                "isXAxisLabelVisible": True,
                "isXAxisTitleVisible": False,
                "isYAxisLabelVisible": True,
                "isYAxisTitleVisible": False,
                "type": "heatmap_grid",
            },
            "layerId": LAYER,
            "layerType": "data",
            "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
            "palette": palette,
            "shape": "heatmap",
            "valueAccessor": "value",
            "xAccessor": "time",
            "yAccessor": "group",
        }
        return self._lens(name, title, description, "lnsHeatmap", columns, shown)

    def table(
        self, name: str, title: str, description: str, columns: Mapping[str, Column], *, show: tuple[str, ...]
    ) -> Object:
        """A table of the columns named in ``show``."""
        shown = {
            "columns": [{"columnId": column, "isTransposed": False} for column in show],
            "layerId": LAYER,
            "layerType": "data",
            "paging": {"enabled": True, "size": 20},
            "rowHeight": "single",
            "rowHeightLines": 1,
        }
        return self._lens(name, title, description, "lnsDatatable", columns, shown)


def _ends() -> list[float]:
    """Where each colour ends: where the next begins, the last at everything."""
    return [start / 100 for _, start in _HEAT[1:]] + [1.0]


def article_panels(make: Maker) -> dict[str, Object]:
    """Panels over articles, by short name."""
    share = formula("share", NEGATIVE_SHARE, label="Negative share", shown=PERCENT)
    found = {
        "total": make.number("total", "Articles", "Articles published in this period.", {"n": count("Articles")}),
        "negative": make.number("negative", "Negative share", "Part of the articles whose verdict is negative.", share),
        "voices": make.number(
            "voices", "Number of sources", "How many sources brought them.",
            {"n": measure("unique_count", "source", label="Sources")},
        ),
        "fresh": make.number(
            "fresh", "Published to stored, median", "From publication until an article could be found here.",
            {"n": measure("median", "total_delay_seconds", label="Median delay", format=DURATION)},
        ),
        "balance": make.chart(
            "sentiment-by-topic", "Sentiment over time by topic",
            "Positive less negative articles, as a part of all: 1 is all positive, -1 all negative.",
            {
                "time": times("published_at"),
                "topic": top("topic", 30, label="Topic"),
                **formula("value", BALANCE, label="Balance", shown=PERCENT),
            },
            series="line", y=("value",), split="topic",
        ),
        "sentiments": make.chart(
            "sentiments", "Sentiment over time", "Verdicts as parts of all articles.",
            {"time": times("published_at"), "verdict": top("sentiment", 5, label="Sentiment"), "n": count("Articles")},
            series="area_percentage_stacked", y=("n",), split="verdict",
        ),
        "expected": make.chart(
            "expected-negatives", "Expected negative articles by topic",
            "Sum of the calibrated probabilities of being negative: what surges are measured in.",
            {
                "time": times("published_at"),
                "topic": top("topic", 30, label="Topic"),
                "n": measure("sum", "negative", label="Expected negatives", format=DECIMAL),
            },
            series="bar_stacked", y=("n",), split="topic",
        ),
        "heat": make.heat(
            "negative-heat", "Negative share by topic and time", "The darker, the more of a topic's news is negative.",
            {
                "time": times("published_at"),
                "group": top("topic", 30, label="Topic"),
                **formula("value", NEGATIVE_SHARE, label="Negative share", shown=PERCENT),
            },
        ),
        "entities": make.table(
            "entities", "Top entities", "Watch-listed entities by articles.",
            {
                "entity": top("entity_names", 25, label="Entity", by="n"),
                "n": count("Articles"),
                **formula("share", NEGATIVE_SHARE, label="Negative share", shown=PERCENT),
                "sources": measure("unique_count", "source", label="Sources"),
            },
            show=("entity", "n", "share", "sources"),
        ),
        "sources": make.table(
            "sources", "Sources", "What each source brings, how negative, and how late.",
            {
                "source": top("source", 50, label="Source", by="n"),
                "n": count("Articles"),
                **formula("share", NEGATIVE_SHARE, label="Negative share", shown=PERCENT),
                "fetch": measure(
                    "median", "fetch_delay_seconds", label="Published to fetched, median", format=DURATION
                ),
                "late": measure(
                    "percentile", "fetch_delay_seconds", label="Published to fetched, 95 %", percentile=95,
                    format=DURATION,
                ),
            },
            show=("source", "n", "share", "fetch", "late"),
        ),
    }  # fmt: skip
    return found | _delay_panels(make)


def _delay_panels(make: Maker) -> dict[str, Object]:
    def percentiles(field: str) -> dict[str, Column]:
        return {
            f"p{part}": measure("percentile", field, label=f"{part} %", percentile=part, format=DURATION)
            for part in (50, 95, 99)
        }

    lines = ("p50", "p95", "p99")
    return {
        "latency": make.chart(
            "latency", "Latency: published to stored", "Of half, 95 % and 99 % of the articles.",
            {"time": times("published_at"), **percentiles("total_delay_seconds")}, series="line", y=lines,
        ),
        "lag": make.chart(
            "lag", "Lag: fetched to scored", "How long articles waited on the bus and for the model.",
            {"time": times("fetched_at"), **percentiles("score_delay_seconds")}, series="line", y=lines,
        ),
    }  # fmt: skip


def incident_panels(make: Maker) -> dict[str, Object]:
    """Panels over incidents, by short name."""
    return {
        "open": make.number("open", "Open", "Incidents not resolved.", {"n": count("Open", "open: true")}),
        "critical": make.number(
            "critical", "Critical", "Critical incidents opened in this period.",
            {"n": count("Critical", "severity: critical")},
        ),
        "acked": make.number(
            "acknowledged", "Time to acknowledge, median", "From opening until somebody acknowledged.",
            {"n": measure("median", "acknowledge_seconds", label="Median", format=DURATION)},
        ),
        "lasted": make.number(
            "lasted", "Duration, median", "Of the incidents that are over.",
            {"n": measure("median", "lasted_seconds", label="Median", format=DURATION)},
        ),
        "over_time": make.chart(
            "over-time", "Incidents over time", "Opened, by severity.",
            {"time": times("opened_at"), "severity": top("severity", 5, label="Severity"), "n": count("Incidents")},
            series="bar_stacked", y=("n",), split="severity",
        ),
        "by_kind": make.chart(
            "by-kind", "Incidents by kind", "Surges, silences, and what rules opened.",
            {"time": times("opened_at"), "kind": top("kind", 10, label="Kind"), "n": count("Incidents")},
            series="bar_stacked", y=("n",), split="kind",
        ),
        "series": make.table(
            "by-series", "What they were about", "Series with most incidents.",
            {
                "title": top("title", 25, label="Series", by="n"),
                "n": count("Incidents"),
                "critical": count("Critical", "severity: critical"),
                **formula("share", "count(kql='open: true') / count()", label="Still open", shown=PERCENT),
                "worst": measure("max", "observed", label="Most observed", format=DECIMAL),
                "usual": measure("average", "expected", label="Expected, mean", format=DECIMAL),
            },
            show=("title", "n", "critical", "share", "worst", "usual"),
        ),
        "entities": make.table(
            "entities", "Entities in incidents", "Watch-listed entities by incidents.",
            {"entity": top("entities", 25, label="Entity", by="n"), "n": count("Incidents")},
            show=("entity", "n"),
        ),
        "delay": make.chart(
            "delay", "From the first driving headline to the incident",
            "Of half and 95 % of the incidents.",
            {
                "time": times("opened_at"),
                "p50": measure("median", "open_delay_seconds", label="50 %", format=DURATION),
                "p95": measure("percentile", "open_delay_seconds", label="95 %", percentile=95, format=DURATION),
            },
            series="line", y=("p50", "p95"),
        ),
    }  # fmt: skip
