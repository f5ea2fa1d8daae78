"""``riskwire incidents``: what people ask for reaches the detector exactly once, and an incident can be rebuilt."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_tools import invoke
from doubles import incident
from news import MONDAY, background, burst

from alerts import audit as audits
from alerts.commands import COMMAND, Command, Verb, until_monday
from alerts.pipeline import DetectPipeline, load_docs, with_words
from monitor.app import open_storage
from monitor.cli.incidents import _until
from monitor.config import load_settings
from monitor.core.clock import ManualClock, SystemClock
from monitor.core.codec import incident_from_dict, incident_to_dict
from monitor.core.errors import RiskwireError, UsageError
from monitor.core.types import Incident, IncidentState, Put, ScoredArticle
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.detect import DetectService
from monitor.storage import Storage

NOON = MONDAY + timedelta(days=3, hours=12)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "riskwire.toml"
    file.write_text("data_dir = 'data'\n[retention]\narticles_days = 400\n", encoding="utf-8")
    return file


def put(config: Path, *incidents: Incident) -> None:
    async def work() -> None:
        async with open_storage(load_settings(config), SystemClock()) as storage:
            await storage.state.apply([Put(kind="incident", key=i.id, value=incident_to_dict(i)) for i in incidents])

    asyncio.run(work())


def commands(config: Path) -> list[Command]:
    async def work() -> list[Command]:
        async with open_storage(load_settings(config), SystemClock(), guest=True) as storage:
            return [Command.from_doc(doc) for _, doc in await storage.state.list(COMMAND)]

    return asyncio.run(work())


def service(storage: Storage, clock: ManualClock, told: list[Incident]) -> DetectService:
    def rows(changed: Incident) -> tuple[()]:
        told.append(changed)
        return ()

    return DetectService(
        pipeline=DetectPipeline(),
        load_docs=load_docs,
        bus=storage.bus,
        store=storage.store,
        state=storage.state,
        clock=clock,
        metrics=Metrics(),
        health=Health(clock),
        with_words=with_words,
        outbox_rows=rows,
    )


async def live(config: Path, items: list[ScoredArticle], *stops: datetime) -> list[Incident]:
    """A detector over the stored state that is started anew, ticks at each of the stops, and ends."""
    told: list[Incident] = []
    clock = ManualClock(stops[0])
    async with open_storage(load_settings(config), clock) as storage:
        detect = service(storage, clock, told)
        await detect.start()
        waiting = sorted(items, key=lambda item: item.article.fetched_at)
        for stop in stops:
            if stop > clock.now():
                clock.set(stop)
            await storage.store.put([i for i in waiting if i.article.fetched_at <= stop])
            waiting = [i for i in waiting if i.article.fetched_at > stop]
            await detect.tick()
    return told


def surge(config: Path) -> Incident:
    """Three ordinary days and a surge, seen by a detector that then ends."""
    items = [*background(MONDAY, 3.4), *burst(NOON, 14, 10, topic="energy")]
    hours = [MONDAY + timedelta(hours=n) for n in range(1, 85)]
    asyncio.run(live(config, items, *hours, NOON + timedelta(minutes=8), NOON + timedelta(minutes=20)))
    return stored(config)


def stored(config: Path) -> Incident:
    async def work() -> Incident:
        async with open_storage(load_settings(config), SystemClock()) as storage:
            return incident_from_dict((await storage.state.list("incident"))[0][1])

    return asyncio.run(work())


class TestLooking:
    def test_open_ones_are_listed_newest_first(self, config: Path) -> None:
        later = datetime(2026, 3, 3, tzinfo=UTC)
        put(config, incident("aaa1"), incident("bbb2", opened_at=later), incident("ccc3", state=IncidentState.RESOLVED))
        lines = invoke("incidents", "ls", "-c", str(config), "--json").stdout.splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["bbb2", "aaa1"]
        every = invoke("incidents", "ls", "-c", str(config), "--state", "all").stdout
        assert "ccc3" in every
        assert "resolved" in every

    def test_one_is_shown_by_the_beginning_of_its_id(self, config: Path) -> None:
        put(config, incident("aaa1", reason="Because of this."), incident("aab2"))
        assert "Because of this." in invoke("incidents", "show", "aaa", "-c", str(config)).stdout
        with pytest.raises(UsageError, match="2 incidents"):
            invoke("incidents", "show", "aa", "-c", str(config))
        with pytest.raises(UsageError, match="No incident"):
            invoke("incidents", "show", "zz", "-c", str(config))

    def test_an_unknown_state_is_refused(self, config: Path) -> None:
        with pytest.raises(UsageError, match="acknowledged"):
            invoke("incidents", "ls", "-c", str(config), "--state", "lost")


class TestActing:
    def test_a_command_waits_for_the_detector_and_survives_its_restart(self, config: Path) -> None:
        opened = surge(config)
        assert opened.state is IncidentState.OPEN
        invoke("incidents", "ack", opened.id[:8], "-c", str(config), "--by", "ann", "--note", "on it")
        assert [c.verb for c in commands(config)] == [Verb.ACKNOWLEDGE]
        at = NOON + timedelta(minutes=21)
        told = asyncio.run(live(config, [], at, at + timedelta(minutes=1)))
        done = stored(config)
        assert done.state is IncidentState.ACKNOWLEDGED
        assert [(a.by, a.what, a.note) for a in done.history] == [("ann", "acknowledged", "on it")]
        assert [i.state for i in told] == [IncidentState.ACKNOWLEDGED]
        assert commands(config) == []
        assert asyncio.run(live(config, [], at + timedelta(minutes=2))) == []

    def test_resolved_by_hand_with_a_reason(self, config: Path) -> None:
        opened = surge(config)
        invoke("incidents", "resolve", opened.id, "-c", str(config), "--by", "bob", "--reason", "a drill")
        asyncio.run(live(config, [], NOON + timedelta(minutes=21)))
        done = stored(config)
        assert done.state is IncidentState.RESOLVED
        assert "Resolved by bob: a drill." in done.reason
        with pytest.raises(UsageError, match="resolved already"):
            invoke("incidents", "ack", opened.id, "-c", str(config))

    def test_a_snooze_is_until_a_time_within_thirty_days(self, config: Path) -> None:
        put(config, incident("aaa1"))
        invoke("incidents", "snooze", "aaa1", "-c", str(config), "--for", "8h")
        invoke("incidents", "snooze", "aaa1", "-c", str(config), "--until", "monday", "--zone", "Europe/London")
        for command in commands(config):
            assert command.until is not None
            assert command.at < command.until <= command.at + timedelta(days=7, hours=1)
        for wrong in (["--for", "90d"], ["--for", "soon"], ["--until", "2001-01-01T00:00Z"], ["--until", "x"]):
            with pytest.raises(UsageError):
                invoke("incidents", "snooze", "aaa1", "-c", str(config), *wrong)

    def test_without_a_daemon_waiting_says_so(self, config: Path) -> None:
        put(config, incident("aaa1"))
        with pytest.raises(RiskwireError, match="Not done within"):
            invoke("incidents", "ack", "aaa1", "-c", str(config), "--wait", "0.3")

    def test_a_command_about_what_is_over_is_dropped(self, config: Path) -> None:
        put(config, incident("aaa1"))
        invoke("incidents", "ack", "aaa1", "-c", str(config))  # no detector holds it open
        asyncio.run(live(config, [], NOON))
        assert commands(config) == []

    def test_monday_is_never_now(self) -> None:
        monday = datetime(2026, 3, 2, 8, tzinfo=UTC)
        assert until_monday(monday) == monday + timedelta(days=7)
        assert until_monday(monday - timedelta(seconds=1)) == monday
        assert _until("Monday", "America/New_York", monday).hour == 13
        with pytest.raises(UsageError, match="time zone"):
            _until("monday", "Mars/Base", monday)


class TestAudit:
    def test_an_incident_is_rebuilt_from_the_data_folder(self, config: Path) -> None:
        opened = surge(config)
        invoke("incidents", "ack", opened.id, "-c", str(config), "--by", "ann")
        asyncio.run(live(config, [], NOON + timedelta(minutes=21), NOON + timedelta(hours=4)))
        result = invoke("incidents", "audit", opened.id, "-c", str(config))
        assert result.exit_code == 0, result.stdout
        assert "changes rebuilt" in result.stdout
        doc = json.loads(invoke("incidents", "audit", opened.id, "-c", str(config), "--json", "--inputs").stdout)
        assert doc["same"] is True
        assert {change["what"] for change in doc["changes"]} == {"tick", "command"}
        rows = next(iter(doc["changes"][0]["inputs"]["rows"].values()))
        assert all(0.0 <= row[1] <= 1.0 and row[2]["article"] for row in rows)

    def test_it_says_when_articles_or_records_are_gone(self, config: Path) -> None:
        opened = surge(config)

        async def forget(records: bool) -> None:
            async with open_storage(load_settings(config), SystemClock()) as storage:
                await storage.store.expire(NOON + timedelta(days=9))
                if records:
                    await audits.expire(storage.state, NOON + timedelta(days=9))

        asyncio.run(forget(False))
        result = invoke("incidents", "audit", opened.id, "-c", str(config))
        assert result.exit_code == 0
        assert "gone from the store" in result.output
        asyncio.run(forget(True))
        result = invoke("incidents", "audit", opened.id, "-c", str(config))
        assert result.exit_code == 1
        assert "audit_days" in result.output

    def test_a_stored_incident_that_was_changed_is_noticed(self, config: Path) -> None:
        opened = surge(config)
        doc = incident_to_dict(opened)
        put(config, incident_from_dict(doc | {"observed": 3.0}))
        result = invoke("incidents", "audit", opened.id, "-c", str(config))
        assert result.exit_code == 1
        assert "was changed" in result.output

    def test_without_records_it_says_so(self, config: Path) -> None:
        put(config, incident("aaa1"))
        result = invoke("incidents", "audit", "aaa1", "-c", str(config))
        assert result.exit_code == 1
        assert "kept no records" in result.output
