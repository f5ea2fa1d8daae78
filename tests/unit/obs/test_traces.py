"""Traces: W3C's form, the names that articles and incidents give them, and a chain recorded in memory."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path

import pytest
import structlog
from doubles import START, FixedScorer, ScriptedSource, article, evidence, incident
from hypothesis import given
from hypothesis import strategies as st

from monitor import app
from monitor.config import ObserveSection, Settings
from monitor.core.clock import ManualClock
from monitor.core.trace import TRACEPARENT, TraceContext, trace_of
from monitor.core.types import Cursor, Page, Receipt
from monitor.obs.logging import configure_logging
from monitor.obs.measure import MeasuredNotifier
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer


@given(st.text())
def test_names_are_valid_and_go_through_the_header(identity: str) -> None:
    context = trace_of(identity)
    assert TraceContext.parse(context.header()) == context
    assert trace_of(identity) == context


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
    ],
)  # fmt: skip
def test_what_w3c_forbids_is_no_context(text: str) -> None:
    assert TraceContext.parse(text) is None


@given(st.text())
def test_any_header_is_read_without_an_error(text: str) -> None:
    TraceContext.parse(text)


def test_later_versions_are_read_and_the_flag_counts() -> None:
    told = TraceContext.parse("cc-" + "1" * 32 + "-" + "2" * 16 + "-00-future")
    assert told == TraceContext(trace_id="1" * 32, span_id="2" * 16, sampled=False)


def test_logs_within_the_span_of_an_incident_carry_its_trace_id() -> None:
    out, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("info", stream=out)
    try:
        with NO_TRACER.span("notify", parent=trace_of("i1")):
            structlog.get_logger("x").info("inside")
            logging.getLogger("alerts.outbox").warning("inside too")
        structlog.get_logger("x").info("outside")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert first["trace_id"] == second["trace_id"] == trace_of("i1").trace_id
    assert "trace_id" not in third


def memory(ratio: float = 1.0):  # type: ignore[no-untyped-def]
    pytest.importorskip("opentelemetry.sdk", reason="needs the otel extra")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from monitor.obs.otel import OtelTracer

    exporter = InMemorySpanExporter()
    return OtelTracer(exporter, ratio=ratio, instance="test"), exporter


async def test_an_article_is_one_trace_from_poll_to_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.core.clock import SystemClock
    from monitor.daemon import Daemon

    tracer, exporter = memory()
    monkeypatch.setattr(app, "build_tracer", lambda _settings: tracer)
    articles = [article(n) for n in range(3)]
    source = ScriptedSource("wire", [Page(articles=articles, cursor=Cursor(data={"at": 1}))])
    settings = Settings(data_dir=tmp_path, observe=ObserveSection(listen=""))
    stop, metrics = asyncio.Event(), "riskwire_scored_total"
    daemon = Daemon(
        settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"spread": 0.0})}),
        clock=SystemClock(), roles=("ingest", "score"), sources=[source], notifiers={}, scorer=FixedScorer(),
    )  # fmt: skip
    running = asyncio.create_task(daemon.run(stop))
    await asyncio.wait({asyncio.ensure_future(daemon.started.wait()), running}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    while daemon.metrics.registry.get_sample_value(metrics) != 3:
        await asyncio.sleep(0.01)
    records = await daemon.storage.bus.browse("articles", limit=10)  # type: ignore[union-attr]
    stop.set()
    await running
    spans = exporter.get_finished_spans()
    assert {delivery.record.headers[TRACEPARENT] for delivery in records} == {trace_of(a.id).header() for a in articles}
    by_name = {name: [span for span in spans if span.name == name] for name in {span.name for span in spans}}
    assert {"poll", "publish", "score batch", "predict", "store put", "score and store"} <= set(by_name)
    for item in articles:
        own = trace_of(item.id)
        mine = {span.name: span for span in spans if f"{span.context.trace_id:032x}" == own.trace_id}
        assert set(mine) == {"publish", "score and store"}
        assert f"{mine['publish'].context.span_id:016x}" == own.span_id
        assert mine["publish"].parent is None
        assert mine["publish"].links[0].context.trace_id == by_name["poll"][0].context.trace_id
        assert f"{mine['score and store'].parent.span_id:016x}" == own.span_id
    batch = by_name["score batch"][0]
    assert by_name["store put"][0].parent.span_id == batch.context.span_id


async def test_an_incident_leads_to_the_traces_of_its_articles_and_on_to_its_messages() -> None:
    tracer, exporter = memory()
    item = incident("i1", evidence=(evidence(1), evidence(2)))
    tracer.start(
        "incident", root=item.id, links=[trace_of(one.article_id) for one in item.evidence], incident=item.id
    ).end()

    class Desk:
        name = "desk"

        async def send(self, *_: object) -> Receipt:
            return Receipt(notifier="desk", data={"a": "b"})

    await MeasuredNotifier(Desk(), ManualClock(START), Metrics(), tracer, name="desk").send(item, None)
    tracer.close()
    first, second = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in first.links] == [trace_of(n).trace_id for n in ("a1", "a2")]
    assert first.context.trace_id == second.context.trace_id == int(trace_of("i1").trace_id, 16)
    assert second.parent.span_id == first.context.span_id
    assert second.attributes["riskwire.notifier"] == "desk"


def test_an_error_marks_a_span_by_its_name_only() -> None:
    tracer, exporter = memory()
    with pytest.raises(ValueError, match="s3cret"), tracer.span("poll"):
        raise ValueError("s3cret")
    tracer.close()
    (span,) = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert "s3cret" not in span.to_json()


def test_sampling_takes_whole_traces_by_their_id() -> None:
    tracer, exporter = memory(ratio=0.25)
    for number in range(400):
        tracer.start("publish", root=f"a{number}").end()
        tracer.start("score and store", parent=trace_of(f"a{number}")).end()
    tracer.close()
    names = [(span.name, span.context.trace_id) for span in exporter.get_finished_spans()]
    published = {trace for name, trace in names if name == "publish"}
    assert published == {trace for name, trace in names if name != "publish"}
    assert 60 < len(published) < 140


def test_nothing_is_recorded_or_imported_unless_wanted() -> None:
    assert isinstance(app.build_tracer(Settings()), Tracer)
    assert app.build_tracer(Settings()) is NO_TRACER
    with NO_TRACER.span("poll") as span:
        assert span.context is None
