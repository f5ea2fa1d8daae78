"""Slack and the running daemon, asked over loopback HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from slack_server import CHANNEL, TOKEN, Script, SlackServer, slack_server

from alerts.notifiers.slack import Secret
from monitor.config import NotifierEntry, Settings
from monitor.core.clock import ManualClock, SystemClock
from monitor.doctor.daemon import daemon_checks
from monitor.doctor.examination import examine
from monitor.doctor.notifiers import notifier_checks
from monitor.doctor.slack import SlackAccess, slack_checks
from monitor.doctor.verdict import Verdict
from monitor.obs.health import Health, HealthServer, build_app
from monitor.obs.metrics import Metrics


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as server:
        yield server


async def _ask(slack: SlackServer, *, token: str = TOKEN, channel: str = CHANNEL) -> dict[str, Verdict]:
    access = SlackAccess(name="slack", token=Secret(token), channel=channel, base_url=slack.url)
    found = (await examine(slack_checks(access, SystemClock()))).verdicts
    assert TOKEN not in repr(found)
    assert all(verdict.advice for verdict in found if verdict.status != "ok")
    return {"clock" if one.part.startswith("clock") else one.finding: one for one in found}


def _statuses(found: dict[str, Verdict]) -> list[str]:
    return [verdict.status for what, verdict in found.items() if what != "clock"]


async def test_a_slack_app_that_may_do_everything_is_well_and_nothing_is_posted(slack: SlackServer) -> None:
    found = await _ask(slack)
    assert _statuses(found) == ["ok", "ok", "ok"]
    assert found["clock"].status == "ok"
    assert {method for method, _ in slack.calls} == {"auth.test", "conversations.history"}
    assert slack.messages == {}


async def test_a_wrong_token_and_what_to_do(slack: SlackServer) -> None:
    found = await _ask(slack, token="xoxb-other")
    (verdict,) = [verdict for what, verdict in found.items() if what != "clock"]
    assert verdict.status == "fail"
    assert "invalid_auth" in verdict.finding
    assert "install the app again" in verdict.advice


@pytest.mark.parametrize(
    ("scopes", "statuses", "advice"),
    [
        (("channels:history",), ["ok", "fail", "ok"], "Add chat:write"),
        (("chat:write",), ["ok", "warn", "warn"], "Add channels:history"),
        (("chat:write", "channels:read"), ["ok", "warn", "ok"], "Add channels:history"),
        (("chat:write", "groups:history"), ["ok", "ok", "warn"], "Add channels:history"),
        ((), ["ok", "warn", "warn"], "chat:write"),
    ],
)
async def test_missing_scopes_are_named(
    slack: SlackServer, scopes: tuple[str, ...], statuses: list[str], advice: str
) -> None:
    slack.scopes = scopes
    if "groups:history" in scopes:
        slack.history_allowed = False
    found = await _ask(slack)
    assert _statuses(found) == statuses
    if "groups:history" not in scopes:
        assert any(advice in verdict.advice for verdict in found.values())


async def test_a_channel_that_cannot_be_reached(slack: SlackServer) -> None:
    absent = await _ask(slack, channel="C404")
    assert _statuses(absent) == ["ok", "ok", "fail"]
    slack.member = False
    outside = await _ask(slack)
    assert _statuses(outside) == ["ok", "ok", "fail"]
    assert any("/invite" in verdict.advice for verdict in outside.values())
    slack.scopes = ("chat:write", "channels:read")
    assert _statuses(await _ask(slack)) == ["ok", "warn", "fail"]


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        (Script(status=429, body="", headers={"Retry-After": "30"}), "come back later"),
        (Script(body="<html>proxy</html>"), "not JSON"),
        (Script(body="[1]"), "not a JSON object"),
    ],
)
async def test_slack_in_trouble(slack: SlackServer, script: Script, finding: str) -> None:
    slack.script.append(script)
    (verdict,) = (await _ask(slack)).values()
    assert verdict.status == "fail"
    assert finding in verdict.finding


async def test_nobody_at_slacks_address(slack: SlackServer, unused_tcp_port: int) -> None:
    slack.url = f"http://127.0.0.1:{unused_tcp_port}/api/"
    (verdict,) = (await _ask(slack)).values()
    assert verdict.status == "fail"
    assert "cannot be reached" in verdict.finding


@pytest.mark.parametrize(("ahead", "status"), [(0, "ok"), (7, "warn"), (-7, "warn"), (90, "fail"), (-90, "fail")])
async def test_slacks_clock_is_compared(slack: SlackServer, ahead: float, status: str) -> None:
    slack.ahead = ahead
    assert (await _ask(slack))["clock"].status == status


def _slack_settings(slack: SlackServer, **options: object) -> Settings:
    table = {"kind": "slack", "token": TOKEN, "channel": CHANNEL, "base_url": slack.url, **options}
    return Settings(notifiers=(NotifierEntry.model_validate(table), NotifierEntry(kind="console")))


async def test_notifiers_are_built_as_the_daemon_would(slack: SlackServer) -> None:
    settings = _slack_settings(slack)
    found = (await examine(notifier_checks(settings, SystemClock(), offline=False))).verdicts
    assert {verdict.status for verdict in found} == {"ok"}
    assert len(found) == 6
    slack.calls.clear()
    quiet = (await examine(notifier_checks(settings, SystemClock(), offline=True))).verdicts
    assert [verdict.part for verdict in quiet] == ["notifier: slack", "notifier: console"]
    assert slack.calls == []


async def test_the_token_may_come_from_a_file_or_the_environment(
    slack: SlackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    monkeypatch.setenv("THE_BOT", TOKEN)
    for way in ({"token_file": str(tmp_path / "token")}, {"token_env": "THE_BOT"}):
        checks = notifier_checks(_slack_settings(slack, token="", **way), SystemClock(), offline=False)
        assert {verdict.status for verdict in (await examine(checks)).verdicts} == {"ok"}
    for wrong, word in (
        ({"token_file": str(tmp_path / "none")}, "cannot be read"),
        ({"token_env": "NOBODY_SET_IT"}, "NOBODY_SET_IT is not set"),
        ({"token": TOKEN, "token_env": "THE_BOT"}, "both"),
    ):
        settings = _slack_settings(slack, **({"token": ""} | wrong))
        verdict = (await examine(notifier_checks(settings, SystemClock(), offline=False))).verdicts[0]
        assert verdict.status == "fail"
        assert word in verdict.finding
        assert TOKEN not in repr(verdict)


async def test_notifiers_that_are_wrong_off_or_missing(slack: SlackServer) -> None:
    wrong = (await examine(notifier_checks(_slack_settings(slack, chanel="C1"), SystemClock(), offline=False))).verdicts
    assert [verdict.status for verdict in wrong] == ["fail", "ok"]
    assert "chanel" in wrong[0].finding
    off = (await examine(notifier_checks(_slack_settings(slack, enabled=False), SystemClock(), offline=False))).verdicts
    assert "Switched off" in off[0].finding
    none = (await examine(notifier_checks(Settings(notifiers=()), SystemClock(), offline=False))).verdicts
    assert [verdict.status for verdict in none] == ["warn"]
    assert slack.calls == []


async def _daemon(listen: str) -> Verdict:
    (verdict,) = (await examine(daemon_checks(listen))).verdicts
    return verdict


async def test_the_running_daemon_is_asked_for_its_heartbeat() -> None:
    clock = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))
    health = Health(clock)
    server = HealthServer(build_app(health, Metrics()), "127.0.0.1", 0)
    port = await server.start()
    try:
        assert (await _daemon(f"127.0.0.1:{port}")).status == "warn"  # not ready yet
        health.ready = True
        health.beat("score", allow=timedelta(seconds=60))
        assert (await _daemon(f"0.0.0.0:{port}")).status == "ok"
        clock.advance(61)
        stalled = await _daemon(f"127.0.0.1:{port}")
        assert stalled.status == "fail"
        assert "score" in stalled.finding
    finally:
        await server.close()
    gone = await _daemon(f"127.0.0.1:{port}")
    assert gone.status == "warn"
    assert "riskwire run" in gone.advice


async def test_somebody_else_at_the_daemons_address() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="Apache works")

    app = web.Application()
    app.router.add_get("/{tail:.*}", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        verdict = await _daemon(f"127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()
    assert verdict.status == "fail"
    assert "not Riskwire" in verdict.finding


def test_a_daemon_without_an_address_is_not_asked() -> None:
    assert daemon_checks("") == []
