"""The Grafana dashboard, built from code, so that a test can hold every query against the catalogue of metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 38
"""Of Grafana 10.0; later ones migrate it when they load it."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_JOB = 'job=~"$job"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: queries with their legends. ``kind`` is timeseries, stat or table; ``red``: from where it is bad."""

    title: str
    queries: tuple[tuple[str, str], ...]
    help: str
    unit: str = "short"
    kind: str = "timeseries"
    red: float | None = None
    width: int = 8
    stacked: bool = False


def _rate(metric: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{_JOB}}}[$__rate_interval]))"


def _quantile(q: float, metric: str, more: str = "", by: str = "") -> str:
    labels = ", ".join(part for part in (_JOB, more) if part)
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))"


def _spread(metric: str, more: str = "") -> tuple[tuple[str, str], ...]:
    return ((_quantile(0.5, metric, more), "median"), (_quantile(0.95, metric, more), "95 %"))


def _gauge(metric: str, how: str = "max", by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"{how}{grouped} ({metric}{{{_JOB}}})"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("At a glance", (
        Panel(title="Ready processes", kind="stat", width=4, queries=((_gauge("riskwire_ready", "sum"), ""),),
              help="Processes that take work."),
        Panel(title="Open incidents", kind="stat", width=4, queries=((_gauge("riskwire_incidents_open"), ""),),
              help="Incidents not resolved."),
        Panel(title="Oldest unscored", kind="stat", width=4, unit="s", red=300,
              queries=((_gauge("riskwire_bus_lag_seconds"), ""),), help="Alarms are late by as much."),
        Panel(title="Detector behind", kind="stat", width=4, unit="s", red=600,
              queries=((_gauge("riskwire_watermark_lag_seconds"), ""),), help="The watermark against the clock."),
        Panel(title="Failing sources", kind="stat", width=4, red=1,
              queries=((f"count(riskwire_source_failures{{{_JOB}}} > 2) or vector(0)", ""),),
              help="More than two failed polls in a row."),
        Panel(title="Messages waiting", kind="stat", width=4, red=10,
              queries=((_gauge("riskwire_outbox_pending", "sum"), "waiting"),
                       (_gauge("riskwire_outbox_refused", "max"), "refused")),
              help="The outbox, and what was refused for good: riskwire outbox ls."),
    )),
    ("From headline to people", (
        Panel(title="From fetched to stored", unit="s", help="The way through bus, model and store.",
              queries=_spread("riskwire_latency_seconds", 'way="fetched_to_stored"')),
        Panel(title="From published to incident", unit="s", help="From the newest driving headline.",
              queries=_spread("riskwire_latency_seconds", 'way="published_to_incident"')),
        Panel(title="From published to sent", unit="s", help="Until the first message was out.",
              queries=_spread("riskwire_latency_seconds", 'way="published_to_sent"')),
    )),
    ("Sources", (
        Panel(title="Articles by source", unit="cps", stacked=True, width=12, help="Published to the bus.",
              queries=((_rate("riskwire_articles_total", "source"), "{{source}}"),)),
        Panel(title="Polls by outcome", unit="cps", width=12, help="ok, or the code of the error.",
              queries=((_rate("riskwire_polls_total", "outcome"), "{{outcome}}"),)),
        Panel(title="Sources: failures in a row", kind="table", width=12, help="0 is healthy.",
              queries=((f"max by (source) (riskwire_source_failures{{{_JOB}}}) > 0", "{{source}}"),)),
        Panel(title="Time since the last article", kind="table", unit="s", width=12, help="The quietest first.",
              queries=((f"topk(20, time() - max by (source) (riskwire_source_article_timestamp_seconds{{{_JOB}}}))",
                        "{{source}}"),)),
        Panel(title="Age when fetched", unit="s", help="From publication to fetch: what polling costs.",
              queries=_spread("riskwire_article_age_seconds")),
        Panel(title="Polls: time and delay", unit="s", help="95 % of the polls.",
              queries=((_quantile(0.95, "riskwire_poll_seconds"), "took"),
                       (_quantile(0.95, "riskwire_poll_delay_seconds"), "began late by"),
                       (_gauge("riskwire_ingest_overdue_seconds"), "latest of all"))),
        Panel(title="Publishing to the bus", unit="s", help="Until durable.",
              queries=_spread("riskwire_publish_seconds")),
    )),
    ("Scoring", (
        Panel(title="Records that wait", help="Published but not scored.",
              queries=((_gauge("riskwire_bus_lag"), "records"),)),
        Panel(title="End of the log", help="Offsets, by partition.",
              queries=((_gauge("riskwire_bus_end_offset", "max", "partition"), "partition {{partition}}"),)),
        Panel(title="Scored", unit="cps", help="Articles scored and stored.",
              queries=((_rate("riskwire_scored_total"), "articles"),)),
        Panel(title="Verdicts", unit="cps", stacked=True, help="By sentiment.",
              queries=((_rate("riskwire_sentiments_total", "sentiment"), "{{sentiment}}"),)),
        Panel(title="Micro-batches", unit="s", help="Time in the engine.", queries=_spread("riskwire_predict_seconds")),
        Panel(title="Tokens of a batch", help="Padding included.", queries=_spread("riskwire_batch_tokens")),
        Panel(title="Share of padding", unit="percentunit", help="Tokens computed in vain.", queries=((
            f"{_rate('riskwire_padding_tokens_total')} / "
            f"({_rate('riskwire_padding_tokens_total')} + {_rate('riskwire_tokens_total')})", "padding"),)),
        Panel(title="Known results", unit="percentunit", help="Texts that needed no engine.", queries=((
            f'sum (rate(riskwire_score_cache_total{{{_JOB}, outcome="hit"}}[$__rate_interval])) / '
            f"{_rate('riskwire_score_cache_total')}", "hits"),)),
        Panel(title="Batches, from fetch to commit", unit="s", help="Score and store.",
              queries=_spread("riskwire_score_seconds")),
    )),
    ("Store and dead letters", (
        Panel(title="Put by outcome", unit="cps", help="ok, retry, reject.",
              queries=((_rate("riskwire_store_results_total", "outcome"), "{{outcome}}"),)),
        Panel(title="Time of a put", unit="s", help="One request.", queries=_spread("riskwire_store_put_seconds")),
        Panel(title="Waiting and dead", help="Articles that wait for the store; records given up.",
              queries=((_gauge("riskwire_store_waiting", "sum"), "wait for the store"),
                       (f"sum by (stage) (increase(riskwire_dead_letters_total{{{_JOB}}}[$__range]))",
                        "dead letters: {{stage}}"))),
    )),
    ("Detection", (
        Panel(title="Changes of incidents", unit="short", stacked=True, help="By state and severity.", queries=((
            f"sum by (state, severity) (increase(riskwire_incidents_total{{{_JOB}}}[$__rate_interval]))",
            "{{state}}, {{severity}}"),)),
        Panel(title="A tick", unit="s", help="It should end before the next is due.",
              queries=_spread("riskwire_detect_seconds")),
        Panel(title="Lateness of buckets", unit="s", help="Closed so long after their end.",
              queries=_spread("riskwire_bucket_lateness_seconds")),
        Panel(title="What the detector read", unit="cps", help="Taken, or why not.",
              queries=((_rate("riskwire_detect_articles_total", "outcome"), "{{outcome}}"),)),
        Panel(title="Buckets closed", unit="cps", help="A standstill is a stopped watermark.",
              queries=((_rate("riskwire_buckets_closed_total"), "buckets"),)),
        Panel(title="Drift", kind="table", help="1: this check says drift.",
              queries=((_gauge("riskwire_drifting", "max", "check"), "{{check}}"),)),
    )),
    ("Notifiers", (
        Panel(title="Attempts", unit="cps", help="By notifier and outcome.",
              queries=((_rate("riskwire_notify_attempts_total", "notifier, outcome"), "{{notifier}}: {{outcome}}"),)),
        Panel(title="Time of an attempt (95 %)", unit="s", help="By notifier.",
              queries=((_quantile(0.95, "riskwire_notify_seconds", by="notifier"), "{{notifier}}"),)),
        Panel(title="Stuck for", unit="s", red=600, help="Messages wait and none gets through.",
              queries=((_gauge("riskwire_outbox_stuck_seconds"), "outbox"),)),
    )),
    ("Web", (
        Panel(title="Requests", unit="reqps", help="By status.",
              queries=((_rate("riskwire_http_requests_total", "status"), "{{status}}"),)),
        Panel(title="Time of a request (95 %)", unit="s", help="By route.",
              queries=((_quantile(0.95, "riskwire_http_request_seconds", by="route"), "{{route}}"),)),
        Panel(title="Streams and refusals", help="Open event streams; requests refused, by reason.",
              queries=((_gauge("riskwire_sse_clients", "sum"), "streams"),
                       (f"sum by (reason) (increase(riskwire_http_refused_total{{{_JOB}}}[$__rate_interval]))",
                        "{{reason}}"))),
    )),
    ("Processes", (
        Panel(title="Heartbeats", unit="percentunit", red=1, help="Age as part of what is allowed; at 1 it is stalled.",
              queries=((f"riskwire_heartbeat_age_seconds{{{_JOB}}} / riskwire_heartbeat_allowed_seconds{{{_JOB}}}",
                        "{{instance}}: {{part}}"),)),
        Panel(title="Leaders", help="1 leads, 0 stands by.",
              queries=((f"riskwire_leader{{{_JOB}}}", "{{lease}}: {{instance}}"),)),
        Panel(title="Event loop late by (99 %)", unit="s", help="High: too little CPU.",
              queries=((_quantile(0.99, "riskwire_event_loop_delay_seconds", by="instance"), "{{instance}}"),)),
        Panel(title="CPU", unit="percentunit", help="1 is one core.",
              queries=((f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}}"),)),
        Panel(title="Memory", unit="bytes", help="Resident.",
              queries=((f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"),)),
        Panel(title="Versions", kind="table", help="Mixed ones only while rolling out.",
              queries=((f"count by (version, python) (riskwire_build_info{{{_JOB}}})", "{{version}}"),)),
    )),
)  # fmt: skip


def build() -> dict[str, Any]:
    """The dashboard, as Grafana imports it (10.0 and later): two variables, data source and job."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
        })  # fmt: skip
        y += 1
        x = height = 0
        for panel in row:
            tall = 4 if panel.kind == "stat" else 8
            if x + panel.width > 24:
                x, y = 0, y + height
            panels.append(_panel(panel, len(panels) + 1, {"h": tall, "w": panel.width, "x": x, "y": y}))
            x, height = x + panel.width, tall
        y += height
    return {
        "__inputs": [],
        "uid": "riskwire",
        "title": "Riskwire",
        "description": "From headline to alarm: sources, scoring, detection, notifiers, processes.",
        "tags": ["riskwire"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "refresh": 1}
    query = "label_values(riskwire_build_info, job)"
    job = {
        "name": "job", "type": "query", "label": "Job", "datasource": _SOURCE, "definition": query,
        "query": {"query": query, "refId": "job"}, "refresh": 2, "includeAll": True, "multi": True, "sort": 1,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }  # fmt: skip
    return [source, job]


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red is not None:
        steps.append({"color": "red", "value": panel.red})
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 5, "showPoints": "never",
                  "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}}  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend,
             "instant": instant, "range": not instant, "format": "table" if panel.kind == "table" else "time_series"}
            for index, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": _options(panel.kind),
    }  # fmt: skip


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "values": False}}
    if kind == "table":
        return {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def queries() -> Sequence[str]:
    """Every query of the dashboard."""
    return [query for _, row in ROWS for panel in row for query, _ in panel.queries]


def render() -> str:
    """The dashboard as a file."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
