"""Web hooks and mail servers, asked on loopback: reached, refused, and no alarm sent."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from cli_tools import invoke
from doubles import START, incident
from hook_servers import hook_server, mail_server

from alerts.outbox import UNDELIVERED
from monitor.config import NotifierEntry, Settings, load_settings
from monitor.core.clock import ManualClock, SystemClock
from monitor.core.codec import incident_to_dict
from monitor.core.errors import UsageError
from monitor.core.types import Put
from monitor.doctor.examination import examine
from monitor.doctor.notifiers import notifier_checks
from monitor.doctor.reach import reach_checks
from monitor.doctor.verdict import Verdict
from monitor.storage import open_storage


async def ask(kind: str, options: dict[str, object]) -> Verdict:
    (verdict,) = (await examine(reach_checks(kind, "desk", options))).verdicts
    return verdict


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("kind", ["webhook", "teams", "pagerduty"])
async def test_a_hook_is_reached_without_a_message(kind: str) -> None:
    async with hook_server() as server:
        verdict = await ask(kind, {"url": server.url})
        assert verdict.status == "ok"
        assert "riskwire notify test desk" in verdict.finding
        assert "secret-path" not in repr(verdict)
        assert server.taken == []


async def test_nobody_there_and_no_tls_there() -> None:
    verdict = await ask("webhook", {"url": f"http://127.0.0.1:{closed_port()}/secret-path"})
    assert verdict.status == "fail"
    assert "secret-path" not in repr(verdict)
    async with hook_server() as server:
        verdict = await ask("webhook", {"url": server.url.replace("http:", "https:")})
        assert (verdict.status, "TLS" in verdict.finding) == ("fail", True)


async def test_a_mail_server_that_answers_and_one_that_is_away() -> None:
    async with mail_server() as server:
        verdict = await ask("email", {"host": "127.0.0.1", "port": server.port, "security": "none"})
        assert verdict.status == "ok"
        assert server.mails == []
        verdict = await ask("email", {"host": "127.0.0.1", "port": server.port})
        assert (verdict.status, "STARTTLS" in verdict.finding) == ("fail", True)
    verdict = await ask("email", {"host": "127.0.0.1", "port": closed_port(), "security": "none"})
    assert verdict.status == "fail"


async def test_the_doctor_asks_them_unless_offline(tmp_path: Path) -> None:
    async with hook_server() as server:
        entry = NotifierEntry.model_validate({"kind": "webhook", "name": "desk", "url": server.url})
        settings = Settings(data_dir=tmp_path, notifiers=(entry,))
        found = (await examine(notifier_checks(settings, ManualClock(START), offline=False))).verdicts
        assert [verdict.status for verdict in found if verdict.part == "notifier: desk"] == ["ok", "ok"]
        found = (await examine(notifier_checks(settings, ManualClock(START), offline=True))).verdicts
        assert [verdict.status for verdict in found if verdict.part == "notifier: desk"] == ["ok"]


def test_a_message_of_trial_says_so(tmp_path: Path) -> None:
    config = tmp_path / "riskwire.toml"
    config.write_text("data_dir = 'data'\n[[notifiers]]\nkind = 'console'\nname = 'desk'\n", encoding="utf-8")
    result = invoke("notify", "test", "desk", "-c", str(config))
    assert result.exit_code == 0
    assert "TEST, no incident" in result.stdout
    assert "RESOLVED" in result.stdout
    assert not (tmp_path / "data").exists()
    with pytest.raises(UsageError, match="no notifier 'other'"):
        invoke("notify", "test", "other", "-c", str(config))


def test_the_command_lists_and_sends_again(tmp_path: Path) -> None:
    config = tmp_path / "riskwire.toml"
    config.write_text("data_dir = 'data'\n[[notifiers]]\nkind = 'console'\nname = 'desk'\n", encoding="utf-8")
    body = {"incident": incident_to_dict(incident("i1")), "notifier": "desk", "reason": "revoked", "at": "then"}

    async def refuse() -> None:
        async with open_storage(load_settings(config), SystemClock()) as storage:
            await storage.state.apply([Put(kind=UNDELIVERED, key="i1/desk", value=body)])

    asyncio.run(refuse())
    assert json.loads(invoke("outbox", "ls", "-c", str(config), "--json").stdout)["refused"] is True
    found = asyncio.run(examine(notifier_checks(load_settings(config), SystemClock(), offline=True))).verdicts
    assert [verdict.status for verdict in found if verdict.part == "outbox"] == ["warn"]
    with pytest.raises(UsageError, match="was refused"):
        invoke("outbox", "retry", "other", "-c", str(config))
    assert "1 message put" in invoke("outbox", "retry", "-c", str(config)).stdout
    assert json.loads(invoke("outbox", "ls", "-c", str(config), "--json").stdout)["refused"] is False
